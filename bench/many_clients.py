"""A hundred clients of one server at once, each with nothing: the time until all have the whole image."""

import os
import signal
import statistics
import subprocess
import tempfile
import time

from measure import Failed, Samples, load, run, say, warm_page_cache
from readers import Offer

CLIENTS = 100
CLIENT_BYTES = 8 << 20
LIMIT_S = 300


def client_commands(workplace, offer):
    """{name: command of one client, in a shell, that has a folder of its own as $1}"""
    url = "%s/%s." % (offer.url, offer.name)
    return {
        "inetboot pull": '%s pull --cache "$1" "%s%s"' % (workplace.inetboot, offer.url, offer.link),
        "casync extract": 'casync extract --store="%scastr" "%scaibx" "$1/disk"' % (url, url),
        "curl | zstd -d": 'curl -fsS "%simg.zst" | zstd -q -d -o "$1/disk"' % url,
    }


def at_once(workplace, command):
    """Starts all clients; returns the seconds until each had ended, the earliest first."""
    start = time.monotonic()
    clients = {}
    for _ in range(CLIENTS):
        folder = tempfile.mkdtemp(prefix="client.", dir=workplace.dir)
        child = subprocess.Popen(["sh", "-c", command, "sh", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        clients[child.pid] = child
    ended = []
    try:
        while clients and time.monotonic() - start < LIMIT_S:
            for pid, child in list(clients.items()):
                if child.poll() is not None:
                    del clients[pid]
                    if child.returncode:
                        raise Failed("a client ended with status %d" % child.returncode)
                    ended.append(time.monotonic() - start)
            time.sleep(0.02)
        if clients:
            raise Failed("%d of %d clients were not done after %d s" % (len(clients), CLIENTS, LIMIT_S))
    finally:
        for pid, child in clients.items():
            os.killpg(pid, signal.SIGKILL)
            child.wait()
    return ended


def some_data(image, size):
    """The first piece of it that is full."""
    with open(image, "rb") as f:
        for piece in iter(lambda: f.read(size), b""):
            if piece.count(bytes(4096)) < size // 4096 // 10:
                return piece
    raise Failed("%s has no %d bytes of data in a row" % (image, size))


def measure(workplace, rounds, clock):
    samples = Samples()
    image = os.path.join(workplace.dir, "small.img")
    with open(image, "wb") as f:
        f.write(some_data(workplace.large, CLIENT_BYTES))
    offer = Offer(workplace, image, "small")
    run(["zstd", "-q", "-3", image, "-o", offer.path("img.zst")], 60)
    run(["casync", "make", "--compression=zstd", "--store=" + offer.path("castr"), offer.path("caibx"), image], 60)
    for number in range(rounds):
        for name, command in client_commands(workplace, offer).items():
            if name in samples.failed or clock.over(number):
                continue
            say("scale, round %d: %d clients, %s (load %.1f)" % (number + 1, CLIENTS, name, load()))
            warm_page_cache(offer.path("store"), offer.path("castr"), offer.path("img.zst"))
            try:
                ended = at_once(workplace, command)
            except (Failed, OSError) as why:
                samples.fail(name, why)
                continue
            samples.add(name, "all_s", ended[-1])
            samples.add(name, "half_s", statistics.median(ended))
            samples.add(name, "mb_per_s", CLIENTS * CLIENT_BYTES / ended[-1] / 1e6)
    return samples
