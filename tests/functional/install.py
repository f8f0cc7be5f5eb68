#!/usr/bin/env python3
"""inetboot install: what is refused, what is shown and asked, and what is on the disk afterwards. Nothing is started here (tests/boot/install.py)."""
import json, pty, re

from storelib import *

need("sfdisk", "blkid", "partx", "mke2fs", "debugfs", "grub-mkimage", "mcopy", "mkfs.fat", "cpio")
PARTS = need_medium_parts()
ENTRY = ["--entry", "Debian=http://192.0.2.1/store/debian#" + make_key()]


def install(*args, **more):
    return run("install", *args, *ENTRY, stdin=subprocess.DEVNULL, **more)


def refused(text, *args, status=1, **more):
    out = install(*args, status=status, **more)
    check(text in out, f"{args}: not '{text}': {out}")
    return out


def sized(path, size):
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def tool(*args, status=0):
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(p.returncode == status, f"{args}: {p.returncode}: {p.stdout.decode()}")
    return p.stdout.decode()


def content_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def partitions(path):
    return json.loads(tool("sfdisk", "-J", path))["partitiontable"]["partitions"]


def part(path, number):
    """The file system of a partition, as a file."""
    p = partitions(path)[number - 1]
    out = f"part{number}"
    tool("dd", f"if={path}", f"of={out}", "bs=512", f"skip={p['start']}", f"count={p['size']}", "conv=sparse", "status=none")
    return out


def check_layout(path, writes=True):
    table = json.loads(tool("sfdisk", "-J", path))["partitiontable"]
    check(table["label"] == "gpt" and len(table["partitions"]) == 3, f"the table: {table}")
    check([p["type"][:8].upper() for p in table["partitions"]] == ["21686148", "C12A7328", "0FC63DAF"], f"types: {table}")
    last = table["partitions"][2]
    check(last["start"] + last["size"] > table["lastlba"] - 2048, "the disk is not filled")
    with open(path, "rb") as f:
        first = f.read(512)
        f.seek(34 * 512)
        second = f.read(512)
    # GRUB's: where its first two sectors look for what follows.
    check(first[92:100] == (34).to_bytes(8, "little") and second[500:508] == (35).to_bytes(8, "little"), "GRUB would not find itself")
    check(first[446] == 0x80 and first[510:] == b"\x55\xaa", "a BIOS would not start it")
    tool("fsck.vfat", "-n", part(path, 2))
    fat = tool("mdir", "-b", "-/", "-i", "part2")
    for name in "EFI/BOOT/BOOTX64.EFI", "boot/linux", "boot/minirt.gz", "boot/grub/inetboot.cfg":
        check(f"::/{name}" in fat, f"no {name}: {fat}")
    tool("e2fsck", "-f", "-n", part(path, 3))
    check("LABEL=inetboot\n" in tool("blkid", "-p", "-o", "export", "part3"), "no label")
    for name, there in ("knxblock", True), ("writes", writes):
        out = tool("debugfs", "-R", f"stat /{name}", "part3")
        check(("Type: directory" in out and re.search(r"User: +0 ", out)) if there else "not found" in out, f"{name}: {out}")


# What is wrong shows before anything is done.
refused("exactly one disk", status=2)
refused("exactly one disk", "a", "b", status=2)
refused("keep or none", "disk", "--writes", "files", status=2)
refused("--size", "disk", "--size", "lots", status=2)
refused("at least 128M", "disk", "--size", "100M", status=2)
check("--entry" in run("install", "disk", status=2), "no entry is needed")
refused("say --size", "disk")
refused("is no disk", ".")
refused("is no disk", "/dev/null")
check(not os.path.exists("disk"), "something was made")

# A file that is not there yet is not asked about.
out = install("disk", "--size", "300M", "--fill")
check("starts by itself" in out and "Erase" not in out, f"asked, or not done: {out}")
check_layout("disk")
menu = tool("mtype", "-i", "part2", "::boot/grub/inetboot.cfg")
check(re.search(r"linux /boot/linux +fill ", menu), f"no 'fill': {menu}")
before = content_of("disk")
refused("--size is for", "disk", "--size", "400M", "--yes")
out = refused("--yes says so", "disk")
check('partition 2 "InetBoot"' in out and "vfat" in out and 'ext4, "inetboot"' in out, f"what is there is not shown: {out}")
refused("at least 128 are needed", sized("tiny", 100 << 20), "--yes")
tool("mkfs.ext4", "-q", "-L", "\x1b[31mold", sized("other", 200 << 20))
out = refused("--yes says so", "other")
check("the whole disk: 209.7 MB, ext4" in out and "\x1b" not in out, f"the old file system: {out}")


