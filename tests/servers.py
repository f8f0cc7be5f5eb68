"""For tests of all folders: a port that nobody has, and badserver.py as a child."""
import http.client, json, os, socket, subprocess, sys, time

BADSERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "badserver.py")
SECONDS = 60  # the most for whatever should take a moment


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class BadServer:
    """badserver.py on a folder. command: makes the command line that starts it of its own. Its owner stops it."""

    def __init__(self, folder, *rules, bind="127.0.0.1", options=(), command=lambda *words: words):
        args = [word for rule in rules for word in ("--rule", rule)]
        self.process = subprocess.Popen(command(sys.executable, BADSERVER, folder, "--bind", bind, *options, *args), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.bind, self.url = bind, f"http://{bind}:{self.port}"

    def reach(self):
        """A connection, as soon as there is one: it may be away by order."""
        until = time.monotonic() + SECONDS
        while True:
            try:
                return socket.create_connection((self.bind, self.port), SECONDS)
            except ConnectionError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.005)

    def control(self, method, orders=None, query=""):
        c = http.client.HTTPConnection(self.bind, self.port, timeout=SECONDS)
        c.sock = self.reach()
        c.request(method, "/__control" + query, json.dumps(orders) if orders is not None else None)
        answer = json.loads(c.getresponse().read())
        c.close()
        return answer

    def rules(self, *rules):
        """These instead of those before, and an empty log."""
        self.control("POST", {"rules": rules, "clear": True, "forget": True})

    def gone(self, seconds=600):
        """For so long, or until back()."""
        self.control("POST", {"gone": seconds})

    def back(self):
        self.process.stdin.write(b"back\n")
        self.process.stdin.flush()

    def log(self, under=""):
        return self.control("GET", query=f"?under={under}")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
