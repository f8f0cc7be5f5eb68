"""A guest on a switch of vde2's, with slirpvde as the way out: it gets its address there and reaches the host; when the switch is killed and started
again, the guest that switches its device off and on is there, too."""
import socket
from bootlib import *

for program in "vde_switch", "slirpvde":
    if not shutil.which(program):
        skip(f"{program} is not installed (package vde2)")
setup()
own_runtime()
publish(image("systemd-ext4"), "debian")
link = serve()["debian"]
port = re.search(r":(\d+)/", link)[1]
SOCKET = f"{USER}/switch"


def listens():
    """A switch that was killed leaves its socket."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(f"{SOCKET}/ctl") == 0


def start_vde():
    """The switch and its way out, in the foreground."""
    out = []
    for args in ["vde_switch", "-s", SOCKET], ["slirpvde", "--dhcp", "-s", SOCKET]:
        # vde_switch ends with its input.
        out.append(subprocess.Popen(as_user_args(*args), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        started.append(out[-1])
        wait_for(listens, "the switch")
    return out


p = as_user(INETBOOT, "boot", link, "--switch", f"vde:{SOCKET}")
check(p.returncode == 1 and b"there is no switch at" in p.stdout, f"not said what is wrong: {p.stdout}")
p = as_user(INETBOOT, "boot", link, "--switch", f"vde:{SOCKET}", "--network", "x")
check(p.returncode == 2 and b"exclude" in p.stdout, f"two networks: {p.stdout}")
both = start_vde()
m = Machine(link, "--switch", f"vde:{SOCKET}")
m.expect(r"inetboot: network: 10\.0\.2\.\d+")
m.login()
GET = f"exec 3<>/dev/tcp/10.0.2.2/{port} && printf 'GET /debian/manifest HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3; exec 3>&-"
out = m.command(GET)
check("200" in out, f"no answer from the host's web server: {out}")
for p in reversed(both):
    p.kill()
    p.wait()
start_vde()
m.command("ip link set vec0 down; ip link set vec0 up; ip route add default via 10.0.2.2")
out = m.command(GET)
check("200" in out, f"switched off and on, the guest has no network: {out}")
m.poweroff()
done()
