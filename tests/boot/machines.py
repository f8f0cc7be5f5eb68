"""Machines with names, as an ordinary user: started in the background, visited, stopped, started again without their link; what they write is kept,
and freed space given back; those of one version share its disk; they stay on their version of the image until they are moved; those that run are not started twice, nor removed."""
from bootlib import *

setup()
own_runtime()
path = image("systemd-ext4")
publish(path, "debian")
link = serve()["debian"]


def inetboot(*args, status=0):
    p = as_user(INETBOOT, *args)
    text = p.stdout.decode()
    check(p.returncode == status, f"status {p.returncode} instead of {status}: {args}: {text}")
    return text


def start(name, *args):
    kernel = built_kernel()
    return inetboot("boot", "--name", name, "--detach", *(["--kernel", kernel] if kernel else []), *args)


def machine(name):
    return {m["name"]: m for m in json.loads(inetboot("ps", "--json"))}.get(name)


class Visit(Machine):
    """At the console of a machine that runs."""

    def __init__(self, name):
        args = as_user_args(INETBOOT, "console", name)
        self.p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(self.p)
        Console.__init__(self, args, self.p.stdout.fileno(), LIMIT)

    def leave(self):
        self.p.terminate()
        self.p.wait(timeout=30)


inetboot("boot", "--name", "alice", status=1)
check(machine("alice") is None, "a machine that never started is there")
inetboot("boot", "--name", "alice", link + "x", status=1)
for wrong in (["--name", "Alice", link], ["--writes", "files", link], ["--name", "a", "--writes", "all", link], ["--name", "a", "--overlay", "x", link]):
    inetboot("boot", *wrong, status=2)

text = start("alice", link, "--network", "test", "--memory", "256M")
pid = int(text.split()[0])
check(machine("alice")["pid"] == pid, f"another process: {machine('alice')}, {text}")
check("runs" in inetboot("boot", "--name", "alice", status=1), "started twice")
check("runs" in inetboot("rm", "--yes", "alice", status=1), "a machine that runs is removed")
v = Visit("alice")
v.login()
mac = v.command("cat /sys/class/net/vec0/address")
check("MemTotal" in v.command("grep MemTotal: /proc/meminfo"), "no shell")
v.command("echo kept > /root/file; mkdir /etc/mine; sync")
before = machine("alice")["bytes"]
v.command("dd if=/dev/urandom of=/root/big bs=1M count=20 2>/dev/null; sync")
with_big = machine("alice")["bytes"]
check(with_big > before + 19e6, f"20 MB are not in the file: {before}, {with_big}")
v.command("rm /root/big; sync")
wait_for(lambda: machine("alice")["bytes"] < before + 5e6, "freed space to be given back")

# The newcomer has the console; who leaves, leaves the machine as it is.
w = Visit("alice")
w.expect("# ")
v.p.wait(timeout=30)
w.command("true")
w.leave()
inetboot("stop", "alice")
check(machine("alice")["pid"] == 0, "it runs")
check("does not run" in inetboot("stop", "alice", status=1), "stopped twice")
check("does not run" in inetboot("console", "alice", status=1), "a console of a machine that does not run")
check(not os.path.exists(f"{USER}/.local/state/inetboot/machines/alice/control"), "its socket is left")
wait_for(lambda: not user_processes(), "the end of its processes")

# A new version: those that are there stay on theirs. Written to the raw image by its file system's own tool.
subprocess.run(["cp", "--sparse=always", path, "other"], check=True)
os.chmod("other", 0o644)
with open("news", "w") as f:
    f.write("second\n")
subprocess.run(["/sbin/debugfs", "-w", "-R", "write news /etc/news", "other"], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
publish("other", "debian")
start("alice", link)
start("bob", link, "--writes", "blocks", "--network", "test")
a, b = Visit("alice"), Visit("bob")
for m in a, b:
    m.login()
check(a.command("cat /sys/class/net/vec0/address") == mac, "another address than before: it is not of the same network, or not the same machine")
check("kept" in a.command("cat /root/file") and "No such" in a.command("cat /etc/news"), "not what it wrote, or not its version")
check("second" in b.command("cat /etc/news"), "a new machine is not on the newest version")
check("10.0.2" in b.command("getent hosts alice.inetboot"), "not found by its name")
b.command("echo blocks > /root/file; sync")
inetboot("kill", "bob")
inetboot("stop", "alice")

check("version 2" in inetboot("rebase", "alice"), "not moved")
check("commit" in inetboot("rebase", "bob", "--to", "1", status=1), "blocks were moved")
check("rebase" in inetboot("boot", "--name", "bob", link.replace("debian#", "debian@1#"), status=1), "started with another version")
check("choose another" in inetboot("boot", "--name", "bob", f"{DIR}/other", status=1), "started with another image")
start("alice")
start("bob")
a, b = Visit("alice"), Visit("bob")
for m in a, b:
    m.login()
check("kept" in a.command("cat /root/file") and "second" in a.command("cat /etc/news"), "moved, it has not both")
check("blocks" in b.command("cat /root/file"), "what was written is gone after a kill")

# Both read the same file. When nobody shows it any more they end, and start again as they were.
supervisor, worker = feed()
for pid in supervisor, worker:
    os.kill(pid, signal.SIGKILL)
wait_for(lambda: not machine("alice")["pid"] and not machine("bob")["pid"], "the end of both machines without their disk")
start("alice")
a = Visit("alice")
a.login()
check("kept" in a.command("cat /root/file"), "what was written is gone")
inetboot("kill", "alice")
p = subprocess.run([INETBOOT, "commit", "bob", "store", "--key", "key"], env=dict(os.environ, XDG_STATE_HOME=f"{USER}/.local/state"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
check(p.returncode == 0 and b"debian version 3, made from version 2" in p.stdout, f"not published by its name: {p.stdout}")
p = subprocess.run([INETBOOT, "commit", "alice", "store", "--key", "key"], env=dict(os.environ, XDG_STATE_HOME=f"{USER}/.local/state"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
check(p.returncode == 1 and b"--writes blocks" in p.stdout, f"files are published: {p.stdout}")
check("--yes" in inetboot("rm", "bob", status=1), "removed without a question")
inetboot("rm", "--yes", "alice", "bob")
check(json.loads(inetboot("ps", "--json")) == [], "something is left")
wait_for(lambda: not user_processes(), "the end of all processes")
check(not [n for n in os.listdir(f"{USER}/run/inetboot") if n.startswith("disk-")], "the disk left files")
done()
