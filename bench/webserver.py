"""nginx with one worker and no cache of its own, here or in a network namespace, and what its log tells."""

import os
import shutil
import signal
import socket
import subprocess
import time

from measure import Failed

# open_file_cache stays off: with it, block files beyond the descriptor limit are answered with 500. httpdirfs 1.2.5 takes a server for one
# without ranges whose answers to range requests (206) do not have Accept-Ranges, which nginx gives with whole files only.
CONFIG = """%(user)s
worker_processes 1;
worker_rlimit_nofile 16384;
daemon off;
pid %(dir)s/pid;
error_log %(dir)s/error.log;
events { worker_connections 4096; }
http {
	log_format counts '$bytes_sent $request_uri';
	access_log %(log)s;
	sendfile on;
	tcp_nopush on;
	open_file_cache off;
	keepalive_requests 1000000;
	types { }
	default_type application/octet-stream;
	add_header Accept-Ranges bytes;
	client_body_temp_path %(dir)s/body;
	proxy_temp_path %(dir)s/proxy;
	fastcgi_temp_path %(dir)s/fastcgi;
	uwsgi_temp_path %(dir)s/uwsgi;
	scgi_temp_path %(dir)s/scgi;
	server { listen %(address)s:%(port)d; root %(root)s; autoindex on; }
}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class WebServer:
    def __init__(self, folder, root, address="127.0.0.1", inside=(), log=False):
        """folder: an empty one for what nginx writes. inside: what runs a command in the namespace that has the address."""
        os.mkdir(folder)
        port = free_port()
        self.address, self.url = (address, port), "http://%s:%d" % (address, port)
        self.log = os.path.join(folder, "access.log") if log else None
        config = os.path.join(folder, "nginx.conf")
        with open(config, "w") as f:
            f.write(CONFIG % {"dir": folder, "root": root, "address": address, "port": port,
                              "log": self.log + " counts" if log else "off", "user": "user root;" if os.geteuid() == 0 else ""})
        self.process = subprocess.Popen([*inside, shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-e",
                                         os.path.join(folder, "error.log")], stdin=subprocess.DEVNULL)
        self.wait_until_up(os.path.join(folder, "pid"))

    def wait_until_up(self, pid_file):
        """nginx writes it when it listens."""
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            if os.path.exists(pid_file):
                return
            time.sleep(0.02)
        raise Failed("nginx does not start: see %s" % os.path.dirname(pid_file))

    def counted(self):
        """(requests that have ended so far, bytes of their answers with heads). Only with a log."""
        requests = total = 0
        with open(self.log) as f:
            for line in f:
                requests += 1
                total += int(line.split(" ", 1)[0])
        return requests, total

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
