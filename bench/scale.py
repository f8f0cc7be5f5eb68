"""How it goes on with more of everything: readers of one mount, bytes of an image, clients of one server."""

import json
import os
import random
import signal
import statistics
import struct
import subprocess
import tempfile
import time

from measure import (Failed, Samples, cpu_seconds, drop_page_cache, load, offsets_seed, peak_memory, read_pass, run, say,
                     warm_page_cache)
from readers import CasyncMount, InetBoot, Nbdkit, NbdkitCache, Offer

READERS = (1, 8, 64)
READER_TOOLS = (InetBoot, Nbdkit, NbdkitCache, CasyncMount)
PASS_S = 60

GIB, MIB = 1 << 30, 1 << 20
# label, bytes, PIECE bytes of data at every STRIDE
SIZES = (
    ("1 GiB, a tenth data", GIB, 10 * MIB, MIB),
    ("10 GiB, a tenth data", 10 * GIB, 10 * MIB, MIB),
    ("100 GiB, 2 % data", 100 * GIB, 50 * MIB, MIB),
    ("1 GiB, all data", GIB, MIB, MIB),
    ("10 GiB, all data", 10 * GIB, MIB, MIB),
)
SIZE_TOOLS = (InetBoot, Nbdkit)
SPREAD_READERS, SPREAD_S = 8, 8
PUBLISH_S = 900

CLIENTS = 100
CLIENT_BYTES = 8 * MIB
CLIENTS_S = 300


def fresh(reader):
    reader.stop(forget_cache=True)
    drop_page_cache()
    warm_page_cache(*reader.served())
    start = time.monotonic()
    path = reader.start()
    return path, time.monotonic() - start


def pids(reader):
    return [child.pid for child in reader.children]


def take_memory(take, reader):
    peaks = peak_memory(pids(reader))
    take("memory", sum(peaks))
    take("memory_largest", peaks[0])


def many_readers(workplace, rounds, clock):
    """{readers: Samples by tool}"""
    by_count = {count: Samples() for count in READERS}
    offer = Offer(workplace, workplace.large, "large")
    for number in range(rounds):
        for count in READERS:
            for kind in READER_TOOLS:
                samples = by_count[count]
                if kind.name in samples.failed or clock.over(number):
                    continue
                say("scale, round %d: %d readers, %s (load %.1f)" % (number + 1, count, kind.name, load()))
                reader = kind(workplace, offer)
                try:
                    result = read_pass(fresh(reader)[0], "slices", count, PASS_S, limit=PASS_S)
                    samples.add(kind.name, "mb_per_s", result["bytes"] / result["seconds"] / 1e6)
                    samples.add(kind.name, "cpu_s_per_gib", cpu_seconds(pids(reader)) / (result["bytes"] / GIB))
                    take_memory(lambda what, value: samples.add(kind.name, what, value), reader)
                except (Failed, OSError) as why:
                    samples.fail(kind.name, why)
                finally:
                    reader.stop(forget_cache=True)
    return by_count


def make_image(out, size, stride, piece, source):
    """PIECE bytes at every STRIDE, of the source's, none of them twice: when all are used, they are used again with the values of
    all bytes but 0 exchanged, which compress as well."""
    values = random.Random(1)
    table = None
    with open(out, "wb") as to, open(source, "rb") as f:
        to.truncate(size)
        for at in range(0, size - piece + 1, stride):
            data = f.read(piece)
            if len(data) < piece:
                f.seek(0)
                data = f.read(piece)
                table = bytes([0] + values.sample(range(1, 256), 255))
            to.seek(at)
            to.write(data.translate(table) if table else data)


def index_bytes(store, root):
    """Of an image's index in a store: docs/format.md."""
    total = 0
    nodes = [root]
    while nodes:
        files = [os.path.join(store, "blocks", node[:2], node) for node in nodes]
        total += sum(map(os.path.getsize, files))
        data = subprocess.run(["zstd", "-q", "-d", "-c", *files], stdout=subprocess.PIPE, check=True).stdout
        at, nodes = 0, []
        while at < len(data):
            level, count = struct.unpack_from("<4xB3xI", data, at)
            at += 12
            if level:
                nodes += [data[i + 8:i + 40].hex() for i in range(at, at + 40 * count, 40)]
            at += 40 * count
    return total


