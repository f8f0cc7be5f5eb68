#!/usr/bin/env python3
"""inetboot publish of images that name files of the publisher's machine, and of trees that reach out of themselves; publish, verify
and gc in a store with things in it that are no plain files."""
import ctypes, io, tarfile
from storelib import *

need("zstd", "qemu-img", "tar", "mke2fs", "debugfs")
make_key()
os.environ["PATH"] += ":/usr/sbin:/sbin"
os.mkdir("host")
SECRET = b"SECRET OF THE HOST " * 60000
with open("host/secret", "wb") as f:
    f.write(SECRET)
shutil.copy("host/secret", "host/base.raw")


def qemu(*args):
    subprocess.run(["qemu-img", *args], check=True, stdout=subprocess.DEVNULL)


def refused(image, why):
    text = publish(image, "refused", status=1)
    check(why in text and text.count("\n") <= 2, f"{image}: {text}")
    check(not os.path.exists("store/refused"), f"{image} was published")


def descriptor(name, *lines):
    with open(name, "w") as f:
        f.write("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n" + "\n".join(lines) + "\n")


sectors = len(SECRET) // 512
qemu("create", "-f", "qcow2", "-b", f"{DIR}/host/base.raw", "-F", "raw", "backing.qcow2", "1M")
refused("backing.qcow2", "is built on another image")
qemu("create", "-f", "qcow2", "-o", f"data_file={DIR}/host/base.raw,data_file_raw=on", "data.qcow2", "1M")
refused("data.qcow2", "keeps its data in another file")
qemu("convert", "-f", "raw", "-O", "vmdk", "host/secret", "parent.vmdk")
qemu("create", "-f", "vmdk", "-b", f"{DIR}/parent.vmdk", "-F", "vmdk", "child.vmdk")
refused("child.vmdk", "is built on")
descriptor("absolute.vmdk", f'RW {sectors} FLAT "{DIR}/host/secret" 0')
refused("absolute.vmdk", "outside of its folder")
descriptor("above.vmdk", f'RW {sectors} FLAT "host/../host/secret" 0')
refused("above.vmdk", "outside of its folder")
descriptor("protocol.vmdk", f'RW {sectors} FLAT "nbd:127.0.0.1:1" 0')
refused("protocol.vmdk", "outside of its folder")
descriptor("lines.vmdk", "RW", str(sectors), 'FLAT "key"', "0")
refused("lines.vmdk", "no parts of a vmdk image")
os.symlink("host/secret", "link.vmdk")
descriptor("symlink.vmdk", f'RW {sectors} FLAT "link.vmdk" 0')
refused("symlink.vmdk", "no parts of a vmdk image")
os.mkfifo("fifo.vmdk")
descriptor("pipe.vmdk", f'RW {sectors} FLAT "fifo.vmdk" 0')
refused("pipe.vmdk", "no parts of a vmdk image")
disguised = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 0, 128, 1, 20).ljust(512, b"\0") + content("absolute.vmdk").ljust(10240, b"\0")
for name in ("disguised.vmdk", "disguised-s001.vmdk"):
    with open(name, "wb") as f:
        f.write(disguised)
