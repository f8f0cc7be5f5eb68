#!/usr/bin/env python3
"""inetboot key: signify's files, private, never overwritten; manifests that signify accepts."""
import re
from storelib import *

need("signify-openbsd")
public = make_key()
check(len(public) == 56 and public.startswith("RW"), f"not a public key: {public}")
check(os.stat("key").st_mode & 0o777 == 0o600, "the secret key is readable by others")
check(content("key.pub").split(b"\n")[1].decode() == public, "key.pub has another key")

before = content("key")
check("is there already" in run("key", "key", status=1), "no reason was given")
os.rename("key.pub", "elsewhere")
run("key", "key", status=1)
check(content("key") == before and not os.path.exists("key.pub"), "a key was changed")
os.rename("elsewhere", "key.pub")
os.rename("key", "away")
run("key", "key", status=1)
check(not os.path.exists("key"), "half a pair was made")
os.rename("away", "key")
run("key", status=2)
run("key", "no/such/folder/key", status=1)

shutil.copy("key", "key.sec")  # signify wants such names
open("message", "w").write("hello\n")
subprocess.run(["signify-openbsd", "-S", "-s", "key.sec", "-m", "message"], check=True)
subprocess.run(["signify-openbsd", "-V", "-p", "key.pub", "-m", "message"], check=True)

# A signed file: by us and by signify, read back by signify and by us.
check(run("key", "--sign", "message", "--key", "key").strip() == "message.sig", "not said where it is")
subprocess.run(["signify-openbsd", "-V", "-e", "-p", "key.pub", "-x", "message.sig", "-m", "out"], check=True)
check(content("out") == b"hello\n", "signify reads another file")
subprocess.run(["signify-openbsd", "-S", "-e", "-s", "key.sec", "-m", "message", "-x", "theirs.sig"], check=True)
make_key("stranger")
run("key", "--sign", "message", "--key", "stranger")
os.rename("message.sig", "strange.sig")
run("key", "--sign", "message", "--key", "key")
open("tampered.sig", "wb").write(content("message.sig").replace(b"hello", b"hallo"))
with open("keys", "w") as f:
    f.write(f"not a key\n{public}\n")
server = subprocess.Popen([sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=dict(os.environ, PYTHONUNBUFFERED="1"))
at_end.append(lambda: (server.kill(), server.wait()))
url = re.search(r"http://\S+?/", server.stdout.readline())[0]
for name in "message.sig", "theirs.sig":
    check(run("get", "--keys", "keys", url + name) == "hello\n", f"another file: {name}")
for name, said in ("strange.sig", "none of those"), ("tampered.sig", "signature"), ("message", "signed message"), ("nothing", "404"):
    out = run("get", "--keys", "keys", url + name, status=1)
    check(said in out and "hello" not in out and "hallo" not in out, f"{name}: {out}")
run("key", "--sign", "message", status=2)
run("key", "--sign", "nothing", "--key", "key", status=1)

make_image("a.img", 1 << 20, 1)
publish("a.img")
for file in ("manifest", "manifest.1"):
    subprocess.run(["signify-openbsd", "-V", "-e", "-p", "store/image/key.pub", "-x", f"store/image/{file}", "-m", "out"],
                   check=True)
check(json.loads(content("out"))["name"] == "image", "signify read another message")

make_key("other")
check("another key" in publish("a.img", key="other", status=1), "a second key was accepted")
check(manifest()["version"] == 1, "a refused publish made a version")
publish("a.img", "image", "--replace-key", key="other")
check(manifest()["version"] == 2, "--replace-key made no version")
subprocess.run(["signify-openbsd", "-G", "-n", "-p", "theirs.pub", "-s", "theirs.sec"], check=True)
publish("a.img", "signed-by-theirs", key="theirs.sec")
subprocess.run(["signify-openbsd", "-V", "-e", "-p", "theirs.pub", "-x", "store/signed-by-theirs/manifest", "-m", "out"],
               check=True)
done()
