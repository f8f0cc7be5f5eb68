"""Three versions of an image (make-update): what publishing each costs, and what a client that has the first fetches of the others."""

import os
import shutil
import tempfile

from line import SERVER, Line
from measure import Failed, Samples, load, run, say, size_of, warm_page_cache
from webserver import WebServer
from workplace import sha256_of

VERSIONS = ("v1", "v2", "v3")
RATE, RTT_MS = 100e6, 1
LIMIT_S = 600


class Published:
    """What a tool has put on the server. Each publishes the versions in their order, and fetches one of the later ones into a file or
    a cache on a client that holds the first."""

    verifies = False  # fetch() gives no file to compare, but the tool checks each byte by its hash itself

    def __init__(self, workplace, images, number):
        self.workplace, self.images = workplace, images
        self.dir = os.path.join(workplace.root, "updates.%d" % number, type(self).__name__)
        os.makedirs(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def url(self, server, name):
        return "%s/%s/%s" % (server, os.path.relpath(self.dir, self.workplace.root), name)

    def image(self, version):
        return os.path.join(self.images, version + ".img")

    def publish(self, version):
        """(seconds, CPU seconds)"""
        raise NotImplementedError

    def prepare_client(self, inside, server):
        """What the client has of the first version."""

    def fetch(self, inside, server, version, out):
        """seconds"""
        raise NotImplementedError


class InetBoot(Published):
    name = "inetboot"
    verifies = True

    def publish(self, version):
        store = os.path.relpath(self.path("store"), self.workplace.root)
        wall, cpu, _ = run([self.workplace.inetboot, "publish", self.image(version), self.path("store"), "--name", "debian", "--key",
                            self.workplace.key, "--level", "3"], LIMIT_S)
        self.link = "/%s/debian@%%s#%s" % (store, self.workplace.public)
        return wall, cpu

    def pull(self, inside, server, version, cache):
        return run([*inside, self.workplace.inetboot, "pull", "--cache", cache, server + self.link % version[1:]], LIMIT_S)[0]

    def prepare_client(self, inside, server):
        self.cache = tempfile.mkdtemp(prefix="cache.", dir=self.workplace.dir)
        self.pull(inside, server, "v1", self.cache)

    def fetch(self, inside, server, version, out):
        shutil.copytree(self.cache, out)
        return self.pull(inside, server, version, out)


class Casync(Published):
    name = "casync"

    def publish(self, version):
        return run(["casync", "make", "--compression=zstd", "--store=" + self.path("castr"), self.path(version + ".caibx"),
                    self.image(version)], LIMIT_S)[:2]

    def fetch(self, inside, server, version, out):
        return run([*inside, "casync", "extract", "--store=" + self.url(server, "castr"), "--seed=" + self.image("v1"),
                    self.url(server, version + ".caibx"), out], LIMIT_S)[0]


class Zsync(Published):
    name = "zsync"

    def publish(self, version):
        file = self.path(version + ".img")
        os.link(self.image(version), file)
        return run(["zsyncmake", "-u", version + ".img", "-o", self.path(version + ".zsync"), file], LIMIT_S)[:2]

    def fetch(self, inside, server, version, out):
        folder = tempfile.mkdtemp(prefix="zsync.", dir=self.workplace.dir)
        return run([*inside, "zsync", "-q", "-i", self.image("v1"), "-o", out, self.url(server, version + ".zsync")], LIMIT_S,
                   cwd=folder)[0]


class Zstd(Published):
    name = "zstd -3, all of it"

    def publish(self, version):
        return run(["zstd", "-q", "-3", "-T0", self.image(version), "-o", self.path(version + ".zst")], LIMIT_S)[:2]

    def fetch(self, inside, server, version, out):
        return run([*inside, "sh", "-c", 'curl -fsS "$1" | zstd -q -d -o "$2"', "sh", self.url(server, version + ".zst"), out],
                   LIMIT_S)[0]


class Squashfs(Published):
    """Of the files: another file system than the versions', and so one number only."""

    name = "mksquashfs (zstd -3)"
    fetch = None

    def publish(self, version):
        if version != "v2":
            return None
        return run(["sh", "-c", 'mksquashfs - "$1" -tar -comp zstd -Xcompression-level 3 -quiet -no-progress <"$2"', "sh",
                    self.path("v2.squashfs"), os.path.join(self.images, "v2.tar")], LIMIT_S)[:2]


TOOLS = (InetBoot, Casync, Zsync, Zstd, Squashfs)


def publish_all(tool, samples):
    for version in VERSIONS:
        os.sync()
        warm_page_cache(tool.images)
        before = size_of(tool.dir)
        took = tool.publish(version)
        if took:
            samples.add(tool.name, "publish_%s_s" % version, took[0])
            samples.add(tool.name, "publish_%s_bytes" % version, size_of(tool.dir) - before)


def fetch_all(tool, samples, line, server, sums):
    tool.prepare_client(line.client.inside, server.url)
    for version in VERSIONS[1:]:
        warm_page_cache(tool.dir, tool.image("v1"))
        line.wait_until_quiet()
        requests, sent = server.counted()[0], line.counted()[1]
        out = os.path.join(tempfile.mkdtemp(prefix="out.", dir=tool.workplace.dir), version)
        samples.add(tool.name, "fetch_%s_s" % version, tool.fetch(line.client.inside, server.url, version, out))
        line.wait_until_quiet()
        samples.add(tool.name, "fetch_%s_requests" % version, server.counted()[0] - requests)
        samples.add(tool.name, "fetch_%s_bytes" % version, line.counted()[1] - sent)
        if sums and not tool.verifies and sha256_of(out) != sums[version]:
            raise Failed("WRONG BYTES of %s" % version)
        if not tool.verifies:
            os.unlink(out)


def one_round(workplace, images, samples, number, sums):
    line = Line(workplace.relay, RATE, RTT_MS)
    try:
        folder = tempfile.mkdtemp(prefix="line.", dir=workplace.dir)
        server = WebServer(os.path.join(folder, "nginx"), workplace.root, SERVER, line.server.inside, log=True)
        try:
            for kind in TOOLS:
                if kind.name in samples.failed:
                    continue
                say("updates, round %d: %s (load %.1f)" % (number + 1, kind.name, load()))
                try:
                    tool = kind(workplace, images, number)
                    publish_all(tool, samples)
                    if tool.fetch:
                        fetch_all(tool, samples, line, server, sums)
                except (Failed, OSError) as why:
                    samples.fail(kind.name, why)
        finally:
            server.stop()
    finally:
        line.close()


def measure(workplace, rounds, clock):
    samples = Samples()
    workplace.need_relay()
    images = os.path.join(workplace.dir, "versions")
    os.mkdir(images)
    run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "make-update"), images], 1800)
    sums = {version: sha256_of(os.path.join(images, version + ".img")) for version in VERSIONS}
    for number in range(rounds):
        if not clock.over(number):
            one_round(workplace, images, samples, number, None if number else sums)
    return samples
