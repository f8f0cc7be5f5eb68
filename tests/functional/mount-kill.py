#!/usr/bin/env python3
"""kill -9 of mounts that write to a cache, at random moments: what is in the cache is whole, and the next mount reads right."""
from mountlib import *

need_fuse()
need("zstd")
key = make_key()
make_image("image", 5_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
rng = random.Random(1)


def check_cache():
    for path in all_blocks("cache"):
        digest = hashlib.sha256(unzstd([path])).hexdigest()
        check(os.path.basename(path) == digest, f"{path} holds {digest}")


def touch_all(path):
    try:
        read_all(path, data)
    except OSError:
        pass


killed_at = set()
workers = set()
for round in range(100):
    m = Mount(link, wait=False)
    if round % 4:
        m.ready()
        readers = [Child(touch_all, m.disk) for _ in range(2)]
    else:
        readers = []
    time.sleep(rng.random() * 0.06)
    if round % 3 == 0:  # in the middle of a proper end
        m.process.terminate()
        time.sleep(rng.random() * 0.004)
    workers.add(m.kill())
    for reader in readers:
        wrong = reader.result()
        check(not wrong, wrong)
    m.clear()
    at_end.remove(m.clear)
    files = all_blocks("cache")
    killed_at.add(len(files))
    if round % 10 == 9:
        check_cache()
        m = Mount(link)
        check_reads(m.disk, data, round, readers=2, count=20)
        m.end()
        at_end.remove(m.clear)
        files = all_blocks("cache")
    for path in rng.sample(files, len(files) // 3):
        os.unlink(path)
check(len(killed_at) > 10, f"killed only with {killed_at} blocks in the cache")
# What a process was writing is kept for as long as there is one of its number, be it a zombie.
wait_for(lambda: not any(pid and os.path.exists(f"/proc/{pid}") for pid in workers), "the killed ones to be reaped")
m = Mount(link)
check_all(m.disk, data)
check(m.status()["bad_blocks"] == 0, "damaged blocks in the cache")
m.end()
check_cache()
check(not os.listdir("cache/tmp"), f"left behind: {os.listdir('cache/tmp')}")
done()
