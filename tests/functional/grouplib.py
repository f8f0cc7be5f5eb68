"""For tests of bounds: a memory cgroup (version 1 or 2) as the limit that the kernel enforces, and what processes take."""
import threading
from mountlib import *


SANITIZED = b"__asan_init" in content(INETBOOT)  # takes much more memory
os.environ.pop("MALLOC_PERTURB_", None)  # meson sets it; it writes to all memory, that which is only reserved, too


class Group:
    """Who is started with `enter` may take `limit` bytes together, page cache and kernel memory included; no swap. No limit for
    sanitized programs."""

    def __init__(self, limit):
        limit = limit if not SANITIZED else limit * 20
        self.v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        base = "/sys/fs/cgroup" if self.v2 else "/sys/fs/cgroup/memory"
        self.path = f"{base}/inetboot-test-{os.getpid()}-{time.monotonic_ns()}"
        if os.geteuid():
            skip("memory cgroups take root")
        if self.v2 and "memory" not in content(f"{base}/cgroup.subtree_control").decode().split():
            skip("no memory controller in /sys/fs/cgroup")
        try:
            os.mkdir(self.path)
        except OSError as e:
            skip(f"no memory cgroup can be made: {e}")
        at_end.append(self.remove)
        self.put("memory.max" if self.v2 else "memory.limit_in_bytes", limit)
        try:
            self.put("memory.swap.max" if self.v2 else "memory.memsw.limit_in_bytes", 0 if self.v2 else limit)
        except OSError:
            pass  # no accounting of swap

    def put(self, file, value):
        with open(f"{self.path}/{file}", "w") as f:
            f.write(str(value))

    def enter(self):
        """For preexec_fn."""
        self.put("cgroup.procs", 0)

    def number(self, file, key=None):
        text = content(f"{self.path}/{file}").decode()
        return int(text) if key is None else int(dict(line.split() for line in text.splitlines()).get(key, 0))

    def killed(self):
        """How many the kernel has killed because they took too much."""
        return self.number("memory.events" if self.v2 else "memory.oom_control", "oom_kill")

    def processes(self):
        return [int(pid) for pid in content(f"{self.path}/cgroup.procs").split()]

    def remove(self):
        if os.path.isdir(self.path):
            wait_for(lambda: not self.processes(), "the end of the group's processes")
            os.rmdir(self.path)


def taken(pid):
    """The most resident bytes so far, and anonymous and shared ones now (those that the page cache does not give)."""
    fields = dict(line.split(":", 1) for line in content(f"/proc/{pid}/status").decode().splitlines())
    number = lambda name: int(fields[name].split()[0]) * 1024
    return number("VmHWM"), number("RssAnon") + number("RssShmem")


class Watch:
    """Watches what processes take beside the page cache, in a thread: the most of all together."""

    def __init__(self, group):
        self.group, self.most, self.on = group, 0, True
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while self.on:
            try:
                self.most = max(self.most, sum(taken(pid)[1] for pid in self.group.processes()))
            except (OSError, KeyError):
                pass  # one ended
            time.sleep(0.02)

    def end(self):
        self.on = False
        self.thread.join()
        return self.most if not SANITIZED else 0
