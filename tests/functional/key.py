#!/usr/bin/env python3
"""inetboot key: signify's files, private, never overwritten; manifests that signify accepts."""
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
