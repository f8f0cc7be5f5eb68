#!/usr/bin/env python3
"""inetboot gc and verify: what nobody names goes, what anybody names stays, and where it cannot be known nothing goes."""
import time
from storelib import *

need("zstd")
make_key()
SIZE = 5 << 20
for version in range(1, 6):
    make_image("a.img", SIZE, version)
    publish("a.img")
make_image("kernel", 600000, 99)
publish("a.img", "boots", "--kernel", "kernel", "--initrd", "a.img", "--module", "kernel")
make_image("b.img", SIZE, 100)
publish("b.img", "gone")
last = content("a.img")
everything = all_blocks()

check("removed 0 versions, 0 blocks" in run("gc", "store"), "gc found something in a clean store")
check(all_blocks() == everything, "gc removed blocks that are named")

shutil.rmtree("store/gone")
with open(os.path.dirname(everything[0]) + "/.0000000000000000.1", "w") as f:
    f.write("left by a dead publisher")
for name in ("store/image/manifest.9.tmp.17.3", "store/index.html.tmp.17.4", "store/image/key.pub.tmp.17.4"):
    open(name, "w").close()
open("store/image/notes.tmp.txt", "w").close()
with_garbage = all_blocks()
check("remove 0 versions" in run("gc", "store", "--keep", "2", "--dry-run"), "gc would remove what was the newest version today")
check("remove 0 versions" in run("gc", "store", "--keep", "2", "--keep-days", "1", "--dry-run"), "the same, --keep-days 1")
dry = run("gc", "store", "--keep", "2", "--keep-days", "0", "--dry-run")
check(all_blocks() == with_garbage and os.path.exists("store/image/manifest.1"), "--dry-run removed something")
wet = run("gc", "store", "--keep", "2", "--keep-days", "0")
check(dry.replace("would remove", "removed") == wet, f"--dry-run says {dry}, gc says {wet}")
check("removed 3 versions" in wet and "4 temporary files" in wet, wet)
check(sorted(os.listdir("store/image")) == [".lock", "key.pub", "manifest", "manifest.4", "manifest.5", "notes.tmp.txt"], os.listdir("store/image"))
check(len(all_blocks()) < len(with_garbage) - 50, "hardly a block was removed")
check(image_bytes() == last, "gc took a block of the newest version")
check(len(image_bytes(file="manifest.4")) == SIZE, "gc took a block of a kept version")
check(tree_bytes(manifest("boots")["boot"][0]["kernel"], 600000) == content("kernel"), "gc took a kernel")
run("verify", "store")
catalogue = {image["name"]: image["versions"] for image in json.loads(content("store/catalog.json"))["images"]}
check(catalogue == {"boots": [1], "image": [4, 5]}, f"the catalogue is not new: {catalogue}")

# What gc keeps is exactly what is named.
named = set()
for name, file in (("image", "manifest.4"), ("image", "manifest.5"), ("boots", "manifest")):
    m = manifest(name, file=file)
    trees = [(m["index"], m["size"])] + [(t, t["size"]) for b in m["boot"] for t in (b["kernel"], b["initrd"], *b["modules"])] \
        if "boot" in m else [(m["index"], m["size"])]
    for tree, size in trees:
        named |= {digest for _, digest in leaves("store", tree["root"], tree["depth"] - 1, size)}
have = {os.path.basename(b) for b in all_blocks()}
check(named - {None} <= have, "a named block is gone")

# Rolled back by hand: what `manifest` says is never dropped.
shutil.copy("store/image/manifest.4", "store/image/manifest")
run("gc", "store", "--keep", "1", "--keep-days", "0")
check(os.path.exists("store/image/manifest.4"), "the version that readers get was dropped")
run("verify", "store")

# Refusals.

def refused(why):
    kept = all_blocks()
    text = run("gc", "store", status=1)
    check("nothing was removed" in text and why in text, f"gc of a store with {why}: {text}")
    check(all_blocks() == kept, f"gc removed blocks from a store with {why}")


good = content("store/image/manifest.5")
shutil.copy("store/image/manifest", "store/image/manifest.77")
refused("version 4")
os.unlink("store/image/manifest.77")
for bad, why in ((b"nonsense", "manifest.5"), (good.replace(b'"format": 1', b'"format": 9'), "format"), (good[:200], "manifest.5"), (b"", "manifest.5")):
    with open("store/image/manifest.5", "wb") as f:
        f.write(bad)
    refused(why)
    check("bad" in run("verify", "store", status=1), "verify accepts a bad manifest")
with open("store/image/manifest.5", "wb") as f:
    f.write(good)
node = block_file("store", root("boots"))
saved = content(node)
os.unlink(node)
refused("index node")
check("boots/manifest" in run("verify", "store", status=1), "verify does not say who needs a lost node")
with open(node, "wb") as f:
    f.write(saved[:-3])
refused("index node")
with open(node, "wb") as f:
    f.write(saved)
run("verify", "store")

# Bad blocks: each is named, with who needs it.
m = manifest("boots")["boot"][0]["kernel"]
digest = next(d for _, d in leaves("store", m["root"], m["depth"] - 1, m["size"]) if d)
path = block_file("store", digest)
frame = bytearray(content(path))
frame[len(frame) // 2] ^= 1
with open("flipped", "wb") as f:
    f.write(frame)
subprocess.run(["zstd", "-q", "-o", "other", "kernel"], check=True)
for bad in (content("flipped"), content("other"), content(path)[:-1], content(path) + b"x", b"", None):
    saved = content(path)
    os.unlink(path)
    if bad is not None:
        with open(path, "wb") as f:
            f.write(bad)
    text = run("verify", "store", status=1)
    check(digest in text and "boots/manifest" in text and "image/manifest" not in text, f"verify says {text}")
    with open(path, "wb") as f:
        f.write(saved)
run("verify", "store")
check("no folder `blocks`" in run("gc", ".", status=1), "gc of a folder that is no store")
run("gc", "nowhere", status=1)
run("gc", status=2)
run("gc", "store", "--keep", "0", status=2)
for days in ("-1", "x", "", "36526"):
    run("gc", "store", "--keep", "1", "--keep-days", days, status=2)

# Versions by their age: 1 was replaced ten days ago, 2 five days ago.
shutil.rmtree("store")
for version in (1, 2, 3, 4):
    make_image("a.img", SIZE // 10, version)
    publish("a.img")
for file, days in (("manifest.1", 30), ("manifest.2", 10), ("manifest.3", 5), ("manifest.4", 0), ("manifest", 0)):
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * 86400))
    text = content(f"store/image/{file}").decode().replace(manifest(file=file)["created"], made)  # gc does not check signatures
    with open(f"store/image/{file}", "w") as f:
        f.write(text)
for days, left in (("11", "1234"), ("7", "234"), ("1", "34"), ("0", "4")):
    run("gc", "store", "--keep", "1", "--keep-days", days)
    have = "".join(sorted(f[-1] for f in os.listdir("store/image") if f.startswith("manifest.")))
    check(have == left, f"--keep-days {days} leaves versions {have}")
done()
