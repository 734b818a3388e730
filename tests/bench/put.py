"""Durable PUTs of 10 KB: against a server that syncs every file by itself, and beside busy workers."""
import os
import subprocess

import figures

CLIENTS = 64
BODY_BYTES = 10240
SECONDS = 3
RATE_MAX = 30000  # requests prepared for each second
PEER_RATE_MAX = 15000
BACKLOG = 400


def load(port, prefix, key, secret, clients=CLIENTS, seconds=SECONDS, rate=RATE_MAX):
    got = figures.program("load", "-p", port, "-c", clients, "-d", seconds, "-n", rate * seconds,
                          "-s", BODY_BYTES, prefix,
                          env={"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret})[-1]
    if got["errors"] > 0:
        raise figures.Unmeasured("%d requests failed" % got["errors"])
    return got


def start_peer(*mode):
    folder = "-".join(("peer",) + mode)
    os.mkdir(folder)
    p = figures.background([os.path.join(figures.PROGRAMS, "peer_syncfile"), folder] + list(mode),
                           stdout=subprocess.PIPE)
    return int(p.stdout.readline())


def rates(results):
    return figures.median([r["rate"] for r in results])


def p99_ms(results):
    return figures.median([r["p99_us"] for r in results]) / 1000


def throughput():
    ours = figures.server(data="bare", args=["--bare"])
    ours.s3().create_bucket(Bucket="plain")
    peer, serial = start_peer(), start_peer("serial")
    put = lambda i, clients=CLIENTS: load(ours.port, "/plain/%d-%d-" % (clients, i), ours.key,
                                          ours.secret, clients)
    put_peer = lambda i, clients=CLIENTS: load(peer, "/plain/%d-%d-" % (clients, i), "key",
                                               "secret", clients, rate=PEER_RATE_MAX)
    a, b = figures.interleaved(put, put_peer)
    figures.at_least("PUT 10 KB, durable, %d clients, sync per file" % CLIENTS, rates(a), rates(b), 5)
    figures.line("  its p99", "%.1f ms" % p99_ms(a), "%.1f ms" % p99_ms(b), p99_ms(a) / p99_ms(b))
    alone = load(serial, "/plain/serial-", "key", "secret", rate=PEER_RATE_MAX)["rate"]
    figures.line("  the peer storing one object at a time", "%.0f/s" % rates(a), "%.0f/s" % alone,
                 rates(a) / alone)
    a, b = put(0, 1), put_peer(0, 1)
    figures.line("  the same with 1 client", "%.0f/s" % a["rate"], "%.0f/s" % b["rate"],
                 a["rate"] / b["rate"])
    figures.end_all()


def fill_backlog(s, names):
    """One upload, then copies by the server: events without moving bytes."""
    client = s.s3()
    with open(big_photo(), "rb") as f:
        client.put_object(Bucket="photos", Key=names[0], Body=f.read())
    for name in names[1:]:
        client.copy_object(Bucket="photos", Key=name,
                           CopySource={"Bucket": "photos", "Key": names[0]})


def big_photo():
    return max(figures.photos("jpeg", endings=(".jpg",)), key=os.path.getsize)


def waiting(s):
    return s.signed("GET", "/_/status").json()["queue"]["live"]


def clear_backlog(s, names):
    """Deleting the sources supersedes what waits."""
    for at in range(0, len(names), 500):
        s.s3().delete_objects(Bucket="photos", Delete={
            "Objects": [{"Key": name} for name in names[at:at + 500]], "Quiet": True})
    s.idle()


def beside_workers():
    """The same PUTs into a bucket without rules, with functions off and with all workers busy."""
    s = figures.server(data="full")
    s.s3().create_bucket(Bucket="plain")
    names = ["backlog/%03d.jpg" % i for i in range(BACKLOG)]

    def put(kind):
        return lambda i: load(s.port, "/plain/%s%d-" % (kind, i), s.key, s.secret)

    def put_busy(i):
        fill_backlog(s, names)
        before = s.metric("invocations_total")
        got = put("busy")(i)
        left, done = waiting(s), s.metric("invocations_total") - before
        clear_backlog(s, names)
        if left == 0:
            raise figures.Unmeasured("the backlog was gone before the load ended")
        got["done"] = done
        return got

    put("warm")(0)
    busy, idle = figures.interleaved(put_busy, put("idle"))
    figures.at_most("p99 of that PUT, all workers busy / functions off", p99_ms(busy),
                    p99_ms(idle), 3)
    figures.line("  its rate", "%.0f/s" % rates(busy), "%.0f/s" % rates(idle),
                 rates(busy) / rates(idle))
    figures.line("  photos done meanwhile, per second", "%.1f" % (
        figures.median([r["done"] for r in busy]) / SECONDS))
    figures.end_all()


def run():
    throughput()
    beside_workers()
