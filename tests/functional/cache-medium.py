#!/usr/bin/env python3
"""The cache's medium fails, hangs, is slow, rots or is pulled out while a disk is in use: reads go on from the network, are right, and one
line tells about it; and they go on from the cache when it works again."""
import os, sys

FAULTFS = os.path.abspath(sys.argv[2])  # before the library changes to a folder of its own
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 48_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
SMALL = ("--memory-limit", "32M")


class Medium:
    def __init__(self, name):
        self.name, self.control = name, f"{DIR}/{name}.control"
        os.makedirs(f"{name}.real")
        os.makedirs(name)
        self.say("ok")
        self.process = subprocess.Popen([FAULTFS, f"{DIR}/{name}.real", self.control, name, "-f"], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        at_end.append(self.gone)
        wait_for(lambda: is_fuse(name), "faultfs")

    def say(self, word):
        with open(f"{self.control}.new", "w") as f:
            f.write(word)
        os.rename(f"{self.control}.new", self.control)

    def gone(self):
        self.say("ok")
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        while is_fuse(self.name):
            subprocess.run(["fusermount3", "-uzq", self.name], timeout=SECONDS)


def lines(m, *words):
    return [line for line in m.said().splitlines() if all(word in line for word in words)]


def read_part(path, start, end):
    """Right bytes from start to end? The kernel must not have kept them."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for at in range(start, end, 65536):
        if os.pread(fd, min(65536, end - at), at) != data[at:min(at + 65536, end)]:
            return f"wrong bytes at {at}"
    os.close(fd)


def check_part(m, start, end, seconds=SECONDS):
    wrong = Child(read_part, m.disk, start, end).result(seconds)
    check(not wrong, f"{m.dir}: {wrong}")


def state(m):
    return m.status()["cache"]["state"]


END = len(data)
stick = Medium("stick")
run("pull", "--cache", "stick/cache", link)

# errors: after a few of them nobody looks there any more; back when it works
for word in ("eio", "estale"):
    m = Mount(link, *SMALL, cache="stick/cache")
    check_part(m, 0, END // 4)
    check(m.status()["network"]["requests"] == 1 and state(m) == "used", f"{word}: blocks did not come from the cache")
    stick.say(word)
    check_part(m, END // 4, END)
    status = m.status()
    check(status["cache"]["state"] == "bypassed", f"{word}: {status['cache']}")
    check(0 < status["cache"]["load_errors"] < 60, f"{word}: it was asked again and again: {status['cache']}")
    check(len(lines(m, "cache", "without it")) == 1, f"{word}: not one line: {m.said()}")
    stick.say("ok")

    def back():  # by what is not in memory any more
        check_part(m, 0, END)
        return state(m) == "used"
    wait_for(back, "the cache to be used again", 20)
    check(len(lines(m, "works again")) == 1, m.said())
    before = m.status()["network"]["requests"]
    check_part(m, 0, END // 2)
    status = m.status()
    check(status["network"]["requests"] == before, f"{word}: the cache is not used again: {before}, {status}")
    m.end()

# slow: every block would take more than a second
m = Mount(link, *SMALL, cache="stick/cache")
stick.say("slow")
start = time.monotonic()
check_part(m, 0, END)
took = time.monotonic() - start
check(state(m) == "bypassed" and took < 25, f"{took:.1f} s with a slow cache, {m.status()['cache']}")
stick.say("ok")
m.end()

# it hangs: who was in there waits, all others read on; then nothing is lost
m = Mount(link, *SMALL, cache="stick/cache")
check_part(m, 0, END // 8)
stick.say("hang")
victim = Child(read_part, m.disk, END - 65536, END)  # far from what was read ahead
time.sleep(3)  # only time tells that it hangs
check_part(m, END // 2, END // 4 * 3, 20)
check(state(m) == "bypassed" and len(lines(m, "does not answer")) == 1, f"{m.status()['cache']} {m.said()}")
stick.say("ok")
check(not victim.result(20), "who waited for the medium got wrong bytes")
check_part(m, 0, END)
m.end()

# rot: more than a few bad blocks, and the network stands in; without a network what is good there still serves
for path in all_blocks("stick.real/cache")[::2]:
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) - 1)
m = Mount(link, *SMALL, cache="stick/cache")
check_part(m, 0, END // 2)
check(len(lines(m, "damaged")) == 1 and m.status()["bad_blocks"] > 5, m.said())
m.end()
run("pull", "--cache", "stick/cache", link)
good, at = [], 0  # a few blocks stay so
for length, digest in leaves("www", root(store="www"), manifest(store="www")["index"]["depth"] - 1, END):
    if at > END // 2 and len(good) < 40:
        good.append((at, at + length))
    elif digest:
        with open(block_file("stick.real/cache", digest), "r+b") as f:
            f.truncate(os.path.getsize(f.name) - 1)
    at += length
m = Mount(link, *SMALL, cache="stick/cache")
check_part(m, 0, END // 4)  # bad: the cache is bypassed, but for a try now and then
check(len(lines(m, "damaged")) == 1 and m.status()["cache"]["drops"] < 40, f"{m.status()['cache']}")
server.rules("/blocks/* reset")
start = time.monotonic()
check_part(m, (good[0][0] + 4095) // 4096 * 4096, good[-1][1] // 4096 * 4096)
took = time.monotonic() - start
check(took < 25, f"{took:.1f} s for good blocks of a bypassed cache without a network")
server.rules()
check_part(m, 0, END)
m.end()

# pulled out, for good: the file system is gone from one moment to the next
m = Mount(link, *SMALL, cache="stick/cache")
check_part(m, 0, END // 4)
subprocess.run(["fusermount3", "-uz", "stick"], check=True)
stick.process.kill()
stick.process.wait()
check_part(m, END // 4, END)
check(state(m) == "bypassed" and len(lines(m, "cache", "without it")) == 1, f"{m.status()['cache']} {m.said()}")
m.end()

# the folder is removed, or another one now
m = Mount(link, *SMALL, cache="cache")
check_part(m, 0, END // 2)
shutil.rmtree("cache")
check_part(m, 0, END)
os.mkdir("cache")
check_part(m, END // 4, END)
check(len(lines(m, "cache", "without it")) <= 1, m.said())
m.end()
done()
