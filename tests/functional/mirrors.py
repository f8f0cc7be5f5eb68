#!/usr/bin/env python3
"""Three mirrors, one good, one slow, one failing and lying; they change roles in the middle of reads, and no reader notices. What that costs is
bounded. `status` and `mirrors` tell about them."""
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 40_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
FAULTS = ["/blocks/* stall every=9", "/blocks/* flip every=5", "/blocks/* status code=500 every=4", "/blocks/* stall at=2000 every=7"]
SLOW = ["/blocks/* delay ms=150"]
a, b, c = Server("www"), Server("www", *SLOW), Server("www", *FAULTS)


def link(server):
    return f"{server.url}/image#{key}"


def mirrors_of(status):
    return {mirror["url"]: mirror for mirror in status["mirrors"]}


def check_costs(status):
    network = status["network"]
    check(network["hedges"] <= 4 + network["requests"] * 0.05, f"more requests than the budget allows: {network}")
    check(network["hedge_bytes"] <= 2**20 + network["bytes"] * 0.05, f"more bytes than the budget allows: {network}")
    check(status["read_errors"] == 0, f"read errors: {status}")


# ---- roles change while readers read ----

m = Mount(link(c), "--mirror", a.url, "--mirror", b.url, "--memory-limit", "32M", cache=None)
roles = [("a good, b slow, c bad", [], SLOW, FAULTS), ("a bad, b slow, c good", FAULTS, SLOW, []),
         ("a stalls, b good, c slow", ["/blocks/* stall"], [], SLOW)]
for number, (name, *rules) in enumerate(roles):
    for server, its in zip((a, b, c), rules):
        server.rules(*its)
    with open(m.disk, "rb") as f:  # what the kernel kept would need no mirror
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    readers = [Child(read_randomly, m.disk, data, 10 * number + i, 40) for i in range(2)] + [Child(read_all, m.disk, data)]
    for reader in readers:
        wrong = reader.result(SECONDS, name)
        check(not wrong, f"{name}: {wrong}")
    check_costs(m.status())
status = m.status()
shares = {url: mirror["share"] for url, mirror in mirrors_of(status).items()}
check(set(shares) == {a.url, b.url, c.url} and 99 < sum(shares.values()) < 101, f"shares: {shares}")
check(all(mirror["requests"] and mirror["latency_ms"] > 0 and mirror["latency_p95_ms"] > 0 and (mirror["bytes_per_s"] or mirror["bytes"] < 1e5)
          for mirror in status["mirrors"]), f"estimates are missing: {status['mirrors']}")
check(max(shares.values()) < 99, f"one mirror gave all: {shares}")
check(m.said().count("\n") < 20, f"a flood of messages: {m.said()}")

# ---- `status` ----

text = run("status", m.dir)
for word in (a.url, b.url, c.url, "image version 1", "signature good", "answers", "latency", "last error"):
    check(word in text, f"status does not say {word!r}: {text}")
check(json.loads(run("status", "--json", m.dir))["mirrors"][0]["url"] == c.url, "status --json is not the status file")
# Mounts of other tests may be there, too, in any state.
everything = json.loads(subprocess.run([INETBOOT, "status", "--json"], stdout=subprocess.PIPE, timeout=300).stdout)
check(everything[os.path.abspath(m.dir)]["name"] == "image", f"status without a folder: {everything}")
listed = subprocess.run([INETBOOT, "status"], stdout=subprocess.PIPE, timeout=300).stdout.decode()
check(os.path.abspath(m.dir) in listed, "status without a folder does not list the mount")
check("no image is mounted" in run("status", DIR, status=1), "status of a folder")


def tree(pid):
    yield pid
    for child in children(pid):
        yield from tree(child)


everybody = list(tree(m.process.pid))
for pid in everybody:
    os.kill(pid, signal.SIGSTOP)
start = time.monotonic()
check("does not answer" in run("status", m.dir, status=1) and time.monotonic() - start < 20, "status of a mount that hangs")
for pid in everybody:
    os.kill(pid, signal.SIGCONT)

