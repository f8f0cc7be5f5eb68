"""Turns the numbers into tables for people, and holds them against the aims."""

from reads import ALONE
from report_links import links_aims, links_table
from report_media import media_aims, media_table
from report_network import network_table
from report_scale import scale_aims, scale_table
from report_updates import updates_aims, updates_table
from tables import aim, aims_table, failures, number, ratio, table

OURS, UNPACKED, PLAIN = "inetboot", "inetboot, unpacked", "plain file"
PEERS = ("nbdkit curl + nbdfuse", "nbdkit curl cache + nbdfuse", "httpdirfs", "httpdirfs --cache", "casync mount")
PUBLISH, ZSTD = "inetboot publish --level 3", "zstd -3 -T0"
UNCHANGED, SHA256 = "inetboot publish, unchanged", "SHA-256 alone, all cores"


def publish_table(part):
    median = part["median"]
    zstd = median.get(ZSTD, {})
    rows = []
    for tool, m in median.items():
        rows.append([tool, number(m["mb_per_s"]), number(m["seconds"], "%.2f"), number(m["cpu_seconds"], "%.2f"),
                     ratio(m["seconds"], zstd.get("seconds")), ratio(m["cpu_seconds"], zstd.get("cpu_seconds"))])
    return table(["PUBLISH 1 GiB", "MB/s", "seconds", "CPU s", "time / zstd", "CPU / zstd"], rows) + failures(part)


def best_peer(median, what):
    found = [(median[p][what], p) for p in PEERS if what in median.get(p, {})]
    return max(found) if found else (None, None)


def reads_table(part):
    median = part["median"]
    columns = (("cold_seq", "cold MB/s"), ("warm_seq", "warm"), ("page_seq", "page-c."), ("cold_rand", "cold 4 KiB/s"),
               ("warm_rand", "warm"), ("page_rand", "page-c."))
    rows = [[tool] + [number(m.get(c)) for c, _ in columns] + [number(m.get("cold_cpu"), "%.2f")] for tool, m in median.items()]
    ours = median.get(OURS, {})
    if any(p in median for p in PEERS):
        rows.append(["inetboot / best peer"] + [ratio(ours.get(c), best_peer(median, c)[0]) for c, _ in columns] + [""])
    text = table(["READ 1 GiB"] + [c for _, c in columns] + ["CPU s/GiB"], rows)
    for tool, note in part["notes"].items():
        text += "\n  %s: %s" % (tool, note)
    return text + failures(part)


def boot_table(part):
    rows = []
    for step, m in part["median"].items():
        rows.append([step] + [number(m[w] / 1000, "%.1f") for w in ("kernel_ms", "init_ms", "login_ms")] +
                    [number(m["requests"]), number(m["bytes"] / 1e6, "%.1f"), ratio(m["login_ms"], part["median"].get("raw file", {}).get("login_ms"))])
    text = table(["BOOT to login", "kernel s", "init s", "login s", "requests", "MB", "login / raw"], rows)
    image = part["image"]
    if image.get("stored"):
        text += "\n  of an image with %.1f MB in %s chunks (a disk of %.0f MB)" % (image["stored"] / 1e6, image["chunks"],
                                                                                  image["size"] / 1e6)
    return text + failures(part)


def publish_aims(part):
    median = part["median"]
    out = []
    if PUBLISH in median and ZSTD in median:
        wall = median[PUBLISH]["seconds"] / median[ZSTD]["seconds"]
        out.append(aim("publish at level 3: time of zstd -3 -T0", "<= 1.15", wall, wall <= 1.15,
                       "zstd alone hashes nothing, writes one file and leaves it to the kernel when; we hash every byte, write a file for each block, and wait for the disk"))
    if UNCHANGED in median and SHA256 in median:
        wall = median[SHA256]["seconds"] / median[UNCHANGED]["seconds"]
        out.append(aim("unchanged re-publish: speed of SHA-256 alone", ">= 0.80", wall, wall >= 0.8,
                       "cutting chunks and looking for each block's file come on top of hashing"))
    return out


def reads_aims(part):
    median = part["median"]
    ours, unpacked, plain, alone = (median.get(row, {}) for row in (OURS, UNPACKED, PLAIN, ALONE))
    aims = (
        ("cold sequential: speed of hash + decode alone", 0.8, ours.get("cold_seq"), alone.get("cold_seq"),
         "the network's bytes, FUSE, and a cache file for each block take their part of the same processors"),
        ("cold sequential: speed of the best peer", 3.0, ours.get("cold_seq"), best_peer(median, "cold_seq")[0],
         "on loopback a peer that neither hashes nor decodes has the least to do"),
        ("4 KiB random, warm cache: speed of the best peer", 2.0, ours.get("warm_rand"), best_peer(median, "warm_rand")[0],
         "a block is hashed and decoded as a whole"),
        ("the same, unpacked", 2.0, unpacked.get("warm_rand"), best_peer(median, "warm_rand")[0], ""),
        ("page-cache-warm sequential: speed of a plain file", 0.95, ours.get("page_seq"), plain.get("page_seq"),
         "FUSE's pages are single ones, an ext4's come in large folios"),
        ("the same, unpacked", 0.95, unpacked.get("page_seq"), plain.get("page_seq"), ""),
        ("page-cache-warm 4 KiB random: speed of a plain file", 0.95, ours.get("page_rand"), plain.get("page_rand"), ""),
        ("unpacked, page cache dropped: speed of a plain file", 0.9, unpacked.get("warm_seq"), plain.get("cold_seq"), ""),
    )
    return [aim(what, ">= %.2f" % goal, mine / other, mine / other >= goal, bound) for what, goal, mine, other, bound in aims if mine and other]


# part, its table, its aims
PARTS = (
    ("publish", publish_table, publish_aims),
    ("reads", reads_table, reads_aims),
    ("boot", boot_table, None),
    ("links", links_table, links_aims),
    ("updates", updates_table, updates_aims),
    ("scale", scale_table, scale_aims),
    ("network", network_table, None),
    ("media", media_table, media_aims),
)


def aims(results):
    return [item for name, _, find in PARTS if find and name in results for item in find(results[name])]


def text(results):
    m = results["machine"]
    texts = ["%d CPUs (%s), Linux %s; medians of %d, or of as many as the column n says; load %.1f before, %.1f after" % (
        m["cpus"], m["cpu"], m["kernel"], results["rounds"], m["load_before"], m.get("load_after", 0))]
    texts += [make(results[name]) for name, make, _ in PARTS if name in results]
    if results["aims"]:
        texts.append(aims_table(results["aims"]))
    return "\n\n".join(texts)
