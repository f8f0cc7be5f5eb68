#!/usr/bin/env python3
"""An ordinary user mounts, reads and unmounts by fusermount3. Where /dev/fuse is for root alone, root bind-mounts a node that is for
all, in a mount namespace of its own."""
from mountlib import *

need("fusermount3", "unshare", "setpriv")
key = make_key()
make_image("image", 2_000_001, 1)
publish("image", store="www")
server = Server("www")
shutil.copy(INETBOOT, "inetboot")  # the build's folder may be closed to others
os.chmod(DIR, 0o755)
os.mkdir("home")
os.mkdir("home/mnt")
with open("session", "w") as f:
    f.write(f"""set -eu
cd {DIR}/home
export HOME=$PWD XDG_CACHE_HOME=$PWD/cache XDG_STATE_HOME=$PWD/state
test "$(id -u)" != 0
../inetboot mount --background '{server.url}/image#{key}' mnt
cmp ../image mnt/disk
grep -q '"read_errors": 0' mnt/status
fusermount3 -u mnt
../inetboot mount '{server.url}/image#{key}' mnt & daemon=$!
until test -e mnt/disk; do kill -0 $daemon; sleep 0.01; done
cmp ../image mnt/disk
kill -TERM $daemon
wait $daemon
! test -e mnt/disk
find cache -name '??*' -type f | grep -q blocks
""")
if os.geteuid():
    need_fuse()
    command = ["sh", "session"]
else:
    os.chown("home", 65534, 65534)
    os.chown("home/mnt", 65534, 65534)
    with open("setup", "w") as f:
        f.write("""set -eu
mkdir node
mount -t tmpfs none node
mknod node/fuse c 10 229
chmod 666 node/fuse
mount --bind node/fuse /dev/fuse
: <>/dev/fuse
""")
    if subprocess.run(["unshare", "-m", "sh", "setup"]).returncode:
        skip("no private /dev/fuse can be made")
    os.rmdir("node")
    command = ["unshare", "-m", "sh", "-c", ". ./setup; exec setpriv --reuid 65534 --regid 65534 --clear-groups sh session"]
p = subprocess.run(command, timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
check(p.returncode == 0, f"status {p.returncode}: {p.stdout.decode()}")
done()
