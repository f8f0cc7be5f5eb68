#!/usr/bin/env python3
"""A bad HTTP/1.1 server: serves a folder correctly (keep-alive, ranges, ETag, If-Range), unless a rule says otherwise.

    badserver.py DIR [--port N] [--bind ADDRESS] [--cert FILE --key FILE] [--proxy] [--no-log] [--rule RULE]...

Prints its port on stdout when it listens. Ends on SIGTERM, and when its standard input closes, so that it never outlives a test. A line there ends
`gone` at once.

RULE: 'PATHGLOB KIND [NAME=VALUE]... [after=N] [every=N] [count=N]'. Of the requests for paths that match, the first `after`
are left alone, then every `every`th is hit, at most `count` times. The first rule that hits decides. Kinds:

    delay ms=N                  answers late
    stall [at=N]                silence, at once or after N bytes of body (the connection stays open)
    reset [at=N]                RST, at once or after N bytes of body
    drip [rate=N]               N bytes per second (default 100)
    truncate [at=N]             closes the connection after N bytes of body (default: half)
    extra [bytes=N]             N bytes of rubbish behind the body
    flip [at=N]                 one byte of the body is wrong (default: in the middle)
    wronglength [delta=N]       N bytes more in Content-Length and body than the file has (default -1: one less)
    login                       200, text/html: a captive portal
    status code=N [retry=N]     an error; Retry-After: N seconds, or retry=date:N for the same as a date
    loop                        redirects to itself
    redirect to=URL             redirects there; PATH in URL is replaced by the path asked for
    noranges                    ignores Range
    wrongrange                  a part, but another one than asked for
    gzip                        claims Content-Encoding: gzip
    change                      the file is another one now: other bytes, other ETag, same length
    auth user=U password=P      401 without these
    gone seconds=N              no listening socket and all connections reset; returns on the same port
    good                        nothing: keeps the rules behind this one away
    half [part=0|1]             404 for half of the paths, by their checksum: a mirror that was not copied to the end
    swap with=PATH              another file of the folder in its place: a stale proxy, a replay, one valid block for another
    zeros                       the right length, but zeros: a disk that was full
    empty                       200, and not one byte
    inject [where=front|behind] HTML that a proxy adds to the body
    partial                     206 for the whole, though no range was asked for
    badrange value=TEXT         this Content-Range (with _ for a blank) on a 206
    length value=N[,N]          this Content-Length, or these two of them, whatever the body has
    chunked [cut=1]             chunked encoding; cut: ends without the last chunk
    tail                        no Content-Length, all of the body, then silence instead of the end
    keepclosed                  closes a kept connection at its second request, without an answer
    garbage                     bytes that are no HTTP
    http09                      the body with no head at all
    interim [ms=N] [bytes=N]    "103 Early Hints" for ever, one each N ms (default 10), N bytes longer (default 1)
    headers [bytes=N] [line=N]  N bytes of header lines (default 1000000), each of N bytes (default 1000)
    slowhead [ms=N]             a byte of the head each N ms (default 1000)

A rule for the path `:connect` hits connections when they are accepted, before TLS and before any request: `stall`, `reset`,
`delay ms=N`, and `garbage`.

/__control: POST {"rules": [RULE], "clear": true, "drop": TEXT, "forget": true, "gone": SECONDS} adds rules, first dropping all old ones
(clear), those whose text begins with TEXT (drop), and the log (forget). GET gives {"requests": [{time, method, path, range, headers,
status, bytes, connection, rule, proxied}], "bytes", "connections", "concurrent": most requests at once, "faults": {KIND: hits since the
start}}. `time` is in seconds. With --no-log, for hours of use, no requests are kept. GET /__control?under=TEXT gives only the requests
for paths that begin with it.
"""

import argparse
import base64
import email.utils
import fnmatch
import http.client
import json
import mimetypes
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
import zlib

HEAD_MAX = 65536  # bytes of a request's head
CHUNK = 65536


class Rule:
    def __init__(self, text):
        words = text.split()
        self.text, self.glob, self.kind = text, words[0], words[1]
        self.args = dict(word.split("=", 1) for word in words[2:])
        self.after = int(self.args.pop("after", 0))
        self.every = int(self.args.pop("every", 1))
        self.count = int(self.args.pop("count", -1))
        self.seen = self.fired = 0
        if self.kind not in KINDS:
            raise ValueError(f"no such kind of fault: {self.kind}")

    def hits(self, path):
        if path.startswith(":") != self.glob.startswith(":") or not fnmatch.fnmatchcase(path, self.glob):
            return False
        self.seen += 1
        number = self.seen - self.after - 1
        if number < 0 or number % self.every or self.fired == self.count:
            return False
        self.fired += 1
        return True

    def number(self, name, default):
        return int(self.args.get(name, default))


