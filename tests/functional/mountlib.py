"""For the tests of readers beside this: badserver.py as a child, mounts, and readers in processes of their own, so that nothing that
hangs can hang the test."""
import ctypes, select, signal, stat, time, traceback
from storelib import *
from servers import BADSERVER, SECONDS, BadServer, free_port

# Nothing of the user who runs the tests: no proxy, cache, or memory of versions.
for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
    del os.environ[name]
os.environ.update(XDG_CACHE_HOME=f"{DIR}/xdg-cache", XDG_STATE_HOME=f"{DIR}/xdg-state", HOME=DIR)


def crashed(kind, value, trace):
    traceback.print_exception(kind, value, trace)
    done(1)


sys.excepthook = crashed


def need_fuse():
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as e:
        skip(f"/dev/fuse cannot be used: {e.strerror}")
    need("fusermount3")


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, content(f"/proc/{pid}/task/{task}/children").split())
    except OSError:
        pass  # it ended meanwhile
    return found


def own_mounts():
    """A mount namespace for this process and its children. Before it has threads."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x20000):
        skip(f"no mount namespace can be made here: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def wait_for(condition, what, seconds=SECONDS):
    until = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < until, f"waited {seconds} s for {what}")
        time.sleep(0.005)


class Server(BadServer):
    """One that ends with the test."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        at_end.append(self.stop)


class Child:
    """f() in a process of its own. True, None and 0 are success; an exception or text is what went wrong."""

    def __init__(self, f, *args):
        self.killed = False
        self.out, out = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                result = f(*args)
                text = "" if result in (True, None, 0) else str(result)
            except BaseException as e:
                text = repr(e)
            os.write(out, text.encode()[:60000])
            os._exit(1 if text else 0)
        os.close(out)
        self.fd = os.pidfd_open(self.pid)

    def ended(self, seconds):
        return bool(select.select([self.fd], [], [], seconds)[0])

    def kill(self):
        self.killed = True
        signal.pidfd_send_signal(self.fd, signal.SIGKILL)

    def result(self, seconds=SECONDS, what="a reader"):
        """What went wrong, or "". Fails the test when it hangs."""
        hangs = not self.ended(seconds)
        if hangs:
            self.kill()
            check(self.ended(5), f"{what} hangs, and cannot be killed")
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        self.pid = self.fd = None  # the number may be another process's from now on
        with open(self.out, "rb") as f:
            text = f.read().decode()
        if os.WIFSIGNALED(status) and not self.killed:
            text += f" ended by signal {os.WTERMSIG(status)}"
        check(not hangs, f"{what} hangs: no end within {seconds} s")
        return text


class Mount:
    def __init__(self, link, *options, dir="mnt", cache="cache", wait=True, program=None, environment=None, preexec_fn=None, name=None):
        os.makedirs(dir, exist_ok=True)
        self.dir, self.disk = dir, f"{dir}/disk"
        self.stderr = open(f"{dir}.log", "wb")
        cache = ["--cache", cache] if cache else ["--no-cache"]
        program = program or INETBOOT
        self.process = subprocess.Popen([name or program, "mount", *cache, *options, link, dir], executable=program,
                                        stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr, env=environment,
                                        preexec_fn=preexec_fn)
        at_end.append(self.clear)
        if wait:
            self.ready()

    def ready(self, seconds=SECONDS):
        def mounted():
            check(self.process.poll() is None, f"the mount ended: {self.said()}")
            return f" {DIR}/{self.dir} fuse" in content("/proc/self/mountinfo").decode() or is_fuse(self.dir)
        wait_for(mounted, "the mount", seconds)
        return self

    def said(self):
        return content(f"{self.dir}.log").decode(errors="replace")

    def status(self):
        with open(f"{self.dir}/status") as f:
            return json.load(f)

    def worker(self):
        """The number of the process that serves it now; None: there is none just now."""
        pid = self.process.pid
        try:
            return next((int(child) for child in content(f"/proc/{pid}/task/{pid}/children").split() if not is_filler(child)), None)
        except OSError:
            return None

    def kill(self):
        """kill -9 of the supervisor, with which the worker ends. Returns the worker's number: it may be a zombie for a while."""
        worker = self.worker()
        watched = worker and Watched(worker)
        self.process.kill()
        self.process.wait()
        check(not worker or watched.ended(), "the worker outlives its supervisor")
        return worker

    def ended(self, seconds=SECONDS):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            fail(f"the mount does not end within {seconds} s: {self.said()}")

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        status = self.ended()
        check(status == 0, f"the mount ended with {status}: {self.said()}")
        check(not is_fuse(self.dir), "the mount is there still")

    def unmount(self):
        subprocess.run(["fusermount3", "-u", self.dir], check=True, timeout=SECONDS)
        status = self.ended()
        check(status == 0, f"the mount ended with {status}: {self.said()}")

    def clear(self):
        if self.process.poll() is None:
            self.process.kill()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                print("failed: a mount cannot be killed:", self.said(), file=sys.stderr)
                os._exit(1)
        while is_fuse(self.dir):
            subprocess.run(["fusermount3", "-uzq", self.dir], timeout=SECONDS, check=True)
        self.stderr.close()


