#!/usr/bin/env python3
"""inetboot diff: blocks and places against what this reader of the format finds, over HTTP and in folders; files on ext4 and squashfs; and old
versions can be mounted by number."""
from mountlib import *

need("zstd", "mke2fs", "debugfs")
public = make_key()
SIZE = 12 << 20
make_image("a.img", SIZE, 21)
subprocess.run(["cp", "--sparse=always", "a.img", "b.img"], check=True)
with open("b.img", "r+b") as f:
    for at, what in (3 << 20, os.urandom(4096)), (7 << 20, bytes(300000)), (9 << 20, os.urandom(70000)):
        f.seek(at)
        f.write(what)
publish("a.img", "image", store="www")
publish("b.img", "image", store="www")
server = Server("www")


def differing():
    """Blocks of b that a has nowhere, their bytes, and the bytes of the disk in which both agree."""
    one, two = (list(leaves("www", manifest(store="www", file=f"manifest.{n}")["index"]["root"],
                            manifest(store="www", file=f"manifest.{n}")["index"]["depth"] - 1, SIZE)) for n in (1, 2))
    here = {digest for _, digest in one}
    new = {digest: length for length, digest in two if digest not in here}
    return len(new), len({d for _, d in two if d}), sum(new.values()), sum(os.path.getsize(block_file("www", d)) for d in new)


count, all_, length, stored = differing()
for store in "www", server.url:
    text = run("diff", "--ranges", "--no-cache", f"{store}/image@1#{public}", f"{store}/image#{public}")
    check(f"blocks       {count} of {all_} are new" in text, f"not {count} of {all_}: {text}")
    check(("about" in text) == (store != "www"), f"of files that are here the size is known: {text}")
    ranges = [tuple(map(int, line.split())) for line in text.splitlines() if line[0].isdigit()]
    a, b = content("a.img"), content("b.img")
    at = 0
    for start, end in ranges:
        check(at <= start < end <= SIZE and a[at:start] == b[at:start], f"a difference is missing before {start}")
        at = end
    check(a[at:] == b[at:], "a difference is missing at the end")
    check(sum(e - s for s, e in ranges) < 4 << 20, f"too much is said to differ: {ranges}")
nodes = {manifest(store="www", file=f"manifest.{n}")["index"]["root"] for n in (1, 2)}
check(manifest(store="www")["index"]["depth"] == 1, "more than one index node")
fetched = [r["path"] for r in server.log("/blocks/")["requests"] if r["path"].split("/")[-1] not in nodes]
check(not fetched, f"blocks were fetched to compare them: {fetched}")
text = run("diff", "www/image@2", "www/image@2")
check(" 0 of " in text and "in 0 places" in text, f"the same differs: {text}")
text = run("diff", "a.img", "www/image", status=1)
check("no image in a store" in text, f"not said what is wrong: {text}")

# Files.
os.makedirs("tree/etc/deep/er")
os.makedirs("tree/gone")
for name in "etc/same", "etc/changed", "etc/deep/er/mode", "gone/file", 'etc/a "name" of words':
    with open(f"tree/{name}", "w") as f:
        f.write(name * 100)
subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-U", "clear", "-d", "tree", "one.ext4", "8M"], check=True)
before = os.getcwd()
shutil.copytree("tree", "tree2", symlinks=True)
with open("tree2/etc/changed", "a") as f:
    f.write("and more")
os.chmod("tree2/etc/deep/er/mode", 0o600)
shutil.rmtree("tree2/gone")
with open("tree2/etc/new\x1b[31m", "w") as f:
    f.write("new")
subprocess.run(["cp", "one.ext4", "two.ext4"], check=True)
commands = ["rm /gone/file", "rmdir /gone", "set_inode_field /etc/deep/er/mode mode 0100600", "rm /etc/changed", "write tree2/etc/changed /etc/changed",
            "write tree2/etc/same /etc/new"]
for command in commands:
    subprocess.run(["debugfs", "-w", "-R", command, "two.ext4"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
for disk in "one.ext4", "two.ext4":
    publish(disk, "files", store="www")
need_fuse()
text = run("diff", "--files", f"{server.url}/files@1#{public}", f"{server.url}/files@2#{public}")
marks = {line.split(" (")[0] for line in text.splitlines() if line[0] in "+-~"}
check(marks == {"- /gone", "- /gone/file", "~ /etc/deep/er/mode", "~ /etc/changed", "+ /etc/new"}, f"other files: {text}")
if shutil.which("mksquashfs"):
    for tree in "tree", "tree2":
        subprocess.run(["mksquashfs", tree, f"{tree}.squashfs", "-quiet", "-no-progress", "-noappend"], check=True, stdout=subprocess.DEVNULL)
        publish(f"{tree}.squashfs", "squash", store="www")
    text = run("diff", "--files", "www/squash@1", "www/squash@2")
    marks = {line.split(" (")[0] for line in text.splitlines() if line[0] in "+-~"}
    check(marks == {"- /gone", "- /gone/file", "~ /etc/deep/er/mode", "~ /etc/changed", "+ /etc/new?[31m"}, f"other files: {text}")
text = run("diff", "--files", "www/image@1", "www/image@2", status=1)
check("ext4 and squashfs" in text, f"not said what can be listed: {text}")

# Old versions by number.
for number, disk in (1, "a.img"), (2, "b.img"):
    m = Mount(f"{server.url}/image@{number}#{public}")
    check_all(m.disk, content(disk))
    m.end()
done()
