#!/usr/bin/env python3
"""Mirrors with different manifests: the newest wins, the first good one does not wait for the slow, lying ones do no harm, and who offers
less than was seen before is named."""
from mountlib import *

need("signify-openbsd")
public = make_key()
make_key("other")
make_image("a.img", 200000, 1)
for version in (1, 2, 3):
    with open("a.img", "ab") as f:
        f.write(bytes([version]) * 1000)
    publish("a.img", "x")
    shutil.copytree("store", f"v{version}")
publish("a.img", "x", key="other", store="foreign")
server = {n: Server(f"v{n}") for n in (1, 2, 3)}
foreign = Server("foreign")
users = iter(range(1000))
KEY = "#" + public


def fresh_user():
    user = next(users)
    os.environ.update(XDG_STATE_HOME=f"{DIR}/state{user}", XDG_CACHE_HOME=f"{DIR}/cache{user}")


def url(n):
    return n if isinstance(n, str) else server[n].url


def look(first, *mirrors, at="", status=0, options=()):
    """What `info` says, how long it took, and the version."""
    start = time.monotonic()
    text = run("info", *options, *[w for m in mirrors for w in ("--mirror", url(m))], f"{url(first)}/x{at}{KEY}", status=status)
    found = next((int(line.split()[1].rstrip(",")) for line in text.split("\n") if line.startswith("version  ")), None)
    return text, time.monotonic() - start, found


# The newest of those that come within the grace, which is the last here.
for attempt in range(10):  # a machine under load may take longer than the grace for one answer
    fresh_user()
    text, _, found = look(1, 2, 3)
    if found == 3:
        break
check(found == 3, f"the newest version never won: {text}")
# One that has not come when the newest did is not told of; so they come first here.
server[3].rules("/x/manifest delay ms=150")
for attempt in range(10):
    fresh_user()
    text, _, found = look(1, 2, 3)
    if found == 3:
        break
check(found == 3 and all(f"{server[n].url} still has version {n} of x" in text for n in (1, 2)), text)
server[3].rules()

# What this user has seen by now: mirrors that go back are named, and are an error only when there is no better one.
text, _, _ = look(1, status=1)
check(server[1].url in text and "version 1, but version 3 was seen" in text and "x@1" in text, text)
text, _, _ = look(1, 2, status=1)
check(server[1].url in text and server[2].url in text and "version 3 was seen" in text, text)
server[3].rules("/x/manifest delay ms=1500")
text, _, found = look(1, 2, 3)
check(found == 3, f"an old version of one mirror ended the search: {text}")
for n in (1, 2):
    check(text.count(f"{server[n].url} offers version {n} of x, older than what was seen") == 1, f"mirror {n} is not named once: {text}")
check(look(1, at="@1")[2] == 1, "a version that is named is refused")
server[3].rules()

# A proxy that answers with what it has kept.
text, _, _ = look(3, status=1, options=("--proxy", server[1].url))
check("version 1, but version 3 was seen" in text, f"a rollback by a proxy: {text}")

# A cache whose owner put an older copy there.
copies = [os.path.join(d, f) for d, _, files in os.walk(os.environ["XDG_CACHE_HOME"]) for f in files if f == "x" and "manifests" in d]
check(len(copies) == 1, f"copies of the manifest: {copies}")
good = content(copies[0])
server[3].rules("/* status code=503")
check(look(3)[2] == 3, "no start from the cache")
shutil.copy("v1/x/manifest", copies[0])
text, _, _ = look(3, status=1, options=("--net-timeout", "1"))
check("503" in text, f"an old copy in the cache was used, or what happened: {text}")
with open(copies[0], "wb") as f:
    f.write(good)
server[3].rules()

# Slow and silent ones are not waited for.
for rule in ("/x/manifest delay ms=20000", "/x/manifest stall", "/x/manifest drip rate=10"):
    fresh_user()
    server[3].rules(rule)
    text, seconds, found = look(3, 2, 1)
    check(found in (1, 2) and seconds < 10, f"{rule}: version {found} after {seconds:.1f} s: {text}")
server[3].rules()

# Lies do no harm, in the first place or the last, whether they are faster or not.
for rule in ("/x/manifest login", "/x/manifest flip", "/x/manifest truncate", "/x/manifest empty", "/x/manifest zeros", "/x/manifest status code=404",
             "/x/manifest swap with=x/key.pub", "/x/manifest inject", "/x/manifest reset"):
    server[1].rules(rule)
    for order in ((1, 2), (2, 1)):
        fresh_user()
        text, _, found = look(*order)
        check(found == 2, f"{rule}, order {order}: {text}")
server[1].rules()
for first, second in ((foreign.url, 2), (2, foreign.url)):
    for slow in ("", "/x/manifest delay ms=1000"):  # slower than the grace after the stranger's answer
        server[2].rules(*([slow] if slow else []))
        fresh_user()
        text, _, found = look(first, second)
        check(found == 2, f"a stranger's manifest kept a good one out ({first}, {slow}): {text}")
server[2].rules()
fresh_user()
text, _, _ = look(foreign.url, status=1)
check("another key" in text and foreign.url in text, text)

# What comes too late for a start from the cache counts as seen all the same.
fresh_user()
need_fuse()
late = Server(shutil.copytree("v1", "late"))
link = f"{late.url}/x{KEY}"
run("pull", "--cache", "pulled", link)
shutil.copytree("v3", "late", dirs_exist_ok=True)
late.rules("/x/manifest delay ms=1500")
mounted = Mount(link, cache="pulled")
check(mounted.status()["version"] == 1, "a start from a full cache waited for a slow server")
wait_for(lambda: "version 3 of x has come" in mounted.said(), "the late manifest")
mounted.end()
late.rules()
shutil.copy("v1/x/manifest", "late/x/manifest")
text = run("info", "--cache", "pulled", link, status=1)
check("version 1, but version 3 was seen" in text, text)
shutil.copy("v3/x/manifest", "late/x/manifest")
late.rules("/x/manifest delay ms=1500")  # --strict has no use for a copy, so it waits
check("starting from" not in run("info", "--strict", "--cache", "pulled", link), "--strict does not wait for a slow server")

# Mirrors that the manifest names are known before any server answers, from the copy in the cache.
fresh_user()
home = Server("v3")
# On a usual port: a manifest may send its readers to no other.
named = Server("v3", bind=f"127.{os.getpid() % 200 + 10}.{os.getpid() // 200 % 250}.7", options=("--port", "8080"))
publish("a.img", "x", "--mirror", named.url, store="v3")
check(look(home.url)[2] == 4, "the version with a mirror")
home.stop()
publish("a.img", "x", "--mirror", named.url, "--mirror", server[2].url, store="v3")
text, seconds, found = look(home.url)
check(found == 5 and "starting from" not in text, f"the mirror in the copy was not asked: {text}")
check(seconds < 10, f"a server that is gone was waited for: {seconds:.1f} s")
done()
