#!/usr/bin/env python3
"""inetboot publish: every kind of disk image comes out byte-equal, republishing stores nothing, boot entries, refusals."""
import stat
from storelib import *

need("zstd", "qemu-img", "create_compressed_fs")
public = make_key()
SIZE = 20 << 20
make_image("sparse.img", SIZE, 7)
subprocess.run(["cp", "--sparse=never", "sparse.img", "full.img"], check=True)
want = content("sparse.img")

text = publish("sparse.img", "raw", "--base-url", "https://example.org/store/")
check(text.strip().endswith(f"https://example.org/store/raw#{public}"), f"no link: {text}")
check(image_bytes("raw") == want, "raw: other bytes")
m = manifest("raw")
blocks = all_blocks()
check(m["stored"] == sum(os.path.getsize(b) for b in blocks), "`stored` is not what all blocks take")
check(m["size"] == SIZE and m["version"] == 1 and "parent" not in m, f"strange manifest {m}")
for block in blocks:
    check(hashlib.sha256(unzstd([block])).hexdigest() == os.path.basename(block), f"{block} is not its name")
    check(stat.S_IMODE(os.stat(block).st_mode) == 0o644, f"{block} cannot be read by a web server")

text = publish("sparse.img", "raw")
check("unchanged" in text and "0 of" in text and manifest("raw")["version"] == 1, f"not unchanged: {text}")
check(all_blocks() == blocks, "an unchanged image stored blocks")

