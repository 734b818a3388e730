"""GET of a thumbnail of about 10 KB against nginx serving the same bytes as a static file."""
import os
import re
import shutil

import figures
import nginx

WANTED_BYTES = 10240
SECONDS = 3
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


def start_nginx(target, body):
    try:
        peer = nginx.Nginx(target, body)
    except nginx.Missing as e:
        raise figures.Unmeasured(str(e))
    figures.started.append(peer.process)
    return peer.url


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
