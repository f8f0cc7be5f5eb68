"""A User-Mode Linux boot of a small Debian to its login prompt: from a raw file on this machine, over HTTP with empty caches, and with
the local cache of the boot before."""

import contextlib
import json
import os
import tempfile
import threading

from measure import Failed, Samples, drop_page_cache, load, run, say, warm_page_cache

LIMIT_S = 240
PROMPT = "login: "
STEPS = ("raw file", "http, cold", "http, warm cache")


@contextlib.contextmanager
def watching(console, prompt, act):
    """Meanwhile, calls act() in a thread once the prompt is in that file."""
    over = threading.Event()

    def watch():
        while not over.wait(0.01):
            if os.path.exists(console):
                with open(console, "rb") as f:
                    if prompt.encode() in f.read():
                        act()
                        return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def boot(workplace, link, cache, limit=LIMIT_S, inside=(), prompt=PROMPT, at_prompt=lambda: None):
    """The report of a boot until the console shows the prompt, and back to a guest that is off. inside: what runs a command in a namespace."""
    report, console = (os.path.join(workplace.dir, name) for name in ("report.json", "console"))
    for path in (report, console):
        if os.path.exists(path):
            os.unlink(path)
    with watching(console, prompt, at_prompt):
        run([*inside, workplace.inetboot, "boot", link, "--cache", cache, "--console", console, "--until", prompt, "--network", "none", "--report", report,
             "--timeout", str(limit)], limit + 60)
    with open(report) as f:
        result = json.load(f)
    if not result.get("until_ms"):
        raise Failed("no '%s': ended %s" % (prompt.strip(), result.get("end")))
    return result


def take(samples, step, result):
    for what in ("kernel_ms", "init_ms", "login_ms"):
        samples.add(step, what, result[what])
    network = (result.get("disk") or {}).get("network") or {}
    samples.add(step, "requests", network.get("requests", 0))
    samples.add(step, "bytes", network.get("bytes", 0))


def measure(workplace, rounds):
    samples = Samples()
    image = workplace.debian_image()
    link = workplace.url + workplace.publish(image, "debian", "boot")
    info = json.loads(run([workplace.inetboot, "info", "--json", link], 60)[2])
    for number in range(rounds):
        cache = tempfile.mkdtemp(prefix="cache.", dir=workplace.dir)
        for step in STEPS:
            if step in samples.failed:
                continue
            say("boot, round %d of %d: %s (load %.1f)" % (number + 1, rounds, step, load()))
            drop_page_cache()
            warm_page_cache(os.path.join(workplace.root, "boot"))
            try:
                take(samples, step, boot(workplace, image if step == "raw file" else link, cache))
            except (Failed, OSError, ValueError, KeyError) as why:
                samples.fail(step, why)
    return samples, {"size": info.get("size"), "stored": info.get("stored"), "chunks": info.get("chunks")}