# The same bytes in other clothes: the same root, nothing new.
for kind in ("qcow2", "vmdk", "vdi", "vhdx"):
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, "sparse.img", f"a.{kind}"], check=True)
subprocess.run(["qemu-img", "convert", "-f", "raw", "-c", "-O", "qcow2", "sparse.img", "a.packed"], check=True)
for size in (65536, 4096, 262144, 4 << 20):
    subprocess.run(["create_compressed_fs", "-B", str(size), "sparse.img", f"a.cloop{size}"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
others = ["full.img"] + [f for f in sorted(os.listdir(".")) if f.startswith("a.")]
check(len(others) == 10, f"not all images were made: {others}")
for file in others:
    publish(file, "other")
    check(root("other") == root("raw"), f"{file}: another root")
with open("sparse.img", "rb") as f:
    publish("-", "other", stdin=f)
check(root("other") == root("raw"), "standard input: another root")
p = subprocess.Popen(["cat", "sparse.img"], stdout=subprocess.PIPE)
publish("-", "other", stdin=p.stdout)
check(p.wait() == 0 and root("other") == root("raw"), "pipe: another root")
os.mkfifo("fifo")
p = subprocess.Popen("cat sparse.img >fifo", shell=True)
publish("fifo", "other")
check(p.wait() == 0 and root("other") == root("raw"), "fifo: another root")
check(manifest("other")["version"] == 1, "equal images made versions")
check(all_blocks() == blocks, "equal images stored blocks")

# Any number of threads gives the same.
for jobs in ("1", "2", "7"):
    publish("sparse.img", "raw", "--jobs", jobs, store=f"jobs{jobs}")
    check(root("raw", f"jobs{jobs}") == root("raw"), f"{jobs} jobs: another root")

# Memory does not grow with the image.
p = subprocess.Popen("head -c 300000000 /dev/urandom", shell=True, stdout=subprocess.PIPE)
q = subprocess.Popen([INETBOOT, "publish", "-", "memory", "--name", "x", "--key", "key", "--level", "1", "--jobs", "2"], stdin=p.stdout,
                     stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(q.pid, 0)
q.returncode = 0
check(status == 0 and p.wait() == 0, "publishing 300 MB failed")
check(usage.ru_maxrss < 100000, f"300 MB took {usage.ru_maxrss} KiB of memory")
shutil.rmtree("memory")

# A change in the middle: a new version, few new blocks, and the old one stays.
with open("full.img", "r+b") as f:
    f.seek(SIZE // 2)
    f.write(b"something new")
publish("full.img", "raw")
m = manifest("raw")
check(m["version"] == 2 and m["parent"] == {"version": 1, "root": root("other")}, f"wrong parent in {m}")
check(image_bytes("raw") == content("full.img") and image_bytes("raw", file="manifest.1") == want, "versions: other bytes")
check(len(all_blocks()) - len(blocks) < 8, "a small change stored many blocks")

# Sizes at the edges.
for size in (1, 511, 4095, 4096, 4097, 16384, 262144, 262145, (2 << 20) - 1, 2 << 20, (2 << 20) + 1):
    make_image("edge.img", size, size, holes=False)
    publish("edge.img", "edge")
    check(image_bytes("edge") == content("edge.img"), f"{size} bytes: other bytes")
with open("zeros.img", "wb") as f:
    f.truncate(1 << 43)
publish("zeros.img", "zeros")
check(manifest("zeros")["size"] == 1 << 43 and manifest("zeros")["index"]["chunks"] == 1, "8 TiB of nothing are not one hole")
for size in (5, 20000):
    with open("zeros.img", "wb") as f:
        f.truncate(size)
    publish("zeros.img", "zeros")
    check(image_bytes("zeros") == bytes(size), f"{size} zeros: other bytes")

# Boot entries.
with open("kernel", "wb") as f:
    f.write(b"\x7fELF" + os.urandom(300000))
make_image("initrd", 700000, 3)
# What cannot be said in a manifest is refused before anything is stored.
for option, value, why in (("--title", "", "title"), ("--title", "a\x1b[2J", "title"), ("--cmdline", "a\nb", "cmdline"),
                           ("--mirror", "http://user@host/", "mirrors"), ("--mirror", "http://", "mirrors"), ("--title", b"\xff", "UTF-8")):
    text = publish("full.img", "never", option, value, store="unmade", status=1)
    check(why in text and not os.path.exists("unmade"), f"{option} {value}: {text}")

publish("full.img", "boots", "--kernel", "kernel", "--title", "One <&>", "--initrd", "initrd", "--cmdline", "quiet",
        "--title", "Two", "--type", "xen", "--kernel", "initrd", "--module", "kernel", "--module", "initrd",
        "--mirror", "http://m.example/s", "--expires", "2030-01-01T00:00:00Z")
m = manifest("boots")
check([(b["title"], b["type"]) for b in m["boot"]] == [("One <&>", "uml"), ("Two", "xen")], f"wrong entries: {m['boot']}")
check(m["boot"][0]["cmdline"] == "quiet" and len(m["boot"][1]["modules"]) == 2, f"wrong entries: {m['boot']}")
check(m["mirrors"] == ["http://m.example/s"] and m["expires"] == "2030-01-01T00:00:00Z", f"wrong manifest: {m}")
for tree, file in ((m["boot"][0]["kernel"], "kernel"), (m["boot"][0]["initrd"], "initrd"), (m["boot"][1]["modules"][0], "kernel")):
    check(tree_bytes(tree, tree["size"]) == content(file), f"{file}: other bytes")

# The catalogue says what is there, escaped.
catalogue = {i["name"]: i for i in json.loads(content("store/catalog.json"))["images"]}
check(catalogue["raw"]["versions"] == [1, 2] and catalogue["raw"]["link"] == f"raw#{public}", f"{catalogue['raw']}")
check(set(catalogue) == {"raw", "other", "edge", "zeros", "boots"}, f"{set(catalogue)}")
page = content("store/index.html").decode()
check("One &lt;&amp;&gt;" in page and "One <&>" not in page and f"raw#{public}" in page, "the page is wrong")

# Refusals, each with its reason, none of which changes the store.
before = {f: content(f) for f in all_blocks() + ["store/raw/manifest"]}
open("empty", "w").close()
os.mkdir("occupied")
open("occupied/file", "w").close()
subprocess.run(["gzip", "-k", "sparse.img"], check=True)
for reason, args in {
    "is empty": ("empty", "store", "--name", "raw", "--key", "key"),
    "No such file": ("nothing", "store", "--name", "raw", "--key", "key"),
    "no name for an image": ("full.img", "store", "--name", "../x", "--key", "key"),
    "key nokey": ("full.img", "store", "--name", "raw", "--key", "nokey"),
    "key key.pub": ("full.img", "store", "--name", "raw", "--key", "key.pub"),
    "holds other files": ("full.img", "occupied", "--name", "raw", "--key", "key"),
    "is compressed": ("sparse.img.gz", "store", "--name", "raw", "--key", "key"),
}.items():
    text = run("publish", *args, status=1)
    check(reason in text and text.startswith("inetboot: cannot publish") and text.count("\n") == 1, f"{reason}: {text}")
with subprocess.Popen(["cat", "a.qcow2"], stdout=subprocess.PIPE) as p:
    check("name the file" in publish("-", "raw", stdin=p.stdout, status=1), "a qcow2 from a pipe")
for args in ((), ("full.img",), ("full.img", "store"), ("full.img", "store", "--name", "x"),
             ("full.img", "store", "--name", "x", "--key", "key", "--level", "20"),
             ("full.img", "store", "--name", "x", "--key", "key", "--type", "msdos"),
             ("full.img", "store", "--name", "x", "--key", "key", "--record-engine", "bochs"),
             ("full.img", "store", "--name", "x", "--key", "key", "--record-engine", "uml", "--record-engine", "uml"),
             ("full.img", "store", "--name", "x", "--key", "key", "--expires", "tomorrow"), ("--nonsense",)):
    run("publish", *args, status=2)
check(before == {f: content(f) for f in all_blocks() + ["store/raw/manifest"]}, "a refused publish changed the store")
check(run("publish", "--help").startswith("Usage: inetboot publish"), "no help")
done()
