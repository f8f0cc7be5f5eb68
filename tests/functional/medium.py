#!/usr/bin/env python3
"""inetboot medium: what is refused, and what is on a medium. Nothing is started here (tests/boot/media.py)."""
from storelib import *

need("cpio", "xz")
need_medium_parts()
LINK = "http://192.0.2.1/store/debian#" + make_key()


def medium(*args, **more):
    return run("medium", "out", "--entry", "Debian=" + LINK, "--format", "grub", *args, **more)


def inside():
    """What is in the initramfs, by name; links are left out."""
    subprocess.run("rm -rf tree && mkdir tree && cd tree && xz -dc ../out/minirt.gz | cpio -i --quiet", shell=True, check=True)
    return {os.path.relpath(os.path.join(folder, f), "tree"): content(os.path.join(folder, f))
            for folder, _, files in os.walk("tree") for f in files if not os.path.islink(os.path.join(folder, f))}


for text, args in {
    "TITLE=LINK": ("out", "--entry", "Debian"),
    "plain text": ("out", "--entry", "\x1b[1mDebian=" + LINK),
    "no http or https URL": ("out", "--entry", "Debian=store/debian"),
    "blanks or quotes": ("out", "--entry", f"Debian={LINK}'"),
    "names no image": ("out", "--entry", "Debian=http://192.0.2.1"),
    "at least one --entry": ("out",),
    "exactly one": ("--entry", "Debian=" + LINK),
    "there is no format": ("out", "--entry", "Debian=" + LINK, "--format", "floppy"),
    "there is no kernel": ("out", "--entry", "Debian=" + LINK, "--kernel", "hurd"),
    "--default 2": ("out", "--entry", "Debian=" + LINK, "--default", "2"),
    "no public key": ("out", "--entry", "Debian=" + LINK, "--key", "key"),
    "without quotes": ("out", "--entry", "Debian=" + LINK, "--options", "a='b c'"),
    "names of modules": ("out", "--entry", "Debian=" + LINK, "--modules", "../x"),
    "--modules is for": ("out", "--entry", "Debian=" + LINK, "--modules", "hv_netvsc", "--kernel", "small"),
}.items():
    out = run("medium", *args, status=2)
    check(text in out, f"not '{text}': {out}")
check("no module nonesuch" in medium("--modules", "nonesuch", status=1), "a module that is none")
check(not os.path.exists("out"), "something was made")

# The same options, the same bytes; and what is on it.
medium("--timeout", "7", "--options", "nodhcp")
first = {f: content(f"out/{f}") for f in os.listdir("out")}
check(set(first) == {"linux", "minirt.gz", "inetboot.cfg"}, f"not the pair and its menu: {list(first)}")
medium("--timeout", "7", "--options", "nodhcp")
check(first == {f: content(f"out/{f}") for f in os.listdir("out")}, "two runs differ")
check(f"httpfuse={LINK}" in first["inetboot.cfg"].decode() and "nodhcp" in first["inetboot.cfg"].decode(), "not in the menu")
for form, tool in ("iso", "xorriso"), ("efi", "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"):
    if shutil.which(tool) or os.path.exists(tool):
        made = [run("medium", f"{form}.{n}", "--format", form, "--entry", "Debian=" + LINK) and content(f"{form}.{n}") for n in (1, 2)]
        check(made[0] == made[1], f"two runs of {form} differ")
files = inside()
check({"init", "bin/inetboot", "bin/busybox", "bin/kexec", "etc/ssl/ca.crt"} <= set(files), f"something is missing: {sorted(files)}")
check(files["etc/inetboot/entries"].decode() == f"Debian\thttpfuse={LINK}\n", "another entry")
check(not any("hv_netvsc" in f for f in files), "a module that nobody wanted")
medium("--modules", "hv_netvsc,8021q")
files = inside()
modules = {os.path.basename(f) for f in files if f.endswith(".ko")}
check({"hv_netvsc.ko", "hv_vmbus.ko", "8021q.ko", "e1000.ko"} <= modules, f"modules: {sorted(modules)}")
check(files["etc/inetboot/modules"].split() == [b"hv_netvsc", b"8021q"], "they are not loaded")
done()
