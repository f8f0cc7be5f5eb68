"""--overlay keeps what a guest writes, also from one mount of the image to another; the image stays as it is; an overlay of another
version of the image is refused, and not harmed."""
from bootlib import *

setup()
path = image("systemd-ext4")
publish(path, "debian")
publish(image("systemd-erofs"), "erofs")
links = serve()

m = Machine(links["debian"], "--overlay", "my.cow")
m.login()
m.command("echo kept > /root/file; dd if=/dev/urandom of=/root/big bs=1M count=3 2>/dev/null; sha256sum /root/big > /root/sum")
m.poweroff()
check(os.stat(f"{USER}/my.cow").st_blocks * 512 < 100e6, "the overlay is not sparse")

m = Machine(links["debian"], "--overlay", "my.cow")
m.login()
second = Machine(links["debian"], "--overlay", "my.cow")
second.end(status=1)
check("in use" in second.text, f"not said that a machine has it: {second.text}")
check("kept" in m.command("cat /root/file"), "the file is gone")
check("OK" in m.command("sha256sum -c /root/sum"), "the file's bytes changed")
m.poweroff()

# Files that cannot be used, and file systems that cannot be written to.
as_user("touch", "empty")
for overlay, word in ("empty", "remove it"), ("/no/such/folder/my.cow", "No such file"), (f"{DIR}/my.cow", "denied"):
    m = Machine(links["debian"], "--overlay", overlay)
    m.end(status=1)
    check(word in m.text and overlay in m.text, f"not said what is wrong: {m.text[-1000:]}")
m = Machine(links["erofs"], "--overlay", "erofs.cow")
m.end(status=1)
check("publish the system as ext4" in m.text, f"not said what is wrong: {m.text[-1000:]}")

m = Machine(links["debian"])
m.login()
check("No such file" in m.command("cat /root/file"), "without the overlay the file is there: the image was changed")
m.poweroff()
run("verify", "store")

# A version that has a boot pack, and else the same disk: the overlay stays good.
Machine(links["debian"], "--record", "trace", "--until", "login: ").end()
run("profile", "store/debian", f"{USER}/trace", "--key", "key", "--level", "1")
m = Machine(links["debian"], "--overlay", "my.cow")
m.login()
check("kept" in m.command("cat /root/file"), "the file is gone with a boot pack")
m.poweroff()

# Another version: the same bytes with one changed, made at another time.
subprocess.run(["cp", "--sparse=always", path, "other"], check=True)
os.chmod("other", 0o644)
with open("other", "r+b") as f:
    f.seek(512 * 1024 * 1024)
    f.write(b"changed")
publish("other", "debian")
with open(f"{USER}/my.cow", "rb") as f:
    before = f.read(1 << 20)
m = Machine(links["debian"], "--overlay", "my.cow")
m.end(status=1)
check("version" in m.text and "my.cow" in m.text, f"not said what is wrong: {m.text[-1000:]}")
with open(f"{USER}/my.cow", "rb") as f:
    check(f.read(1 << 20) == before, "the refused overlay was written to")
m = Machine(links["debian"].replace("debian#", "debian@1#"), "--overlay", "my.cow")
m.login()
check("kept" in m.command("cat /root/file"), "the file is gone after a refused start")
m.poweroff()
done()
