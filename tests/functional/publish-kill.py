#!/usr/bin/env python3
"""kill -9 of inetboot publish at 100 random points: the store stays whole, readers get the version before, and a rerun completes."""
import time
from storelib import *

need("zstd")
make_key()
SIZE = 6 << 20
KILLS = 100
make_image("a.img", SIZE, 0)
publish("a.img")
rng = random.Random(5)
completed = killed = 0
took = 0.1


def change():
    """Half of the image."""
    with open("a.img", "r+b") as f:
        for _ in range(SIZE >> 20):
            f.seek(rng.randrange(SIZE - 700000))
            f.write(rng.randbytes(500000))


def attempt(deadline):
    """One publish, killed at the deadline. Returns its status."""
    start = time.monotonic()
    p = subprocess.Popen([INETBOOT, "publish", "a.img", "store", "--name", "image", "--key", "key", "--level", "9"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        p.wait(deadline)
    except subprocess.TimeoutExpired:
        p.kill()
    status = p.wait()
    check(status in (0, -9), f"publish ended with {status}")
    return status, time.monotonic() - start


for i in range(10 * KILLS):
    if killed == KILLS:
        break
    if i % 3 == 0:  # else it continues what was killed
        change()
    before = content("store/image/manifest")
    version = manifest()["version"]
    status, spent = attempt(rng.uniform(0, took))
    if status == 0:  # how long a whole one takes, as far as is known
        took = 0.7 * took + 0.3 * spent
    else:
        killed += 1
        took *= 1.02
    if content("store/image/manifest") == before:
        check(status == -9 or i % 3, "publish ended well and the version is the one before")
    else:
        completed += 1
        check(manifest()["version"] > version, "the version went back")
    run("verify", "store")
    if i % 10 == 9:
        publish("a.img")
        check(image_bytes() == content("a.img"), "after a rerun: other bytes")
        run("gc", "store", "--keep", "1", "--keep-days", "0")
publish("a.img")
check(image_bytes() == content("a.img"), "after the last rerun: other bytes")
check(os.listdir("store/.publishing") == [], "notes of dead publishers are left")
check(killed == KILLS, f"only {killed} were killed")
run("gc", "store", "--keep", "1", "--keep-days", "0")
run("verify", "store")
check(all(len(os.path.basename(b)) == 64 for b in all_blocks()), "temporary files are left")
print(f"{killed} killed, {completed} completed")
done()
