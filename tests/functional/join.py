#!/usr/bin/env python3
"""Another program as a guest of a network: it gets the connection, the switch comes and goes with it, and a machine of qemu gets its address there
(its boot firmware asks for one), in the same network as others."""
import re, select
from mountlib import *

RUNTIME = f"{DIR}/run"
os.mkdir(RUNTIME, 0o700)
os.environ["XDG_RUNTIME_DIR"] = RUNTIME

p = subprocess.run([INETBOOT, "join", "--network", "test", "sh", "-c", "readlink /proc/self/fd/3 && echo $1", "sh", "--an-argument"], stdout=subprocess.PIPE,
                   stderr=subprocess.STDOUT, timeout=SECONDS)
check(p.returncode == 0 and b"socket:" in p.stdout and b"--an-argument" in p.stdout, f"no connection: {p.stdout}")
p = subprocess.run([INETBOOT, "join", "--network", "test", "/no/such/program"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
check(p.returncode == 1 and b"/no/such/program" in p.stdout, f"not said what is wrong: {p.stdout}")
check(subprocess.run([INETBOOT, "join"], stderr=subprocess.DEVNULL).returncode == 2, "no command, and no complaint")

if not shutil.which("qemu-system-x86_64") or not os.path.exists("/usr/lib/ipxe/qemu/pxe-virtio.rom"):
    skip("qemu-system-x86_64, or its boot firmware for networks (ipxe-qemu), is not installed")
switch = subprocess.Popen([INETBOOT, "switch", "--network", "lab"], stdout=subprocess.PIPE, stderr=open("switch.log", "wb"))
at_end.append(switch.kill)
switch.stdout.readline()
qemu = subprocess.Popen([INETBOOT, "join", "--network", "lab", "qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nographic", "-boot", "n", "-netdev",
                         "dgram,id=n,local.type=fd,local.str=3", "-device", "virtio-net-pci,netdev=n"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT)
at_end.append(qemu.kill)
text, end = b"", time.monotonic() + 240
while not re.search(rb"net0: 10\.0\.2\.\d+/255\.255\.255\.0 gw 10\.0\.2\.2", text):
    check(time.monotonic() < end, f"no address: {text[-2000:]!r}")
    if select.select([qemu.stdout], [], [], 1)[0]:
        piece = os.read(qemu.stdout.fileno(), 65536)
        check(piece, f"qemu ended: {text[-2000:]!r}")
        text += piece
check(b"guest without a name: 10.0.2." in content("switch.log"), f"the switch knows nothing of it: {content('switch.log')}")
qemu.terminate()
qemu.wait(SECONDS)
switch.terminate()
check(switch.wait(SECONDS) == 0, "the switch ended badly")
done()
