"""Everything that the benchmark needs, made where it is missing: packages, the build, images, a store, a web server.

What takes long to make is kept in ${XDG_CACHE_HOME:-~/.cache}/inetboot/bench; all else lives in a file system of its own, which goes at the
end. Its own, because ext4 does not use an inode again for minutes after a deletion, and searches long for others where many were deleted:
the same writes cost up to three times as much after the benchmark's last run, or anybody's `rm -r`."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from measure import Failed, run, say

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "inetboot")
FILES_BYTES = 900 << 20  # of real files in the large image
IMAGE_BYTES = 1 << 30
DISK_BYTES = 32 << 30  # of the file system for all that is written; sparse
FILE_MOST = 64 << 20  # a few huge files would make it untypical

# open_file_cache stays off: with it, block files beyond the descriptor limit are answered with 500.
NGINX = """%(user)s
worker_processes 1;
daemon off;
pid %(dir)s/pid;
error_log %(dir)s/error.log;
events { worker_connections 512; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	open_file_cache off;
	keepalive_requests 1000000;
	types { }
	default_type application/octet-stream;
	client_body_temp_path %(dir)s/body;
	proxy_temp_path %(dir)s/proxy;
	fastcgi_temp_path %(dir)s/fastcgi;
	uwsgi_temp_path %(dir)s/uwsgi;
	scgi_temp_path %(dir)s/scgi;
	server { listen 127.0.0.1:%(port)d; root %(root)s; autoindex on; }
}
"""


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
        self.build = build
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

    def prepare(self):
        self.make_disk()
        os.mkdir(self.root)
        run([os.path.join(SOURCE, "tools/install-deps"), "build", "demo", "bench"], 1800)
        if not self.build:
            self.make_build()
        self.inetboot = os.path.join(self.build, "cli/inetboot")
        if not os.access(self.inetboot, os.X_OK):
            raise Failed("%s is not there" % self.inetboot)
        if not self.large:
            self.large = os.path.join(self.kept, "usr.img")
            if not os.path.exists(self.large):
                say("making an image of 1 GiB from /usr")
                make_large_image(self.large)
        run(["cp", "--sparse=always", self.large, os.path.join(self.dir, "large.img")], 600)
        self.large = os.path.join(self.dir, "large.img")
        self.large_sha256 = sha256_of(self.large)
        self.key = os.path.join(self.dir, "key")
        self.public = run([self.inetboot, "key", self.key], 30)[2].strip()
        self.serve()

    def make_build(self):
        self.build = os.path.join(SOURCE, "build-bench")
        say("building in %s" % self.build)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            run(["meson", "setup", "--buildtype=release", self.build, SOURCE], 300)
        run(["ninja", "-C", self.build, "cli/inetboot", "guest/initramfs.cpio.gz"], 1800)

    def debian_image(self):
        out = os.path.join(self.dir, "debian.img")
        run([os.path.join(SOURCE, "tests/images/make-image"), "systemd-ext4", out], 1800)
        return out

    def publish(self, image, store, name):
        """Into a store below the web server's root. Returns its link."""
        run([self.inetboot, "publish", image, os.path.join(self.root, store), "--name", name, "--key", self.key,
             "--level", "3"], 600)
        return "%s/%s/%s#%s" % (self.url, store, name, self.public)

    def serve(self):
        """nginx with one worker on loopback, without any cache of its own."""
        folder = os.path.join(self.dir, "nginx")
        os.mkdir(folder)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        config = os.path.join(folder, "nginx.conf")
        with open(config, "w") as f:
            f.write(NGINX % {"dir": folder, "root": self.root, "port": port, "user": "user root;" if os.geteuid() == 0 else ""})
        self.server = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-e",
                                        os.path.join(folder, "error.log")], stdin=subprocess.DEVNULL)
        self.url = "http://127.0.0.1:%d" % port
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.server.poll() is not None:
                    break
                time.sleep(0.05)
        raise Failed("nginx does not start: see %s" % folder)

    def close(self):
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        if os.path.ismount(self.dir):
            run(["umount", self.dir], 120)
        shutil.rmtree(self.dir, ignore_errors=True)
