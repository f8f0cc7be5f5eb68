"""A disk on a web server, in all forms that it is read in; and the tools that show it as a file. Each is started on a folder and gives the
path of the disk in it.

A reader's processes are children of ours, and end by unmounting; what does not end in time is killed, by its own process id."""

import copy
import os
import shutil
import subprocess
import tempfile
import time

from measure import Failed, cpu_seconds, last_line, peak_memory, run

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


class Offer:
    """A disk below the web server's root: as it is, in a store of ours, and in one of casync's. `inside` runs a command in the
    namespace from which `url` can be reached."""

    def __init__(self, workplace, image, name, folder=""):
        """Publishes it. folder: below the root; "" or "/NAME"."""
        self.name, self.root = name, workplace.root + folder
        self.url, self.inside = workplace.url + folder, ()
        run(["cp", "--sparse=always", image, self.path("img")], 600)
        self.link = workplace.publish(image, name, name + ".store", folder)
        # An archive with the image as its one file: `casync mkdev`, for the image itself, needs /dev/nbd.
        tree = tempfile.mkdtemp(prefix="tree.", dir=self.root)
        os.link(self.path("img"), os.path.join(tree, "disk"))
        run(["casync", "make", "--compression=zstd", "--store=" + self.path("castr"), self.path("caidx"), tree], 600)
        shutil.rmtree(tree)

    def path(self, form):
        return os.path.join(self.root, self.name + "." + form)

    def at(self, url, inside):
        """The same in the folder that has that URL on another server."""
        other = copy.copy(self)
        other.url, other.inside = url, inside
        return other


class Reader:
    """One tool. `note` goes below the table. keeps_cache: "folder" (a local cache that outlives it), "running" (one that
    lives while it runs), None."""

    keeps_cache = None
    note = ""
    without = ()  # what is measured of the others, and says nothing of this one
    reads_all_at_start = False  # so that the page cache has it

    def __init__(self, workplace, offer):
        self.workplace, self.offer = workplace, offer
        self.children = []
        self.mount = self.cache = None

    def served(self):
        """Paths that the server reads for it."""
        return [self.offer.path("img")]

    def start(self):
        self.mount = tempfile.mkdtemp(prefix="mount.", dir=self.workplace.dir)
        self.log = open(self.mount + ".log", "w+b")
        if not self.cache:
            self.cache = tempfile.mkdtemp(prefix="cache.", dir=self.workplace.dir)
        return self.wait_for(self.launch())

    def spawn(self, *args, **options):
        child = subprocess.Popen([*self.offer.inside, *args], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
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
        return cpu_seconds(self.pids())

    def pids(self):
        return [child.pid for child in self.children]

    def peak_memory(self):
        """Of each of its processes, in bytes, the greatest first."""
        return peak_memory(self.pids())

    def stop(self, forget_cache):
        if not self.mount:
            return
        for path in (os.path.join(self.mount, "disk"), self.mount):
            unmount(path)
        for child in reversed(self.children):
            try:
                child.wait(0 if child.poll() is not None else self.patience(child))
            except subprocess.TimeoutExpired:
                pass
            finally:
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
        return [self.offer.path("store")]

    def launch(self):
        self.spawn(self.workplace.inetboot, "mount", "--cache", self.cache, self.offer.url + self.offer.link, self.mount)
        return os.path.join(self.mount, "disk")


class InetBootUnpacked(InetBoot):
    name = "inetboot, unpacked"
    note = "all of the disk is in the cache, as a plain file: pull --unpack; warm: the page cache is dropped after the check at the start"
    reads_all_at_start = True
    without = ("cold_seq", "cold_cpu", "cold_rand")

    def start(self):
        if not self.cache:
            self.cache = tempfile.mkdtemp(prefix="cache.", dir=self.workplace.dir)
            run([self.workplace.inetboot, "pull", "--unpack", "--cache", self.cache, self.offer.url + self.offer.link], 600)
        return super().start()

    def stop(self, forget_cache):
        super().stop(False)


class Nbdkit(Reader):
    name = "nbdkit curl + nbdfuse"
    filters = ()
    note = "does not verify what it reads"

    def launch(self):
        path = os.path.join(self.mount, "disk")
        listening = os.path.join(self.mount + ".sock")
        self.server = self.spawn("nbdkit", "-f", "-U", listening, *self.filters, "curl",
                                 "%s/%s.img" % (self.offer.url, self.offer.name), *self.parameters(), env=dict(os.environ, TMPDIR=self.cache))
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
    note = "the server has to say Accept-Ranges in each answer"

    def launch(self):
        self.spawn("httpdirfs", "-f", *self.parameters(), self.offer.url + "/", self.mount)
        return os.path.join(self.mount, self.offer.name + ".img")

    def parameters(self):
        return ()


class HttpdirfsCache(Httpdirfs):
    name = "httpdirfs --cache"
    keeps_cache = "folder"
    note = ""

    def parameters(self):
        return ("--cache", "--cache-location", self.cache)


class CasyncMount(Reader):
    name = "casync mount"
    note = "an archive that holds the image as a file: `casync mkdev` needs /dev/nbd"

    def served(self):
        return [self.offer.path("castr")]

    def launch(self):
        url = "%s/%s." % (self.offer.url, self.offer.name)
        self.spawn("casync", "mount", "--store=%scastr" % url, "%scaidx" % url, self.mount,
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


ALL = (InetBoot, InetBootUnpacked, Nbdkit, NbdkitCache, Httpdirfs, HttpdirfsCache, CasyncMount, PlainFile)
