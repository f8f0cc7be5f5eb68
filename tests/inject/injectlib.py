"""For the fault injection beside this: runs of inetboot in which one call fails (inject.c), each with a time limit, and the judgement of
how it ended. Arguments of a test: the program, inject.so, and `all` to hit every call instead of a few from each place in the code."""
import ctypes, ctypes.util, errno, os, struct, sys
INJECT = os.path.abspath(sys.argv[2])  # before storelib changes to a folder of its own
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../functional"))
import storelib
from mountlib import *

ALL = "all" in sys.argv[3:]
MOST = 24  # runs for one kind of one command, or as many as there are places in the code that make such calls
SITES_MAX = 8192  # of inject.c
RUN_SECONDS = 60
# What fails how. Once, and from then on: a full disk stays full.
KINDS = [("memory", errno.ENOMEM, False), ("write", errno.ENOSPC, True), ("write", errno.EIO, False), ("short", 0, False), ("sync", errno.EIO, False),
         ("rename", errno.EIO, False), ("open", errno.ENOSPC, True), ("folder", errno.ENOSPC, False), ("link", errno.EMLINK, False),
         ("thread", errno.EAGAIN, False), ("read", errno.EIO, False)]
runs = []
wrong = []  # all that is found, so that one run tells all


class Wrong(Exception):
    pass


def fail(text):
    raise Wrong(text)


storelib.fail = fail

if b"__asan_init" in content(INETBOOT):
    skip("built with a sanitizer, which has a malloc() of its own")


class Fault:
    """The n-th call of a kind fails; n 0: none does."""

    def __init__(self, kind, n, code, sticky, source=None):
        self.kind, self.n, self.code, self.sticky, self.source = kind, n, code, sticky, source
        with open("state", "wb") as f:
            f.truncate(32 + 8 * SITES_MAX)

    def environment(self):
        more = {"INJECT_FROM": self.source} if self.source else {}
        return {**os.environ, **more, "LD_PRELOAD": INJECT, "INJECT_STATE": f"{DIR}/state", "INJECT_PROGRAM": os.path.realpath(INETBOOT),
                "INJECT": f"{self.kind} {self.n} {self.code} {int(self.sticky)}"}

    def state(self):
        """(calls of the kind, how many failed, address of the first that did)"""
        return struct.unpack_from("QQQ", content("state"))

    def loaded(self):
        return content("state")[24] == 1

    def sites(self):
        """Where in the code each call came from, as far as that was noted."""
        return struct.unpack_from(f"{min(self.state()[0], SITES_MAX)}Q", content("state"), 32)

    def __str__(self):
        calls, failed, address = self.state()
        where = ""
        if failed and not self.source and shutil.which("addr2line"):
            out = subprocess.run(["addr2line", "-fpsie", INETBOOT, hex(address)], stdout=subprocess.PIPE).stdout.decode()
            where = f", in {' '.join(out.split())}"
        return f"{self.kind} {self.n} of {calls} fails with {errno.errorcode.get(self.code, 'less')}{' for good' if self.sticky else ''}{where}"


def judge(fault, args, status, text):
    """Success, or status 1 with a message."""
    check(status is not None, f"{fault}: {args} hangs: {text}")
    check(status in (0, 1), f"{fault}: {args} ended with status {status}: {text}")
    check(not status or [line for line in text.splitlines() if line.startswith("inetboot: ") and len(line) > 20],
          f"{fault}: {args} ended with status 1 and no message: {text!r}")


def attempt(fault, *args):
    """Runs inetboot; returns whether it succeeded."""
    runs.append(fault)
    p = subprocess.Popen([INETBOOT, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=fault.environment())
    try:
        text, status = p.communicate(timeout=RUN_SECONDS)[0], p.returncode
    except subprocess.TimeoutExpired:
        p.kill()
        text, status = p.communicate()[0], None
    judge(fault, args, status, text.decode(errors="replace"))
    return status == 0


def evenly(numbers, count):
    """So many of them: the first one, the last one, and those in between evenly."""
    if count >= len(numbers):
        return numbers
    return [numbers[i * (len(numbers) - 1) // max(count - 1, 1)] for i in range(count)]


def spread(calls, sites):
    """Which of so many calls are hit: each place in the code that makes them in turn, until it is enough."""
    if ALL or calls <= MOST:
        return range(1, calls + 1)
    of = {}
    for number, site in enumerate(sites, 1):
        of.setdefault(site, []).append(number)
    each = 1
    while sum(min(each + 1, len(numbers)) for numbers in of.values()) <= MOST:
        each += 1
    return sorted(number for numbers in of.values() for number in evenly(numbers, each))


def each_fault(before, one_run, after, kinds=KINDS, sources=()):
    """before() makes ready; one_run(fault) is the command, and says whether it succeeded; after(fault, succeeded) looks at what it left.
    First the calls are counted in a good run. `sources`: libraries whose allocations fail, too."""
    for kind, code, sticky, source in [(*k, None) for k in kinds] + [("memory", errno.ENOMEM, False, s) for s in sources]:
        before()
        fault = Fault(kind, 0, code, sticky, source)
        check(one_run(fault), f"{kind}: it fails without a fault")
        calls = fault.state()[0]
        check(fault.loaded(), f"{INJECT} was not preloaded")
        after(fault, True)
        for n in spread(calls, fault.sites()):
            before()
            fault = Fault(kind, n, code, sticky, source)
            try:
                after(fault, one_run(fault))
            except Wrong as e:
                print("wrong:", e, file=sys.stderr)
                wrong.append(fault)


def end():
    print(len(runs), "runs,", len(wrong), "of them wrong")
    done(bool(wrong))


# ---- what is left ----

zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
zstd.ZSTD_decompress.restype = ctypes.c_size_t


def block_is_right(path):
    data = content(path)
    size = zstd.ZSTD_getFrameContentSize(data, ctypes.c_size_t(len(data)))
    if size > 8 << 20:  # not a frame, or no size: those are huge numbers
        return False
    out = ctypes.create_string_buffer(size or 1)
    n = zstd.ZSTD_decompress(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    return n == size and hashlib.sha256(out.raw[:size]).hexdigest() == os.path.basename(path)
