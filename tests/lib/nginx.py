"""An nginx that serves one file: the peer of what we serve, on the same machine at the same time."""
import os
import socket
import subprocess

from darkroom import Failed, until

PROGRAM = "/usr/sbin/nginx"
END_SECONDS = 5
START_SECONDS = 10
CONF = """%(user)s
worker_processes %(cores)d;
daemon off;
pid nginx.pid;
error_log error.log;
events { worker_connections 1024; }
http {
    types { image/webp webp; }
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    open_file_cache max=100;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server { listen 127.0.0.1:%(port)d; root www; }
}
"""


class Missing(Exception):
    """It is not installed, or does not run here; the text says why."""


def free_port():
    """A port that was free just now; nginx cannot ask the kernel for one and tell."""
    with socket.socket() as c:
        c.bind(("127.0.0.1", 0))
        return c.getsockname()[1]


def fetch(url):
    r = subprocess.run(["curl", "-sf", "--noproxy", "*", url], capture_output=True)
    return r.stdout


class Nginx:
    """Serves body at target, from the directory nginx/ below this one."""

    def __init__(self, target, body):
        if not os.path.exists(PROGRAM):
            raise Missing("nginx is not installed")
        self.port = free_port()
        self.url = "http://127.0.0.1:%d%s" % (self.port, target)
        root = os.path.abspath("nginx")
        path = root + "/www" + target
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as f:
            f.write(body)
        with open(root + "/nginx.conf", "w") as f:
            # Else root's nginx would drop to a user who may not enter this directory.
            f.write(CONF % {"user": "user root root;" if os.geteuid() == 0 else "",
                            "cores": os.cpu_count(), "port": self.port})
        self.process = subprocess.Popen([PROGRAM, "-p", root + "/", "-c", root + "/nginx.conf"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.wait(body)

    def wait(self, body):
        try:
            until(lambda: not self.running() or fetch(self.url) == body, "answer of nginx",
                  START_SECONDS)
        except Failed as e:
            self.stop()
            raise Missing(str(e)) from e
        if not self.running():
            raise Missing("nginx ended")

    def running(self):
        return self.process.poll() is None

    def stop(self):
        """SIGTERM: killed, it would leave its workers behind."""
        self.process.terminate()
        self.process.wait(END_SECONDS)