def is_filler(pid):
    """The child of a supervisor that reads the disk ahead."""
    pid = int(pid)
    return content(f"/proc/{pid}/comm") == b"inetboot-filler\n"


class Watched:
    """Tells when a process ends, all its threads included (of the first one alone, /proc says so too early)."""

    def __init__(self, pid):
        try:
            self.fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.fd = None

    def ended(self, seconds=SECONDS):
        if self.fd is None:
            return True
        ended = bool(select.select([self.fd], [], [], seconds)[0])
        if ended:
            os.close(self.fd)
            self.fd = None
        return ended


def is_fuse(path):
    """Is something mounted there, living or dead?"""
    path = os.path.abspath(path)
    with open("/proc/self/mountinfo") as f:
        return any(line.split()[4] == path for line in f)


def read_randomly(path, data, seed, count, most=300000):
    """Random reads, some in order, equal to `data`; the result is what was wrong."""
    rng = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    if os.fstat(fd).st_size != len(data):
        return f"{path} has {os.fstat(fd).st_size} bytes instead of {len(data)}"
    if rng.randrange(3) == 0:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    offset = 0
    for _ in range(count):
        if rng.randrange(3):
            offset = rng.randrange(len(data) + 10)
        length = rng.choice([1, 512, 4096, rng.randrange(1, 20000), rng.randrange(1, most)])
        got = os.pread(fd, length, offset)
        if got != data[offset:offset + length]:
            return f"{len(got)} bytes at {offset} differ, or are not {length}"
        offset += len(got)
    os.close(fd)


def unpack(link):
    """The path of the disk as a plain file in the cache."""
    run("pull", "--unpack", "--cache", "cache", link)
    files = os.listdir("cache/disks")
    check(len(files) == 1, f"not one file: {files}")
    return f"cache/disks/{files[0]}"


def read_all(path, data, step=1 << 20):
    with open(path, "rb", buffering=0) as f:
        at = 0
        while True:
            got = f.read(step)
            if got != data[at:at + len(got)]:
                return f"wrong bytes between {at} and {at + len(got)}"
            if not got:
                return None if at == len(data) else f"{at} bytes instead of {len(data)}"
            at += len(got)


def check_reads(path, data, seed, readers=3, count=60, seconds=SECONDS):
    children = [Child(read_randomly, path, data, seed * 100 + i, count) for i in range(readers)]
    for child in children:
        wrong = child.result(seconds)
        check(not wrong, f"{path}, seed {seed}: {wrong}")


def check_all(path, data, seconds=SECONDS):
    wrong = Child(read_all, path, data).result(seconds)
    check(not wrong, f"{path}: {wrong}")


def make_cloop(image, out, block_size):
    need("create_compressed_fs")
    subprocess.run(["create_compressed_fs", "-q", "-B", str(block_size), "-L", "1", image, out], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
