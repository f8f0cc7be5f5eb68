"""Reads a file once and prints what it took as JSON. Usage: readpass.py PATH sequential LIMIT-S | random COUNT SEED LIMIT-S | sha256

Reads go one after the other, as a program that waits for each does. A limit ends a pass early; its rate is that of what was read."""

import hashlib
import json
import os
import random
import sys
import time

SEQUENTIAL = 1 << 20
RANDOM = 4096


def sequential(fd, limit):
    buffer = bytearray(SEQUENTIAL)
    start = time.monotonic()
    done = 0
    while time.monotonic() - start < limit:
        got = os.readv(fd, [buffer])
        if not got:
            break
        done += got
    return {"bytes": done, "seconds": time.monotonic() - start}


def scattered(fd, count, seed, limit):
    size = os.fstat(fd).st_size
    offsets = [random.Random(seed + i).randrange(size // RANDOM) * RANDOM for i in range(count)]
    buffer = bytearray(RANDOM)
    start = time.monotonic()
    done = 0
    for offset in offsets:
        if os.preadv(fd, [buffer], offset) != RANDOM:
            sys.exit("short read at byte %d" % offset)
        done += 1
        if time.monotonic() - start > limit:
            break
    return {"reads": done, "seconds": time.monotonic() - start}


def checksum(fd):
    digest = hashlib.sha256()
    while True:
        data = os.read(fd, SEQUENTIAL)
        if not data:
            return {"sha256": digest.hexdigest()}
        digest.update(data)


def main(path, what, *numbers):
    try:
        fd = os.open(path, os.O_RDONLY)
        if what == "sequential":
            result = sequential(fd, int(numbers[0]))
        elif what == "random":
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            result = scattered(fd, *map(int, numbers))
        else:
            result = checksum(fd)
    except OSError as e:
        sys.exit("%s: %s" % (path, e.strerror))
    print(json.dumps(result))


main(*sys.argv[1:])
