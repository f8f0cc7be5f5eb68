#!/usr/bin/env python3
"""The switch of a network of guests, with guests of our own that speak Ethernet: addresses, names, what is refused, guests that do not read or
flood, the way out and in, and what is left when it ends or is killed."""
import fcntl, re, socket, struct, threading
from mountlib import *

RUNTIME = f"{DIR}/run"
os.mkdir(RUNTIME, 0o700)
FOLDER = f"{RUNTIME}/inetboot"
os.environ["XDG_RUNTIME_DIR"] = RUNTIME
ALL = b"\xff" * 6
GATEWAY, RESOLVER = "10.0.2.2", "10.0.2.3"


def inet(text):
    return socket.inet_aton(text)


class Switch:
    def __init__(self, *options, network="test"):
        self.network, self.log = network, f"switch-{network}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([INETBOOT, "switch", "--network", network, *options], stdout=subprocess.PIPE, stderr=log)
        self.path = self.process.stdout.readline().decode().strip()
        check(self.path, f"it does not start: {self.said()}")
        at_end.append(self.clear)

    def said(self):
        return content(self.log).decode(errors="replace")

    def end(self):
        self.process.terminate()
        status = self.process.wait(SECONDS)
        check(status == 0, f"it ended with {status}: {self.said()}")

    def clear(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def checksum(data):
    total = sum(struct.unpack(f"!{len(data + b'0') // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(protocol, source, destination, data):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, 64, protocol, 0, inet(source), inet(destination))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data


def udp(source_port, destination_port, data):
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(data), 0) + data


def inet6(text):
    return socket.inet_pton(socket.AF_INET6, text)


def ipv6(protocol, source, destination, data):
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, 255) + inet6(source) + inet6(destination)
    if protocol == 58:
        data = data[:2] + struct.pack("!H", checksum(head[8:] + struct.pack("!II", len(data), protocol) + data)) + data[4:]
    return head + data


def neighbour(kind, target, station):
    """A solicitation (135) or advertisement (136)."""
    return struct.pack("!BBHI", kind, 0, 0, 0x20000000 if kind == 136 else 0) + inet6(target) + (bytes([kind - 134, 1]) + station if station else b"")


ALL6 = bytes.fromhex("333300000001")  # the station of ff02::1


class Guest:
    """One end of the wire."""
    count = 0

    def __init__(self, switch, name=None, mac=None):
        Guest.count += 1
        self.mac = mac or struct.pack("!HI", 0x0200, Guest.count)
        self.address, self.name, self.known = None, name, {}
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.settimeout(SECONDS)
        self.s.connect(switch.path)
        at_end.append(self.s.close)
        if name is not None:
            self.dhcp()

    def send(self, to, kind, data, mac=None):
        self.s.send(to + (mac or self.mac) + struct.pack("!H", kind) + data)

    def receive(self, wanted, what, seconds=SECONDS):
        """The first frame of which `wanted` makes something, and answers ARP meanwhile."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.s], [], [], left)[0]:
                check(not what, f"no {what} within {seconds} s")
                return None
            frame = self.s.recv(65536)
            check(frame, f"the switch left while waiting for {what}")
            self.answer_arp(frame)
            out = wanted(frame)
            if out is not None:
                return out

    def answer_arp(self, frame):
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and self.address and frame[38:42] == inet(self.address):
            self.send(frame[6:12], 0x806, struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + self.mac + inet(self.address) + frame[22:32])

    def barrier(self):
        """All that this guest sent so far has gone through the switch, for it answers in order."""
        self.arp(GATEWAY, again=True)

    def arp(self, address, again=False):
        if again or address not in self.known:
            self.send(ALL, 0x806, struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + self.mac + inet(self.address or "0.0.0.0") + b"\0" * 6 + inet(address))
            self.known[address] = self.receive(
                lambda f: f[22:28] if f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2" and f[28:32] == inet(address) else None,
                f"answer to ARP for {address}")
        return self.known[address]

    def claim6(self, address, source=None, kind=136, station=None):
        """Neighbour discovery: says to have that address, or asks whether it is free."""
        self.send(ALL6, 0x86dd, ipv6(58, source or address, "ff02::1", neighbour(kind, address, station or self.mac)))

    def dhcp_once(self, kind, *options, asker=None):
        text = b"".join(bytes([code, len(value)]) + value for code, value in [(53, bytes([kind])), *options]) + b"\xff"
        message = struct.pack("!BBBBIHH16s16s192sI", 1, 1, 6, 0, 7, 0, 0x8000, b"", asker or self.mac, b"", 0x63825363) + text
        self.send(ALL, 0x800, ipv4(17, "0.0.0.0", "255.255.255.255", udp(68, 67, message)))
        return self.receive(self.dhcp_answer, "answer to DHCP")

    def dhcp_answer(self, frame):
        if frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[34:38] != struct.pack("!HH", 67, 68):
            return None
        check(checksum(frame[14:34]) == 0, "a bad checksum")
        message, out = frame[42:], {}
        at = 240
        while message[at] != 255:
            out[message[at]] = message[at + 2:at + 2 + message[at + 1]]
            at += 2 + message[at + 1]
        return socket.inet_ntoa(message[16:20]), out

    def dhcp(self):
        name = [(12, self.name.encode())] if self.name else []
        address, options = self.dhcp_once(1, *name)
        check(options[53] == b"\2", f"no offer: {options}")
        again, options = self.dhcp_once(3, (50, inet(address)), (54, options[54]), *name)
        check(options[53] == b"\5" and again == address, f"{address} was offered, then {options}")
        self.address, self.options = address, options

    def send_ip(self, to, protocol, data, source=None):
        outside = inet(to)[:3] != inet(self.address)[:3]
        self.send(self.arp(GATEWAY if outside else to), 0x800, ipv4(protocol, source or self.address, to, data))

    def ask(self, name, kind=1, what="answer to DNS", seconds=SECONDS):
        """(result, [addresses])"""
        question = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + struct.pack("!BHH", 0, kind, 1)
        self.send_ip(RESOLVER, 17, udp(5353, 53, struct.pack("!HHHHHH", 99, 0x100, 1, 0, 0, 0) + question))
        message = self.receive(lambda f: f[42:] if f[23] == 17 and f[34:38] == struct.pack("!HH", 53, 5353) else None, what, seconds)
        if message is None:
            return None
        number, flags, _, answers = struct.unpack("!HHHH", message[:8])
        check(number == 99 and flags & 0x8000, "not the answer to the question")
        at = 12 + len(question)
        return flags & 15, [socket.inet_ntoa(message[at + 16 * i + 12:at + 16 * i + 16]) for i in range(answers)]

    def ping(self, to):
        data = struct.pack("!BBHHH", 8, 0, 0, 5, 6) + b"ping"
        self.send_ip(to, 1, data[:2] + struct.pack("!H", checksum(data)) + data[4:])

    def answer_ping(self):
        source, data = self.receive(lambda f: (f[26:30], f[34:]) if f[23:24] == b"\1" and f[34:35] == b"\x08" else None, "ping")
        self.send_ip(socket.inet_ntoa(source), 1, b"\0\0" + struct.pack("!H", checksum(b"\0\0\0\0" + data[4:])) + data[4:])

    def tcp(self, destination, flags, seq, ack, ports, data=b""):
        segment = struct.pack("!HHIIBBHHH", *ports, seq, ack, 0x50, flags, 65000, 0, 0) + data
        pseudo = inet(self.address) + inet(destination) + struct.pack("!HH", 6, len(segment))
        self.send_ip(destination, 6, segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:])

    def segment(self, what="TCP segment", seconds=SECONDS, match=lambda flags: True):
        """(source address, its port, our port, sequence, acknowledged, flags, data)"""
        def parse(f):
            if f[12:14] != b"\x08\x00" or f[23] != 6:
                return None
            source_port, port, seq, ack, offset, flags = struct.unpack("!HHIIBB", f[34:48])
            end = 14 + struct.unpack("!H", f[16:18])[0]
            return (socket.inet_ntoa(f[26:30]), source_port, port, seq, ack, flags, f[34 + (offset >> 4) * 4:end]) if match(flags) else None
        return self.receive(parse, what, seconds)

    def connects(self, to, port, seconds=SECONDS):
        """The flags of the answer to a SYN, or None."""
        self.tcp(to, 2, 1000, 0, (40000 + port % 1000, port))
        answer = self.segment(None, seconds)
        return answer and answer[5]

    def close(self):
        self.s.close()


def left(switch, name):
    """What the switch says about a guest that has left: frames from it, to it, refused, lost."""
    line = lambda: re.search(rf"guest {name} has left: (\d+) frames from it, (\d+) to it, (\d+) refused, (\d+) that", switch.said())
    wait_for(line, f"the end of {name}")
    return [int(n) for n in line().groups()]


def test_addresses_and_names():
    switch = Switch()
    check(stat.S_IMODE(os.stat(FOLDER).st_mode) == 0o700, "the folder is open to others")
    a, b = Guest(switch, "a"), Guest(switch, "B.example.org")
    check(a.address != b.address and a.address.startswith("10.0.2."), f"{a.address} and {b.address}")
    check(a.options[6] == inet(RESOLVER) and a.options[3] == inet(GATEWAY) and a.options[15] == b"inetboot", f"{a.options}")
    thread = threading.Thread(target=lambda: [b.receive(lambda f: f if f[12:14] == b"\x08\x06" and f[38:42] == inet(b.address) else None, "ARP"), b.answer_ping()])
    thread.start()
    a.ping(b.address)
    check(a.known[b.address] == b.mac, "another station answered")
    a.receive(lambda f: f if f[23:24] == b"\1" and f[34:35] == b"\0" and f[42:46] == b"ping" else None, "answer to the ping")
    thread.join()
    check(a.ask("b.inetboot") == (0, [b.address]) and b.ask("A.InetBoot") == (0, [a.address]), "names do not lead to addresses")
    check(a.ask("host.inetboot") == (0, [GATEWAY]), "the host has no name")
    check(a.ask("b.inetboot", kind=28) == (0, []), "IPv6: no empty answer")
    for name in "c.inetboot", "x.b.inetboot", "inetboot":
        check(a.ask(name) == (3, []), f"{name} is there")
    twin, host = Guest(switch, "a"), Guest(switch, "host")
    check(b.ask("a-2.inetboot") == (0, [twin.address]) and b.ask("a.inetboot") == (0, [a.address]), "a name was taken over")
    check(b.ask("host.inetboot") == (0, [GATEWAY]) and b.ask("host-2.inetboot") == (0, [host.address]), "the host's name was taken over")
    # What is another's is refused; what was its own it keeps.
    check(twin.dhcp_once(3, (50, inet(a.address)))[1][53] == b"\6", "an address was given twice")
    check(twin.dhcp_once(3, (50, inet(twin.address)))[1][53] == b"\5", "it does not keep its address")
    a.close()
    wait_for(lambda: b.ask("a.inetboot") == (3, []), "the end of the name")
    # Switched off and on, a guest has its address and name again, also without asking; but not what another got meanwhile.
    address = b.address
    b.close()
    left(switch, "b")
    b = Guest(switch)
    b.address = address
    b.arp(GATEWAY)
    check(twin.ask("b.inetboot") == (0, [address]), "its name is gone")
    second = Guest(switch)
    second.address = twin.address
    second.send(twin.mac, 0x806, struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + second.mac + inet(twin.address) + twin.mac + inet(twin.address))
    second.address = None
    second.dhcp()
    check(second.address != twin.address, "it took another's address over")
    switch.end()


def test_hostile():
    switch = Switch()
    a, b, bad = Guest(switch, "a"), Guest(switch, "b"), Guest(switch, "bad")
    bad.arp(GATEWAY)
    mine = struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + bad.mac
    a.claim6("fe80::a")
    a.claim6("fec0::a")
    a.barrier()
    refused = [
        lambda: bad.claim6("fe80::a"),                                          # "I am a"
        lambda: bad.claim6("fec0::a"),
        lambda: bad.claim6("fe80::2"),                                          # the gateway
        lambda: bad.claim6("fec0::3"),
        lambda: bad.claim6("fe80::a", source="fe80::b"),
        lambda: bad.claim6("fe80::a", source="::"),
        lambda: bad.claim6("fe80::b", source="fe80::a"),
        lambda: bad.claim6("fe80::b", source="fe80::a", kind=135),              # asks as a, who is then remembered as bad
        lambda: bad.claim6("fe80::b", station=a.mac),
        lambda: bad.send(a.mac, 0x86dd, ipv6(17, "fec0::a", "fe80::a", udp(1, 2, b"spoof"))),
        lambda: bad.send(a.mac, 0x86dd, ipv6(17, "fe80::b", "fe80::a", udp(547, 546, b"spoof"))),
        lambda: bad.send(ALL6, 0x86dd, ipv6(58, "fe80::b", "ff02::1", struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0))),
        lambda: bad.send(a.mac, 0x86dd, ipv6(58, "fe80::b", "fe80::a", b"\x89\0\0\0\0\0\0\0" + inet6("fec0::a") + inet6("fe80::b"))),
        lambda: bad.send(ALL, 0x88b5, b"spoof", mac=a.mac),                     # another guest's station
        lambda: bad.send(ALL, 0x88b5, b"spoof", mac=bytes.fromhex("52550a000202")),  # the gateway's
        lambda: bad.send(ALL, 0x88b5, b"spoof", mac=b"\xff" * 6),               # a group
        lambda: bad.send(ALL, 0x8100, b"\0\0\x88\xb5spoof"),                    # what a guest takes a tag off to see
        lambda: bad.send(ALL, 0x88b5, b"spoof", mac=bytes(6)),
        lambda: bad.send(a.mac, 0x806, mine + inet(b.address) + a.mac + inet(a.address)),  # "I am b", to a
        lambda: bad.send(a.mac, 0x806, mine + inet(GATEWAY) + a.mac + inet(a.address)),
        lambda: bad.send(a.mac, 0x800, ipv4(17, b.address, a.address, udp(1, 2, b"spoof"))),
        lambda: bad.send(a.mac, 0x800, ipv4(17, bad.address, a.address, udp(67, 68, b"spoof"))),  # a server of addresses
        lambda: bad.send(ALL, 0x88b5, b"o" * 1505),
        lambda: bad.send(ALL, 0x88b5, b"o" * 60000),
        lambda: bad.s.send(b"short"),
    ]
    for send in refused:
        send()
    bad.barrier()
    bad.send(ALL, 0x88b5, b"last")
    frame = a.receive(lambda f: f if f[6:12] == bad.mac and f[12:14] != b"\x08\x06" or b"spoof" in f or b"ooo" in f else None, "the last frame")
    check(frame[14:] == b"last", f"a refused frame came through: {frame[:40]}")
    # More stations than a port may have: those that have a place go on, and so does everybody else.
    for i in range(20000):
        bad.send(ALL, 0x88b5, b"flood", mac=struct.pack("!HI", 0x0600, i))
    bad.barrier()
    check(a.ask("b.inetboot") == (0, [b.address]), "the flood did harm")
    bad.close()
    counts = left(switch, "bad")
    check(counts[2] == len(refused) + 20000 - 7, f"refused: {counts}")
    # Packets that are cut off everywhere, and bytes at random.
    rest = Guest(switch, "rest")
    question = ipv4(17, rest.address, RESOLVER, udp(1, 53, struct.pack("!HHHHHH", 9, 0, 1, 0, 0, 0) + b"\x01a\x08inetboot\0\0\1\0\1"))
    for packet in question, ipv4(17, "0.0.0.0", "255.255.255.255", udp(68, 67, b"\1\1\6\0" + b"\0" * 232 + bytes.fromhex("63825363350101370fffff"))):
        for length in range(len(packet)):
            rest.send(bytes.fromhex("52550a000203"), 0x800, packet[:length])
            changed = bytearray(packet)
            changed[length] ^= 0xff
            rest.send(bytes.fromhex("52550a000203"), 0x800, bytes(changed))
    rest.barrier()
    check(a.ask("b.inetboot") == (0, [b.address]), "the switch does not answer any more")
    switch.end()


def test_stuck():
    switch = Switch()
    a, b, stuck = Guest(switch, "a"), Guest(switch, "b"), Guest(switch, "stuck")
    until = time.monotonic() + SECONDS
    sent = 0
    for i in range(5000):  # all get each of them; one does not read
        a.send(ALL, 0x88b5, struct.pack("!I", i) + b"x" * 1400)
        got = b.receive(lambda f: f[14:18] if f[12:14] == b"\x88\xb5" else None, "broadcast")
        check(got == struct.pack("!I", i), "a guest that reads lost a frame")
    check(time.monotonic() < until, "a stuck guest slowed the others down")
    stuck.close()
    counts = left(switch, "stuck")
    check(counts[3] > 1000, f"lost: {counts}")
    check(left_none(switch, b), "the guest that reads lost frames")
    switch.end()


def test_greedy():
    """One that asks for all addresses and names, and floods, while others join and ask."""
    switch = Switch()
    a, b, greedy = Guest(switch, "a"), Guest(switch, "b"), Guest(switch, "greedy")
    for n in range(15, 232):
        wanted = f"10.0.2.{n}"
        address, options = greedy.dhcp_once(3, (50, inet(wanted)), (12, b"greedy-%d" % n), asker=struct.pack("!HI", 0x0600, n))
        check(options[53] == (b"\5" if wanted == greedy.address else b"\6"), f"it got {wanted}, too: {options}")
        address, _ = greedy.dhcp_once(1, (12, b"greedy-%d" % n), asker=struct.pack("!HI", 0x0600, n))
        check(address == greedy.address, f"it got {address}, too")
    check(a.ask("greedy-20.inetboot") == (3, []), "it has many names")
    # Neighbours: as many addresses as a port may have. Others have theirs.
    for n in range(1000):
        greedy.claim6(f"fe80::1:{n:x}")
    greedy.barrier()
    a.claim6("fe80::1:3e0")
    frame = b.receive(lambda f: f if f[12:14] == b"\x86\xdd" and f[6:12] == a.mac else None, "an address that was only claimed in a flood")
    check(frame[62:78] == inet6("fe80::1:3e0"), f"another frame: {frame}")
    # Who wants to know whether an address is free gets his question to its owner.
    b.claim6("fe80::1:3e0", source="::", kind=135)
    a.receive(lambda f: f if f[54:55] == b"\x87" and f[6:12] == b.mac and f[62:78] == inet6("fe80::1:3e0") else None, "question for an address")
    end = threading.Event()
    # At the gateway, and at one who does not read.
    frames = [to + greedy.mac + kind + b"f" * 1400 for to in (a.arp(GATEWAY), b.mac) for kind in (b"\x88\xb5", b"\x08\0", b"\x86\xdd")]

    def flood():
        while not end.is_set():
            for frame in frames:
                greedy.s.send(frame)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(100):
            check(a.ask("b.inetboot") == (0, [b.address]), "the flood did harm")
        fresh = [Guest(switch, "fresh") for _ in range(20)]
        check(len({g.address for g in fresh} | {greedy.address}) == 21, "an address was given twice")
    finally:
        end.set()
        thread.join()
    switch.end()


def left_none(switch, guest):
    guest.close()
    return left(switch, guest.name)[3] == 0


def hand_over(switch, name, fd):
    """As machine/bridge.c: the connection over which the guest's went."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(SECONDS)
    s.connect(switch.path)
    socket.send_fds(s, [name + b"\0"], [fd])
    at_end.append(s.close)
    return s


def connected(holder):
    try:
        return holder.recv(1) != b""
    except ConnectionResetError:  # with something that was not read
        return False


def test_handed_over():
    """A guest whose connection somebody holds for it lives through the switch's end."""
    switch = Switch()
    guest = Guest(switch, "first")
    guest.close()
    guest.s, held = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    guest.s.settimeout(SECONDS)
    holder = hand_over(switch, b"held", held.fileno())
    guest.name, guest.known = "held", {}
    guest.dhcp()
    switch.process.kill()
    check(not connected(holder), "the holder does not see the switch's end")
    switch.process.wait()
    guest.s.send(b"x" * 60)  # nobody hears that, and it does no harm
    switch = Switch()
    holder = hand_over(switch, b"held", held.fileno())
    other = Guest(switch, "other")
    guest.barrier()
    check(other.ask("held.inetboot") == (0, [guest.address]), "the new switch does not know the guest")
    # What is no wire is not taken for one; a second one is not taken.
    for fd in os.open("/dev/zero", os.O_RDONLY), socket.socketpair()[0].detach(), os.pipe()[0]:
        hand_over(switch, b"no", fd)
    hand_over(switch, b"n" * 3000, held.fileno())
    for _ in range(3):
        socket.send_fds(holder, [b"more\0"], [held.fileno()])
    check(other.ask("held.inetboot") == (0, [guest.address]) and other.ask("no.inetboot") == (3, []), "the switch takes what it should not")
    guest.s.shutdown(socket.SHUT_RDWR)
    left(switch, "held")
    check(not connected(holder), "the holder does not hear of the guest's end")
    switch.end()


def test_room():
    switch = Switch()
    guests = [Guest(switch) for _ in range(64)]
    for g in guests:
        g.name = ""
        g.dhcp()
    check(len({g.address for g in guests}) == 64, "an address was given twice")
    more = Guest(switch)
    check(more.s.recv(100) == b"", "one more than there is room for was not sent away")
    guests[3].close()
    left(switch, "without a name")
    Guest(switch, "again")
    switch.end()


def accepts(server):
    server.settimeout(SECONDS)
    server.accept()[0].close()


def test_ways():
    forward = free_port()
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    web = free_port()
    for network, options in ("open", []), ("closed", ["--isolated"]):
        switch = Switch("--forward", f"tcp:127.0.0.1:{web}=web:80", *options, network=network)
        g = Guest(switch, "web")
        check(g.address == "10.0.2.200", f"it did not get the address that was kept for it: {g.address}")
        if options:
            check(3 not in g.options, "an isolated guest was told a way out")
            check(g.connects(GATEWAY, port, seconds=2) in (None, 0x14), "an isolated guest reached this host")
            server.settimeout(0.2)
            try:
                server.accept()
                fail("an isolated guest reached a server on this host")
            except TimeoutError:
                pass
            check(g.ask("example.org") == (5, []), "an isolated guest's question was not refused")
        else:
            check(g.connects(GATEWAY, port) == 0x12, "the host's loopback is not at the gateway's address")
            accepts(server)
        check(g.ask("web.inetboot") == (0, [g.address]), "no names")
        # In: a connection to the host's port comes to the guest.
        client = socket.create_connection(("127.0.0.1", web), timeout=SECONDS)
        source, source_port, own, seq, _, flags, _ = g.segment("SYN", match=lambda flags: flags == 2)
        check(own == 80, f"port {own}")
        g.tcp(source, 0x12, 500, seq + 1, (80, source_port))
        client.sendall(b"hello")
        data = g.receive(lambda f: True if f[12:14] == b"\x08\x00" and f[23] == 6 and b"hello" in f[54:] else None, "what the client sent")
        g.tcp(source, 0x18, 501, seq + 6, (80, source_port), b"answer")
        check(client.recv(100) == b"answer", "the guest's answer did not come")
        client.close()
        switch.end()
    taken = socket.create_server(("127.0.0.1", 0))
    said = run("switch", "--network", "taken", "--forward", f"tcp:127.0.0.1:{taken.getsockname()[1]}=web:80", status=1)
    check("Address already in use" in said and str(taken.getsockname()[1]) in said, f"not said what is wrong: {said}")
    for wrong in "tcp:127.0.0.1:80", "tcp:nowhere:80=web:80", "sctp:127.0.0.1:80=web:80", "tcp:127.0.0.1:0=web:80", "tcp:127.0.0.1:80=we_b:80", "=", "":
        run("switch", "--forward", wrong, status=2)
    run("switch", "--network", "../x", status=2)
    taken.close()
    server.close()


def test_ends():
    switch = Switch()
    p = subprocess.run([INETBOOT, "switch", "--network", "test"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    check(p.returncode == 1 and b"runs already" in p.stdout, f"a second one: {p.stdout}")
    guest = Guest(switch, "a")
    status = dict(line.split(":\t") for line in content(f"/proc/{switch.process.pid}/status").decode().splitlines() if ":\t" in line)
    check(status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0, f"it kept rights: {status}")
    check(status["Seccomp"] == "2", "no filter of system calls")
    switch.process.kill()
    check(guest.s.recv(100) == b"", "the guest does not see the end")
    switch.process.wait()
    again = Switch()  # what the killed one left does not matter
    Guest(again, "a")
    again.end()
    # On demand, in the background: it listens when the command returns, and ends after its last guest.
    p = subprocess.run([INETBOOT, "switch", "--network", "demand", "--on-demand", "--detach"], stdout=subprocess.PIPE, timeout=SECONDS)
    check(p.returncode == 0, "it did not start")
    again.path = p.stdout.decode().strip()
    guests = [Guest(again, "a"), Guest(again, "b")]
    guests[0].close()
    wait_for(lambda: guests[1].ask("a.inetboot") == (3, []), "the first one's end")
    guests[1].close()
    wait_for(lambda: not listens("demand"), "the switch's end")


def listens(network):
    with open(f"{FOLDER}/network-{network}/lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True


for test in test_addresses_and_names, test_hostile, test_greedy, test_stuck, test_handed_over, test_room, test_ways, test_ends:
    started = time.monotonic()
    test()
    print(f"{test.__name__}: {time.monotonic() - started:.1f} s", flush=True)
done()
