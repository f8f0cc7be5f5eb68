"""For the boot tests beside this: images, a store that is served by HTTP, and machines that are started as an ordinary user and
talked to on their console. Conditions are waited for, with generous limits: a loaded machine boots slowly."""
import json, os, re, select, shutil, signal, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from servers import BadServer, free_port

INETBOOT = os.path.abspath(sys.argv[1])
HERE = os.path.dirname(os.path.abspath(__file__))
MAKE_IMAGE = os.path.join(HERE, "../images/make-image")
LIMIT = 240  # seconds for anything that a guest does
DIR = tempfile.mkdtemp(prefix="boot.", dir="/tmp")
USER = os.path.join(DIR, "user")
started = []
at_end = []  # functions to call before the folder goes


def done(status=0):
    for p in started:
        if p.poll() is None:
            p.kill()
            p.wait()
    while at_end:
        at_end.pop()()
    os.chdir("/")
    shutil.rmtree(DIR, ignore_errors=True)
    sys.exit(status)


def skip(reason):
    print("skipped:", reason)
    done(77)


def fail(text):
    print("failed:", text, file=sys.stderr)
    done(1)


def check(condition, text):
    if not condition:
        fail(text)


def setup():
    os.chmod(DIR, 0o755)
    os.mkdir(USER)
    if os.geteuid() == 0:
        os.chown(USER, 65534, 65534)
    os.chdir(DIR)
    if as_user("true").returncode:
        skip("no ordinary user who may use /dev/fuse can be had here (root, or access to /dev/fuse)")
    if not shutil.which("linux.uml"):
        skip("linux.uml is not installed (package user-mode-linux)")


def as_user_args(*args):
    return [os.path.join(HERE, "as-user"), USER, *args]


