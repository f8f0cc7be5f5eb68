#!/usr/bin/env python3
"""The disk by NBD: what nbdcopy, qemu and a small client of our own read is the image, also in parallel, over TLS, from a bad mirror and while
the server is away; holes are told; it ends when it is told to, waiting or not, and leaves nothing behind."""
import errno, socket
from mountlib import *

need("nbdkit", "nbdcopy", "nbdinfo", "qemu-img")
if "libasan" in subprocess.run(["ldd", INETBOOT], stdout=subprocess.PIPE, check=True).stdout.decode():
    skip("nbdkit is built without AddressSanitizer, and hangs at its end when that is loaded into it")
ENVIRONMENT = dict(os.environ, XDG_RUNTIME_DIR=DIR)
if "nbdkit's headers" in run("nbd", "nowhere", status=1):
    skip("this program was built without nbdkit's headers (tools/install-deps build)")


class Nbd:
    """inetboot nbd as a child."""

    def __init__(self, link, *options, rest=(), cache="cache", wait=True):
        self.name = f"nbd{Nbd.count}"
        Nbd.count += 1
        cache = ["--cache", cache] if cache else ["--no-cache"]
        with open(f"{self.name}.log", "wb") as log, open(f"{self.name}.out", "wb") as out:
            self.process = subprocess.Popen([INETBOOT, "nbd", *cache, *options, link, *(["--", *rest] if rest else [])],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=ENVIRONMENT)
        at_end.append(self.clear)
        if wait:
            wait_for(lambda: self.process.poll() is not None or self.uri(), "the URI")
            check(self.process.poll() is None, f"it ended: {self.said()}")

    count = 0

    def uri(self):
        lines = content(f"{self.name}.out").decode().splitlines(keepends=True)
        return lines[0].strip() if lines and lines[0].endswith("\n") else None

    def socket(self):
        return self.uri().split("socket=")[1]

    def said(self):
        return content(f"{self.name}.log").decode(errors="replace")

    def ended(self, seconds=SECONDS):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            fail(f"it does not end within {seconds} s: {self.said()}")

    def end(self, how=signal.SIGTERM, seconds=SECONDS):
        self.process.send_signal(how)
        status = self.ended(seconds)
        check(status == 0, f"it ended with {status}: {self.said()}")

    def clear(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Client:
    """As much of an NBD client as is needed to see errors and to wait."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(SECONDS)
        self.s.connect(path)
        check(self.take(16) == b"NBDMAGICIHAVEOPT", "no NBD server")
        self.take(2)
        self.s.sendall(struct.pack(">I8sIIIH", 3, b"IHAVEOPT", 7, 6, 0, 0))
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.take(20))
            data = self.take(length)
            if kind == 3 and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])
            if kind != 3:
                check(kind == 1, f"refused with {kind:x}")
                return

    def take(self, count):
        data = b""
        while len(data) < count:
            part = self.s.recv(count - len(data))
            check(part, "the connection ended")
            data += part
        return data

    def send(self, kind, offset, length):
        self.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, offset, offset, length))

    def answer(self, length=0):
        """(error, data)"""
        magic, error, _ = struct.unpack(">IIQ", self.take(16))
        check(magic == 0x67446698, "no answer of NBD")
        return error, b"" if error else self.take(length)

    def read(self, offset, length):
        self.send(0, offset, length)
        return self.answer(length)

    def cache(self, offset, length):
        self.send(5, offset, length)
        return self.answer()[0]


def read_randomly_by(path, data, seed):
    rng = random.Random(seed)
    c = Client(path)
    if c.size != len(data) or not c.flags & 2:
        return f"{c.size} bytes, flags {c.flags:x}"
    for _ in range(80):
        offset = rng.randrange(len(data))
        length = min(rng.choice([1, 512, 4096, rng.randrange(1, 300000)]), len(data) - offset)
        error, got = c.read(offset, length)
        if error or got != data[offset:offset + length]:
            return f"error {error}, or wrong bytes, at {offset}"


def check_whole(uri, path, *options):
    """nbdcopy and qemu-img agree with the file."""
    with open("copy", "wb"):
        pass
    subprocess.run(["nbdcopy", *options, uri, "copy"], check=True, timeout=SECONDS)
    check(content("copy") == content(path), f"nbdcopy {options} made something else")
    os.unlink("copy")
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", uri, path], check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)


def nbd_map(uri):
    """[(offset, length, is it a hole)], neighbours of a kind made one."""
    out = []
    for e in json.loads(subprocess.run(["nbdinfo", "--map", "--json", uri], stdout=subprocess.PIPE, check=True, timeout=SECONDS).stdout):
        check(e["type"] in (0, 3), f"neither data nor a hole of zeros: {e}")
        if out and out[-1][2] == (e["type"] == 3):
            out[-1][1] += e["length"]
        else:
            out.append([e["offset"], e["length"], e["type"] == 3])
    return out


def holes_of_index(name, store):
    m, out, at = manifest(name, store), [], 0
    for length, digest in leaves(store, m["index"]["root"], m["index"]["depth"] - 1, m["size"]):
        if out and out[-1][2] == (digest is None):
            out[-1][1] += length
        else:
            out.append([at, length, digest is None])
        at += length
    return out


key = make_key()
os.mkdir("www")
make_image("image", 12_345_679, 3)
data = content("image")
publish("image", store="www")
server, mirror = Server("www"), Server("www")
link = f"{server.url}/image#{key}"

# The whole of it, by several programs and connections; holes are those of the index, and cost no request.
n = Nbd(link)
holes = holes_of_index("image", "www")
check(sum(h for *_, h in holes) > 2, "an image without holes")
check(nbd_map(n.uri()) == holes, "another map than the index")
check(not [r for r in server.log("/blocks")["requests"] if r["bytes"] > 200_000] and len(server.log("/blocks")["requests"]) < 20,
      "chunks were fetched for a map")
check_whole(n.uri(), "image")
check_whole(n.uri(), "image", "--connections=4", "--requests=16")
mapped = json.loads(subprocess.run(["qemu-img", "map", "--output=json", "-f", "raw", n.uri()], stdout=subprocess.PIPE, check=True).stdout)
check(any(e["zero"] and not e["data"] for e in mapped), f"qemu-img sees no hole: {mapped}")
readers = [Child(read_randomly_by, n.socket(), data, seed) for seed in range(5)]
for r in readers:
    wrong = r.result()
    check(not wrong, wrong)
info = json.loads(subprocess.run(["nbdinfo", "--json", n.uri()], stdout=subprocess.PIPE, check=True).stdout)["exports"][0]
check(info["is_read_only"] and info["can_multi_conn"] and info["can_cache"] and "image version 1" in info["description"], f"{info}")
check(info["block_size_minimum"] == 1 and info["block_size_preferred"] == 65536 and info["block_size_maximum"] == 32 << 20, f"{info}")
with open(f"/proc/{n.process.pid}/status") as f:
    confined = dict(line.split(":", 1) for line in f)
check(confined["NoNewPrivs"].strip() == "1" and int(confined["CapEff"], 16) & ~2 == 0, "it is not confined")
folder = os.path.dirname(n.socket())
check(stat.S_IMODE(os.stat(folder).st_mode) == 0o700, "others get at the socket")
n.end()
wait_for(lambda: not os.path.exists(folder), "the socket's folder to go")

# Nobody's death leaves the folder.
n = Nbd(link)
folder = os.path.dirname(n.socket())
n.process.kill()
n.process.wait()
wait_for(lambda: not os.path.exists(folder), "the socket's folder to go")

# A socket at a place of one's own: an old one is replaced, one in use is not.
n = Nbd(link, "--socket", "here", "--export", "my disk")
check(n.uri() == f"nbd+unix:///my%20disk?socket={DIR}/here", n.uri())
check("another program listens" in run("nbd", "--socket", "here", link, status=1, env=ENVIRONMENT), "two at one socket")
check(subprocess.run(["nbdinfo", f"nbd+unix:///other?socket={DIR}/here"], stderr=subprocess.DEVNULL).returncode, "a wrong name is right")
subprocess.run(["nbdinfo", "--size", n.uri()], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
n.process.kill()
n.process.wait()
n = Nbd(link, "--socket", "here")
subprocess.run(["nbdinfo", "--size", n.uri()], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
n.end()

# A hint is a prefetch.
server.control("POST", {"forget": True})
n = Nbd(link, cache=None)
c = Client(n.socket())
at = next(at for at, length, hole in holes if not hole and length > 100_000)
check(c.cache(at, 100_000) == 0, "the hint failed")
wait_for(lambda: any(r["bytes"] > 1000 for r in server.log("/blocks")["requests"]), "blocks that were only hinted at")
check(c.read(at, 100_000) == (0, data[at:at + 100_000]), "wrong bytes after a hint")
n.end()

# Over TCP, and --run; images that are no store's.
def on_a_port():
    """On one that nobody has: a port that is free now may be taken a moment later."""
    for _ in range(20):
        n = Nbd("image", "--port", str(random.randrange(20000, 30000)), wait=False)
        wait_for(lambda: n.process.poll() is not None or n.uri(), "the URI")
        if n.process.poll() is None:
            return n
        check("already in use" in n.said(), f"it ended: {n.said()}")
    fail("no port is free")


n = on_a_port()
check(n.uri().startswith("nbd://127.0.0.1:"), n.uri())
check_whole(n.uri(), "image")
if any(hole for *_, hole in nbd_map(n.uri())) != (os.stat("image").st_blocks * 512 < len(data)):
    fail("a sparse file's holes are not told, or there are some in another one")
n.end()
n = Nbd(link, rest=["--run", 'nbdcopy "$uri" copied'], wait=False)
check(n.ended() == 0 and content("copied") == data, f"--run: {n.said()}")
check(not content(f"{n.name}.out"), "the URI is among the output of what was run")
if shutil.which("create_compressed_fs"):
    make_cloop("image", "image.cloop", 65536)
    n = Nbd("image.cloop")
    with open("image.padded", "wb") as f:
        f.write(data + bytes(-len(data) % 65536))
    check_whole(n.uri(), "image.padded")
    n.end()

# The server goes away while it is read: reads wait, and go on.
away = Server("www", "/blocks/* delay ms=100")
n = Nbd(f"{away.url}/image#{key}", cache=None)
reader = Child(read_randomly_by, n.socket(), data, 9)
wait_for(lambda: len(away.log("/blocks")["requests"]) > 3, "a few requests")
away.gone(6)
wait_for(lambda: "waiting for it to return" in n.said(), "the word that the server is away")
wrong = reader.result()
check(not wrong, f"after the server was away: {wrong}")
check("answers again" in n.said(), "no word that the server is back")
n.end()

# A boot pack, and then the rest: all is here in the end, without a block of what the pack has.
write_trace("trace", [(page, 100) for page in range(0, 2000, 100)])
run("profile", "www/image", "trace", "--key", "key", "--level", "1")
pack = f"packs/{manifest('image', 'www')['profile']['pack']}"
server.rules()
n = Nbd(link, "--pack", "--fill", cache="packed")
wait_for(lambda: os.path.exists(f"packed/{pack}"), "the whole pack in the cache")
check(content(f"packed/{pack}") == content(f"www/{pack}"), "another pack in the cache")
wait_for(lambda: "needs no network any more" in n.said(), "the rest in the cache")
check(len(server.log("/packs/")["requests"]) == 1, "the pack was not fetched in one")
n.end()
server.gone()
n = Nbd(link, "--pack", cache="packed")
check_whole(n.uri(), "image")
n.end()
server.back()

# Away for good: it ends all the same, with reads waiting. With a time limit it is an error.
far = next(at for at, length, hole in reversed(holes) if not hole and length > 30_000)
stopped = Server("www")
n, limited = Nbd(f"{stopped.url}/image#{key}", cache=None), Nbd(f"{stopped.url}/image#{key}", "--net-timeout", "2", cache=None)
waiting, c = Client(n.socket()), Client(limited.socket())
check(c.read(0, 1)[0] == 0, "the first read failed")  # the index is here now
check(waiting.read(0, 1)[0] == 0, "the first read failed")
stopped.stop()
for i in range(20):
    waiting.send(0, far + i * 1000, 1000)
check(c.read(far, 1000)[0] == errno.EIO, "not EIO")
check("block " in limited.said(), f"the error does not tell: {limited.said()}")
limited.end()
wait_for(lambda: "waiting for it to return" in n.said(), "the word that the server is away")
n.end(seconds=20)
check(waiting.answer(1000)[0] in (errno.ESHUTDOWN, errno.EIO), "no error at the end")

# It ends while it still waits for the manifest.
silent = Server("www", "/image/* stall")
n = Nbd(f"{silent.url}/image#{key}", cache=None, wait=False)
wait_for(lambda: silent.log()["requests"], "a request for the manifest")
n.process.send_signal(signal.SIGTERM)
check(n.ended(5) == -signal.SIGTERM, "it ended in another way")

# One mirror has bad blocks, the other has not.
server.rules("/blocks/* flip")
n = Nbd(link, "--mirror", mirror.url, "--net-timeout", "20", cache=None)
check_whole(n.uri(), "image")
check(server.log("/blocks")["faults"].get("flip"), "the bad mirror was not asked")
n.end()
server.rules()

# The disk as a plain file in the cache: nothing else is needed, once it is open; and when that file fails, blocks are.
run("pull", "--unpack", "--cache", "unpacked", link)
n = Nbd(link, cache="unpacked")
server.gone()
os.rename("unpacked/blocks", "blocks-away")
check_whole(n.uri(), "image")
nbd_map(n.uri())
os.rename("blocks-away", "unpacked/blocks")
for name in os.listdir("unpacked/disks"):
    os.truncate(f"unpacked/disks/{name}", 5000)
check_whole(n.uri(), "image")
check("is not used any more" in n.said(), f"not said: {n.said()}")
server.back()
n.end()

# TLS: the file of keys is read for each client, in the sandbox.
if shutil.which("psktool"):
    subprocess.run(["psktool", "-u", "me", "-p", "keys.psk"], check=True, stdout=subprocess.DEVNULL)
    n = Nbd(link, rest=["--tls=require", "--tls-psk=keys.psk"])
    check(n.uri().startswith("nbds+unix:///"), n.uri())
    uri = f"nbds+unix://me@/?socket={n.socket()}&tls-psk-file={DIR}/keys.psk"
    subprocess.run(["nbdcopy", uri, "copied"], check=True, timeout=SECONDS)
    check(content("copied") == data, "wrong bytes over TLS")
    check(subprocess.run(["nbdinfo", f"nbd+unix:///?socket={n.socket()}"], stderr=subprocess.DEVNULL).returncode, "it goes without TLS")
    n.end()

# What is wrong is told in a sentence, before anything is served.
for arguments, status, words in [
        (["nowhere"], 1, "neither a file"), ([link[:-4]], 1, "key"), ([link, "--", "foo=bar"], 1, "there is no parameter foo"),
        ([link, "--", "cache-size=5"], 1, "cache-size takes a size"), ([link, "--", "net-timeout=soon"], 1, "net-timeout takes a number"),
        ([link, "--", "insecure=perhaps"], 1, "perhaps"), ([link, "--", "log-level=loud"], 1, "loud"),
        ([], 2, "exactly one link"), ([link, "other"], 2, "exactly one link"), (["--port", "0", link], 2, "65535"),
        (["--memory-limit", "1M", link], 2, "--memory-limit takes a size"), (["--socket", "image", link], 1, "is no socket"),
        (["--socket", "x", "--port", "1", link], 2, "--socket goes without"), (["--socket", "x" * 120, link], 1, "longer than")]:
    text = run("nbd", *arguments, status=status, env=ENVIRONMENT)
    check(words in text, f"{arguments}: no '{words}' in: {text}")
text = run("nbd", link, status=1, env=dict(ENVIRONMENT, PATH="/nowhere"))
check("nbdkit is not installed" in text, text)
wait_for(lambda: not [f for f in os.listdir() if f.startswith("inetboot-nbd-")], "all folders of sockets to go")
done()
