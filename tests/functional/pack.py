#!/usr/bin/env python3
"""Boot packs: what a mount that plays one fetches, and from where; packs that are missing, damaged, slow or somebody else's; workers and mounts
that end while one plays; two mounts and three mirrors; recording, merging, gc and verify; and a pull of what a boot needs."""
from grouplib import *

PAGE = 4096
need_fuse()
key = make_key()
rng = random.Random(int(os.environ.get("SEED", "1")))


def publish_image(name, size, seed):
    """Half of it compresses."""
    r = random.Random(seed)
    with open(name, "wb") as f:
        while f.tell() < size:
            f.write(r.randbytes(PAGE) if r.randrange(2) else r.randbytes(64) * 64)
        f.truncate(size)
    publish(name, name, store="www")
    return content(name)


def make_runs(size, pages, seed):
    """[(first page, pages)] of about so many pages, each once, the last page of the image among them; in any order."""
    r = random.Random(seed)
    last = (size - 1) // PAGE
    runs, page = [(last, 1)], 0
    while page < last:
        n = min(r.choice([1, 2, 7, 30, 200]), last - page)
        if r.random() < pages / (last + 1):
            runs.append((page, n))
        page += n
    r.shuffle(runs)
    return runs


def newest(name="image"):
    return manifest(name, "www")


def profile(name, *traces, status=0, more=(), secret="key"):
    return run("profile", f"www/{name}", *traces, "--key", secret, "--level", "1", *more, status=status)


def pack_file(name="image", store="www"):
    return f"{store}/packs/{newest(name)['profile']['pack']}"


data = publish_image("image", 24_000_001, 1)
runs = make_runs(len(data), 4000, 2)
write_trace("trace", runs)
profile("image", "trace")
pack = content(pack_file())
pages = sum(n for _, n in runs)
check(newest()["version"] == 2 and newest()["profile"]["pages"] == pages, f"the manifest: {newest()}")
other = publish_image("other", 5_000_000, 7)
write_trace("trace.other", make_runs(len(other), 500, 3), name="other")
profile("other", "trace.other")
server = Server("www")
link = f"{server.url}/image#{key}"
caches = (f"cache{n}" for n in range(10 ** 6))
print(f"a pack of {len(pack)} bytes, {pages} pages in {len(runs)} places")


