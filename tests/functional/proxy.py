#!/usr/bin/env python3
"""inetboot serve --proxy: one download for all clients, whatever they do; nothing but what the linked stores have, nothing that is wrong;
and what is here when the store is gone."""
import collections, http.client, re, socket, urllib.parse
from mountlib import *

need_fuse()
key = make_key()
make_image("image", 12_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
origin = Server("www", "/blocks/* delay ms=20")
link = f"{origin.url}/image#{key}"
blocks = [path[len("www"):] for path in all_blocks("www")]


class Proxy:
    def __init__(self, *options, cache="proxy", name="proxy"):
        self.err = open(f"{name}.log", "ab")
        self.name = name
        self.process = subprocess.Popen([INETBOOT, "serve", "--cache", cache, "--port", "0", *options], stdout=subprocess.PIPE,
                                        stderr=self.err)
        at_end.append(self.kill)
        lines = [self.process.stdout.readline().decode().strip() for _ in range(2)]
        check("--mirror" in lines[0] and "#" in lines[1], f"it prints {lines}: {self.said()}")
        self.link, self.url = lines[1], lines[0].split()[-1]
        self.port = urllib.parse.urlsplit(self.url).port

    def said(self):
        return content(f"{self.name}.log").decode()

    def get(self, path, method="GET", **head):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        c.request(method, path, headers={k.replace("_", "-"): v for k, v in head.items()})
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, r.headers, body

    def memory(self, what="VmHWM"):
        return int(re.search(what + r":\s+(\d+) kB", content(f"/proc/{self.process.pid}/status").decode())[1]) << 10

    def end(self):
        self.process.terminate()
        status = self.process.wait(20)
        check(status == 0, f"the proxy ended with {status}: {self.said()}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.err.close()


def asked(prefix="/"):
    return collections.Counter(r["path"] for r in origin.log()["requests"] if r["path"].startswith(prefix))


def client(port, seed):
    """Reads the whole store on one connection, in an order of its own; the result is what was wrong."""
    rng = random.Random(seed)
    paths = ["/image/manifest"] + (blocks if seed % 2 else rng.sample(blocks, len(blocks)))
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    for path in paths:
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        if r.status != 200 or body != content("www" + path):
            return f"{path}: {r.status}, {len(body)} bytes"


# Fifty that start together, with some mounts among them: each block is fetched once.
proxy = Proxy("--proxy", link)
check(proxy.link == f"{proxy.url}/image#{key}", proxy.link)
origin.rules("/blocks/* delay ms=20")
start = time.monotonic()
clients = [Child(client, proxy.port, i) for i in range(50)]
mounts = [Mount(proxy.link, dir=f"m{i}", cache=f"c{i}", wait=False) for i in range(3)]
mounts += [Mount(link.replace(str(origin.port), "9"), "--mirror", proxy.url, dir="m3", cache="c3", wait=False)]
for m in mounts:
    m.ready()
    check_all(m.disk, data)
for i, c in enumerate(clients):
    wrong = c.result(SECONDS)
    check(not wrong, f"client {i}: {wrong}")
took = time.monotonic() - start
counts = asked("/blocks/")
check(set(counts) == set(blocks) and set(counts.values()) == {1}, f"not one request for each block: {counts.most_common(5)}")
manifests = asked("/image/")["/image/manifest"]
check(manifests <= took / 3 + 1, f"{manifests} requests for the manifest in {took:.0f} s")
print(f"54 clients, {len(blocks)} blocks: {sum(counts.values())} requests for blocks, {manifests} for manifests, in {took:.1f} s, "
      f"{proxy.memory() >> 20} MiB of memory")
for m in mounts:
    m.end()

# HTTP: ranges, ETags, HEAD, a catalogue of its own; the manifest as the publisher signed it
want = content("www" + blocks[0])
status, head, body = proxy.get(blocks[0], Range="bytes=5-9")
check(status == 206 and body == want[5:10], f"range: {status}")
check(proxy.get(blocks[0], If_None_Match=head["ETag"])[0] == 304, "ETag")
check("immutable" in head["Cache-Control"], "blocks may be kept for ever")
status, head, body = proxy.get(blocks[0], "HEAD")
check(status == 200 and not body and int(head["Content-Length"]) == len(want), "HEAD")
status, head, body = proxy.get("/image/manifest")
check(body == content("www/image/manifest") and int(head["Age"]) < 10 and not head["Warning"] and head["Cache-Control"] == "no-cache",
      f"manifest: {status} {head}")
check(proxy.get("/image/manifest.1")[2] == content("www/image/manifest.1"), "a version")
check("image" in run("ls", proxy.url) and key in run("ls", proxy.url), "ls")
check(b"image" in proxy.get("/")[2], "the page")
run("verify", proxy.link, env=os.environ)

# Only blocks and manifests of the linked store, by names of the right form; what is missing is not asked for again and again.
origin.rules()
bad = "/blocks/" + "ab/ab" + "0" * 62
strange = ["/etc/passwd", "/blocks/", "/blocks/ab", "/blocks/ab/" + "cd" * 32, "/blocks/ab/ab" + "G" * 62, bad.upper(), bad + "0", bad + "?x",
           "/other/manifest", "/image/", "/image/manifest.0", "/image/manifest.01", "/image/manifest.x", "/image/manifest.1.2", "/image/key.pub",
           "/image/next.", "/catalog.json/x", "/" + "a" * 600, "/../www/image/manifest", "/blocks/../image/manifest",
           f"http://127.0.0.1:{origin.port}/image/manifest", "//127.0.0.1/x"]
for path in strange:
    if path != bad + "?x":
        check(proxy.get(path)[0] in (400, 404, 414), f"{path[:80]} is not refused")
check(not asked(), f"the store was asked for {asked()}")
for _ in range(20):
    check(proxy.get(bad)[0] == 404 and proxy.get("/image/manifest.77")[0] == 404, "what is missing")
check(asked() == {bad: 1, "/image/manifest.77": 1}, f"what is missing is asked for again: {asked()}")
for method in ("POST", "PUT", "CONNECT", "DELETE"):
    check(proxy.get(blocks[0], method)[0] in (400, 405), method)

# Bit rot in the proxy's cache, and a store that lies: nobody gets a wrong byte.
file = "proxy" + blocks[3]
with open(file, "r+b") as f:
    f.seek(20)
    f.write(b"rot")
check(proxy.get(blocks[3])[2] == content("www" + blocks[3]) == content(file), "rot in the cache")
check(asked("/blocks/")[blocks[3]] == 1, "rot was not fetched again")
for kind in ("flip", "wronglength delta=100", "login", "truncate"):
    os.unlink("proxy" + blocks[4])
    origin.rules(f"/blocks/* {kind}")
    status, _, body = proxy.get(blocks[4])
    check(status in (502, 503) and content("www" + blocks[4]) != body, f"{kind}: {status}")
    check(not os.path.exists("proxy" + blocks[4]), f"{kind}: the cache has it")
    origin.rules("/blocks/* %s count=1" % kind)
    deadline = time.monotonic() + 20
    while proxy.get(blocks[4])[0] != 200:
        check(time.monotonic() < deadline, f"{kind}: not served again")
        time.sleep(0.1)
    check(content("proxy" + blocks[4]) == content("www" + blocks[4]), f"{kind}: other bytes")

# A new version: seen after a few seconds, once for all; a wrong one is not handed on.
make_image("image", 12_000_000, 2, holes=False)
shutil.copytree("www", "old")
publish("image", store="www")
origin.rules()


def newest():
    return proxy.get("/image/manifest")[2] == content("www/image/manifest")


wait_for(newest, "the new version", 10)
good = content("www/image/manifest")
with open("www/image/manifest", "wb") as f:
    f.write(good.replace(b'"version": 2', b'"version": 3'))
time.sleep(3.2)  # longer than it is taken for fresh
status, head, body = proxy.get("/image/manifest")
check(body == good and "110" in head["Warning"], f"a manifest with a wrong signature: {status} {head}")
with open("www/image/manifest", "wb") as f:
    f.write(content("old/image/manifest"))
time.sleep(3.2)
check(proxy.get("/image/manifest")[2] == good, "an older version is handed on")
with open("www/image/manifest", "wb") as f:
    f.write(good)

# The store is gone: what is here is served, with a warning and its age; what is not is no 404, and no client waits long. Then it is back.
m = Mount(proxy.link, dir="m0", cache=None)
check_all(m.disk, content("image"))
m.end()
old_block = next(b for b in (p[len("www"):] for p in all_blocks("www")) if b not in blocks)
os.unlink("proxy" + old_block)
wait_for(lambda: proxy.get("/image/manifest")[1]["Warning"] is None, "a fresh manifest", 10)
before = proxy.said()
origin.gone()
time.sleep(3.5)
status, head, body = proxy.get("/image/manifest")
check(status == 200 and body == good and "110" in head["Warning"] and int(head["Age"]) >= 3, f"{status} {head}")
check(proxy.get(blocks[0])[0] == 200, "a block that is here")
start = time.monotonic()
statuses = [proxy.get(old_block)[0] for _ in range(10)]
check(set(statuses) == {503} and time.monotonic() - start < 3, f"a block that is not: {statuses}")
m = Mount(proxy.link, dir="m0", cache=None, wait=False)
m.ready()
origin.back()
wait_for(lambda: proxy.get(old_block)[0] == 200, "the store's return", 20)
check_all(m.disk, content("image"))
m.end()
said = proxy.said()[len(before):].splitlines()
check(len(said) == 2 and "serving what is here" in said[0] and "answers again" in said[1], said)
proxy.end()

# Started without the store: from its cache.
origin.stop()
proxy = Proxy("--proxy", link, name="second")
status, head, body = proxy.get("/image/manifest")
check(status == 200 and body == good and "110" in head["Warning"], f"{status} {head}")
check(proxy.get(blocks[0])[0] == 200, "a block from the cache")
proxy.end()

# What it does not start for.
for options, words in ((["--proxy", link.split("#")[0]], "key"), (["--proxy", "./www/image#" + key], "web server"),
                       (["--proxy", link, "--proxy", link], "two images"), (["--proxy", link.replace("#", "@1#")], "@1")):
    check(words in run("serve", "--port", "0", "--cache", "proxy", *options, status=1), f"{options}: no {words}")
run("serve", "www", "--proxy", link, status=2)
run("serve", status=2)

# A cache that cannot be written to, and fifty clients that hardly read: memory stays bounded.
origin = Server("www")
link = f"{origin.url}/image#{key}"
proxy = Proxy("--proxy", link, cache="/proc/none", name="third")
blocks = [path[len("www"):] for path in all_blocks("www")]
before = proxy.memory("VmRSS")
slow = []
for i in range(300):
    s = socket.create_connection(("127.0.0.1", proxy.port))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall("".join(f"GET {b} HTTP/1.1\r\nHost: x\r\n\r\n" for b in random.Random(i).sample(blocks, 20)).encode())
    slow.append(s)
wrong = client(proxy.port, 1)
check(not wrong or "503" in wrong, f"with slow clients: {wrong}")
SANITIZED = b"__asan_init" in content(INETBOOT)  # takes much more memory
check(SANITIZED or proxy.memory() < before + (100 << 20), f"{proxy.memory() >> 20} MiB of memory with 300 slow clients")
print(f"300 slow clients: {proxy.memory() >> 20} MiB")
for s in slow:
    s.close()
wait_for(lambda: not client(proxy.port, 2), "the end of slow clients", 30)
proxy.end()
done()
