"""Tables of text, and what goes into their cells."""


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]
    lines = []
    for row in [head] + rows:
        cells = [str(row[0]).ljust(widths[0])] + [str(c).rjust(w) for c, w in zip(row[1:], widths[1:])]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value, form="%.0f"):
    return "-" if value is None else form % value


def ratio(value, other):
    return "-" if not value or not other else "%.2f" % (value / other)


def failures(part):
    return "".join("\n  FAILED %s: %s" % item for item in part["failed"].items())


def aim(what, goal, value, reached, bound):
    """value: None where it could not be measured."""
    return {"aim": what, "goal": goal, "value": value, "reached": reached, "bound": "" if reached else bound}


def quotient(value, other):
    return value / other if value and other else None


def at_most(what, limit, value):
    return aim(what, "<= %.2f" % limit if limit < 10 else "<= %d" % limit, value, value is not None and value <= limit, "")


def aims_table(items):
    rows = [[i["aim"], i["goal"], number(i["value"], "%.2f"), "not measured" if i["value"] is None else
             "reached" if i["reached"] else "NOT reached"] for i in items]
    text = table(["AIMS", "goal", "is", ""], rows)
    for bound in dict.fromkeys(i["bound"] for i in items if i["bound"]):
        text += "\n  bound: " + bound
    return text