refused("disguised.vmdk", "where none belong")
descriptor("two.vmdk", f'RW {sectors} SPARSE "disguised-s001.vmdk"')
refused("two.vmdk", "no parts of a vmdk image")
for kind in ("monolithicFlat", "twoGbMaxExtentSparse", "streamOptimized"):
    qemu("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "host/secret", f"whole-{kind}.vmdk")
    publish(f"whole-{kind}.vmdk", "whole")
    check(image_bytes("whole")[:len(SECRET)] == SECRET, f"vmdk {kind}: other bytes")

# A tar file cannot write, link or read outside of its tree.
os.mkdir("victim")
shutil.copy("host/secret", "victim/file")


def tar(name, *entries):
    with tarfile.open(name, "w") as t:
        for path, kind, target in (("ok", tarfile.REGTYPE, ""),) + entries:
            info = tarfile.TarInfo(path)
            info.type, info.linkname, info.size, info.devmajor, info.devminor = kind, target, 5 if kind == tarfile.REGTYPE else 0, 1, 3
            t.addfile(info, io.BytesIO(b"hello"))


for name, entries in (
        ("absolute", [(f"{DIR}/victim/new", tarfile.REGTYPE, "")]),
        ("above", [("../" * 20 + DIR + "/victim/new", tarfile.REGTYPE, "")]),
        ("through", [("a", tarfile.SYMTYPE, f"{DIR}/victim"), ("a/new", tarfile.REGTYPE, "")]),
        ("hard", [("h", tarfile.LNKTYPE, f"{DIR}/victim/file")]),
        ("both", [("a", tarfile.SYMTYPE, f"{DIR}/victim"), ("h", tarfile.LNKTYPE, "a/file")])):
    tar(f"{name}.tar", *entries)
    p = subprocess.run([INETBOOT, "publish", f"{name}.tar", "store", "--name", "tar", "--key", "key"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE)
    check(os.listdir("victim") == ["file"] and os.stat("victim/file").st_nlink == 1, f"{name}.tar reached out of its tree")
    check(p.returncode == 0 or b"previous errors" not in p.stderr, f"{name}.tar: tar's reason is not told: {p.stderr}")
    check(not os.path.exists("store/tar") or b"SECRET" not in image_bytes("tar"), f"{name}.tar brought a file of the host")
tar("odd.tar", ("null", tarfile.CHRTYPE, ""), ("pipe", tarfile.FIFOTYPE, ""), ("out", tarfile.SYMTYPE, "/etc/shadow"))
publish("odd.tar", "odd")
with open("odd.img", "wb") as f:
    f.write(image_bytes("odd"))
out = subprocess.run(["debugfs", "-R", "ls -l /", "odd.img"], stdout=subprocess.PIPE, check=True, stderr=subprocess.DEVNULL).stdout.decode()
check(all(any(line.split()[1] == mode and line.endswith(" " + name) for line in map(str.rstrip, out.splitlines()) if line)
          for mode, name in (("20644", "null"), ("10644", "pipe"), ("120777", "out"))), f"special files were lost: {out}")

# What is mounted in a folder is not part of it.
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs("tree/mounted")
if os.geteuid() != 0 or libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x44000, None) \
        or libc.mount(b"tmpfs", b"tree/mounted", b"tmpfs", 0, None):
    print("not tested: a mount in a folder (cannot mount a tmpfs here)")
else:
    shutil.copy("host/secret", "tree/mounted")
    refused("tree", "tree/mounted is another file system than")
    libc.umount2(b"tree/mounted", 2)

# A store with things in it that would block who opens them, or lead elsewhere.
make_image("a.img", 2 << 20, 1)
publish("a.img", store="odd")
for path in ("odd/image/manifest.2", "odd/.publishing/0123456789abcdef"):
    os.mkfifo(path)
blocks = all_blocks("odd")
for path, target in ((blocks[0], None), (blocks[1], os.path.abspath(blocks[2]))):
    os.rename(path, path + ".kept")
    os.symlink(target, path) if target else os.mkfifo(path)
text = run("verify", "odd", status=1)
check("manifest.2 is no plain file" in text and f"{blocks[0][4:]} is no plain file" in text and f"{blocks[1][4:]} is no plain file" in text, text)
check("is no plain file" in run("gc", "odd", status=1), "gc in an odd store")
os.unlink("odd/image/manifest.2")
for path in blocks[:2]:
    os.unlink(path)
publish("a.img", store="odd")
check(all_blocks("odd") == sorted(blocks + [b + ".kept" for b in blocks[:2]]), "a rerun does not restore blocks")
run("verify", "odd")
done()
