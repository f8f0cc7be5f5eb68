#!/usr/bin/env python3
"""kill -9 of the process that serves a mount, again and again: another one goes on, and readers notice nothing. The supervisor ends when it
is told to, and leaves nothing behind."""
import ctypes, errno, mmap, socket
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 6_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
server = Server("www")
link = f"{server.url}/image#{key}"
killed = set()
rng = random.Random(int(os.environ.get("SEED", "1")))


def kill_worker(m, wait=0.0, number=signal.SIGKILL):
    """Kills one that was not killed here before, some time after it is there."""
    wait_for(lambda: m.process.poll() is not None or m.worker() not in killed | {None}, "a worker")
    worker = m.worker()
    check(worker, f"no worker: {m.said()}")
    killed.add(worker)
    time.sleep(wait)
    os.kill(worker, number)  # it is there, as nobody else kills it


def read_mapped(path, seed, count):
    rng = random.Random(seed)
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        for _ in range(count):
            at, length = rng.randrange(len(data)), rng.randrange(1, 100000)
            if m[at:at + length] != data[at:at + length]:
                return f"mapped bytes at {at} differ"


def read_directly(path, seed, count):
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 262144)
    for _ in range(count):
        at = rng.randrange(len(data) // 4096) * 4096
        n = os.preadv(fd, [memoryview(buffer)[:rng.choice([4096, 65536, 262144])]], at)
        if buffer[:n] != data[at:at + n]:
            return f"direct bytes at {at} differ"
    os.close(fd)


def forget_pages(path):
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_for_ever(read, path, *args):
    """Until it is killed; text when something is wrong."""
    for seed in range(10 ** 9):
        forget_pages(path)
        wrong = read(path, *args) if read is read_all else read(path, *args, seed, 20)
        if wrong:
            return wrong


def start_readers(m):
    return [Child(read_for_ever, read_randomly, m.disk, data), Child(read_for_ever, read_all, m.disk, data),
            Child(read_for_ever, read_mapped, m.disk), Child(read_for_ever, read_directly, m.disk)]


def end_readers(readers):
    for reader in readers:
        if not reader.ended(0):
            reader.kill()
            check(reader.ended(10), "a reader cannot be killed")
            os.waitpid(reader.pid, 0)
        else:
            fail(f"a reader ended: {reader.result()}")


# Under readers of all kinds, at random moments; the numbers tell.
m = Mount(link)
open_status = open(f"{m.dir}/status")
readers = start_readers(m)
for _ in range(200):
    kill_worker(m, rng.random() * rng.choice([0.01, 0.05, 0.2]))
check_reads(m.disk, data, 1)
end_readers(readers)
status = m.status()
check(status["supervisor"] == m.process.pid, f"supervisor {status['supervisor']}")
check(status["worker"]["pid"] == m.worker() and status["worker"]["started"] > 200, f"worker: {status['worker']}")
check("signal 9" in status["worker"]["last_end"], f"worker: {status['worker']}")
check(json.load(open_status)["supervisor"] == m.process.pid, "an open status file does not outlive a worker")
open_status.close()
m.end()


def reads_right(m, count=1):
    """Right bytes again and again, none of them from the page cache."""
    for _ in range(count):
        forget_pages(m.disk)
        check_all(m.disk, data)


# While readers wait for a server that is gone; then it returns.
m = Mount(link, cache="none1")
server.rules("/blocks/* reset")
readers = [Child(read_all, m.disk, data), Child(read_randomly, m.disk, data, 7, 20), Child(read_mapped, m.disk, 7, 20)]
wait_for(lambda: m.status()["network"]["gone"] > 0, "readers that wait")
for _ in range(5):
    kill_worker(m, 0.05)
    wait_for(lambda: m.status()["network"]["gone"] > 0, "readers that wait for the next worker")
check(not any(reader.ended(0) for reader in readers), "a reader did not wait")
server.rules()
for reader in readers:
    wrong = reader.result()
    check(not wrong, f"after the network's return: {wrong}")
m.end()


def interrupted_read(path, wanted):
    """A read past the page cache that one signal arrives at; the name of its error."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    n = libc.pread(fd, (ctypes.c_char * 4096).from_buffer(page), 4096, ctypes.c_long(8192))
    name = errno.errorcode[ctypes.get_errno()] if n < 0 else "no error"
    return None if name == wanted else name


# An interrupt that the dead worker had been told of; and one that comes later.
server.rules("/blocks/* stall")
m = Mount(link, cache="none2")
for when in [1.0, 0.1]:
    reader = Child(interrupted_read, m.disk, "EINTR")
    kill_worker(m, when)
    wrong = reader.result(15)
    check(not wrong, f"killed {when} s after the start of a read that is interrupted after 0.3 s: {wrong}")
# A reader that waits can be killed, and what it waited for ends with it.
reader = Child(read_all, m.disk, data)
wait_for(lambda: m.status()["reads"] > 0, "a read")
kill_worker(m)
reader.kill()
check(reader.ended(10), "a reader that waits cannot be killed")
os.waitpid(reader.pid, 0)
m.end()
server.rules()

# Killed before the first one serves: not for ever.
server.rules("* stall")
m = Mount(link, cache="none3", wait=False)
for _ in range(4):
    kill_worker(m, 0.02)
server.rules()
m.ready()
reads_right(m)
m.end()
server.rules("* stall")
m = Mount(link, cache="none3", wait=False)


def kill_the_next():
    worker = m.worker()
    if worker not in killed | {None} and "ended 10 times" not in m.said():  # later on, a child is the leak checker's
        killed.add(worker)
        os.kill(worker, signal.SIGKILL)
    return m.process.poll() is not None


wait_for(kill_the_next, "the end of a mount whose workers all die")
check(m.process.returncode == 1 and "ended 10 times" in m.said(), f"{m.process.returncode}: {m.said()}")
check(not is_fuse(m.dir), "it was mounted")
server.rules()

# A new version comes out, and this user has seen it: the mount keeps the old one, also when the network is gone.
m = Mount(link)
reads_right(m)
make_image("newer", 6_000_000, 2, holes=False)
publish("newer", store="www")
check("2" in run("info", "--cache", "other", link), "no new version")
for _ in range(3):
    kill_worker(m)
    reads_right(m)
server.gone(3)
kill_worker(m)
reads_right(m)
check(m.status()["version"] == 1, "another version")
m.end()
m = Mount(link, cache="none4")
wait_for(lambda: m.status()["version"] == 2, "the new version for a new mount")
m.end()
server.rules()

# A raw file on a web server: no question at the start of the next worker; a file that has changed is never mixed with what it was.
shutil.copy("image", "www/raw")
m = Mount(f"{server.url}/raw", cache=None)
readers = [Child(read_for_ever, read_randomly, m.disk, data)]
for _ in range(5):
    kill_worker(m, 0.05)
    reads_right(m)
end_readers(readers)
server.gone(2)
kill_worker(m)
check(m.status()["size"] == len(data), "the size")
reads_right(m)
os.utime("www/raw", (1, 1))
with open("www/raw", "r+b") as f:
    f.write(b"other")
kill_worker(m)
forget_pages(m.disk)
wrong = Child(read_all, m.disk, data).result()
check("Input/output error" in wrong, f"a file that changed: {wrong}")
m.end()

# A file here; when it has changed, the next worker cannot go on.
shutil.copy("image", "local")
m = Mount(f"{DIR}/local", cache=None)
kill_worker(m)
reads_right(m)
with open("local", "r+b") as f:
    f.write(b"other")
kill_worker(m)
check(m.ended() == 1 and "changed while it was in use" in m.said(), f"{m.process.returncode}: {m.said()}")
check(not is_fuse(m.dir), "it is mounted still")


def command_of(pid):
    try:
        return content(f"/proc/{pid}/cmdline").split(b"\0")
    except OSError:
        return []  # it ended meanwhile


# Its name is kept: one that begins with '@' tells who ends a system to leave the process alone. To be stopped for a while does no harm.
m = Mount(link, name="@inetboot")
for pid in [m.process.pid, m.worker()]:
    check(command_of(pid)[0] == b"@inetboot", f"called {command_of(pid)}")
readers = [Child(read_for_ever, read_randomly, m.disk, content("newer"))]
for pid in [m.process.pid, m.worker(), m.process.pid]:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.05)
    os.kill(pid, signal.SIGCONT)
worker = m.worker()
for number in [signal.SIGTERM, signal.SIGSEGV]:
    kill_worker(m, number=number)
wait_for(lambda: m.worker() not in killed | {None}, "a worker")
end_readers(readers)

# Another program takes it over.
shutil.copy(INETBOOT, "another")
data = content("newer")
readers = start_readers(m)
for n in range(20):
    program = INETBOOT if n % 2 else f"{DIR}/another"
    p = subprocess.run([program, "mount", "--replace", m.dir], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    check(p.returncode == 0 and f"process {m.process.pid} was inetboot".encode() in p.stdout, f"{p.returncode}: {p.stdout} {m.said()}")
    check(os.readlink(f"/proc/{m.process.pid}/exe") == program, "another program than the one that was called")
    if n % 3 == 0:
        kill_worker(m, 0.01)
end_readers(readers)
reads_right(m)
for pid in [m.process.pid, m.worker()]:
    check(command_of(pid)[0] == b"@inetboot", f"called {command_of(pid)} after it was replaced")
number = next(line.split()[2] for line in content("/proc/self/mountinfo").decode().splitlines() if line.split()[4] == f"{DIR}/{m.dir}")


def ask_to_replace(program, version=b"test"):
    """The answer's code and text, by a client of our own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s, open(program, "rb") as f:
        s.settimeout(SECONDS)
        s.connect(f"\0inetboot/mount/{number}")
        socket.send_fds(s, [version.ljust(64, b"\0")], [f.fileno()])
        answer = s.recv(65536)
        return struct.unpack_from("<i", answer)[0], answer[8 + 64:].split(b"\0")[0].decode()


for program in ["/bin/false", "image"]:
    code, text = ask_to_replace(program)
    check(code < 0 and "cannot go on" in text, f"replaced by {program}: {code} {text}")
code, text = ask_to_replace(INETBOOT, b"x" * 100)
check(code < 0 and "understood" in text, f"{code} {text}")
reads_right(m)
m.end()
check("nothing is mounted" in run("mount", "--replace", m.dir, status=1), "no word about a mount that is not there")

# The end, just when a worker has died; also while the next one cannot be told of it.
for n in range(24):
    m = Mount(link)
    if n % 3 == 0:
        check_reads(m.disk, data, n, readers=1, count=5)
    worker = m.worker()
    os.kill(worker, signal.SIGKILL)
    time.sleep(rng.choice([0, 0.002, 0.02, 0.06]))
    if n % 2:
        m.unmount()
    else:
        m.end(rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
    at_end.remove(m.clear)


def folder_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None  # it ended meanwhile


left = [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid() and folder_of(p) == DIR and b"mount" in command_of(p)]
check(not left, f"processes are left: {left}")
done()
