"""For tests of boot media: QEMU machines that are started from media, a web server that serves the store, and what is typed and read on the serial
line. QEMU emulates the processor here, so all takes long: conditions are waited for, with limits of minutes."""
import os, re, select, shutil, signal, socket, subprocess, sys, time

from bootlib import *

QEMU_LIMIT = 600  # seconds for anything that such a guest does
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
OVMF_SECURE = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"  # with Microsoft's keys
SCREENS = os.environ.get("INETBOOT_SCREENSHOTS") or os.path.join(os.path.dirname(INETBOOT), "../screenshots")


class Qemu(Console):
    """A machine, with its serial line on a socket; user networking, in which 10.0.2.2 is this host."""

    def __init__(self, *args, memory="1024", nic="virtio-net-pci", firmware=None, network=True, netdev="user,id=n", monitor=(), cpu="max"):
        self.number = len(started)
        self.serial_path, self.monitor_path = f"{DIR}/serial.{self.number}", f"{DIR}/monitor.{self.number}"
        more = ["-netdev", netdev, "-device", f"{nic},netdev=n"] if network else ["-nic", "none"]
        machine = "q35"
        if firmware:
            if not os.path.exists(firmware[0]):
                skip("no UEFI firmware (tools/install-deps medium-test)")
            machine = "q35,smm=on"
            more += ["-global", "driver=cfi.pflash01,property=secure,value=on"] if "secboot" in firmware[0] else []
            variables = f"{DIR}/vars.{self.number}"
            shutil.copy(firmware[1], variables)
            more += ["-drive", f"if=pflash,format=raw,readonly=on,file={firmware[0]}", "-drive", f"if=pflash,format=raw,file={variables}"]
        args = ["qemu-system-x86_64", "-machine", machine, "-cpu", cpu, "-accel", "tcg,thread=multi", "-smp", "2", "-m", memory, "-display", "none",
                                   "-chardev", f"socket,id=serial,path={self.serial_path},server=on,wait=off,logfile={DIR}/serial.{self.number}.log", "-serial", "chardev:serial", "-monitor", f"unix:{self.monitor_path},server=on,wait=off",
                                   "-device", "virtio-rng-pci", *more, *args]
        self.p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(self.p)
        self.serial = self.connect(self.serial_path)
        self.monitor = None
        super().__init__(args, self.serial.fileno(), QEMU_LIMIT)
        for line in monitor:
            self.tell(line)

    def connect(self, path):
        end = time.monotonic() + 30
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                return s
            except OSError:
                s.close()
                if self.p.poll() is not None:
                    fail(f"qemu ended: {self.p.stdout.read().decode()}")
                check(time.monotonic() < end, f"no {path}")
                time.sleep(0.1)

    def type(self, text):
        self.serial.sendall(text.encode())

    def tell(self, line):
        """A command to QEMU's monitor; returns when it is done."""
        def prompt():
            text = b""
            while not text.endswith(b"(qemu) "):
                text += self.monitor.recv(4096) or fail("qemu's monitor ended")
        if not self.monitor:
            self.monitor = self.connect(self.monitor_path)
            prompt()
        self.monitor.sendall(line.encode() + b"\n")
        prompt()

    def screenshot(self, name):
        os.makedirs(SCREENS, exist_ok=True)
        path = f"{DIR}/{name}.ppm"
        self.tell(f"screendump {path}")
        subprocess.run(["convert", path, f"{SCREENS}/{name}.png"], check=True)

    def read_for(self, seconds):
        """Takes what it says for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            check(self.read(1), f"the machine ended:\n{self.text[-3000:]}")

    def ends(self, limit=QEMU_LIMIT):
        """Waits for its end, reading on."""
        end = time.monotonic() + limit
        while self.p.poll() is None and time.monotonic() < end:
            self.read(1)
        check(self.p.poll() is not None, f"the machine does not end:\n{self.text[-3000:]}")

    def kill(self):
        self.p.kill()
        self.p.wait()


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            skip(f"{tool} is not installed (tools/install-deps test medium make medium-test)")


def made_store():
    """A store with a Debian that has its kernel; kept, as making it takes minutes."""
    kept = os.environ.get("INETBOOT_TEST_STORE")
    if kept and os.path.exists(f"{kept}/debian/manifest"):
        os.symlink(kept, "store")
        return
    run("key", "key")
    run("make", "debian", "--store", "store", "--key", "key")


def log_in(machine):
    machine.expect("login: ")
    machine.type("user\n")
    machine.expect(r"\$ ")
    machine.type("sudo -i\n")
    machine.expect("# ")


def ends(machine, how="poweroff"):
    """In order: nothing stays mounted, no loop device is held."""
    machine.type(f"{how}\n")
    if how == "reboot":
        machine.expect("inetboot: the disk is released")
        machine.kill()
        return
    machine.ends()
    check("inetboot: the disk is released" in machine.text, f"the disk was not released in order:\n{machine.text[-2000:]}")
    check("not released" not in machine.text, "the end left something mounted")


def usb_disk(path, starts=True):
    return ["-device", "qemu-xhci", "-drive", f"if=none,id=stick,format=raw,file={path}", "-device", "usb-storage,drive=stick" + (",bootindex=1" if starts else "")]
