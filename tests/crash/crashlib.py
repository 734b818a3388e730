"""What the crash tests share: a load, a ledger of what was acknowledged, and the comparison.

The ledger keeps, per key, every write that may still be what the key holds. A write leaves it when
another one that began after this one's answer was answered itself; a write without an answer (it
was under way at the crash) may or may not have happened, so it stays until somebody looked. What is
found after a restart must be one of those states, whole: ETag, size and MD5 of the bytes.

    each cycle:  server.start -> survey (compare, settle) -> Load.start -> crash -> Load.stop
"""
import collections
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))
import darkroom  # noqa: E402

KEY, SECRET = "CRASHTESTKEY", "crash-test-secret"
REGION = "us-east-1"
PLAIN, PHOTOS, DERIVED = "load", "photos", "photos-derived"
SMALL_MAX = 64 << 10
OWN_CONTENT = 300  # bodies from this size on are like no other
PART_MIN = 5 << 20
FOLDER_IDS = 4096  # ids per folder below blobs/
REQUEST_SECONDS = 120
PROBLEMS_SHOWN = 8
PICTURES = ("grey.jpg", "phone-gps.jpg")

# One content of a key. `picture` is the sample it was made from, None for other bytes.
State = collections.namedtuple("State", "etag md5 size sha256 picture")


def state_of(body, etag=None, picture=None, sha=False):
    md5 = hashlib.md5(body).hexdigest()
    return State(etag or md5, md5, len(body), hashlib.sha256(body).hexdigest() if sha else None,
                 picture)


# ---- requests ----

def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Client:
    """One kept connection and Signature Version 4; used by one thread."""

    def __init__(self, server):
        self.host = "%s:%d" % (server.host, server.port)
        self.connection = http.client.HTTPConnection(server.host, server.port,
                                                     timeout=REQUEST_SECONDS)

    def close(self):
        self.connection.close()

    def headers(self, method, path, query, digest, service, more):
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = "/".join((now[:8], REGION, service, "aws4_request"))
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": now}
        headers.update({k.lower(): v for k, v in more.items()})
        names = ";".join(sorted(headers))
        canonical = "\n".join((method, path, query,
                               "".join("%s:%s\n" % (k, headers[k]) for k in sorted(headers)),
                               names, digest))
        text = "\n".join(("AWS4-HMAC-SHA256", now, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()))
        key = ("AWS4" + SECRET).encode()
        for step in scope.split("/"):
            key = mac(key, step)
        headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, " \
            "Signature=%s" % (KEY, scope, names, mac(key, text).hex())
        return headers

    def call(self, method, path, query=None, body=b"", headers=None, service="s3"):
        """A darkroom.Reply. OSError or HTTPException: nobody knows what became of it."""
        path = urllib.parse.quote(path)
        query = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote)
        # Both kinds of payload are in use: digests for small bodies, none for large ones.
        digest = hashlib.sha256(body).hexdigest() if len(body) <= SMALL_MAX else "UNSIGNED-PAYLOAD"
        try:
            self.connection.request(method, path + ("?" + query if query else ""), body or None,
                                    self.headers(method, path, query, digest, service,
                                                 headers or {}))
            r = self.connection.getresponse()
            return darkroom.Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def must(self, *args, want=200, **kwargs):
        reply = self.call(*args, **kwargs)
        darkroom.equal(reply.status, want, " ".join(str(a) for a in args[:2]))
        return reply

    def list(self, bucket):
        """{key: (etag, size)} of the whole bucket."""
        found, token = {}, None
        while True:
            query = {"list-type": "2"}
            if token:
                query["continuation-token"] = token
            root = xml.etree.ElementTree.fromstring(self.must("GET", "/" + bucket, query).body)
            space = root.tag[:root.tag.index("}") + 1]
            for entry in root.iter(space + "Contents"):
                found[entry.findtext(space + "Key")] = (entry.findtext(space + "ETag").strip('"'),
                                                        int(entry.findtext(space + "Size")))
            token = root.findtext(space + "NextContinuationToken")
            if not token:
                return found

    def items(self, bucket=PHOTOS):
        """{key: item} of the table about the bucket, items as the wire has them."""
        found, start = {}, None
        while True:
            request = {"TableName": "images", "ConsistentRead": True}
            if start:
                request["ExclusiveStartKey"] = start
            answer = self.must("POST", "/", body=json.dumps(request).encode(), service="dynamodb",
                               headers={"X-Amz-Target": "DynamoDB_20120810.Scan",
                                        "Content-Type": "application/x-amz-json-1.0"}).json()
            for item in answer["Items"]:
                if item["bucket"]["S"] == bucket:
                    found[item["key"]["S"]] = item
            start = answer.get("LastEvaluatedKey")
            if not start:
                return found


