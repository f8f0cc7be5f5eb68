#!/usr/bin/env python3
"""inetboot key --rotate and --revoke: links that were handed out go on working, a stolen old key is refused by who has met the new one,
offline too; a change that is killed anywhere leaves working links, and is finished by doing it again."""
from mountlib import *

need("signify-openbsd", "strace", "zstd")
SIZE = 300000
key = {n: make_key(n) for n in ("k1", "k2", "k3", "k4", "other")}
for n in key:
    shutil.copy(n, f"{n}.sec")  # signify wants such names


def image(seed):
    with open("a.img", "wb") as f:
        f.write(random.Random(seed).randbytes(SIZE))


def number(n):
    return __import__("base64").b64decode(key[n])[2:10].hex()


def as_user(name):
    """Forgets, or remembers again, what this user has seen and keeps."""
    os.environ.update(XDG_STATE_HOME=f"{DIR}/{name}-state", XDG_CACHE_HOME=f"{DIR}/{name}-cache")


def look(link, *options, status=0):
    return run("info", *options, link, status=status)


def version_of(link, *options):
    return int(look(link, *options).split("version ")[1].split(",")[0].split()[0])


def refused(link, *words, options=()):
    text = look(link, *options, status=1)
    check(all(w in text for w in words), f"{link}: the message has not {words}: {text}")


def signed(file, n):
    p = subprocess.run(["signify-openbsd", "-V", "-e", "-q", "-p", f"{n}.pub", "-x", file, "-m", "out"], stderr=subprocess.PIPE)
    check(p.returncode == 0, f"signify: {file} is not signed by {n}: {p.stderr}")
    return json.loads(content("out"))


def forge(file, n, m):
    """What a thief of key n makes with it."""
    with open("message", "w") as f:
        json.dump(m, f)
    subprocess.run(["signify-openbsd", "-S", "-e", "-s", f"{n}.sec", "-m", "message", "-x", file], check=True)


# ---- publish, rotate; old links, new links, pinned ones ----

for version in (1, 2, 3):
    image(version)
    publish("a.img", "x", key="k1")
publish("a.img", "y", key="k1")
publish("a.img", "z", key="other")
shutil.copytree("store", "before")
server = Server("store")
X = {n: f"{server.url}/x#{key[n]}" for n in key}
AT = lambda version, n: f"{server.url}/x@{version}#{key[n]}"
as_user("early")
check(version_of(X["k1"]) == 3, "the old link does not work before anything happens")

check("no image q" in run("key", "--rotate", "store", "x", "q", "--key", "k1", "--new-key", "k2", status=1), "an unknown image was not named")
check("another key than k1 signed" in run("key", "--rotate", "store", "x", "z", "--key", "k1", "--new-key", "k2", status=1), "a stranger's image")
check("same key" in run("key", "--rotate", "store", "x", "--key", "k1", "--new-key", "k1", status=1), "a key replaced itself")
check(sorted(os.listdir("store/x")) == sorted(os.listdir("before/x")), "a refused rotation left something")
for wrong in (["--rotate"], ["--rotate", "store"], ["--rotate", "store", "x", "--all", "-k", "k1", "--new-key", "k2"], ["--rotate", "store", "x", "-k", "k1"],
              ["--rotate", "--revoke", "store", "x", "-k", "k1"], ["--revoke", "store", "x"], ["--revoke", "store", "x", "-k", "k1", "--new-key", "k2"],
              ["--revoke", "store", "x", "-k", "k1", "--reason", "r" * 256], ["--all", "file"], ["--rotate", "nowhere"]):
    run("key", *wrong, status=2)
run("key", "--rotate", "nowhere", "x", "--key", "k1", "--new-key", "k2", status=1)
check(not os.path.exists("nowhere"), "a rotation made a store")

