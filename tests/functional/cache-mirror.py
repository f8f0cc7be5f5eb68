#!/usr/bin/env python3
"""The folder of a cache, handed out by python's http.server or by nginx, is a mirror of what it holds; the rest comes from elsewhere."""
import re, socket
from mountlib import *

need_fuse()
need("nginx")
key = make_key()
make_image("image", 24_000_000, 1, holes=False)
data = content("image")
publish("image", store="www")
origin = Server("www")
link = f"{origin.url}/image#{key}"
HALF = len(data) // 2


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def python(port):
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", "held", str(port)]


def nginx(port):
    with open("nginx.conf", "w") as f:
        f.write(f"{'' if os.geteuid() else 'user root; '}daemon off; master_process off; pid {DIR}/pid; error_log {DIR}/errors;\n"
                f"events {{ }} http {{ access_log {DIR}/log; client_body_temp_path {DIR}/t; proxy_temp_path {DIR}/t; fastcgi_temp_path {DIR}/t;\n"
                f"uwsgi_temp_path {DIR}/t; scgi_temp_path {DIR}/t; server {{ listen 127.0.0.1:{port}; root {DIR}/held; }} }}\n")
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", f"{DIR}/nginx.conf", "-e", f"{DIR}/errors"]


class Web:
    def __init__(self, command):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        with open("log", "wb") as log:
            self.process = subprocess.Popen(command(self.port), stdout=log, stderr=log)
        at_end.append(self.stop)
        wait_for(lambda: answers(self.port), "a web server")

    def log(self):
        """How often it gave a block, and how often it had none."""
        text = content("log").decode()
        return [len(re.findall(fr'"GET /blocks/[^"]*" {status}', text)) for status in (200, 404)]

    def stop(self):
        self.process.kill()
        self.process.wait()


def read_first_half(path):
    with open(path, "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for at in range(0, HALF, 65536):
            if os.pread(f.fileno(), 65536, at) != data[at:at + 65536]:
                return f"wrong bytes at {at}"


def reads(m, f, *args):
    wrong = Child(f, m.disk, *args).result()
    check(not wrong, f"{m.dir}: {wrong}: {m.said()}")


# A cache that has about half of the image.
m = Mount(link, cache="held")
reads(m, read_first_half)
m.end()
held, every = len(all_blocks("held")), len(all_blocks("www"))
check(every / 4 < held < every * 3 / 4, f"{held} of {every} blocks are in the cache")

for name, command in ("python", python), ("nginx", nginx):
    web = Web(command)

    # A store that is slower: what the mirror has comes from there, all that it has not from the store.
    origin.rules("/blocks/* delay ms=300")
    m = Mount(link, "--mirror", web.url, dir=name, cache=f"{name}.cache")
    reads(m, read_all, data)
    gave, lacked = web.log()
    asked = len(origin.log("/blocks/")["requests"])
    check(gave >= held / 8 and asked >= every - held, f"{name}: it gave {gave} of the {held} blocks that it has, the store was asked for {asked}")
    check(asked < every, f"{name}: all was fetched from the store, too")
    status = m.status()
    check(status["read_errors"] == 0 and len(all_blocks(f"{name}.cache")) == every, f"{name}: {status}")
    m.end()

    # The store has lost its blocks: what the mirror has can be read.
    origin.rules("/blocks/* status code=503")
    m = Mount(link, "--mirror", web.url, dir=name, cache=None)
    reads(m, read_first_half)
    m.end()
    check(web.log()[0] >= held, f"{name}: {web.log()}, {held} blocks are there")
    print(f"{name}: {held} of {every} blocks held: it gave {gave} and had {lacked} not, the store was asked for {asked}")
    origin.rules()
    web.stop()
done()
