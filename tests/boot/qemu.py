"""Machines of QEMU. Without further arguments: a whole operating system of one sector, from a disk and from a medium; what is kept of it, and how it ends. `linux`: a Debian
that has its kernel, started directly, on one network with a guest of User-Mode Linux; `medium`: the same from a boot medium."""
import os, pty, shutil, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qemulib import *

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def qemu(link, *args, **more):
    return Machine(link, "--engine", "qemu", *args, **more)


# Counts its starts in the second sector of its disk and says so on the serial line. It powers off when something is typed, or the power button is pressed.
SYSTEM = bytes.fromhex(
    "31c0 8ed8 8ec0 8ed0 bc007c"          # segments are 0, the stack is below the code
    "b80102 bb007e b90200 b600 cd13"      # read the second sector to 7e00
    "fe06007e"                            # count
    "b80103 bb007e b90200 b600 cd13"      # write it
    "a0007e 0430 a2857d"                  # the number as a digit
    "be807d"                              # the text:
    "ac 84c0 7406 baf803 ee ebf5"         # each byte to the serial line
    "ba0206 b80001 ef"                    # the power button shall be noted
    "ba0006 ed f6c401 750c"               # until it was pressed
    "bafd03 ec a801 74ef baf803 ec"       # or a byte came
    "ba0406 b80020 ef f4 ebfd")           # power off


def system(path, size=1 << 20, more=b""):
    data = bytearray(size)
    data[:len(SYSTEM)] = SYSTEM
    text = b"boot ?\r\n" + more
    data[0x180:0x180 + len(text)] = text
    data[510:512] = b"\x55\xaa"
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, 0o644)
    return path


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def refused(status, texts, link, *args):
    m = qemu(link, *args)
    m.end(status=status)
    for text in texts:
        check(text in m.text, f"not said: {text}: {m.text}")


def nothing_left():
    wait_for(lambda: not user_processes(), f"the end of all processes: {user_processes()}")


@case
def disk():
    path = system(f"{DIR}/one,two.img")
    before = contents(path)
    # What a system says means nothing to us.
    m = qemu(system(f"{DIR}/failed.img", more=b"inetboot: FAILED: to be ours\r\n"), "--disk")
    m.expect("to be ours")
    m.type("q")
    m.end()
    for i in "11":  # nothing is kept
        m = qemu(path, "--disk")
        m.expect(f"boot {i}\r?\n")
        m.type("q")
        m.end()
    check(contents(path) == before, "the disk was written to")
    overlay = "over,lay"
    for i in "12":
        m = qemu(path, "--disk", "--overlay", overlay)
        m.expect(f"boot {i}\r?\n")
        if i == "1":
            refused(1, [overlay, "in use"], path, "--disk", "--overlay", overlay)
        m.type("q")
        m.end()
    kept = contents(f"{USER}/{overlay}")
    other = system(f"{DIR}/other.img", 2 << 20)
    refused(1, [overlay, "another image"], other, "--disk", "--overlay", overlay)
    check(contents(f"{USER}/{overlay}") == kept, "the refused overlay was written to")
    as_user("cp", other, "raw")
    refused(1, ["no copy-on-write file of QEMU"], path, "--disk", "--overlay", "raw")


@case
def image():
    """An image in a store, without a boot entry for it."""
    publish(system(f"{DIR}/system.img"), "system")
    link = serve()["system"]
    refused(1, ["no boot entry", "--disk"], link)
    refused(1, ["no image in a store", "--disk"], f"{DIR}/system.img")
    for i in "12":
        m = qemu(link, "--disk", "--overlay", "bound")
        m.expect(f"boot {i}\r?\n")
        m.type("q")
        m.end()
    publish(system(f"{DIR}/system.img", 3 << 20), "system")
    refused(1, ["bound", "version 1", "version 2"], link, "--disk", "--overlay", "bound")
    m = qemu(link.replace("system#", "system@1#"), "--disk", "--overlay", "bound", "--until", "boot 3")
    check(m.end()["until_ms"], "the overlay is not good for its own version any more")


@case
def medium_alone():
    path = system(f"{DIR}/medium.img")
    before = contents(path)
    m = qemu(f"--medium={path}")
    m.expect("boot 1\r?\n")
    m.type("q")
    m.end()
    check(contents(path) == before, "the medium was written to")