text = run("key", "--rotate", "store", "--all", "--key", "k1", "--new-key", "k2", "--base-url", server.url + "/")
check(X["k2"] in text and f"{server.url}/y#{key['k2']}" in text and "/z#" not in text, text)
check("already" in run("key", "--rotate", "store", "x", "--key", "k1", "--new-key", "k2"), "a second rotation found something to do")
for user in ("early", "late"):
    as_user(user)
    for link in (X["k1"], X["k2"], AT(3, "k1"), AT(3, "k2")):
        check(version_of(link) == 3 and "signature    good" in look(link), f"{user}: {link}")
    for n in ("k1", "k2"):
        check(version_of(AT(1, n), "--no-cache") == 1, f"{user}: version 1 by {n}")
    refused(X["other"], "another key")
    refused(AT(1, "other"), "another key")
check(version_of(f"file:{DIR}/store/x#{key['k1']}") == 3 and version_of(f"{DIR}/store/x@1#{key['k2']}") == 1, "links to the folder")

last = signed(f"store/x/next.{number('k1')}", "k1")
check(last["next_key"] == key["k2"] and last["version"] == 3 and last["name"] == "x", last)
check(signed("store/x/manifest", "k2") == manifest("x", "before"), "the manifest says something new")
for version in (1, 2, 3):
    check(content(f"store/x/manifest.{version}") == content(f"before/x/manifest.{version}"), "manifest.N has changed")
    check(signed(f"store/x/manifest.{version}.{number('k2')}", "k2") == manifest("x", "before", f"manifest.{version}"), "signed again: something else")
check(content("store/x/key.pub").split(b"\n")[1].decode() == key["k2"], "key.pub is the old one")
links = {image["name"]: image["link"] for image in json.loads(content("store/catalog.json"))["images"]}
check(links == {"x": f"x#{key['k2']}", "y": f"y#{key['k2']}", "z": f"z#{key['other']}"}, links)
check(f"x#{key['k2']}" in content("store/index.html").decode(), "index.html has the old link")
run("verify", "store")
check("gave way to" in publish("a.img", "x", key="k1", status=1), "the old key publishes")
check("gave way to" in publish("a.img", "x", "--replace-key", key="k1", status=1), "the old key publishes with --replace-key")
check("another key" in publish("a.img", "x", key="other", status=1), "a stranger publishes")
check("was a key of x before" in run("key", "--rotate", "store", "x", "--key", "k2", "--new-key", "k1", status=1), "back to the old key")
check("x (unchanged)" in publish("a.img", "x", key="k2").replace(" version 3", ""), "the same is published again")
image(4)
publish("a.img", "x", key="k2")
check(version_of(X["k1"]) == 4 and version_of(AT(4, "k1")) == 4, "the old link does not lead to what the new key publishes")

# ---- a thief of the old key, with a server in the network ----

shutil.copytree("before", "thief")
stolen = dict(manifest("x", "before"), version=100)
forge("thief/x/manifest", "k1", stolen)
forge("thief/x/manifest.100", "k1", stolen)
thief = Server("thief")
STOLEN = f"{thief.url}/x#{key['k1']}"
as_user("early")
refused(STOLEN, "version 100", "replaced")
refused(f"{thief.url}/x@100#{key['k1']}", "replaced after version 3")
check(version_of(f"{thief.url}/x@2#{key['k1']}", "--no-cache") == 2, "an old pinned version is refused")
forge(f"thief/x/next.{number('k1')}", "k1", dict(stolen, next_key=key["k4"]))
forge("thief/x/manifest", "k4", dict(stolen, version=101))
refused(STOLEN, "another key")
text = look(STOLEN, "--mirror", server.url)
check("version      4" in text, f"a good mirror does not help against the thief: {text}")
forge("thief/x/manifest", "k1", stolen)
text = look(STOLEN, "--mirror", server.url)
check("version      4" in text and f"{thief.url} offers version 100 of x, signed by a key that was replaced" in text, text)
as_user("new")  # has never met the new key: the good mirror's manifest makes it ask
os.unlink(f"thief/x/next.{number('k1')}")
check(version_of(STOLEN, "--mirror", server.url) == 4, "who asks a good mirror too believes the thief")
refused(STOLEN, "replaced")
as_user("victim")  # what cannot be helped: the thief alone, and the first contact
check(version_of(STOLEN) == 100, "the forged version is not even right, so nothing was tested")
check(version_of(X["k1"]) == 4, "the thief's version 100 keeps the new key's version 4 out")