def as_user(*args, **more):
    return subprocess.run(as_user_args(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, **more)


def own_runtime():
    """A runtime folder that is the test's, so that its networks and shared disks are."""
    os.environ["XDG_RUNTIME_DIR"] = f"{USER}/run"
    as_user("mkdir", "-m", "700", "run")


def image(kind):
    p = subprocess.run([MAKE_IMAGE, kind, f"{DIR}/{kind}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if p.returncode == 77:
        skip(p.stdout.decode().strip().splitlines()[-1])
    check(p.returncode == 0, f"make-image {kind}: {p.stdout.decode()}")
    return f"{DIR}/{kind}"


def run(*args):
    p = subprocess.run([INETBOOT, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    check(p.returncode == 0, f"{args}: {p.stdout.decode()}")
    return p.stdout.decode()


def publish(path, name, *args):
    if not os.path.exists("key"):
        run("key", "key")
    return run("publish", path, "store", "--name", name, "--key", "key", "--level", "1", *args)


def read_until(p, pattern, limit=30):
    """What a process prints up to a line that matches."""
    text, end = b"", time.monotonic() + limit
    while not re.search(pattern, text):
        if time.monotonic() > end or not select.select([p.stdout], [], [], 1)[0]:
            check(time.monotonic() <= end, f"no {pattern!r} in {text!r}")
            continue
        piece = os.read(p.stdout.fileno(), 65536)
        check(piece, f"ended before {pattern!r}: {text!r}")
        text += piece
    return text.decode()


def serve(*options):
    """Serves the store; returns links by name."""
    p = subprocess.Popen([INETBOOT, "serve", "store", "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    started.append(p)
    names = sorted(n for n in os.listdir("store") if os.path.exists(f"store/{n}/manifest"))
    text = read_until(p, (names[-1] + r"#\S+\n").encode())
    return {n: re.search(r"http://\S+/%s#\S+" % re.escape(n), text)[0] for n in names}


def built_kernel():
    """The kernel of `make uml-kernel`, where it was built, in a place that the ordinary user can read; or None."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.exists(f"{cache}/inetboot/uml/linux") and not os.path.exists("linux"):
        shutil.copy(f"{cache}/inetboot/uml/linux", "linux")
    return f"{DIR}/linux" if os.path.exists("linux") else None


class Console:
    """What a machine says, and waiting for it. args: what it was started by, for messages."""

    def __init__(self, args, fd, limit):
        self.args, self.fd, self.limit = args, fd, limit
        self.text, self.seen = "", 0

    def read(self, seconds):
        """Takes what comes within that time. False at its end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        piece = os.read(self.fd, 65536)
        self.text += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, pattern, limit=None):
        """Waits until the console shows the pattern behind what was expected before."""
        limit = limit or self.limit
        end = time.monotonic() + limit
        while True:
            m = re.compile(pattern).search(self.text, self.seen)
            if m:
                self.seen = m.end()
                return m
            if time.monotonic() > end:
                fail(f"no {pattern!r} within {limit} s on the console of {self.args}:\n{self.text[-3000:]}")
            if not self.read(1):
                fail(f"ended before {pattern!r}: {self.args}:\n{self.text[-3000:]}")

    def command(self, text):
        """Runs a command in the guest's shell; returns what it printed."""
        self.type(f"echo begin-$((40+2)); {text}; echo end-$((40+2))\n")
        m = self.expect(r"(?s)begin-42\r*\n(.*?)end-42\r*\n")
        self.expect("# ")
        return m[1]


class Machine(Console):
    """inetboot boot, as an ordinary user, with its console on pipes."""

    def __init__(self, link, *args, kernel=None, fds=(), stderr=subprocess.STDOUT):
        kernel = kernel or built_kernel()
        more = ["--kernel", kernel] if kernel and not {"--kernel", "--engine"} & {*args} else []
        more += [] if "--network" in args or "--switch" in args else ["--network", "none"]
        self.report = f"report.{len(started)}"
        args = as_user_args(INETBOOT, "boot", link, "--report", self.report, *more, *args)
        self.p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, pass_fds=fds)
        started.append(self.p)
        super().__init__(args, self.p.stdout.fileno(), LIMIT)

    def type(self, text):
        self.p.stdin.write(text.encode())
        self.p.stdin.flush()

    def login(self):
        self.expect("login: ")
        self.type("root\n")
        self.expect(r"# ")

    def end(self, status=0, limit=LIMIT):
        """Reads the console to its end; the exit status must be that."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if not self.read(1):
                break
        else:
            fail(f"does not end within {limit} s: {self.args}:\n{self.text[-3000:]}")
        self.p.wait(timeout=30)
        check(self.p.returncode == status, f"status {self.p.returncode} instead of {status}: {self.args}:\n{self.text[-3000:]}")
        try:
            with open(f"{USER}/{self.report}") as f:
                return json.load(f)
        except FileNotFoundError:
            return None

    def poweroff(self):
        self.type("poweroff\n")
        return self.end()

    def pump(self, seconds):
        """Takes what the console says within that time, for those who do something else meanwhile."""
        check(self.read(seconds), f"the machine ended: {self.args}:\n{self.text[-3000:]}")


def user_processes():
    """Processes of boots and their guests: all whose home is this test's."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if f"HOME={USER}".encode() in f.read().split(b"\0"):
                    out.append(int(pid))
        except OSError:
            pass
    return out


def command_line(pid):
    """Its words, each with a zero byte behind it; nothing, where it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read()
    except OSError:
        return b""


def open_files(pid):
    """What its descriptors are of. One that it closes meanwhile is left out."""
    files = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            files.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return files


def display_sockets():
    """X servers of this host."""
    return set(os.listdir("/tmp/.X11-unix")) if os.path.isdir("/tmp/.X11-unix") else set()


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(child) for child in f.read().split()]
    except OSError:
        return []


def has_device(pid):
    try:
        return "/dev/fuse" in open_files(pid)
    except OSError:
        return False


def feed():
    """The processes that give the one machine that runs its disk: the supervisor, and its worker (None where there is none just now)."""
    feeds = [p for p in user_processes() if has_device(p)]
    supervisors = [p for p in feeds if not any(p in children(q) for q in feeds)]
    check(len(supervisors) == 1, f"not one process holds the disk: {supervisors} of {feeds}")
    return supervisors[0], next((p for p in children(supervisors[0]) if p in feeds), None)


def wait_for(condition, what, limit=60):
    end = time.monotonic() + limit
    while not condition():
        check(time.monotonic() < end, f"not within {limit} s: {what}")
        time.sleep(0.1)
