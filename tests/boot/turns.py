"""kill -9 of every process of a desktop machine, in turn: the machine goes on or ends at once, nothing of it is left behind, and its next start finds what it
had written to its disk. A machine with a screen in a browser has all kinds of processes that there are."""
from bootlib import *

setup()
for program in "Xvnc", "websockify":
    if not shutil.which(program):
        skip(f"{program} is not installed (tools/install-deps test)")
own_runtime()
publish(image("desktop-ext4"), "desktop")
link = serve()["desktop"]
before = display_sockets()
# What a machine cannot go on without, and what it says then. A closed screen is a shutdown in order.
ENDS = {"inetboot": (-9, ""), "inetboot-disk": (5, "its disk ended"), "inetboot-disk 1": (5, "its disk ended"), "inetboot-bridge": (5, "its network ended"), "inetboot-screen": (5, "way to its screen ended"),
        "inetboot-guest": (5, "status 137"), "linux": (5, "status 137"), "Xvnc": (0, "screen was closed"), "websockify": (0, "screen was closed")}
GOES_ON = {"inetboot-disk 2", "inetboot-filler"}


def name_and_parent(pid):
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return "" if status["State"].startswith("Z") else status["Name"], int(status["PPid"])


def role(pid):
    """What a process is: its name, and a number where it descends from others of that name. None where it has ended, and for the network's switch, which is not
    the machine's."""
    try:
        name, parent = name_and_parent(pid)
        same = 0
        while parent > 1:
            other, parent = name_and_parent(parent)
            same += other == name
    except (OSError, KeyError):
        return None
    return None if name in ("", "inetboot-switch") else name + (f" {same}" if same else "")


def processes():
    return {pid: r for pid in user_processes() if (r := role(pid))}


def nothing_left():
    wait_for(lambda: not processes(), "the end of all processes of the machine")
    check(display_sockets() <= before, f"a display's socket is left: {display_sockets() - before}")
    with open("/proc/mounts") as f:
        left = [line for line in f if USER in line]
    check(not left, f"mounts are left: {left}")
    p = as_user(INETBOOT, "console", "turns")  # boot itself, killed, leaves its socket there, in the machine's own folder: nobody is behind it
    check(p.returncode == 1 and b"does not run" in p.stdout, f"somebody has the machine's console: {p.stdout}")


def start():
    m = Machine(link, "--name", "turns", "--writes", "blocks", "--web", str(free_port()), "--network", "turns", "--memory", "256M")
    m.login()
    wait_for(lambda: set(ENDS) <= set(processes().values()), f"all of its processes: {processes()}")
    return m


turns, killed, m = 0, set(), None
while True:
    if not m:
        m = start()
        marks = m.command("cat /root/marks 2>/dev/null; dmesg | grep -iE 'ext4.*error|i/o error'")
        check(marks.split() == [str(n) for n in range(turns)], f"not what it wrote before each kill: {marks!r}")
    todo = [pid for pid, r in processes().items() if r not in killed]
    if not todo:
        break
    m.command(f"echo {turns} >>/root/marks; sync")
    turns += 1
    pid, what = todo[0], role(todo[0])
    if not what:
        continue
    killed.add(what)
    check(what in ENDS or what in GOES_ON, f"a process that this test does not know: {what}")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") or role(pid) is None, f"the end of {what}")
    if what in GOES_ON:
        out = m.command("ping -c 1 -W 30 10.0.2.2")
        check(" 0% packet loss" in out, f"{what} was killed, and the machine has no network: {out}")
    else:
        m.end(status=ENDS[what][0])
        check(ENDS[what][1] in m.text, f"{what} was killed, and that is not said: {m.text[-1000:]}")
        nothing_left()
        m = None
m.poweroff()
nothing_left()
check(killed >= set(ENDS) | GOES_ON, f"not all were killed: {killed}")
print(f"{turns} kinds of processes were killed")
done()
