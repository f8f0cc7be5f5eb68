#!/usr/bin/env python3
"""inetboot key, publish and gc with each of their calls failing once: they succeed, or end with status 1 and a message; the store never
names a block that is not there and right, keeps its old version, and takes the next one."""
import re
from injectlib import *

make_key()
make_image("a.img", 1_200_000, 1)
make_image("b.img", 1_200_000, 2)
with open("b.img", "r+b") as f:  # shares some blocks
    f.write(content("a.img")[:500_000])
publish("a.img", store="one")
shutil.copytree("one", "two")
publish("b.img", store="two")
A = manifest(store="one")["index"]
B = manifest(store="two")["index"]


def fresh(template=None):
    def make():
        shutil.rmtree("store", ignore_errors=True)
        if template:
            shutil.copytree(template, "store")
    return make


def versions(store="store"):
    """The roots that manifests name, the newest last."""
    found = {file: manifest(store=store, file=file) for file in os.listdir(f"{store}/image") if re.fullmatch(r"manifest(\.\d+)?", file)} \
        if os.path.exists(f"{store}/image") else {}
    newest = found.pop("manifest", None)
    return [m["index"]["root"] for m in sorted(found.values(), key=lambda m: m["version"])] + ([newest["index"]["root"]] if newest else [])


def verify(fault):
    if os.path.exists("store/image/manifest") or os.path.exists("store/image/manifest.1"):
        text = run("verify", "store")
        check(" 0 of them bad;" in text and text.rstrip().endswith(" 0 of them bad or missing"), f"{fault}: {text}")


def publish_with(image):
    return lambda fault: attempt(fault, "publish", image, "store", "--name", "image", "--key", "key", "--level", "1", "--jobs", "2")


def published(old, new, image):
    """old: versions that must be there whatever happened."""
    def look(fault, succeeded):
        found = versions()
        verify(fault)
        check(found[-1:] == [new["root"]] if succeeded else all(v["root"] in found for v in old), f"{fault}: the store has the versions {found}")
        check(fault.n or found[-1] == new["root"], f"{fault}: {found}")
        publish(image)
        check(versions()[-1] == new["root"], f"{fault}: the next run published something else")
        verify(fault)
        left = [p for p in all_blocks() if len(os.path.basename(p)) != 64] + os.listdir("store/.publishing")
        check(not left, f"{fault}: left behind by it and by the next run: {left}")
    return look


# Not libcrypto: version 3.0 crashes in its own initialisation, when it reads the secret key.
each_fault(fresh(), publish_with("a.img"), published([], A, "a.img"), sources=["libjansson", "libzstd"])
each_fault(fresh("one"), publish_with("b.img"), published([A], B, "b.img"), sources=["libjansson"])


def collected(fault, succeeded):
    check(versions()[-1] == B["root"], f"{fault}: the newest version went")
    verify(fault)
    run("gc", "store", "--keep", "1", "--keep-days", "0")
    check(set(versions()) == {B["root"]}, f"{fault}: a second gc left {versions()}")
    verify(fault)


each_fault(fresh("two"), lambda fault: attempt(fault, "gc", "store", "--keep", "1", "--keep-days", "0"), collected, sources=["libjansson"])


def no_keys():
    for name in [n for n in os.listdir() if n.startswith("new")]:
        os.unlink(name)


def keys(fault, succeeded):
    found = sorted(n for n in os.listdir() if n.startswith("new"))
    check(not succeeded or found == ["new", "new.pub"], f"{fault}: {found}")
    if found:
        check(found == ["new", "new.pub"], f"{fault}: half a pair, or rubbish, is left: {found}")
        check(os.stat("new").st_mode & 0o777 == 0o600, f"{fault}: others can read the secret key")
        publish("a.img", store="signed", key="new")
        shutil.rmtree("signed")


each_fault(no_keys, lambda fault: attempt(fault, "key", "new"), keys)
end()
