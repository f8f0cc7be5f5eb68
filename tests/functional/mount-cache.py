#!/usr/bin/env python3
"""Whatever is wrong with the cache: reads go on, and are right."""
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 6_000_000, 1)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"


def reads(seed=1, *options, **more):
    m = Mount(link, *options, **more)
    check_reads(m.disk, data, seed)
    check_all(m.disk, data)
    status = m.status()
    m.end()
    return status


# damage of all kinds, between mounts
reads()
rng = random.Random(7)
for round in range(4):
    files = all_blocks("cache")
    for path in rng.sample(files, len(files) // 4):
        kind = rng.randrange(5)
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            if kind < 2:
                at = rng.randrange(size)
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ 1 << rng.randrange(8)]))
            elif kind == 2:
                f.truncate(rng.randrange(size))
            elif kind == 3:
                f.seek(size)
                f.write(rng.randbytes(20))
            else:
                f.write(content(rng.choice(files))[:size])
    status = reads(round)
    check(status["bad_blocks"] > 0 and status["cache"]["drops"] > 0, f"no damage was noticed: {status}")
status = reads()
check(status["bad_blocks"] == 0 and status["network"]["requests"] == 1, f"the damage is there still: {status}")

# things that are no files
path = all_blocks("cache")[0]
os.unlink(path)
os.mkdir(path)
path = all_blocks("cache")[0]
os.unlink(path)
os.mkfifo(path)
reads()

# a folder that cannot be made
open("file", "w").close()
reads(cache="file/cache")

if os.geteuid():
    os.chmod("cache", 0o500)
    reads()
    done()

# a read-only medium, and one that is full
os.mkdir("small")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", "small"], check=True)
status = reads(cache="small/cache")
check(status["cache"]["write_errors"] > 0, f"the medium was not full: {status['cache']}")
check("full" in run("pull", "--cache", "small/cache", link, status=1), "pull is content with a full medium")
status = reads(2, cache="small/cache")
check(status["cache"]["hits"] > 0, "what is there is not used")
subprocess.run(["mount", "-o", "remount,ro", "small"], check=True)
status = reads(3, cache="small/cache")
check(status["cache"]["hits"] > 0, "a read-only cache is not used")
check("write" in run("pull", "--cache", "small/cache", link, status=1), "pull is content with a read-only cache")
subprocess.run(["umount", "small"], check=True)
done()
