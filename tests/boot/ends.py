"""How a machine ends, and what boot says of it: exit statuses, signals, limits; nothing is left behind however it ends."""
from bootlib import *
import fcntl, struct, termios

F_GETPIPE_SZ = 1032

setup()
publish(image("systemd-erofs"), "debian")
link = serve()["debian"]


def nothing_left():
    wait_for(lambda: not user_processes(), f"the end of all processes: {user_processes()}")
    # A network's socket and locks stay, for the next switch.
    left = [n for n in os.listdir(f"/tmp/inetboot-{os.stat(USER).st_uid}") if not n.startswith("network-")]
    check(not left, f"files are left: {left}")


# Panic: the image's init ends.
m = Machine(link, "--append", "inetboot.init=/bin/true")
check(m.end(status=3)["end"] == "panic", "not reported as a panic")
nothing_left()

# Nothing to start.
m = Machine(link, "--append", "inetboot.init=/no/such/init")
m.end(status=1)
check("/no/such/init" in m.text, "the reason is not said")

# The time limit.
m = Machine(link, "--timeout", "4")
check(m.end(status=4)["end"] == "timeout", "not reported as a time limit")
nothing_left()

# Wrong usage, and things that do not exist.
for args, status in ((["--memory", "1"], 2), (["--engine", "none"], 2), (["--kernel", "/bin/true"], 1)):
    m = Machine(link, *args)
    m.end(status=status)
m = Machine(link.replace("/debian#", "/nothing#"))
m.end(status=1)
check("404" in m.text and "nothing" in m.text, f"not said what was tried: {m.text}")
m = Machine("/no/such/file")
m.end(status=1)
check("/no/such/file" in m.text, f"not said what was tried: {m.text}")

# SIGTERM shuts down in order; before and after the login prompt.
m = Machine(link)
m.expect("login: ")
m.p.send_signal(signal.SIGTERM)
check(m.end()["end"] == "clean", "SIGTERM is not an orderly shutdown")
nothing_left()

# --until does, too.
m = Machine(link, "--until", "login: ")
report = m.end()
check(report["until_ms"] and report["until_ms"] >= report["login_ms"] > 0, f"no times of login and --until: {report}")

# The guest gets none of our files, nor of those who started us. kill -9 of boot takes everything with it.
secret = os.open("key", os.O_RDONLY)
m = Machine(link, fds=(secret,))
m.expect("inetboot: starting")
machines = [p for p in user_processes() if b"umid=guest" in command_line(p)]
check(machines, "no process of the guest is found")
for p in machines:
    files = open_files(p)
    check(not [f for f in files if f.endswith(("/key", "/ptmx", "/dev/fuse"))], f"the guest has files that are not for it: {files}")
m.p.kill()
m.p.wait()
nothing_left()

# So does the end of the supervisor of the process that feeds the disk, with a message.
m = Machine(link)
m.expect("inetboot: starting")
os.kill(feed()[0], signal.SIGKILL)
check(m.end(status=5)["end"] == "killed" and "disk" in m.text.splitlines()[-1], "the end of the disk is not said")
nothing_left()

# A server that does not answer does not stop the time limit; a report is written of a start that fails, too.
m = Machine(link.replace("http://127.0.0.1:", "http://127.0.0.1:1/"), "--timeout", "3", "--cache", "none")
check(m.end(status=4)["end"] == "timeout", "not reported as a time limit")

# A guest that never stops talking can be ended. (Some kernels hand the word noreboot on to the init.)
m = Machine(link, "--append", "inetboot.init=/usr/bin/yes")
m.expect("(?:(?:y|noreboot)\r?\n){1000}")
m.p.send_signal(signal.SIGTERM)
m.end()
nothing_left()

# A terminal that is slow again and again loses nothing, and the guest goes on.
m = Machine(link, "--append", "inetboot.init=/usr/bin/yes")
m.expect("(?:(?:y|noreboot)\r?\n){1000}")
taken = 0
while taken < 4 << 20:
    m.p.send_signal(signal.SIGSTOP)
    time.sleep(0.01)  # the guest fills its terminal meanwhile, or does not: both are fine
    m.p.send_signal(signal.SIGCONT)
    check(select.select([m.p.stdout], [], [], 20)[0], f"the guest fell silent after {taken} bytes")
    taken += len(os.read(m.p.stdout.fileno(), 65536))
m.p.send_signal(signal.SIGTERM)
m.end()
nothing_left()

# Nobody reads what it says: neither its time limit nor a signal waits for that.
def silent(*args):
    m = Machine(link, *args, "--append", "inetboot.init=/usr/bin/yes")
    wait_for(lambda: pipe_full(m.p.stdout), "a full pipe")
    return m


def pipe_full(pipe):
    """No more than a page fits in."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0] > fcntl.fcntl(pipe, F_GETPIPE_SZ) - 8192


m = silent("--timeout", "20")
check(m.p.wait(LIMIT) == 4, "a full pipe stops the time limit")
m = silent()
m.p.send_signal(signal.SIGTERM)
check(m.p.wait(LIMIT) == 0, "a full pipe stops signals")
nothing_left()

# In the background.
p = as_user(INETBOOT, "boot", link, "--detach", "--console", "console.log", "--until", "login: ")
check(p.returncode == 0, p.stdout.decode())
pid = int(re.search(r"(?m)^(\d+) console.log$", p.stdout.decode())[1])
wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the machine in the background", LIMIT)
with open(f"{USER}/console.log") as f:
    check("login: " in f.read(), "the background machine did not reach login")
nothing_left()
done()
