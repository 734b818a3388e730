#!/usr/bin/env python3
"""darkroom verify: every planted fault is found, and nothing else; --fix, and all is well.

Faults are planted as they come about: rows and files changed behind the server's back while it is
stopped, items written by a user. OBJECTS (120) objects, EACH (2) faults of every sort."""
import collections
import concurrent.futures
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom as dr
import proxy

OBJECTS = int(os.environ.get("OBJECTS", "120"))
EACH = int(os.environ.get("EACH", "2"))
PRESETS = ("small", "medium", "large")
FAR_MS = 10 * 24 * 3600 * 1000
FILE_BYTES = 70000  # and more: a file of its own
LARGE_EACH = 16     # every so many objects
SECONDS = int(os.environ.get("SECONDS_MAX", "240"))


def picture(i):
    return dr.plain_png(8 + i % 5, 8 + i % 7, (i % 256, i // 256 % 256, 90))


def body_of(i):
    if i % 10 == 9:
        return b"no picture %d" % i
    if i % LARGE_EACH == 3:
        return picture(i) + random.Random(i).randbytes(FILE_BYTES + i)  # behind the picture's end
    return picture(i)


def key_of(i):
    return "y%d/k%05d.png" % (i % 3, i)


def upload(s, numbers):
    s3 = s.s3()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s3.put_object(Bucket="photos", Key=key_of(i), Body=body_of(i)), numbers))


def concurrency(s, n):
    for name in ("thumbnail", "metadata"):
        reply = s.signed("PUT", "/_/functions?name=" + name, json.dumps({"reserved_concurrency": n}).encode())
        dr.equal(reply.status, 200, "status of functions set")


def verify(s, *args):
    """(exit code, Counter of (kind, bucket, key), totals, the findings themselves)"""
    r = s.cli("verify", "--json", *args, timeout=10 * SECONDS)
    lines = [json.loads(line) for line in r.stdout.splitlines()]
    dr.true(lines and "findings" in lines[-1], "verify said %r %r" % (r.stdout[-300:], r.stderr[-300:]))
    found = collections.Counter((f["kind"], f["bucket"], f["key"]) for f in lines[:-1])
    dr.equal(lines[-1]["findings"], sum(found.values()), "the total")
    return r.returncode, found, lines[-1], lines[:-1]


def same(found, wanted, what):
    dr.true(found == wanted, "%s: not found %s; too many %s" % (
        what, list((wanted - found).items())[:5], list((found - wanted).items())[:5]))


def quiet(s, left=0):
    """Nothing runs, and no more events wait than those that cannot."""
    since = []

    def look():
        state = s.signed("GET", "/_/status").json()
        waiting = max(s.waiting(), sum(state["queue"][lane] for lane in ("live", "followup", "batch")))
        if state["running"] or waiting > left:
            since.clear()
        else:
            since.append(time.monotonic())
        return since and since[-1] - since[0] > 2 * dr.STATUS_AGE_SECONDS
    dr.until(look, "an empty queue", SECONDS)


# ---- planting ----