def asked(disk, answer, status, meanwhile=lambda: None):
    """The output of an installation on `disk`, whose question is answered after that is done."""
    ours, theirs = pty.openpty()
    p = subprocess.Popen([INETBOOT, "install", disk, "--writes", "none", *ENTRY], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = b""
    while b"Erase all of it?" not in out:
        more = os.read(p.stdout.fileno(), 65536)
        check(more, f"no question: {out.decode()}")
        out += more
    meanwhile()
    os.write(ours, answer.encode())
    out = (out + p.communicate(timeout=300)[0]).decode()
    os.close(ours)
    os.close(theirs)
    check(p.returncode == status, f"answer {answer!r}: {p.returncode}: {out}")
    return out


# A person is asked.
for answer, status in ("n\n", 1), ("\n", 1), ("y\n", 0):
    asked("disk", answer, status)
    check((content_of("disk") == before) == bool(status), f"after the answer {answer!r}: {'changed' if status else 'the same'}")
check_layout("disk", writes=False)
check("fill" not in tool("mtype", "-i", "part2", "::boot/grub/inetboot.cfg"), "'fill' unasked")


# ---- loop devices ----


def loop(path, *options):
    device = tool("losetup", "-f", "--show", *options, path).strip()
    at_end.append(lambda: subprocess.run(["losetup", "-d", device], stderr=subprocess.DEVNULL))
    return device


if os.geteuid() or subprocess.run(["losetup", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
    print("without loop devices: root's alone")
    done()
device = loop("disk")
refused(f"is used by the loop device {device}", "disk", "--yes")
# Another disk gets the name of the one that was shown.
swapped = content_of(sized("swapped", 300 << 20))


def swap():
    tool("losetup", "-d", device)
    tool("losetup", device, "swapped")


out = asked(device, "y\n", 1, swap)
check("not the disk any more" in out and content_of("swapped") == swapped, f"the wrong disk was written to: {out}")
tool("losetup", "-d", device)
device = loop("disk")
# Which version starts over what was written (medium/storage), with its ext4 on /media of a mount namespace.
KEY = ENTRY[1].split("#")[1]
AT = "http://192.0.2.1/store/debian"
OTHER = make_key("other.key")


def chosen(link, written, words=""):
    script = f"""set -eu
        say() {{ :; }}
        nocache= memcache= ram= writes={words}
        . {PARTS}/../storage
        mount -o loop part3 /media
        mkdir -p /media/writes
        cache_device=/dev/loop
        for exact in {" ".join(written)}; do mkdir "/media/writes/$(writes_of "$exact")"; done
        link='{link}'
        choose_version "$link"
        echo "$wanted"
        rmdir /media/writes/* 2>/dev/null || true
        umount /media"""
    return tool("unshare", "-m", "sh", "-c", script).strip()


if os.path.isdir("/media"):
    written = [f"{AT}@{n}#{KEY}" for n in (2, 10, 9)]
    for link, there, words, wanted in [
        (f"{AT}#{KEY}", [], "", f"{AT}#{KEY}"),
        (f"{AT}#{KEY}", written, "", f"{AT}@10#{KEY}"),
        (f"{AT}/#{KEY}", written, "", f"{AT}@10#{KEY}"),
        (f"{AT}#{KEY}", written, "new", f"{AT}#{KEY}"),
        (f"{AT}#{KEY}", written, "none", f"{AT}#{KEY}"),
        (f"{AT}@9#{KEY}", written, "", f"{AT}@9#{KEY}"),
        (f"{AT}#{OTHER}", written, "", f"{AT}#{OTHER}"),
        (f"{AT}-2#{KEY}", written, "", f"{AT}-2#{KEY}"),
        (AT, [f"{AT}@3"], "", f"{AT}@3"),
    ]:
        got = chosen(link, there, words)
        check(got == wanted, f"{link} {words}: {got} instead of {wanted}")

# A file system on the whole disk that is mounted; here, and where we do not see it.
tool("mkfs.ext4", "-q", "-F", device)
os.mkdir("mnt")
tool("mount", device, "mnt")
at_end.append(lambda: subprocess.run(["umount", "-q", "-l", "mnt"], stderr=subprocess.DEVNULL))
refused(f"{device} is mounted at {DIR}/mnt", device, "--yes")
elsewhere = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo; exec sleep 300"], stdout=subprocess.PIPE)
at_end.append(elsewhere.kill)
elsewhere.stdout.readline()
tool("umount", "mnt")
refused("is in use", device, "--yes")
elsewhere.kill()
elsewhere.wait()
tool("mkswap", device)
if not subprocess.run(["swapon", device], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
    at_end.append(lambda: subprocess.run(["swapoff", device], stderr=subprocess.DEVNULL))
    refused("swap", device, "--yes")
    tool("swapoff", device)
tool("losetup", "-d", device)
# Of an old disk nothing is left to be found; and its partitions, where loop devices have them here.
with open("other", "r+b") as f:
    for place in range(4096, 200 << 20, 1 << 20):
        f.seek(place)
        f.write(b"old!" * 1024)
device = loop("other", "-P")
install(device, "--yes")
check_layout(device)
check("LABEL=" not in tool("blkid", "-p", "-o", "export", device), "the old label is still there")
partition = f"{device}p3"
if os.path.exists(partition):
    refused(f"the whole disk is needed, {device}", partition, "--yes")
    tool("mount", partition, "mnt")
    refused(f"{partition} is mounted at {DIR}/mnt", device, "--yes")
    tool("umount", "mnt")
tool("losetup", "-d", device)
root = tool("findmnt", "-n", "-o", "SOURCE", "/").strip()
if os.path.exists(root):
    refused("holds the system that runs", root, "--yes")
done()
