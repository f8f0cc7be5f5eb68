"""Boot media, from power-on to the login prompt of a Debian that comes from a web server, in QEMU machines. Further arguments name what is tried (see CASES); without
one, the menu and a CD through SeaBIOS; `list` prints them. All of them take an hour: `make check-media`. Screenshots are left in the build's folder `screenshots`."""
import ctypes, os, shutil, sys, threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../../bench")]
from qemulib import *
from webserver import WebServer

os.chdir(DIR)
CASES = {}


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def bad_server():
    """tests/badserver.py on the store, and a link to the image there as the machines see it."""
    server = BadServer("store")
    started.append(server.process)
    return server, link.replace(server_url, f"http://10.0.2.2:{server.port}")


def medium(out, *args, entry=None, format="iso"):
    if not os.path.exists(out):
        run("medium", out, "--entry", f"Debian 'from' the web={entry or link}", "--timeout", "3", "--format", format, *args)
    return out


def link_to(name):
    return link.replace("/debian#", f"/{name}#")


def publish(image, name, *more):
    """In the store that is kept."""
    run("publish", image, "store", "--name", name, "--key", os.environ.get("INETBOOT_TEST_KEY", "key"), *more)


def publish_linux(image, name, title, made):
    """With the kernel and initrd that were made beside another one."""
    publish(image, name, "--title", title, "--type", "linux", "--kernel", f"{made}.vmlinuz", "--initrd", f"{made}.initrd", "--level", "1")


def runs(machine, word):
    """On the Internet virtual disk, by a command line with that word, and no unit has failed."""
    out = machine.command("findmnt -no FSTYPE /; cat /proc/cmdline; systemctl is-system-running --wait; systemctl --failed --no-legend")
    check("overlay" in out and word in out, f"not the Internet virtual disk: {out}")
    check("running" in out, f"units failed: {out}")


def starts(machine, picture=None, kept=False):
    machine.expect("inetboot: network: .* has 10.0.2")
    if kept:
        machine.expect("inetboot: blocks are kept on")
    machine.expect("inetboot: starting Debian")
    if picture:
        machine.screenshot(picture)
    machine.expect("inetboot: root file system ext4 on /dev/loop")
    log_in(machine)
    runs(machine, "boot=inetboot")


def whole(*args, **more):
    machine = Qemu(*args, **more)
    starts(machine)
    ends(machine)


@case
def cd():
    machine = Qemu("-cdrom", medium("inetboot.iso"), "-boot", "d")
    machine.expect("will be executed automatically")
    machine.screenshot("medium-menu")
    starts(machine, "medium-preboot")
    ends(machine)


@case
def usb():
    """The CD's image on a USB stick."""
    whole(*usb_disk(medium("inetboot.iso")))


@case
def usb_format():
    whole(*usb_disk(medium("inetboot.usb", format="usb")), nic="e1000")


@case
def uefi_cd():
    whole("-cdrom", medium("inetboot.iso"), firmware=OVMF)


@case
def uefi_usb():
    whole(*usb_disk(medium("inetboot.iso")), firmware=OVMF, nic="rtl8139")


@case
def uefi_usb_format():
    whole(*usb_disk(medium("inetboot.usb", format="usb")), firmware=OVMF)


@case
def secure_boot():
    """With Microsoft's keys in the firmware: shim, Debian's GRUB, Debian's kernel; kexec of a signed kernel."""
    machine = Qemu("-cdrom", medium("inetboot.iso"), firmware=OVMF_SECURE)
    starts(machine)
    out = machine.command("cat /sys/kernel/security/lockdown; od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*")
    check("1" in out.split(), f"Secure Boot is not on: {out}")
    ends(machine)


