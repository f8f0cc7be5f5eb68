"""kill -9 of the process that serves a guest's disk, a hundred times, from the kernel's first lines on, through the login, and on while the
guest reads all files below /usr: it boots, reads the right bytes, sees no I/O error, and shuts down in order. Each process is given the time
to open the image and to answer reads: to be killed before that is what the test of mounts does (functional/mount-worker.py). Nothing is
cached, so that each has to fetch what is read."""
from bootlib import *

KILLS = 100
SERVED = 128 << 10  # bytes of answers, more than it says of itself

setup()
if os.geteuid():
    skip("how much a process has written can only be seen by root")
publish(image("systemd-ext4"), "debian")
said = open("said", "w+")
m = Machine(serve()["debian"], "--no-cache", stderr=said)
HASH = "find /usr -xdev -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"


def served(worker):
    """Has it answered reads? None: it is gone."""
    try:
        with open(f"/proc/{worker}/io") as f:
            return int(re.search(r"(?m)^wchar: (\d+)", f.read())[1]) >= SERVED
    except (OSError, TypeError):
        return None


killed = []


def kill():
    """Where there is a worker that has done something."""
    worker = feed()[1]
    if len(killed) < KILLS and worker and worker not in killed and served(worker):
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)


def expect(pattern, limit=1200):
    """As the machine does it, killing meanwhile."""
    end = time.monotonic() + limit
    while not re.compile(pattern).search(m.text, m.seen):
        check(time.monotonic() < end, f"no {pattern!r} within {limit} s, {len(killed)} kills:\n{m.text[-3000:]}")
        kill()
        m.pump(0.02)
    return m.expect(pattern)


m.expect("Linux version")
expect("login: ")
at_login = len(killed)
check(at_login, "the boot was over before anything could be killed")
m.type("root\n")
expect("# ")
m.type(f"echo begin-$((40+2)); {HASH}; echo end-$((40+2))\n")
while_killed = expect(r"(?s)begin-42\r?\n(.*?)end-42\r?\n")[1]
check(len(killed) == KILLS, f"all is read, after {len(killed)} kills only")
m.expect("# ")
text = m.command("dmesg | grep -iE 'i/o error|ubd.*(fail|error)|ext4.*error|blk_update'; echo 3 >/proc/sys/vm/drop_caches")
check(not text.strip(), f"the guest's kernel saw errors: {text}")
now = m.command(HASH)
check(now == while_killed and re.match("[0-9a-f]{64} ", now), f"while it was killed other bytes were read: {while_killed!r}, now {now!r}")
report = m.poweroff()
worker = report["disk"]["worker"]
check(report["end"] == "clean" and report["login_ms"], f"{report}")
said.seek(0)
check(said.read().count("killed by signal 9") == KILLS, "not one line for each kill")
check(worker["started"] == KILLS + 1, f"{KILLS} were killed, and {worker} is what the status knows")
print(f"{at_login} kills before the login, {KILLS} in all; login after {report['login_ms'] / 1000:.1f} s")
done()
