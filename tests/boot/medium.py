"""A boot medium from power-on to the login prompt of a Debian that comes from a web server: the CD through SeaBIOS. Argument 2: which machines."""
import os, shutil, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from qemulib import *

os.chdir(DIR)
for tool in "qemu-system-x86_64", "xorriso", "grub-mkimage", "mmdebstrap":
    if not shutil.which(tool):
        skip(f"{tool} is not installed (tools/install-deps test medium make)")
if not os.path.exists(os.path.join(os.path.dirname(INETBOOT), "../medium/parts/inetboot")):
    skip("the medium's programs are not built (make medium-parts)")


def made_store():
    """A store with a Debian that has its kernel; kept, as making it takes minutes."""
    cache = os.environ.get("INETBOOT_TEST_STORE")
    if cache and os.path.exists(f"{cache}/debian/manifest"):
        os.symlink(cache, "store")
        return
    run("key", "key")
    run("make", "debian", "--store", "store", "--key", "key")


made_store()
link = serve()["debian"].replace("127.0.0.1", "10.0.2.2")  # what this host is for the machine


def log_in(machine):
    machine.expect("login: ")
    machine.type("user\n")
    machine.expect(r"\$ ")
    machine.type("sudo -i\n")
    machine.expect("# ")


run("medium", "inetboot.iso", "--entry", f"Debian 'from' the web={link}", "--timeout", "3")
machine = Qemu("-cdrom", "inetboot.iso", "-boot", "d")
machine.expect("Debian 'from' the web")
machine.expect("inetboot: network: .* has 10.0.2")
machine.expect("inetboot: starting Debian")
machine.expect("inetboot: root file system ext4 on /dev/loop")
log_in(machine)
out = machine.command("findmnt -no FSTYPE /; cat /proc/cmdline; systemctl is-system-running; systemctl --failed --no-legend")
check("overlay" in out and "boot=inetboot" in out, f"not the Internet virtual disk: {out}")
machine.type("poweroff\n")
machine.ends()
check("not released" not in machine.text, "the end left something mounted")
done()
