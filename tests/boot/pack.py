"""A boot with a boot pack: what its publisher has recorded comes in one stream, and hardly anything else. Then the same from the cache, with a
server and without, and from a cache that was filled by pull --only-boot."""
from bootlib import *

KIND = "systemd-ext4"
setup()
path = image(KIND)
run("key", "key")
kernel = built_kernel()
text = run("publish", path, "store", "--name", "debian", "--key", "key", "--level", "1", "--record", *(["--kernel", kernel] if kernel else []))
check("boot pack" in text, f"no boot pack was made: {text}")
link = serve()["debian"]
size = os.path.getsize("store/packs/" + os.listdir("store/packs")[0])
check(len(os.listdir("store/packs")) == 1, f"{os.listdir('store/packs')}")


def boot(*args):
    m = Machine(link, *args, "--until", "login: ")
    report = m.end()
    check(report["end"] == "clean" and report["login_ms"], f"{args}: {report}")
    status = report["disk_until"]
    p = status["pack"]
    print(f"{args}: login after {report['login_ms'] / 1000:.1f} s; {status['network']['requests']} requests of {status['network']['bytes']} bytes, "
          f"a pack of {size}: {p}")
    return report, status


# Over HTTP, with nothing in the cache.
report, status = boot()
check(status["pack"]["here"] == status["pack"]["segments"] > 0, f"{status['pack']}")
check(status["network"]["requests"] <= 100, f"{status['network']['requests']} requests until login")
check(status["network"]["bytes"] <= 1.1 * size, f"{status['network']['bytes']} bytes until login, of a pack of {size}")
# From the cache: the manifest alone is asked for.
report, status = boot()
check(status["network"]["requests"] <= 10 and status["network"]["bytes"] < size / 100, f"the second time: {status['network']}")
# Without the pack it takes more.
report, status = Machine(link, "--no-pack", "--cache", "other", "--until", "login: ").end(), None
check(report["login_ms"] and "pack" not in report["disk"], f"--no-pack: {report}")

# Filled by a pull of what a boot needs, without a server: to the login, and down again.
p = as_user(INETBOOT, "pull", "--only-boot", link, "--cache", "pulled")
check(p.returncode == 0, p.stdout.decode())
for p in started:
    if "serve" in p.args:
        p.kill()
        p.wait()
m = Machine(link, "--cache", "pulled", "--until", "login: ")
report = m.end()
check(report["end"] == "clean" and report["login_ms"] and report["disk"]["network"]["bytes"] == 0, f"without a server: {report}")
done()
