#!/usr/bin/env python3
"""What the sandbox must leave possible: https with an authority of one's own, proxies, logins, names, local stores behind symbolic links,
root with a cache of somebody else. What it stops is in tests/unit/test_sandbox.c; here: redirects and a manifest's mirrors to odd ports."""
import re
from mountlib import *

key = make_key()
make_image("image", 3_000_000, 1)
os.mkdir("www-mirror")
mirror = Server("www-mirror")
publish("image", "image", "--mirror", mirror.url, store="www")
link = f"image#{key}"


def pull(where, *options, status=0, cache="cache", **more):
    subprocess.run(["rm", "-rf", cache])
    return run("-v", "pull", "--cache", cache, "--net-timeout", "10", *options, f"{where}/{link}", status=status, **more)


server = Server("www")
said = pull(server.url)
check("sandbox: " in said and "seccomp" in said, f"no sandbox: {said}")
landlock = int(re.search(r"landlock (\d+)", said).group(1)) if "landlock" in said else 0
pull(f"http://localhost:{server.port}")

# A manifest's mirror on a port that nobody named.
if landlock >= 4:
    check("is not used" in said and not mirror.log()["requests"], f"the mirror was asked: {said}")
    said = pull(server.url, "--mirror", mirror.url)
    check("is not used" not in said, f"a port that was named is refused: {said}")
else:
    check("is not used" not in said, f"there are no rules for ports, and yet: {said}")

off = {**os.environ, "INETBOOT_NO_SANDBOX": "1"}
check("no sandbox: INETBOOT_NO_SANDBOX" in pull(server.url, env=off), "it cannot be switched off")

# A redirect to another port, first one that is forbidden, then one that --mirror opens.
target = Server("www")
server.rules(f"/image/manifest redirect to={target.url}PATH")
if landlock >= 4:
    said = pull(server.url, status=1)
    check("redirect to a port" in said and not target.log()["requests"], f"it went there: {said}")
pull(server.url, "--mirror", target.url)
server.rules()

# https with an authority of one's own, in a folder that the program has no other business in.
if shutil.which("openssl"):
    os.mkdir("ca")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca/key.pem", "-out", "ca/cert.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    tls = Server("www", options=["--cert", "ca/cert.pem", "--key", "ca/key.pem"])
    pull(f"https://localhost:{tls.port}", "--cacert", "ca/cert.pem")
    check("certificate" in pull(f"https://localhost:{tls.port}", status=1), "an unknown certificate is believed")

# A proxy, by option and by environment; and one that takes a password from ~/.netrc at the server.
proxy = Server("www", options=["--proxy"])
pull("http://127.0.0.1:80", "--proxy", f"127.0.0.1:{proxy.port}", "--net-timeout", "1", status=1)  # nobody listens at port 80: the proxy says so
check(proxy.log()["requests"], "the proxy was not asked")
proxy.rules()
pull(server.url, env={**os.environ, "http_proxy": proxy.url, "no_proxy": ""})
check(proxy.log()["requests"], "the proxy of the environment was not asked")
server.rules("/* auth user=u password=p")
with open(".netrc", "w") as f:
    f.write("machine 127.0.0.1 login u password p\n")
os.chmod(".netrc", 0o600)
check("401" in pull(server.url, status=1), "no login was needed")
pull(server.url, "--netrc")
server.rules()

# A mount: who opens the image is inside, from all its sources, and reads are right.
need_fuse()
data = content("image")
make_cloop("image", "www/image.cloop", 65536)
for source in (f"{server.url}/{link}", f"www/{link}", "image", f"{server.url}/image.cloop"):
    m = Mount(source)
    check_reads(m.disk, data + bytes(-len(data) % 65536) if "cloop" in source else data, 1)
    status = m.status()
    check("seccomp" in status["sandbox"], f"{source}: {status['sandbox']}")
    fields = dict(line.split(":\t") for line in content(f"/proc/{status['worker']['pid']}/status").decode().splitlines())
    check(fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1" and int(fields["CapEff"], 16) == 0, f"{source}: {fields}")
    m.end()

# A store whose blocks are elsewhere, by a symbolic link.
shutil.copytree("www", "split")
os.rename("split/blocks", "blocks-elsewhere")
os.symlink("../blocks-elsewhere", "split/blocks")
run("verify", f"{DIR}/split/{link}")
check("version" in run("info", f"split/{link}"), "no info on a local store")
check("image" in run("ls", "www"), "a local store is not listed")
check("file" in run("info", "image"), "no info on a plain file")

# Root, in the name of a user whose folders are private.
if not os.geteuid():
    os.mkdir("theirs", 0o700)
    os.chown("theirs", 12345, 12345)
    said = pull(server.url, cache="theirs/cache")
    check(all_blocks("theirs/cache"), f"nothing was kept: {said}")
done()