class Plants:
    def __init__(self, s):
        self.s, self.wanted, self.deep = s, collections.Counter(), collections.Counter()
        self.sorts, self.foreign, self.hurt = collections.Counter(), [], []
        # Pictures, sound and ready, each taken once; large ones apart.
        self.small = [i for i in range(OBJECTS) if i % 10 != 9 and i % LARGE_EACH != 3]
        self.large = [i for i in range(OBJECTS) if i % 10 != 9 and i % LARGE_EACH == 3]
        random.Random(7).shuffle(self.small)

    def each(self, sort, pool=None):
        for _ in range(EACH):
            self.sorts[sort] += 1
            yield (pool if pool is not None else self.small).pop()

    def expect(self, kind, key, bucket="photos"):
        self.wanted[kind, bucket, key] += 1

    # -- by a user, while it runs --

    def update(self, i, expression, names=None, values=None):
        more = {k: v for k, v in (("ExpressionAttributeNames", names), ("ExpressionAttributeValues", values)) if v}
        self.ddb.update_item(TableName="images", Key=self.item_key(i), UpdateExpression=expression, **more)

    @staticmethod
    def item_key(i):
        return {"bucket": {"S": "photos"}, "key": {"S": key_of(i)}}

    def by_users(self):
        self.ddb = self.s.dynamodb()
        s3 = self.s.s3()
        for i in self.each("item deleted"):
            self.ddb.delete_item(TableName="images", Key=self.item_key(i))
            self.expect("missing", key_of(i))
        for i in self.each("item of another version"):
            self.update(i, "SET generation = :g", values={":g": {"N": "1"}})
            self.expect("stale", key_of(i))
        lies = (
            ("size", "SET #s = :v", {"#s": "size"}, {":v": {"N": "1"}}),
            ("etag", "SET etag = :v", None, {":v": {"S": "0" * 32}}),
            ("state", "SET #s.small = :v", {"#s": "state"}, {":v": {"S": "failed: so there"}}),
            ("thumbnail's etag", "SET thumbnails.medium.etag = :v", None, {":v": {"S": "0" * 32}}),
            ("thumbnail's size", "SET thumbnails.#l.#s = :v", {"#s": "size", "#l": "large"}, {":v": {"N": "7"}}),
            ("no thumbnail", "REMOVE thumbnails.small", None, None),
            ("ready", "SET ready = :v", None, {":v": {"BOOL": False}}))
        for name, expression, names, values in lies:
            for i in self.each("item lies about " + name):
                self.update(i, expression, names, values)
                self.expect("mismatch", key_of(i))
        for n in range(EACH):
            self.sorts["item of nothing"] += 1
            item = self.ddb.get_item(TableName="images", Key=self.item_key(self.small[0]))["Item"]
            item["key"] = {"S": "nothing-%d" % n}
            self.ddb.put_item(TableName="images", Item=item)
            self.expect("orphaned", "nothing-%d" % n)
        # A user's own item is nobody's business.
        self.ddb.put_item(TableName="images", Item={"bucket": {"S": "photos"}, "key": {"S": "mine"}, "note": {"S": "x"}})
        for i in self.each("a client's own thumbnail"):
            s3.put_object(Bucket="photos-derived", Key=key_of(i) + "/small.webp", Body=b"mine")
            self.foreign.append(key_of(i))
            self.expect("mismatch", key_of(i))

    def pending(self):
        """Uploaded while nothing runs: their events will be taken away."""
        self.stuck = list(range(OBJECTS, OBJECTS + EACH))
        concurrency(self.s, 0)
        upload(self.s, self.stuck)

    # -- behind its back --

    def sql(self, text, *args):
        return self.db.execute(text, args)

    def bucket(self, name):
        return self.sql("SELECT id FROM bucket WHERE name = ?", name.encode()).fetchone()[0]

    def derived_key(self, i, preset):
        return "%s/%s.webp" % (key_of(i), preset)

    def provenance(self, i, preset, what):
        changed = self.sql("UPDATE provenance SET %s WHERE source_key = ? AND preset = ?" % what,
                           key_of(i).encode(), preset).rowcount
        dr.equal(changed, 1, "rows of " + key_of(i))

    def object_gone(self, bucket, key):
        gone = self.sql("DELETE FROM object WHERE bucket_id = ? AND key = ?", self.bucket(bucket), key.encode())
        dr.equal(gone.rowcount, 1, "rows of " + key)

    def event(self, key, function, generation, bucket_id=None):
        number = self.sql("SELECT max(id) FROM event").fetchone()[0] or 0
        columns = [row[1] for row in self.sql("PRAGMA table_info(event)")]
        values = dict.fromkeys(columns, 0)
        values.update(id=max(number, 1 << 50) + 1, function=function, key=key.encode(), bucket="photos",
                      bucket_id=bucket_id or self.bucket("photos"), generation=generation,
                      request_id="", reason="", created_ms=int(time.time() * 1000),
                      not_before_ms=int(time.time() * 1000) + FAR_MS)
        self.sql("INSERT INTO event (%s) VALUES (%s)" % (",".join(columns), ",".join("?" * len(columns))),
                 *values.values())
        self.sql("UPDATE queue_count SET live = live + 1, added = added + 1")

    def derived(self):
        for n, i in enumerate(self.each("derived object gone")):
            self.object_gone("photos-derived", self.derived_key(i, PRESETS[n % 3]))
            self.expect("missing", key_of(i))
        for n, i in enumerate(self.each("derived object and provenance gone")):
            key = self.derived_key(i, PRESETS[n % 3])
            self.object_gone("photos-derived", key)
            self.sql("DELETE FROM provenance WHERE derived_key = ?", key.encode())
            self.expect("missing", key_of(i))
        for n, i in enumerate(self.each("another preset")):
            self.provenance(i, PRESETS[n % 3], "config_hash = '0123456789abcdef'")
            self.expect("stale", key_of(i))
        for n, i in enumerate(self.each("another version")):
            self.provenance(i, PRESETS[n % 3], "source_generation = source_generation - 1")
            self.expect("stale", key_of(i))
        for n, i in enumerate(self.each("provenance gone")):
            key = self.derived_key(i, PRESETS[n % 3])
            self.sql("DELETE FROM provenance WHERE derived_key = ?", key.encode())
            self.expect("missing", key_of(i))
            self.expect("orphaned", key, "photos-derived")
        for i in self.each("provenance of nothing"):
            key = key_of(i) + "/former.webp"
            self.sql("INSERT INTO provenance SELECT source_bucket_id, source_key, derived_bucket_id, ?, "
                     "derived_bucket, 'former', config_hash, source_generation, 4711, function "
                     "FROM provenance WHERE derived_key = ?", key.encode(), self.derived_key(i, "small").encode())
            self.expect("orphaned", key, "photos-derived")
        for i in self.each("source gone"):
            self.object_gone("photos", key_of(i))
            self.expect("orphaned", key_of(i))  # its item
            for preset in PRESETS:
                self.expect("orphaned", self.derived_key(i, preset), "photos-derived")

    def events(self):
        for i in self.stuck:
            self.sorts["event lost"] += 1
            n = self.sql("DELETE FROM event WHERE key = ?", key_of(i).encode()).rowcount
            dr.equal(n, 2, "events of " + key_of(i))
            self.sql("UPDATE queue_count SET live = live - ?, dropped = dropped + ?", n, n)
            self.expect("stuck", key_of(i))
        for i in self.each("event of an unknown function"):
            generation = self.sql("SELECT generation FROM object WHERE key = ?", key_of(i).encode()).fetchone()[0]
            self.event(key_of(i), "nobody", generation)
            self.expect("stuck", key_of(i))
        for n in range(EACH):
            self.sorts["event of nothing"] += 1
            self.event("gone-%d" % n, "thumbnail", 99)
            self.expect("stuck", "gone-%d" % n)
        for i in self.each("event of an old version"):
            self.event(key_of(i), "thumbnail", 1)
            self.expect("stuck", key_of(i))

    def blob_of(self, bucket, key):
        extents = self.sql("SELECT extents FROM object WHERE bucket_id = ? AND key = ?",
                           self.bucket(bucket), key.encode()).fetchone()[0]
        blob, shift = 0, 0
        for byte in extents:
            blob |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return blob

    def hurt_inline(self, bucket, key):
        blob = self.blob_of(bucket, key)
        data = bytearray(self.sql("SELECT data FROM blob WHERE id = ?", blob).fetchone()[0])
        data[len(data) // 2] ^= 4
        self.sql("UPDATE blob SET data = ? WHERE id = ?", bytes(data), blob)

    def bytes(self):
        def damaged(i):
            self.deep["damaged", "photos", key_of(i)] += 1
            self.hurt.append(i)

        def path(i):
            blob = self.blob_of("photos", key_of(i))
            return os.path.join(self.s.data, "blobs", str(blob // 4096), str(blob))
        for i in self.each("bits of a small object"):
            self.hurt_inline("photos", key_of(i))
            damaged(i)
        for i in self.each("bits of a file", self.large):
            with open(path(i), "r+b") as f:
                f.seek(FILE_BYTES // 3)
                byte = f.read(1)[0]
                f.seek(FILE_BYTES // 3)
                f.write(bytes([byte ^ 1]))
            damaged(i)
        for i in self.each("a file cut short", self.large):
            os.truncate(path(i), FILE_BYTES)
            damaged(i)
        for i in self.each("a file gone", self.large):
            os.unlink(path(i))
            damaged(i)
        for n, i in enumerate(self.each("bits of a derived object")):
            key = self.derived_key(i, PRESETS[n % 3])
            self.hurt_inline("photos-derived", key)
            self.deep["damaged", "photos-derived", key] += 1

    def behind_its_back(self):
        dr.equal(self.s.stop(), 0, "exit code")
        self.db = sqlite3.connect(os.path.join(self.s.data, "darkroom.db"))
        self.derived()
        self.events()
        self.bytes()
        self.db.commit()
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.db.close()
        self.s.start()
        concurrency(self.s, -1)


# ---- the checks ----

def a_sound_store(s):
    upload(s, range(OBJECTS))
    quiet(s)
    code, found, total, _ = verify(s, "--deep")
    same(found, collections.Counter(), "a sound store")
    dr.equal(code, 0, "exit code")
    pictures = sum(i % 10 != 9 for i in range(OBJECTS))
    dr.equal(total["objects"], OBJECTS + 3 * pictures, "objects looked at")
    dr.true(total["bytes"] > OBJECTS * 60, "bytes read")


def nothing_under_load(s):
    """What happens meanwhile is no fault."""
    enough = threading.Event()

    def churn(n):
        s3, rng = s.s3(), random.Random(n)
        while not enough.is_set():
            key = "churn/%d-%d.png" % (n, rng.randrange(4))
            if rng.random() < 0.3:
                s3.delete_object(Bucket="photos", Key=key)
            else:
                s3.put_object(Bucket="photos", Key=key, Body=picture(rng.randrange(99)))
    threads = [threading.Thread(target=churn, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(4):
            code, found, _, findings = verify(s, "--deep")
            dr.true(code == 0 and not found, "found under load: %s" % findings[:3])
    finally:
        enough.set()
        for t in threads:
            t.join()
    quiet(s)
    code, found, _, _ = verify(s)
    same(found, collections.Counter(), "after the load")


def every_plant_is_found(s, plants):
    plants.by_users()
    plants.pending()
    plants.behind_its_back()
    code, found, total, _ = verify(s)
    same(found, plants.wanted, "without --deep")
    dr.equal(code, 1, "exit code")
    code, found, total, _ = verify(s, "--deep")
    same(found, plants.wanted + plants.deep, "with --deep")
    # What was found damaged is known from now on; damage of derived objects is being repaired.
    quiet(s, 3 * EACH)
    sources = collections.Counter({k: n for k, n in plants.deep.items() if k[1] == "photos"})
    code, found, total, _ = verify(s)
    same(found, plants.wanted + sources, "once the damage is known")
    print("%d plants of %d sorts, %d findings among %d objects, %.1f s" % (
        sum(plants.sorts.values()), len(plants.sorts), sum((plants.wanted + plants.deep).values()),
        total["objects"], total["seconds"]))


def scopes(s, plants):
    def within(prefix):
        return collections.Counter({k: n for k, n in plants.wanted.items()
                                    if k[1] == "photos" and k[2].startswith(prefix)})
    _, found, _, _ = verify(s, "s3://photos/y1/")
    mine = collections.Counter({k: n for k, n in found.items() if k[1] == "photos" and k[0] != "damaged"})
    same(mine, within("y1/"), "below a prefix")
    dr.true(all(k[2].startswith("y1/") for k in found), "what is outside of the prefix is found")
    r = s.cli("verify", "s3://nosuchbucket")
    dr.equal(r.returncode, 1, "exit code of a bucket that is not there")
    dr.contains(r.stderr, "no such bucket", "the complaint")
    dr.equal(s.cli("verify", "photos").returncode, 2, "exit code of a wrong argument")
    dr.equal(s.cli("--endpoint-url", "http://127.0.0.1:1", "verify").returncode, 3, "exit code without a server")
    text = s.cli("verify", "s3://photos/y1/").stdout
    dr.contains(text, "s3://photos/y1/", "the table for people")


def busy(s):
    """503 is waited out as Retry-After says; a server that asks for more patience than there is, is not."""
    if s.ca:
        raise dr.Skipped("the proxy speaks no TLS")

    def refuse(handler, seconds):
        body = b'{"error": "busy", "message": "too many checks run"}'
        handler.send_response_only(503)
        handler.send_header("Retry-After", seconds)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def through(seconds, times):
        """Of a run whose first `times` pages are refused: its end, and how many pages it asked for."""
        def rule(_, method, path, count):
            return (lambda h, *_: refuse(h, seconds)) if path == "/_/verify" and count <= times else None
        with proxy.Proxy(s, rule) as p:
            r = s.cli("--endpoint-url", p.url, "verify", "--json", "s3://photos/y1/")
            return r, p.seen["POST", "/_/verify"]
    plain = s.cli("verify", "--json", "s3://photos/y1/")
    r, asked = through("1", 2)
    dr.equal((r.returncode, r.stderr), (plain.returncode, plain.stderr), "exit code and complaints")
    dr.equal(r.stdout.splitlines()[:-1], plain.stdout.splitlines()[:-1], "findings")
    dr.true(asked > 2, "%d pages" % asked)
    r, asked = through("3600", 1)
    dr.equal((r.returncode, asked), (1, 1), "exit code and pages of one that would wait for an hour")
    dr.contains(r.stderr, "too many checks run (the server answered 503)", "the complaint")


def fixed(s, plants):
    code, found, total, findings = verify(s, "--deep", "--fix")
    left = {(f["bucket"], f["key"]) for f in findings if not f["fixed"]}
    wanted = {("photos", key_of(i)) for i in plants.hurt} | {("photos", key) for key in plants.foreign}
    dr.equal(left, wanted, "what --fix cannot do")
    dr.equal(code, 1, "exit code while some remain")
    quiet(s)
    _, found, _, _ = verify(s, "--deep")
    dr.equal({(b, k) for _, b, k in found}, wanted, "what remains")
    # As told: uploaded again; the client's own thumbnails deleted, and made again.
    upload(s, plants.hurt)
    for key in plants.foreign:
        s.s3().delete_object(Bucket="photos-derived", Key=key + "/small.webp")
    quiet(s)
    code, found, _, _ = verify(s, "--deep", "--fix")
    dr.equal(code, 0, "exit code when all could be fixed")
    same(found, collections.Counter({("missing", "photos", key): 1 for key in plants.foreign}), "the second --fix")
    quiet(s)
    code, found, _, _ = verify(s, "--deep")
    same(found, collections.Counter(), "at the end")
    dr.equal(code, 0, "exit code at the end")
    dr.until(lambda: s.get("/_/health").json()["quarantined"] == 0, "sound health")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    s = dr.Server(config={"scrub": {"interval_s": 0}})
    good = False
    try:
        s.start()
        plants = Plants(s)
        good = all(dr.report(name, check) for name, check in (
            ("a sound store has no findings", lambda: a_sound_store(s)),
            ("nothing is found under load", lambda: nothing_under_load(s)),
            ("every plant is found, and nothing else", lambda: every_plant_is_found(s, plants)),
            ("scopes and exit codes", lambda: scopes(s, plants)),
            ("a busy server is waited for", lambda: busy(s)),
            ("--fix, then all is well", lambda: fixed(s, plants)),
            ("server lives, loses no event, ends cleanly", lambda: dr.end_checks(s))))
    finally:
        if s.running():
            s.kill()
        if not good:
            print("--- the end of the server's log\n%s\n---" % s.log_tail(15))
        shutil.rmtree(s.data, ignore_errors=True)


main()
