#!/usr/bin/env python3
"""Every end of a mount: unmounting, signals, kill -9, a reader or a server that hangs; nothing stays behind, nobody waits for ever."""
import errno
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 4_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"


def read_error(path):
    """The name of the error that a read at the far end gives."""
    try:
        with open(path, "rb") as f:
            os.pread(f.fileno(), 4096, 3_900_000)
        return "no error"
    except OSError as e:
        return errno.errorcode[e.errno]


# unmounting, and the signals that end a program
m = Mount(link)
check_all(m.disk, data)
m.unmount()
for how in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
    m = Mount(link)
    m.end(how)

# a signal while the file is open
m = Mount(link)
fd = os.open(m.disk, os.O_RDONLY)
os.pread(fd, 10, 0)
m.end()
try:
    os.close(fd)
except OSError:  # ENOTCONN: nobody is there to be told
    pass

# kill -9: readers get an error at once, and what is left can be unmounted
m = Mount(link)
m.kill()
check(Child(read_error, m.disk).result(10) == "ENOTCONN", "no ENOTCONN from a dead mount")
subprocess.run(["fusermount3", "-u", m.dir], check=True, timeout=10)
check(not is_fuse(m.dir), "the dead mount cannot be removed")

# kill -9 while a reader waits
server.rules("/blocks/* stall")
m = Mount(link, cache="none1")
reader = Child(read_error, m.disk)
wait_for(lambda: len(server.log()["requests"]) > 1, "a request")
m.kill()
check(reader.result(10) in ("ECONNABORTED", "ENOTCONN", "EIO"), "the reader of a dead mount got no error")
m.clear()

# a signal while a reader waits for a server that says nothing
for how in [signal.SIGTERM, signal.SIGINT]:
    server.rules("/blocks/* stall")
    m = Mount(link, cache="none1")
    readers = [Child(read_error, m.disk) for _ in range(3)]
    wait_for(lambda: len(server.log()["requests"]) > 1, "a request")
    start = time.monotonic()
    m.end(how)
    check(time.monotonic() - start < 5, "the mount took long to end")
    for reader in readers:
        check(reader.result(10) != "no error", "bytes out of nowhere")

# the status answers while readers wait, and a reader can be killed
server.rules("/blocks/* stall")
m = Mount(link, cache="none1")
readers = [Child(read_error, m.disk) for _ in range(5)]
wait_for(lambda: len(server.log()["requests"]) > 1, "a request")
check(not Child(lambda: m.status()["read_errors"]).result(10), "no status while readers wait")
for reader in readers:
    reader.kill()
    check(reader.ended(10), "a reader that waits cannot be killed")
    os.waitpid(reader.pid, 0)
m.end()

def interrupted_read(path):
    """Reads past the page cache while signals arrive; gives errno's name, or the bytes' comparison."""
    import ctypes, mmap
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    n = libc.pread(fd, (ctypes.c_char * 4096).from_buffer(page), 4096, ctypes.c_long(8192))
    return errno.errorcode[ctypes.get_errno()] if n < 0 else bytes(page) == data[8192:8192 + 4096]


# a signal does not fail a read that is only slow; it ends one that waits for a server that is gone
server.rules("/blocks/* delay ms=500")
m = Mount(link, cache="none3")
check(Child(interrupted_read, m.disk).result(20) == "", "a signal failed a slow read")
m.end()
server.rules("/blocks/* stall")
m = Mount(link, cache="none4")
check(Child(interrupted_read, m.disk).result(10) == "EINTR", "a read that waits for ever was not interrupted")
m.end()

# a signal before there is a mount: the server does not answer at all
server.rules("* stall")
for how in [signal.SIGTERM, signal.SIGINT]:
    server.rules("* stall")
    m = Mount(link, cache="none2", wait=False)
    wait_for(lambda: server.log()["requests"], "a request")
    m.process.send_signal(how)
    check(m.ended(10) == -how, f"ended with {m.process.returncode}")
server.rules()

# in the background: back when it answers, or with what went wrong
p = subprocess.run([INETBOOT, "mount", "--background", "--cache", "cache", link, "mnt"], stdout=subprocess.PIPE,
                   stderr=subprocess.STDOUT, timeout=SECONDS)  # which waits for the end of its output
at_end.append(lambda: subprocess.run(["fusermount3", "-uzq", "mnt"]))
check(p.returncode == 0 and b"mounted at mnt" in p.stdout, f"{p.returncode}: {p.stdout}")
check_all("mnt/disk", data)
subprocess.run(["fusermount3", "-u", "mnt"], check=True, timeout=10)
text = run("mount", "--background", "--cache", "cache", f"{server.url}/none#{key}", "mnt", status=1)
check("none/manifest" in text and "404" in text, text)
check("nowhere" in run("mount", link, "nowhere", status=1), "no word about the missing folder")
done()
