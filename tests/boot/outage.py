"""The cable is pulled for a minute while a machine boots: it waits, says so, and goes on to the login and to its end when the cable is back.
The machine and its disk are in a network namespace, the server is in another one (network/netlib.py)."""
from insidelib import *

OUTAGE = 60  # seconds: longer than a silent server is waited for, and than it is left alone after that
setup()
publish(image("systemd-ext4"), "debian")
netlib.cable()
server = netlib.FarServer(f"{DIR}/store")
link = f"{server.url}/debian#{open('key.pub').read().split()[-1]}"

m = Machine(link, "--no-cache")
m.expect("inetboot: starting ")
netlib.far.ip("link", "set", "far", "down")
start = time.monotonic()
m.expect(f"{re.escape(netlib.SERVER)}.*waiting for it to return")
while time.monotonic() < start + OUTAGE:
    m.pump(1)
check("login: " not in m.text, "the boot needed nothing from the network any more")
netlib.far.ip("link", "set", "far", "up")
back = time.monotonic()
m.expect("login: ")
login = time.monotonic() - back
m.type("root\n")
m.expect("# ")
text = m.command("dmesg | grep -iE 'i/o error|ubd.*(fail|error)|ext4.*error|blk_update'; cat /usr/bin/* | wc -c")
check(re.fullmatch(r"\d+\s*", text), f"errors after the outage: {text}")
check(len(re.findall("waiting for it to return", m.text)) == 1 and "answers again" in m.text, f"not one line for each: {m.text[-3000:]}")
report = m.poweroff()
check(report["end"] == "clean" and report["login_ms"] > OUTAGE * 1000, f"{report}")
print(f"login {login:.1f} s after the cable was back")
done()
