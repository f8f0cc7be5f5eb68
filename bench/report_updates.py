"""The tables of publishing versions and fetching them, and the aims for that."""

from tables import at_most, failures, number, quotient, ratio, table

OURS = "inetboot"


def mb(value):
    return number(None if value is None else value / 1e6, "%.1f")


def updates_table(part):
    median = part["median"]
    ours = median.get(OURS, {})
    rows = []
    for tool, m in median.items():
        rows.append([tool] + [number(m.get("publish_%s_s" % v), "%.2f") for v in ("v1", "v2", "v3")] +
                    [mb(m.get("publish_%s_bytes" % v)) for v in ("v1", "v2", "v3")])
    text = table(["PUBLISH versions", "v1 s", "v2 s", "v3 s", "v1 new MB", "v2 new MB", "v3 new MB"], rows)
    rows = []
    for tool, m in median.items():
        if "fetch_v2_s" in m:
            cells = []
            for v in ("v2", "v3"):
                cells += [mb(m.get("fetch_%s_bytes" % v)), ratio(m.get("fetch_%s_bytes" % v), ours.get("fetch_%s_bytes" % v)),
                          number(m.get("fetch_%s_requests" % v)), number(m.get("fetch_%s_s" % v), "%.1f")]
            rows.append([tool] + cells)
    text += "\n\n" + table(["UPDATE from v1, 100 Mbit/s 1 ms", "v2 MB", "/ ours", "requests", "s", "v3 MB", "/ ours", "requests", "s"], rows)
    return text + failures(part)


def updates_aims(part):
    ours, casync = (part["median"].get(tool, {}) for tool in (OURS, "casync"))
    return [at_most("update from v1 to v3: %s / casync's" % label, goal, quotient(ours.get(what), casync.get(what)))
            for what, label, goal in (("fetch_v3_bytes", "bytes", 1.10), ("fetch_v3_s", "time", 0.5))]
