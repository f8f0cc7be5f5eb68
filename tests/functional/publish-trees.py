#!/usr/bin/env python3
"""inetboot publish of folders and tar files: the same tree gives the same blocks, whoever publishes it, and owners survive."""
from storelib import *

need("zstd", "mke2fs", "mkfs.erofs", "debugfs", "fakeroot", "xz", "fsck.erofs", "e2fsck")
make_key()
os.environ["PATH"] += ":/usr/sbin:/sbin"
os.makedirs("tree/etc/sub")
os.makedirs("tree/locked")
for i in range(200):
    with open(f"tree/etc/sub/file{i}", "wb") as f:
        f.write(random.Random(i).randbytes(i * 97))
with open("tree/large", "wb") as f:
    f.write(random.Random(1).randbytes(3 << 20))
    f.truncate(40 << 20)
os.symlink("large", "tree/link")
os.link("tree/large", "tree/hard")
os.chmod("tree/etc/sub/file1", 0o4755)
for d, folders, files in os.walk("tree", topdown=False):
    for f in files + folders:
        os.utime(os.path.join(d, f), (1e9, 1e9), follow_symlinks=False)
os.utime("tree", (1e9, 1e9))
os.chmod("tree/locked", 0o555)
tar = ["tar", "-C", "tree", "--owner=1000", "--group=100", "--sort=name"]
subprocess.run([*tar, "-cf", "tree.tar", "."], check=True)
subprocess.run([*tar, "-czf", "tree.tar.gz", "."], check=True)
subprocess.run([*tar, "-cJf", "tree.txz", "."], check=True)
subprocess.run([*tar, "--zstd", "-cf", "tree.tar.zst", "."], check=True)


def left_behind():
    return [f for f in os.listdir("tmp") if f.startswith("inetboot")]


os.mkdir("tmp")
os.chmod("tmp", 0o777)
os.environ["TMPDIR"] = os.path.abspath("tmp")
publish("tree", "folder")
publish("tree.tar", "ext4")
publish("tree.tar", "erofs", "--fs", "erofs")
publish("tree", "folder-erofs", "--fs", "erofs")
check(manifest("ext4")["filesystem"] == "ext4" and manifest("erofs")["filesystem"] == "erofs", "wrong file systems")
check(not left_behind(), f"left in $TMPDIR: {left_behind()}")
for file in ("tree.tar", "tree.tar.gz", "tree.txz", "tree.tar.zst"):
    check("unchanged" in publish(file, "ext4"), f"{file} as ext4 gave other blocks")
    check("unchanged" in publish(file, "erofs", "--fs", "erofs"), f"{file} as erofs gave other blocks")
check("unchanged" in publish("tree", "folder"), "the folder gave other blocks")
check("unchanged" in publish("tree", "folder-erofs", "--fs", "erofs"), "the folder gave other blocks as erofs")

with open("ext4.img", "wb") as f:
    f.write(image_bytes("ext4"))
with open("erofs.img", "wb") as f:
    f.write(image_bytes("erofs"))
subprocess.run(["e2fsck", "-fn", "ext4.img"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
subprocess.run(["fsck.erofs", "erofs.img"], check=True, stdout=subprocess.DEVNULL)
out = subprocess.run(["debugfs", "-R", "stat /etc/sub/file1", "ext4.img"], stdout=subprocess.PIPE, check=True).stdout.decode()
check("Mode:  04755" in out and "User:  1000" in out and "Group:   100" in out, f"owner or mode was lost: {out}")
subprocess.run(["debugfs", "-R", f"dump /large {DIR}/large.out", "ext4.img"], check=True, stderr=subprocess.DEVNULL)
check(content("large.out") == content("tree/large"), "a file in the ext4 has other bytes")

if os.geteuid() == 0:  # an ordinary user makes the same of the same tar file
    os.mkdir("theirs")
    os.chown("theirs", 1234, 1234)
    os.chmod(DIR, 0o755)
    os.chmod("key", 0o644)
    for fs in ("ext4", "erofs"):
        publish("tree.tar", fs, "--fs", fs, store="theirs/store", user=1234, group=1234, extra_groups=[])
        check(root(fs) == root(fs, "theirs/store"), f"{fs}: an ordinary user gets other blocks")

# Killed while it works: the temporary folder goes all the same.
p = subprocess.Popen([INETBOOT, "publish", "tree.txz", "store", "--name", "killed", "--key", "key"],
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while not left_behind() and p.poll() is None:
    pass
check(p.poll() is None, "it ended before it could be killed")
p.kill()
p.wait()
for _ in range(1000):
    if not left_behind():
        break
    subprocess.run(["sleep", "0.02"])
check(not left_behind(), "killed, it left its temporary folder")

with open("broken.tar", "wb") as f:
    f.write(content("tree.tar")[:100000])
check("tar failed" in publish("broken.tar", "broken", status=1), "a broken tar file")
done()
