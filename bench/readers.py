"""The tools that show a remote disk as a file. Each is started on a folder and gives the path of the disk in it.

A reader's processes are children of ours, and end by unmounting; what does not end in time is killed, by its own process id."""

import os
import subprocess
import tempfile
import time

from measure import Failed, last_line

START_S = 60
END_S = 20


def mounted(path):
    """Also where the process behind a mount has died: os.path.ismount() then says no."""
    with open("/proc/self/mounts") as f:
        return any(line.split()[1] == path for line in f)


def unmount(path):
    for args in (["umount", path], ["fusermount3", "-u", path], ["umount", "-l", path]):
        if not mounted(path):
            return
        subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=END_S)


class Reader:
    """One tool. `note` goes below the table. keeps_cache: "folder" (a local cache that outlives it), "running" (one that
    lives while it runs), None."""

    keeps_cache = None
    note = ""

    def __init__(self, workplace):
        self.workplace = workplace
        self.children = []
        self.mount = self.cache = None

    def served(self):
        """Paths that the server reads for it."""
        return [os.path.join(self.workplace.root, "large.img")]

    def start(self):
        self.mount = tempfile.mkdtemp(prefix="mount.", dir=self.workplace.dir)
        self.log = open(self.mount + ".log", "w+b")
        if not self.cache:
            self.cache = tempfile.mkdtemp(prefix="cache.", dir=self.workplace.dir)
        return self.wait_for(self.launch())

    def spawn(self, *args, **options):
        child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
                                 **options)
        self.children.append(child)
        return child

    def complaint(self):
        """The last that it said."""
        if not self.mount:
            return ""
        self.log.seek(0)
        return last_line(self.log.read().decode(errors="replace"))

    def wait_for(self, path, ready=lambda path: os.path.exists(path) and os.path.getsize(path) > 0):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if ready(path):
                return path
            if any(child.poll() not in (None, 0) for child in self.children):
                break
            time.sleep(0.01)
        raise Failed("does not start: %s" % self.complaint())

    def cpu(self):
        """Seconds of CPU that its processes have used; those of the server on the other side are not among them."""
        ticks = 0
        for child in self.children:
            with open("/proc/%d/stat" % child.pid) as f:
                ticks += sum(int(field) for field in f.read().rsplit(")", 1)[1].split()[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self, forget_cache):
        if not self.mount:
            return
        for path in (os.path.join(self.mount, "disk"), self.mount):
            unmount(path)
        for child in reversed(self.children):
            try:
                child.wait(0 if child.poll() is not None else self.patience(child))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []
        self.log.close()
        self.mount = None
        if forget_cache:
            self.cache = None  # left where it is, for what workplace.py says of deletions

    def patience(self, child):
        return END_S


class InetBoot(Reader):
    name = "inetboot"
    keeps_cache = "folder"

    def served(self):
        return [os.path.join(self.workplace.root, "store")]

    def launch(self):
        self.spawn(self.workplace.inetboot, "mount", "--cache", self.cache, self.workplace.link, self.mount)
        return os.path.join(self.mount, "disk")


class Nbdkit(Reader):
    name = "nbdkit curl + nbdfuse"
    filters = ()
    note = "does not verify what it reads"

    def launch(self):
        path = os.path.join(self.mount, "disk")
        listening = os.path.join(self.mount + ".sock")
        self.server = self.spawn("nbdkit", "-f", "-U", listening, *self.filters, "curl",
                                 self.workplace.url + "/large.img", *self.parameters(), env=dict(os.environ, TMPDIR=self.cache))
        self.wait_for(listening, os.path.exists)
        open(path, "w").close()
        self.spawn("nbdfuse", "-r", path, "--unix", listening)
        return path

    def parameters(self):
        return ()

    def patience(self, child):
        if child is self.server:
            child.terminate()
        return END_S


class NbdkitCache(Nbdkit):
    name = "nbdkit curl cache + nbdfuse"
    keeps_cache = "running"
    filters = ("--filter=cache",)

    def parameters(self):
        return ("cache-on-read=true",)


class Httpdirfs(Reader):
    name = "httpdirfs"
    keeps_cache = "folder"
    note = "1.2.5 asks for one byte more than the file has, which strict servers refuse"

    def launch(self):
        self.spawn("httpdirfs", "-f", "--cache", "--cache-location", self.cache, self.workplace.url + "/", self.mount)
        return os.path.join(self.mount, "large.img")


class CasyncMount(Reader):
    name = "casync mount"
    note = "an archive that holds the image as a file: `casync mkdev` needs /dev/nbd"

    def served(self):
        return [os.path.join(self.workplace.root, "casync")]

    def launch(self):
        url = self.workplace.url
        self.spawn("casync", "mount", "--store=%s/casync" % url, "%s/large.caidx" % url, self.mount,
                   env=dict(os.environ, TMPDIR=self.cache))
        return os.path.join(self.mount, "disk")


class PlainFile(Reader):
    name = "plain file"
    note = "on this machine's disk"

    def served(self):
        return []

    def start(self):
        return self.workplace.large

    def complaint(self):
        return ""

    def stop(self, forget_cache):
        pass


ALL = (InetBoot, Nbdkit, NbdkitCache, Httpdirfs, CasyncMount, PlainFile)
