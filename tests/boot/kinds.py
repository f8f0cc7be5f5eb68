"""Each kind of image boots over HTTP to a login, as an ordinary user, says who it is, and shuts down in order; only a part of it is
fetched. Usage: kinds.py INETBOOT KIND..."""
from bootlib import *

setup()
for kind in sys.argv[2:]:
    publish(image(kind), kind)
links = serve()
for kind in sys.argv[2:]:
    m = Machine(links[kind])
    m.expect(r"inetboot: root file system \S+")
    m.login()
    text = m.command("id -u; cat /proc/1/comm; touch /written && ls /written")
    check(re.search(r"(?m)^0\r?$", text), f"{kind}: not root: {text!r}")
    check(("systemd" if "systemd" in kind or "gpt" in kind else "init") in text, f"{kind}: its own init does not run: {text!r}")
    check("/written" in text, f"{kind}: nothing can be written: {text!r}")
    if kind == "knoppix-iso":
        text = m.command("ls -d /cdrom/KNOPPIX/KNOPPIX /KNOPPIX/etc")
        check("No such" not in text, f"{kind}: not laid out as KNOPPIX does it: {text!r}")
    report = m.poweroff()
    check(report["end"] == "clean" and report["login_ms"], f"{kind}: {report}")
    fetched, stored = report["disk"]["network"]["bytes"], json.loads(run("info", "--json", links[kind]))["stored"]
    check(0 < fetched < stored, f"{kind}: fetched {fetched} of {stored}")
    print(f"{kind}: login after {report['login_ms'] / 1000:.1f} s, {fetched / 1e6:.1f} of {stored / 1e6:.1f} MB")
done()
