"""inetboot make: an ordinary user makes the small Debian twice, with equal bytes; it boots in User-Mode Linux with its user, its language and an
address by DHCP. Wrong inputs are refused; what is interrupted leaves nothing. Packages come from, and are kept in, the cache of the
test images."""
import os, shutil, signal, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../boot"))
from bootlib import *

# Root becomes nobody, who has no subordinate users: in this mount namespace he has.
AS_BUILDER = ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount --bind subuid /etc/subuid && mount --bind subuid /etc/subgid && exec \"$@\"", "sh"]


def builder_args(*args):
    return (AS_BUILDER if os.geteuid() == 0 else []) + as_user_args(*args)


def builder(*args, limit=600, **more):
    p = subprocess.run(builder_args(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, cwd=DIR, **more)
    return p.returncode, p.stdout.decode()


def make(*args, **more):
    status, out = builder(INETBOOT, "make", *args, **more)
    check(status == 0, f"make {args}: {status}: {out}")
    return out


def refused(args, text, status=2, **more):
    got, out = builder(INETBOOT, "make", *args, **more)
    check(got == status and text in out, f"make {args}: {got} instead of {status}, or not '{text}': {out}")


def left():
    return os.listdir(f"{USER}/tmp") + [n for n in os.listdir(USER) if n.startswith(".inetboot-make")]


setup()
for tool in "mmdebstrap", "newuidmap":
    if not shutil.which(tool):
        skip(f"{tool} is not installed (tools/install-deps make)")
with open("subuid", "w") as f:
    f.write("nobody:100000:65536\n")
os.environ["XDG_RUNTIME_DIR"] = f"{USER}/run"
os.environ["XDG_CACHE_HOME"], cache = f"{USER}/cache", os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
os.environ["TMPDIR"] = f"{USER}/tmp"
as_user("mkdir", "-p", "-m", "711", "tmp")
as_user("mkdir", "-p", "-m", "700", "run", "cache/inetboot/images/debs")

# What is wrong shows before anything is done.
for args, text in [
    (["debian"], "OUT is needed"),
    (["windows", "out.img"], "debian, server or desktop"),
    (["debian", "out.img", "--store", "store"], "not both"),
    (["debian", "--store", "store"], "go together"),
    (["debian", "out.img", "--name", "x"], "--store"),
    (["debian", "out.img", "--user", "root"], "not root"),
    (["debian", "out.img", "--user", "a;b"], "small letters"),
    (["debian", "out.img", "--lang", "klingon"], "de_AT"),
    (["debian", "out.img", "--size", "1M"], "512M"),
    (["debian", "out.img", "--mirror", "ftp://example.org/debian"], "http"),
    (["debian", "out.img", "--mirror", "http://example.org/$(id)"], "http"),
    (["debian", "out.img", "--packages", "nano;id"], "names of packages"),
    (["debian", "out.img", "--release", "../bookworm"], "bookworm"),
]:
    refused(args, text)
refused(["debian", "tmp"], "is no file", status=1)
refused(["debian", "--store", "store", "--key", "nokey"], "cannot read the key", status=1)
refused(["debian", "out.img", "--mirror", "http://127.0.0.1:9/debian"], "no http://127.0.0.1:9/debian/dists/bookworm/InRelease", status=1)
os.mkdir("bin")
for tool in "sh", "env", "setpriv", "unshare", "mount", "id", "dirname", "rm", "chmod", "true", "mknod":
    os.symlink(shutil.which(tool), f"bin/{tool}")
refused(["debian", "out.img"], "install the package mmdebstrap", status=1, env={**os.environ, "PATH": f"{DIR}/bin"})
check(not os.path.exists(f"{USER}/out.img") and not left(), f"left behind by what failed: {left()}")

status, mirror = builder(os.path.join(HERE, "../../tools/debian-mirror"))
mirror = mirror.strip().rstrip("/")
if status or subprocess.run(["/usr/lib/apt/apt-helper", "download-file", f"{mirror}/dists/bookworm/InRelease", "InRelease"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
    skip(f"no Debian mirror answers: {mirror}")

# Packages from the shared cache: links, which nobody writes to.
shared = f"{cache}/inetboot/images/debs"
os.makedirs(shared, exist_ok=True)
debs = f"{USER}/cache/inetboot/images/debs"
for name in os.listdir(shared):
    if name.endswith(".deb") or name.startswith("list."):
        subprocess.run(["cp", "-l", f"{shared}/{name}", debs], stderr=subprocess.DEVNULL).returncode and shutil.copy(f"{shared}/{name}", debs)

# Interrupted once it is at work.
p = subprocess.Popen(builder_args(INETBOOT, "make", "debian", "out.img", "--no-kernel", "--mirror", mirror), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
started.append(p)
wait_for(lambda: any(os.path.isdir(f"{USER}/tmp/{n}/tree/usr") for n in os.listdir(f"{USER}/tmp")), "a tree is begun", LIMIT)
p.send_signal(signal.SIGTERM)
out = p.communicate(timeout=LIMIT)[0].decode()
check(p.returncode == 1 and "interrupted" in out, f"interrupted, it ends with {p.returncode}: {out}")
check(not os.path.exists(f"{USER}/out.img") and not left(), f"left behind by what was interrupted: {left()}")

make("debian", "a.img", "--no-kernel", "--lang", "de", "--mirror", mirror)
check(not left(), f"left behind: {left()}")
for name in os.listdir(debs):
    if (name.endswith(".deb") or name.startswith("list.")) and not os.path.exists(f"{shared}/{name}"):
        shutil.copy(f"{debs}/{name}", f"{shared}/.{name}")
        os.rename(f"{shared}/.{name}", f"{shared}/{name}")
# Another place, time zone, language and mask; over a file that is there.
as_user("touch", "b.img")
make("debian", "b.img", "--no-kernel", "--lang", "de_DE.UTF-8", "--mirror", mirror, env={**os.environ, "TZ": "Asia/Tokyo", "LANG": "fr_FR.UTF-8"}, umask=0o077)
check(subprocess.run(["cmp", f"{USER}/a.img", f"{USER}/b.img"]).returncode == 0, "two builds differ")
st = os.stat(f"{USER}/b.img")
check(st.st_size == 1 << 30 and st.st_blocks * 512 < 400 << 20 and st.st_mode & 0o777 == 0o644, f"size or mode: {st}")

m = Machine(f"{USER}/a.img", "--network", "test", "--name", "made")
m.expect("login: ")
m.type("user\n")
m.expect(r"\$ ")
m.type("sudo -i\n")
m.expect("# ")
out = m.command("id user; getent passwd user; getent shadow root; cat /etc/default/keyboard /etc/machine-id; LC_ALL= locale; date -d 2026-10-07 +%A; LC_ALL=de_DE.UTF-8 ls /nosuch")
for text in "uid=1000(user)", ":/home/user:/bin/bash", "root:!", 'XKBLAYOUT="de"', "LANG=de_DE.UTF-8", "Mittwoch", "Datei":
    check(text in out, f"no {text!r} in the guest: {out}")
out = m.command("networkctl --no-pager status vec0 | cat; getent hosts host.inetboot; hostname; systemctl --failed --plain --no-legend")
check("configured" in out and "10.0.2." in out and "10.0.2.2" in out, f"no network in the guest: {out}")
check("failed" not in out, f"units failed in the guest: {out}")
m.poweroff()
done()