# All away: the status says so, and why. Then all is well again.
for server in (a, b, c):
    server.rules()
    server.gone()
os.posix_fadvise(os.open(m.disk, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
child = Child(read_randomly, m.disk, data, 77, 60)
wait_for(lambda: m.status()["network"]["reason"], "the reason why nobody answers")
check("no answer for" in run("status", m.dir), "status does not tell that the network is gone")
check(not child.ended(0), "a reader did not wait")
for server in (a, b, c):
    server.back()
wrong = child.result()
check(not wrong, wrong)
wait_for(lambda: not m.status()["network"]["gone"], "an end of the waiting")
check(m.said().count("waiting for it to return") == 1 == m.said().count("answers again"), f"trouble is told once: {m.said()}")
m.end()

# ---- `mirrors` ----

make_key("other")
publish("image", store="foreign", key="other")
shutil.copytree("www", "old")
with open("image", "ab") as f:
    f.write(b"more")
publish("image", store="www")
os.mkdir("cache-only")
os.symlink("../www/blocks", "cache-only/blocks")
for server in (a, b, c):
    server.rules()
b.rules("* delay ms=40")
c.rules("/blocks/* flip")
old, foreign, cache_only = Server("old"), Server("foreign"), Server("cache-only")
others = [b.url, c.url, old.url, foreign.url, cache_only.url, "http://127.0.0.1:9"]
options = [word for url in others for word in ("--mirror", url)] + ["--net-timeout", "4"]
table = json.loads(run("mirrors", "--json", *options, link(a)).partition("[\n")[2].join(["[", ""]))
found = {mirror["url"]: mirror for mirror in table}
check([mirror["url"] for mirror in table[:2]] == [a.url, b.url], f"the fastest does not come first: {table}")
states = {a.url: "good", b.url: "good", c.url: "wrong blocks", old.url: "old", foreign.url: "wrong signature",
          cache_only.url: "no manifest", "http://127.0.0.1:9": "unreachable"}
for url, state in states.items():
    check(found[url]["state"] == state and found[url]["good"] == (state == "good"), f"{url} is not {state}: {found[url]}")
check(found[a.url]["version"] == 2 and found[old.url]["version"] == 1, f"versions: {table}")
check(found[b.url]["latency_ms"] >= 40 > 0 < found[a.url]["latency_ms"], f"latencies: {table}")
check(found[cache_only.url]["bytes_per_s"] > 0, f"the speed of a cache: {table}")
text = run("mirrors", "--mirror", "http://127.0.0.1:9", "--timeout", "1", link(a))
lines = text.splitlines()
check(any(line.startswith("MIRROR") for line in lines) and f"http://127.0.0.1:9: http://127.0.0.1:9/image/manifest" in text, f"the table: {text}")
run("mirrors", "--net-timeout", "1", f"http://127.0.0.1:9/image#{key}", status=1)
run("mirrors", "--net-timeout", "2", link(foreign), status=1)
run("mirrors", "image", status=1)

# A mirror of the cache's folder, and one named on the command line of the signed entry.
publish("image", "worded", "--title", "t", "--cmdline", f"quiet mirror={b.url}", store="words")
words = Server("words", "/blocks/* status code=404")
shutil.copytree("words/blocks", "www/blocks", dirs_exist_ok=True)
b.rules()
os.environ["INETBOOT_NO_SANDBOX"] = "1"  # a manifest may only send us to the web's usual ports
m = Mount(f"{words.url}/worded#{key}", dir="words-mnt", cache=None)
check_reads(m.disk, content("image"), 3)
told = mirrors_of(m.status())
check(told[words.url]["errors"] == 0 and told[b.url]["share"] > 90, f"a mirror without blocks: {told}")
check(told[words.url]["not_found"] < told[b.url]["requests"] / 2, f"a mirror without blocks costs too much: {told}")
m.end()
done()
