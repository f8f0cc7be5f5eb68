"""Reads a file once and prints what it took as JSON. Usage: readpass.py PATH, and one of
    sequential LIMIT-S
    random COUNT SEED LIMIT-S
    slices READERS LIMIT-S                          each reader has its part of the file, and reads it from its begin to its end
    spread READERS SECONDS SEED STRIDE PIECE        4 KiB anywhere in the file's data: PIECE bytes at every STRIDE
    sha256

Reads of a reader go one after the other, as a program that waits for each does. A limit ends a pass early; its rate is that of what was
read."""

import concurrent.futures
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


def together(readers, work):
    """work(number of the reader), which returns bytes, in as many threads."""
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(readers) as pool:
        done = sum(pool.map(work, range(readers)))
    return {"bytes": done, "seconds": time.monotonic() - start}


def slices(fd, readers, limit):
    size = os.fstat(fd).st_size
    end_s = time.monotonic() + limit

    def read(reader):
        buffer = bytearray(SEQUENTIAL)
        at = begin = size * reader // readers
        end = size * (reader + 1) // readers
        while at < end and time.monotonic() < end_s:
            got = os.preadv(fd, [memoryview(buffer)[:min(SEQUENTIAL, end - at)]], at)
            if not got:
                sys.exit("short read at byte %d" % at)
            at += got
        return at - begin

    return together(readers, read)


def spread(fd, readers, seconds, seed, stride, piece):
    pieces = os.fstat(fd).st_size // stride
    end_s = time.monotonic() + seconds

    def read(reader):
        anywhere = random.Random(seed * readers + reader)
        buffer = bytearray(RANDOM)
        done = 0
        while time.monotonic() < end_s:
            done += os.preadv(fd, [buffer], anywhere.randrange(pieces) * stride + anywhere.randrange(piece // RANDOM) * RANDOM)
        return done

    return together(readers, read)


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
        elif what in ("slices", "spread"):
            result = {"slices": slices, "spread": spread}[what](fd, *map(int, numbers))
        else:
            result = checksum(fd)
    except OSError as e:
        sys.exit("%s: %s" % (path, e.strerror))
    print(json.dumps(result))


main(*sys.argv[1:])
