#!/usr/bin/env python3
"""DIR/status is JSON whose numbers agree with what the server saw; the kernel keeps what was read."""
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 5_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
m = Mount(f"{server.url}/image#{key}")
check_all(m.disk, data)
first = m.status()
log = server.log()
check(first["name"] == "image" and first["version"] == 1, f"status: {first}")
network = first["network"]
check(network["requests"] == len(log["requests"]), f"{network['requests']} requests; the server saw {len(log['requests'])}")
check(network["bytes"] == log["bytes"], f"{network['bytes']} bytes; the server sent {log['bytes']}")
check(sum(mirror["bytes"] for mirror in first["mirrors"]) == network["bytes"], f"mirrors: {first['mirrors']}")
check(network["retries"] == network["bad"] == network["gone"] == 0, f"trouble: {network}")
blocks = [r["path"] for r in log["requests"] if "/blocks/" in r["path"]]
check(len(blocks) == len(set(blocks)), "a block was fetched twice")
wait_for(lambda: m.status()["cache"]["stores"] >= len(blocks), "all blocks to be in the cache")
check(m.status()["cache"]["stores"] == len(blocks) == len(all_blocks("cache")), "more blocks in the cache than were fetched")
on_disk = sum(os.path.getsize(f) for f in all_blocks("cache"))
told = m.status()["cache"]["bytes"]  # what is stored while it counts may be counted twice
check(on_disk <= told <= 2 * on_disk, f"the cache has {on_disk} bytes, the status says {told}")
check(len(data) <= first["read_bytes"] <= len(data) + 4096, f"{first['read_bytes']} bytes read of {len(data)}")

check_all(m.disk, data)  # again: the kernel has it, and no daemon is asked
check_reads(m.disk, data, 2)
second = m.status()
check(second["reads"] == first["reads"], f"{second['reads'] - first['reads']} reads reached the daemon again")
check(second["network"]["requests"] == network["requests"], "requests for what was there")
m.end()

server.rules()
m = Mount(f"{server.url}/image#{key}")
check_all(m.disk, data)
third = m.status()
check([r["path"] for r in server.log()["requests"]] == ["/image/manifest"], "blocks in the cache were fetched again")
check(third["cache"]["hits"] > 0 and third["cache"]["misses"] == 0, f"cache: {third['cache']}")
m.end()
done()
