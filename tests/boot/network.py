"""Two guests on a network that begins with the first and ends with the last: they reach each other by name and a web server of the host; a guest
of another network does not reach them, and one without a network has none."""
from bootlib import *

setup()
own_runtime()
publish(image("systemd-ext4"), "debian")
link = serve()["debian"]
port = re.search(r":(\d+)/", link)[1]

a = Machine(link, "--network", "test")
b = Machine(link, "--network", "test", "--name", "second")
for m in a, b:
    m.expect(r"inetboot: network: 10\.0\.2\.\d+")
for m in a, b:
    m.login()
out = a.command("getent hosts second.inetboot; cat /etc/resolv.conf; ip address show vec0 2>/dev/null || cat /proc/net/fib_trie")
check(re.search(r"10\.0\.2\.\d+ +second\.inetboot", out), f"the other guest's name is not known: {out}")
# Bash speaks TCP by itself: the image has few programs.
out = a.command(f"exec 3<>/dev/tcp/host.inetboot/{port} && printf 'GET /debian/manifest HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3; exec 3>&-")
check("200" in out, f"no answer from the host's web server: {out}")
out = b.command("ping -c 2 debian.inetboot || perl -MIO::Socket -e 'my $s = IO::Socket::INET->new(PeerAddr => \"debian.inetboot\", PeerPort => 9); print $!'")
check(" 0% packet loss" in out or "refused" in out, f"the guests do not reach each other: {out}")

# Switched off and on, the network is there again.
b.command("ip link set vec0 down; ip link set vec0 up; ip route add default via 10.0.2.2")
out = b.command("getent hosts host.inetboot")
check("10.0.2.2" in out, f"switched off and on, the guest has no network: {out}")

switches = [p for p in user_processes() if b"switch" in open(f"/proc/{p}/cmdline", "rb").read().split(b"\0")]
check(len(switches) == 1, f"not one switch runs: {switches}")

# A switch that is killed is replaced by whoever joins next; guests that switch off and on are on the new one.
os.kill(int(switches[0]), signal.SIGKILL)
for m in a, b:
    m.command("timeout 3 getent hosts host.inetboot; true")
p = as_user(INETBOOT, "join", "--network", "test", "true")
check(p.returncode == 0, f"nobody can join any more: {p.stdout}")
address = re.search(r"inetboot: network: (10\.0\.2\.\d+)", b.text)[1]
# They send meanwhile, and are there by themselves.
out = a.command("for i in $(seq 60); do getent hosts second.inetboot && break; sleep 1; done")
check(address in out, f"after the switch another one is no network: {out}")
for m in a, b:
    m.command("ip link set vec0 down; ip link set vec0 up")
out = a.command(f"ping -c 2 {address} || perl -MIO::Socket -e 'my $s = IO::Socket::INET->new(PeerAddr => \"{address}\", PeerPort => 9); print $!'")
check(" 0% packet loss" in out or "refused" in out, f"the guests did not find the new switch: {out}")
c = Machine(link, "--network", "other")
c.login()
check("10.0.2" not in c.command("getent hosts second.inetboot"), "networks are not apart")
d = Machine(link, "--network", "none")
d.login()
check("vec0" not in d.command("cat /proc/net/dev"), "there is a network")
for m in a, b, c, d:
    m.poweroff()
wait_for(lambda: not user_processes(), "the switches' end")
done()
