"""inetboot install, from power-on, in QEMU machines: an installed disk starts from a web server, keeps what is written and fills its cache; then it starts
without a network, with what was written. By `make check-media`."""
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qemulib import *

os.chdir(DIR)


def installed():
    """Its third partition is clean, whoever looks."""
    table = json.loads(subprocess.run(["sfdisk", "-J", "disk"], check=True, stdout=subprocess.PIPE).stdout)
    start = table["partitiontable"]["partitions"][2]["start"] * 512
    p = subprocess.run(["e2fsck", "-f", "-n", f"disk?offset={start}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(p.returncode == 0, f"the file system is not clean: {p.stdout.decode()}")


need("qemu-system-x86_64", "grub-mkimage", "mcopy", "mkfs.fat", "sfdisk", "e2fsck")
if not os.path.exists(os.path.join(os.path.dirname(INETBOOT), "../medium/parts/inetboot")):
    skip("the medium's programs are not built (make medium-parts)")
made_store()
link = serve()["debian"].replace("127.0.0.1", "10.0.2.2")
run("install", "disk", "--size", "3G", "--fill", "--entry", f"Debian={link}", "--timeout", "3")

# As a stick, by a BIOS.
machine = Qemu(*usb_disk("disk"))
machine.expect("inetboot: blocks are kept on")
machine.expect("inetboot: starting Debian")
machine.expect("inetboot: what is written is kept")
log_in(machine)
machine.command("echo kept-by-$(hostname) >/root/mine; rm /etc/motd; useradd -m somebody")
machine.type("until grep -A 1 '\"fill\"' /run/initramfs/inetboot/disk/status | grep -q done; do sleep 2; done; echo filled-$((40+2))\n")
machine.expect("filled-42")
machine.expect("# ")
out = machine.command("systemctl is-system-running --wait; systemctl --failed --no-legend; findmnt -n /; findmnt -no FSTYPE /run/inetboot/writes")
check("running" in out and "ext4" in out, f"units failed, or the upper layer is not on the disk: {out}")
ends(machine)
installed()

# As a disk, by UEFI, without a network; what was written is there.
machine = Qemu("-drive", "if=virtio,format=raw,file=disk", firmware=OVMF, network=False)
machine.expect("inetboot: debian stays at version 1")
machine.expect("inetboot: there is no network")
machine.expect("inetboot: starting Debian")
machine.expect("inetboot: what is written is kept")
log_in(machine)
out = machine.command("cat /root/mine; ls /etc/motd; id somebody; systemctl is-system-running --wait; systemctl --failed --no-legend")
check("kept-by-" in out and "cannot access" in out and "(somebody)" in out, f"what was written is gone: {out}")
ends(machine)
installed()

# With Secure Boot.
machine = Qemu(*usb_disk("disk"), firmware=OVMF_SECURE)
machine.expect("inetboot: debian stays at version 1")
machine.expect("inetboot: what is written is kept")
log_in(machine)
out = machine.command("cat /root/mine; od -An -t u1 -j 4 /sys/firmware/efi/efivars/SecureBoot-*")
check("kept-by-" in out and re.search(r"\b1\r\n", out), f"what was written is gone, or it is not Secure Boot: {out}")
ends(machine)
installed()

# Without what was written, which stays, from another medium.
run("medium", "pair", "--format", "grub", "--entry", f"Debian={link}")
machine = Qemu("-kernel", "pair/linux", "-initrd", "pair/minirt.gz", "-append", f"console=tty0 console=ttyS0 httpfuse={link} nowrites", *usb_disk("disk", starts=False))
machine.expect("inetboot: blocks are kept on")
machine.expect("inetboot: starting Debian")
log_in(machine)
out = machine.command("cat /root/mine; findmnt /run/inetboot/writes; echo nothing-$((40+2))")
check("kept-by-" not in out and "ext4" not in out and "nothing-42" in out, f"what was written is there: {out}")
ends(machine)
installed()
done()
