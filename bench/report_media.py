"""The table of the starts from a boot medium, and its aims."""

from links import LINE
from media import COLD, FETCH, LOCAL, NBD, PACK, ROWS, WARM
from report_links import heading
from tables import at_most, failures, number, quotient, ratio, table


def row(name, line):
    m = line["median"].get(name, {})
    count = len(line["all"].get(name, {}).get("requests", []))
    login = "> %d" % m["over_s"] if "over_s" in m else number(m.get("login_s"), "%.1f")
    return [name, number(m.get("init_s"), "%.1f"), login, ratio(m.get("login_s"), line["median"].get(LOCAL, {}).get("login_s")), number(m.get("end_s"), "%.1f"),
            "-" if name == NBD else number(m.get("requests")), number(m["bytes"] / 1e6, "%.1f") if "bytes" in m else "-",
            number(m.get("lost_percent"), "%.1f"), count or "-"]


def media_table(part):
    texts = []
    for spec in part["lines"]:
        line = part["by_line"][spec[0]]
        texts.append("  %s\n%s%s" % (heading("a medium's Debian", spec, line), table(
            ["", "init s", "login s", "login / local", "end s", "requests", "MB", "lost %", "n"], [row(name, line) for name, _ in ROWS]), failures(line)))
    sizes = {name: value / 1e6 for name, value in part["bytes"].items()}
    return "\n\n".join(texts + ["  the medium's kernel and initrd: %(medium).1f MB; the Debian: kernel %(kernel).1f MB, initrd %(initrd).1f MB, %(store).1f MB in the "
                                "store, pack %(pack).1f MB, squashfs %(squashfs).1f MB" % sizes])


def media_aims(part):
    out = []
    for name, _, _ in part["lines"]:
        median = part["by_line"][name]["median"]
        local, cold, warm, pack, fetch, nbd = (median.get(row, {}) for row in (LOCAL, COLD, WARM, PACK, FETCH, NBD))
        where = "medium, %s" % name
        out.append(at_most("%s: cold start / live-boot fetch=" % where, 1.0, quotient(cold.get("login_s"), fetch.get("login_s"))))
        out.append(at_most("%s: bytes of it / live-boot fetch=" % where, 1.0, quotient(cold.get("bytes"), fetch.get("bytes"))))
        out.append(at_most("%s: start with pack / NBD root" % where, 1.0, quotient(pack.get("login_s"), nbd.get("login_s"))))
        out.append(at_most("%s: warm start / local disk" % where, 2.0, quotient(warm.get("login_s"), local.get("login_s"))))
        out.append(at_most("%s: warm shutdown / local disk" % where, 1.5, quotient(warm.get("end_s"), local.get("end_s"))))
    return out
