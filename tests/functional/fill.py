#!/usr/bin/env python3
"""mount --fill: the rest of an image comes while nobody reads; readers go first; it can be paused; then nothing needs the server."""
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 12_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
BLOCKS = len(all_blocks("www"))


def state(m):
    return m.status()["fill"]["state"]


def blocks_asked():
    return sum(r["path"].startswith("/blocks/") for r in server.log()["requests"])


# All of it, by itself, each block once; then the server is not needed, and a start knows that.
m = Mount(link, "--fill")
wait_for(lambda: state(m) == "done", "the whole image")
check(len(all_blocks("cache")) == BLOCKS, f"{len(all_blocks('cache'))} of {BLOCKS} blocks")
check(blocks_asked() == BLOCKS, f"{blocks_asked()} requests for {BLOCKS} blocks")
wait_for(lambda: "needs no network" in m.said(), "the line that says so")
server.gone(600)
check_all(m.disk, data)
m.end()
start = time.monotonic()
m = Mount(link)
check(time.monotonic() - start < 5, "a start waits, though all is here")
check_all(m.disk, data)
m.end()
server.stop()

# Paused, it asks for nothing more than what was under way; on again, it comes to its end. A reader is served meanwhile.
server = Server("www")
link = f"{server.url}/image#{key}"
server.rules("/blocks/* delay ms=50")
m = Mount(link, "--fill", cache="slow")
wait_for(lambda: blocks_asked() > 5, "a few blocks")
m.process.send_signal(signal.SIGUSR1)
wait_for(lambda: state(m) == "paused", "the pause")
wait_for(lambda: m.status()["network"]["requests"] == len(server.log()["requests"]), "the answers that were under way")
before = blocks_asked()
check_reads(m.disk, data, 1, readers=1, count=3)
check(state(m) == "paused" and before < BLOCKS, "it did not pause")
m.process.send_signal(signal.SIGUSR1)
wait_for(lambda: state(m) == "done", "the whole image after a pause")
check_all(m.disk, data)
m.end()

# A reader that waits for the network is not delayed by it: it stands aside.
server.rules("/blocks/* delay ms=100")
m = Mount(link, "--fill", cache="busy")
wait_for(lambda: state(m) == "filling", "the start")
reader = Child(read_all, m.disk, data, 16384)
wait_for(lambda: state(m) == "waiting", "filling that stands aside")
wrong = reader.result()
check(not wrong, wrong)
m.end()

# Ended while it fills; and where there is nothing to fill, it says so and serves.
server.rules("/blocks/* delay ms=200")
m = Mount(link, "--fill", cache="ended")
wait_for(lambda: blocks_asked() > 2, "a few blocks")
m.end()
server.rules()
m = Mount(link, "--fill", cache=None)
wait_for(lambda: "--fill" in m.said(), "the line that says so")
check_all(m.disk, data)
m.end()
m = Mount(link, "--fill", "--cache-size", "1M", cache="small")
wait_for(lambda: "--cache-size" in m.said(), "the line that says what it would need")
check_all(m.disk, data)
check("fill" not in m.status(), "it fills what cannot hold it")
m.end()
done()
