"""The switch of a network of machines beside VDE's, User-Mode Linux's and passt: what a guest gets through each, to another guest and to this host,
and what a small frame's way takes. The guests are frames.c, the same for all."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

from measure import Failed, Samples, cpu_seconds, load, run, say

SECONDS = 3  # of each test
START_S = 20
BOTH, GUEST, HOST = ("guest", "guest-latency", "host", "host-latency"), ("guest", "guest-latency"), ("host", "host-latency")


def wait_until(condition, child, what):
    end = time.monotonic() + START_S
    while not condition():
        if child.poll() is not None or time.monotonic() > end:
            raise Failed("%s does not start" % what)
        time.sleep(0.02)


@contextlib.contextmanager
def started(commands, path, **more):
    """Programs that run meanwhile, each started when the file that the first makes is there. vde_switch and uml_switch end with their input."""
    children = []
    try:
        for command in commands:
            children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more))
            wait_until(lambda: os.path.exists(path), children[-1], command[0])
        yield [child.pid for child in children]
    finally:
        for child in reversed(children):
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def ours(workplace, folder):
    path = os.path.join(folder, "inetboot/network-bench/socket")
    return path, started([[workplace.inetboot, "switch", "--network", "bench"]], path, env=dict(os.environ, XDG_RUNTIME_DIR=folder))


def vde(workplace, folder):
    path = os.path.join(folder, "vde")
    return path, started([["vde_switch", "-s", path], ["slirpvde", "-s", path]], os.path.join(path, "ctl"))


def uml(workplace, folder):
    path = os.path.join(folder, "uml")
    return path, started([["uml_switch", "-unix", path]], path)


def passt(workplace, folder):
    path = os.path.join(folder, "passt")
    return path, started([["passt", "-f", "-q", "-4", "-s", path, "-a", "10.0.2.15", "-n", "24", "-g", "10.0.2.2", "-t", "none", "-u", "none"]], path)


# name, how it is started, how frames.c speaks with it, what can be measured
SWITCHES = (("inetboot switch", ours, "inetboot", BOTH), ("vde_switch + slirpvde", vde, "vde", BOTH), ("uml_switch", uml, "vde", GUEST),
            ("passt", passt, "passt", HOST))


def measure_one(workplace, samples, name, start, kind, test):
    folder = tempfile.mkdtemp(prefix="inetboot-bench.", dir="/tmp")  # a socket's path is short
    os.chmod(folder, 0o777)  # passt leaves root's rights
    try:
        path, switch = start(workplace, folder)
        with switch as pids:
            before = cpu_seconds(pids)
            found = json.loads(run([workplace.frames, kind, path, test, str(SECONDS)], SECONDS + 30)[2])
            cpu = cpu_seconds(pids) - before
    finally:
        subprocess.run(["rm", "-r", folder], check=True)
    if "median_us" in found:
        samples.add(name, test, found["median_us"])
        return
    samples.add(name, test, found["bytes"] / found["seconds"] / 1e6)
    samples.add(name, test + "_cpu", cpu / (found["bytes"] / (1 << 30)))


def measure(workplace, rounds):
    """Tests take turns, and within each the switches."""
    samples = Samples()
    for number in range(rounds):
        for test in BOTH:
            for name, start, kind, tests in SWITCHES:
                if name in samples.failed or test not in tests:
                    continue
                say("network, round %d: %s, %s (load %.1f)" % (number + 1, test, name, load()))
                try:
                    measure_one(workplace, samples, name, start, kind, test)
                except (Failed, OSError) as why:
                    samples.fail(name, why)
    return samples
