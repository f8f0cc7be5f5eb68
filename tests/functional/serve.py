#!/usr/bin/env python3
"""inetboot serve, python's http.server and nginx hand out the same store: the same bytes, whole and in ranges; what our server
refuses; its head lines; its end."""
import http.client, random as rnd, resource, signal, socket, time, urllib.parse
from storelib import *
from servers import free_port

need("zstd", "nginx")
public = make_key()
make_image("a.img", 6 << 20, 1)
publish("a.img", "image", "--kernel", "a.img")
publish("a.img", "other")


def connected(port, process):
    while True:
        check(process.poll() is None, f"{process.args} ended")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return port
        except ConnectionRefusedError:
            time.sleep(0.02)


ours = subprocess.Popen([INETBOOT, "serve", "store", "--port", "0", "--log"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
lines = [ours.stdout.readline().decode().strip() for _ in range(3)]
port = urllib.parse.urlsplit(lines[0].split()[-1]).port
check(lines[1:] == [f"http://127.0.0.1:{port}/image#{public}", f"http://127.0.0.1:{port}/other#{public}"], f"it prints {lines}")
log_file = open("log", "wb")
log = subprocess.Popen(["cat"], stdin=ours.stdout, stdout=log_file)
nginx_port, python_port = free_port(), free_port()
with open("nginx.conf", "w") as f:
    user = "user root;" if os.geteuid() == 0 else ""
    f.write(f"{user} daemon off; pid {DIR}/pid; error_log {DIR}/errors; worker_processes 1; events {{ }}\n"
            f"http {{ access_log off; client_body_temp_path {DIR}/t; proxy_temp_path {DIR}/t; fastcgi_temp_path {DIR}/t;\n"
            f"uwsgi_temp_path {DIR}/t; scgi_temp_path {DIR}/t; server {{ listen 127.0.0.1:{nginx_port}; root {DIR}/store; }} }}\n")
nginx = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", f"{DIR}/nginx.conf", "-e", f"{DIR}/errors"])
python = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", "store", str(python_port)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
servers = [ours, nginx, python]
connections = {}


def stop():
    for p in servers:
        p.terminate()
        p.wait()


def get(at, path, method="GET", **head):
    """One request on a connection that is kept: (status, head, body)."""
    c = connections.setdefault(at, http.client.HTTPConnection("127.0.0.1", at, timeout=30))
    c.request(method, path, headers={k.replace("_", "-"): v for k, v in head.items()})
    r = c.getresponse()
    return r.status, r.headers, r.read()


def expect(what, condition):
    if not condition:
        stop()
        fail(what)


try:
    for p, at in ((nginx, nginx_port), (python, python_port)):
        connected(at, p)
    files = ["image/manifest", "image/manifest.1", "other/manifest", "catalog.json", "index.html"] + [b[len("store/"):] for b in all_blocks()]
    for file in files:
        want = content(f"store/{file}")
        for at in (port, nginx_port, python_port):
            status, _, body = get(at, "/" + file)
            expect(f"{file} from {at}: {status}", status == 200 and body == want)
        for _ in range(4):
            a, b = sorted((rnd.randrange(len(want)), rnd.randrange(len(want))))
            for text, part in ((f"{a}-{b}", want[a:b + 1]), (f"{a}-", want[a:]), (f"-{b + 1}", want[-(b + 1):]), (f"{a}-999999999", want[a:])):
                answers = [get(at, "/" + file, Range="bytes=" + text) for at in (port, nginx_port)]
                for status, head, body in answers:
                    expect(f"{file} range {text}: {status}", status == 206 and body == part)
                expect(f"{file} range {text}: other ranges", answers[0][1]["Content-Range"] == answers[1][1]["Content-Range"])
        status, head, body = get(port, "/" + file, Range=f"bytes={len(want)}-")
        expect(f"{file}: a range behind the end: {status}", status == 416 and head["Content-Range"] == f"bytes */{len(want)}")
    expect("our connection was not kept", connections[port].sock and connections[nginx_port].sock)

    block = "/" + all_blocks()[0][len("store/"):]
    want = content("store" + block)
    status, head, body = get(port, block, "HEAD")
    expect(f"HEAD: {status}", status == 200 and body == b"" and int(head["Content-Length"]) == len(want))
    expect("a block may be cached for ever", head["Cache-Control"] == "public, max-age=31536000, immutable")
    expect("a block's type", head["Content-Type"] == "application/zstd")
    etag = head["ETag"]
    expect(f"no strong ETag: {etag}", etag.startswith('"'))
    for given, right in ((etag, 304), ('"x", ' + etag, 304), ("W/" + etag, 304), ("*", 304), ('"x"', 200)):
        status, _, body = get(port, block, If_None_Match=given)
        expect(f"If-None-Match {given}: {status}", status == right and body == (want if right == 200 else b""))
    for given, right in ((etag, 206), ('"x"', 200), ("W/" + etag, 200), ("Sun, 22 Nov 2020 10:00:00 GMT", 200)):
        status, _, body = get(port, block, Range="bytes=1-5", If_Range=given)
        expect(f"If-Range {given}: {status}", status == right and body == (want[1:6] if right == 206 else want))
    for text in ("bytes=5-1", "bytes=1-2,4-5", "lines=1-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-99999999999999999999999", "bytes=+1-2"):
        status, _, body = get(port, block, Range=text)
        expect(f"Range {text}: {status}", status == 200 and body == want)
    expect("bytes=-0 cannot be satisfied", get(port, block, Range="bytes=-0")[0] == 416)
    for path, kind in (("/image/manifest", "text/plain; charset=utf-8"), ("/", "text/html; charset=utf-8"), ("/catalog.json", "application/json")):
        status, head, _ = get(port, path)
        expect(f"{path}: {status} {head['Content-Type']} {head['Cache-Control']}",
               status == 200 and head["Content-Type"] == kind and head["Cache-Control"] == "no-cache")
    expect("a query changes nothing", get(port, block + "?x=1")[2] == want)

    # What is not handed out.
    open("outside", "w").close()
    os.symlink("../outside", "store/link")
    os.symlink("../image", "store/other/folder")
    os.mkfifo("store/pipe")
    os.mkdir("store/.secret")
    open("store/.secret/file", "w").close()
    for path in ("/../outside", "/%2e%2e/outside", "/image/../../outside", "/image/..%2f..%2foutside", "//etc/passwd", "/.lock", "/.publishing",
                 "/image/.lock", "/.secret/file", "/image", "/image/", "/blocks", "/blocks/", "/link", "/other/folder/manifest", "/pipe",
                 "/nothing", "/image/manifest/", "/image//manifest", "/./image/manifest", "/image/%00manifest", "/" + "a" * 3000, "/%"):
        status = get(port, path)[0]
        expect(f"{path}: {status}", status in (400, 404, 414))
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, head, _ = get(port, block, method)
        expect(f"{method}: {status}", status == 405 and head["Allow"] == "GET, HEAD")

    # Many at once, and one that hangs up in the middle.
    many = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(100)]
    for c in many:
        c.request("GET", block)
    for c in many:
        expect("100 at once", c.getresponse().read() == want)
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"GET {block} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    s.close()
    expect("after a client hung up", get(port, block)[2] == want)

    # More clients than it may open files for: they wait, and nobody is told that a block is missing.
    with open("store/packs", "wb") as f:
        f.truncate(64 << 20)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    few = subprocess.Popen([INETBOOT, "serve", "store", "--port", "0"], stdout=subprocess.PIPE, preexec_fn=limit)
    few_port = urllib.parse.urlsplit(few.stdout.readline().decode().split()[-1]).port
    slow = [socket.create_connection(("127.0.0.1", few_port), timeout=60) for _ in range(60)]
    for s in slow:
        s.sendall(b"GET /packs HTTP/1.1\r\nHost: x\r\n\r\n")
    statuses = []
    for s in slow:
        try:
            statuses.append(s.recv(12))
        except ConnectionError:
            statuses.append(b"")
        s.close()
    few.terminate()
    few.wait()
    os.unlink("store/packs")
    good = b"HTTP/1.1 200"
    expect(f"with few descriptors: {set(statuses)}", set(statuses) <= {good, b""} and statuses.count(good) >= 16)
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(f"GET {block}?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: by\x1b[31mtes=1-2\r\n\r\n".encode())
        while s.recv(65536):
            pass

    # Published meanwhile: the new manifest at once, under another ETag.
    old = get(port, "/image/manifest")[1]["ETag"]
    make_image("a.img", 6 << 20, 2)
    publish("a.img", "image")
    status, head, body = get(port, "/image/manifest", If_None_Match=old)
    expect("an old manifest", status == 200 and body == content("store/image/manifest") and head["ETag"] != old)
    run("verify", f"http://127.0.0.1:{port}/image#{public}", env={**os.environ, "HOME": DIR, "XDG_STATE_HOME": DIR, "XDG_CACHE_HOME": DIR})

    text = run("serve", "store", "--port", str(port), status=1)
    expect(f"a taken port: {text}", "Address already in use" in text)
    run("serve", "store", "--address", "example.org", status=1)
    run("serve", "nowhere", status=1)
    run("serve", "store", "--port", "70000", status=2)
    for number in (signal.SIGTERM, signal.SIGINT):
        p = subprocess.Popen([INETBOOT, "serve", "store", "--address", "::1", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        line = p.stdout.readline().decode()
        if "cannot listen" in line or "cannot make a socket" in line:
            print("not tested: IPv6 (this machine has none)")
            p.wait()
            break
        expect(f"IPv6: {line}", "http://[::1]:" in line)
        c = http.client.HTTPConnection("::1", urllib.parse.urlsplit(line.split()[-1]).port)
        c.request("GET", block)
        expect("IPv6: other bytes", c.getresponse().read() == want)
        p.send_signal(number)
        expect("it does not end cleanly", p.wait(30) == 0)
    p = subprocess.Popen([INETBOOT, "serve", "store", "--address", "0.0.0.0", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    expect("no warning beyond loopback", b"whoever reaches" in p.stdout.readline())
    p.terminate()
    p.wait()
    ours.terminate()
    expect("it does not end cleanly while clients are connected", ours.wait(30) == 0)
    log.wait()
    expect("no log", f"127.0.0.1 GET {block} 206 bytes=1-5\n".encode() in content("log"))
    expect("the log has control characters", b"by?[31mtes=1-2" in content("log") and b"\x1b" not in content("log"))
finally:
    stop()
done()
