"""Boots over shaped lines: ours beside what else shows a remote disk as a file, a whole download, and a local disk. The guests are a small
Debian, which boots to its login prompt, and one with a desktop, until that is painted.

A row's time has two parts: what comes before the machine is started (a mount, a download, a pull), and the boot. Requests and bytes are
those of the row from its begin to the prompt, as we call what a guest's console shows when it is up."""

import contextlib
import json
import os
import tempfile
import time

import boots
from line import SERVER, Line
from measure import Failed, Samples, drop_page_cache, load, run, say, size_of
from readers import CasyncMount, Httpdirfs, HttpdirfsCache, Nbdkit, Offer
from webserver import WebServer
from workplace import Workplace

# name, bits per second each way, round trip in ms
LINES = (
    ("100M-1ms", 100e6, 1),
    ("8M-20ms", 8e6, 20),
    ("100M-100ms", 100e6, 100),
    ("1G-10ms", 1e9, 10),
)
# name, its image's maker, prompt, limits of a row: s, and with --quick
GUESTS = (
    ("debian", Workplace.debian_image, boots.PROMPT, 180, 60),
    ("desktop", Workplace.desktop_image, "desktop painted", 300, 120),
)
FOLDER = "/links"  # of the web server, in memory
LIMIT_NEAR_S = 2  # what fails that close to its limit has met it
SLOW_S = 30  # --quick takes slower rows once


class Guest:
    """What is booted, on the web server in every form, and what was measured of it."""

    def __init__(self, workplace, lines, name, image, prompt, limit):
        self.name, self.image, self.prompt, self.limit = name, image, prompt, limit
        self.by_line = {spec[0]: Samples() for spec in lines}
        say("links: publishing %s, in each form" % name)
        self.offer = Offer(workplace, image, name, FOLDER)
        run(["zstd", "-q", "-9", "-T0", image, "-o", self.offer.path("img.zst")], 600)
        self.packed = self.pack_bytes = None
        if "--record" in run([workplace.inetboot, "publish", "--help"], 30)[2]:
            # Under a name of its own: --record makes a second version, and whoever has seen that takes no other store's first any more.
            self.packed = workplace.publish(image, name + "-pack", name + "-pack.store", FOLDER, "--record-until", prompt)
            link = workplace.url + FOLDER + self.packed
            self.pack_bytes = json.loads(run([workplace.inetboot, "info", "--json", link], 60)[2])["pack"]

    def json(self):
        return {"by_line": {name: samples.json() for name, samples in self.by_line.items()},
                "zst_bytes": os.path.getsize(self.offer.path("img.zst")), "store_bytes": size_of(self.offer.path("store")),
                "pack_bytes": self.pack_bytes}


class Row:
    """One row on one line in one round."""

    def __init__(self, workplace, guest, line, server, warm_cache):
        self.workplace, self.guest, self.inside, self.url = workplace, guest, line.client.inside, server.url + FOLDER
        self.line, self.server = line, server
        self.counts_before, self.counts = self.counted(), None
        self.warm_cache = warm_cache  # what the row "cold" leaves to the row "warm"
        self.begin = time.monotonic()

    def counted(self):
        """requests, packets, bytes, packets lost"""
        return (self.server.counted()[0], *self.line.counted())

    def count(self):
        self.counts = [now - before for now, before in zip(self.counted(), self.counts_before)]

    def left(self):
        return max(1, int(self.guest.limit - (time.monotonic() - self.begin)))

    def folder(self):
        return tempfile.mkdtemp(prefix="row.", dir=self.workplace.dir)

    def boot(self, link, cache=None):
        """(seconds until it starts, seconds from then to the prompt)"""
        before = time.monotonic() - self.begin
        return before, boots.boot(self.workplace, link, cache or self.folder(), self.left(), self.inside, self.guest.prompt,
                                  self.count)["until_ms"] / 1000

    def link(self):
        return self.url + self.guest.offer.link

    def raw(self):
        return self.boot(self.guest.image)

    def cold(self):
        return self.boot(self.link(), self.warm_cache)

    def warm(self):
        return self.boot(self.link(), self.warm_cache)

    def packed(self):
        return self.boot(self.url + self.guest.packed)

    def pulled(self):
        cache = self.folder()
        run([*self.inside, self.workplace.inetboot, "pull", "--cache", cache, self.link()], self.left())
        return self.boot(self.link(), cache)

    def downloaded(self):
        file = os.path.join(self.folder(), "disk")
        run([*self.inside, "sh", "-c", 'curl -fsS "$1" | zstd -q -d -o "$2"', "sh", "%s/%s.img.zst" % (self.url, self.guest.offer.name),
             file], self.left())
        return self.boot(file)

    def through(self, tool):
        reader = tool(self.workplace, self.guest.offer.at(self.url, self.inside))
        try:
            return self.boot(reader.start())
        except Failed as why:
            raise Failed("%s; it said: %s" % (why, reader.complaint() or "nothing")) from None
        finally:
            reader.stop(forget_cache=True)


