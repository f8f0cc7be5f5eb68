"""Images of 1 to 100 GiB: what publishing them costs, how long their index is, how soon they are mounted, and the memory that it takes to
read them."""

import json
import os
import random
import struct
import subprocess
import tempfile
import time

from measure import Failed, Samples, drop_page_cache, load, offsets_seed, read_pass, run, say
from readers import InetBoot, Nbdkit

GIB, MIB = 1 << 30, 1 << 20
# label, bytes, PIECE bytes of data at every STRIDE
SIZES = (
    ("1 GiB, a tenth data", GIB, 10 * MIB, MIB),
    ("10 GiB, a tenth data", 10 * GIB, 10 * MIB, MIB),
    ("100 GiB, 2 % data", 100 * GIB, 50 * MIB, MIB),
    ("1 GiB, all data", GIB, MIB, MIB),
    ("10 GiB, all data", 10 * GIB, MIB, MIB),
)
TOOLS = (InetBoot, Nbdkit)
SPREAD_READERS, SPREAD_S = 8, 8
PUBLISH_S = 900


def make_image(out, size, stride, piece, source):
    """PIECE bytes at every STRIDE, of the source's, none of them twice: when all are used, they are used again with the values of
    all bytes but 0 exchanged, which compress as well."""
    values = random.Random(1)
    table = None
    with open(out, "wb") as to, open(source, "rb") as f:
        to.truncate(size)
        for at in range(0, size - piece + 1, stride):
            data = f.read(piece)
            if len(data) < piece:
                f.seek(0)
                data = f.read(piece)
                table = bytes([0] + values.sample(range(1, 256), 255))
            to.seek(at)
            to.write(data.translate(table) if table else data)


def index_bytes(store, root):
    """Of an image's index in a store: docs/format.md."""
    total = 0
    nodes = [root]
    while nodes:
        files = [os.path.join(store, "blocks", node[:2], node) for node in nodes]
        total += sum(map(os.path.getsize, files))
        data = subprocess.run(["zstd", "-q", "-d", "-c", *files], stdout=subprocess.PIPE, check=True).stdout
        at, nodes = 0, []
        while at < len(data):
            level, count = struct.unpack_from("<4xB3xI", data, at)
            at += 12
            if level:
                nodes += [data[i + 8:i + 40].hex() for i in range(at, at + 40 * count, 40)]
            at += 40 * count
    return total


def publish(workplace, image, store):
    """(seconds, CPU seconds) of publishing it into a new store; with the disk's wait at the end, as ours always has it."""
    return run([workplace.inetboot, "publish", image, store, "--name", "sized", "--key", workplace.key, "--level", "3"], PUBLISH_S)[:2]


class SizedOffer:
    """An image on the server, in a store and as it is."""

    name, inside = "sized", ()

    def __init__(self, workplace, image):
        self.root, self.url = workplace.root, workplace.url
        self.store = tempfile.mkdtemp(prefix="sized.", dir=self.root)
        self.link = "/%s/sized#%s" % (os.path.basename(self.store), workplace.public)
        self.image = image

    def path(self, form):
        return {"store": self.store, "img": self.image}[form]


def measure(workplace, rounds, clock):
    """{label: Samples by tool}"""
    by_size = {}
    image = os.path.join(workplace.root, "sized.img")
    for label, size, stride, piece in SIZES:
        samples = by_size[label] = Samples()
        say("scale: making an image of %s" % label)
        make_image(image, size, stride, piece, workplace.large)
        for number in range(rounds):
            if clock.over(number):
                break
            say("scale, round %d: %s (load %.1f)" % (number + 1, label, load()))
            offer = SizedOffer(workplace, image)
            try:
                one_size(workplace, offer, samples, number, size, stride, piece)
            except (Failed, OSError) as why:
                samples.fail(InetBoot.name, why)
                break
            finally:
                run(["rm", "-rf", offer.store], 600)
        os.unlink(image)
        run(["fstrim", workplace.dir], 600)  # gives the room back to the disk that the run's file system lies on
    return by_size


def one_size(workplace, offer, samples, number, size, stride, piece):
    os.sync()
    wall, cpu = publish(workplace, offer.image, offer.store)
    samples.add(InetBoot.name, "publish_s", wall)
    samples.add(InetBoot.name, "publish_cpu_s", cpu)
    info = json.loads(run([workplace.inetboot, "info", "--json", offer.url + offer.link], 60)[2])
    samples.add(InetBoot.name, "chunks", info["chunks"])
    samples.add(InetBoot.name, "index_bytes", index_bytes(offer.store, info["root"]))
    if size // stride * piece <= GIB:
        out = offer.image + ".zst"
        samples.add("zstd -3 -T0", "publish_s", run(["zstd", "-q", "-f", "-3", "-T0", offer.image, "-o", out], PUBLISH_S)[0])
        os.unlink(out)
    for kind in TOOLS:
        reader = kind(workplace, offer)
        try:
            drop_page_cache()
            start = time.monotonic()
            path = reader.start()
            samples.add(kind.name, "start_s", time.monotonic() - start)
            result = read_pass(path, "spread", SPREAD_READERS, SPREAD_S, offsets_seed(number, "spread"), stride, piece, limit=SPREAD_S)
            samples.add(kind.name, "reads_per_s", result["bytes"] / 4096 / result["seconds"])
            samples.add(kind.name, "memory_largest", reader.peak_memory()[0])
        finally:
            reader.stop(forget_cache=True)
