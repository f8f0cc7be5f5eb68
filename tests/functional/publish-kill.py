#!/usr/bin/env python3
"""kill -9 of inetboot publish at 100 random points: the store stays whole, readers get the version before, and a rerun completes."""
import time
from storelib import *

need("zstd")
make_key()
SIZE = 12 << 20
make_image("a.img", SIZE, 0)
start = time.monotonic()
publish("a.img")
took = time.monotonic() - start
rng = random.Random(5)
completed = killed = 0
for i in range(100):
    with open("a.img", "r+b") as f:  # half of it changes
        for _ in range(SIZE >> 20):
            f.seek(rng.randrange(SIZE - 700000))
            f.write(rng.randbytes(500000))
    before = content("store/image/manifest")
    version = manifest()["version"]
    p = subprocess.Popen([INETBOOT, "publish", "a.img", "store", "--name", "image", "--key", "key", "--level", "3"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        p.wait(rng.uniform(0, took * 1.5))
    except subprocess.TimeoutExpired:
        p.kill()
    status = p.wait()
    killed += status == -9
    check(status in (0, -9), f"publish ended with {status}")
    if content("store/image/manifest") == before:
        check(status == -9, "publish ended well and the version is the one before")
    else:
        completed += 1
        check(manifest()["version"] > version, "the version went back")
    run("verify", "store")
    if i % 10 == 9:
        publish("a.img")
        check(image_bytes() == content("a.img"), "after a rerun: other bytes")
publish("a.img")
check(image_bytes() == content("a.img"), "after the last rerun: other bytes")
check(os.listdir("store/.publishing") == [], "notes of dead publishers are left")
check(killed >= 20, f"only {killed} of 100 were killed")
run("gc", "store", "--keep", "1")
run("verify", "store")
check(all(len(os.path.basename(b)) == 64 for b in all_blocks()), "temporary files are left")
print(f"{killed} killed, {completed} completed")
done()
