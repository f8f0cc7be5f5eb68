"""A shaped line: two network namespaces, and between them tests/network/relay.c, which delays and holds back packets. (The kernels that
this runs on need not have netem.) What the line really does is measured over it, too.

    client 10.77.0.2 ── near ═ relay ═ far ── 10.77.0.1 server"""

import os
import re
import statistics
import subprocess
import time

from measure import Failed, last_line, run

CLIENT, SERVER = "10.77.0.2", "10.77.0.1"
QUEUE_LEAST = 256 << 10
MANY_FROM = 500e6  # bits per second from which the relay has to hand over more than a packet at once
RATE_S = 3  # how long a download has to take that a rate is measured with, at the rate that is expected
QUIET_S = 0.3


class Namespace:
    """Lives as long as a child that holds it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.file = "/proc/%d/ns/net" % self.holder.pid
        self.inside = ("nsenter", "--net=" + self.file)
        # What one client's connections were like must not matter to those of the next.
        self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save")

    def run(self, *args):
        run([*self.inside, *args], 30)

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Line:
    """rate: bits per second, each way. rtt_ms: there and back. The queue in front of the line holds what it carries in a round trip,
    256 KiB at least."""

    def __init__(self, relay, rate, rtt_ms):
        self.rate, self.rtt_ms = rate, rtt_ms
        self.client = self.server = self.relay = None
        try:
            self.client, self.server = Namespace(), Namespace()
            # In real time, before all else: its delays are part of what is measured, and it sleeps most of the time.
            self.relay = subprocess.Popen(["chrt", "-f", "10", relay, *(["-g"] if rate >= MANY_FROM else []), self.client.file, "near",
                                           self.server.file, "far"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if self.relay.stdout.readline() != "ready\n":
                raise Failed("the relay makes no TUN devices here")
            for namespace, address, device in ((self.client, CLIENT, "near"), (self.server, SERVER, "far")):
                namespace.run("ip", "address", "add", address + "/24", "dev", device)
                namespace.run("ip", "link", "set", device, "up")
            for order in ("rate %d" % rate, "delay %g" % (rtt_ms / 2), "queue %d" % max(QUEUE_LEAST, rate / 8 * rtt_ms / 1000)):
                self.order(order)
        except BaseException:
            self.close()
            raise

    def order(self, text):
        self.relay.stdin.write(text + "\n")
        self.relay.stdin.flush()
        return self.relay.stdout.readline()

    def counted(self):
        """(packets, bytes, packets lost on the way) that the server's interface has sent so far, TCP's and IP's heads and all that was
        sent twice included."""
        return tuple(map(int, re.findall(r"\d+", self.order("stats"))[3:]))

    def wait_until_quiet(self):
        """Nothing has come from the server for a while: what a client that has ended had asked for is counted."""
        end = time.monotonic() + 20
        before = None
        while time.monotonic() < end and before != (before := self.counted()):
            time.sleep(QUIET_S + self.rtt_ms / 1000)

    def measure(self, url, size):
        """(round trip in ms, bits per second) as a client sees them: connections, and the download of a file of that size."""
        trips = [float(last_line(self.curl(url, "%{time_connect}", "--head"))) * 1000 for _ in range(7)]
        length = min(size, int(self.rate / 8 * RATE_S))
        out = self.curl(url, "%{size_download} %{time_starttransfer} %{time_total}", "--range", "0-%d" % (length - 1))
        got, first, total = map(float, last_line(out).split())
        return statistics.median(trips), got * 8 / (total - first)

    def curl(self, url, what, *options):
        return run([*self.client.inside, "curl", "-sS", "-f", "-o", os.devnull, "-w", "\n" + what, *options, url], 20 * RATE_S)[2]

    def close(self):
        if self.relay:
            self.relay.kill()
            self.relay.wait()
        for namespace in (self.client, self.server):
            if namespace:
                namespace.close()
