"""Publish throughput: the same 1 GiB of bytes, in memory, through inetboot publish, casync make, zstd alone and SHA-256 alone."""

import concurrent.futures
import hashlib
import os
import time

from measure import Failed, Samples, load, run, say, warm_page_cache
from workplace import sha256_of

LIMIT_S = 600
PIECE = 8 << 20


def sha256_alone(path):
    """Every piece hashed by itself, on all cores: the least that an unchanged image costs to check."""
    size = os.path.getsize(path)
    fd = os.open(path, os.O_RDONLY)
    cpu, start = time.process_time(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(lambda at: hashlib.sha256(os.pread(fd, PIECE, at)).digest(), range(0, size, PIECE)):
            pass
    result = time.monotonic() - start, time.process_time() - cpu
    os.close(fd)
    return result


class Publishing:
    def __init__(self, workplace):
        self.workplace = workplace
        self.large = workplace.large
        self.dir = os.path.join(workplace.dir, "publishing")
        os.mkdir(self.dir)
        self.round = 0

    def path(self, name):
        return os.path.join(self.dir, "%s.%d" % (name, self.round))

    def inetboot(self):
        return run([self.workplace.inetboot, "publish", self.large, self.path("store"), "--name", "large", "--key",
                    self.workplace.key, "--level", "3"], LIMIT_S)[:2]

    def zstd(self):
        return run(["zstd", "-q", "-f", "-3", "-T0", self.large, "-o", self.path("zst")], LIMIT_S)[:2]

    def zstd_durable(self):
        wall, cpu = self.zstd()
        wall_sync, cpu_sync = run(["sync", "-f", self.path("zst")], LIMIT_S)[:2]
        return wall + wall_sync, cpu + cpu_sync

    def casync(self):
        return run(["casync", "make", "--compression=zstd", "--store=" + self.path("castr"), self.path("i") + ".caibx",
                    self.large], LIMIT_S)[:2]

    def sha256(self):
        return sha256_alone(self.large)

    def verify(self, tool):
        """Takes apart what a peer made. What inetboot made is verified by the reads of its store, through FUSE."""
        out = self.path("out")
        if tool == "zstd":
            run(["zstd", "-q", "-d", self.path("zst"), "-o", out], LIMIT_S)
        elif tool == "casync":
            run(["casync", "extract", "--store=" + self.path("castr"), self.path("i") + ".caibx", out], LIMIT_S)
        else:
            return
        found = sha256_of(out)
        os.unlink(out)
        if found != self.workplace.large_sha256:
            raise Failed("WRONG BYTES: SHA-256 is %s" % found)


# name in the table, method, verified by
STEPS = (
    ("inetboot publish --level 3", "inetboot"),
    ("zstd -3 -T0", "zstd"),
    ("zstd -3 -T0; sync", "zstd_durable"),
    ("casync make (zstd)", "casync"),
    ("inetboot publish, unchanged", "inetboot"),
    ("casync make, unchanged", "casync"),
    ("SHA-256 alone, all cores", "sha256"),
)


def measure(workplace, rounds):
    samples = Samples()
    p = Publishing(workplace)
    size = os.path.getsize(workplace.large)
    for number in range(rounds):
        p.round = number
        for name, method in STEPS:
            if name in samples.failed:
                continue
            say("publish, round %d of %d: %s (load %.1f)" % (number + 1, rounds, name, load()))
            os.sync()
            warm_page_cache(workplace.large)
            try:
                wall, cpu = getattr(p, method)()
                if not number:
                    p.verify(method)
            except (Failed, OSError) as why:
                samples.fail(name, why)
                continue
            samples.add(name, "seconds", wall)
            samples.add(name, "cpu_seconds", cpu)
            samples.add(name, "mb_per_s", size / wall / 1e6)
    return samples
