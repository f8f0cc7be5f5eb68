#!/usr/bin/env python3
"""--memory-limit bounds the process that reads an image: a mount under more readers than it has threads, with a memory cgroup that
allows BESIDE more (the kernel's own memory, pages of libraries and of the cache's files), and with a limit on its data. Nobody is
killed, no read fails, all bytes are right."""
import re, resource
from grouplib import *

BESIDE = 16 << 20  # bytes, for a group
VIRTUAL = 128 << 20  # bytes that are mapped and hardly touched: stacks and request buffers of a hundred threads
SIZE = 192 << 20
READERS = 40

if SANITIZED:
    skip("sanitizers take memory of their own")
need_fuse()
key = make_key()
rng = random.Random(1)
with open("image", "wb") as f:  # a third does not compress
    for i in range(SIZE >> 20):
        f.write(rng.randbytes(1 << 20) if i % 3 == 0 else (rng.randbytes(1 << 17).hex().encode() * 4))
publish("image", store="www")
server = subprocess.Popen([INETBOOT, "serve", "www", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
at_end.append(lambda: (server.kill(), server.wait()))
link = f"{re.search(rb'http://[0-9.:]+', server.stdout.readline()).group(0).decode()}/image#{key}"
threading.Thread(target=server.stdout.read, daemon=True).start()


def read(path, seed):
    """One of six reads in order, the others here and there."""
    rng = random.Random(seed)
    file, right = os.open(path, os.O_RDONLY), os.open("image", os.O_RDONLY)
    at = rng.randrange(SIZE) & ~4095
    for _ in range(60):
        n = 1 << 20 if seed % 6 == 0 else rng.choice([512, 4096, 65536, 300000, 1 << 20])
        got = os.pread(file, n, at)
        if got != os.pread(right, n, at):
            return f"{len(got)} wrong bytes at {at}"
        at = (at + len(got)) % SIZE if seed % 6 == 0 else rng.randrange(SIZE)


def load(m, what):
    """All readers at once; the kernel's copies of the disk are dropped before, so that all comes from the mount."""
    began = time.monotonic()
    fd = os.open(m.disk, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    for reader in [Child(read, m.disk, seed) for seed in range(READERS)]:
        wrong = reader.result(200)
        check(not wrong, f"{what}: {wrong}: {m.said()}")
    return time.monotonic() - began


def bounded(limit, cache):
    group = Group(limit + BESIDE)
    m = Mount(link, "--memory-limit", str(limit), cache=cache, preexec_fn=group.enter)
    watch = Watch(group)
    times = [load(m, what) for what in ("cold", "warm")]
    peaks = [taken(pid)[0] >> 20 for pid in group.processes()]
    most = watch.end()
    status = m.status()
    check(not group.killed(), f"a limit of {limit}: the kernel had to kill: {m.said()}")
    check(status["read_errors"] == 0 and status["memory"]["waiting"] == 0, f"a limit of {limit}: {status}")
    check(most <= limit, f"a limit of {limit}: it took {most} bytes beside the page cache")
    m.end()
    group.remove()
    print(f"--memory-limit {limit >> 20}M: {most >> 20} MiB at the most, resident with libraries {peaks} MiB; cold and warm", *[f"{t:.1f} s" for t in times])


def limit_data(limit):
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


# What malloc() cannot have, without a group.
m = Mount(link, "--memory-limit", "32M", cache="cache0", preexec_fn=lambda: limit_data((32 << 20) + VIRTUAL))
load(m, "limited data")
check(m.status()["read_errors"] == 0, f"reads failed for lack of memory: {m.said()}")
m.end()
bounded(32 << 20, "cache0")
bounded(64 << 20, "cache1")
bounded(64 << 20, None)
done()
