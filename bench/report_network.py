"""The table of the switch and its peers."""

from tables import failures, number, ratio, table

OURS = "inetboot switch"


def network_table(part):
    mine = part["median"].get(OURS, {})
    rows = []
    for name, m in part["median"].items():
        row = [name]
        for test in "guest", "host":
            row += [number(m.get(test)), ratio(mine.get(test), m.get(test)), number(m.get(test + "_cpu"), "%.1f"),
                    number(m.get(test + "-latency")), ratio(mine.get(test + "-latency"), m.get(test + "-latency"))]
        rows.append(row)
    return table(["NETWORK", "guest MB/s", "ours /", "CPU s/GiB", "us", "ours /", "host MB/s", "ours /", "CPU s/GiB", "us", "ours /"], rows) + failures(part)
