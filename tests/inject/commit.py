#!/usr/bin/env python3
"""inetboot commit with each of its calls failing once: it succeeds, or ends with status 1 and a message; the store names no block that is not
there and right, has the old version or the new one, and the next commit makes the new one."""
import struct
from injectlib import *

SIZE = 1_200_128
START = 12288  # of an overlay's sectors
make_key()
make_image("a.img", SIZE, 1)
publish("a.img", store="one")
A = manifest(store="one")["index"]

bitmap = bytearray((SIZE // 512 + 7) // 8)
with open("my.cow", "wb") as f:
    f.write(struct.pack(">IIIQIII", 0x4f4f4f4d, 3, 0, SIZE, 512, 4096, 0) + b"/disk".ljust(4096, b"\0"))
    f.write(b"IBO1" + struct.pack("<IQ", 0, 1) + bytes.fromhex(A["root"]) + b"image".ljust(68, b"\0"))
    for sector in *range(100, 120), *range(1500, 1520):
        bitmap[sector // 8] |= 1 << sector % 8
        f.seek(START + sector * 512)
        f.write(os.urandom(512))
    f.seek(8192)
    f.write(bitmap)
    f.truncate(START + SIZE)
COMMIT = ["commit", "my.cow", "store", "--key", "key", "--level", "1", "--jobs", "2"]


def fresh():
    shutil.rmtree("store", ignore_errors=True)
    shutil.copytree("one", "store")


fresh()
run(*COMMIT)
B = manifest()["index"]


def look(fault, succeeded):
    text = run("verify", "store")
    check(" 0 of them bad;" in text and text.rstrip().endswith(" 0 of them bad or missing"), f"{fault}: {text}")
    now = manifest()["index"]["root"]
    check(now == B["root"] or (now == A["root"] and not succeeded), f"{fault}: the store has {now}")
    if now == A["root"]:
        run(*COMMIT)
        check(manifest()["index"]["root"] == B["root"], f"{fault}: the next run published something else")


each_fault(fresh, lambda fault: attempt(fault, *COMMIT), look, sources=["libjansson"])
end()
