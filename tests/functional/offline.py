#!/usr/bin/env python3
"""What is in the cache is there without a network, at once: with packets that vanish, no route, a name server that says nothing, a server
that refuses. A network that is slow, but there, is used; what comes too late is used at the next start."""
import os, shutil, sys

if os.environ.get("OFFLINE_NAMESPACE") != "made":
    # A network of our own, with a black hole in it. Names are asked from there, too.
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        print("skipped: no network namespace can be made here (root, iproute2, util-linux)")
        sys.exit(77)
    os.environ["OFFLINE_NAMESPACE"] = "made"
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
from mountlib import *

need_fuse()


def ip(*args):
    subprocess.run(["ip", *args], check=True)


HOLE = "10.99.0.2"  # the other end of a cable that nobody listens at
ip("link", "set", "lo", "up")
ip("link", "add", "cable", "type", "veth", "peer", "name", "end")
for name in ("cable", "end"):
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as f:
        f.write("1")
    ip("link", "set", name, "up")
ip("addr", "add", "10.99.0.1/24", "dev", "cable")
ip("neigh", "add", HOLE, "lladdr", "02:00:00:00:00:02", "dev", "cable")


def away():
    ip("addr", "del", f"{HOLE}/32", "dev", "lo")


def back():
    ip("addr", "add", f"{HOLE}/32", "dev", "lo")


back()
key = make_key()
make_image("image", 6_000_000, 1)
data = content("image")
publish("image", store="www")
server = Server("www", bind=HOLE)
link = f"{server.url}/image#{key}"
run("pull", "--cache", "cache", link)
away()


def offline(m, most, what, seconds):
    took = time.monotonic() - start
    check(took < most, f"{what}: {took:.1f} s until it was mounted")
    check_all(m.disk, data, seconds)
    said = [line for line in m.said().splitlines() if "mounted at" not in line]
    check(len(said) == 1 and "starting from version 1 in the cache" in said[0], f"{what}: {said}")
    check(m.status()["from_copy"], "the status does not tell that the manifest is a copy")
    print(f"{what}: {took:.2f} s")


# packets vanish
start = time.monotonic()
m = Mount(link)
offline(m, 2, "black hole", 20)
m.end()
start = time.monotonic()
m = Mount(link, "--net-timeout", "60", "--mirror", f"http://{HOLE}:81")
offline(m, 2, "black hole, with a longer --net-timeout and a mirror in it", 20)
m.end()

# no route; a name that nobody can look up, as the name server is in the hole, or not reachable at all
named = link.replace(HOLE, "store.example")
with open("resolv.conf", "w") as f:
    f.write(f"nameserver {HOLE}\n")
subprocess.run(["mount", "--bind", "resolv.conf", "/etc/resolv.conf"], check=True)
start = time.monotonic()
m = Mount(named)
offline(m, 2, "silent name server", 20)
m.end()
ip("link", "set", "cable", "down")
for what, at in (("no route", link), ("no route to a name server", named)):
    start = time.monotonic()
    m = Mount(at)
    offline(m, 1, what, 20)
    m.end()
ip("link", "set", "cable", "up")
ip("neigh", "replace", HOLE, "lladdr", "02:00:00:00:00:02", "dev", "cable")

# not pulled, only read once: it waits longer, for a slow network is better than an old version whose blocks may be gone
back()
m = Mount(link, cache="read")
check_all(m.disk, data)
m.end()
away()
start = time.monotonic()
m = Mount(link, cache="read")
offline(m, 12, "black hole, after reading all", 20)
m.end()

# a pinned version needs no network in any case
back()
pinned = link.replace("#", "@1#")
run("pull", "--cache", "cache", pinned)
away()
start = time.monotonic()
m = Mount(pinned)
check(time.monotonic() - start < 1, "a pinned version waits for the network")
check_all(m.disk, data)
m.end()

# a newer version that comes in time is used; one that comes late, at the next start, also when the network is back only later
back()
make_image("image", 6_000_000, 2)
publish("image", store="www")
new = content("image")
server.rules("/image/manifest delay ms=2500")
m = Mount(link)
check(m.status()["version"] == 1, "it waited for a slow server")
wait_for(lambda: "version 2 of image has come" in m.said(), "the late manifest", 20)
check_all(m.disk, data)
m.end()
away()
start = time.monotonic()
m = Mount(link, wait=False)
m.ready()
check(m.status()["version"] == 2, "the version that came late is forgotten")
m.end()
back()
server.rules("/image/manifest delay ms=300")
make_image("image", 6_000_000, 3)
publish("image", store="www")
m = Mount(link)
check(m.status()["version"] == 3 and not m.status()["from_copy"], "a newer version was not taken though it came in time")
check_all(m.disk, content("image"))
m.end()
done()
