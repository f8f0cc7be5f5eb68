#!/usr/bin/env python3
"""inetboot publish when the disk is full, when it is interrupted, when its image changes, and after a power failure."""
import ctypes, fcntl, re, signal, termios
from storelib import *

need("zstd")
make_key()
make_image("a.img", 24 << 20, 1)
make_image("b.img", 24 << 20, 2)

# Interrupted: one line, status 1, and nothing is changed.
publish("a.img", "interrupted")
before = content("store/interrupted/manifest")
os.mkfifo("slow")
p = subprocess.Popen([INETBOOT, "publish", "slow", "store", "--name", "interrupted", "--key", "key"], stderr=subprocess.PIPE)
with open("slow", "wb") as feed:
    feed.write(content("b.img")[:3 << 20])
    feed.flush()
    while not os.listdir("store/.publishing"):
        pass
    p.send_signal(signal.SIGTERM)
    try:
        for _ in range(64):
            feed.write(bytes(1 << 20))
    except BrokenPipeError:
        pass
check(p.wait(60) == 1 and b"interrupted" in p.stderr.read(), "SIGTERM did not end it well")
check(content("store/interrupted/manifest") == before and os.listdir("store/.publishing") == [], "an interrupted publish left traces")
run("verify", "store")

# Also while nothing comes from the pipe, while another program works, and while a lock is held elsewhere.


def interrupt(image, ready, *args, **more):
    p = subprocess.Popen([INETBOOT, "publish", image, "store", "--name", "interrupted", "--key", "key", *args], stderr=subprocess.PIPE, **more)
    while not ready(p):
        check(p.poll() is None, f"{image}: it ended before it could be interrupted")
    p.send_signal(signal.SIGTERM)
    check(p.wait(60) == 1 and b"nterrupted" in p.stderr.read(), f"{image}: SIGTERM did not end it well")
    check(content("store/interrupted/manifest") == before and os.listdir("store/.publishing") == [], f"{image}: an interrupted publish left traces")


def waits_for_lock(p):
    return re.search(rf"-> FLOCK .* {p.pid} ", content("/proc/locks").decode())


with open("slow", "r+b", buffering=0) as feed:
    feed.write(b"x" * 1000)
    interrupt("slow", lambda p: not struct.unpack("i", fcntl.ioctl(feed, termios.FIONREAD, bytes(4)))[0])
os.mkdir("tmp")
os.mkdir("bin")
with open("bin/tar", "w") as f:
    f.write("#!/bin/sh\n>tmp/started\nexec sleep 1000\n")
os.chmod("bin/tar", 0o755)
with open("some.tar", "wb") as f:
    f.write(bytes(10240))
interrupt("some.tar", lambda p: os.path.exists("tmp/started"), env={**os.environ, "PATH": f"{DIR}/bin:" + os.environ["PATH"], "TMPDIR": f"{DIR}/tmp"})
check(os.listdir("tmp") == ["started"], "an interrupted conversion left its folder")
with open("store/.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    interrupt("b.img", waits_for_lock)

# An image that is written to meanwhile.
make_image("changing.img", 64 << 20, 3)
p = subprocess.Popen([INETBOOT, "publish", "changing.img", "other", "--name", "changing", "--key", "key", "--level", "15", "--jobs", "1"],
                     stderr=subprocess.PIPE)
while p.poll() is None and len(all_blocks("other")) < 10:
    pass
with open("changing.img", "r+b") as f:
    f.write(b"x")
check(p.wait(120) == 1 and b"changed while it was read" in p.stderr.read(), "a changing image was published")
check(not os.path.exists("other/changing/manifest"), "a changing image has a manifest")

# After a power failure: a note of another boot, and torn blocks that are younger than it.
publish("b.img", "torn", store="crashed")
want = root("torn", "crashed")
blocks = all_blocks("crashed")
os.makedirs("crashed/.publishing", exist_ok=True)
with open("crashed/.publishing/0123456789abcdef", "w") as f:
    f.write("boot 00000000-0000-0000-0000-000000000000\nwho process 1 on elsewhere, publishing torn\n")
shutil.rmtree("crashed/torn")
for i, block in enumerate(blocks):
    if i % 3 == 0:
        with open(block, "r+b") as f:
            f.truncate(0 if i % 2 else os.path.getsize(block) // 2)
    if i % 3 == 1:
        size = os.path.getsize(block)
        with open(block, "wb") as f:
            f.write(bytes(size))
open(os.path.dirname(blocks[0]) + "/.0123456789abcdef.7", "w").close()
text = publish("b.img", "torn", store="crashed")
check("the machine went down" in text, f"nothing was noticed: {text}")
check(root("torn", "crashed") == want and image_bytes("torn", "crashed") == content("b.img"), "torn blocks were reused")
run("verify", "crashed")
check(all_blocks("crashed") == blocks and os.listdir("crashed/.publishing") == [], "the dead publisher's files are left")

# A full disk.
if os.geteuid() != 0:
    print("not tested: a full disk (needs root)")
    done()
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("small")
if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x44000, None) or libc.mount(b"tmpfs", b"small", b"tmpfs", 0, b"size=8m"):
    print("not tested: a full disk (cannot mount a tmpfs here)")
    done()
make_image("little.img", 4 << 20, 9)
publish("little.img", "image", store="small/store")
before = content("small/store/image/manifest")
text = publish("b.img", "image", store="small/store", status=1)
check("No space left" in text and text.startswith("inetboot: cannot publish") and text.count("\n") == 1, f"full disk: {text}")
check(content("small/store/image/manifest") == before, "a full disk changed the manifest")
check(all(len(os.path.basename(b)) == 64 for b in all_blocks("small/store")), "a full disk left temporary files")
run("verify", "small/store")
run("gc", "small/store")
check(image_bytes("image", "small/store") == content("little.img"), "after a full disk: other bytes")
done()
