#!/usr/bin/python3
"""Who waits for a sync of the log, and who does not: a preloaded library holds it, then lets it be
done or fail. What has been read in a cache is answered while the sync of somebody else's write
lasts; what that write changed is not, until it is durable. After a failed sync reads go on, writes
are refused, health says so, and a restart mends it."""
import mmap
import os
import select
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, until

SHIM = os.path.join(darkroom.TOP, "build/gcc/tests/crash/fault_shim.so")
FIELDS = {"sync_hold": 9, "syncs_held": 10, "sync_errno": 11}  # of struct control, fault_shim.c
EIO = 5
THUMBNAIL = "/photos-derived/a.png/small.webp"
CONNECTIONS = 8  # more than there are HTTP threads, each of which has its own cache
ROUNDS = 8
OLD, NEW = b"first", b"second"
LARGE = bytes(range(256)) * 1024


class Control:
    """The file that the library maps."""

    def __init__(self):
        self.path = os.path.abspath("control")
        with open(self.path, "wb") as f:
            f.write(bytes(4096))
        with open(self.path, "r+b") as f:
            self.memory = mmap.mmap(f.fileno(), 4096)

    def set(self, name, value):
        struct.pack_into("i", self.memory, 4 * FIELDS[name], value)

    def holds(self):
        return struct.unpack_from("i", self.memory, 4 * FIELDS["syncs_held"])[0] == 1


class Server(darkroom.Server):
    def __init__(self, **options):
        super().__init__(**options)
        self.env["DARKROOM_FAULT_CONTROL"] = control.path

    def command(self):
        options = "verify_asan_link_order=0:" + self.env.get("ASAN_OPTIONS", "")
        return ["env", "LD_PRELOAD=" + SHIM, "ASAN_OPTIONS=" + options] + super().command()


class Asker:
    """A connection that is kept."""

    def __init__(self, s):
        self.s, self.c = s, s.connection()
        self.c.connect()

    def ask(self, method, path, body=None):
        headers = {} if path == THUMBNAIL else self.s.signed_headers(method, path, body or b"")
        self.c.request(method, path, body=body, headers=headers)

    def answered(self):
        return bool(select.select([self.c.sock], [], [], 0)[0])

    def answer(self):
        reply = self.c.getresponse()
        return reply.status, reply.read()

    def get(self, path):
        self.ask("GET", path)
        return self.answer()


def in_cache(s, *paths):
    """Connections on all threads, which have read these."""
    askers = [Asker(s) for _ in range(CONNECTIONS)]
    for asker in askers:
        for path in paths:
            equal(asker.get(path)[0], 200, "status of " + path)
    return askers


def held_put(s, path, body):
    """Its commit can be seen; its sync waits."""
    s.idle()
    control.set("sync_hold", 1)
    writer = Asker(s)
    writer.ask("PUT", path, body)
    until(control.holds, "the sync is held")
    return writer


def asked(s, path):
    askers = [Asker(s) for _ in range(CONNECTIONS)]
    for asker in askers:
        asker.ask("GET", path)
    return askers


def test_reads_beside_a_sync(s):
    c = s.s3()
    c.create_bucket(Bucket="plain")
    c.put_object(Bucket="plain", Key="k", Body=OLD)
    c.put_object(Bucket="plain", Key="other", Body=OLD)
    s.put_settled("a.png", darkroom.sample("parrots.png"))
    thumbnail = s.get(THUMBNAIL).body
    cached = in_cache(s, THUMBNAIL, "/plain/other")
    writer = held_put(s, "/plain/k", NEW)
    try:
        waiting = asked(s, "/plain/k")
        # Each round is answered by the threads that the waiting ones are on, behind those.
        for _ in range(ROUNDS):
            for asker in cached:
                equal(asker.get(THUMBNAIL), (200, thumbnail), "a thumbnail from the cache")
                equal(asker.get("/plain/other"), (200, OLD), "an object from the cache")
        equal([w.answered() for w in waiting], [False] * CONNECTIONS, "answers about what is not durable")
        equal(writer.answered(), False, "the write's answer")
        true(control.holds(), "the sync was held all the time")
    finally:
        control.set("sync_hold", 0)
    equal(writer.answer()[0], 200, "status of the write")
    equal([w.answer() for w in waiting], [(200, NEW)] * CONNECTIONS, "answers about what is durable now")


def test_reads_go_on_after_a_failed_sync(s):
    c, table = s.s3(), s.dynamodb()
    for i in range(3):
        c.put_object(Bucket="plain", Key="small%d" % i, Body=OLD)
        c.put_object(Bucket="plain", Key="large%d" % i, Body=LARGE)
    cached = in_cache(s, THUMBNAIL, "/plain/other", "/plain/large0")
    control.set("sync_errno", EIO)
    writer = held_put(s, "/plain/k", OLD * 2)
    waiting = asked(s, "/plain/k")
    control.set("sync_hold", 0)
    equal(writer.answer()[0], 503, "status of the write")
    for w in waiting:
        w.answer()  # neither for ever
    health = s.get("/_/health")
    equal((health.status, health.json()["storage"]), (503, "sync_failed"), "health")
    for asker in cached:
        equal(asker.get(THUMBNAIL)[0], 200, "status of a thumbnail from the cache")
        equal(asker.get("/plain/other"), (200, OLD), "an object from the cache")
        equal(asker.get("/plain/large0"), (200, LARGE), "a large one")
    for path, body in (("/plain/small1", OLD), ("/plain/large1", LARGE)):
        equal(Asker(s).get(path), (200, body), path)
    equal([o["Key"] for o in c.list_objects_v2(Bucket="plain")["Contents"]],
          ["k"] + ["large%d" % i for i in range(3)] + ["other"] + ["small%d" % i for i in range(3)], "the list")
    item = {"bucket": {"S": "photos"}, "key": {"S": "a.png"}}
    equal(table.get_item(TableName="images", Key=item)["Item"]["ready"], {"BOOL": True}, "ready")
    for method in ("PUT", "DELETE"):
        equal(s.signed(method, "/plain/other", b"" if method == "DELETE" else NEW).status, 503, method)


def test_a_restart_mends_it(s):
    equal(s.stop(), 0, "exit code after SIGTERM")
    control.set("sync_errno", 0)
    s.start()
    equal(s.get("/_/health").status, 200, "health")
    equal(s.signed("PUT", "/plain/other", NEW).status, 200, "PUT")
    for path, bodies in (("/plain/other", (NEW,)), ("/plain/small2", (OLD,)), ("/plain/large2", (LARGE,)),
                         ("/plain/k", (NEW, OLD * 2))):
        status, body = Asker(s).get(path)
        true(status == 200 and body in bodies, "%s after the restart: %d %r" % (path, status, body[:20]))


if subprocess.call(["make", "-s", "-C", darkroom.TOP, "build/gcc/tests/crash/fault_shim.so"],
                   stdout=subprocess.DEVNULL) != 0:
    print("skip syncs.py: tests/crash/fault_shim.c cannot be built")
    sys.exit(0)
control = Control()
darkroom.Server = Server
darkroom.run(globals())
