#!/usr/bin/env python3
"""Expiry, --strict, clocks that are wrong, and versions that are published, or removed, under a running mount."""
from mountlib import *

need("signify-openbsd", "openssl")
need_fuse()
public = make_key()
shutil.copy("key", "key.sec")
with open("a.img", "wb") as f:
    f.write(random.Random(1).randbytes(300000))
shutil.copy("a.img", "old.img")


def signed(name, **changes):
    """A manifest with these changes, signed by the publisher."""
    m = dict(manifest(name), **changes)
    with open("message", "w") as f:
        json.dump(m, f)
    for file in ("manifest", f"manifest.{m['version']}"):
        subprocess.run(["signify-openbsd", "-S", "-e", "-s", "key.sec", "-m", "message", "-x", f"store/{name}/{file}"], check=True)


for text in ("2020-02-30T00:00:00Z", "soon", "30", "d", "+d", "30x", "", "-1d", "99999999999999999999d", "9999999d"):
    publish("a.img", "never", "--expires", text, status=2)
publish("a.img", "expired", "--expires", "2020-01-01T00:00:00Z")
publish("a.img", "plain")
for name, text, days in (("good", "30d", 30), ("good", "+31d", 31), ("good", "48h", 2), ("good", "2999-01-01T00:00:00Z", None)):
    publish("a.img", name, "--expires", text)
    left = time.mktime(time.strptime(manifest(name)["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    check(days is None or abs(left - days * 86400) < 600, f"--expires {text}: {manifest(name)['expires']}")
publish("a.img", "future", "--expires", "2999-01-01T00:00:00Z")
signed("future", created="2998-01-01T00:00:00Z")
publish("a.img", "ahead")
signed("ahead", created="2998-01-01T00:00:00Z")
server = Server("store")
LINK = {name: f"{server.url}/{name}#{public}" for name in ("expired", "plain", "good", "future", "ahead")}

# ---- a warning, or an error ----

for name, status, word in (("expired", 1, "expired on 2020-01-01T00:00:00Z"), ("plain", 0, ""), ("good", 0, ""),
                           ("future", 1, "clock is wrong"), ("ahead", 0, "clock is wrong")):
    for link in (LINK[name], f"{DIR}/store/{name}#{public}", f"{server.url}/{name}@{manifest(name)['version']}#{public}"):
        text = run("info", link)
        check(word in text and ("warning" in text) == bool(word), f"{link}: {text}")
        text = run("info", "--strict", link, status=status)
        check(word in text and (status or "warning" in text) == bool(word), f"{link}, --strict: {text}")
    check("expired" not in run("info", LINK["future"]).replace("nobody can tell whether it has expired", ""), "a wrong clock makes versions expire")
for command in ("pull", "verify", "mount", "boot"):
    more = ["mnt"] if command == "mount" else []
    check("expired" in run(command, "--strict", LINK["expired"], *more, status=1), f"{command} --strict")
mounted = Mount(LINK["expired"])
check("warning: version 1 of expired expired on" in mounted.said(), mounted.said())
check_all(mounted.disk, content("a.img"))
mounted.end()
check("has no key" in run("info", "--strict", f"{server.url}/plain", status=1), "--strict without a key")
run("info", "--strict", "store/plain")  # one's own folder

os.environ["XDG_STATE_HOME"] = "/proc/nowhere"
check("warning: cannot remember" in run("info", LINK["plain"]), "no memory, no warning")
check("cannot remember" in run("info", "--strict", LINK["plain"], status=1), "no memory, and --strict")
os.environ["XDG_STATE_HOME"] = f"{DIR}/xdg-state"

# ---- offline ----

server.rules("/* status code=503")
for name, status in (("plain", 1), ("good", 0)):
    check("starting from version" in run("info", LINK[name]), f"{name}: no start offline")
    text = run("info", "--strict", LINK[name], status=status)
    check(("does not say until when" in text) == bool(status), text)
pinned = f"{server.url}/plain@1#{public}"
run("info", "--strict", "--net-timeout", "1", pinned)  # a pinned version does not get old; it was looked at above
server.rules()

# ---- HTTPS, with a certificate of another time ----

open("db.txt", "w").close()
with open("ca.cnf", "w") as f:
    f.write("[ca]\ndefault_ca = c\n[c]\ndatabase = db.txt\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\npolicy = p\n"
            "x509_extensions = v\nunique_subject = no\n[p]\ncommonName = supplied\n[v]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = CA:TRUE\n")
subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "tls.key",
                "-out", "tls.csr"], check=True, stderr=subprocess.DEVNULL)
for first, last, word in (("20010101000000Z", "20020101000000Z", "expired"), ("20980101000000Z", "20990101000000Z", "yet valid"),
                          ("20010101000000Z", "20990101000000Z", None)):
    p = subprocess.run(["openssl", "ca", "-config", "ca.cnf", "-batch", "-notext", "-create_serial", "-selfsign", "-keyfile", "tls.key", "-in", "tls.csr",
                        "-startdate", first, "-enddate", last, "-out", "tls.crt"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(p.returncode == 0, p.stdout)
    tls = Server("store", options=("--cert", "tls.crt", "--key", "tls.key"))
    link = f"https://127.0.0.1:{tls.port}/plain#{public}"
    text = run("info", "--no-cache", "--net-timeout", "2", "--cacert", "tls.crt", link, status=1 if word else 0)
    check(not word or (word in text and f"clock says {time.strftime('%Y-%m-%d', time.gmtime())}" in text), f"a certificate of {first}: {text}")
    tls.stop()

# ---- a new version under a mount ----

mounted = Mount(LINK["plain"], cache="small", dir="under")
with open(mounted.disk, "rb") as f:
    f.read(4096)
with open("a.img", "wb") as f:
    f.write(random.Random(2).randbytes(300000))
publish("a.img", "plain")
check("removed 0 versions" in run("gc", "store", "--keep", "1"), "gc removes at once what readers use")
check_all(mounted.disk, content("old.img"))
check(mounted.status()["version"] == 1, "the version changed under the mount")
mounted.end()
mounted = Mount(LINK["plain"])
check_all(mounted.disk, content("a.img"))
mounted.end()
done()