def publish(workplace, image, store):
    """(seconds, CPU seconds) of publishing it into a new store; with the disk's wait at the end, as ours always has it."""
    return run([workplace.inetboot, "publish", image, store, "--name", "sized", "--key", workplace.key, "--level", "3"], PUBLISH_S)[:2]


class SizedOffer:
    """An image on the server, in a store and as it is."""

    name, inside = "sized", ()

    def __init__(self, workplace, image):
        self.root, self.url = workplace.root, workplace.url
        self.store = tempfile.mkdtemp(prefix="sized.", dir=self.root)
        self.link = "/%s/sized#%s" % (os.path.basename(self.store), workplace.public)
        self.image = image

    def path(self, form):
        return {"store": self.store, "img": self.image}[form]


def sizes(workplace, rounds, clock):
    """{label: Samples by tool}"""
    by_size = {}
    image = os.path.join(workplace.root, "sized.img")
    for label, size, stride, piece in SIZES:
        samples = by_size[label] = Samples()
        say("scale: making an image of %s" % label)
        make_image(image, size, stride, piece, workplace.large)
        for number in range(rounds):
            if clock.over(number):
                break
            say("scale, round %d: %s (load %.1f)" % (number + 1, label, load()))
            offer = SizedOffer(workplace, image)
            try:
                one_size(workplace, offer, samples, number, size, stride, piece)
            except (Failed, OSError) as why:
                samples.fail(InetBoot.name, why)
                break
            finally:
                run(["rm", "-rf", offer.store], 600)
        os.unlink(image)
        run(["fstrim", workplace.dir], 600)  # gives the room back to the disk that the run's file system lies on
    return by_size


def one_size(workplace, offer, samples, number, size, stride, piece):
    os.sync()
    wall, cpu = publish(workplace, offer.image, offer.store)
    samples.add(InetBoot.name, "publish_s", wall)
    samples.add(InetBoot.name, "publish_cpu_s", cpu)
    info = json.loads(run([workplace.inetboot, "info", "--json", offer.url + offer.link], 60)[2])
    samples.add(InetBoot.name, "chunks", info["chunks"])
    samples.add(InetBoot.name, "index_bytes", index_bytes(offer.store, info["root"]))
    if size // stride * piece <= GIB:
        out = offer.image + ".zst"
        samples.add("zstd -3 -T0", "publish_s", run(["zstd", "-q", "-f", "-3", "-T0", offer.image, "-o", out], PUBLISH_S)[0])
        os.unlink(out)
    for kind in SIZE_TOOLS:
        reader = kind(workplace, offer)
        try:
            drop_page_cache()
            start = time.monotonic()
            path = reader.start()
            samples.add(kind.name, "start_s", time.monotonic() - start)
            result = read_pass(path, "spread", SPREAD_READERS, SPREAD_S, offsets_seed(number, "spread"), stride, piece, limit=SPREAD_S)
            samples.add(kind.name, "reads_per_s", result["bytes"] / 4096 / result["seconds"])
            take_memory(lambda what, value: samples.add(kind.name, what, value), reader)
        finally:
            reader.stop(forget_cache=True)


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
        while clients and time.monotonic() - start < CLIENTS_S:
            for pid, child in list(clients.items()):
                if child.poll() is not None:
                    del clients[pid]
                    if child.returncode:
                        raise Failed("a client ended with status %d" % child.returncode)
                    ended.append(time.monotonic() - start)
            time.sleep(0.02)
        if clients:
            raise Failed("%d of %d clients were not done after %d s" % (len(clients), CLIENTS, CLIENTS_S))
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


def many_clients(workplace, rounds, clock):
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


def measure(workplace, rounds, clock):
    return {
        "readers": {str(count): samples.json() for count, samples in many_readers(workplace, rounds, clock).items()},
        "clients": many_clients(workplace, rounds, clock).json(),
        "sizes": {label: samples.json() for label, samples in sizes(workplace, rounds, clock).items()},
    }
