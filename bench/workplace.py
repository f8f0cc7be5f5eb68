"""Everything that the benchmark needs, made where it is missing: packages, the build, images, a store, a web server.

What takes long to make is kept in ${XDG_CACHE_HOME:-~/.cache}/inetboot/bench; all else lives in a file system of its own, which goes at the
end. Its own, because ext4 does not use an inode again for minutes after a deletion, and searches long for others where many were deleted:
the same writes cost up to three times as much after the benchmark's last run, or anybody's `rm -r`."""

import hashlib
import os
import shutil
import tempfile

from measure import Failed, run, say
from webserver import WebServer

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "inetboot")
FILES_BYTES = 900 << 20  # of real files in the large image
IMAGE_BYTES = 1 << 30
DISK_BYTES = 64 << 30  # of the file system for all that is written; sparse
MEMORY_BYTES = 4 << 30  # at most
FILE_MOST = 64 << 20  # a few huge files would make it untypical


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def pick_files(top):
    """Regular files below top in an order that depends on their names only, up to FILES_BYTES."""
    files = []
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) <= FILE_MOST:
                files.append(path)
    files.sort(key=lambda path: hashlib.sha256(os.fsencode(path)).digest())
    total = 0
    for path in files:
        total += (os.path.getsize(path) + 4095) // 4096 * 4096
        if total > FILES_BYTES:
            return
        yield path


def make_large_image(out):
    """An ext4 of 1 GiB with files of this machine's /usr."""
    tree = tempfile.mkdtemp(prefix="tree.", dir=os.path.dirname(out))
    try:
        for path in pick_files("/usr"):
            os.makedirs(os.path.dirname(tree + path), exist_ok=True)
            shutil.copyfile(path, tree + path)
        with open(out + ".new", "wb") as f:
            f.truncate(IMAGE_BYTES)
        run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-U", "6d7a1bd0-3b5c-4b5e-9a44-2b0d1f7c5a11", "-d", tree,
             out + ".new"], 600)
        os.rename(out + ".new", out)
    finally:
        shutil.rmtree(tree)


class Workplace:
    def __init__(self, build, large=None):
        self.kept = os.path.join(CACHE, "bench")
        os.makedirs(self.kept, exist_ok=True)
        # On the disk that the cache is on: /tmp may be memory.
        self.dir = tempfile.mkdtemp(prefix="run.", dir=self.kept)
        self.root = os.path.join(self.dir, "www")
        self.server = None
        self.build, self.own_build = build, not build
        self.large = large

    def make_disk(self):
        """Mounts a fresh ext4 over the folder, in a file that is gone with the last user."""
        disk = self.dir + ".ext4"
        device = None
        try:
            with open(disk, "wb") as f:
                f.truncate(DISK_BYTES)
            run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", disk], 300)
            device = run(["/sbin/losetup", "--find", "--show", "--direct-io=on", disk], 30)[2].strip()
            run(["mount", device, self.dir], 30)
        finally:
            if device:
                run(["/sbin/losetup", "-d", device], 30)  # takes effect when it is unmounted
            os.unlink(disk)

    def prepare(self, with_large):
        """with_large: a part needs the large image."""
        self.make_disk()
        os.mkdir(self.root)
        run([os.path.join(SOURCE, "tools/install-deps"), "build", "demo", "bench"], 1800)
        if not self.build:
            self.make_build()
        self.inetboot = os.path.join(self.build, "cli/inetboot")
        if not os.access(self.inetboot, os.X_OK):
            raise Failed("%s is not there" % self.inetboot)
        self.relay = os.path.join(self.build, "tests/network/relay")
        self.frames = os.path.join(self.build, "bench/frames")
        if with_large:
            self.prepare_large()
        self.key = os.path.join(self.dir, "key")
        self.public = run([self.inetboot, "key", self.key], 30)[2].strip()
        self.server = WebServer(os.path.join(self.dir, "nginx"), self.root)
        self.url = self.server.url

    def need_relay(self):
        for path in (self.relay, "/dev/net/tun"):
            if not os.path.exists(path):
                raise Failed("%s is not there: no lines between network namespaces" % path)

    def need_medium(self):
        """`inetboot make` and `inetboot medium` work: what they run, and the medium's own programs."""
        run([os.path.join(SOURCE, "tools/install-deps"), "make", "medium", "medium-parts"], 1800)
        if self.own_build:
            run(["ninja", "-C", self.build], 1800)
            run([os.path.join(SOURCE, "tools/medium-parts"), self.build], 3600)
        parts = os.path.join(self.build, "medium/parts")
        if not os.path.exists(parts):
            raise Failed("%s is not there: make medium-parts" % parts)

    def prepare_large(self):
        if not self.large:
            self.large = os.path.join(self.kept, "usr.img")
            if not os.path.exists(self.large):
                say("making an image of 1 GiB from /usr")
                make_large_image(self.large)
        run(["cp", "--sparse=always", self.large, os.path.join(self.dir, "large.img")], 600)
        self.large = os.path.join(self.dir, "large.img")
        self.large_sha256 = sha256_of(self.large)

    def make_build(self):
        self.build = os.path.join(SOURCE, "build-bench")
        say("building in %s" % self.build)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            run(["meson", "setup", "--buildtype=release", self.build, SOURCE], 300)
        run(["ninja", "-C", self.build, "cli/inetboot", "guest/initramfs.cpio.gz", "tests/network/relay", "bench/frames"], 1800)

    def debian_image(self):
        out = os.path.join(self.dir, "debian.img")
        run([os.path.join(SOURCE, "tests/images/make-image"), "systemd-ext4", out], 1800)
        return out

    def desktop_image(self):
        out = os.path.join(self.dir, "desktop.img")
        run([os.path.join(SOURCE, "bench/make-desktop"), out], 1800)
        return out

    def memory(self, folder):
        """Makes /FOLDER below the web server's root one in memory, which dropping the page cache leaves there."""
        os.mkdir(self.root + folder)
        run(["mount", "-t", "tmpfs", "-o", "size=%d" % MEMORY_BYTES, "tmpfs", self.root + folder], 30)

    def publish(self, image, name, store, folder="", *options):
        """Into a store below a folder (or "") of the web server's root. Returns its link, without the server's URL and the folder."""
        run([self.inetboot, "publish", image, os.path.join(self.root + folder, store), "--name", name, "--key", self.key,
             "--level", "3", *options], 600)
        return "/%s/%s#%s" % (store, name, self.public)

    def close(self):
        if self.server:
            self.server.stop()
        if os.path.ismount(self.dir):
            try:
                run(["umount", "-R", self.dir], 120)
            except Failed as why:
                say(why)
                run(["umount", "-R", "-l", self.dir], 120)  # gone with its last user
        shutil.rmtree(self.dir, ignore_errors=True)
