"""1, 8, 64 readers of one mount, cold: their rate together, and the memory and CPU of the tool that serves it."""

from measure import Failed, Samples, drop_page_cache, load, read_pass, say, warm_page_cache
from readers import CasyncMount, InetBoot, Nbdkit, NbdkitCache, Offer

READERS = (1, 8, 64)
TOOLS = (InetBoot, Nbdkit, NbdkitCache, CasyncMount)
PASS_S = 60
GIB = 1 << 30


def start_cold(reader):
    """The path of the disk."""
    reader.stop(forget_cache=True)
    drop_page_cache()
    warm_page_cache(*reader.served())
    return reader.start()


def measure(workplace, rounds, clock):
    """{readers: Samples by tool}"""
    by_count = {count: Samples() for count in READERS}
    offer = Offer(workplace, workplace.large, "large")
    for number in range(rounds):
        for count in READERS:
            for kind in TOOLS:
                samples = by_count[count]
                if kind.name in samples.failed or clock.over(number):
                    continue
                say("scale, round %d: %d readers, %s (load %.1f)" % (number + 1, count, kind.name, load()))
                reader = kind(workplace, offer)
                try:
                    result = read_pass(start_cold(reader), "slices", count, PASS_S, limit=PASS_S)
                    samples.add(kind.name, "mb_per_s", result["bytes"] / result["seconds"] / 1e6)
                    samples.add(kind.name, "cpu_s_per_gib", reader.cpu() / (result["bytes"] / GIB))
                    samples.add(kind.name, "memory", sum(reader.peak_memory()))
                except (Failed, OSError) as why:
                    samples.fail(kind.name, why)
                finally:
                    reader.stop(forget_cache=True)
    return by_count
