"""Desktops, as an ordinary user: three of one store at once, in windows of Xephyr and of Xnest, are painted, have addresses of their own, and reach each
other by name and a server of the host; one more is seen in a browser. A closed window shuts its guest down, a guest that ends closes its window. Nobody gets to a
display without its cookie, password or token; images without X say so. Screenshots are left in the build's folder `screenshots`."""
import base64, socket
from bootlib import *

SHOTS = os.path.join(os.path.dirname(os.path.dirname(INETBOOT)), "screenshots")
setup()
for program in "Xvfb", "Xephyr", "Xnest", "Xvnc", "websockify", "xdotool", "import", "identify", "xwd":
    if not shutil.which(program):
        skip(f"{program} is not installed (tools/install-deps test)")
own_runtime()
os.makedirs(SHOTS, exist_ok=True)
publish(image("desktop-ext4"), "desktop")
publish(image("systemd-ext4"), "debian")
links = serve()
port = int(re.search(r":(\d+)/", links["desktop"])[1])


def start_screen():
    """The host's X server."""
    r, w = os.pipe()
    p = subprocess.Popen(["Xvfb", "-displayfd", str(w), "-screen", "0", "1600x1200x24", "-noreset", "-nolisten", "tcp"], pass_fds=[w], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    started.append(p)
    at_end.append(lambda: (p.terminate(), p.wait()))
    os.close(w)
    check(select.select([r], [], [], 60)[0], "Xvfb does not start")
    return ":" + os.read(r, 16).decode().strip()


def output(*args):
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT)
    return p.stdout.decode() if p.returncode == 0 else ""


def window(name):
    ids = output("xdotool", "search", "--onlyvisible", "--name", f"^{name}$").split()
    return ids[0] if ids else None


def colours(picture):
    return int(output("identify", "-format", "%k", picture) or 0)


def spread():
    """Side by side: what lies below another window cannot be seen."""
    for name, place in ("a", (0, 0)), ("b", (700, 0)), ("c", (0, 600)):
        at = window(name)
        if at:
            output("xdotool", "windowmove", at, *map(str, place))


def painted(name):
    """Steel blue behind, and a terminal with its title on it."""
    at = window(name)
    picture = f"{SHOTS}/{name}.png"
    if not at:
        return False
    output("import", "-window", at, picture)
    return colours(picture) >= 3


def start(name, *args):
    return Machine(links["desktop"], "--name", name, "--writes", "none", "--memory", "256M", "--network", "desk", "--size", "640x480", *args)


os.environ.pop("DISPLAY", None)
m = Machine(links["desktop"], "--gui")
m.end(status=1)
check("--vnc" in m.text, f"not said what to do without a display: {m.text}")
os.environ["DISPLAY"] = start_screen()
for wrong in (["--display", "x"], ["--size", "0x0"], ["--size", "99999x1"], ["--vnc", "somewhere"], ["--web", "1.2.3:80"]):
    p = as_user(INETBOOT, "boot", *wrong, links["debian"])
    check(p.returncode == 2, f"{wrong} is accepted: {p.stdout}")
m = Machine(links["debian"], "--gui")
m.end(status=1)
check("no X session in this image: install" in m.text, f"not said what is missing: {m.text[-1000:]}")

before = display_sockets()
a, b, c = start("a", "--gui", "--display", "xephyr"), start("b", "--display", "xnest"), start("c", "--gui")
machines = {"a": a, "b": b, "c": c}
for m in machines.values():
    m.login()
for name, m in machines.items():
    end = time.monotonic() + LIMIT
    while spread() or not painted(name):
        check(time.monotonic() < end, f"{name} is not painted: {m.text[-2000:]}")
        for other in machines.values():
            other.pump(0.2)

# Each has an address of its own, the host's server, and the others.
addresses = set()
for name, m in machines.items():
    addresses.add(re.search(r"10\.0\.2\.\d+", m.command("getent hosts %s.inetboot" % name))[0])
    out = m.command(f"exec 3<>/dev/tcp/host.inetboot/{port} && printf 'GET /desktop/manifest HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3; exec 3>&-")
    check("200" in out, f"{name} does not reach the host's server: {out}")
