#!/usr/bin/env python3
"""What a link may look like, what a key is good for, and ls, info and pull, which take the same links."""
from mountlib import *

need_fuse()
key, other = make_key(), make_key("other")
make_image("image", 1_000_000, 1)
publish("image", store="www", key="key")
first = content("image")
make_image("image", 1_200_000, 2)
publish("image", store="www", key="key")
data = content("image")
server = Server("www")


def good(link, want, *options, **more):
    m = Mount(link, *options, **more)
    check_all(m.disk, want)
    m.end()
    return m.said()


def bad(link, *words, options=(), program=("info",)):
    text = run(*program, "--cache", "cache", *options, link, status=1)
    for word in (*words, "inetboot: cannot"):
        check(word in text, f"no '{word}' in: {text}")


for base in [server.url, f"file:{DIR}/www", "www", "./www", f"{DIR}/www"]:
    good(f"{base}/image#{key}", data)
    good(f"{base}/image@2#{key}", data)
    good(f"{base}/image@1#{key}", first)
    said = good(f"{base}/image@1", first)
    check("no key" in said and "not checked" in said, f"silent about the missing key: {said}")
    bad(f"{base}/image#{other}", "another key")
    bad(f"{base}/image@3#{key}", "manifest.3")
    bad(f"{base}/nothing#{key}", "nothing")
    check("1 2" in run("info", "--cache", "cache", f"{base}/image#{key}"), "info does not list the versions")
    bad(f"{base}/image#{key[:-1]}", "key")
    bad(f"{base}/image#", "key")
good(f"HTTP://127.0.0.1:{server.port}/image#{key}", data)
good(f"http://localhost:{server.port}/image", data)
bad("ftp://127.0.0.1/image", "http")
bad(f"http://user:password@127.0.0.1:{server.port}/image#{key}", "")

# Without a key, an address of another machine is refused before anything is asked of it. One of ours that is not loopback:
mine = subprocess.run(["hostname", "-I"], stdout=subprocess.PIPE).stdout.decode().split() if shutil.which("hostname") else []
mine = next((a for a in mine if ":" not in a and not a.startswith("127.")), None)
bad("http://192.0.2.1/image", "no key", "--insecure")
if mine:
    outside = Server("www", bind=mine)
    bad(f"{outside.url}/image", "no key", "--insecure")
    check(not outside.log()["requests"], "it was asked all the same")
    good(f"{outside.url}/image#{key}", data)
    check("whoever controls" in good(f"{outside.url}/image", data, "--insecure"), "--insecure is silent")

# The key stays here.
check(not any(key[:20] in json.dumps(r) for r in server.log()["requests"]), "the key went to the server")

# ls and info
for store in [server.url, server.url + "/", "www", f"file:{DIR}/www"]:
    text = run("ls", store)
    check("image  version 2" in text and key in text, f"ls: {text}")
    check(json.loads(run("ls", "--json", store))["images"][0]["name"] == "image", "ls --json")
about = json.loads(subprocess.run([INETBOOT, "info", "--json", "--cache", "cache", f"{server.url}/image#{key}"],
                                  stdout=subprocess.PIPE, check=True).stdout)
check(about["verified"] is True and about["version"] == 2 and about["versions"] == [1, 2] and about["size"] == len(data), f"info: {about}")
check("not checked" in run("info", f"{server.url}/image"), "info is silent about the missing key")
check("404" in run("ls", f"{server.url}/nowhere", status=1), "ls of nothing")
check("image  version 2" in run("ls", "--mirror", server.url, "http://127.0.0.1:1"), "ls does not ask the mirror")
os.mkdir("empty")
check("catalog.json" in run("ls", "empty", status=1), "ls of an empty folder")
server.rules("/catalog.json login")
check("catalog.json" in run("ls", server.url, status=1), "ls of a login page")
server.rules("/catalog.json status code=503")
check("signature" in run("info", "--cache", "cache", f"{server.url}/image#{key}"), "info waits for a list that it can do without")

# pull, then no server at all
server.rules()
check("fetched now" in run("pull", "--cache", "pulled", f"{server.url}/image#{key}"), "pull")
check(", 0 of them fetched now" in run("pull", "--cache", "pulled", f"{server.url}/image#{key}"), "pull fetches twice")
path = max(all_blocks("pulled"), key=os.path.getsize)  # no index node, which pull does not count
os.truncate(path, 500)
check(", 1 of them" in run("pull", "--cache", "pulled", f"{server.url}/image#{key}"), "pull takes a damaged block for good")
bad("www/image#" + key, "web server", program=("pull",))
bad(f"{server.url}/image#{key}", "no-cache", program=("pull",), options=("--no-cache",))
run("verify", f"{server.url}/image#{key}")
link = f"{server.url}/image#{key}"
server.stop()
at_end.remove(server.stop)
said = good(link, data, cache="pulled")
check("in the cache" in said, f"silent about the missing server: {said}")
text = run("info", "--cache", "pulled", link)
check("good, by the link's key" in text, text)

# Files in a form that is not read are named, with what to do; names that are no UTF-8 do no harm.
for head, *words in (b"QFI\xfb", "qcow2", "qemu-img"), (b"\x1f\x8b\x08", "gzip", "unpack"), (bytes(257) + b"ustar", "tar", "publish"):
    with open("foreign", "wb") as f:
        f.write(head + bytes(5000))
    bad("foreign", *words)
os.rename("foreign", b"\xff")
bad(b"\xff", "tar")
with open(b"\xff", "wb") as f:
    f.write(bytes(5000))
check("5000" in run("info", "--json", b"\xff"), "info of a name that is no UTF-8")

# An older version than the one seen is refused, unless asked for.
os.rename("www/image/manifest.1", "www/image/manifest")
server = Server("www")
bad(f"{server.url}/image#{key}", "version 1", "version 2", "image@1")
bad(f"www/image#{key}", "version 1", "version 2", "image@1")
done()
