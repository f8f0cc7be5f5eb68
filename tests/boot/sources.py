"""What else boots: a raw file and a cloop here, both over HTTP ranges; two images from one store at once; both kernels; and a server
that goes away in the middle of a boot and comes back."""
from bootlib import *

setup()
squashfs, sysvinit = image("systemd-squashfs"), image("sysvinit-ext4")
publish(squashfs, "systemd")
publish(sysvinit, "sysvinit")
links = serve()

# Two at once.
machines = [Machine(links["systemd"]), Machine(links["sysvinit"])]
for m in machines:
    m.login()
for m in machines:
    check("42" in m.command("echo $((6*7))"), "no answer from one of two")
    m.poweroff()

# A raw file and a cloop file, here.
for path in (squashfs,):
    m = Machine(path, "--until", "login: ")
    check(m.end()["login_ms"], f"{path}: no login")
if shutil.which("create_compressed_fs"):
    subprocess.run(["create_compressed_fs", "-B", "65536", squashfs, "image.cloop"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    m = Machine(f"{DIR}/image.cloop", "--until", "login: ")
    check(m.end()["login_ms"], "cloop: no login")

# Over HTTP ranges.
os.mkdir("files")
for name in ("systemd-squashfs", "image.cloop"):
    if os.path.exists(name):
        os.link(name, f"files/{name}")
server = BadServer("files")
started.append(server.process)
for name in os.listdir("files"):
    m = Machine(f"{server.url}/{name}", "--until", "login: ")
    check(m.end()["login_ms"], f"{name} over HTTP: no login")

# The Debian kernel, also where one of ours was built.
m = Machine(links["systemd"], "--until", "login: ", kernel=shutil.which("linux.uml"))
check(m.end()["login_ms"], "linux.uml: no login")

# Away for ten seconds while the guest boots.
server = BadServer("store")
started.append(server.process)
m = Machine(re.sub(r":\d+/", f":{server.port}/", links["systemd"]), "--until", "login: ", "--cache", "empty")
m.expect("inetboot: starting")
server.gone(10)
check(m.end()["login_ms"], "no login after the server came back")
done()
