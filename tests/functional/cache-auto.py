#!/usr/bin/env python3
"""--cache auto: the folder knxblock at the top of a stick is found, by each command that fetches; what cannot be used is told of and not used;
a mount keeps the one that it began with, whatever is attached later. In a mount namespace of its own."""
from mountlib import *

if os.geteuid():
    skip("mounting a stick needs root")
own_mounts()
need_fuse()
need("mkfs.ext4")
key = make_key()
make_image("image", 8_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
MIB = 1 << 20


class Stick:
    """A file system with a folder knxblock on it."""

    def __init__(self, name, mib):
        self.name, self.cache = name, f"{DIR}/{name}/knxblock"
        with open(f"{name}.img", "wb") as f:
            f.truncate(mib * MIB)
        os.mkdir(name)
        subprocess.run(["mkfs.ext4", "-q", f"{name}.img"], check=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        if subprocess.run(["mount", "-o", "loop", f"{name}.img", name], stderr=subprocess.DEVNULL).returncode:
            skip("no loop device can be mounted here")
        at_end.append(self.take_away)
        os.mkdir(self.cache)

    def take_away(self):
        if os.path.ismount(self.name):
            subprocess.run(["umount", "-l", self.name], check=True)

    def blocks(self):
        return len(all_blocks(self.cache)) if os.path.isdir(self.cache) else 0


def pull(*options, status=0):
    subprocess.run(["rm", "-rf", *(f"{s.cache}/blocks" for s in sticks), "xdg-cache"], check=True)
    return run("pull", "--cache", "auto", *options, link, status=status)


def check_ordinary(said, what):
    check("make one there" in said and "ordinary cache" in said, f"{what}: not said what to do: {said}")
    check(all_blocks("xdg-cache/inetboot") and not any(s.blocks() for s in sticks), f"{what}: the ordinary cache is not used: {said}")


def check_on(stick, said, what):
    check(f"the cache is in {stick.cache}," in said and f"is in {stick.cache}:" in said, f"{what}: {said}")
    check(stick.blocks() and not os.path.exists("xdg-cache"), f"{what}: the blocks are elsewhere: {said}")
    check([s for s in sticks if s.blocks()] == [stick], f"{what}: the blocks are on the wrong stick: {said}")


sticks = []
check_ordinary(pull(), "no stick")
small = Stick("stick", 64)
sticks.append(small)
check_on(small, pull(), "one stick")
check("cache" in run("pull", "--cache", "other", "--cache", "auto", link), "the last --cache does not count")
run("pull", "--cache", "auto", "--cache", "other", link)
check(all_blocks("other"), "the last --cache does not count")

# What cannot be used.
subprocess.run(["rm", "-rf", f"{small.cache}/blocks"], check=True)
subprocess.run(["mount", "-o", "remount,ro", small.name], check=True)
said = run("pull", "--cache", "auto", link)
check(f"{small.cache} is not used for the cache: Read-only" in said, f"read-only: not said: {said}")
check_ordinary(said, "read-only")
subprocess.run(["mount", "-o", "remount,rw", small.name], check=True)
os.rename(small.cache, f"{small.name}/elsewhere")
os.symlink("elsewhere", small.cache)
check_ordinary(pull(), "a symbolic link")
check(not os.path.exists(f"{small.name}/elsewhere/blocks"), "a symbolic link was followed")
os.unlink(small.cache)
with open(small.cache, "w"):
    check_ordinary(pull(), "a file")
os.unlink(small.cache)
os.mkdir(small.cache)
os.rmdir(f"{small.name}/elsewhere/tmp")
subprocess.run(["mount", "-t", "tmpfs", "none", small.name], check=True)  # hides it
os.mkdir(small.cache)
check_ordinary(pull(), "a tmpfs over a stick")
subprocess.run(["umount", small.name], check=True)
check_on(small, pull(), "a stick that was hidden")

# Of several. What lies on the root file system's device goes last, however much room is there.
os.makedirs("internal/knxblock")
os.mkdir("bound")
subprocess.run(["mount", "--bind", "internal", "bound"], check=True)
at_end.append(lambda: subprocess.run(["umount", "bound"], check=True))
if os.stat("internal").st_dev == os.stat("/").st_dev:
    check_on(small, pull(), "a stick beside the root file system")
large = Stick("large stick", 160)
sticks.append(large)
check_on(large, pull(), "two sticks")
with open(f"{large.name}/fill", "wb") as f:
    os.posix_fallocate(f.fileno(), 0, 120 * MIB)
check_on(small, pull(), "the larger one is full")
check_on(small, run("--quiet", "pull", "--cache", "auto", link) + pull(), "quietly")
check("is in" not in run("--quiet", "info", "--cache", "auto", link), "it is not quiet")
check("the cache is in" not in run("info", "--cache", "auto", "--no-cache", link), "a cache is looked for with --no-cache")

# A mount, and what follows its first worker, keep what they began with.
def where(m):
    return m.status()["cache"]["dir"]


def next_worker(m):
    before = m.status()["worker"]["started"]
    os.kill(m.worker(), signal.SIGKILL)
    wait_for(lambda: m.worker(), "another worker")
    check(m.status()["worker"]["started"] > before, "no other worker")


m = Mount(link, cache="auto")
check(where(m) == small.cache, f"{where(m)}: {m.said()}")
os.unlink(f"{large.name}/fill")
next_worker(m)
check(where(m) == small.cache, f"the next worker has {where(m)}")
run("mount", "--replace", m.dir)
check(where(m) == small.cache and m.said().count("the cache is in") == 1, f"the program that took it over has {where(m)}: {m.said()}")
check_all(m.disk, data)
check(m.status()["network"]["requests"] == 0, f"not from the cache: {m.status()['network']}")

# The same for one that found none.
places = [small.name, large.name, "bound"]
for place in places:
    os.rename(f"{place}/knxblock", f"{place}/other")
other = Mount(link, dir="other-mnt", cache="auto")
for place in places:
    os.rename(f"{place}/other", f"{place}/knxblock")
run("mount", "--replace", other.dir)
check(where(other) == f"{DIR}/xdg-cache/inetboot", f"after a hand-over it found {where(other)}: {other.said()}")
other.end()

# The stick is taken away: what starts then makes no folder where it was.
small.take_away()
next_worker(m)
check_all(m.disk, data)
check(not os.listdir(small.name), f"{small.name} is not empty")
check("is not there any more; going on without" in m.said(), m.said())
m.end()

# By NBD, where that was built in.
subprocess.run(["rm", "-rf", f"{large.cache}/blocks"], check=True)
sanitized = "libasan" in subprocess.run(["ldd", INETBOOT], stdout=subprocess.PIPE, check=True).stdout.decode()
if shutil.which("nbdkit") and not sanitized and "nbdkit's headers" not in run("nbd", "nowhere", status=1):
    p = subprocess.run([INETBOOT, "nbd", "--cache", "auto", link, "--", "--run", 'nbdcopy "$uri" copy.img'], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=SECONDS)
    check(p.returncode == 0 and content("copy.img") == data, p.stdout.decode())
    check(large.blocks() and not os.path.exists("auto"), f"NBD keeps nothing there: {p.stdout.decode()}")

# A proxy.
p = subprocess.Popen([INETBOOT, "serve", "--port", "0", "--cache", "auto", "--proxy", link], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
at_end.append(lambda: (p.kill(), p.wait()))
p.stdout.readline()
through = p.stdout.readline().decode().strip()
before = large.blocks()
subprocess.run(["rm", "-rf", f"{large.cache}/blocks"], check=True)
run("pull", "--cache", "client", through)
check(large.blocks() == len(all_blocks("client")), f"the proxy keeps {large.blocks()} blocks there, {len(all_blocks('client'))} were asked for")
done()
