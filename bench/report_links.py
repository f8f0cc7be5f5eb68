"""The table of the boots over lines, and its aims."""

from links import LINE, PACK, RAW, ROWS, WARM
from tables import at_most, failures, number, quotient, ratio, table


def row(name, part):
    m = part["median"].get(name, {})
    local = part["median"].get(RAW, {}).get("sum_s")
    count = len(part["all"].get(name, {}).get("requests", []))
    total = "> %d" % m["over_s"] if "over_s" in m else number(m.get("sum_s"), "%.1f")
    return [name, number(m.get("before_s"), "%.1f"), number(m.get("boot_s"), "%.1f"), total, ratio(m.get("sum_s"), local),
            number(m.get("requests")), number(m["bytes"] / 1e6, "%.1f") if "bytes" in m else "-",
            number(m.get("lost_percent"), "%.1f"), count or "-"]


def heading(guest, spec, part):
    name, rate, rtt_ms = spec
    is_ = part["median"].get(LINE, {})
    measured = "is %.1f ms, %.1f Mbit/s" % (is_["rtt_ms"], is_["bits_per_s"] / 1e6) if is_ else "not measured"
    return "BOOT of %s over %s: round trip %g ms, %g Mbit/s; it %s" % (guest, name, rtt_ms, rate / 1e6, measured)


def guest_tables(name, guest, specs):
    texts = []
    for spec in specs:
        line = guest["by_line"][spec[0]]
        rows = [row(tool, line) for tool, _ in ROWS]
        texts.append("  %s\n%s%s" % (heading(name, spec, line), table(
            ["", "before s", "boot s", "sum s", "sum / local", "requests", "MB", "lost %", "n"], rows), failures(line)))
    texts.append("  %s: %.1f MB in the store, %.1f MB by zstd -9, pack: %s" % (
        name, guest["store_bytes"] / 1e6, guest["zst_bytes"] / 1e6,
        "%.1f MB" % (guest["pack_bytes"] / 1e6) if guest["pack_bytes"] else "none, this `inetboot publish` has no --record"))
    return texts


def links_table(part):
    texts = [text for name, guest in part["guests"].items() for text in guest_tables(name, guest, part["lines"])]
    return "\n\n".join(texts + ["  kernel %s" % part["kernel"]])


def guest_aims(guest, part, lines):
    out = []
    pack = part["pack_bytes"]
    for name, rate, _ in lines:
        median = part["by_line"][name]["median"]
        local, cold, warm = (median.get(row, {}) for row in (RAW, PACK, WARM))
        where = "%s, %s" % (guest, name)
        limit = {"100M-1ms": 1.10, "100M-100ms": 1.25}.get(name)
        if limit:
            out.append(at_most("%s: cold boot with pack / local" % where, limit, quotient(cold.get("sum_s"), local.get("sum_s"))))
        if name == "8M-20ms":
            least = max(pack * 8 / rate, local["sum_s"]) if pack and "sum_s" in local else None
            out.append(at_most("%s: cold boot with pack / max(time of the pack's bytes, local)" % where, 1.15,
                               quotient(cold.get("sum_s"), least)))
        out.append(at_most("%s: bytes of a cold boot / pack" % where, 1.10, quotient(cold.get("bytes"), pack)))
        out.append(at_most("%s: requests of a cold boot with pack" % where, 100, cold.get("requests")))
        out.append(at_most("%s: warm boot / local" % where, 1.03, quotient(warm.get("sum_s"), local.get("sum_s"))))
    return out


def links_aims(part):
    return [item for name, guest in part["guests"].items() for item in guest_aims(name, guest, part["lines"])]
