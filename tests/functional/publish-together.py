#!/usr/bin/env python3
"""Several publishers in one store at once, and gc beside them: nothing is lost, versions are counted right."""
from storelib import *

need("zstd")
public = make_key()
SIZE = 6 << 20
ROUNDS = 10


def start(*args):
    return subprocess.Popen([INETBOOT, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def end(p):
    text = p.communicate(timeout=120)[0].decode()
    check(p.returncode == 0, f"{p.args}: {text}")
    return text


# The first publishers of a store, which make it.
make_image("small.img", 10_000, 0)
for i in range(20):
    for p in [start("publish", "small.img", f"store{i}", "--name", name, "--key", "key") for name in ("a", "b", "c")]:
        end(p)
    check(all(os.path.exists(f"store{i}/{name}/manifest") for name in ("a", "b", "c")), "one of the first publishers was lost")

for i in range(ROUNDS):
    # Two images that share half of their blocks, under two names, and one of them twice under one name.
    make_image("a.img", SIZE, i)
    make_image("b.img", SIZE, i + 1000)
    with open("a.img", "r+b") as a, open("b.img", "r+b") as b:
        b.write(a.read(SIZE // 2))
    args = ("--key", "key", "--level", "1")
    both = [start("publish", f"{x}.img", "store", "--name", n, *args) for x, n in (("a", "a"), ("b", "b"), ("a", "both"), ("b", "both"))]
    if i % 2:
        both.append(start("gc", "store", "--keep", "3", "--keep-days", "0"))
    for p in both:
        end(p)
    run("verify", "store")
    check(image_bytes("a") == content("a.img") and image_bytes("b") == content("b.img"), "other bytes")
    m = manifest("both")
    check(m["version"] == 2 * i + 2, f"version {m['version']} after {2 * i + 2} publishes")
    last, one = image_bytes("both"), image_bytes("both", file=f"manifest.{m['version'] - 1}")
    check({last, one} == {content("a.img"), content("b.img")}, "one of two publishers of one name was lost")
    check(m["parent"] == {"version": m["version"] - 1, "root": manifest("both", file=f"manifest.{m['version'] - 1}")["index"]["root"]},
          "the parent is not the version before")
catalogue = {image["name"]: image["version"] for image in json.loads(content("store/catalog.json"))["images"]}
check(catalogue == {"a": ROUNDS, "b": ROUNDS, "both": 2 * ROUNDS}, f"the catalogue lags behind: {catalogue}")

# A gc that comes while somebody publishes says for whom it waits, and a publisher waits for a gc.
os.mkfifo("slow")
publisher = start("publish", "slow", "store", "--name", "slow", "--key", "key")
feed = open("slow", "wb")
feed.write(content("a.img")[:1 << 20])
feed.flush()
while not os.listdir("store/.publishing"):
    pass
gc = start("gc", "store")
said = b""
while b"publishing slow" not in said:
    line = gc.stdout.readline()
    check(line, f"gc did not wait: {said}")
    said += line
check(gc.poll() is None and f"process {publisher.pid} ".encode() in said, f"gc says {said}")
feed.write(content("a.img")[1 << 20:])
feed.close()
end(publisher)
end(gc)
check(image_bytes("slow") == content("a.img"), "gc took blocks from a running publisher")
done()
