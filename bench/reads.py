"""Reads of a 1 GiB disk through FUSE. See README.md for what cold, warm and page-cache-warm mean."""

import os
import time

from measure import Failed, Samples, drop_page_cache, load, offsets_seed, read_pass, run, say, warm_page_cache
from readers import ALL, Offer

ALONE = "hash + decode alone"
COLD_READS = 500
WARM_READS = 2000
PASS_S = 60


def sequential(path):
    """MB/s, GiB read."""
    result = read_pass(path, "sequential", PASS_S, limit=PASS_S)
    return result["bytes"] / result["seconds"] / 1e6, result["bytes"] / (1 << 30)


def scattered(path, count, seed):
    result = read_pass(path, "random", count, seed, PASS_S, limit=PASS_S)
    return result["reads"] / result["seconds"]


def cold(reader):
    """Nothing of the client's in any cache; the server has its files in memory."""
    reader.stop(forget_cache=True)
    drop_page_cache()
    warm_page_cache(*reader.served())
    return reader.start()


def warm(reader):
    """What the reader keeps itself is kept, the page cache is not. Returns None where it keeps nothing."""
    if reader.keeps_cache == "folder":
        reader.stop(forget_cache=False)
    drop_page_cache()
    warm_page_cache(*reader.served())
    if reader.keeps_cache != "folder":
        return None
    path = reader.start()
    if reader.reads_all_at_start:
        drop_page_cache()
    return path


def one_round(reader, number, samples, checksum):
    def take(what, value):
        if what not in reader.without:
            samples.add(reader.name, what, value)

    path = cold(reader)
    before = reader.cpu()
    rate, gib = sequential(path)
    take("cold_seq", rate)
    take("cold_cpu", (reader.cpu() - before) / gib)
    take("page_seq", sequential(path)[0])
    seed = offsets_seed(number, "warm")
    if reader.keeps_cache:
        path = warm(reader) or path
        take("warm_seq", sequential(path)[0])
        path = warm(reader) or path
        take("warm_rand", scattered(path, WARM_READS, seed))
    else:
        scattered(path, WARM_READS, seed)
    take("page_rand", scattered(path, WARM_READS, seed))
    if checksum:
        found = read_pass(path, "sha256", limit=10 * PASS_S)["sha256"]
        if found != checksum:
            raise Failed("WRONG BYTES: SHA-256 is %s" % found)
    path = cold(reader)
    take("cold_rand", scattered(path, COLD_READS, offsets_seed(number, "cold")))


def without_disk(workplace, offer, samples):
    """What all cores can do with the blocks when there is neither network nor FUSE nor a cache to write: `verify` of the store, in the page cache."""
    store = offer.path("store")
    warm_page_cache(store)
    begin = time.monotonic()
    run([workplace.inetboot, "verify", store], 600)
    samples.add(ALONE, "cold_seq", os.path.getsize(offer.path("img")) / (time.monotonic() - begin) / 1e6)


def measure(workplace, rounds, without=()):
    """without: names of tools that are left out."""
    samples = Samples()
    offer = Offer(workplace, workplace.large, "large")
    readers = [tool(workplace, offer) for tool in ALL if tool.name not in without]
    for number in range(rounds):
        without_disk(workplace, offer, samples)
        for reader in readers:
            if reader.name in samples.failed:
                continue
            say("reads, round %d of %d: %s (load %.1f)" % (number + 1, rounds, reader.name, load()))
            try:
                one_round(reader, number, samples, None if number else workplace.large_sha256)
            except (Failed, OSError) as why:
                complaint = reader.complaint()
                samples.fail(reader.name, "%s; it said: %s" % (why, complaint) if complaint else why)
                samples.values.pop(reader.name, None)
            finally:
                reader.stop(forget_cache=True)
    return samples, {r.name: r.note for r in readers if r.note}