def read_runs(path, right, some):
    """The pages of a trace, in order. The kernel is kept from reading more at once: that may be what nobody has."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for page, n in some:
        at, length = page * PAGE, n * PAGE
        if os.pread(fd, length, at) != right[at:at + length]:
            return f"wrong bytes of pages {page}+{n}"
    os.close(fd)


def forget_pages(path):
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def requests(under):
    return server.log(under)["requests"]


def sent(under):
    return sum(r["bytes"] for r in requests(under))


def complete(m):
    p = m.status()["pack"]
    return 0 < p["segments"] == p["here"]


def check_runs(m, what, right=None, some=None, seconds=SECONDS):
    wrong = Child(read_runs, m.disk, data if right is None else right, some or runs).result(seconds)
    check(not wrong, f"{what}: {wrong}: {m.said()}")


def play(*options, cache, where=link, **more):
    return Mount(where, "--pack", *options, cache=cache, **more)


def outside_of(some, size):
    """A page that no run has."""
    having = {page + k for page, n in some for k in range(n)}
    return next(page for page in range(size // PAGE) if page not in having)


# One request for it, and none for what it has: pages far from each other, so that nothing is read ahead.
few = publish_image("few", 24_000_001, 4)
some = [(page, 1) for page in range((len(few) - 1) // PAGE, 0, -80)]
write_trace("trace.few", some, name="few")
profile("few", "trace.few")
for attempt in range(10):
    server.rules()
    m = play(cache=f"few{attempt}", where=f"{server.url}/few#{key}")
    check_runs(m, "the pack's pages", few, some)
    wait_for(lambda: complete(m), "the whole pack")
    p = m.status()["pack"]
    check(p["size"] == os.path.getsize(pack_file("few")) == p["bytes"] and "given_up" not in p, f"status: {p}")
    check(len(requests("/packs/")) == 1 and sent("/packs/") == p["size"], f"{requests('/packs/')}")
    blocks = len(requests("/blocks/"))
    m.end()
    if not p["passed_by"]: # else this machine was so busy that it did not wait for it
        break
check(not blocks and not p["passed_by"], f"blocks were fetched though the pack has them: {blocks}, {p}")
server.rules()
m = play(cache=f"few{attempt}", where=f"{server.url}/few#{key}")
check_runs(m, "again", few, some)
check(complete(m), f"not all is here at once: {m.status()['pack']}")
check(not requests("/packs/") and not requests("/blocks/"), f"fetched again: {server.log()['requests']}")
m.end()

# What it has not are blocks.
server.rules()
m = play(cache="warm")
check_runs(m, "the pack's pages")
wait_for(lambda: complete(m), "the whole pack")
check(len(requests("/packs/")) == 1, f"{requests('/packs/')}")
page = outside_of(runs, len(data))
before = len(requests("/blocks/"))
check_runs(m, "a page that is not in the pack", some=[(page, 1)])
check(len(requests("/blocks/")) > before, "no block was fetched for what the pack has not")
m.end()
# What is in the cache is not fetched again; it is read with no server at all.
server.rules()
m = play(cache="warm")
check_runs(m, "again")
check(complete(m), f"not all is here at once: {m.status()['pack']}")
check_runs(m, "a page that is not in the pack", some=[(page, 1)])
check(not requests("/packs/"), "the pack was fetched again")
m.end()


def troubled(what, cache, *options, readers=2, whole=None, seconds=SECONDS, where=link):
    """Right bytes for who reads in order and for who reads anywhere; `whole`: the pack is to arrive."""
    began = time.monotonic()
    m = play(*options, cache=cache, where=where)
    children = [Child(read_runs, m.disk, data, runs)] + [Child(read_randomly, m.disk, data, n, 40) for n in range(readers)]
    for child in children:
        wrong = child.result(seconds)
        check(not wrong, f"{what}: {wrong}: {m.said()}")
    if whole:
        wait_for(lambda: complete(m), f"the whole pack, {what}")
    check(m.status()["read_errors"] == 0, f"{what}: reads failed: {m.said()}")
    m.end()
    print(f"{what}: {time.monotonic() - began:.1f} s")


# Whatever is wrong with the pack, the bytes are right.
head = 12 + 36 * -(-pages // 64) + 12 * len(runs)
damages = ["* status code=404", "* status code=403", "* status code=503 count=2", "* stall at=1000000", f"* truncate at={head // 2}", "* truncate at=1500000",
           "* truncate at=11", "* flip at=100", "* flip", "* flip count=1", "* zeros", "* login", "* noranges", "* drip rate=50000", "* wrongrange",
           "* gzip", "* garbage", "* tail"]
for damage in damages:
    server.rules("/packs" + damage.replace("*", "/*", 1))
    troubled(damage, next(caches), whole=damage.split(" ", 1)[1] in ("status code=503 count=2", "truncate at=1500000", "flip count=1", "noranges"))
# A connection that breaks again and again goes on from where it was.
server.rules("/packs/* reset at=3000000 count=3")  # a reset takes back what the kernel has: on a fast machine there may be no progress in one
troubled("reset again and again", next(caches), whole=True)
check(len(requests("/packs/")) > 1, "it was not reset")
# Bytes that the server gave to the kernel and a reset took back are not ours: what counts is what came.
server.rules("/packs/* reset at=3000000 count=1")
m = play(cache=(cache := next(caches)))
wait_for(lambda: complete(m), "the whole pack")
check(m.status()["network"]["bytes"] <= 1.1 * len(pack), f"{m.status()['network']} for a pack of {len(pack)}")
m.end()
# Another image's pack in its place; a pack that was cut on the server, or changed.
os.rename(pack_file(), "kept")
for what, replacement in [("another pack", content(pack_file("other"))), ("cut at the head", pack[:head // 2]), ("cut behind it", pack[:head]),
                          ("cut in a segment", pack[:head + 100000]), ("cut by one", pack[:-1]), ("one more", pack + b"x"), ("empty", b""),
                          ("a bit", pack[:-1000] + bytes([pack[-1000] ^ 4]) + pack[-999:])]:
    with open(pack_file(), "wb") as f:
        f.write(replacement)
    server.rules()
    troubled(what, next(caches))
os.rename("kept", pack_file())

# Without a cache, and with caches that do not work.
server.rules()
troubled("no cache", None)
os.makedirs("readonly")
os.chmod("readonly", 0o500)
troubled("a cache that cannot be written to", "readonly" if os.geteuid() else "/proc/nothing")
if os.geteuid() == 0:
    os.makedirs("small", exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", "small"], stderr=subprocess.DEVNULL).returncode == 0:
        at_end.append(lambda: subprocess.run(["umount", "-lq", "small"]))
        troubled("a cache on a full disk", "small/cache")
        troubled("the same again", "small/cache")
in_cache = pack_file(store="warm")
whole = content(in_cache)
check(whole == pack, "the cache has another pack than the store")
for what, bad in [("a cut head", pack[:head // 2]), ("cut", pack[:len(pack) // 2]), ("a bit of the head", pack[:50] + bytes([pack[50] ^ 1]) + pack[51:]),
                  ("a bit", pack[:-1000] + bytes([pack[-1000] ^ 4]) + pack[-999:]), ("zeros", bytes(len(pack))), ("empty", b"")]:
    with open(in_cache, "wb") as f:
        f.write(bad)
    troubled(f"rotten in the cache: {what}", "warm")
    troubled("the next one", "warm", whole=True)
    check(content(in_cache) == pack, f"{what} stays in the cache")
os.unlink(in_cache)
os.mkdir(in_cache)
troubled("a folder in its place", "warm")
os.rmdir(in_cache)

# Two mounts fill one file.
server.rules("/packs/* drip rate=4000000")
cache = next(caches)
both = [play(cache=cache, dir=f"mnt{n}") for n in range(2)]
for m in both:
    check_runs(m, "two mounts with one cache")
for m in both:
    wait_for(lambda: complete(m), "the whole pack")
    check_runs(m, "two mounts with one cache")
    m.end()
check(content(pack_file(store=cache)) == pack, "the file that two have filled")
server.rules()
troubled("the file that two have filled", cache, whole=True)
check(not requests("/packs/"), "fetched again")

# Three mirrors: parts of it come from more than one, and one that lies or has none does no harm.
mirrors = [Server("www") for _ in range(2)]
three = [word for s in mirrors for word in ("--mirror", s.url)]
for rule in ["/none good", "/packs/* flip", "/packs/* status code=404", "/packs/* stall at=100000", "/packs/* reset at=200000"]:
    for s in [server, *mirrors]:
        s.rules("/packs/* delay ms=30")
    mirrors[0].rules(rule)
    troubled(f"three mirrors, one: {rule}", next(caches), *three, whole=True)
    if rule.endswith("good"):
        used = [s.log("/packs/")["bytes"] for s in [server, *mirrors]]
        check(sum(n > 0 for n in used) > 1, f"all came from one mirror: {used}")


def read_for_ever(read, path, *args):
    """Until it is killed; text when something is wrong."""
    for seed in range(10 ** 9):
        forget_pages(path)
        wrong = read(path, data, seed, 20) if read is read_randomly else read(path, *args)
        if wrong:
            return wrong


def start_readers(m):
    return [Child(read_for_ever, read_randomly, m.disk), Child(read_for_ever, read_runs, m.disk, data, runs),
            Child(read_for_ever, read_runs, m.disk, data, runs[::-1]), Child(read_for_ever, read_all, m.disk, data)]


def end_readers(readers):
    for reader in readers:
        check(not reader.ended(0) or reader.result() == "", "a reader found something wrong, or ended")
        reader.kill()
        check(reader.ended(20), "a reader cannot be killed")
        os.waitpid(reader.pid, 0)


def moves_on(m, readers, what):
    """Somebody else's read is answered: nothing hangs. Says how long it took."""
    began = time.monotonic()
    for n in range(3):
        check_runs(m, what, some=rng.sample(runs, 5))
    return time.monotonic() - began


