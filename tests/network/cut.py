#!/usr/bin/env python3
"""The network goes away under a mount, in each way that it can, and comes back: reads wait, the status says why, the log has one line when
the trouble starts and one when it ends, and all bytes are right. The machine's own address changes. Waiting readers can be
interrupted, timed out and unmounted."""
from netlib import *

need_fuse()
key = make_key()
make_image("image", Reader.SIZE, 1, holes=False)
data = content("image")
publish("image", store="www")
cable()
server = FarServer("www")
link = f"{server.url}/image#{key}"


def gone(m):
    return m.status()["network"]["gone"] > 0


def cut_and_mend(name, cut, mend, back_in=30):
    """The cable is cut while a reader is busy."""
    server.rules("/blocks/* delay ms=100")
    m = Mount(link, dir=name, cache=None)
    reader = Reader(m.disk, data)
    wait_for(lambda: len(server.log()["requests"]) > 10, "a few requests")
    cut()
    reader.go_on()
    wait_for(lambda: log_lines(m, "trouble"), f"{name}: the word that the server is away")
    wait_for(lambda: gone(m), f"{name}: the status that tells that it is away", 5)
    reason = m.status()["mirrors"][0]["last_error"]
    check(reason, f"{name}: no reason in the status: {m.status()}")
    check(not reader.ended(2), f"{name}: the reader did not wait: {m.said()}")
    mend()
    start = time.monotonic()
    wrong = reader.result(back_in, f"{name}: a reader")
    check(not wrong, f"{name}: {wrong}: {m.said()}")
    wait_for(lambda: log_lines(m, "end"), f"{name}: the word that the server is back")
    check(len(log_lines(m, "trouble")) == 1 and len(log_lines(m, "end")) == 1, f"{name}: not one line for each: {m.said()}")
    check(m.status()["network"]["gone"] == 0, f"{name}: the status says that it is away still: {m.status()}")
    m.end()
    print(f"{name}: {reason}; went on {time.monotonic() - start:.1f} s after its return")


cut_and_mend("our-end-down", lambda: ip("link", "set", "near", "down"), lambda: ip("link", "set", "near", "up"))
cut_and_mend("far-end-down", lambda: far.ip("link", "set", "far", "down"), lambda: far.ip("link", "set", "far", "up"))
cut_and_mend("answers-vanish", lambda: far.ip("route", "add", "blackhole", CLIENT), lambda: far.ip("route", "del", "blackhole", CLIENT))
cut_and_mend("no-way-there", lambda: ip("route", "add", "unreachable", SERVER), lambda: ip("route", "del", "unreachable", SERVER))

# Another address of our own in the middle, as after a change of the network: reads go on within seconds.
server.rules("/blocks/* delay ms=100")
m = Mount(link, dir="roaming", cache=None)
reader = Reader(m.disk, data)
wait_for(lambda: len(server.log()["requests"]) > 10, "a few requests")
ip("address", "add", "10.77.0.9/24", "dev", "near")
ip("address", "del", f"{CLIENT}/24", "dev", "near")
ip("address", "add", "10.77.0.9/24", "dev", "near")  # the kernel may have taken it away with the first one of the subnet
reader.go_on()
start = time.monotonic()
wrong = reader.result(40, "a reader on another address")
check(not wrong, f"roaming: {wrong}: {m.said()}")
print(f"another address: done {time.monotonic() - start:.1f} s later")
m.end()


# While it is cut: every end of a reader and of a mount. Each has a mount, and a reader that waits.

def error_of(path):
    with open(path, "rb", buffering=0) as f:
        try:
            f.read(100)
        except OSError as e:
            return errno.errorcode[e.errno]
    return "no error"


def like_cat(path):
    """Ctrl-C ends it, as it ends cat. (A program that handles SIGINT waits on: through the page cache Linux lets only deadly signals in.)"""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return error_of(path)


server.rules()
timed = Mount(link, "--net-timeout", "3", dir="timed", cache=None)
waiting = {name: Mount(link, dir=name, cache=None) for name in ("interrupt", "kill", "term")}
ip("link", "set", "near", "down")
start = time.monotonic()
text = Child(error_of, timed.disk).result(30)
spent = time.monotonic() - start
check(text == "EIO" and 2 < spent < 15, f"--net-timeout 3: {text} after {spent:.1f} s: {timed.said()}")
check("3.0 s" in timed.said() and timed.status()["read_errors"], f"--net-timeout 3: not told: {timed.said()}")
timed.end()
readers = {name: Child(like_cat, m.disk) for name, m in waiting.items()}
for name, m in waiting.items():
    wait_for(lambda: gone(m), f"{name}: a reader that waits")
for name, number in (("interrupt", signal.SIGINT), ("kill", signal.SIGKILL)):
    os.kill(readers[name].pid, number)
    check(readers[name].ended(10), f"a reader that waits does not end by signal {number}")
    waiting[name].end()
start = time.monotonic()
waiting["term"].end()
check(time.monotonic() - start < 10, "SIGTERM took long while a reader waits")
check(readers["term"].result(10) != "no error", "bytes out of nowhere")

# A first contact ends in time, and says what it tried.
start = time.monotonic()
text = run("info", "--no-cache", link, status=1)
check(time.monotonic() - start < 40 and SERVER in text, f"first contact: {text}")
done()
