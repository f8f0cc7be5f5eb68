#!/usr/bin/env python3
"""inetboot pull and mount with each of their calls failing once: the cache keeps no wrong block under a right name, reads give right bytes
(or an error, where there was no memory or a file could not be read), and nothing crashes or hangs."""
from injectlib import *

need_fuse()
key = make_key()
make_image("image", 1_500_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
BLOCKS = [os.path.basename(b) for b in all_blocks("www")]


def empty_cache():
    shutil.rmtree("cache", ignore_errors=True)


def full_cache():
    empty_cache()
    shutil.copytree("pulled", "cache")


def rotten_cache():
    """One entry in four has wrong bytes."""
    full_cache()
    for block in all_blocks("cache")[::4]:
        with open(block, "r+b") as f:
            f.seek(os.path.getsize(block) // 2)
            f.write(b"rotten")


def pull(fault):
    return attempt(fault, "pull", "--cache", "cache", link)


def not_kept():
    return [b for b in BLOCKS if not os.path.exists(block_file("cache", b)) or not block_is_right(block_file("cache", b))]


def no_rot(fault):
    bad = [b for b in all_blocks("cache") if not block_is_right(b)]
    check(not bad, f"{fault}: these have other bytes than their names say: {bad}")


def pulled(fault, succeeded):
    check(not succeeded or not not_kept(), f"{fault}: it says that all is there, but these are missing or wrong: {not_kept()}")
    run("pull", "--cache", "cache", link)
    check(not not_kept(), f"{fault}: after a good pull these are missing or wrong: {not_kept()}")


def pulled_cleanly(fault, succeeded):
    no_rot(fault)
    pulled(fault, succeeded)


# A failed write to the cache is an error of pull only: it never fails a read.
MAY_FAIL = {"memory", "thread", "read"}


def read_parts(path, may_fail):
    """In pieces, so that an error spoils only one. Where libfuse had no memory for a request, opening and closing fail, too, or the mount ends."""
    allowed = {errno.EIO, errno.ENOMEM, errno.ECONNREFUSED, errno.ECONNABORTED, errno.ENOTCONN} if may_fail else set()

    def attempt(call, *args):
        try:
            return call(*args)
        except OSError as e:
            if e.errno not in allowed:
                raise

    fd = attempt(os.open, path, os.O_RDONLY)
    if fd is None:
        return
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for at in range(0, len(data), 131072):
        got = attempt(os.pread, fd, 131072, at)
        if got is not None and got != data[at:at + 131072]:
            return f"wrong bytes at {at}, or {len(got)} of them"
    attempt(os.close, fd)


def use_mount(fault):
    """Mounts, reads all, looks at the status, ends it; says whether it came to be mounted."""
    runs.append(fault)
    m = Mount(link, wait=False, environment=fault.environment())
    try:
        wait_for(lambda: m.process.poll() is not None or is_fuse(m.dir), f"{fault}: the mount", RUN_SECONDS)
        came = m.process.poll() is None
        if came:
            wrong = Child(read_parts, m.disk, fault.kind in MAY_FAIL and fault.n).result(RUN_SECONDS, f"{fault}: a reader: {m.said()}")
            # The first process that serves may fail as soon as it is mounted.
            gone = fault.kind in MAY_FAIL and wrong.startswith("FileNotFoundError") and not is_fuse(m.dir)
            check(not wrong or gone or m.process.poll() is not None, f"{fault}: {wrong}: {m.said()}")
            wrong = Child(lambda: m.status() and None).result(RUN_SECONDS, f"{fault}: a reader of the status")
            check(not wrong or fault.kind in MAY_FAIL, f"{fault}: the status: {wrong}")
            if not gone:
                m.process.send_signal(signal.SIGTERM)
        try:
            status = m.process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        if status == -signal.SIGTERM:  # before it took signals
            status = 0
        judge(fault, "mount", status, m.said())
        check(not is_fuse(m.dir), f"{fault}: a dead mount is left: {m.said()}")
        return came and status == 0
    finally:
        m.clear()
        at_end.remove(m.clear)


def mounted(fault, succeeded):
    m = Mount(link)
    check_all(m.disk, data)
    m.end()
    at_end.remove(m.clear)


def mounted_cleanly(fault, succeeded):
    no_rot(fault)
    mounted(fault, succeeded)


run("pull", "--cache", "pulled", link)
# Not libcrypto: version 3.0 crashes in its own initialisation, when it looks for its algorithms.
each_fault(empty_cache, pull, pulled_cleanly, sources=["libjansson", "libcurl", "libzstd"])
each_fault(rotten_cache, pull, pulled, kinds=[k for k in KINDS if k[0] in ("memory", "read")])
each_fault(empty_cache, use_mount, mounted_cleanly, sources=["libjansson", "libcurl", "libzstd", "libfuse3"])
each_fault(rotten_cache, use_mount, mounted, kinds=[k for k in KINDS if k[0] in ("memory", "read", "write", "rename")])
end()