def kill_worker(m, wait):
    wait_for(lambda: m.process.poll() is not None or m.worker() not in killed | {None}, "a worker")
    worker = m.worker()
    check(worker, f"no worker: {m.said()}")
    killed.add(worker)
    time.sleep(wait)
    os.kill(worker, signal.SIGKILL)


# The worker is killed while it plays: one of its threads may be in the kernel then, and wait for a page that only the next worker brings.
killed = set()
for cache in [None, next(caches)]:
    server.rules("/packs/* drip rate=20000000" if cache is None else "/packs/* drip rate=2000000")
    m = play(cache=cache)
    readers = start_readers(m)
    longest = 0
    for n in range(30):
        kill_worker(m, rng.random() * rng.choice([0.02, 0.1, 0.4]))
        if n % 5 == 0:
            longest = max(longest, moves_on(m, readers, "killed workers"))
    check_runs(m, "after killed workers")
    end_readers(readers)
    print(f"killed workers: {longest:.1f} s at most for three reads; cache: {cache}")
    for n in range(4): # another program takes it over
        readers = start_readers(m)
        p = subprocess.run([INETBOOT, "mount", "--replace", m.dir], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
        check(p.returncode == 0, f"{p.stdout}: {m.said()}")
        moves_on(m, readers, "replaced")
        end_readers(readers)
    m.end()

# The end, while it plays and readers wait.
longest = 0
for n in range(12):
    server.rules("/packs/* drip rate=3000000", *(["/blocks/* stall"] if n % 3 == 2 else []))
    m = play(cache=None)
    readers = start_readers(m) if n % 3 else []
    time.sleep(rng.random() * 0.3)
    began = time.monotonic()
    if n % 2 == 0 or n % 3 == 2:
        m.end(rng.choice([signal.SIGTERM, signal.SIGINT]))
    elif not readers:
        m.unmount()
    else: # in use: lazily
        subprocess.run(["fusermount3", "-uz", m.dir], check=True, timeout=SECONDS)
    longest = max(longest, time.monotonic() - began)
    for reader in readers:
        reader.kill()
        check(reader.ended(20), "a reader cannot be killed")
        os.waitpid(reader.pid, 0)
    if m.process.poll() is None:
        m.ended(SECONDS)
    check(m.process.returncode == 0, f"ended with {m.process.returncode}: {m.said()}")
    at_end.remove(m.clear)
print(f"ends: within {longest:.1f} s")
check(longest < 20, f"an end took {longest:.1f} s")

# The supervisor is killed while the network is gone and readers wait for it: nothing of the worker stays behind in the kernel.
for n in range(5):
    server.rules("/packs/* delay ms=1500", "/blocks/* stall")
    m = play(cache=None)
    readers = start_readers(m)
    wait_for(lambda: complete(m), "the whole pack")
    time.sleep(rng.random() * 0.1)
    began = time.monotonic()
    m.kill()
    check(time.monotonic() - began < 20, f"the worker ended {time.monotonic() - began:.1f} s after its supervisor")
    for reader in readers:
        reader.kill()
        check(reader.ended(20), "a reader cannot be killed")
        os.waitpid(reader.pid, 0)
    m.clear()
    at_end.remove(m.clear)

# A large pack that does not compress, and little memory.
if not SANITIZED:
    with open("big", "wb") as f:
        for _ in range(100):
            f.write(rng.randbytes(1 << 20))
    publish("big", "big", store="www")
    write_trace("trace.big", [(page, 256) for page in range(0, 25600, 256)][::-1], name="big")
    profile("big", "trace.big")
    server.rules()
    limit = 32 << 20
    for cache in [next(caches), None]:
        m = play("--memory-limit", str(limit), cache=cache, where=f"{server.url}/big#{key}")
        most = 0
        readers = [Child(read_randomly, m.disk, content("big"), seed, 60) for seed in range(4)]
        while not all([reader.ended(0.02) for reader in readers]) or m.status()["pack"]["bytes"] < os.path.getsize(pack_file("big")):
            most = max(most, sum(taken(pid)[1] for pid in [m.process.pid, m.worker()]))
        for reader in readers:
            check(not (wrong := reader.result()), f"little memory: {wrong}")
        check(most <= limit, f"a limit of {limit}: it took {most} bytes beside the page cache")
        m.end()
        print(f"--memory-limit 32M, a pack of 100 MiB: {most >> 20} MiB at the most")

# Recording: what is read, in order, once; a killed worker's successor goes on; then a profile of it.
server.rules()
m = Mount(link, "--record", "recorded", cache="warm")
wanted = [(5, 1), (100, 3), (0, 2), (200, 40)]
check_runs(m, "recording", some=wanted)
killed = set()
kill_worker(m, 0)
check_runs(m, "recording by the next worker", some=[(300, 2), (5, 1)])
m.process.send_signal(signal.SIGTERM)
# A worker that is not the first has libfuse's leak (export/mountpoint.c) from its parent, and cannot read the names of functions in its sandbox.
check(m.ended() == 0 or SANITIZED, f"the mount did not end well: {m.said()}")
lines = content("recorded").decode().splitlines()
check(lines[:2] == ["inetboot-trace 1", f"image image 2 {root(store='www')} {len(data)}"], f"{lines[:2]}")
seen = [page + k for _, page, n in (map(int, line.split()) for line in lines[2:]) for k in range(n)]
first = list(dict.fromkeys(seen))
check(first == [page + k for page, n in [*wanted, (300, 2)] for k in range(n)], f"recorded: {lines}")
out = profile("image", "recorded", "trace")
check("version 3" in out, out)
check(newest()["profile"]["pages"] >= pages, "pages of one of two traces are missing")
packs = set(os.listdir("www/packs"))
# The same once more is nothing new.
check("version 3" in profile("image", "recorded", "trace") and set(os.listdir("www/packs")) == packs, "an unchanged pack made a new version")
check(not [n for n in os.listdir("www/image") if n.endswith(".4")], "a version of an unchanged pack")
# Only what two have.
write_trace("a", [(1, 10), (50, 1)])
write_trace("b", [(5, 10), (50, 1)])
profile("image", "a", "b", more=["--least", "2"])
check(newest()["profile"]["pages"] == 7, f"{manifest(store='www')['profile']}")
check("nothing is left" in profile("image", "a", "b", more=["--least", "3"], status=1), "an empty pack")
# What cannot be right is refused, and says why.
out = profile("image", "trace.other", status=1)
check("trace.other" in out and "other version" in out and "record a boot" in out, out)
write_trace("bad", [(0, 10 ** 9)])
check("bad" in (out := profile("image", "bad", status=1)) and "line 3" in out, out)
make_key("stranger")
check("key" in (out := profile("image", "trace", secret="stranger", status=1)), out)
check("no image" in (out := profile("nothing", "trace", status=1)), out)
check("where you publish" in (out := run("profile", f"{server.url}/image", "trace", "--key", "key", status=1)), out)
# gc keeps packs of versions that it keeps.
now = pack_file().split("/")[-1]
run("gc", "www")
check(now in os.listdir("www/packs") and set(os.listdir("www/packs")) > {now}, f"{os.listdir('www/packs')}")
profile("image", "trace")
now = pack_file().split("/")[-1]
with open("www/packs/.tmp-left", "w"):
    pass
run("gc", "www", "--keep", "1", "--keep-days", "0")
check(now in os.listdir("www/packs"), "gc removed a pack that is needed")
left = set(os.listdir("www/packs")) - {os.path.basename(pack_file(name)) for name in os.listdir("www") if os.path.exists(f"www/{name}/manifest")}
check(not left, f"gc left {left}")
# verify names a damaged one; a profile of the same mends it.
run("verify", "www")
for damage in [lambda b: b[:-1], lambda b: b[:-5] + bytes([b[-5] ^ 1]) + b[-4:], lambda b: bytes([b[0] ^ 1]) + b[1:]]:
    good = content(pack_file())
    with open(pack_file(), "wb") as f:
        f.write(damage(good))
    out = run("verify", "www", status=1)
    check(now in out, f"verify does not name the damaged pack: {out}")
    profile("image", "trace")
    check(content(pack_file()) == good, "a profile of the same does not mend a damaged pack")
os.unlink(pack_file())
check(now in (out := run("verify", "www", status=1)), f"a missing pack: {out}")
profile("image", "trace")
run("verify", "www")

# What a boot needs, fetched beforehand: then it is there without a server, at once.
cache = next(caches)
server.rules()
out = run("pull", "--only-boot", link, "--cache", cache)
check("as far as its boot needs it" in out, out)
check(sent("") < sum(os.path.getsize(f) for f in all_blocks("www")), "all was fetched")
server.stop()
at_end.remove(server.stop)
for options in [["--pack"], []]:
    began = time.monotonic()
    m = Mount(link, *options, cache=cache)
    check_runs(m, "offline", seconds=20)
    check(time.monotonic() - began < (20 if not SANITIZED else 60), f"it took {time.monotonic() - began:.1f} s offline")
    m.end()
done()
