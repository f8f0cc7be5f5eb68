#!/usr/bin/env python3
"""Stores by a publisher who means harm: everything is signed and hashed right, and made to take memory, disk or time without end. Each
of mount, pull, verify and info ends with the right bytes or a clear error, in the memory that it may have, which the kernel enforces."""
import errno, os, re, sys

FORMAT_TOOL = os.path.abspath(sys.argv[2])
from grouplib import *

LIMIT, BESIDE = 64 << 20, 16 << 20  # bytes: --memory-limit's default, and what the kernel and the libraries' pages may take
CACHE = "24M"
MAGIC = b"\x28\xb5\x2f\xfd"
CHUNK_MAX = 4 << 20

need_fuse()
need("zstd")
key = make_key()
make_image("image", 1_000_000, 1)
publish("image", store="www")


# ---- making them ----

def zstd_blocks(data):
    """Raw blocks, and those that repeat one byte."""
    out = []
    for at in range(0, len(data), 128 << 10):
        part = data[at:at + (128 << 10)]
        last, same = at + len(part) == len(data), part == part[:1] * len(part)
        out.append((last | same << 1 | len(part) << 3).to_bytes(3, "little") + (part[:1] if same else part))
    return b"".join(out)


def frame(data):
    return MAGIC + b"\xa0" + struct.pack("<I", len(data)) + zstd_blocks(data)


def put(data, file=None):
    """Stores a block, as `file` if that is given; its digest."""
    digest = hashlib.sha256(data).digest()
    path = block_file("www", digest.hex())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(frame(data) if file is None else file)
    return digest


def node(level, entries):
    return struct.pack("<4sB3xI", b"IBN1", level, len(entries)) + b"".join(struct.pack("<Q32s", *e) for e in entries)


def span(entries):
    return sum(length for length, _ in entries)


def tree(entries, *counts):
    """Levels above a leaf of `entries`: each repeats its child `count` times. (length, digest, depth)"""
    length, digest = span(entries), put(node(0, entries))
    for level, count in enumerate(counts, 1):
        digest, length = put(node(level, [(length, digest)] * count)), length * count
    return length, digest, len(counts) + 1


def sign(name, size, digest, depth, **more):
    m = {**manifest(store="www"), "name": name, "size": size, "index": {"root": digest.hex(), "depth": depth, "chunks": 1000}, "stored": 100000, **more}
    sign_text(name, json.dumps(m))


def sign_text(name, text):
    os.makedirs(f"www/{name}", exist_ok=True)
    with open("message", "w") as f:
        f.write(text)
    subprocess.run([FORMAT_TOOL, "sign", "key", "message", f"www/{name}/manifest"], check=True)
    shutil.copy(f"www/{name}/manifest", f"www/{name}/manifest.1")


same = lambda byte: lambda at, n: bytes([byte]) * n
x = (1, put(b"x"))
big = [put(bytes([i]) * CHUNK_MAX) for i in range(1, 200)]
mib_noise = random.Random(3).randbytes(1 << 20)
noise = [put(bytes([i]) + mib_noise[1:] + mib_noise * 3) for i in range(24)]
cases = {}  # name: (right bytes, or None; words of pull's error, or None for success; verify's; offsets to read)


