"""Clocks, caches and samples: what every part of the benchmark measures with."""

import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import time

READER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "readpass.py")


class Failed(Exception):
    """A tool did not do its work; the text is for the table."""


class Clock:
    """The time that a part may take. The first round is always taken whole; others as far as time is left."""

    def __init__(self, minutes):
        self.end = time.monotonic() + minutes * 60

    def over(self, number):
        return number > 0 and time.monotonic() > self.end


def say(text):
    print("bench: %s" % text, file=sys.stderr, flush=True)


def load():
    return os.getloadavg()[0]


def drop_page_cache():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def size_of(folder):
    """Bytes of all its files."""
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files)


def warm_page_cache(*paths):
    """Reads files and folders, so that a server has them in memory: measured is then the client and not this machine's disk."""
    for path in paths:
        names = [path] if os.path.isfile(path) else [os.path.join(d, f) for d, _, files in os.walk(path) for f in files]
        for name in names:
            with open(name, "rb", buffering=0) as f:
                while f.read(1 << 20):
                    pass


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def end_group(child):
    """A leader of a process group, in order, or else at once."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(child.pid, number)
        try:
            child.communicate(timeout=10)
            return
        except subprocess.TimeoutExpired:
            pass


def run(args, limit, **options):
    """Runs a command to its end. Returns (wall seconds, CPU seconds, output); Failed with its last line."""
    name = os.path.basename(args[2] if args[0] == "nsenter" else args[0])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True, **options)
    try:
        output = child.communicate(timeout=limit)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        end_group(child)
        raise Failed("%s: not done after %d s" % (name, limit)) from None
    except BaseException:  # we are told to end
        end_group(child)
        raise
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise Failed("%s: %s" % (name, last_line(output) or "exit status %d" % child.returncode))
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, output


def read_proc(pid, name):
    """"" where the process has ended meanwhile."""
    try:
        with open("/proc/%s/%s" % (pid, name)) as f:
            return f.read()
    except OSError:
        return ""


def processes(pids):
    """These and all their descendants."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        stat = read_proc(pid, "stat")
        if stat:
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(pid))
    found = list(pids)
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(pids):
    """Of these and all their descendants that live, and of their children that have ended."""
    stats = [read_proc(pid, "stat") for pid in processes(pids)]
    ticks = sum(sum(map(int, stat.rsplit(")", 1)[1].split()[11:15])) for stat in stats if stat)
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory(pids):
    """The most that each of these and their descendants has had resident, in bytes, the greatest first."""
    lines = [line for pid in processes(pids) for line in read_proc(pid, "status").splitlines()]
    return sorted((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), reverse=True)


def read_pass(path, *what, limit=60):
    """Has readpass.py read a file, in a process of its own: a read that hangs in FUSE can then be ended."""
    output = run([sys.executable, READER, path] + [str(w) for w in what], limit + 60)[2]
    return json.loads(last_line(output))


def offsets_seed(round_number, phase):
    return random.Random("%d %s" % (round_number, phase)).randrange(1 << 31)


class Samples:
    """Values by (tool, what), their medians, and what failed."""

    def __init__(self):
        self.values = {}
        self.failed = {}

    def add(self, tool, what, value):
        self.values.setdefault(tool, {}).setdefault(what, []).append(value)

    def fail(self, tool, why):
        say("%s failed: %s" % (tool, why))
        self.failed.setdefault(tool, str(why))

    def median(self, tool, what):
        values = self.values.get(tool, {}).get(what)
        return statistics.median(values) if values else None

    def json(self):
        return {
            "median": {t: {w: statistics.median(v) for w, v in ws.items()} for t, ws in self.values.items()},
            "all": self.values,
            "failed": self.failed,
        }
