#!/usr/bin/env python3
"""Random images, from a store, as cloop and raw, here and by HTTP: any pattern of reads through a mount gives the bytes that went in."""
from mountlib import *

need_fuse()
key = make_key()
os.mkdir("www")
server = Server("www")


def mounted(link, data, seed, *options, **more):
    m = Mount(link, *options, **more)
    check(os.listdir(m.dir) == ["disk", "status"], f"the folder holds {os.listdir(m.dir)}")
    check(stat.S_IMODE(os.stat(m.disk).st_mode) == 0o444, "the disk can be written")
    try:
        open(m.disk, "r+b")
        fail("the disk can be opened for writing")
    except OSError:
        pass
    check_reads(m.disk, data, seed)
    check_all(m.disk, data)
    status = m.status()
    check(status["size"] == len(data) and status["read_errors"] == 0, f"status: {status}")
    m.end()
    return status


for seed, size in enumerate([1, 4095, 65537, 3_000_001, 9_437_184]):
    image, name = f"image{seed}", f"i{seed}"
    make_image(image, size, seed)
    data = content(image)
    publish(image, name, store="www")
    check(mounted(f"{server.url}/{name}#{key}", data, seed)["verified"] is True, "not verified")
    mounted(f"{server.url}/{name}#{key}", data, seed, cache=None)
    mounted(f"{server.url}/{name}", data, seed, "--memory-limit", "32M", cache="cache2")
    mounted(f"www/{name}#{key}", data, seed)
    os.link(image, f"www/raw{seed}.img")
    check(mounted(image, data, seed)["source"] == "file", "not read as a file")
    check(mounted(f"{server.url}/raw{seed}.img", data, seed)["source"] == "http", "not read by ranges")

for seed, block_size in enumerate([512 * 9, 65536, 1 << 20]):
    make_image("image", 3_000_000 + block_size, 50 + seed)
    make_cloop("image", "www/image.cloop", block_size)
    data = content("image")
    data += bytes(-len(data) % block_size)  # as cloop pads it
    check(mounted("www/image.cloop", data, seed)["source"] == "cloop", "not read as a cloop")
    check(mounted(f"{server.url}/image.cloop", data, seed)["source"] == "cloop", "not read as a cloop")
done()
