"""The tables of more readers, larger images and many clients, and the aim for memory."""

from tables import at_most, failures, number, quotient, ratio, table

MIB = 1 << 20
LARGEST = "100 GiB, 2 % data"
MEMORY_MOST = 64


def mib(value):
    return number(None if value is None else value / MIB)


def readers_table(parts):
    counts = sorted(parts, key=int)
    tools = list(dict.fromkeys(tool for count in counts for tool in parts[count]["median"]))
    rows = []
    for tool in tools:
        found = [parts[count]["median"].get(tool, {}) for count in counts]
        rows.append([tool] + [number(m.get("mb_per_s")) for m in found] + [mib(m.get("memory")) for m in found] +
                    [number(m.get("cpu_s_per_gib"), "%.1f") for m in found])
    head = ["READERS of 1 GiB, cold"] + ["%s: MB/s" % c for c in counts] + ["%s: MiB" % c for c in counts] + ["%s: CPU s" % c for c in counts]
    return table(head, rows) + "".join(failures(parts[count]) for count in counts)


def sizes_table(parts):
    rows = []
    for label, part in parts.items():
        ours, zstd, peer = (part["median"].get(tool, {}) for tool in ("inetboot", "zstd -3 -T0", "nbdkit curl + nbdfuse"))
        rows.append([label, number(ours.get("publish_s"), "%.1f"), ratio(ours.get("publish_s"), zstd.get("publish_s")),
                     number(ours.get("chunks")), number(ours["index_bytes"] / 1e6, "%.2f") if "index_bytes" in ours else "-"] +
                    [number(m.get(what), form) for what, form in (("start_s", "%.2f"), ("reads_per_s", "%.0f")) for m in (ours, peer)] +
                    [mib(m.get("memory_largest")) for m in (ours, peer)])
    return table(["SIZES", "publish s", "/ zstd", "chunks", "index MB", "start s", "nbdkit", "4 KiB/s", "nbdkit", "peak MiB", "nbdkit"],
                 rows) + "".join(failures(part) for part in parts.values())


def clients_table(part):
    rows = [[tool, number(m["half_s"], "%.1f"), number(m["all_s"], "%.1f"), number(m["mb_per_s"])] for tool, m in part["median"].items()]
    return table(["100 CLIENTS, 8 MiB each", "half done s", "all done s", "MB/s"], rows) + failures(part)


def scale_table(part):
    return "\n\n".join((readers_table(part["readers"]), sizes_table(part["sizes"]), clients_table(part["clients"])))


def scale_aims(part):
    peak = part["sizes"].get(LARGEST, {}).get("median", {}).get("inetboot", {}).get("memory_largest")
    return [at_most("peak memory in MiB of the process that serves %s" % LARGEST, MEMORY_MOST, quotient(peak, MIB))]