@case
def pxe():
    """QEMU's iPXE gets the script by TFTP, as its only way to be told of one, and all else by HTTP."""
    medium("store/pxe", format="pxe")
    os.mkdir("tftp")
    with open("tftp/start.ipxe", "w") as f:
        f.write(f"#!ipxe\nchain {server_url}/pxe/inetboot.ipxe\n")
    whole("-boot", "n", netdev=f"user,id=n,tftp={DIR}/tftp,bootfile=start.ipxe")


@case
def grub():
    """A GRUB of somebody else reads the menu's snippet."""
    need("grub-mkrescue")
    os.makedirs("theirs/boot/grub")
    medium("theirs/boot/inetboot", format="grub")
    with open("theirs/boot/grub/grub.cfg", "w") as f:
        f.write("serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\nset timeout=3\nset default=0\n"
                "source /boot/inetboot/inetboot.cfg\n")
    subprocess.run(["grub-mkrescue", "-o", "theirs.iso", "theirs"], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    whole("-cdrom", "theirs.iso", nic="e1000")


# ---- the medium's Linux alone, with kernel options as typed by hand ----


def preboot(options, *args, main="tty0", **more):
    """main: the console that is the system's main one."""
    medium("pair", format="grub")
    consoles = "console=ttyS0 console=tty0" if main == "tty0" else "console=tty0 console=ttyS0"
    return Qemu("-kernel", "pair/linux", "-initrd", "pair/minirt.gz", "-append", f"{consoles} {options}", *args, **more)


def screen(machine, *texts):
    """A screen that says what is wrong, and offers what to do."""
    machine.expect("InetBoot: ")
    for text in texts:
        machine.expect(text)
    machine.expect("r try again, o other entry, s shell, b reboot: ")


@case
def options():
    """Static address, no DHCP; the original's words."""
    machine = preboot(f"httpfuse={link} nodhcp staticip=10.0.2.15::10.0.2.2:255.255.255.0:::none:10.0.2.3 memcache lang=de vga=791 ramdisk_size=100000")
    machine.expect("inetboot: network: .* has 10.0.2.15")
    machine.expect("inetboot: root file system ext4")
    log_in(machine)
    out = machine.command("cat /proc/cmdline; echo $LANG; locale 2>/dev/null | head -n 1")
    check("lang=de" in out and "vga=791" in out, f"not handed on: {out}")
    ends(machine, "reboot")


@case
def keyboard():
    """The medium's own menu, by the keyboard of the screen."""
    machine = preboot("")
    machine.expect("1  Debian 'from' the web")
    machine.expect("  > ")
    for key in "1", "ret":
        machine.tell(f"sendkey {key}")
    machine.expect("inetboot: fetching what starts " + re.escape(link))
    machine.kill()


@case
def cards():
    """Two networks answer, and the server is behind the second one."""
    machine = preboot(f"httpfuse={link}", "-netdev", "user,id=m", "-device", "e1000,netdev=m", netdev="user,id=n,net=10.0.3.0/24,restrict=on")
    machine.expect("inetboot: network: .* has 10.0.3.15")
    machine.expect("inetboot: network: .* has 10.0.2.15", 120)
    machine.expect("inetboot: root file system ext4")
    log_in(machine)
    out = machine.command("ip -br address; ip route")
    check("10.0.2.15" in out and "default via 10.0.2.2" in out, f"not by the network that the server is in: {out}")
    ends(machine)


def tag_frames(tagged, plain, to_tagged, to_plain):
    """Frames are VLAN 5's on one side, and nobody's on the other."""
    tag = bytes.fromhex("81000005")
    while True:
        for s in select.select([tagged, plain], [], [])[0]:
            frame = s.recv(65536)
            if s is plain:
                tagged.sendto(frame[:12] + tag + frame[12:], to_tagged)
            elif frame[12:16] == tag:
                plain.sendto(frame[:12] + frame[16:], to_plain)


@case
def vlan():
    """The network is in a VLAN: what QEMU's has is tagged on the way to the card."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    tagged, plain, *free = sockets
    ports = [s.getsockname() for s in free]
    for s in free:
        s.close()  # for QEMU
    threading.Thread(target=tag_frames, args=(tagged, plain, *ports), daemon=True).start()

    def by_datagrams(name, own, other):
        ends = {"local": own, "remote": other.getsockname()}
        return f"dgram,id={name}," + ",".join(f"{end}.type=inet,{end}.host={host},{end}.port={port}" for end, (host, port) in ends.items())

    machine = preboot(f"httpfuse={link} vlan=5", "-netdev", "user,id=u", "-netdev", "hubport,id=h,hubid=0,netdev=u", "-netdev", by_datagrams("d", ports[1], plain),
                      "-netdev", "hubport,id=i,hubid=0,netdev=d", netdev=by_datagrams("n", ports[0], tagged))
    machine.expect(r"inetboot: network: eth0\.5 has 10.0.2.15")
    machine.expect(r"inetboot: network: \w+\.5 has 10.0.2.15")
    machine.expect("inetboot: root file system ext4")
    log_in(machine)
    runs(machine, "boot=inetboot")
    ends(machine)


@case
def ram():
    """All of it in memory: the server is not needed any more."""
    server, bad = bad_server()
    machine = preboot(f"httpfuse={bad} ram", memory="3072")
    machine.expect("inetboot: root file system ext4")
    server.gone(3600)
    log_in(machine)
    out = machine.command("cat /usr/bin/* /usr/lib/*/*.so* 2>/dev/null | wc -c")
    check(int(out.split()[0]) > 50000000, f"what was read: {out}")
    ends(machine)


@case
def sysvinit():
    """An image whose init is no systemd: its disk is served to the end."""
    if not os.path.exists("store/sysvinit/manifest"):
        if os.geteuid():
            skip("the image is put together as root")
        run("make", "debian", "kernel.img")
        subprocess.run([MAKE_IMAGE, "sysvinit-ext4", f"{DIR}/small.img"], check=True, stdout=subprocess.DEVNULL)
        for name in "kernel", "small", "whole":
            os.mkdir(name)
        for name in "kernel", "small":
            subprocess.run(["mount", "-o", "loop,ro", f"{name}.img", name], check=True)
            at_end.append(lambda name=name: subprocess.run(["umount", "-q", name]))
        subprocess.run(["cp", "-a", "small/.", "whole"], check=True)
        subprocess.run(["cp", "-a", "kernel/lib/modules", "whole/lib/"], check=True)
        at_end.pop()()
        at_end.pop()()
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", "whole", "whole.img", "1200M"], check=True)
        publish_linux("whole.img", "sysvinit", "Debian with sysvinit", "kernel.img")
    machine = preboot(f"httpfuse={link_to('sysvinit')}", main="ttyS0")
    machine.expect("inetboot: starting Debian with sysvinit")
    machine.expect("inetboot: root file system ext4")
    machine.expect("login: ")
    machine.type("root\n")
    machine.expect("# ")
    out = machine.command("findmnt -no FSTYPE /; cat /proc/1/comm")
    check("overlay" in out and "init" in out and "systemd" not in out, f"another system: {out}")
    machine.type("poweroff\n")
    machine.ends()
    check("I/O error" not in machine.text.split("poweroff")[-1], f"its disk was gone before the end:\n{machine.text[-2000:]}")


@case
def ipv6():
    """A network without IPv4: an address by router advertisements, and a DHCP server for names alone."""
    here = serve("--address", "::1")["debian"].replace("[::1]", "[fec0::2]")
    machine = preboot(f"httpfuse={here}", netdev="user,id=n,ipv4=off,ipv6=on")
    machine.expect("inetboot: network: .* has fec0:")
    machine.expect("inetboot: root file system ext4")
    log_in(machine)
    ends(machine)


@case
def clock():
    machine = preboot(f"httpfuse={link}", "-rtc", "base=2001-02-03")
    machine.expect(time.strftime("it is %Y-%m-%d .* now", time.gmtime()))
    machine.expect("inetboot: starting Debian")
    machine.kill()


@case
def errors():
    server, bad = bad_server()
    # No card, no cable, no lease.
    machine = preboot(f"httpfuse={link}", network=False)
    screen(machine, "no network", "no network card")
    machine.kill()
    machine = preboot(f"httpfuse={link}", netdev="user,id=n", monitor=["set_link n off"])
    screen(machine, "no network", "no link: is its cable plugged in")
    machine.tell("set_link n on")
    machine.type("r\n")
    machine.expect("inetboot: network: .* has 10.0.2")
    machine.kill()
    machine = preboot(f"httpfuse={link}", netdev="hubport,id=n,hubid=0")
    screen(machine, "no network address", "DHCP")
    machine.screenshot("medium-no-lease")
    machine.kill()
    # A name that nobody knows, nothing there, nobody there; then the person's choice of another entry.
    machine = preboot(f"httpfuse={link.replace('10.0.2.2', 'no.such.host.invalid')}")
    screen(machine, "no.such.host.invalid")
    machine.type("s\n")
    machine.expect("# ")
    machine.type("echo shell-$((40+2)); exit\n")
    machine.expect("shell-42")
    machine.expect("b reboot: ")
    machine.type("o\n")
    machine.expect("Debian 'from' the web")
    machine.type(link_to("nothing") + "\n")
    screen(machine, "404")
    machine.type("o\n")
    machine.expect("> ")
    other = "RWQ" + "A" * 53
    machine.type(link.split("#")[0] + "#" + other + "\n")
    screen(machine, "key")
    machine.screenshot("medium-wrong-key")
    # A kernel that was tampered with, all of them: its blocks.
    server.rules("/blocks/* flip")
    machine.type("o\n")
    machine.expect("> ")
    machine.type(bad + "\n")
    screen(machine, "hash|damaged|wrong")
    server.rules()
    machine.type("r\n")
    machine.expect("inetboot: starting Debian")
    machine.kill()


@case
def stale():
    """A version past its date, and an older one than the stick has seen."""
    medium("pair", format="grub")
    run("key", "stalekey")
    with open("stalekey.pub") as f:
        key = f.read().split("\n")[1]
    with open("disk.img", "wb") as f:
        f.write(os.urandom(1 << 20))
    files = "--key", "stalekey", "--type", "linux", "--kernel", "pair/linux", "--initrd", "pair/minirt.gz"
    run("publish", "disk.img", "stale", "--name", "expired", "--expires", "2020-01-01T00:00:00Z", *files)
    run("publish", "disk.img", "stale", "--name", "back", *files)
    shutil.copy("stale/back/manifest", "first")
    with open("disk.img", "ab") as f:
        f.truncate(2 << 20)
    run("publish", "disk.img", "stale", "--name", "back", *files)
    server = BadServer("stale")
    started.append(server.process)
    there = f"http://10.0.2.2:{server.port}"
    machine = preboot(f"httpfuse={there}/expired#{key} strict")
    screen(machine, "expired on 2020-01-01")
    machine.screenshot("medium-expired")
    machine.kill()
    make_stick("fat")
    machine = preboot(f"httpfuse={there}/back#{key}", *usb_disk("stick"))
    machine.expect("inetboot: starting ")
    machine.expect("inetboot: medium's system")  # the kernel that was published is the medium's own
    machine.kill()
    shutil.copy("first", "stale/back/manifest")
    machine = preboot(f"httpfuse={there}/back#{key}", *usb_disk("stick"))
    screen(machine, "version 1, but version 2 was seen before")
    machine.screenshot("medium-rolled-back")
    machine.kill()


@case
def same_kernel():
    """Where no other kernel may be started, and the image's is the one that runs, it is gone on with."""
    machine = preboot(f"httpfuse={link} sysctl.kernel.kexec_load_disabled=1")
    machine.expect("Operation not permitted")
    machine.expect("its kernel is the one that runs here")
    machine.expect("inetboot: root file system ext4")
    log_in(machine)
    runs(machine, "httpfuse=")
    ends(machine)


@case
def small():
    """The medium with the kernel that has all built in: five megabytes, from a CD and, by UEFI, from a stick."""
    size = os.path.getsize(medium("small.iso", "--kernel", "small"))
    check(size <= 5000000, f"it has {size} bytes")
    whole("-cdrom", "small.iso", "-boot", "d")
    whole(*usb_disk("small.iso"), firmware=OVMF, nic="rtl8139")


@case
def zst_modules():
    """An image whose modules are compressed as Ubuntu's are."""
    if not os.path.exists("store/zst/manifest"):
        if os.geteuid():
            skip("the image's modules are compressed as root")
        run("make", "debian", "zst.img")
        os.mkdir("zst")
        subprocess.run(["mount", "-o", "loop", "zst.img", "zst"], check=True)
        at_end.append(lambda: subprocess.run(["umount", "-q", "zst"]))
        release = os.listdir("zst/lib/modules")[0]
        subprocess.run(["find", f"zst/lib/modules/{release}", "-name", "*.ko", "-exec", "zstd", "-q", "-1", "--rm", "{}", "+"], check=True)
        subprocess.run(["depmod", "-b", "zst", release], check=True)
        at_end.pop()()
        publish_linux("zst.img", "zst", "Debian with zst", "zst.img")
    machine = preboot(f"httpfuse={link_to('zst')}")
    machine.expect("inetboot: starting Debian with zst")
    machine.expect("inetboot: root file system ext4")
    log_in(machine)
    out = machine.command("lsmod; ls /lib/modules/*/kernel/fs/overlayfs")
    check("overlay " in out and "overlay.ko.zst" in out, f"its modules are not compressed: {out}")
    machine.kill()


@case
def resumes():
    """The server goes away while the kernel is fetched, and while the root is in use; it comes back, and all goes on."""
    server, bad = bad_server()
    server.rules("/blocks/* drip rate=400000")
    machine = preboot(f"httpfuse={bad}")
    machine.expect("inetboot: fetching")
    wait_for(lambda: len(server.log("/blocks/")["requests"]) > 3, "blocks of the kernel", QEMU_LIMIT)
    server.gone(3600)
    machine.read_for(8)  # after 20 seconds a person is asked
    server.back()
    server.rules()
    machine.expect("inetboot: root file system ext4")
    machine.expect("systemd")
    server.gone(3600)
    machine.read_for(20)
    server.back()
    log_in(machine)
    ends(machine)


@case
def script():
    """iscript=: signed by a key in its address, or by one that the medium knows; all others are refused."""
    with open("store/start.sh", "w") as f:
        f.write(f"show the script runs on $(uname -r)\nlink='{link}'\n")
    run("key", "scriptkey")
    with open("scriptkey.pub") as f:
        key = f.read().split("\n")[1]
    run("key", "--sign", "store/start.sh", "--key", "scriptkey")
    with open("store/start.sh.sig") as f:
        text = f.read()
    with open("store/bad.sig", "w") as f:
        f.write(text.replace("the script", "a script"))
    machine = preboot(f"iscript={server_url}/bad.sig#{key}")
    screen(machine, "bad.sig", "signature")
    machine.kill()
    machine = preboot(f"iscript={server_url}/start.sh.sig")
    screen(machine, "start.sh.sig", "none of those")
    machine.kill()
    machine = preboot(f"iscript={server_url}/start.sh.sig#{key}")
    machine.expect("the script runs on")
    machine.expect("inetboot: starting Debian")
    machine.kill()
    run("medium", "known.iso", "--script", f"Script={server_url}/start.sh.sig", "--key", key, "--catalog", f"Store={link.replace('/debian#', '#')}", "--timeout", "60")
    machine = Qemu("-cdrom", "known.iso")
    machine.expect("Script")
    machine.type("\n")
    machine.expect("the script runs on")
    machine.expect("inetboot: starting Debian")
    machine.kill()


@case
def catalogue():
    machine = preboot(f"catalog={link.replace('/debian#', '#')}")
    machine.expect("1  debian")
    machine.expect("> ")
    machine.type("1\n")
    machine.expect("inetboot: starting Debian")
    machine.kill()


@case
def knoppix():
    """A disc with KNOPPIX/KNOPPIX on it, a cloop, and no initrd of its own: /cdrom, then /KNOPPIX."""
    if not os.path.exists("store/knoppix/manifest"):
        need("genisoimage", "create_compressed_fs")
        if os.geteuid():
            skip("the disc is made of a mounted image")
        run("make", "debian", "inner.img")
        os.makedirs("iso/KNOPPIX")
        os.mkdir("tree")
        subprocess.run(["mount", "-o", "loop,ro", "inner.img", "tree"], check=True)
        at_end.append(lambda: subprocess.run(["umount", "-q", "tree"]))
        subprocess.run(["genisoimage", "-quiet", "-R", "-l", "-D", "-o", "inner.iso", "tree"], check=True, stderr=subprocess.DEVNULL)
        at_end.pop()()
        subprocess.run(["create_compressed_fs", "-q", "-B", "65536", "-L", "1", "inner.iso", "iso/KNOPPIX/KNOPPIX"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["genisoimage", "-quiet", "-R", "-l", "-V", "KNOPPIX", "-o", "knoppix.iso", "iso"], check=True)
        publish("knoppix.iso", "knoppix", "--title", "KNOPPIX", "--type", "linux", "--kernel", "inner.img.vmlinuz", "--level", "1")
    machine = preboot(f"httpfuse={link_to('knoppix')}")
    machine.expect("inetboot: starting KNOPPIX")
    machine.expect("inetboot: root file system iso9660 on /dev/loop.*, the cloop /cdrom/KNOPPIX/KNOPPIX on /dev/loop")
    log_in(machine)
    out = machine.command("for at in / /KNOPPIX /cdrom; do findmnt -no FSTYPE $at; done; ls /cdrom/KNOPPIX; systemctl is-system-running --wait; systemctl --failed --no-legend")
    check("overlay\r\niso9660\r\niso9660\r\nKNOPPIX\r\n" in out and "running" in out, f"not the original's tree, or units failed: {out}")
    ends(machine)


def make_stick(kind):
    """With a folder knxblock."""
    subprocess.run(["truncate", "-s", "1G", "stick"], check=True)
    if kind == "fat":
        subprocess.run(["mkfs.fat", "-F", "32", "stick"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["mmd", "-i", "stick", "::knxblock"], check=True)
    else:
        os.makedirs("empty/knxblock")
        subprocess.run(["mkfs.ext4", "-q", "-d", "empty", "stick"], check=True)


def stick(kind):
    """A stick is filled by the first start; the second needs no network, and the third, which has one, no server: the last case."""
    make_stick(kind)
    machine = Qemu("-cdrom", medium("inetboot.iso"), "-boot", "d", *usb_disk("stick", starts=False))
    starts(machine, kept=True)
    ends(machine)
    look = ["fsck.vfat", "-n"] if kind == "fat" else ["e2fsck", "-n", "-f"]
    subprocess.run([*look, "stick"], check=True, stdout=subprocess.DEVNULL)
    for network in False, True:
        if network:
            server.stop()
        machine = Qemu("-cdrom", "inetboot.iso", "-boot", "d", *usb_disk("stick", starts=False), network=network)
        machine.expect("inetboot: starting Debian")
        machine.expect("inetboot: root file system ext4")
        log_in(machine)
        ends(machine)


@case
def xen():
    """An entry of type xen: the hypervisor, and on it a Debian as dom0, with the virtual disk as its root."""
    if not os.path.exists("store/pvgrub/manifest"):
        run("make", "debian", "xen.img", "--packages", "xen-hypervisor-4.17-amd64,xen-utils-4.17,grub-xen-host")
        for path, name in ("/boot/xen-4.17-amd64.gz", "xen.gz"), ("/usr/lib/grub-xen/grub-x86_64-xen.bin", "pvgrub"):
            subprocess.run(["/sbin/debugfs", "-R", f"dump {path} {name}", "xen.img"], check=True, stderr=subprocess.DEVNULL)
        publish("xen.img", "xen", "--title", "Debian on Xen", "--type", "xen", "--kernel", "xen.gz", "--module", "xen.img.vmlinuz",
            "--initrd", "xen.img.initrd", "--level", "1")
        os.makedirs("menu/boot/grub")
        with open("menu/boot/grub/grub.cfg", "w") as f:
            f.write("menuentry 'No Linux here' { true }\n")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", "menu", "menu.img", "8M"], check=True)
        publish("menu.img", "pvgrub", "--type", "domu", "--kernel", "pvgrub")
    guests = [link, link_to("pvgrub")]
    machine = preboot(f"httpfuse={link_to('xen')} " + " ".join(f"inetboot.guest={one}" for one in guests), memory="3072",
                      cpu="qemu64")  # some of what QEMU emulates besides ends Linux at once as a guest of Xen's
    machine.expect("inetboot: starting Debian on Xen")
    machine.expect("inetboot: root file system ext4")
    machine.expect("inetboot: debian runs")
    machine.expect("inetboot: pvgrub runs")
    machine.type("\n")
    log_in(machine)
    out = machine.command("cat /sys/hypervisor/type /proc/cmdline; xl list")
    check("xen\r" in out and "Domain-0" in out and "boot=inetboot" in out, f"no dom0: {out}")
    check("debian " in out and "pvgrub " in out, f"no guests: {out}")
    # Neither a Linux alone, nor Linux alone.
    machine.type("xl console pvgrub\n")
    machine.expect("grub>|No Linux here")
    machine.type("\x1d")
    machine.expect("# ")
    machine.type("xl console debian\n")
    machine.expect("localhost login: ", 1200)
    machine.type("\x1d")
    machine.expect("# ")
    machine.type("inetboot guests --stop && xl list | wc -l && ls /run/initramfs/inetboot/machines\n")
    machine.expect(r"\D2\r+\n")
    ends(machine)


@case
def carrier():
    """An image that only knows a PC's disk, in the QEMU of a Linux that carries it."""
    if not os.path.exists("store/carrier/manifest"):
        run("make", "debian", "carrier.img", "--packages", "qemu-system-x86")
        publish_linux("carrier.img", "carrier", "Debian with QEMU", "carrier.img")
        # Writes to the first serial line, and halts.
        code = bytes.fromhex("fa31c08ed8be177cfcac84c07406baf803eeebf5f4ebfd") + b"No Linux here\r\n\0"
        with open("sector.img", "wb") as f:
            f.write(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
        publish("sector.img", "sector", "--type", "image")
    there = link_to("sector")
    machine = preboot(f"httpfuse={there}", memory="2048")
    screen(machine, "carrier=LINK")
    machine.kill()
    machine = preboot(f"httpfuse={there} carrier={link_to('carrier')}", memory="2048", main="ttyS0")
    machine.expect("inetboot: fetching what carries it")
    machine.expect("inetboot: starting Debian with QEMU")
    machine.expect("No Linux here")
    machine.kill()


@case
def dracut():
    """An image whose initramfs is dracut's."""
    if not os.path.exists("store/dracut/manifest"):
        subprocess.run(["mmdebstrap", "--mode=root", "--variant=minbase", "--include=linux-image-amd64,dracut,systemd-sysv,udev,kmod,iproute2,dbus", "bookworm", "root"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        release = os.listdir("root/lib/modules")[0]
        subprocess.run(["mount", "--bind", "/proc", "root/proc"], check=True)
        at_end.append(lambda: subprocess.run(["umount", "-q", "root/proc"]))
        subprocess.run(["chroot", "root", "sh", "-c", f"dracut --force --no-hostonly /boot/initrd.dracut {release} && passwd -d root"], check=True, stdout=subprocess.DEVNULL)
        at_end.pop()()
        os.rename("root/boot/initrd.dracut", "dracut.initrd")
        shutil.copy(f"root/boot/vmlinuz-{release}", "dracut.vmlinuz")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", "root", "dracut.img", "1500M"], check=True)
        publish_linux("dracut.img", "dracut", "Debian with dracut", "dracut")
    machine = preboot(f"httpfuse={link_to('dracut')}")
    machine.expect("inetboot: starting Debian with dracut")
    machine.expect("inetboot: root file system ext4")
    machine.expect("login: ")
    machine.type("root\n")
    machine.expect("# ")
    runs(machine, "boot=inetboot")
    ends(machine)


@case
def stick_fat():
    stick("fat")


@case
def stick_ext4():
    stick("ext4")


@case
def http_boot():
    """UEFI fetches the one file by HTTP, as a DHCP server says, in a network namespace of our own: the last case."""
    need("dnsmasq", "ip")
    if os.geteuid() or not os.path.exists("/dev/net/tun"):
        skip("a network needs root, and /dev/net/tun")
    check(ctypes.CDLL(None).unshare(0x40000000) == 0, "no network namespace")
    for words in "link set lo up", "tuntap add tap0 mode tap", "address add 10.0.2.2/24 dev tap0", "link set tap0 up":
        subprocess.run(["ip", *words.split()], check=True)
    here = serve("--address", "10.0.2.2")["debian"]
    if os.path.exists("store/inetboot.efi"):
        os.unlink("store/inetboot.efi")  # of an earlier run, in a store that is kept
    medium("store/inetboot.efi", entry=here, format="efi")
    started.append(subprocess.Popen(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--bind-interfaces", "--user=root",
                                     f"--dhcp-leasefile={DIR}/leases", "--dhcp-range=10.0.2.15,10.0.2.30", "--dhcp-option=3,10.0.2.2", "--dhcp-option=6,10.0.2.2",
                                     "--dhcp-vendorclass=set:http,HTTPClient", "--dhcp-option-force=tag:http,60,HTTPClient",
                                     f"--dhcp-boot=tag:http,{here.split('/debian#')[0]}/inetboot.efi"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    whole(firmware=OVMF, netdev="tap,id=n,ifname=tap0,script=no,downscript=no")


wanted = sys.argv[2:] or ["keyboard", "cd"]
if wanted == ["list"]:
    print(*CASES, sep="\n")
    done()
for name in wanted:
    check(name in CASES, f"no case {name}: there are {', '.join(CASES)}")
need("nginx", "qemu-system-x86_64", "xorriso", "grub-mkimage", "mmdebstrap", "convert", "mkfs.fat", "mmd")
if not os.path.exists(os.path.join(os.path.dirname(INETBOOT), "../medium/parts/inetboot")):
    skip("the medium's programs are not built (make medium-parts)")
made_store()
server = WebServer(f"{DIR}/nginx", f"{DIR}/store")
at_end.append(server.stop)
server_url = f"http://10.0.2.2:{server.address[1]}"  # what this host is for the machine
with open("store/catalog.json") as f:
    link = f"{server_url}/debian#" + next(i["key"] for i in json.load(f)["images"] if i["name"] == "debian")
for name in wanted:
    before = time.monotonic()
    CASES[name]()
    print(f"{name}: {time.monotonic() - before:.0f} s", flush=True)
done()