check(len(addresses) == 3, f"not three addresses: {addresses}")
out = b.command("ping -c 2 a.inetboot")
check(" 0% packet loss" in out, f"b does not reach a: {out}")
a.command("""perl -MIO::Socket -e '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1); while ($c = $s->accept) { <$c>; print $c "HTTP/1.0 200 OK\\r\\n\\r\\nI am a\\n"; close $c }' >/dev/null 2>&1 & true""")
out = c.command("for i in 1 2 3 4 5 6 7 8 9; do exec 3<>/dev/tcp/a.inetboot/80 && break; sleep 1; done; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3; exec 3>&-")
check("I am a" in out, f"c gets no page of a: {out}")

# The display is the guest's alone.
for number in display_sockets() - before:
    p = as_user("env", "XAUTHORITY=/dev/null", "xwd", "-silent", "-root", "-display", ":" + number[1:])
    check(p.returncode != 0, f"the display :{number[1:]} is open to all")
commands = [open(f"/proc/{p}/cmdline", "rb").read() for p in user_processes()]
check(not [x for x in commands if b"-listen\0tcp" in x], "a display listens on TCP")

# The ends: a window is closed (a window manager ends its client), a guest ends, a window's program is killed.
output("xdotool", "windowkill", window("a"))
a.end()
b.poweroff()
for p in user_processes():
    if open(f"/proc/{p}/comm").read().strip() == "Xephyr":
        os.kill(p, signal.SIGKILL)
c.end()
wait_for(lambda: not window("a") and not window("b") and not window("c"), "the windows to go")
wait_for(lambda: display_sockets() == before, "the displays' sockets to go")
wait_for(lambda: not user_processes(), "all processes to go")


def rfb(at):
    """What a VNC server says first, and which ways to log in it offers."""
    s = socket.create_connection(at, timeout=60)
    hello = s.recv(12)
    s.send(b"RFB 003.008\n")
    kinds = s.recv(1)
    kinds = s.recv(kinds[0])
    s.close()
    return hello, kinds


at = ("127.0.0.1", free_port())
d = start("d", "--vnc", str(at[1]))
d.expect(r"password \S{8}\r?\n")
hello, kinds = rfb(at)
check(hello.startswith(b"RFB") and kinds == b"\2", f"not the password alone: {hello} {kinds}")
d.expect("starting /sbin/init")
d.p.send_signal(signal.SIGKILL)
wait_for(lambda: not user_processes(), "all processes of a killed machine to go")
wait_for(lambda: display_sockets() == before, "its display's socket to go")


def websocket(token):
    """The first bytes behind the handshake."""
    s = socket.create_connection(at, timeout=60)
    s.send((f"GET /websockify?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}\r\n\r\n").encode())
    text = b""
    while b"RFB" not in text:
        try:
            piece = s.recv(4096)
        except ConnectionError:
            break
        if not piece:
            break
        text += piece
    s.close()
    return text


at = ("127.0.0.1", free_port())
e = start("e", "--web", str(at[1]))
url = e.expect(r"http://127\.0\.0\.1:\d+/vnc\.html\S*token%3D([0-9a-f]{32})")
check(b"RFB" in websocket(url[1]), "the token is refused")
check(b"RFB" not in websocket("0" * 32) and b"RFB" not in websocket(""), "another token is as good")
commands = b"".join(open(f"/proc/{p}/cmdline", "rb").read() for p in user_processes())
check(url[1].encode() not in commands, "all who look at the processes see the token")
e.login()
if shutil.which("chromium"):
    # Steel blue, the guest's background, is in the middle of the picture's lower part: there when the browser has connected and the session has painted.
    end = time.monotonic() + LIMIT
    picture = f"{SHOTS}/browser.png"
    pixel = ""
    while not pixel.upper().startswith("4682B4"):
        check(time.monotonic() < end, f"the browser does not show the guest's background: {picture}, {pixel}")
        output("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={DIR}/chromium", "--window-size=900,700", "--timeout=8000",
               f"--screenshot={picture}", url[0])
        pixel = output("convert", picture, "-crop", "1x1+450+600", "-format", "%[hex:p{0,0}]", "info:")
        e.pump(0.1)
    check(colours(picture) >= 50, f"nothing but the background: {picture}")
else:
    print("not seen in a browser: chromium is not installed")
e.poweroff()
wait_for(lambda: not user_processes(), "all processes to go")
done()