class Reset(Exception):
    """End the connection with RST."""


class Request:
    def __init__(self, method, target, headers):
        self.method, self.headers = method, headers
        self.absolute = target.startswith("http://")
        self.target = target
        self.path = urllib.parse.unquote(urllib.parse.urlsplit(target).path)


class Reply:
    """What goes out: a head and a body with its faults."""

    def __init__(self, status, body=b"", headers=None):
        self.status, self.body, self.headers = status, body, dict(headers or {})
        self.behind = b""   # sent behind the body
        self.rate = 0       # bytes a second
        self.stop = None    # (bytes of body, what then)
        self.lengths = None # values of Content-Length; None: the right one
        self.head = []      # more lines of the head
        self.head_ms = 0    # milliseconds for each byte of the head
        self.bare = False   # without any head


def byte_range(text, size):
    """(first, last) of a Range header; None: not satisfiable; False: not one that we understand."""
    if not text.startswith("bytes=") or "," in text:
        return False
    first, dash, last = text[6:].partition("-")
    try:
        if not first:
            return (max(0, size - int(last)), size - 1) if int(last) and size else None
        first, last = int(first), min(int(last), size - 1) if last else size - 1
    except ValueError:
        return False
    return (first, last) if first <= last else None


class Server:
    def __init__(self, options):
        self.folder, self.proxy, self.bind = options.dir, options.proxy, options.bind
        self.rules = [Rule(text) for text in options.rule]
        self.lock = threading.Lock()
        self.log, self.connections, self.open_sockets = [], 0, set()
        self.keep_log, self.faults, self.sent = not options.no_log, {}, 0
        self.now, self.most = 0, 0
        self.start = time.monotonic()
        self.changed = self.away = False
        self.back = threading.Event()  # ends `gone` early
        self.tls = None
        if options.cert:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(options.cert, options.key)
        self.port = options.port
        # Bound, but not listening: keeps the port ours while the server is gone, or another connection of this machine may get it.
        self.holder = self.bound()
        self.port = self.holder.getsockname()[1]
        self.listener = self.listen()

    # ---- sockets ----

    def bound(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((self.bind, self.port))
        return s

    def listen(self):
        s = self.bound()
        s.listen(256)
        return s

    def accept_for_ever(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:  # gone for a while
                time.sleep(0.01)
                continue
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def go_away(self, seconds):
        with self.lock:
            old = self.listener
            self.away = True
            sockets = list(self.open_sockets)
        # shutdown() wakes the thread that sits in accept(): only then does the kernel let go of the port.
        try:
            old.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        old.close()
        for s in sockets:
            reset(s)
        self.back.wait(seconds)
        self.away = False
        self.listener = self.listen()

    def serve(self, s):
        with self.lock:
            self.connections += 1
            number = self.connections
            self.open_sockets.add(s)
            away = self.away
        if away:  # accepted just before the listener went
            reset(s)
        raw, first = s, True
        try:
            s.settimeout(600)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connect(s)
            if self.tls:
                s = self.tls.wrap_socket(s, server_side=True)
                with self.lock:
                    self.open_sockets.discard(raw)
                    self.open_sockets.add(s)
            rest = b""
            while True:
                request, rest = read_request(s, rest)
                if not request or not self.answer(s, request, number, first):
                    break
                first = False
        except Reset:
            reset(s)
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open_sockets.discard(raw)
                self.open_sockets.discard(s)
            s.close()

    def connect(self, s):
        """What the rules for :connect do to a new connection."""
        rule = self.rule_for(":connect")
        if not rule:
            return
        if rule.kind == "delay":
            time.sleep(rule.number("ms", 100) / 1000)
        elif rule.kind == "stall":
            stall(s)
            raise Reset
        elif rule.kind == "reset":
            raise Reset
        else:
            s.sendall(GARBAGE)
            raise OSError

    # ---- one request ----

    def rule_for(self, path):
        with self.lock:
            rule = next((r for r in self.rules if r.hits(path)), None)
            if rule:
                self.faults[rule.kind] = self.faults.get(rule.kind, 0) + 1
            return rule

    def answer(self, s, request, connection, first):
        if request.path == "/__control" and not request.absolute:
            return self.control(s, request)
        entry = {
            "time": time.monotonic() - self.start, "method": request.method, "path": request.path,
            "range": request.headers.get("range"), "headers": request.headers, "status": 0, "bytes": 0,
            "connection": connection, "rule": None, "proxied": request.absolute, "open": 1,
        }
        rule = self.rule_for(request.path)
        entry["rule"] = rule.text if rule else None
        with self.lock:
            if self.keep_log:
                self.log.append(entry)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if request.absolute and self.proxy:
                reply = forward(request)
            else:
                reply = self.file_reply(request, bool(rule) and rule.kind == "noranges")
            if rule and rule.kind == "keepclosed":
                if not first:
                    return False
            elif rule:
                reply = KINDS[rule.kind](self, rule, request, reply) or reply
            entry["status"] = reply.status
            return self.send(s, request, reply, entry)
        finally:
            self.leave(entry)
            with self.lock:
                self.sent += entry["bytes"]

    def leave(self, entry):
        """The request is over: told before its last bytes go out, or the client could be back before we noticed."""
        with self.lock:
            self.now -= entry.pop("open", 0)

    def file_reply(self, request, no_ranges=False):
        if request.method not in ("GET", "HEAD"):
            return Reply(405)
        name = os.path.join(self.folder, request.path.lstrip("/"))
        try:
            with open(name, "rb") as f:
                data, stat = f.read(), os.fstat(f.fileno())
        except OSError:
            return Reply(404, b"not here\n")
        etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        if self.changed:
            data, etag = bytes(b ^ 0x55 for b in data), '"changed"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes",
                   "Content-Type": mimetypes.guess_type(name)[0] or "application/octet-stream"}
        asked = request.headers.get("range")
        if not asked or no_ranges or request.headers.get("if-range", etag) != etag:
            return Reply(200, data, headers)
        part = byte_range(asked, len(data))
        if part is None:
            return Reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        if part is False:
            return Reply(200, data, headers)
        headers["Content-Range"] = f"bytes {part[0]}-{part[1]}/{len(data)}"
        return Reply(206, data[part[0]:part[1] + 1], headers)

    def send(self, s, request, reply, entry):
        if isinstance(reply, Silent):
            stall(s)
            return False
        if isinstance(reply, Interim):
            while True:  # until the other side has had enough: then sendall() fails
                s.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </%s.css>; rel=preload\r\n\r\n" % (b"s" * reply.longer))
                time.sleep(reply.ms / 1000)
        lengths = [len(reply.body)] if reply.lengths is None else reply.lengths
        head = [f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, 'Whatever')}",
                f"Date: {email.utils.formatdate(usegmt=True)}"]
        head += [f"Content-Length: {length}" for length in lengths]
        head += [f"{name}: {value}" for name, value in reply.headers.items()] + reply.head
        end, then = reply.stop or (len(reply.body), None)
        if request.method == "HEAD" or reply.status in (204, 304):
            end = 0
        if not end and not then:
            self.leave(entry)
        head = b"" if reply.bare else ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        for at in range(0, len(head), 1 if reply.head_ms else CHUNK):
            s.sendall(head[at:at + (1 if reply.head_ms else CHUNK)])
            time.sleep(reply.head_ms / 1000)
        step = CHUNK if not reply.rate else max(1, reply.rate // 20)
        body = memoryview(reply.body)[:end]
        for at in range(0, len(body), step):
            piece = body[at:at + step]
            entry["bytes"] += len(piece)
            if at + step >= len(body) and not then:
                self.leave(entry)
            s.sendall(piece)
            if reply.rate:
                time.sleep(len(piece) / reply.rate)
        if then == "reset":
            raise Reset
        if then == "stall":
            stall(s)
        if then or reply.bare:
            return False
        if reply.behind:
            s.sendall(reply.behind)
        return request.headers.get("connection", "").lower() != "close"

    def control(self, s, request):
        if request.method == "POST":
            orders = json.loads(request.body)
            rules = [Rule(text) for text in orders.get("rules", [])]
            self.back.clear()
            with self.lock:
                if orders.get("forget"):
                    self.log, self.most, self.connections = [], self.now, 0
                if orders.get("clear"):
                    self.rules, self.changed = [], False
                if "drop" in orders:
                    self.rules = [r for r in self.rules if not r.text.startswith(orders["drop"])]
                self.rules += rules
            body = b"{}"
        else:
            with self.lock:
                sent = sum(e["bytes"] for e in self.log) if self.keep_log else self.sent
                under = urllib.parse.parse_qs(urllib.parse.urlsplit(request.target).query).get("under", [""])[0]
                log = [e for e in self.log if e["path"].startswith(under)]
                body = json.dumps({"requests": log, "bytes": sent, "connections": self.connections,
                                   "concurrent": self.most, "faults": self.faults}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        s.sendall(head.encode() + body)
        if request.method == "POST" and "gone" in orders:
            threading.Thread(target=self.go_away, args=(orders["gone"],), daemon=True).start()
        return True


def reset(s):
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(s, ssl.SSLSocket):
            s = socket.socket(fileno=s.detach())
        else:
            # Another thread may sit in a system call on it, which keeps close() from sending the RST.
            s.shutdown(socket.SHUT_RD)
        s.close()
    except OSError:
        pass


def stall(s):
    """Says nothing until the other side has had enough."""
    try:
        while s.recv(CHUNK):
            pass
    except OSError:
        pass


def read_request(s, data):
    while b"\r\n\r\n" not in data:
        piece = s.recv(CHUNK)
        if not piece or len(data) > HEAD_MAX:
            return None, b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    request = Request(method, target, headers)
    length = int(headers.get("content-length", 0))
    while len(rest) < length:
        piece = s.recv(CHUNK)
        if not piece:
            return None, b""
        rest += piece
    request.body, rest = rest[:length], rest[length:]
    return request, rest


def forward(request):
    """Fetches what a client asks of us as its proxy."""
    url = urllib.parse.urlsplit(request.target)
    there = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=30)
    names = {n: v for n, v in request.headers.items() if n not in ("proxy-connection", "connection")}
    try:
        there.request(request.method, url.path or "/", headers=names)
        got = there.getresponse()
        keep = {n: v for n, v in got.getheaders() if n.lower() not in ("content-length", "date", "connection")}
        return Reply(got.status, got.read(), keep)
    except OSError:
        return Reply(502)
    finally:
        there.close()


# ---- kinds of faults: change the reply, or give another one ----

def delay(server, rule, request, reply):
    time.sleep(rule.number("ms", 100) / 1000)


def stop_at(what, default_half):
    def fault(server, rule, request, reply):
        default = len(reply.body) // 2 if default_half else -1
        at = rule.number("at", default)
        if at < 0 and what == "reset":
            raise Reset
        if at < 0:
            return Silent()
        reply.stop = (at, what)
    return fault


class Silent(Reply):
    """Not even a head."""

    def __init__(self):
        super().__init__(0)


def drip(server, rule, request, reply):
    reply.rate = rule.number("rate", 100)


def extra(server, rule, request, reply):
    reply.behind = b"x" * rule.number("bytes", 10)


def flip(server, rule, request, reply):
    at = rule.number("at", len(reply.body) // 2)
    if reply.body:
        body = bytearray(reply.body)
        body[at % len(body)] ^= 0x01
        reply.body = bytes(body)


def wrong_length(server, rule, request, reply):
    delta = rule.number("delta", -1)
    reply.body = reply.body[:delta] if delta < 0 else reply.body + b"z" * delta


def login(server, rule, request, reply):
    return Reply(200, b"<html><title>Welcome to our network</title><form>Please log in</form></html>\n",
                 {"Content-Type": "text/html; charset=utf-8"})


def status(server, rule, request, reply):
    headers = {}
    retry = rule.args.get("retry", "")
    if retry.startswith("date:"):
        headers["Retry-After"] = email.utils.formatdate(time.time() + int(retry[5:]), usegmt=True)
    elif retry:
        headers["Retry-After"] = retry
    return Reply(rule.number("code", 500), b"<html>an error page</html>\n", headers)


def loop(server, rule, request, reply):
    return Reply(302, b"", {"Location": request.path})


def redirect(server, rule, request, reply):
    return Reply(302, b"", {"Location": rule.args["to"].replace("PATH", request.path)})


def nothing(server, rule, request, reply):
    """The reply is made with the rule in mind already."""


def wrong_range(server, rule, request, reply):
    if reply.status == 206:
        span, size = reply.headers["Content-Range"][6:].split("/")
        first, last = map(int, span.split("-"))
        reply.headers["Content-Range"] = f"bytes {first + 1}-{last + 1}/{int(size) + 1}"


def gzip(server, rule, request, reply):
    reply.headers["Content-Encoding"] = "gzip"


def change(server, rule, request, reply):
    server.changed = True
    return server.file_reply(request)


def auth(server, rule, request, reply):
    want = base64.b64encode(f"{rule.args['user']}:{rule.args['password']}".encode()).decode()
    if request.headers.get("authorization") != f"Basic {want}":
        return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="store"'})


def gone(server, rule, request, reply):
    threading.Thread(target=server.go_away, args=(float(rule.args.get("seconds", 1)),), daemon=True).start()
    raise Reset


def half(server, rule, request, reply):
    if zlib.crc32(request.path.encode()) % 2 == rule.number("part", 0):
        return Reply(404, b"not copied yet\n")


def swap(server, rule, request, reply):
    other = Request(request.method, rule.args["with"], request.headers)
    return server.file_reply(other)


def zeros(server, rule, request, reply):
    reply.body = bytes(len(reply.body))


def empty(server, rule, request, reply):
    reply.body = b""


def inject(server, rule, request, reply):
    script = b"<script src=http://ads.example/ad.js></script>"
    front = rule.args.get("where", "behind") == "front"
    reply.body = script + reply.body if front else reply.body + script


def partial(server, rule, request, reply):
    if reply.status == 200:
        reply.status = 206
        reply.headers["Content-Range"] = f"bytes 0-{len(reply.body) - 1}/{len(reply.body)}"


def bad_range(server, rule, request, reply):
    reply.status = 206
    reply.headers["Content-Range"] = rule.args["value"].replace("_", " ")


def length(server, rule, request, reply):
    reply.lengths = rule.args["value"].split(",")
    reply.stop = (len(reply.body), "close")


def chunked(server, rule, request, reply):
    reply.lengths = []
    reply.headers["Transfer-Encoding"] = "chunked"
    pieces = [reply.body[at:at + 5000] for at in range(0, len(reply.body), 5000)]
    reply.body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    if rule.number("cut", 0):
        reply.stop = (len(reply.body) * 2 // 3, "close")
    else:
        reply.body += b"0\r\n\r\n"


def tail(server, rule, request, reply):
    reply.lengths, reply.stop = [], (len(reply.body), "stall")


def garbage(server, rule, request, reply):
    reply.body, reply.bare = GARBAGE, True


def http09(server, rule, request, reply):
    reply.bare = True


class Interim(Reply):
    """Interim answers, and never the one that counts."""

    def __init__(self, ms, longer):
        super().__init__(0)
        self.ms, self.longer = ms, longer


def interim(server, rule, request, reply):
    return Interim(rule.number("ms", 10), rule.number("bytes", 1))


def header_flood(server, rule, request, reply):
    each = rule.number("line", 1000)
    reply.head = [f"X-{i:06}: " + "x" * max(1, each - 12) for i in range(rule.number("bytes", 1000000) // each)]


def slow_head(server, rule, request, reply):
    reply.head_ms = rule.number("ms", 1000)


GARBAGE = bytes(range(256)) * 16
KINDS = {
    "good": nothing, "half": half, "swap": swap, "zeros": zeros, "empty": empty, "inject": inject, "partial": partial, "badrange": bad_range,
    "length": length, "chunked": chunked, "tail": tail, "keepclosed": nothing, "garbage": garbage, "http09": http09,
    "interim": interim, "headers": header_flood, "slowhead": slow_head,
    "delay": delay, "stall": stop_at("stall", False), "reset": stop_at("reset", False), "drip": drip,
    "truncate": stop_at("truncate", True), "extra": extra, "flip": flip, "wronglength": wrong_length, "login": login,
    "status": status, "loop": loop, "redirect": redirect, "noranges": nothing, "wrongrange": wrong_range,
    "gzip": gzip, "change": change, "auth": auth, "gone": gone,
}


def leave(*_):
    os._exit(0)


def listen_to_stdin(server):
    while os.read(0, 4096):
        server.back.set()
    leave()


def main():
    parser = argparse.ArgumentParser(description="a bad HTTP server for tests")
    parser.add_argument("dir")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--proxy", action="store_true", help="forward requests with absolute URIs")
    parser.add_argument("--no-log", action="store_true", help="keep counts only")
    parser.add_argument("--rule", action="append", default=[])
    server = Server(parser.parse_args())
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    threading.Thread(target=server.accept_for_ever, daemon=True).start()
    print(server.port, flush=True)
    listen_to_stdin(server)


if __name__ == "__main__":
    sys.exit(main())
