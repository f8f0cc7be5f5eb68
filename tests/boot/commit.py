"""A package is installed in a guest, from a repository on the host; what was written becomes the next version, which runs elsewhere without the
overlay. The new version is what a full publish of the same disk makes, and stores no more."""
import functools, hashlib, http.server, struct, threading
from bootlib import *

setup()
own_runtime()
if not shutil.which("dpkg-deb"):
    skip("dpkg-deb is not installed")


def user(*args, status=0):
    start = time.monotonic()
    p = as_user(INETBOOT, *args)
    text = p.stdout.decode()
    check(p.returncode == status, f"status {p.returncode} instead of {status} of {args}: {text}")
    return text, time.monotonic() - start


def make_repository():
    """One package, with a program and some data that does not compress; and the list that apt wants."""
    os.makedirs("deb/DEBIAN")
    os.makedirs("deb/usr/bin")
    os.makedirs("deb/usr/share/told")
    os.mkdir("repository")
    control = "Package: told\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a program\n"
    with open("deb/DEBIAN/control", "w") as f:
        f.write(control)
    with open("deb/usr/bin/told", "w") as f:
        f.write("#!/bin/sh\nsha256sum </usr/share/told/data\n")
    os.chmod("deb/usr/bin/told", 0o755)
    data = os.urandom(3 << 20)
    with open("deb/usr/share/told/data", "wb") as f:
        f.write(data)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", "deb", "repository/told_1.0_all.deb"], check=True, stdout=subprocess.DEVNULL)
    with open("repository/told_1.0_all.deb", "rb") as f:
        deb = f.read()
    with open("repository/Packages", "w") as f:
        f.write(f"{control}Filename: ./told_1.0_all.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n")
    return hashlib.sha256(data).hexdigest()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def serve_repository():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory="repository"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at_end.append(server.shutdown)
    return server.server_address[1]


def merge(image, overlay, out):
    """The disk with what the overlay has: a second reader of copy-on-write files. Returns the bytes written over it."""
    subprocess.run(["cp", "--sparse=always", image, out], check=True)
    os.chmod(out, 0o644)
    written = 0
    with open(overlay, "rb") as f, open(out, "r+b") as to:
        magic, version, _, size, sector, align, kind = struct.unpack(">IIIQIII", f.read(32))
        check((magic, version, sector, align, kind) == (0x4f4f4f4d, 3, 512, 4096, 0), "a strange overlay")
        f.seek(8192)
        bitmap = f.read((size // 512 + 7) // 8)
        data = (8192 + len(bitmap) + 4095) // 4096 * 4096
        for at, byte in enumerate(bitmap):
            for bit in range(8) if byte else ():
                if byte >> bit & 1:
                    f.seek(data + (at * 8 + bit) * 512)
                    to.seek((at * 8 + bit) * 512)
                    to.write(f.read(512))
                    written += 512
    return written


def disk_usage(store):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(f"{store}/blocks") for f in files)


def manifest(store):
    with open(f"{store}/debian/manifest") as f:
        return json.loads(f.read().split("\n", 2)[2])


path = image("systemd-ext4")
told = make_repository()
port = serve_repository()
user("key", "key")
_, full = user("publish", path, "store", "--name", "debian", "--key", "key", "--level", "1", "--title", "A Debian", "--cmdline", "quiet")
shutil.copytree(f"{USER}/store", "before")
os.symlink(f"{USER}/store", "store")
link = serve()["debian"]

m = Machine(link, "--overlay", "my.cow", "--network", "commit")
m.login()
out = m.command(f"echo 'deb [trusted=yes] http://host.inetboot:{port}/ ./' >/etc/apt/sources.list.d/told.list; "
                "O='-q -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/told.list -o Dir::Etc::sourceparts=-'; apt-get $O update && apt-get $O -y install told")
check("Setting up told" in out, f"not installed: {out}")
# Killed, the machine has lost nothing that it had synced.
m.command("sync")
m.p.kill()
m.p.wait()
wait_for(lambda: not user_processes(), "the end of all processes of a machine that was killed")
m = Machine(link, "--overlay", "my.cow")
m.login()
check(told in m.command("told"), "the program does not run with the overlay")
busy, _ = user("commit", "my.cow", "store", "--key", "key", status=1)
check("in use" in busy, f"not said that a machine has it: {busy}")
m.poweroff()

text, seconds = user("commit", "my.cow", "store", "--key", "key", "--level", "1")
check("version 2" in text, text)
now = manifest("store")
check([(b["title"], b["cmdline"]) for b in now["boot"]] == [("A Debian", "quiet")], f"other boot entries: {now['boot']}")
check(now["parent"] == {"version": 1, "root": manifest("before")["index"]["root"]}, f"another parent: {now['parent']}")

# What a full publish of the same disk makes, and stores.
base = disk_usage("before")
written = merge(path, f"{USER}/my.cow", "merged")
run("publish", "merged", "before", "--name", "debian", "--key", f"{USER}/key", "--level", "1")
check(manifest("before")["index"] == now["index"], "the disk is another one than that of a full publish")
check(manifest("before")["stored"] == now["stored"], "another size of the download than that of a full publish")
whole, stored = disk_usage("before") - base, disk_usage("store") - base
print(f"commit: {seconds:.2f} s, the first publish {full:.2f} s; {written / 1e6:.1f} MB written, {stored / 1e6:.1f} MB stored, "
      f"by a full publish {whole / 1e6:.1f} MB")
print(text)
check(stored <= 1.1 * whole, f"{stored} bytes stored, more than the {whole} of a full publish")
run("verify", "store")

# Elsewhere: without the overlay, and with nothing of what was fetched before.
m = Machine(link, "--cache", "elsewhere")
m.login()
check(told in m.command("told"), "the program does not run from the new version")
m.poweroff()

# The overlay belongs to version 1 still.
m = Machine(link, "--overlay", "my.cow")
m.end(status=1)
check("debian@1#" in m.text, f"not said which version fits: {m.text[-1000:]}")
again, _ = user("commit", "my.cow", "store", "--key", "key", status=1)
check("--force" in again and "version 2" in again, f"not said what to do: {again}")
wait_for(lambda: not user_processes(), "the switch's end")
done()
