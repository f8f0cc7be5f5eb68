#!/usr/bin/env python3
"""A soak: mounts of one image behind three mirrors that change their roles all the time, under many readers, while the cache is damaged.

    soak.py INETBOOT [--seconds N] [--seed S] [--size MB]

Of three bad servers one is good at any time, one is slow, and one lies or fails in a random mix of ways; the good one stays good for
OVERLAP seconds after it has handed over, so that a reader that was there at the wrong moment finds it. Now and then all three are gone.
One mount has a cache, on a medium that is read-only or full now and then, and whose files are flipped, cut, deleted, swapped and
replaced by folders; one has no cache and little memory; both have their workers killed now and then; a third is mounted, read, and
ended all the time. Readers compare all they get with the image: random reads, streams, O_DIRECT, mmap, and small reads, with the
kernel's pages dropped in between.

What must hold: no wrong byte, no error, no read that waits longer than STUCK seconds while a good mirror is there, the limit of memory
(resident size below --memory-limit plus OVERHEAD), and a clean end; built with AddressSanitizer, without a leak.
The seed is printed: it repeats the faults and the reads, if not their order. The last line is JSON for those who compare."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "functional"))
from mountlib import *
import argparse, mmap, re

STUCK = 30       # seconds that a read may take while a good mirror is there
OVERLAP = 18     # seconds: longer than the program's limit of 15 for a silent server
MIX = 10         # seconds between an overlap and the next
LIMIT = 64       # MiB of --memory-limit, and the default; the other mount has LITTLE
LITTLE = 32
OVERHEAD = 16    # MiB beside the limit, which is for all that the program allocates: itself, its libraries, stacks
CACHE = 40       # MiB

LIES = ["flip", "flip at=3", "zeros", "empty", "login", "inject", "inject where=front", "wronglength", "wronglength delta=7", "extra",
        "truncate", "truncate at=10", "chunked cut=1", "gzip", "garbage", "http09", "half", "half part=1", "length value=100", "length value=-1",
        "length value=99999999999999", "partial", "headers", "loop", "redirect to=file:///etc/passwd", "redirect to=GOOD/PATH",
        "status code=404", "status code=403", "status code=401", "status code=410", "status code=416", "status code=429 retry=1",
        "status code=500", "status code=502", "status code=503 retry=1", "status code=503 retry=date:2", "status code=504",
        "reset", "reset at=700", "keepclosed", "chunked", "swap with=OTHER"]
SILENT = ["stall", "stall at=300", "tail", "interim", "slowhead", "drip rate=100"]  # each costs up to 15 s where nobody hedges
SLOW = ["delay ms=200", "delay ms=600", "drip rate=60000", "drip rate=20000", "slowhead ms=2"]

START, OUTAGE, WORST, READS, BYTES, SLOWER = range(6)  # of a slot
SLOT = 8


def parse():
    parser = argparse.ArgumentParser(description="reads through bad mirrors for a long time")
    parser.add_argument("inetboot")
    parser.add_argument("--seconds", type=int, help="default: 120, or 60 with AddressSanitizer")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--size", type=int, help="of the image, MB")
    return parser.parse_args()


class Shared:
    """Numbers that the readers tell: a slot each, after the seconds of outage so far and the word to stop."""

    def __init__(self, slots):
        self.numbers = memoryview(mmap.mmap(-1, 8 * SLOT * (slots + 1))).cast("d")

    def slot(self, i):
        return self.numbers[SLOT * (i + 1):SLOT * (i + 2)]

    @property
    def outage(self):
        return self.numbers[0]

    @outage.setter
    def outage(self, seconds):
        self.numbers[0] = seconds

    @property
    def stopped(self):
        return self.numbers[1] != 0

    def stop(self):
        self.numbers[1] = 1

    def waits(self, slot):
        """Seconds that a read of this slot has been waiting for, outages apart; 0 where there is none."""
        begun = slot[START]
        return time.monotonic() - begun - (self.outage - slot[OUTAGE]) if begun else 0


class Reader:
    """What runs in a process of its own: reads from a disk in one of the ways below, compares, and tells how long it took."""

    def __init__(self, shared, number, path, image, seed):
        self.shared, self.slot, self.path, self.image = shared, shared.slot(number), path, image
        self.rng = random.Random(seed * 1000 + number)

    def timed(self, read, length, offset):
        slot = self.slot
        slot[OUTAGE] = self.shared.outage
        slot[START] = time.monotonic()
        got = read(length, offset)
        waited = self.shared.waits(slot)
        slot[START] = 0
        slot[WORST] = max(slot[WORST], waited)
        slot[READS] += 1
        slot[BYTES] += len(got)
        slot[SLOWER] += waited > 1
        want = self.image[offset:offset + length]
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            raise ValueError(f"WRONG: {len(got)} of {length} bytes at {offset}, the first wrong one at {offset + at}")

    def place(self, most):
        length = self.rng.choice([1, 512, 4096, self.rng.randrange(1, 20000), self.rng.randrange(1, most)])
        return length, self.rng.randrange(0, len(self.image) - length)

    def forget(self, fd):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def opened(self, flags, reads, once):
        fd = os.open(self.path, os.O_RDONLY | flags)
        try:
            for _ in range(reads):
                if self.shared.stopped:
                    return
                once(fd)
        finally:
            self.forget(fd)
            os.close(fd)

    def random(self):
        self.opened(0, 40, lambda fd: self.timed(lambda n, at: os.pread(fd, n, at), *self.place(300000)))

    def small(self):
        def once(fd):
            self.timed(lambda n, at: os.pread(fd, n, at), 4096, self.rng.randrange(len(self.image) // 4096) * 4096)
        self.opened(0, 200, once)

    def stream(self):
        at = self.rng.randrange(len(self.image) // 2)

        def step(fd):
            nonlocal at
            self.timed(lambda n, at: os.pread(fd, n, at), 131072, at)
            at += 131072
        self.opened(0, min(64, (len(self.image) - at) // 131072), step)

    def direct(self):
        room = mmap.mmap(-1, 1 << 18)

        def read(length, at):
            os.preadv(fd_now[0], [memoryview(room)[:length]], at)
            return room[:length]
        fd_now = [None]

        def once(fd):
            fd_now[0] = fd
            self.timed(read, 4096 * self.rng.randrange(1, 64), 4096 * self.rng.randrange(len(self.image) // 4096 - 64))
        self.opened(os.O_DIRECT, 30, once)

    def mapped(self):
        def once(fd):
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
                for _ in range(10):
                    if not self.shared.stopped:
                        self.timed(lambda n, at: m[at:at + n], *self.place(100000))
            self.forget(fd)
        self.opened(0, 4, once)

    def run(self, how):
        while not self.shared.stopped:
            getattr(self, how)()


HOW = ["random", "stream", "direct", "mapped", "small"]


def resident(pid):
    """KiB of a process and its children."""
    total = 0
    try:
        with open(f"/proc/{pid}/status") as f:
            total = next((int(line.split()[1]) for line in f if line.startswith("VmRSS:")), 0)
    except OSError:
        return 0  # it ended meanwhile
    return total + sum(resident(child) for child in children(pid))


class Mirrors:
    """Three servers and who plays what."""

    def __init__(self, rng):
        self.rng = rng
        self.servers = [Server("www", options=["--no-log"]) for _ in range(3)]
        self.urls = [s.url for s in self.servers]
        self.good = None
        self.others = []
        self.blocks = [p[len("www"):] for p in all_blocks("www")]

    def rules(self, i, rules):
        self.servers[i].control("POST", {"rules": rules, "clear": True, "forget": True})

    def lies(self):
        rules = []
        for fault in self.rng.sample(LIES, 4) + self.rng.sample(SILENT, self.rng.randrange(2)):
            fault = fault.replace("OTHER", self.rng.choice(self.blocks)).replace("GOOD", self.urls[self.good])
            rules.append(f"/blocks/* {fault} every={self.rng.randrange(1, 5)}")
        manifest = self.rng.choice(["flip", "login", "reset", "status code=404", "status code=500",
                                    "swap with=/image/manifest.1", "truncate", "stall"])
        return [f"/image/manifest {manifest}", *rules]

    def slow(self):
        return [f"*/* {self.rng.choice(SLOW)}"]

    def hand_over(self):
        """Another one is good; the one that was stays so for now."""
        old = self.good
        self.good = self.rng.choice([i for i in range(3) if i != old])
        # Where the good one is not the fastest, the others are asked more often.
        self.rules(self.good, [f"/blocks/* delay ms={self.rng.randrange(5, 40)}"] if self.rng.randrange(3) else [])
        third = [i for i in range(3) if i not in (old, self.good)]
        self.others, self.handed_over = ([*third, old] if old is not None else third), False
        self.bad_one, self.slow_one = self.others if self.rng.randrange(2) else self.others[::-1]
        for i in third:
            self.play(i)

    def play(self, i):
        self.rules(i, self.lies() if i == self.bad_one else self.slow())

    def lie_anew(self):
        """In other ways than before, where the bad one is bad already."""
        if self.bad_one == self.others[0] or self.handed_over:
            self.play(self.bad_one)

    def end_overlap(self):
        self.handed_over = True
        self.play(self.others[1])

    def all_gone(self, seconds):
        for s in self.servers:
            s.gone(seconds)

    def faults(self):
        total = {}
        for s in self.servers:
            for kind, count in s.log()["faults"].items():
                total[kind] = total.get(kind, 0) + count
        return total


class CacheTrouble:
    """What happens to a cache on a bad medium."""

    def __init__(self, rng, folder):
        self.rng, self.folder, self.count = rng, folder, {}
        self.until = 0
        self.undo = None

    def entries(self):
        return [f for f in all_blocks(self.folder) if os.path.isfile(f) and not os.path.islink(f)]

    def flip(self, path):
        with open(path, "r+b") as f:
            data = bytearray(f.read())
            if data:
                data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
                f.seek(0)
                f.write(data)

    def cut(self, path):
        os.truncate(path, self.rng.randrange(os.path.getsize(path) + 1))

    def zero(self, path):
        size = os.path.getsize(path)
        os.truncate(path, 0)
        os.truncate(path, size)

    def delete(self, path):
        os.unlink(path)

    def grow(self, path):
        with open(path, "ab") as f:
            f.write(self.rng.randbytes(50))

    def other(self, path):
        data = content(self.rng.choice(self.entries()))
        with open(path, "wb") as f:
            f.write(data)

    def folder_instead(self, path):
        os.unlink(path)
        os.mkdir(path)

    def no_shelf(self, path):
        shutil.rmtree(os.path.dirname(path))

    def link_instead(self, path):
        os.unlink(path)
        os.symlink("/dev/zero", path)

    KINDS = [flip, flip, cut, zero, delete, grow, other, folder_instead, no_shelf, link_instead]

    def damage(self):
        files = self.entries()
        if not files or self.undo:
            return
        kind = self.rng.choice(self.KINDS)
        try:
            kind(self, self.rng.choice(files))
            self.note(kind.__name__)
        except OSError:
            pass  # the mount took it away, or the medium is full

    def note(self, what):
        self.count[what] = self.count.get(what, 0) + 1

    def read_only(self):
        if os.geteuid():
            os.chmod(self.folder, 0o500)
            self.undo = lambda: os.chmod(self.folder, 0o700)
        elif subprocess.run(["mount", "-o", "remount,ro", "small"], stderr=subprocess.DEVNULL).returncode == 0:
            self.undo = lambda: subprocess.run(["mount", "-o", "remount,rw", "small"], check=True)
        if self.undo:
            self.note("read_only")

    def full(self):
        try:
            with open(f"{os.path.dirname(self.folder)}/ballast", "wb") as f:
                while True:
                    f.write(bytes(1 << 20))
        except OSError:
            self.note("full")
        self.undo = lambda: os.unlink(f"{os.path.dirname(self.folder)}/ballast")

    def medium(self):
        """A state of the whole medium, for some seconds."""
        if self.undo:
            if time.monotonic() > self.until:
                self.undo()
                self.undo = None
            return
        self.until = time.monotonic() + self.rng.uniform(1, 4)
        if os.geteuid() or self.rng.randrange(2):
            self.read_only()
        else:
            self.full()


def mount_and_end(shared, number, urls, seed, image):
    """Mounts, reads a little, ends; again and again. A good mirror is there, so each must succeed, unless an outage came."""
    rng, rounds = random.Random(seed), 0
    while not shared.stopped:
        before, order = shared.outage, rng.sample(urls, 3)
        cache = rng.choice([None, "small/cache", f"cache{rounds}"])
        options = ["--cache-size", f"{CACHE}M", *(word for url in order[1:] for word in ("--mirror", url))]
        m = Mount(f"{order[0]}/image#{key}", *options, dir="again", cache=cache, wait=False)
        until = time.monotonic() + STUCK + 30  # a clean start may meet the longest outage
        while not is_fuse("again") and m.process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        if is_fuse("again"):
            reader = Reader(shared, number, m.disk, image, seed + rounds)
            for _ in range(rng.randrange(1, 30)):
                reader.opened(0, 1, lambda fd: reader.timed(lambda n, at: os.pread(fd, n, at), *reader.place(300000)))
            m.end()
        elif shared.outage == before or m.process.poll() is None:
            return f"no mount within {STUCK} s: {m.said()}"
        rounds += 1


class Soak:
    def __init__(self, options):
        self.seconds, self.asan = options.seconds, b"__asan_init" in content(INETBOOT)
        if self.seconds is None:
            self.seconds = 60 if self.asan else 120
        self.seed, self.rng = options.seed, random.Random(options.seed)
        self.begin = time.monotonic()
        self.size = (options.size or (48 if self.asan else 128)) << 20
        self.peaks = {}
        print(f"soak: seed {self.seed}, {self.seconds} s{', AddressSanitizer' if self.asan else ''}", flush=True)

    def say(self, text):
        print(f"soak: {time.monotonic() - self.begin:7.1f} s: {text}", flush=True)

    def prepare(self):
        make_image("old", 1 << 20, self.seed + 1)
        publish("old", store="www")
        make_image("image", self.size, self.seed)
        publish("image", store="www")
        with open("image", "rb") as f:
            self.image = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        os.mkdir("small")
        if not os.geteuid():
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={CACHE + 24}M", "none", "small"], check=True)
        self.mirrors = Mirrors(self.rng)
        self.mirrors.hand_over()
        self.mirrors.end_overlap()

    def mount(self, dir, u, *options, **more):
        return Mount(f"{u[0]}/image#{key}", "--mirror", u[1], "--mirror", u[2], *options, dir=dir, **more)

    def start(self):
        urls = self.mirrors.urls
        self.mounts = [(self.mount("cached", urls, "--memory-limit", f"{LIMIT}M", "--cache-size", f"{CACHE}M", cache="small/cache"), LIMIT),
                       (self.mount("bare", urls[::-1], "--memory-limit", f"{LITTLE}M", cache=None), LITTLE)]
        ways = [(m, how) for m, _ in self.mounts for how in HOW]
        self.shared = Shared(len(ways) + 1)
        self.readers = []
        for i, (m, how) in enumerate(ways):
            reader = Reader(self.shared, i, m.disk, self.image, self.seed)
            self.readers.append((f"{how} of {m.dir}", Child(reader.run, how), m))
        self.again = Child(mount_and_end, self.shared, len(ways), self.mirrors.urls, self.seed, self.image)
        self.readers.append(("one that mounts again and again", self.again, None))
        at_end.append(self.kill_readers)

    def kill_readers(self):
        """With what they started: a mount without servers would wait for ever, and hold what reads from it."""
        for _, child, _ in self.readers:
            if not child.pid:
                continue
            started = [os.pidfd_open(pid) for pid in children(child.pid)]
            child.kill()
            for fd in started:
                try:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        subprocess.run(["fusermount3", "-uzq", "again"], stderr=subprocess.DEVNULL)

    def trouble(self, text):
        for m, _ in self.mounts:
            self.say(f"{m.dir}: {m.said()[-3000:]}")
            subprocess.run(["timeout", "10", "cat", f"{m.dir}/status"])  # with a time limit: it may be that which hangs
        fail(f"seed {self.seed}, after {time.monotonic() - self.begin:.1f} s: {text}")

    def status(self, m):
        """In a child: it must come at once, whatever the readers wait for."""
        def read():
            with open(f"status.{m.dir}", "w") as f:
                json.dump(m.status(), f)
        wrong = Child(read).result(STUCK, f"reading the status of {m.dir}")
        check(not wrong, wrong)
        return json.loads(content(f"status.{m.dir}"))

    def look(self):
        for i, (what, child, m) in enumerate(self.readers):
            waits = self.shared.waits(self.shared.slot(i))
            if waits > STUCK:
                self.trouble(f"STUCK: {what} waits for {waits:.1f} s")
            if child.ended(0):
                self.trouble(f"{what}: {child.result()}")
        for m, limit in self.mounts:
            if m.process.poll() is not None:
                self.trouble(f"the mount {m.dir} ended with {m.process.returncode}")
            now = resident(m.process.pid)
            self.peaks[m.dir] = max(now, self.peaks.get(m.dir, 0))
            if not self.asan and now > (limit + OVERHEAD) << 10:
                self.trouble(f"MEMORY: {m.dir} has {now} KiB, with a limit of {limit} MiB and {OVERHEAD} beside it")

    def sleep(self, seconds, gone=False):
        """Watches meanwhile, and does harm to the cache."""
        until = time.monotonic() + seconds
        last = time.monotonic()
        while time.monotonic() < min(until, self.end):
            time.sleep(0.05)
            now = time.monotonic()
            if gone:
                self.shared.outage += now - last
            last = now
            self.look()
            if self.rng.randrange(4) == 0:
                self.cache.damage()
            if self.rng.randrange(60) == 0 or self.cache.undo:
                self.cache.medium()
            if self.rng.randrange(60) == 0 and not gone:
                self.mirrors.lie_anew()
            if self.rng.randrange(160) == 0:
                self.kill_worker()

    def kill_worker(self):
        """The process that serves one of the mounts; its supervisor starts another one."""
        m = self.rng.choice(self.mounts)[0]
        status = self.status(m)
        worker = status["worker"]["pid"]
        try:
            fd = os.pidfd_open(worker)
        except ProcessLookupError:  # it ended since: ends() tells whether it may
            return
        if worker in children(m.process.pid):  # and no other process by now
            self.statuses.append(status)  # the next one counts from the beginning
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            self.killed += 1
        os.close(fd)

    def ends(self):
        """No worker may have ended but those that were killed here: to readers it makes no difference."""
        ends = [end for m, _ in self.mounts for end in re.findall(r"the process that serves .*?: (.*); starting another one", m.said())]
        others = [end for end in ends if "killed by signal 9 " not in end]
        if others or len(ends) > self.killed:
            self.trouble(f"{len(ends)} workers ended, {self.killed} were killed here: {others}")

    def outage(self):
        seconds = self.rng.choice([1, 3, 6])
        self.outages += 1
        self.mirrors.all_gone(seconds)
        self.sleep(seconds + 1, gone=True)

    def cycles(self):
        self.cache = CacheTrouble(self.rng, "small/cache")
        self.end = time.monotonic() + self.seconds
        self.changes = self.outages = self.killed = 0
        self.statuses = []
        while time.monotonic() < self.end:
            self.mirrors.hand_over()
            self.changes += 1
            self.sleep(OVERLAP)
            self.mirrors.end_overlap()
            self.sleep(self.rng.uniform(MIX / 2, MIX))
            if self.rng.randrange(2):
                self.outage()
            if self.changes % 10 == 0:
                self.say(f"{self.total(READS)} reads, {self.total(BYTES) / 1e6:.0f} MB, resident {self.peaks} KiB")

    def total(self, field):
        return int(sum(self.shared.slot(i)[field] for i in range(len(self.readers))))

    def finish(self):
        while self.cache.undo:
            self.cache.until = 0
            self.cache.medium()
        self.shared.stop()
        for what, child, _ in self.readers:
            wrong = child.result(STUCK + 60, what)
            if wrong:
                self.trouble(f"{what}: {wrong}")
        self.statuses += [self.status(m) for m, _ in self.mounts]
        for i in range(3):
            self.mirrors.rules(i, [])
        self.ends()
        for m, _ in self.mounts:
            check_all(m.disk, self.image)
            m.end()  # fails for a leak, too

    def report(self):
        network = [s["network"] for s in self.statuses]
        numbers = {
            "seed": self.seed, "seconds": self.seconds, "reads": self.total(READS), "bytes": self.total(BYTES),
            "worst_read_s": round(max(self.shared.slot(i)[WORST] for i in range(len(self.readers))), 2),
            "reads_over_1s": self.total(SLOWER), "changes_of_roles": self.changes, "outages": self.outages, "workers_killed": self.killed,
            "requests": sum(n["requests"] for n in network), "retries": sum(n["retries"] for n in network),
            "bad_answers": sum(n["bad"] for n in network), "hedges": sum(n.get("hedges", 0) for n in network),
            "bad_cache_blocks": sum(s["bad_blocks"] for s in self.statuses),
            "peak_resident_kib": self.peaks, "faults": self.mirrors.faults(), "cache_faults": self.cache.count,
        }
        print(json.dumps(numbers), flush=True)
        return numbers

    def run(self):
        self.prepare()
        self.start()
        self.cycles()
        self.finish()
        numbers = self.report()
        check(numbers["retries"] and numbers["bad_answers"] and numbers["bad_cache_blocks"] and len(numbers["faults"]) > 5,
              "hardly a fault was met: this tested nothing")


options = parse()
need_fuse()
key = make_key()
Soak(options).run()
done()
