#!/usr/bin/env python3
"""An unpacked image that cannot be read any more while it is mounted: readers get the bytes of the blocks. In a user namespace, where the
kernel does not read the file by itself."""
import os, shutil, subprocess, sys

if len(sys.argv) == 2:
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode:
        print("skipped: no user namespace can be made here")
        sys.exit(77)
    os.execvp("unshare", [*command, sys.executable, *sys.argv, "inside"])
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 9_000_000, 1)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"


# Read by us, and no blocks.
path = unpack(link)
m = Mount(link)
server.gone()
os.rename("cache/blocks", "blocks")
check_all(m.disk, data)
check_reads(m.disk, data, 1)
status = m.status()
check("unpacked" in status and not status["passthrough"] and status["reads"], f"not read by us: {status}")
os.rename("blocks", "cache/blocks")
server.back()
m.end()

# Cut off, with a network and without: right bytes, one warning, and no error.
for cut, away in ((len(data) // 2, False), (0, True), (len(data) - 1, True)):
    m = Mount(link)
    check("unpacked" in m.status(), f"not used: {m.status()}")
    if away:
        server.gone()
    os.truncate(path, cut)
    check_reads(m.disk, data, cut)
    check_all(m.disk, data)
    status = m.status()
    check(status["unpacked_failed"].endswith(path) and "unpacked" not in status, f"not given up: {status}")
    check(m.said().count("is not used any more") == 1, f"not said, or more than once: {m.said()}")
    check(status["read_errors"] == 0, f"errors: {status}")
    said = run("status", m.dir)
    check("going on with blocks" in said, said)
    # The next worker finds it wrong, and removes it.
    worker = m.worker()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: m.worker() not in (None, worker), "another worker")
    check_reads(m.disk, data, cut + 1)
    status = m.status()
    check("unpacked" not in status and "unpacked_failed" not in status and not os.listdir("cache/disks"), f"used: {status}")
    m.end()
    if away:
        server.back()
    path = unpack(link)
done()