def case(name, length, digest, depth, right=None, pull=None, verify=None, offsets=None, **more):
    sign(name, length, digest, depth, **more)
    cases[name] = right, pull, verify, offsets or [0, length // 3, length // 2, length - 4096]


case("deep", *tree([x] * 4096, 4096, 4096, 4096, 4, 1, 1, 1), right=same(ord("x")))
case("big", *tree([(CHUNK_MAX, d) for d in big], 20), right=lambda at, n: bytes([at // CHUNK_MAX % 199 + 1]) * n,
     offsets=[i * 37 * CHUNK_MAX // 3 & ~4095 for i in range(60)])
case("noise", *tree([(CHUNK_MAX, d) for d in noise], 4096), right=lambda at, n: (mib_noise * 2)[at % (1 << 20):][:n],
     offsets=[i * CHUNK_MAX * 5 + 77 * 4096 for i in range(48)], pull="its blocks take more than", stored=0)
case("noise-told", *tree([(CHUNK_MAX, d) for d in noise]), pull="the cache may have", right=None, stored=100 << 20)

# 16 Mi entries for chunks of one byte, in 256 different leaves.
os.mkdir("leaves")
leaves_made = [node(0, [(1, put(bytes([i])))] + [x] * 4095) for i in range(256)]
for i, leaf in enumerate(leaves_made):
    with open(f"leaves/{i}", "wb") as f:
        f.write(leaf)
subprocess.run(["zstd", "-q", "-1", "--rm", "--content-size"] + [f"leaves/{i}" for i in range(256)], check=True)
children = [(4096, put(leaf, content(f"leaves/{i}.zst"))) for i, leaf in enumerate(leaves_made)]
case("pieces", 16 << 20, put(node(1, children * 16)), 2,
     right=lambda at, n: b"".join((b"x" if i % 4096 else bytes([i // 4096 % 256])) for i in range(at, at + n)))

# Nodes and blocks that lie about their lengths.
huge = put(node(1, [(1 << 63, x[1]), ((1 << 63) - 1, x[1])]))
case("absurd", 1 << 50, huge, 2, pull="index", verify="index")
case("hole-node", 1 << 50, put(node(1, [(1 << 50, bytes(32))])), 2, pull="index", verify="index")
case("bomb-node", 1 << 40, put(bytes([7]) * CHUNK_MAX), 3, pull="index", verify="index")
data = b"y" * 65536
digest = hashlib.sha256(data).digest()
liars = [(8192, x[1])]
for file in [MAGIC + b"\xe0" + struct.pack("<Q", 4 << 30) + zstd_blocks(data),  # claims 4 GiB
             MAGIC + b"\x00\x58" + zstd_blocks(data),  # claims nothing
             MAGIC + b"\xa0" + struct.pack("<I", 65536) + zstd_blocks(bytes(CHUNK_MAX)) + zstd_blocks(bytes(CHUNK_MAX)),
             frame(data) + frame(data)]:
    d = hashlib.sha256(file).digest()
    path = block_file("www", d.hex())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(file)
    liars.append((65536, d))
case("liars", span(liars), put(node(0, liars)), 1, pull="block", verify="5 of them bad or missing", offsets=[0] + [65536 * i for i in range(1, 5)])
# A window of 2 GiB for 64 KiB is allowed: nobody makes it.
put(data, MAGIC + b"\x80\xa8" + struct.pack("<I", 65536) + zstd_blocks(data))
case("window", 65536, put(node(0, [(65536, digest)])), 1, right=same(ord("y")))

sign_text("values", json.dumps({**manifest(store="www"), "name": "values", "more": [[]] * 300000}, separators=(",", ":")))
sign_text("nested", "[" * 900000 + "]" * 100000)
server = subprocess.Popen([INETBOOT, "serve", "www", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
at_end.append(lambda: (server.kill(), server.wait()))
url = re.search(rb"http://[0-9.:]+", server.stdout.readline()).group(0).decode()
threading.Thread(target=server.stdout.read, daemon=True).start()


# ---- trying them ----

def limited(*args, seconds=100):
    """Runs inetboot in a group; status, text, peak."""
    group = Group(LIMIT + BESIDE)
    p = subprocess.Popen([INETBOOT, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=group.enter)
    watch = Watch(group)
    try:
        text = p.communicate(timeout=seconds)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        p.kill()
        fail(f"{args} does not end within {seconds} s")
    most = watch.end()
    check(not group.killed(), f"{args} took more than it may: {text}")
    check(most <= LIMIT, f"{args} took {most} bytes: {text}")
    group.remove()
    return p.returncode, text, most


def read_some(path, right, offsets, seed):
    """Right bytes, or EIO; with `right`, pages must be right."""
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for at in rng.sample(offsets, len(offsets)):
        for n in (4096, 300000) if right else (4096,):
            try:
                got = os.pread(fd, n, at)
            except OSError as e:
                if e.errno != errno.EIO or (right and n == 4096):
                    return f"{errno.errorcode[e.errno]} at {at}"
                continue
            if not right or got != right(at, len(got)):
                return f"wrong bytes at {at}"


def mounted(name, right, offsets):
    group = Group(LIMIT + BESIDE)
    m = Mount(f"{url}/{name}#{key}", "--cache-size", CACHE, preexec_fn=group.enter)
    watch = Watch(group)
    readers = [Child(read_some, m.disk, right, offsets, seed) for seed in range(32 if right else 2)]
    for reader in readers:
        wrong = reader.result(100, name)
        check(not wrong, f"{name}: {wrong}: {m.said()}")
    check(right or m.status()["read_errors"], f"{name}: nothing went wrong: {m.said()}")
    most = watch.end()
    m.end()
    check(not group.killed() and most <= LIMIT, f"{name}: reads took {most} bytes")
    group.remove()
    return most


def outcome(command, name, words):
    options = ["--cache", f"cache-{command}", "--cache-size", CACHE] if command == "pull" else []
    status, text, most = limited(command, *options, f"{url}/{name}#{key}")
    check((status == 0) == (words is None) and (words or "") in text, f"{command} of {name}: status {status}: {text}")
    return most


for name, (right, pull, verify, offsets) in cases.items():
    began = time.monotonic()
    most = [outcome("info", name, None), mounted(name, right, offsets) if name != "noise-told" else 0, outcome("pull", name, pull)]
    if name != "noise-told":
        most.append(outcome("verify", name, verify))
    shutil.rmtree("cache", ignore_errors=True)
    print(f"{name}: {time.monotonic() - began:.1f} s; info, mount, pull, verify took", *[f"{m >> 20} MiB" for m in most])
for name in ("values", "nested"):
    for command in ("info", "pull"):
        outcome(command, name, "manifest")
done()
