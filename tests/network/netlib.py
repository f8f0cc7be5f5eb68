"""For the network tests beside this: two network namespaces, the test's own, where inetboot runs, and another one for servers, with a cable
(veth) or a wide-area network (relay.c) between them. The test runs itself again in a network and mount namespace of its own: all ends
with it, whatever happens.

    client 10.77.0.2 ── near ═══ far ── 10.77.0.1 server          more addresses: Far.address(), client_address()
"""
import os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = "INETBOOT_TEST_NAMESPACE"


def leave_early(reason):
    print("skipped:", reason)
    sys.exit(77)


def enter():
    import shutil, subprocess
    if os.geteuid() != 0:
        leave_early("network namespaces need root")
    if not shutil.which("ip", path=os.environ["PATH"] + ":/usr/sbin:/sbin") or not shutil.which("unshare"):
        leave_early("ip or unshare is not installed (tools/install-deps test)")
    way = ["unshare", "--net", "--mount", "--propagation", "private"]
    if subprocess.run([*way, "true"]).returncode:
        leave_early("no namespaces can be made here")
    os.environ[INSIDE] = "1"
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.execvp("unshare", [*way, sys.executable, *sys.argv])


if INSIDE not in os.environ:
    enter()

RELAY = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None  # before mountlib changes to a folder of its own
sys.path.insert(0, os.path.join(HERE, "../functional"))
import ctypes, errno, re, socket, threading
from mountlib import *

CLIENT, SERVER, RESOLVER = "10.77.0.2", "10.77.0.1", "10.77.0.53"


def ip(*args):
    subprocess.run(["ip", *args], check=True)


ip("link", "set", "lo", "up")


class Far:
    """The servers' namespace."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.file = f"/proc/{self.holder.pid}/ns/net"
        at_end.append(self.stop)

    def stop(self):
        self.holder.kill()
        self.holder.wait()

    def args(self, *args):
        return ["nsenter", f"--net={self.file}", *args]

    def run(self, *args):
        subprocess.run(self.args(*args), check=True)

    def ip(self, *args):
        self.run("ip", *args)

    def inside(self, f):
        """f() in a thread that is over there: sockets that it makes stay there."""
        out = []

        def visit():
            with open(self.file) as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns")
            out.append(f())
        t = threading.Thread(target=visit)
        t.start()
        t.join()
        return out[0]

    def address(self, add):
        self.ip("address", "add", f"{add}/24", "dev", "far")


far = Far()


def set_addresses():
    ip("address", "add", f"{CLIENT}/24", "dev", "near")
    far.ip("address", "add", f"{SERVER}/24", "dev", "far")
    ip("link", "set", "near", "up")
    far.ip("link", "set", "far", "up")


def cable():
    ip("link", "add", "near", "type", "veth", "peer", "name", "far")
    ip("link", "set", "far", "netns", str(far.holder.pid))
    set_addresses()


class Relay:
    """A cable with orders: see relay.c."""

    def __init__(self, *orders):
        if not RELAY or not os.path.exists("/dev/net/tun"):
            skip("no /dev/net/tun, or no relay")
        self.process = subprocess.Popen([RELAY, "/proc/self/ns/net", "near", far.file, "far"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            skip("no TUN device can be made here")
        at_end.append(self.stop)
        set_addresses()
        self.order(*orders)

    def order(self, *orders):
        """Returns (forward packets, bytes, lost, back packets, bytes, lost)."""
        for text in [*orders, "stats"]:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().split()
            check(answer[:1] == [b"forward"], f"{text}: {answer}")
        return [int(word) for word in answer if word.isdigit()]

    def stop(self):
        self.process.kill()
        self.process.wait()


class FarServer(Server):
    """tests/badserver.py over there, on all addresses; its control does not need the cable."""

    def __init__(self, folder, *rules, port=0, name=SERVER, bind="0.0.0.0"):
        super().__init__(folder, *rules, bind=bind, options=("--port", str(port)), command=far.args)
        self.bind, self.url = "127.0.0.1" if bind == "0.0.0.0" else bind, f"http://{name}:{self.port}"

    def reach(self):
        return far.inside(super().reach)


class Reader(Child):
    """Reads the first bytes of a disk, and the last ones when it is let through: too far behind to have been read ahead. So it meets for sure what
    happens in between, however fast it is."""

    FIRST, LAST = 2_000_000, 1_000_000
    SIZE = FIRST + (8 << 20) + 2 * LAST  # of a disk, at least: disk/readahead.h

    def __init__(self, path, data):
        check(len(data) >= self.SIZE, f"{len(data)} bytes are too few")
        self.hold, self.gate = os.pipe()
        super().__init__(self.read, path, data)

    def read(self, path, data):
        with open(path, "rb", buffering=0) as f:
            for begin, end in (0, self.FIRST), (len(data) - self.LAST, len(data)):
                f.seek(begin)
                while begin < end:
                    got = f.read(min(1 << 20, end - begin))
                    if not got or got != data[begin:begin + len(got)]:
                        return f"wrong bytes at {begin}, or none"
                    begin += len(got)
                if end < len(data):
                    os.read(self.hold, 1)

    def go_on(self):
        os.write(self.gate, b"x")


class Names:
    """A name server over there, for A records; what else is asked for has no answer. `mode`: good, silent, servfail, nxdomain; the names
    silent.test and so on always get that."""

    def __init__(self, **addresses):
        self.addresses, self.mode, self.asked = addresses, "good", 0
        far.address(add=RESOLVER)
        self.socket = far.inside(self.bind)
        threading.Thread(target=self.answer_for_ever, daemon=True).start()
        for name, text in [("resolv.conf", f"nameserver {RESOLVER}\n"), ("nsswitch.conf", "hosts: files dns\n")]:
            with open(name, "w") as f:
                f.write(text)
            if not os.path.exists(f"/etc/{name}"):
                skip(f"there is no /etc/{name} to put another one over")
            subprocess.run(["mount", "--bind", name, f"/etc/{name}"], check=True)

    @staticmethod
    def bind():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((RESOLVER, 53))
        return s

    def answer_for_ever(self):
        while True:
            query, peer = self.socket.recvfrom(512)
            self.asked += 1
            answer = self.answer(query)
            if answer:
                try:
                    self.socket.sendto(answer, peer)
                except OSError:  # the cable is cut
                    pass

    def answer(self, query):
        end = query.index(0, 12) + 5
        question, kind = query[12:end], struct.unpack_from("!H", query, end - 4)[0]
        labels, at = [], 0
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        known = self.addresses.get(labels[0])
        mode = labels[0] if labels[0] in ("silent", "servfail", "nxdomain") else self.mode
        code = {"good": 0 if known else 3, "servfail": 2, "nxdomain": 3}.get(mode)
        if code is None:
            return None
        found = known if kind == 1 and not code else []
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(a) for a in found)  # for one second
        return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(found), 0, 0) + question + records


def lines(text, pattern):
    return [line for line in text.splitlines() if re.search(pattern, line)]


def log_lines(m, what):
    """Of a mount: what it said of trouble, and of its end."""
    return lines(m.said(), {"trouble": "waiting for it to return|trying again for", "end": "answers again"}[what])
