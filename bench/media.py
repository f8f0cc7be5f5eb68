"""Starts from a boot medium, over shaped lines, to the login prompt on the serial line: ours beside what people use today, and a local disk. The machines are
QEMU's, which emulates all of the processor. It runs in the client's network namespace with user networking, so its connections go over the line. Kernel and
initrd are given to it by options, as GRUB would load them off a local medium.

A row begins with the first byte on the serial line, which is one of the kernel's first acts. Requests and bytes are those of all the time until the prompt. Then
somebody logs in and shuts the machine down, which takes from that command until the machine is off."""

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time

from line import SERVER
from links import LINE, LINES, line_and_server, measure_line
from measure import Failed, Samples, drop_page_cache, last_line, load, run, say, size_of
from workplace import SOURCE

LINES_USUAL = tuple(spec for spec in LINES if spec[0] != "8M-20ms")
FOLDER = "/media"  # of the web server, in memory
LIMIT_S = 15 * 60
END_S = 2 * 60  # for a machine to log in, and to shut down
STICK_BYTES = 1 << 30
NBD_PORT = 10809  # nbd-client's own choice
CONSOLE = "console=ttyS0,115200 earlyprintk=ttyS0,115200"
INIT, PROMPT = rb"Welcome to ", rb"login: "
GIVEN_UP = rb"\(initramfs\)|Kernel panic|r try again"  # a machine that says so does not come up any more
PACKAGES = "live-boot,live-boot-initramfs-tools,nbd-client"
QEMU = ("qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-display", "none", "-monitor", "none",
        "-serial", "stdio", "-device", "virtio-rng-pci", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n")


def make_image(inetboot, folder):
    """A Debian with what the peers need in its initrd: disk.img, with its kernel and initrd beside it, and filesystem.squashfs, which lacks these two."""
    os.mkdir(folder)
    image, tree = os.path.join(folder, "disk.img"), os.path.join(folder, "tree")
    run([inetboot, "make", "debian", image, "--packages", PACKAGES], 3600)
    os.mkdir(tree)
    run(["mount", "-o", "loop,ro", image, tree], 30)
    try:
        run(["mksquashfs", tree, os.path.join(folder, "filesystem.squashfs"), "-comp", "zstd", "-no-progress", "-quiet", "-e", "boot"], 3600)
    finally:
        run(["umount", tree], 30)
    os.rmdir(tree)


def kept_image(workplace):
    """The folder that has it; made where it is missing."""
    digest = hashlib.sha256(PACKAGES.encode())
    for name in ("debian-image", "debian-inside"):
        with open(os.path.join(SOURCE, "recipes", name), "rb") as f:
            digest.update(f.read())
    folder = os.path.join(workplace.kept, "media-" + digest.hexdigest()[:12])
    if not os.path.exists(folder):
        say("media: making a Debian, and a squashfs of it")
        shutil.rmtree(folder + ".new", ignore_errors=True)
        make_image(workplace.inetboot, folder + ".new")
        os.rename(folder + ".new", folder)
    return folder


class Offer:
    """The Debian in every form, and the medium."""

    def __init__(self, workplace):
        folder = kept_image(workplace)
        self.disk, self.squashfs = os.path.join(folder, "disk.img"), os.path.join(folder, "filesystem.squashfs")
        self.kernel, self.initrd = self.disk + ".vmlinuz", self.disk + ".initrd"
        self.served_disk = os.path.join(workplace.root + FOLDER, "disk.img")
        run(["cp", "--sparse=always", self.disk, self.served_disk], 300)
        run(["cp", self.squashfs, workplace.root + FOLDER], 300)
        say("media: publishing the Debian, with a boot pack and without, and making the medium")
        entry = ("--type", "uml", "--type", "linux", "--kernel", self.kernel, "--initrd", self.initrd)
        self.link = workplace.publish(self.disk, "debian", "store", FOLDER, *entry)
        # Under a name of its own: see links.py.
        self.packed = workplace.publish(self.disk, "debian-pack", "pack.store", FOLDER, *entry, "--record-engine", "uml", "--record-engine", "qemu")
        self.pack_bytes = json.loads(run([workplace.inetboot, "info", "--json", workplace.url + FOLDER + self.packed], 60)[2])["pack"]
        self.store_bytes = size_of(os.path.join(workplace.root + FOLDER, "store"))
        medium = os.path.join(workplace.dir, "medium")
        run([workplace.inetboot, "medium", medium, "--format", "grub", "--entry", "Debian=" + workplace.url + FOLDER + self.link], 1800)
        self.medium = os.path.join(medium, "linux"), os.path.join(medium, "minirt.gz")

    def json(self):
        sizes = {"medium": sum(map(os.path.getsize, self.medium)), "kernel": os.path.getsize(self.kernel), "initrd": os.path.getsize(self.initrd),
                 "squashfs": os.path.getsize(self.squashfs)}
        return dict(sizes, store=self.store_bytes, pack=self.pack_bytes)


class Machine:
    """Its serial line is QEMU's standard input and output; what QEMU itself says goes to a file."""

    def __init__(self, inside, folder, kernel, initrd, words, *args):
        self.said = os.path.join(folder, "qemu.log")
        with open(self.said, "wb") as log:
            self.process = subprocess.Popen([*inside, *QEMU, "-kernel", kernel, "-initrd", initrd, "-append", "%s %s" % (CONSOLE, words), *args],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.text, self.seen, self.begin = b"", 0, None

    def read(self, end):
        """More of the text; Failed where there will be none. Returns whether it came before the end."""
        if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
            return False
        more = os.read(self.process.stdout.fileno(), 65536)
        if not more:
            with open(self.said) as f:
                raise Failed("the machine ended; QEMU: %s; its console: %s" % (last_line(f.read()) or "nothing", self.last()))
        self.begin = self.begin or time.monotonic()
        self.text += more
        return True

    def last(self):
        return last_line(self.text.decode(errors="replace"))

    def expect(self, pattern, end):
        """Seconds from the first byte until the pattern comes, behind what was expected before; None when that is not before the end."""
        while not (found := re.search(pattern, self.text[self.seen:])):
            if re.search(GIVEN_UP, self.text[self.seen:]):
                raise Failed("the machine has given up: %s" % self.last())
            if not self.read(end):
                return None
        self.seen += found.end()
        return time.monotonic() - self.begin

    def type(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def power_off(self):
        """By hand, in order: seconds; None where it does not come to its end."""
        self.type(b"user\n")
        if self.expect(rb"\$ ", time.monotonic() + END_S) is None:
            return None
        begin = time.monotonic()
        self.type(b"sudo poweroff\n")
        with contextlib.suppress(Failed):
            while self.read(begin + END_S):
                pass
            return None
        return time.monotonic() - begin

    def close(self):
        self.process.kill()
        self.process.communicate()


class Row:
    """One row on one line in one round."""

    def __init__(self, workplace, offer, line, server, stick):
        self.offer, self.inside, self.url = offer, line.client.inside, server.url + FOLDER
        self.line, self.server = line, server
        self.stick = stick  # filled by the row "cold", for the row "warm"
        self.folder = tempfile.mkdtemp(prefix="row.", dir=workplace.dir)
        self.counts_before, self.counts = self.counted(), None

    def counted(self):
        """requests, packets, bytes, packets lost"""
        return (self.server.counted()[0], *self.line.counted())

    def start(self, kernel, initrd, words, *args):
        """Seconds to the image's init, to the prompt, and for the shutdown, each None where the time was over"""
        machine = Machine(self.inside, self.folder, kernel, initrd, words, *args)
        try:
            end = time.monotonic() + LIMIT_S
            init = machine.expect(INIT, end)
            login = machine.expect(PROMPT, end) if init is not None else None
            self.counts = [now - before for now, before in zip(self.counted(), self.counts_before)]
            return init, login, machine.power_off() if login is not None else None
        finally:
            machine.close()

    def local_kernel(self, words, *args):
        return self.start(self.offer.kernel, self.offer.initrd, words, *args)

    def local(self):
        return self.local_kernel("root=/dev/vda ro", "-drive", "if=virtio,format=raw,snapshot=on,file=" + self.offer.disk)

    def medium(self, link, *args):
        return self.start(*self.offer.medium, "httpfuse=%s%s" % (self.url, link), *args)

    def with_stick(self):
        return self.medium(self.offer.link, "-device", "qemu-xhci", "-drive", "if=none,id=stick,format=raw,file=" + self.stick, "-device", "usb-storage,drive=stick")

    def cold(self):
        with open(self.stick, "wb") as f:
            f.truncate(STICK_BYTES)
        run(["mkfs.fat", "-F", "32", self.stick], 30)
        run(["mmd", "-i", self.stick, "::knxblock"], 30)
        times = self.with_stick()
        if times[2] is None:
            raise Failed("it did not shut down in order, so the stick does not have all that was written to it")
        return times

    def warm(self):
        return self.with_stick()

    def packed(self):
        return self.medium(self.offer.packed)

    def fetched(self):
        return self.local_kernel("boot=live fetch=%s/filesystem.squashfs" % self.url)

    def nbd(self):
        pid = os.path.join(self.folder, "nbdkit.pid")
        nbdkit = subprocess.Popen([*self.line.server.inside, "nbdkit", "--foreground", "--pidfile", pid, "--ipaddr", SERVER, "--port", str(NBD_PORT), "--filter=cow",
                                   "file", self.offer.served_disk], stdin=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 20
            while not os.path.exists(pid):
                if nbdkit.poll() is not None or time.monotonic() > end:
                    raise Failed("nbdkit does not start")
                time.sleep(0.02)
            return self.local_kernel("root=/dev/nbd0 ro nbdroot=%s,disk,nbd0 ip=dhcp" % SERVER)
        finally:
            nbdkit.kill()
            nbdkit.wait()


LOCAL, COLD, WARM, PACK = "local disk", "inetboot", "inetboot, warm", "inetboot, pack"
FETCH, NBD = "live-boot fetch=", "NBD root"
ROWS = (
    (LOCAL, Row.local),
    (COLD, Row.cold),
    (WARM, Row.warm),
    (PACK, Row.packed),
    (FETCH, Row.fetched),
    (NBD, Row.nbd),
)
WITHOUT_PEERS = ROWS[:4]


def take_row(samples, name, take, row):
    """Adds what a row takes; where the time was over, what it took until then."""
    try:
        init, login, end = take(row)
    except (Failed, OSError, ValueError) as why:
        samples.fail(name, why)
        return
    for what, value in ("init_s", init), ("login_s", login), ("end_s", end):
        if value is not None:
            samples.add(name, what, value)
    if login is None:
        samples.add(name, "over_s", LIMIT_S)
    requests, packets, sent, lost = row.counts
    samples.add(name, "requests", requests)
    samples.add(name, "bytes", sent)
    samples.add(name, "lost_percent", 100 * lost / max(1, packets))
    row.line.wait_until_quiet()  # so that the next row counts its own only


def take_rows(workplace, offer, rows, samples, where, line, server):
    stick = os.path.join(workplace.dir, "stick")
    for name, take in rows:
        if name in samples.failed or samples.median(name, "over_s"):
            continue
        if name == WARM and (COLD in samples.failed or samples.median(COLD, "over_s")):
            continue  # nothing has filled the stick
        say("media, %s: %s (load %.1f)" % (where, name, load()))
        drop_page_cache()
        take_row(samples, name, take, Row(workplace, offer, line, server, stick))


def measure(workplace, rounds, lines=LINES_USUAL, rows=ROWS):
    workplace.need_relay()
    workplace.need_medium()
    workplace.memory(FOLDER)
    offer = Offer(workplace)
    by_line = {spec[0]: Samples() for spec in lines}
    for number in range(rounds):
        for name, rate, rtt_ms in lines:
            samples = by_line[name]
            try:
                with line_and_server(workplace, rate, rtt_ms) as (line, server):
                    measure_line(samples, line, "%s%s/disk.img" % (server.url, FOLDER), offer.disk)
                    take_rows(workplace, offer, rows, samples, "round %d, %s" % (number + 1, name), line, server)
            except (Failed, OSError, ValueError) as why:
                samples.fail(LINE, why)
    return {"lines": lines, "bytes": offer.json(), "by_line": {name: samples.json() for name, samples in by_line.items()}}