def through(tool):
    return lambda row: row.through(tool)


LINE = "the line itself"
RAW, COLD, PACK, WARM = "raw file, local", "inetboot, cold", "inetboot, cold, pack", "inetboot, warm cache"
ROWS = (
    (RAW, Row.raw),
    (COLD, Row.cold),
    (PACK, Row.packed),
    (WARM, Row.warm),
    ("inetboot pull, then boot", Row.pulled),
    (Nbdkit.name, through(Nbdkit)),
    (Httpdirfs.name, through(Httpdirfs)),
    (HttpdirfsCache.name, through(HttpdirfsCache)),
    (CasyncMount.name, through(CasyncMount)),
    ("curl | zstd -d, then boot", Row.downloaded),
)
WITHOUT_PEERS = ROWS[:4]


def take_row(samples, name, take, row):
    """Adds what a row takes. One that is not done in time has what it took until then, and is not tried again."""
    try:
        before, boot = take(row)
        samples.add(name, "before_s", before)
        samples.add(name, "boot_s", boot)
        samples.add(name, "sum_s", before + boot)
    except (Failed, OSError, ValueError, KeyError) as why:
        if row.left() > LIMIT_NEAR_S:
            samples.fail(name, why)
            return
        samples.add(name, "over_s", row.guest.limit)
    if not row.counts:
        row.count()
    requests, packets, sent, lost = row.counts
    samples.add(name, "requests", requests)
    samples.add(name, "bytes", sent)
    samples.add(name, "lost_percent", 100 * lost / max(1, packets))
    row.line.wait_until_quiet()  # so that the next row counts its own only


@contextlib.contextmanager
def line_and_server(workplace, rate, rtt_ms):
    """A line, and nginx at its other end."""
    line = Line(workplace.relay, rate, rtt_ms)
    try:
        folder = tempfile.mkdtemp(prefix="line.", dir=workplace.dir)
        server = WebServer(os.path.join(folder, "nginx"), workplace.root, SERVER, line.server.inside, log=True)
        try:
            yield line, server
        finally:
            server.stop()
    finally:
        line.close()


def measure_line(samples, line, url, file):
    """Adds what the line really is, by the file that the URL has."""
    rtt_ms, rate = line.measure(url, os.path.getsize(file))
    samples.add(LINE, "rtt_ms", rtt_ms)
    samples.add(LINE, "bits_per_s", rate)


class Round:
    """All rows on a line, one after the other."""

    def __init__(self, workplace, guest, rows, quick, clock, number):
        self.workplace, self.guest, self.rows, self.quick, self.clock, self.number = workplace, guest, rows, quick, clock, number

    def wanted(self, samples, name, cache):
        if name in samples.failed or samples.median(name, "over_s") or self.clock.over(self.number):
            return False
        if (name == PACK and not self.guest.packed) or (name == WARM and not os.listdir(cache)):
            return False
        return not (self.quick and (samples.median(name, "sum_s") or 0) > SLOW_S)

    def on_line(self, samples, name, rate, rtt_ms):
        with line_and_server(self.workplace, rate, rtt_ms) as (line, server):
            self.take(samples, name, line, server)

    def take(self, samples, line_name, line, server):
        measure_line(samples, line, "%s%s/%s.img" % (server.url, FOLDER, self.guest.offer.name), self.guest.image)
        cache = tempfile.mkdtemp(prefix="cache.", dir=self.workplace.dir)
        for name, take in self.rows:
            if not self.wanted(samples, name, cache):
                continue
            say("links, round %d, %s over %s: %s (load %.1f)" % (self.number + 1, self.guest.name, line_name, name, load()))
            drop_page_cache()
            take_row(samples, name, take, Row(self.workplace, self.guest, line, server, cache))


def measure(workplace, rounds, quick, start_clock, lines=LINES, guests=GUESTS, rows=ROWS):
    """Returns {guest's name: what the tables say of it}. Each guest has a clock of its own."""
    workplace.need_relay()
    workplace.memory(FOLDER)
    offered = [Guest(workplace, lines, name, make(workplace), prompt, limit_quick if quick else limit)
               for name, make, prompt, limit, limit_quick in guests]
    for guest in offered:
        clock = start_clock()
        for number in range(rounds):
            for spec in lines:
                samples = guest.by_line[spec[0]]
                try:
                    Round(workplace, guest, rows, quick, clock, number).on_line(samples, *spec)
                except (Failed, OSError, ValueError) as why:
                    samples.fail(LINE, why)
    return {guest.name: guest.json() for guest in offered}


def kernel():
    """The User-Mode Linux kernel that `inetboot boot` chooses."""
    own = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "inetboot/uml/linux")
    return os.path.basename(os.path.realpath(own)) if os.path.exists(own) else "linux.uml of the package user-mode-linux"
