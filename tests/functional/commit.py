#!/usr/bin/env python3
"""inetboot commit with overlays that are made here: the result is that of a full publish, whatever was written; what must not be lost is not;
refusals."""
import random, signal, time
from storelib import *

SIZE = 24 << 20
need("zstd")
make_key()
make_image("base.img", SIZE, 5)
os.truncate("base.img", SIZE - 512 * 3)  # no whole page at the end
SIZE -= 512 * 3
with open("kernel", "wb") as f:
    f.write(os.urandom(300000))


def make_overlay(path, base, changes, mtime=0, bound=None, align=4096, holes=False):
    """A copy-on-write file as User-Mode Linux makes it; bound: (name, version, root). changes: [(sector, bytes)]"""
    size = len(base)
    sectors = (size + 511) // 512
    start = 8192 if align == 4096 else -(-4128 // align) * align
    bitmap = bytearray((sectors + 7) // 8)
    data = -(-(start + len(bitmap)) // align) * align
    with open(path, "wb") as f:
        f.write(struct.pack(">IIIQIII", 0x4f4f4f4d, 3, mtime, size, 512, align, 0) + b"/somewhere/disk".ljust(4096, b"\0"))
        if bound:
            name, version, digest = bound
            f.write(b"IBO1" + struct.pack("<IQ", 0, version) + bytes.fromhex(digest) + name.encode().ljust(68, b"\0"))
        for sector, content_ in changes:
            for i in range(0, len(content_), 512):
                at = sector + i // 512
                bitmap[at // 8] |= 1 << at % 8
            f.seek(data + sector * 512)
            if any(content_) or not holes:
                f.write(content_)
        f.seek(start)
        f.write(bitmap)
        f.truncate(data + size)


def change(base, seed, count):
    """(new bytes, changes)"""
    rng = random.Random(seed)
    new, changes = bytearray(base), []
    for _ in range(count):
        length = rng.choice([1, 8, 8, 64, 700]) * 512
        sector = rng.randrange(len(base) // 512 - length // 512 + 1)
        what = rng.choice(["random", "zeros", "same", "elsewhere"])
        at = sector * 512
        if what == "random":
            new[at:at + length] = rng.randbytes(length)
        elif what == "zeros":
            new[at:at + length] = bytes(length)
        elif what == "elsewhere":
            source = rng.randrange(len(base) - length)
            new[at:at + length] = base[source:source + length]
        changes.append((sector, length))
    return bytes(new), [(sector, bytes(new[sector * 512:sector * 512 + length])) for sector, length in changes]


def commit(overlay, *args, store="store", **more):
    return run("commit", overlay, store, "--key", "key", "--level", "1", *args, **more)


base = content("base.img")
publish("base.img", "image", "--title", "One", "--kernel", "kernel", "--mirror", "http://m.example/s")
first = manifest()
for seed, count in enumerate((1, 5, 40, 400)):
    shutil.rmtree("again", ignore_errors=True)
    shutil.copytree("store", "again")
    shutil.rmtree("whole", ignore_errors=True)
    shutil.copytree("store", "whole")
    new, changes = change(base, seed, count)
    make_overlay("my.cow", base, changes, bound=("image", 1, first["index"]["root"]))
    text = commit("my.cow", store="again")
    with open("new.img", "wb") as f:
        f.write(new)
    publish("new.img", "image", "--title", "One", "--kernel", "kernel", "--mirror", "http://m.example/s", store="whole")
    m, w = manifest(store="again"), manifest(store="whole")
    for key in ("index", "version", "size", "boot", "mirrors", "parent", "chunker", "stored"):
        check(m[key] == w[key], f"{count} changes: {key} is {m[key]}, in a full publish {w[key]}")
    check(all_blocks("again") == [b.replace("whole", "again", 1) for b in all_blocks("whole")], f"{count} changes: other blocks than a full publish")
    check(image_bytes(store="again") == new, f"{count} changes: other bytes")
    run("verify", "again")

# What a guest has discarded is a hole of the overlay, of any size, and is not read.
make_overlay("trimmed.cow", base, [(2000, bytes(8 << 20))], bound=("image", 1, first["index"]["root"]), holes=True)
shutil.rmtree("again")
shutil.copytree("store", "again")
text = commit("trimmed.cow", store="again")
check(" 0 bytes written" in text or " 0 B written" in text, f"holes were read: {text}")
check(image_bytes(store="again") == base[:2000 * 512] + bytes(8 << 20) + base[2000 * 512 + (8 << 20):], "trimmed: other bytes")

# Nothing that differs: no version. An overlay without a binding is told by size and time, with --base.
stamp = int(time.mktime(time.strptime(first["created"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone)
make_overlay("same.cow", base, [(100, base[51200:51200 + 4096])], bound=("image", 1, first["index"]["root"]))
text = commit("same.cow")
check("unchanged" in text and manifest()["version"] == 1, f"unchanged, but: {text}")
new, changes = change(base, 9, 3)
make_overlay("plain.cow", base, changes, mtime=stamp, align=512)
text = commit("plain.cow", status=1)
check("--base" in text, f"not said what is missing: {text}")
make_overlay("other.cow", base, changes, mtime=stamp + 1)
text = commit("other.cow", "--base", "store/image", status=1)
check("was not written over image version 1" in text, f"taken for one of this version: {text}")

# Refusals, none of which changes the store or makes one.
before = {f: content(f) for f in all_blocks() + ["store/image/manifest"]}
make_overlay("foreign.cow", base, changes, bound=("image", 7, "ab" * 32))
make_overlay("nameless.cow", base, changes, bound=("nothing", 1, "ab" * 32))
make_overlay("short.cow", base, changes, bound=("image", 1, first["index"]["root"]))
os.truncate("short.cow", 100000)
make_overlay("small.cow", base[:1 << 20], [], bound=("image", 1, first["index"]["root"]))
run("key", "stranger")
for reason, args in {
    "no copy-on-write file": ("base.img", "store", "--key", "key"),
    "cut off": ("short.cow", "store", "--key", "key"),
    "has no image version 7": ("foreign.cow", "store", "--key", "key"),
    "there is no image nothing": ("nameless.cow", "store", "--key", "key"),
    "for a disk of": ("small.cow", "store", "--key", "key"),
    "No such file": ("plain.cow", "nowhere", "--key", "key", "--base", "store/image"),
    "is no store": ("plain.cow", "/", "--key", "key", "--base", "store/image"),
    "another key": ("plain.cow", "store", "--key", "stranger", "--base", "store/image"),
}.items():
    text = run("commit", *args, status=1)
    check(reason in text, f"not said {reason!r}: {text}")
check(not os.path.exists("nowhere"), "a store was made")
check({f: content(f) for f in all_blocks() + ["store/image/manifest"]} == before, "a refusal changed the store")

commit("plain.cow", "--base", "store/image")
check(manifest()["version"] == 2 and image_bytes() == new, "other bytes")

# Somebody has published since: refused, and with --force both versions are there.
other, changes = change(base, 10, 3)
make_overlay("late.cow", base, changes, bound=("image", 1, first["index"]["root"]))
text = commit("late.cow", "--base", "store/image@2", status=1)
check("version 1, not over version 2" in text, f"--base was not looked at: {text}")
text = commit("late.cow", status=1)
check("version 2" in text and "--force" in text, f"not said what to do: {text}")
commit("late.cow", "--force")
m = manifest()
check(m["version"] == 3 and m["parent"] == {"version": 1, "root": first["index"]["root"]}, f"another parent: {m}")
check(image_bytes() == other and image_bytes(file="manifest.2") == new and image_bytes(file="manifest.1") == base, "a version is not what it was")

# A boot pack is made anew of the same pages, and what did not change in it is taken over; with --no-pack there is none.
def pages_of_pack(name):
    """The pages in order, and the compressed segments' hashes."""
    data = content(f"store/packs/{name}")
    segments, extents = struct.unpack_from("<II", data, 4)
    at = 12 + 36 * segments + 12 * extents
    out, hashes = [], []
    for i in range(segments):
        length, digest = struct.unpack_from("<I32s", data, 12 + 36 * i)
        check(hashlib.sha256(data[at:at + length]).digest() == digest, "a segment has another hash")
        out.append(subprocess.run(["zstd", "-qdc"], input=data[at:at + length], stdout=subprocess.PIPE, check=True).stdout)
        hashes.append(digest)
        at += length
    where = [struct.unpack_from("<QI", data, 12 + 36 * segments + 12 * i) for i in range(extents)]
    return b"".join(out), hashes, where


disk = image_bytes()
write_trace("trace", [(1000, 100), (0, 300), (2000, 64)], store="store")
run("profile", "store/image", "trace", "--key", "key", "--level", "1")
old = manifest()
check(old["version"] == 4, "no boot pack was made")
changes = [(2010 * 8, os.urandom(1024)), (3000 * 8, os.urandom(4096))]
make_overlay("packed.cow", disk, changes, bound=("image", 3, root()))
shutil.copytree("store", "unpacked")
text = commit("packed.cow", "--no-pack", store="unpacked")
check("boot pack" in text and "profile" not in manifest(store="unpacked"), f"a pack is there: {text}")
commit("packed.cow")
m, disk = manifest(), image_bytes()
was, was_hashes, was_where = pages_of_pack(old["profile"]["pack"])
now, hashes, where = pages_of_pack(m["profile"]["pack"])
check(where == was_where and now == b"".join(disk[p * 4096:(p + n) * 4096] for p, n in where), "the pack has not the pages of the new disk")
same = sum(a == b for a, b in zip(hashes, was_hashes))
check(now != was and same >= len(hashes) - 2, f"only {same} of {len(hashes)} segments are the same")
run("verify", "store")

# Killed at any moment: the version before is there, and the next commit goes on.
new, changes = change(other, 12, 300)
disk = image_bytes()
new = bytearray(disk)
for sector, what in changes:
    new[sector * 512:sector * 512 + len(what)] = what
make_overlay("big.cow", disk, changes, bound=("image", 5, root()))
for ms in (5, 20, 40, 80, 160):
    p = subprocess.Popen([INETBOOT, "commit", "big.cow", "store", "--key", "key", "--level", "9"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        p.wait(ms / 1000)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    if manifest()["version"] != 5:
        break
    check(image_bytes() == disk, f"killed after {ms} ms: the version before is damaged")
if manifest()["version"] == 5:
    commit("big.cow")
check(image_bytes() == new, "after kills: other bytes")
run("verify", "store")
done()
