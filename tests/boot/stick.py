"""A machine with its cache on a FAT32 stick, which --cache auto finds from within the machine's namespaces: it boots from there without a
server, and goes on when the stick is pulled out."""
from insidelib import *

os.environ["PATH"] += ":/usr/sbin:/sbin"
for program in ("fusefat", "mkfs.fat"):
    if not shutil.which(program):
        skip(f"{program} is not installed (tools/install-deps test)")
setup()
publish(image("systemd-ext4"), "debian")
CACHE = f"{DIR}/stick/knxblock"


def plug_in():
    p = subprocess.Popen(["fusefat", "-f", "-s", "-o", "rw+,allow_other", f"{DIR}/stick.img", f"{DIR}/stick"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started.append(p)
    wait_for(lambda: os.path.ismount("stick"), "fusefat")
    return p


def pull_out(p):
    p.kill()
    p.wait()
    subprocess.run(["umount", "-l", "stick"], check=True)


with open("stick.img", "wb") as f:
    f.truncate(200 << 20)
subprocess.run(["mkfs.fat", "-F", "32", "stick.img"], check=True, stdout=subprocess.DEVNULL)
os.mkdir("stick")
at_end.append(lambda: subprocess.run(["umount", "-lq", f"{DIR}/stick"]))
stick = plug_in()
os.mkdir(CACHE)
server = netlib.Server(f"{DIR}/store")
link = f"{server.url}/debian#{open('key.pub').read().split()[-1]}"

m = Machine(link, "--cache", "auto")
m.expect(f"the cache is in {CACHE}")
m.login()
report = m.poweroff()
cache = report["disk"]["cache"]
check(cache["dir"] == CACHE and cache["stores"] > 100, f"{cache}")
p = as_user(INETBOOT, "pull", "--cache", "auto", link)
check(p.returncode == 0, p.stdout.decode())

server.stop()
m = Machine(link, "--cache", "auto")
m.login()
report = m.poweroff()
check(report["end"] == "clean" and report["disk"]["cache"]["hits"] > 100, f"{report}")
print(f"without a server: login after {report['login_ms'] / 1000:.1f} s, {report['disk']['cache']['hits']} blocks from the stick")

server = netlib.Server(f"{DIR}/store")
link = f"{server.url}/debian#{open('key.pub').read().split()[-1]}"
m = Machine(link, "--cache", "auto")
m.expect("inetboot: starting ")
pull_out(stick)
m.login()
text = m.command("dmesg | grep -iE 'i/o error|ubd.*(fail|error)|ext4.*error|blk_update'; cat /usr/bin/* | wc -c")
check(re.fullmatch(r"\d+\s*", text), f"errors without the stick: {text}")
report = m.poweroff()
check(report["end"] == "clean" and report["disk"]["cache"]["state"] == "bypassed" and report["disk"]["network"]["requests"] > 20, f"{report}")
check("reads go on without it" in m.text, f"not said: {m.text[-3000:]}")
print(f"pulled out: login after {report['login_ms'] / 1000:.1f} s")
done()
