#!/usr/bin/env python3
"""Names: a resolver that is dead or wrong, at the start and in the middle; a server whose address changes behind its name; a name with two
addresses one of which is dead; a network that answers everything with a login page."""
from netlib import *

need_fuse()
key = make_key()
make_image("image", Reader.SIZE, 1, holes=False)
data = content("image")
publish("image", store="www")
cable()
names = Names(store=[SERVER])
server = FarServer("www", name="store.test")
link = f"{server.url}/image#{key}"
FIRST = 20  # seconds that a first contact may take; more on a loaded machine


def first_contact(host, word):
    start = time.monotonic()
    p = subprocess.run([INETBOOT, "info", "--no-cache", link.replace(f"store.test:{server.port}" if ":" in host else "store.test", host)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    spent, text = time.monotonic() - start, p.stdout.decode()
    if p.returncode != 1 or spent > FIRST + 15 or host not in text or word not in text:
        return f"status {p.returncode} after {spent:.0f} s: {text}"


# At the start: dead resolvers, and a login page instead of everything.
portal = FarServer("www", "* login", name="portal.test")
names.addresses["portal"] = [SERVER]
contacts = {host: Child(first_contact, host, "esolv") for host in ("silent.test", "servfail.test", "nxdomain.test")}
contacts["portal.test"] = Child(first_contact, f"portal.test:{portal.port}", "login")
for host, child in contacts.items():
    wrong = child.result(FIRST + 30, host)
    check(not wrong, f"{host}: {wrong}")
check("image" in run("info", "--no-cache", link), "a good resolver is not used")

# In the middle: connections that are there go on; new ones wait for the resolver.
server.rules("/blocks/* delay ms=50")
m = Mount(link, dir="resolver", cache=None)
reader = Reader(m.disk, data)
wait_for(lambda: len(server.log()["requests"]) > 5, "a few requests")
names.mode = "silent"
reader.go_on()
wrong = reader.result(30, "a reader while the resolver is dead")
check(not wrong, f"{wrong}: {m.said()}")
m.end()
names.mode = "good"
server.rules("/blocks/* delay ms=50")
m = Mount(link, dir="resolver", cache=None)
names.mode = "servfail"
server.gone(1)
time.sleep(1.5)  # so that all connections are gone, and what is remembered of the name gets old
reader = Child(read_all, m.disk, data)
reader.ended(4)
names.mode = "good"
wrong = reader.result(60, "a reader after the resolver is back")
check(not wrong, f"{wrong}: {m.said()}")
m.end()

# Another address behind the name, in the middle. The name server keeps its own.
server.rules("/blocks/* delay ms=100")
m = Mount(link, dir="moved", cache=None)
reader = Reader(m.disk, data)
wait_for(lambda: len(server.log()["requests"]) > 5, "a few requests")
far.address(add="10.77.0.3")
names.addresses["store"] = ["10.77.0.3"]
far.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/far/promote_secondaries")
far.ip("address", "del", f"{SERVER}/24", "dev", "far")  # whoever asks there gets no answer
reader.go_on()
start = time.monotonic()
wrong = reader.result(90, "a reader whose server moved")
check(not wrong, f"moved: {wrong}: {m.said()}")
print(f"moved: done {time.monotonic() - start:.1f} s later")
m.end()
far.address(add=SERVER)
names.addresses["store"] = [SERVER]


# A login page instead of everything, in the middle, for a while: no wrong bytes, no error, and the reason is told.
def logged_out(what, url, data):
    server.rules("/blocks/* delay ms=100", "*.img delay ms=100")
    m = Mount(url, "--insecure", dir=what, cache=None)
    reader = Reader(m.disk, data)
    wait_for(lambda: len(server.log()["requests"]) > 5, "a few requests")
    server.rules("* login")
    reader.go_on()
    wait_for(lambda: log_lines(m, "trouble"), f"{what}: the word that something is wrong")
    check("login" in log_lines(m, "trouble")[0] and m.status()["network"]["gone"], f"{what}: not told: {m.said()} {m.status()}")
    check(not reader.ended(3), f"{what}: the reader did not wait: {m.said()}")
    server.rules()
    wrong = reader.result(40, f"{what}: a reader")
    check(not wrong, f"{what}: {wrong}: {m.said()}")
    m.end()


shutil.copy("image", "www/plain.img")
logged_out("portal", link, data)
logged_out("portal-plain", f"{server.url}/plain.img", data)

# Two addresses, one of which is dead in one way or the other: both are tried, and no read waits for long.
def two(how, *addresses):
    names.addresses["store"] = list(addresses)
    for i in range(3):  # they are tried in any order
        start = time.monotonic()
        m = Mount(f"http://store.test:{second.port}/image#{key}", dir=f"two-{how}", cache=None)
        check_all(m.disk, data)
        spent = time.monotonic() - start
        check(spent < 15, f"two addresses, one {how}: {spent:.1f} s: {m.said()}")
        m.end()
        print(f"two addresses, one {how}: {spent:.1f} s")


second = FarServer("www", bind=SERVER)
far.address(add="10.77.0.4")
ip("route", "add", "10.99.0.1", "via", SERVER)  # who forwards nothing, and says nothing
two("silent", "10.99.0.1", SERVER)
two("refusing", "10.77.0.4", SERVER)
done()
