#!/usr/bin/env python3
"""pull --unpack: the disk as a plain file in the cache. It is read only when all of it is right, and nobody else may write to it; else
the blocks are, and somebody is told."""
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 9_000_000, 1)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"


def files():
    return sorted(os.listdir("cache/disks"))


def path():
    check(len(files()) == 1, f"not one file: {files()}")
    return f"cache/disks/{files()[0]}"


def mounted(used, *words):
    m = Mount(link)
    check(("unpacked" in m.status()) == used, f"{words}: used or not: {m.status()}")
    check(all(word in m.said() for word in words), f"{words}: not said: {m.said()}")
    before = m.status()["cache"]
    check_all(m.disk, data)
    check_reads(m.disk, data, 1, readers=1, count=20)
    after = m.status()["cache"]
    check((before == after) == used, f"blocks were read, or not: {before} {after}")
    m.end()


run("pull", "--unpack", "--cache", "cache", link)
check(content(path()) == data, "the file has other bytes")
check(os.stat(path()).st_mode & 0o777 == 0o600, "others may read or write it")
if os.stat("image").st_blocks * 512 < len(data):
    check(os.stat(path()).st_blocks * 512 < len(data), "holes are not holes")
mounted(True)
inode = os.stat(path()).st_ino
run("pull", "--unpack", "--cache", "cache", link)
check(os.stat(path()).st_ino == inode, "it was made again, though it was right")
server.gone(600)
mounted(True)
server.stop()
server = Server("www")
link = f"{server.url}/image#{key}"

# Wrong in some way: told, removed, and right bytes all the same. The next pull makes it anew.
rng = random.Random(3)
hole = next(i for i in range(0, len(data) - 8192, 4096) if not any(data[i:i + 8192]))


def flip(at):
    with open(path(), "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))


for what, damage in (("first byte", lambda: flip(0)), ("last byte", lambda: flip(len(data) - 1)), ("hole", lambda: flip(hole + 5000)),
                     ("somewhere", lambda: flip(rng.randrange(len(data)))), ("shorter", lambda: os.truncate(path(), len(data) - 1)),
                     ("longer", lambda: os.truncate(path(), len(data) + 4096)), ("empty", lambda: os.truncate(path(), 0))):
    damage()
    mounted(False, "not used")
    check(not files(), f"{what}: the wrong file is there still")
    run("pull", "--unpack", "--cache", "cache", link)
    check(content(path()) == data, f"{what}: not made anew")

# Not ours alone: left alone, and not used.
os.chmod(path(), 0o666)
mounted(False, "others may write")
os.chmod(path(), 0o600)
mounted(True)
name = path()
os.rename(name, "elsewhere")
os.symlink(os.path.abspath("elsewhere"), name)
mounted(False)
os.unlink(name)
os.mkfifo(name)
mounted(False, "not used")
check(not files(), "what is no file is there still")

# A new version does not use the old one's file, and replaces it; a full disk is an error of pull, which leaves nothing.
os.rename("elsewhere", name)
make_image("image", 9_000_000, 2)
data = content("image")
publish("image", store="www")
mounted(False)
run("pull", "--unpack", "--cache", "cache", link)
check(path() != name and content(path()) == data, f"not replaced: {files()}")
mounted(True)
os.chmod("cache/disks", 0o700)
os.unlink(path())
p = subprocess.run(["sh", "-c", 'ulimit -f 4000; exec "$0" "$@"', INETBOOT, "pull", "--unpack", "--cache", "cache", link],
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
check(p.returncode == 1 and b"cannot write" in p.stdout, f"a file that may not be so large: {p}")
check(not files(), f"left: {files()}")
done()