# ---- offline; the cache on another machine ----

as_user("early")
server.gone(0)
server.stop()
check(version_of(X["k1"]) == 4, "the old link does not start offline")
as_user("elsewhere")
shutil.copytree(f"{DIR}/early-cache", f"{DIR}/elsewhere-cache")
check(version_of(X["k1"]) == 4, "the old link does not start offline from a cache that was brought along")
refused(STOLEN, "version 100", "replaced")

# ---- another hop; gc ----

server = Server("store")
X = {n: f"{server.url}/x#{key[n]}" for n in key}
run("key", "--rotate", "store", "x", "--key", "k2", "--new-key", "k3")
for n in ("k1", "k2", "k3"):
    as_user("hops-" + n)
    check(version_of(X[n]) == 4, f"two hops: {n}")
    check(version_of(AT(1, n), "--no-cache") == 1 and version_of(AT(4, n), "--no-cache") == 4, f"two hops, pinned: {n}")
run("verify", "store")
damaged = f"store/x/next.{number('k2')}"
good = content(damaged)
for wrong in (good[:-10], good.replace(b'"x"', b'"w"'), content("store/x/manifest")):
    with open(damaged, "wb") as f:
        f.write(wrong)
    check(damaged in run("verify", "store", status=1), "verify accepts a damaged last word")
with open(damaged, "wb") as f:
    f.write(good)
shutil.copy(f"store/x/manifest.1.{number('k3')}", f"store/x/manifest.2.{number('k3')}.bak")
os.rename(f"store/x/manifest.1.{number('k3')}", f"store/x/manifest.3.{number('k3')}")
check("says something else" in run("verify", "store", status=1), "verify accepts another version that was signed again")
os.rename(f"store/x/manifest.3.{number('k3')}", f"store/x/manifest.1.{number('k3')}")
os.unlink(f"store/x/manifest.2.{number('k3')}.bak")
run("key", "--rotate", "store", "x", "--key", "k2", "--new-key", "k3")
image(5)
publish("a.img", "x", key="k3")
run("gc", "store", "--keep", "1", "--keep-days", "0")
left = sorted(os.listdir("store/x"))
check(left == sorted([".lock", "key.pub", "manifest", "manifest.5", f"next.{number('k1')}", f"next.{number('k2')}"]), left)
check(version_of(X["k1"]) == 5 and version_of(X["k2"]) == 5, "gc took the old links away")
run("verify", "store")

# ---- killed at every step ----

KILL = "rename,renameat,renameat2"