@case
def ends():
    path = system(f"{DIR}/ends.img")
    check(qemu(path, "--disk", "--until", "boot 1").end()["until_ms"], "--until was not seen")
    check(qemu(path, "--disk", "--timeout", "3").end(status=4)["end"] == "timeout", "not reported as a time limit")
    m = qemu(path, "--disk")
    m.expect("boot 1")
    m.p.send_signal(signal.SIGTERM)
    check(m.end()["end"] == "clean", "SIGTERM is not an orderly shutdown")
    # Ctrl-] on a terminal.
    pid, terminal = pty.fork()
    if not pid:
        os.execv(as_user_args()[0], as_user_args(INETBOOT, "boot", "--engine", "qemu", "--disk", "--network", "none", path))
    screen = Console("a terminal", terminal, LIMIT)
    screen.expect("boot 1")
    os.write(terminal, b"\x1d")
    check(os.waitpid(pid, 0)[1] == 0, "Ctrl-] is not an orderly shutdown")
    secret = os.open(path, os.O_RDONLY)
    m = qemu(path, "--disk", fds=(secret,))
    m.expect("boot 1")
    machine = next(p for p in user_processes() if b"-sandbox" in command_line(p))
    files = open_files(machine)
    check(sum(f == path for f in files) == 1 and "/dev/ptmx" not in files, f"the guest has files that are not for it: {files}")
    m.p.kill()
    m.p.wait()
    nothing_left()


@case
def options():
    path = system(f"{DIR}/options.img")
    for args, text in (["--trust"], "--trust"), (["--web", "6080"], "--web"), (["--medium", path], "no link"), (["--disk", "--append", "x"], "--append"), (["--firmware", "uefi"], "--firmware"), \
            (["--disk", "--name", "x"], "--name"):
        refused(2, [text], path, *args)
    refused(2, ["go with a LINK"], f"--medium={path}", "--fill")
    refused(2, ["--record traces"], f"--medium={path}", "--record", "trace")
    refused(2, ["with --medium there is none"], f"--medium={path}", "--name", "x")
    m = Machine(path, "--disk")
    m.end(status=2)
    check("--engine qemu" in m.text, f"not said what --disk is for: {m.text}")
    p = as_user("env", "PATH=/none", INETBOOT, "boot", "--engine", "qemu", "--disk", "--network", "none", path)
    check(p.returncode == 1 and b"qemu-system-x86" in p.stdout, f"not said what is missing: {p.stdout}")


# ---- a Debian with its kernel ----


def at_login(*args):
    m = qemu(link, *args)
    m.expect("inetboot: root file system ext4 on /dev/vda")
    log_in(m)
    return m


@case
def linux():
    a = Machine(link, "--network", "test")
    b = at_login("--network", "test", "--name", "second")
    log_in(a)
    out = b.command("findmnt -no FSTYPE /; systemctl is-system-running --wait; systemctl --failed --no-legend; cat /proc/cmdline; echo kept >/root/file")
    check("overlay" in out and "running" in out and "boot=inetboot" in out, f"units failed, or not the virtual disk: {out}")
    # Bash speaks TCP by itself.
    for m, other in (a, "second"), (b, "debian"):
        out = m.command(f"getent hosts {other}.inetboot; exec 3<>/dev/tcp/{other}.inetboot/9")
        check("refused" in out, f"{other} is not reached: {out}")
    a.p.send_signal(signal.SIGTERM)
    b.p.send_signal(signal.SIGTERM)
    a.end()
    b.end()
    # What is refused is not kept.
    m = Machine("--name=second", "--trust", "--append", "init=/bin/false")
    m.end(status=1)
    check("--trust is for" in m.text, f"not said that it cannot be trusted: {m.text}")
    # What it wrote, it has again, by its name alone; in the other engine it is another machine.
    m = Machine(link, "--engine", "uml", "--name", "second")
    m.end(status=1)
    check("--engine qemu" in m.text, f"not said that it is of another engine: {m.text}")
    b = qemu("--name=second")
    log_in(b)
    out = b.command("cat /root/file")
    check("kept" in out, f"what a machine with a name wrote is not there: {out}")
    b.poweroff()

    m = at_login("--overlay", "kept.qcow2")
    m.command("echo kept >/root/file")
    m.poweroff()
    m = at_login("--overlay", "kept.qcow2")
    out = m.command("cat /root/file; findmnt -no SOURCE,FSTYPE /; systemctl --failed --no-legend")
    check("kept" in out and "/dev/vda" in out and "ext4" in out and "failed" not in out, f"what was written is not there: {out}")
    m.poweroff()
    m = qemu(link, "--append", "init=/bin/false")
    check(m.end(status=3)["end"] == "panic", "not reported as a panic")
    nothing_left()


@case
def medium():
    need("xorriso", "grub-mkimage")
    run("medium", "inetboot.iso", "--entry", f"Debian={link.replace('127.0.0.1', '10.0.2.2')}", "--timeout", "1")
    m = qemu(f"--medium={DIR}/inetboot.iso", "--network", "test")
    m.expect("inetboot: starting Debian", QEMU_LIMIT)
    m.expect("inetboot: root file system ext4", QEMU_LIMIT)
    m.expect("login: ", QEMU_LIMIT)
    m.p.send_signal(signal.SIGTERM)
    m.end()


setup()
own_runtime()
need("qemu-system-x86_64")
wanted = sys.argv[2:] or ["disk", "image", "medium_alone", "ends", "options"]
if set(wanted) & {"linux", "medium"}:
    made_store()
    link = serve()["debian"]
for name in wanted:
    before = time.monotonic()
    CASES[name]()
    print(f"{name}: {time.monotonic() - before:.0f} s", flush=True)
done()
