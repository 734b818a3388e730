"""GET of a thumbnail of about 10 KB against nginx serving the same bytes as a static file."""
import os
import re
import shutil
import socket
import subprocess

import figures
from darkroom import Failed, until

WANTED_BYTES = 10240
SECONDS = 3
NGINX = "/usr/sbin/nginx"
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
UNITS = {"us": 1, "ms": 1000, "s": 1000000}


def make_thumbnail(s):
    """The target of the derived object that is nearest to the wanted size."""
    best = None
    for path in figures.samples():
        name = os.path.basename(path)
        with open(path, "rb") as f:
            s.put_settled(name, f.read())
    for o in s.s3().list_objects_v2(Bucket="photos-derived")["Contents"]:
        if best is None or abs(o["Size"] - WANTED_BYTES) < abs(best["Size"] - WANTED_BYTES):
            best = o
    return "/photos-derived/" + best["Key"]


def free_port():
    """A port that was free just now; nginx cannot ask the kernel for one and tell."""
    with socket.socket() as c:
        c.bind(("127.0.0.1", 0))
        return c.getsockname()[1]


def start_nginx(target, body):
    if not os.path.exists(NGINX):
        raise figures.Unmeasured("nginx is not installed")
    port = free_port()
    path = "nginx/www" + target
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as f:
        f.write(body)
    with open("nginx/nginx.conf", "w") as f:
        # Else root's nginx would drop to a user who may not enter this directory.
        f.write(CONF % {"user": "user root root;" if os.geteuid() == 0 else "",
                        "cores": os.cpu_count(), "port": port})
    p = figures.background([NGINX, "-p", os.path.abspath("nginx") + "/", "-c",
                            os.path.abspath("nginx/nginx.conf")], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    url = "http://127.0.0.1:%d%s" % (port, target)
    try:
        until(lambda: p.poll() is not None or fetch(url) == body, "answer of nginx", 10)
    except Failed as e:
        raise figures.Unmeasured(str(e))
    if p.poll() is not None:
        raise figures.Unmeasured("nginx ended")
    return url


def fetch(url):
    r = subprocess.run(["curl", "-sf", "--noproxy", "*", url], capture_output=True)
    return r.stdout


def wrk(url, connections):
    threads = min(connections, os.cpu_count())
    text = figures.command([shutil.which("wrk") or "wrk", "-t%d" % threads, "-c%d" % connections,
                            "-d%ds" % SECONDS, "--latency", url])
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if rate is None or p99 is None or "Non-2xx" in text or "Socket errors" in text:
        raise figures.Unmeasured("wrk said: %s" % " ".join(text.split()))
    return {"rate": float(rate[1]), "p99_us": float(p99[1]) * UNITS[p99[2]]}


def rates(results):
    return figures.median([r["rate"] for r in results])


def p99_us(results):
    return figures.median([r["p99_us"] for r in results])


def compare(ours_url, peer_url, connections, bar):
    a, b = figures.interleaved(lambda i: wrk(ours_url, connections),
                               lambda i: wrk(peer_url, connections))
    what = "GET of a thumbnail, %d connection%s, nginx" % (connections, "s"[:connections - 1])
    if bar is None:
        figures.line(what, "%.0f/s" % rates(a), "%.0f/s" % rates(b), rates(a) / rates(b))
    else:
        figures.at_least(what, rates(a), rates(b), bar)
    figures.line("  its p99", "%.0f us" % p99_us(a), "%.0f us" % p99_us(b), p99_us(a) / p99_us(b))


def run():
    s = figures.server(data="data")
    target = make_thumbnail(s)
    s.idle()
    body = s.get(target).body
    figures.line("  bytes of the thumbnail that is served", str(len(body)))
    peer = start_nginx(target, body)
    compare(s.url + target, peer, 64, 0.9)
    compare(s.url + target, peer, 1, None)