# ---- the server ----

class Server(darkroom.Server):
    """Dies with the script, has known keys, and may be another build of the program."""

    def __init__(self, data, program=None, bare=False):
        super().__init__(data=data, args=["--bare"] if bare else [],
                         env={"DARKROOM_ACCESS_KEY_ID": KEY, "DARKROOM_SECRET_ACCESS_KEY": SECRET})
        self.program = program or os.path.join(darkroom.PROGRAMS, "darkroomd")
        self.log_path = os.path.abspath("server.log")
        self.settings = {"workers": dict(darkroom.WORKERS, program=os.path.join(darkroom.PROGRAMS,
                                                                                "darkroom-worker"))}
        self.config_path = os.path.abspath("server.json")
        self.checkpoint_bytes(32 << 20)
        self.args += ["--config", self.config_path]

    def checkpoint_bytes(self, n):
        """For the next start: small, and checkpoints happen under the load."""
        self.settings["storage"] = {"checkpoint_bytes": n}
        with open(self.config_path, "w") as f:
            json.dump(self.settings, f)

    def command(self):
        return ["setpriv", "--pdeathsig", "KILL", self.program, "--data", self.data,
                "--listen", self.listen] + self.args

    def launch(self):
        """Starts without waiting for it."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log,
                                            stdin=subprocess.DEVNULL, env=self.env)

    def kill(self):
        if self.process is not None and self.process.returncode is None:
            super().kill()

    def check_alive(self):
        """It must not end by itself, whatever the disk does."""
        darkroom.equal(self.process.poll(), None, "exit code before the crash was made")

    def signed(self, method, target, body=b"", headers=None):
        with contextlib.closing(Client(self)) as c:
            return c.must(method, target, body=body, headers=headers)


# ---- what was acknowledged ----

class Op:
    __slots__ = ("state", "start", "end")

    def __init__(self, state, start, end=None):
        self.state, self.start, self.end = state, start, end


class Ledger:
    """Thread-safe. A key is (bucket, key); the state None is "not there"."""

    def __init__(self):
        self.lock = threading.Lock()
        self.keys = {}
        self.touched = set()  # since the last survey
        self.uploads = []     # (key, upload id, parts, state): every part answered, not completed
        self.acknowledged = 0
        self.doubt = None     # power_failing()

    def begin(self, key, state):
        op = Op(state, time.monotonic_ns())
        with self.lock:
            self.keys.setdefault(key, [Op(None, 0, 0)]).append(op)
            self.touched.add(key)
        return op

    def power_failing(self):
        """From here until power_failed() answers count for nothing: a sync that is under way while
        the file system is shut down may return 0 for what is lost (seen on ext4 and xfs, Linux 6,
        with a bare fdatasync() loop). A real machine would not have lived to tell."""
        with self.lock:
            self.doubt = float("inf")

    def power_failed(self):
        """Of what began before, answers still count for nothing; of what begins now, they do."""
        with self.lock:
            self.doubt = time.monotonic_ns()

    def answered(self, key, op):
        with self.lock:
            if self.doubt is not None and op.start <= self.doubt:
                return
            op.end = time.monotonic_ns()
            self.acknowledged += 1
            # An op that was over before this one began cannot be what the key holds now.
            self.keys[key] = [o for o in self.keys[key] if o.end is None or o.end >= op.start]

    def under_way(self):
        """Keys with a write that has no answer yet."""
        with self.lock:
            return [k for k in self.touched if any(o.end is None for o in self.keys[k])]

    def observed(self, key, state):
        """Somebody has read it, so it is as durable as if it were acknowledged. It stays without an
        answer; a write that was over before it began cannot come back. True when it was new."""
        with self.lock:
            ops = self.keys[key]
            found = [o for o in ops if o.end is None and o.state and o.state[:3] == state]
            if self.doubt is not None or len(found) != 1:
                return False
            self.keys[key] = [o for o in ops if o.end is None or o.end >= found[0].start]
            return len(self.keys[key]) < len(ops)

    def possible(self, key):
        with self.lock:
            return {o.state for o in self.keys.get(key, [Op(None, 0, 0)])}

    def sure(self, key):
        """(True, state) when only one is possible."""
        states = self.possible(key)
        return (True, next(iter(states))) if len(states) == 1 else (False, None)

    def settle(self, key, state):
        """The server that could have finished anything else is dead, and this was found."""
        now = time.monotonic_ns()
        with self.lock:
            self.keys[key] = [Op(state, now, now)]


class Problems:
    """What was found wrong: lost, torn, back from the dead, or an answer that should not be."""

    def __init__(self):
        self.lock = threading.Lock()
        self.list = []

    def add(self, text, *args):
        with self.lock:
            self.list.append((time.monotonic(), text % args))

    def before(self, moment):
        """Forgets what came after the plug was pulled."""
        with self.lock:
            self.list = [p for p in self.list if p[0] < moment]

    def check(self):
        if self.list:
            shown = "; ".join(text for _, text in self.list[:PROBLEMS_SHOWN])
            raise darkroom.Failed("%d found: %s" % (len(self.list), shown))


# ---- the load ----

class Bodies:
    """Bytes that differ from put to put without costing much to make."""

    def __init__(self, seed):
        self.pool = random.Random(seed).randbytes(1 << 20)
        self.samples = {name: darkroom.sample(name) for name in PICTURES}
        self.lock = threading.Lock()
        self.count = 0

    def name(self):
        with self.lock:
            self.count += 1
            return b"body %d\n" % self.count

    def plain(self, rng, size):
        at = rng.randrange(len(self.pool))
        body = self.name() + self.pool[at:] + self.pool * (size // len(self.pool) + 1)
        return body[:size]

    def picture(self, rng):
        """A sample with a comment segment of its own, so that no two have the same digest."""
        name = rng.choices(PICTURES, (4, 1))[0]
        text = self.name()
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        return name, self.samples[name][:2] + comment + self.samples[name][2:]


class Worker(threading.Thread):
    """One client: does steps until told to stop."""

    def __init__(self, load, index):
        super().__init__(daemon=True)
        self.load, self.index = load, index
        self.ledger, self.problems, self.bodies = load.ledger, load.problems, load.bodies
        self.rng = random.Random("%s %d %d" % (load.seed, load.cycle, index))
        self.client = None

    def run(self):
        while not self.load.ending.is_set():
            if self.client is None:
                self.client = Client(self.load.server)
            try:
                self.step()
            except (OSError, http.client.HTTPException):
                self.load.ending.wait(0.02)  # dead, or about to be
            except Exception as e:  # a thread that ends in silence would weaken the load
                self.problems.add("client %d: %s: %s", self.index, type(e).__name__, e)
                break
        if self.client is not None:
            self.client.close()

    def write(self, key, state, want, *args, **kwargs):
        """One write and its place in the ledger; the reply when it was acknowledged."""
        op = self.ledger.begin(key, state)
        reply = self.client.call(*args, **kwargs)
        if reply.status != want or b"<Error>" in reply.body:
            self.problems.add("%s %s was answered %d %s", args[0], args[1], reply.status,
                              reply.body[:200])
            return None
        if state and reply.headers.get("etag", "").strip('"') not in ("", state.etag):
            self.problems.add("%s %s has ETag %s, not %s", args[0], args[1],
                              reply.headers["etag"], state.etag)
        self.ledger.answered(key, op)
        return reply

    def put(self, key, body, picture=None):
        state = state_of(body, picture=picture, sha=key[0] == PHOTOS)
        return self.write(key, state, 200, "PUT", "/%s/%s" % key, body=body)

    def delete(self, key):
        return self.write(key, None, 204, "DELETE", "/%s/%s" % key)

    def get(self, key):
        """While nobody else writes the key, what is read must be what was acknowledged."""
        sure, state = self.ledger.sure(key)
        reply = self.client.call("GET", "/%s/%s" % key)
        if sure and self.ledger.sure(key) == (True, state):
            compare(self.problems, key, reply, {state})

    def step(self):
        raise NotImplementedError


def compare(problems, key, reply, possible):
    """The state that a GET shows; a problem when it is none of those possible, or torn."""
    if reply.status == 404:
        if None not in possible:
            problems.add("%s/%s: lost, %s", *key, states_text(possible))
        return None
    etag, md5 = reply.headers.get("etag", "").strip('"'), hashlib.md5(reply.body).hexdigest()
    for state in possible:
        if reply.status == 200 and state and (etag, md5, len(reply.body)) == state[:3]:
            return state
    problems.add("%s/%s: status %d, ETag %s, MD5 %s, %d bytes; %s", *key, reply.status, etag, md5,
                 len(reply.body), states_text(possible))
    return None


def states_text(possible):
    return "possible: " + " or ".join("absent" if s is None else "%s of %d" % (s.etag, s.size)
                                      for s in possible)


class SmallWorker(Worker):
    """Objects that live in the database: put, overwrite, delete, bulk delete, read."""

    def step(self):
        rng = self.rng
        owner = self.index if rng.random() < 0.85 else "shared"
        key = (PLAIN, "small/%s/%02d" % (owner, rng.randrange(20 if owner != "shared" else 3)))
        dice = rng.random()
        if dice < 0.70:
            size = rng.choice((0, 1, 300, 4000, 10000, 40000, SMALL_MAX, rng.randrange(SMALL_MAX)))
            self.put(key, self.bodies.plain(rng, size))
        elif dice < 0.84 or owner == "shared":
            self.delete(key)
        elif dice < 0.88:
            self.delete_many([(PLAIN, "small/%s/%02d" % (self.index, i))
                              for i in rng.sample(range(20), 3)])
        else:
            self.get(key)

    def delete_many(self, keys):
        body = b"<Delete><Quiet>true</Quiet>%s</Delete>" % b"".join(
            b"<Object><Key>%s</Key></Object>" % k[1].encode() for k in keys)
        ops = [(k, self.ledger.begin(k, None)) for k in keys]
        reply = self.client.call("POST", "/" + PLAIN, {"delete": ""}, body, {
            "Content-MD5": darkroom.md5_base64(body)})
        if reply.status != 200 or b"<Error>" in reply.body:
            self.problems.add("DeleteObjects was answered %d %s", reply.status, reply.body[:200])
            return
        for key, op in ops:
            self.ledger.answered(key, op)


class ReadingWorker(Worker):
    """Reads what others are writing: what is shown once must not be gone after the crash."""

    def step(self):
        keys = self.ledger.under_way()
        if not keys:
            self.load.ending.wait(0.001)
            return
        key = self.rng.choice(keys)
        reply = self.client.call("GET", "/%s/%s" % key)
        if reply.status == 200 and len(reply.body) >= OWN_CONTENT:
            md5 = hashlib.md5(reply.body).hexdigest()
            self.ledger.observed(key, (reply.headers.get("etag", "").strip('"'), md5,
                                       len(reply.body)))


class LargeWorker(Worker):
    """Objects that are files, and copies that share them."""

    def step(self):
        rng = self.rng
        name = "large/%d/%02d" % (self.index, rng.randrange(8))
        key, dice = (PLAIN, name), rng.random()
        if dice < 0.70:
            self.put(key, self.bodies.plain(rng, rng.randrange(100 << 10, 400 << 10)))
        elif dice < 0.80:
            self.delete(key)
        elif dice < 0.90:
            self.copy(key, (PLAIN, "copy/%d/%02d" % (self.index, rng.randrange(4))))
        else:
            self.get(key)

    def copy(self, source, target):
        sure, state = self.ledger.sure(source)
        if sure and state:
            self.write(target, state, 200, "PUT", "/%s/%s" % target,
                       headers={"x-amz-copy-source": "/%s/%s" % source})


class MultipartWorker(Worker):
    """Uploads in one or two parts; now and then one is left for the survey to complete."""

    def step(self):
        rng = self.rng
        key = (PLAIN, "multi/%02d" % rng.randrange(6))
        path = "/%s/%s" % key
        sizes = [PART_MIN, rng.randrange(1, 200000)] if rng.random() < 0.1 else \
            [rng.randrange(1, 300000)]
        reply = self.client.call("POST", path, {"uploads": ""})
        upload = re.search(rb"<UploadId>([^<]+)<", reply.body)
        if reply.status != 200 or not upload:
            self.problems.add("CreateMultipartUpload was answered %d", reply.status)
            return
        upload = upload.group(1).decode()
        parts = [self.bodies.plain(rng, size) for size in sizes]
        for number, part in enumerate(parts, 1):
            reply = self.client.call("PUT", path, {"partNumber": number, "uploadId": upload}, part)
            if reply.status != 200:
                self.problems.add("UploadPart was answered %d %s", reply.status, reply.body[:200])
                return
        digests = [hashlib.md5(part) for part in parts]
        whole = hashlib.md5(b"".join(d.digest() for d in digests))
        etag = "%s-%d" % (whole.hexdigest(), len(parts))
        state = state_of(b"".join(parts), etag)
        numbers = [d.hexdigest() for d in digests]
        if rng.random() < 0.15:
            with self.ledger.lock:
                if self.ledger.doubt is None:
                    self.ledger.uploads.append((key, upload, numbers, state))
        elif rng.random() < 0.1:
            self.client.call("DELETE", path, {"uploadId": upload})
        else:
            self.complete(key, upload, numbers, state)

    def complete(self, key, upload, numbers, state):
        return self.write(key, state, 200, "POST", "/%s/%s" % key, {"uploadId": upload},
                          completion(numbers))


def completion(numbers):
    return b"<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % b"".join(
        b"<Part><PartNumber>%d</PartNumber><ETag>\"%s\"</ETag></Part>" % (n, etag.encode())
        for n, etag in enumerate(numbers, 1))


class PictureWorker(Worker):
    """Pictures come, change, go, and turn into text, while their results are arriving."""

    def step(self):
        rng = self.rng
        self.load.ending.wait(0.04)  # leaves the workers a chance to finish some in time
        key, dice = (PHOTOS, "album/%d.jpg" % rng.randrange(8)), rng.random()
        if dice < 0.2:  # never written again: its event must survive by itself
            key = (PHOTOS, "kept/%d-%d.jpg" % (self.load.cycle, rng.randrange(1000)))
        if dice < 0.75:
            name, body = self.bodies.picture(rng)
            self.put(key, body, name)
        elif dice < 0.85:
            self.put(key, b"not a picture: " + self.bodies.plain(rng, 500))
        else:
            self.delete(key)


MIXED = (SmallWorker, SmallWorker, SmallWorker, SmallWorker, LargeWorker, LargeWorker,
         MultipartWorker, PictureWorker, ReadingWorker)


class Load:
    """The clients of one cycle."""

    def __init__(self, server, ledger, problems, bodies, seed, cycle, kinds=MIXED, history=None):
        self.history = history  # history.VersionWorker's
        self.server, self.ledger, self.problems, self.bodies = server, ledger, problems, bodies
        self.seed, self.cycle = seed, cycle
        self.ending = threading.Event()
        self.workers = [kind(self, i) for i, kind in enumerate(kinds)]

    def start(self):
        for w in self.workers:
            w.start()

    def stop(self):
        self.ending.set()
        for w in self.workers:
            w.join()


# ---- comparing ----

def prepare(server, pictures=True):
    """The buckets, once; acknowledged, so no crash may take them back."""
    with contextlib.closing(Client(server)) as c:
        reply = c.call("PUT", "/" + PLAIN)
        darkroom.true(reply.status in (200, 409), "CreateBucket was answered %d" % reply.status)
        darkroom.until(lambda: c.call("HEAD", "/" + PLAIN).status == 200, "the new bucket")
        if pictures:
            c.must("HEAD", "/" + PHOTOS)


def survey(server, ledger, problems, rng, sample=60, everything=False):
    """Compares what is there with what was acknowledged: every key by listing, those touched since
    the last survey and a sample of the others by their bytes. Then the ledger knows one state per
    key."""
    ledger.doubt = None
    with contextlib.closing(Client(server)) as c:
        buckets = {bucket for bucket, _ in ledger.keys}
        listed = {(bucket, key): entry for bucket in buckets
                  for key, entry in c.list(bucket).items()}
        for key in listed.keys() - ledger.keys.keys():
            problems.add("%s/%s: is listed, but nobody put it", *key)
        others = sorted(ledger.keys.keys() - ledger.touched)
        chosen = set(others if everything else rng.sample(others, min(sample, len(others))))
        for key in sorted(ledger.keys):
            possible = ledger.possible(key)
            if key in ledger.touched or key in chosen:
                state = compare(problems, key, c.call("GET", "/%s/%s" % key), possible)
                if listed.get(key) != (state and (state.etag, state.size)):
                    problems.add("%s/%s: listed as %s, read as %s", *key, listed.get(key),
                                 state and state[:3])
                ledger.settle(key, state)
            elif listed.get(key) not in {s and (s.etag, s.size) for s in possible}:
                problems.add("%s/%s: listed as %s; %s", *key, listed.get(key),
                             states_text(possible))
        ledger.touched.clear()
        if PHOTOS in buckets:
            orphans_check(c, problems)
        uploads_finish(c, ledger, problems, rng)


def source_of(derived_key):
    return derived_key.rpartition("/")[0]


def orphans_check(c, problems):
    """Derived objects go in the transaction that deletes their source. Nobody writes now, so the
    sources listed afterwards are the same."""
    derived, sources = c.list(DERIVED), c.list(PHOTOS)
    for key in derived:
        if source_of(key) not in sources:
            problems.add("%s/%s: its source is deleted", DERIVED, key)


def uploads_finish(c, ledger, problems, rng):
    """Acknowledged parts of an upload that nobody completed are as durable as an object."""
    for key, upload, numbers, state in ledger.uploads:
        if rng.random() < 0.5:
            reply = c.call("DELETE", "/%s/%s" % key, {"uploadId": upload})
            if reply.status != 204:
                problems.add("AbortMultipartUpload after a restart was answered %d", reply.status)
            continue
        op = ledger.begin(key, state)
        reply = c.call("POST", "/%s/%s" % key, {"uploadId": upload}, completion(numbers))
        if reply.status != 200 or b"<Error>" in reply.body:
            problems.add("%s/%s: lost parts, CompleteMultipartUpload was answered %d %s", *key,
                         reply.status, reply.body[:200])
        else:
            ledger.answered(key, op)
    ledger.uploads.clear()


def pictures_check(server, ledger, problems):
    """With an empty queue: each picture has thumbnails and an item of its last version, and nothing
    else has any. The same picture makes the same thumbnails, whatever its comment says."""
    with contextlib.closing(Client(server)) as c:
        items, derived, sources = c.items(), c.list(DERIVED), c.list(PHOTOS)
        looks = collections.defaultdict(set)
        for key in items.keys() - sources.keys():
            problems.add("%s: has an item, but no object", key)
        for key in derived:
            if source_of(key) not in sources:
                problems.add("%s: its source is deleted", key)
        count = 0
        for (bucket, key) in list(ledger.keys):
            sure, state = ledger.sure((bucket, key))
            if bucket != PHOTOS or not sure or state is None:
                continue
            item = items.get(key)
            mine = {k: entry for k, entry in derived.items() if source_of(k) == key}
            if item is None:
                problems.add("%s: no item", key)
            elif state.picture is None:
                text_check(problems, key, item, mine)
            else:
                count += 1
                picture_check(c, problems, key, state, item, mine, looks)
        for (name, preset), etags in looks.items():
            if len(etags) != 1:
                problems.add("thumbnails %s of %s differ: %s", preset, name, etags)
            for other in PICTURES:
                if other != name and etags & looks.get((other, preset), set()):
                    problems.add("%s and %s have the same thumbnail %s", name, other, preset)
    return count


def text_check(problems, key, item, mine):
    states = {k: v["S"] for k, v in item.get("state", {}).get("M", {}).items()}
    if mine:
        problems.add("%s: is no picture any more, but has %s", key, sorted(mine))
    if not states or not all(v.startswith(("skipped", "failed")) for v in states.values()):
        problems.add("%s: is no picture, but its state is %s", key, states)


def picture_check(c, problems, key, state, item, mine, looks):
    states = {k: v["S"] for k, v in item.get("state", {}).get("M", {}).items()}
    thumbnails = item.get("thumbnails", {}).get("M", {})
    if not states or set(states.values()) != {"ready"} or not item.get("ready", {}).get("BOOL"):
        problems.add("%s: not ready: %s", key, states)
        return
    if item.get("sha256", {}).get("S") != state.sha256 or item["etag"]["S"] != state.etag:
        problems.add("%s: the item is of another version", key)
    if {t["M"]["key"]["S"] for t in thumbnails.values()} != set(mine):
        problems.add("%s: the item names other thumbnails than there are: %s", key, sorted(mine))
        return
    for preset in states:
        if preset not in thumbnails:
            problems.add("%s: no thumbnail %s in the item", key, preset)
    for preset, thumbnail in thumbnails.items():
        name = thumbnail["M"]["key"]["S"]
        reply = c.call("GET", "/%s/%s" % (DERIVED, name))
        etag, md5 = reply.headers.get("etag", "").strip('"'), hashlib.md5(reply.body).hexdigest()
        if reply.status != 200 or not etag == md5 == mine[name][0] == thumbnail["M"]["etag"]["S"]:
            problems.add("%s: status %d, ETag %s, MD5 %s, listed %s, item %s", name, reply.status,
                         etag, md5, mine[name][0], thumbnail["M"]["etag"]["S"])
        looks[(state.picture, preset)].add(md5)


# ---- the data directory, while no server runs on it ----

def varints(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def extents(data):
    numbers = list(varints(data))
    return list(zip(numbers[0::3], numbers[1::3], numbers[2::3]))


def directory_check(data, problems, clean):
    """Reads a copy of the database, so that SQLite's own recovery does not touch the original.
    `clean`: after a clean stop, so nothing may be left over either."""
    with contextlib.ExitStack() as stack:
        copy = os.path.abspath("copy.db")
        for suffix in ("", "-wal"):
            if os.path.exists(os.path.join(data, "darkroom.db" + suffix)):
                shutil.copyfile(os.path.join(data, "darkroom.db" + suffix), copy + suffix)
                stack.callback(lambda p=copy + suffix: os.path.exists(p) and os.unlink(p))
        db = sqlite3.connect(copy)
        stack.callback(db.close)
        result = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
        if result != ["ok"]:
            problems.add("database: %s", "; ".join(result))
            return
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'blob'").fetchone():
            return  # the crash came before the first transaction
        references_check(db, problems)
        files_check(db, data, problems, clean)
        if clean:
            leftovers_check(db, problems)


def references_check(db, problems):
    """Counted references are those that exist; extents lie inside their blobs."""
    counted = collections.Counter()
    sizes = dict(db.execute("SELECT id, bytes FROM blob"))
    for (data,) in db.execute("SELECT extents FROM object UNION ALL"
                              " SELECT extents FROM object_version UNION ALL"
                              " SELECT extents FROM part"):
        for blob, offset, n in extents(data):
            counted[blob] += 1
            if blob not in sizes or offset + n > sizes[blob]:
                problems.add("blob %d: an extent at %d of %d bytes is not in it", blob, offset, n)
    for blob, refs in db.execute("SELECT id, refs FROM blob"):
        if refs != counted[blob]:
            problems.add("blob %d: %d references, counted as %d", blob, counted[blob], refs)
    versions_check(db, problems)
    log_check(db, problems)
    top = db.execute("SELECT max(g) FROM (SELECT max(generation) AS g FROM object UNION ALL"
                     " SELECT max(-rank) FROM object_version)").fetchone()[0] or 0
    if db.execute("SELECT value FROM darkroom_counter").fetchone()[0] < top:
        problems.add("generation %d is above the durable counter", top)


def versions_check(db, problems):
    """A key has one newest version and at most one null version (objectstore/version.c); part lists
    are those of the versions."""
    for why, query in (
            ("newest versions", "SELECT key, count(*) AS n FROM"
             " (SELECT bucket_id, key FROM object UNION ALL"
             "  SELECT bucket_id, key FROM object_version WHERE noncurrent_ms = 0)"
             " GROUP BY bucket_id, key HAVING n > 1"),
            ("newer versions than the newest", "SELECT v.key, count(*) FROM object_version v"
             " JOIN object o ON o.bucket_id = v.bucket_id AND o.key = v.key"
             " WHERE -v.rank > o.seq GROUP BY v.bucket_id, v.key"),
            ("newest versions that are no marker", "SELECT key, count(*) FROM object_version"
             " WHERE noncurrent_ms = 0 AND flags & 8 = 0 GROUP BY bucket_id, key"),
            ("null versions", "SELECT key, count(*) AS n FROM"
             " (SELECT bucket_id, key FROM object WHERE flags & 4 UNION ALL"
             "  SELECT bucket_id, key FROM object_version WHERE flags & 4)"
             " GROUP BY bucket_id, key HAVING n > 1"),
            ("part lists without a version", "SELECT 'all', count(*) AS n FROM version_parts"
             " WHERE seq NOT IN (SELECT seq FROM object WHERE part_count > 0 UNION ALL"
             " SELECT -rank FROM object_version WHERE part_count > 0) HAVING n > 0")):
        for key, n in db.execute(query):
            problems.add("%s: %d %s", key, n, why)


def log_check(db, problems):
    """The event log and the objects agree (pipeline/event_log.h): what is current, unless a function
    wrote it, has the row that made it, and the newest row of a key says what is there now."""
    for why, query in (
            ("current without its row in the event log", "SELECT o.key FROM object o LEFT JOIN"
             " event_log e ON e.seq = o.generation AND e.bucket_id = o.bucket_id AND e.key = o.key"
             " AND e.removed = 0 WHERE o.flags & 2 = 0 AND e.seq IS NULL"),
            ("not what the event log tells last", "SELECT e.key FROM (SELECT bucket_id, key, removed,"
             " max(seq) AS seq FROM event_log GROUP BY bucket_id, key) e LEFT JOIN"
             " object o ON o.bucket_id = e.bucket_id AND o.key = e.key"
             " WHERE o.flags & 2 IS NOT 2 AND (e.removed <> (o.key IS NULL) OR o.generation <> e.seq)")):
        for (key,) in db.execute(query):
            problems.add("%s: %s", key, why)


def files_check(db, data, problems, clean):
    rows = dict(db.execute("SELECT id, bytes FROM blob WHERE data IS NULL"))
    files = {}
    for folder, _, names in os.walk(os.path.join(data, "blobs")):
        for name in names:
            files[os.path.join(folder, name)] = os.path.getsize(os.path.join(folder, name))
    for blob, size in rows.items():
        path = os.path.join(data, "blobs", str(blob // FOLDER_IDS), str(blob))
        if files.pop(path, None) != size:
            problems.add("blob %d: its file is missing or not of %d bytes", blob, size)
    if clean and files:
        problems.add("%d files belong to no blob: %s", len(files), sorted(files)[:3])


def leftovers_check(db, problems):
    for table in ("event", "dead_letter", "doomed"):
        n = db.execute("SELECT count(*) FROM " + table).fetchone()[0]
        if n:
            problems.add("%d rows left in %s", n, table)
    stale = db.execute(
        "SELECT count(*) FROM provenance p LEFT JOIN object s ON s.bucket_id = p.source_bucket_id"
        " AND s.key = p.source_key LEFT JOIN object d ON d.bucket_id = p.derived_bucket_id"
        " AND d.key = p.derived_key WHERE s.generation IS NOT p.source_generation"
        " OR d.generation IS NOT p.derived_generation").fetchone()[0]
    if stale:
        problems.add("%d rows of provenance are of other generations", stale)


# ---- running ----

def make(target):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "SAN", "FAULT"))}
    done = subprocess.run(["make", "-C", darkroom.TOP, "--no-print-directory", "CC=gcc", target],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    if done.returncode != 0:
        raise darkroom.Failed("make %s: %s" % (target, done.stdout[-300:]))
    return os.path.join(darkroom.TOP, target)


def planted_program(plant):
    return make("build/gcc/plant-%s/darkroomd" % plant)


def keep_log(s, path="last.log"):
    """Moves it to the end of the logs of the servers before; see last_log()."""
    with open(s.log_path, "rb") as log, open(path, "ab") as kept:
        shutil.copyfileobj(log, kept)
    os.unlink(s.log_path)


def last_log(path="last.log"):
    """For the reader of a failed run."""
    if os.path.exists(path):
        with open(path, errors="replace") as f:
            print("--- the end of the server's log\n%s---" % "".join(f.readlines()[-15:]))


def seed_of():
    """The same each time, unless SEED=random (`make soak-...`) or another number is asked for."""
    seed = os.environ.get("SEED") or "1"
    if seed == "random":
        seed = str(random.SystemRandom().randrange(1 << 32))
    print("seed %s" % seed, flush=True)
    return seed


def set_up():
    """`finally` blocks run when the test's time is over, and an answer is noted when it comes: by
    Python's usual 5 ms between threads, most of those just before a crash would be noted too late
    to count."""
    sys.setswitchinterval(0.0002)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
