#!/usr/bin/env python3
"""The cache on a real FAT32 file system, such as sticks have: no hard links, no modes, times of two seconds, names that fold case. It is
found, filled until it is full, evicts, is mounted again and has the blocks, and is pulled out while it is read. The driver is fusefat,
where the kernel has none that may be used here; its one thread (-s) is what it is known to work with."""
import re
from mountlib import *

if os.geteuid():
    skip("--cache auto may only see this test's stick: a mount namespace needs root")
own_mounts()
need_fuse()
need("fusefat", "mkfs.fat", "fsck.fat")
os.environ["PATH"] += ":/usr/sbin:/sbin"
key = make_key()
make_image("image", 24_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
MIB = 1 << 20
CACHE = f"{DIR}/stick/knxblock"
SMALL = ("--memory-limit", "32M")


class Stick:
    def __init__(self):
        os.mkdir("stick")
        self.process = None
        at_end.append(self.clear)
        self.renew()

    def renew(self):
        """A new file system: fusefat looks for free clusters behind those that it took last, and stays full once it was."""
        self.clear()
        with open("stick.img", "wb") as f:
            f.truncate(40 * MIB)
        subprocess.run(["mkfs.fat", "-F", "32", "stick.img"], check=True, stdout=subprocess.DEVNULL)
        self.plug_in()
        os.mkdir(CACHE)

    def plug_in(self):
        self.process = subprocess.Popen(["fusefat", "-f", "-s", "-o", "rw+", f"{DIR}/stick.img", f"{DIR}/stick"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: is_fuse("stick"), "fusefat")

    def unmount(self):
        """In order."""
        subprocess.run(["fusermount3", "-u", "stick"], check=True, timeout=SECONDS)
        self.process.wait(SECONDS)

    @staticmethod
    def repair():
        """fusefat loses clusters when it is full, or killed."""
        subprocess.run(["fsck.fat", "-aw", "stick.img"], stdout=subprocess.DEVNULL)

    def pull_out(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["fusermount3", "-uz", "stick"], check=True, timeout=SECONDS)

    def clear(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        while is_fuse("stick"):
            subprocess.run(["fusermount3", "-uzq", "stick"], timeout=SECONDS)


def blocks():
    """By name, with their sizes. All names must be in full and lower case."""
    out = {}
    for path in all_blocks(CACHE):
        try:
            out[os.path.basename(path)] = os.path.getsize(path)
        except FileNotFoundError:  # evicted just now
            pass
    check(all(re.fullmatch("[0-9a-f]{64}", name) for name in out), f"names: {list(out)[:3]}")
    return out


def requests(m):
    return m.status()["network"]["requests"]


def cache(m):
    return m.status()["cache"]


def told(m):
    return [line for line in m.said().splitlines() if "cache" in line and "without it" in line]


def same_as_published(have):
    return all(content(block_file(CACHE, name)) == content(block_file("www", name)) for name in have)


def pull_all():
    """On a loaded machine the driver may be so slow that the cache goes without it for a while."""
    def pulled():
        return ", 0 of them fetched now" in run("pull", "--cache", "auto", link)
    wait_for(pulled, "a pull that finds all on the stick")


every = {os.path.basename(path): os.path.getsize(path) for path in all_blocks("www")}
stick = Stick()
said = run("pull", "--cache", "auto", link)
check(f"is in {CACHE}:" in said, f"the stick was not found: {said}")
check(blocks() == every, f"{len(blocks())} blocks of {len(every)}: {said}")
check(not os.listdir(f"{CACHE}/tmp"), "temporary files are left")
pull_all()

# A driver that hangs is not waited for.
stick.process.send_signal(signal.SIGSTOP)
start = time.monotonic()
said = run("pull", "--cache", "auto", link)
took = time.monotonic() - start
stick.process.send_signal(signal.SIGCONT)
check("does not answer" in said and "ordinary cache" in said and took < 30, f"a driver that hangs: {took:.1f} s: {said}")

# Another machine, which writes names in capitals, and where no server is in reach: the manifest comes from the stick, too.
for path in all_blocks(CACHE)[::2]:
    os.rename(path, f"{path}.new")
    os.rename(f"{path}.new", os.path.join(os.path.dirname(path), os.path.basename(path).upper()))
stick.unmount()
stick.plug_in()
shutil.rmtree("xdg-state")
server.stop()
m = Mount(link, *SMALL, cache="auto")
check_all(m.disk, data)
check(cache(m)["hits"] >= len(every) and cache(m)["stores"] == 0, f"not from the stick: {cache(m)}")
m.end()
server = Server("www")
link = f"{server.url}/image#{key}"

# Full: what is read goes on, right; one line; what a pull could not keep is said.
stick.renew()
with open("stick/film", "wb", buffering=0) as f:
    try:
        while True:
            f.write(bytes(MIB // 4))
    except OSError as e:
        print(f"full: {e.strerror} after {f.tell() // MIB} MiB")
    f.truncate(f.tell() - 6 * MIB)
m = Mount(link, *SMALL, cache="auto")


def filled():
    """Stores are left out where the stick is too slow; then it takes another time."""
    with open(m.disk, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    check_all(m.disk, data)
    return cache(m)["write_errors"]


wait_for(filled, "the stick to be full")
check_all(m.disk, data)
have = blocks()
check(have and have != every, f"{len(have)} of {len(every)} blocks are on a stick that has no room for them")
check(len(told(m)) == 1, f"{cache(m)}: {m.said()}")
m.end()
check("not all blocks could be written" in run("pull", "--cache", "auto", link, status=1), "a pull onto a full stick does not fail")
print(f"full: {len(have)} of {len(every)} blocks fit")
stick.unmount()
stick.repair()
stick.plug_in()
m = Mount(link, *SMALL, cache="auto")
check_all(m.disk, data)
have = blocks()  # a repair may cost a block, which the reader then threw away
check(cache(m)["hits"] and have and same_as_published(have), f"from a full stick: {cache(m)}")
m.end()

# Eviction.
stick.renew()
pull_all()
LIMIT = 6 * MIB
m = Mount(link, *SMALL, "--cache-size", str(LIMIT), cache="auto")
os.unlink(block_file(CACHE, sorted(every)[0]))  # the first store begins to count
check_all(m.disk, data)
wait_for(lambda: sum(blocks().values()) <= LIMIT, "the cache's bound")
check(cache(m)["evictions"], f"{cache(m)}")
m.end()
stick.unmount()
stick.plug_in()
have = blocks()
check(len(have) > 20 and same_as_published(have), f"{len(have)} blocks are left")
m = Mount(link, *SMALL, cache="auto")
check_all(m.disk, data)
check(cache(m)["hits"] and m.status()["bad_blocks"] == 0, f"{len(have)} blocks, and {cache(m)}")
m.end()
pull_all()
check(blocks() == every, "what was evicted does not come back")

# Pulled out in the middle of reading, which goes on from the network.
server.rules("/blocks/* delay ms=20")
m = Mount(link, *SMALL, cache="auto")
readers = [Child(read_all, m.disk, data), Child(read_randomly, m.disk, data, 7, 300)]
wait_for(lambda: cache(m)["hits"] > 20, "blocks from the stick")
stick.pull_out()
for reader in readers:
    wrong = reader.result()
    check(not wrong, f"{wrong}: {m.said()}")
check(requests(m) > 20 and cache(m)["state"] == "bypassed" and len(told(m)) == 1, f"{m.status()}: {m.said()}")
m.end()

# In the middle of writing: what is torn is not used.
server.rules()
stick.renew()
m = Mount(link, *SMALL, cache="auto")
reader = Child(read_all, m.disk, data)
wait_for(lambda: cache(m)["stores"] > 20, "blocks that go to the stick")
stick.pull_out()
wrong = reader.result()
check(not wrong, f"{wrong}: {m.said()}")
m.end()
stick.repair()
stick.plug_in()
m = Mount(link, *SMALL, cache="auto")
check_all(m.disk, data)
check(cache(m)["hits"] > 0, f"nothing is left of what was written: {cache(m)}")
m.end()
pull_all()
check(same_as_published(every), "not all is right after that")
done()
