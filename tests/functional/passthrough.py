#!/usr/bin/env python3
"""Mounts of an unpacked image by root: the kernel reads the file that was checked by itself (FUSE passthrough), whatever becomes of our
processes, of the network, and of what has the file's name."""
import mmap
from mountlib import *

need_fuse()
if not os.geteuid():
    own_mounts()
libc = ctypes.CDLL(None, use_errno=True)


def kernel_offers():
    """What FUSE_INIT of a mount of our own says: flags and flags2 behind a header of 40 bytes and three words."""
    os.mkdir("probe")
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"probe", b"probe", b"fuse", 0, options):
        skip(f"no FUSE file system can be mounted directly: {os.strerror(ctypes.get_errno())}")
    flags, flags2 = struct.unpack_from("<II", os.read(fd, 1 << 17), 40 + 12)
    libc.umount2(b"probe", 2)
    os.close(fd)
    return flags >> 30 & 1 and flags2 >> 5 & 1


if os.geteuid() or content("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]:
    skip("passthrough takes root, in the first user namespace")
if not kernel_offers():
    skip("this kernel has no FUSE passthrough (Linux 6.9, CONFIG_FUSE_PASSTHROUGH)")
if subprocess.run(["stat", "-f", "-c", "%T", "."], stdout=subprocess.PIPE).stdout.strip() in (b"overlayfs", b"fuseblk", b"fuse", b"ecryptfs"):
    skip("the folder for tests is in a stacked file system, from which the kernel takes no file")

key = make_key()
make_image("image", 9_000_000, 1)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
path = unpack(link)


def forget_pages():
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read_open(fd):
    """By a file that is open, in all ways; asks for nothing else, which our processes would have to answer."""
    for at in range(0, len(data), 1 << 20):
        if os.pread(fd, 1 << 20, at) != data[at:at + (1 << 20)]:
            return f"wrong bytes at {at}"
    address = libc.mmap(None, ctypes.c_size_t(len(data)), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    if ctypes.string_at(ctypes.c_void_p(address), len(data)) != data:
        return "wrong bytes by mmap"


libc.mmap.restype = ctypes.c_void_p


def check_open(fd):
    forget_pages()
    wrong = Child(read_open, fd).result()
    check(not wrong, wrong)


def next_worker(m, before):
    wait_for(lambda: m.worker() not in (None, before), "another worker")


def check_passed(m, fd, what):
    """Open files and new ones, and nothing comes to us."""
    check_open(fd)
    check_all(m.disk, data)
    check_reads(m.disk, data, 1, count=30)
    status = m.status()
    check(status["passthrough"] and status["reads"] == 0, f"{what}: reads come to us: {status}")


m = Mount(link)
check_reads(m.disk, data, 2, readers=8, count=20)  # all at the first open
fd = os.open(m.disk, os.O_RDONLY)
check_passed(m, fd, "mounted")
check(m.status()["source"] == "unpacked" and m.status()["unpacked"].endswith(path), f"{m.status()}")
said = run("status", m.dir)
check("read by the kernel itself" in said, said)

# No server, no blocks.
server.gone()
os.rename("cache/blocks", "blocks")
check_passed(m, fd, "alone")
os.rename("blocks", "cache/blocks")
server.back()

# Nobody of us does anything.
pids = [m.worker(), m.process.pid]
for pid in pids:
    os.kill(pid, signal.SIGSTOP)
check_open(fd)
for pid in pids:
    os.kill(pid, signal.SIGCONT)

# Killed, before and after others have opened it; replaced by another program.
for n in range(3):
    worker = m.worker()
    os.kill(worker, signal.SIGKILL)
    check_open(fd)
    next_worker(m, worker)
    check_passed(m, fd, f"killed {n}")
    worker = m.worker()
    said = run("mount", "--replace", m.dir)
    check("was inetboot" in said and m.worker() != worker, said)
    check_passed(m, fd, f"replaced {n}")

# Another file under its name, with wrong bytes: a later worker does not use that, and the kernel has the right one still.
os.rename(path, "right")
shutil.copy("right", path)
with open(path, "r+b") as f:
    f.write(bytes(b ^ 1 for b in data[:4096]))
worker = m.worker()
os.kill(worker, signal.SIGKILL)
next_worker(m, worker)
check_all(m.disk, data)
check("not used" in m.said() and "unpacked" not in m.status(), f"a wrong file is used: {m.said()} {m.status()}")
path = "right"
check_passed(m, fd, "another file")
os.close(fd)
m.end()

# Replaced before anybody has opened it.
path = unpack(link)
m = Mount(link)
run("mount", "--replace", m.dir)
fd = os.open(m.disk, os.O_RDONLY)
check_passed(m, fd, "replaced first")
os.close(fd)
m.end()

# A recording sees all.
m = Mount(link, "--record", "trace")
check_all(m.disk, data)
check(m.status()["reads"] > 0 and not m.status()["passthrough"], f"a recording is passed by: {m.status()}")
m.end()

# A file that comes when the disk has been opened is for later workers, but not for the kernel: it has pages of what is open.
os.unlink(path)
m = Mount(link)
fd = os.open(m.disk, os.O_RDONLY)
check(os.pread(fd, 4096, 0) == data[:4096], "wrong bytes")
path = unpack(link)
worker = m.worker()
os.kill(worker, signal.SIGKILL)
next_worker(m, worker)
check_all(m.disk, data)
check_open(fd)
status = m.status()
check("unpacked" in status and not status["passthrough"], f"not as it was when it was opened: {status}")
os.close(fd)
m.end()

# The kernel takes no file from a stacked file system.
folders = ["lower", "upper", "work", "stacked"]
for folder in folders:
    os.mkdir(folder)
if subprocess.run(["mount", "-t", "overlay", "-o", "lowerdir=lower,upperdir=upper,workdir=work", "none", "stacked"]).returncode == 0:
    run("pull", "--unpack", "--cache", "stacked", link)
    m = Mount(link, cache="stacked")
    check_all(m.disk, data)
    status = m.status()
    check("unpacked" in status and status["reads"] and not status["passthrough"], f"in an overlay: {status}")
    check(len(m.said().splitlines()) == 1, f"more than that it is mounted: {m.said()}")
    m.end()
    subprocess.run(["umount", "stacked"], check=True)

# One that others may write to is neither for us nor for the kernel.
os.chmod(path, 0o666)
m = Mount(link)
check_all(m.disk, data)
check(not m.status()["passthrough"] and m.status()["reads"] > 0, f"others may write to what is read: {m.status()}")
m.end()
done()
