#!/usr/bin/env python3
"""Mounts behind a bad server, one for each kind of fault and all at the same time: right bytes, or a clear error within the time that
was allowed; never wrong bytes, and never a reader that waits for ever."""
import errno
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 2_500_000, 1, holes=False)
data = content("image")
os.mkdir("www")
publish("image", store="www/good")
shutil.copy("image", "www/good/plain.img")
server, mirror = Server("www"), Server("www")
LIMIT = 90    # seconds for a reader: the program's own limits are 15 s for a silent server, and these add up
running = []  # (what, mount, reader, what is right)


def outcome(path, may_fail, must_fail=False):
    """Text, unless all bytes are right; or unless the right ones came until an error, where that may or must be."""
    fd = os.open(path, os.O_RDONLY)
    at = 0
    while at < len(data):
        try:
            got = os.pread(fd, 100_000, at)
        except OSError as e:
            return None if (may_fail or must_fail) and e.errno == errno.EIO else f"{errno.errorcode[e.errno]} at {at}"
        if not got or got != data[at:at + len(got)]:
            return f"wrong bytes at {at}, or none"
        at += len(got)
    return "no error" if must_fail else None


def start(what, rules, expect, *options, image="image", cache=False):
    """expect: "right", "either", or words that the error must have. rules: PATH stands for the blocks of this mount."""
    name = f"m{len(running)}"
    os.symlink("good", f"www/{name}")
    path = f"/{name}/plain.img" if image == "plain.img" else f"/{name}/blocks/*"
    server.control("POST", {"rules": [r.replace("PATH", path).replace("ALL", f"/{name}/*") for r in rules]})
    link = f"{server.url}/{name}/{image}" + ("" if image == "plain.img" else f"#{key}")
    m = Mount(link, *[o.replace("MIRROR", f"{mirror.url}/{name}") for o in options], dir=name, cache=name + ".cache" if cache else None)
    reader = Child(outcome, m.disk, expect == "either", isinstance(expect, tuple))
    running.append((f"{what} {rules} {options} {image}", m, reader, expect))


def finish():
    for what, m, reader, expect in running:
        wrong = reader.result(LIMIT, what)
        check(not wrong, f"{what}: {wrong}: {m.said()}")
        status = m.status()
        error = status.get("last_error", "")
        if isinstance(expect, tuple):
            check(status["read_errors"] and error and error in m.said(), f"{what}: the error is not told: {m.said()}")
            for word in expect:
                check(word in error, f"{what}: no '{word}' in: {error}")
            check(m.disk.split("/")[0] + "/blocks/" in error, f"{what}: the error does not say where: {error}")
        m.end()


# Faults that come and go. With a server to itself, a reader gets the bytes in the end.
for fault in ["stall count=2", "stall at=500 count=2", "drip rate=100 count=2", "reset every=3", "reset at=300 every=3",
              "truncate every=3", "extra every=2", "flip every=3", "wronglength every=3", "wronglength delta=7 every=3",
              "login every=3", "gzip every=3", "status code=500 every=3", "status code=503 every=4 retry=1",
              "status code=429 every=6 retry=1", "status code=503 every=8 retry=date:1", "status code=416 every=3",
              "loop every=4", "delay ms=300"]:
    start("now and then", [f"PATH {fault}"], "right", cache=True)
start("at the start", ["ALL reset count=1", "ALL status code=503 count=2", "ALL login count=1"], "right")

# Faults that stay: another mirror has the bytes.
for fault in ["reset", "truncate", "flip", "wronglength", "login", "status code=404", "status code=403", "status code=410",
              "status code=500", "loop"]:
    start("always, with a mirror", [f"PATH {fault}"], "right", "--mirror", "MIRROR")

# Without one, it is a clear error.
for fault, word in [("stall", "no good answer within 4.0 s"), ("reset", "no good answer within 4.0 s"), ("drip rate=100", "4.0 s"),
                    ("truncate", ""), ("flip", ""), ("wronglength", ""), ("login", ""), ("status code=404", "404"),
                    ("status code=403", "403"), ("status code=416", "416"), ("status code=429", "429"), ("status code=500", "500"),
                    ("status code=503 retry=100", "503"), ("loop", "redirect")]:
    start("always", [f"PATH {fault} after=3"], (word, "block "), "--net-timeout", "4")

# A plain file has no hashes: a flipped byte cannot be told. All that shows is held to be an error.
for fault in ["stall at=500 count=1", "reset every=3", "reset at=300 every=3", "truncate every=3", "wronglength every=3",
              "wrongrange every=3", "status code=503 every=3", "noranges every=3", "login every=3", "gzip every=3"]:
    start("plain", [f"PATH {fault} after=3"], "either", "--net-timeout", "20", image="plain.img")

# Anything, in seeded disorder.
rng = random.Random(5)
KINDS = ["stall at=100 count=1", "reset", "reset at=700", "truncate", "extra", "flip", "wronglength delta=3", "login", "status code=500",
         "status code=503 retry=1", "status code=502", "delay ms=50", "status code=404"]
for _ in range(6):
    rules = [f"PATH {rng.choice(KINDS)} after={rng.randrange(5)} every={rng.randrange(4, 12)}" for _ in range(4)]
    start("disorder", rules, "either", "--net-timeout", "40")
    start("disorder", rules, "right", "--mirror", "MIRROR")

# Away for half a minute in the middle of it, and back.
away = Server("www", "/good/blocks/* delay ms=100")
m = Mount(f"{away.url}/good/image#{key}", dir="away", cache=None)
reader = Child(outcome, m.disk, False)
running.append(("away", m, reader, "right"))
wait_for(lambda: len(away.log()["requests"]) > 3, "a few requests")
away.gone(30)
wait_for(lambda: "waiting for it to return" in m.said(), "the word that the server is away")
check(m.status()["network"]["gone"] > 0, f"the status does not tell that the server is away: {m.status()}")
finish()
check("answers again" in content("away.log").decode(), "no word that the server is back")
done()
