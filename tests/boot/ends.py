"""How a machine ends, and what boot says of it: exit statuses, signals, limits; nothing is left behind however it ends."""
from bootlib import *

setup()
publish(image("systemd-erofs"), "debian")
link = serve()["debian"]


def nothing_left():
    wait_for(lambda: not user_processes(), f"the end of all processes: {user_processes()}")
    left = os.listdir(f"/tmp/inetboot-{os.stat(USER).st_uid}")
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
check(m.end()["login_ms"], "no login")

# kill -9 of boot takes everything with it.
m = Machine(link)
m.expect("inetboot: starting")
m.p.kill()
m.p.wait()
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