def killed(step, *args):
    """Ends inetboot at the step-th file that gets its name. False: there were not so many."""
    p = subprocess.run(["strace", "-f", "-qq", "-o", "trace", "-e", f"trace={KILL}", "-e", f"inject={KILL}:signal=KILL:when={step}", INETBOOT, *args],
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
    check(p.returncode in (0, -9, 137), f"strace: {p.returncode}: {p.stderr}")
    return p.returncode != 0


def files(folder):
    return {f: content(f"{folder}/x/{f}") for f in os.listdir(f"{folder}/x") if ".tmp." not in f}


shutil.copytree("before", "whole")
run("key", "--rotate", "whole", "x", "--key", "k1", "--new-key", "k2")
step = 1
while True:
    shutil.rmtree("broken", ignore_errors=True)
    shutil.copytree("before", "broken")
    if not killed(step, "key", "--rotate", "broken", "x", "--key", "k1", "--new-key", "k2"):
        break
    as_user(f"step{step}")
    old = f"{DIR}/broken/x#{key['k1']}"
    check(version_of(old) == 3 and version_of(f"{DIR}/broken/x@1#{key['k1']}") == 1, f"step {step}: the old link is broken")
    turned = content("broken/x/manifest") != content("before/x/manifest")
    check(not turned or version_of(f"{DIR}/broken/x#{key['k2']}") == 3, f"step {step}: the new link is broken")
    if f"next.{number('k1')}" in os.listdir("broken/x"):
        check("gave way" in publish("a.img", "x", store="broken", key="k1", status=1), f"step {step}: the old key publishes in between")
        check("given to another key" in run("key", "--rotate", "broken", "x", "--key", "k1", "--new-key", "k3", status=1) or turned, f"step {step}: a third key")
    run("key", "--rotate", "broken", "x", "--key", "k1", "--new-key", "k2")
    check(files("broken") == files("whole"), f"step {step}: not the same in the end")
    run("verify", "broken")
    check(version_of(old) == 3 and version_of(f"{DIR}/broken/x#{key['k2']}") == 3, f"step {step}: a link is broken in the end")
    step += 1
check(step == 9, f"killed in {step - 1} places")  # last word, three versions, manifest, key.pub, and the catalogue's two files

# ---- revoked ----

step = 1
while True:
    shutil.rmtree("broken")
    shutil.copytree("before", "broken")
    if not killed(step, "key", "--revoke", "broken", "x", "--key", "k1", "--reason", "stolen"):
        break
    run("key", "--revoke", "broken", "x", "--key", "k1", "--reason", "stolen")
    check(manifest("x", "broken") == manifest("x", "broken", "manifest.4") and manifest("x", "broken")["revoked"] is True, f"step {step}: not revoked")
    check(not os.path.exists("broken/x/manifest.5"), f"step {step}: revoked twice")
    run("verify", "broken")
    step += 1
check(step >= 4, f"killed in {step - 1} places")

as_user("reader")
check(version_of(X["k1"]) == 5, "before the revocation")
stale = Server(shutil.copytree("store", "stale"))
need_fuse()
mounted = Mount(X["k2"], cache="reader-cache")
with open(mounted.disk, "rb") as f:
    f.read(1000)
blocks = {block_file("store", d) for _, d in leaves("store", root("x"), manifest("x")["index"]["depth"] - 1, SIZE) if d} - \
    {block_file("store", d) for _, d in leaves("store", root("y"), manifest("y")["index"]["depth"] - 1, SIZE) if d}
check("x is revoked" in run("key", "--revoke", "store", "x", "--key", "k3", "--reason", "made by mistake"), "no word")
check("already" in run("key", "--revoke", "store", "--all", "--key", "k3"), "a second revocation")
signed("store/x/manifest", "k3")
for n in ("k3", "k1"):
    refused(X[n], "revoked x", "made by mistake")
    refused(AT(5, n), "revoked x")
check_all(mounted.disk, content("a.img"))
mounted.end()
server.stop()
refused(X["k1"], "revoked x", "made by mistake")
refused(f"{stale.url}/x#{key['k3']}", "revoked x")
as_user("reader2")
os.makedirs(f"{DIR}/reader2-cache")
shutil.copytree(f"{DIR}/reader-cache/inetboot", f"{DIR}/reader2-cache/inetboot")
refused(f"{stale.url}/x#{key['k3']}", "revoked x", "made by mistake")  # the cache knows it
as_user("reader3")
both = Server("store")
refused(f"{stale.url}/x#{key['k3']}", "revoked x", options=("--mirror", both.url))
check("revoked" in publish("a.img", "x", key="k3", status=1), "a revoked image is published again")
check("revoked" in publish("a.img", "x", "--replace-key", key="k3", status=1), "a revoked image is published again by its key")
entry = next(i for i in json.loads(content("store/catalog.json"))["images"] if i["name"] == "x")
check(entry["revoked"] == "made by mistake" and "Revoked" in content("store/index.html").decode(), "the catalogue does not tell")
check("revoked by its publisher" in run("ls", "store").split("\n")[0], "ls does not tell")
check("warning: x says that its publisher has revoked it" in look(f"{DIR}/store/x"), "no warning without a key")
run("gc", "store", "--keep", "1", "--keep-days", "0")
check(blocks and not any(b in all_blocks() for b in blocks), "gc keeps the blocks of a revoked image")
run("verify", "store")
refused(f"{both.url}/x#{key['k1']}", "revoked x")
publish("a.img", "x", "--replace-key", key="k4")
check(version_of(f"{both.url}/x#{key['k4']}") == 7, "the name is lost for ever")
run("gc", "store", "--keep", "1", "--keep-days", "0")
run("verify", "store")
done()
