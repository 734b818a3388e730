#!/usr/bin/python3
"""A randomised schedule drives the server, and then it must be what a simple model says.

Clients put, overwrite, copy, upload in parts, delete, hide, restore and ask for free sizes, each on
keys of its own, in a plain bucket and in a versioned one; one key is everybody's. Beside them one
director kills the server and workers, changes presets, pauses functions, makes failures final at
once, reprocesses prefixes and redrives dead letters. MODEL_STEPS steps (150) in rounds of
ROUND_STEPS; after each the queue runs dry, and every key is compared:

    current version    item                            derived objects               last notice
    picture            all presets of one list ready   just these, of its colour     ready
    other bytes        all skipped                     none                          skipped
    truncated picture  all failed                      none                          failed
    none, or a marker  none                            none, free sizes neither      deleted

The list of presets is one that was in force since the version came; after a reprocess of everything
(the last round) it is the present one. A picture has one colour and a width like no other lately,
so a thumbnail tells which version it is of. MODEL_SEED repeats the choices of clients and director,
who acts when the clients have done so many steps; the kernel's schedule nobody can repeat.
"""
import collections
import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import signal
import threading

import crashlib
import darkroom
import history
import lives

STEPS = int(os.environ.get("MODEL_STEPS", "150"))
ROUND_STEPS = 50
DIRECTOR_EVERY = 4  # steps of clients
CLIENTS = 4
PLAIN, VERSIONED = "photos", "vault"
KEYS = 3  # of a client in each bucket
OVERTAKE_LOOKS = 60
PLANTS = ("no_fence",)
PLANT_STEPS = 8000  # it takes 80 to 800, by chance
SHARED = (PLAIN, "shared.png")
LARGE = 70000  # above 64 KiB bytes are a file
LEVELS = (0, 51, 102, 153, 204, 255)
COLOURS = len(LEVELS) ** 3
COLOUR_ROOM = 16  # what WebP and JPEG may make of a colour; half of a level's distance is 25
QUIET_SECONDS = 900
REDRIVES_MAX = 5
SELECTIONS = ("all", "stale,missing", "stale,missing,failed")
VERDICTS = ("ready", "skipped", "failed")
VERDICT_OF = {"picture": "ready", "text": "skipped", "poison": "failed"}
EXTENSION = {"jpeg": "jpg", "webp": "webp", "png": "png", "avif": "avif"}


def preset(name, side, *formats):
    return {"name": name, "width": side, "height": side, "fit": "inside", "format": list(formats)}


LISTS = (
    [preset("small", 40, "webp"), preset("big", 80, "webp")],
    [preset("small", 48, "webp"), preset("big", 64, "jpeg")],
    [preset("small", 40, "webp", "avif"), preset("wide", 72, "png")],
    [preset("only", 56, "jpeg")],
)


def wanted_of(presets):
    """{name in the item's state: (side, extension)}"""
    return {p["name"] + ("." + form if i else ""): (p["width"], EXTENSION[form])
            for p in presets for i, form in enumerate(p["format"])}


# ---- the model ----

# etag None: a delete marker. id None: not known yet. Newest first in a key's list.
Version = collections.namedtuple("Version", "id etag size sha256 kind colour")


class Key:
    """One key: its versions, and what had been done to all keys when it changed last."""

    def __init__(self, name):
        self.name = name
        self.versions = []
        self.lists_from = 0   # index into Director.lists
        self.repeats_from = 0  # into Director.repeats
        self.deleted = 0      # how often the current version went without another in its place

    def current(self):
        return self.versions[0] if self.versions and self.versions[0].etag else None


class Contents:
    """What is put: the n-th is like no other."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0
        self.made = {}  # sha256 -> Version without id

    def make(self, rng, kind, big=False):
        with self.lock:
            self.count += 1
            n = self.count
        at = n % COLOURS
        colour = tuple(LEVELS[at // len(LEVELS) ** i % len(LEVELS)] for i in range(3))
        side = 1200 if big or rng.random() < 0.15 else 90  # some keep a worker for a while
        body = darkroom.plain_png(side + n // COLOURS % 60, side, colour) + b"%d" % n
        if kind == "picture" and rng.random() < 0.2:
            body += bytes(LARGE)
        elif kind == "poison":
            body = darkroom.plain_png(100 + n, 90, colour)[:40]
        elif kind == "text":
            body = b"no picture, but text %d\n" % n
        v = Version(None, hashlib.md5(body).hexdigest(), len(body),
                    hashlib.sha256(body).hexdigest(), kind, colour)
        self.made[v.sha256] = v
        return body, v


# ---- clients ----

class Client(threading.Thread):
    def __init__(self, run, index):
        super().__init__(daemon=True)
        self.run_, self.problems, self.index = run, run.problems, index
        self.rng = random.Random("%s %d %d" % (run.seed, run.round, index))
        self.keys = run.keys_of[index]
        self.last = self.keys[0]
        self.client = self.life = None
        self.steps = ((self.put, 30), (self.delete, 10), (self.copy, 6), (self.upload, 6),
                      (self.demand, 20), (self.remove, 12), (self.shared, 8), (self.read, 8),
                      (self.overtake, 8))

    def run(self):
        choices, weights = zip(*self.steps)
        try:
            while self.run_.claim():
                self.rng.choices(choices, weights)[0]()
        except Exception as e:  # a thread that ends in silence would weaken the load
            self.problems.add("client %d: %s: %s", self.index, type(e).__name__, e)
        if self.client is not None:
            self.client.close()

    def call(self, *args, **kwargs):
        """The reply; None when the server was killed under it."""
        life = self.run_.lives.alive()
        if self.client is None or self.life != life:
            if self.client is not None:
                self.client.close()
            self.client, self.life = crashlib.Client(self.run_.server), life
        try:
            return self.client.call(*args, **kwargs)
        except (OSError, http.client.HTTPException) as e:
            self.run_.lives.death_of(life, e)
            return None

    def change(self, key, after, want, method, *args, **kwargs):
        """One request that makes the key's versions `after`."""
        before, was = key.versions, key.current()
        director = self.run_.director
        lists, repeats = len(director.lists) - 1, director.repeats_done
        reply = self.call(method, "/%s/%s" % key.name, *args, **kwargs)
        if reply is None:
            after = self.look(key, before, after)
        elif reply.status != want or b"<Error>" in reply.body:
            self.problems.add("%s %s was answered %d %s", method, key.name, reply.status,
                              reply.body[:200])
            return
        elif after and after[0].id is None:
            version = reply.headers.get("x-amz-version-id", "null")
            after = [after[0]._replace(id=version)] + after[1:]
        key.versions = after
        if [v.id for v in before] == [v.id for v in after] and \
                [v.etag for v in before] == [v.etag for v in after]:
            return
        if was is None or key.current() is None or was != key.current():
            key.lists_from, key.repeats_from = lists, repeats
        key.deleted += was is not None and key.current() is None

    def look(self, key, *possible):
        """Which of them became true, when the one who could have told is dead."""
        self.run_.lives.alive()
        with contextlib.closing(crashlib.Client(self.run_.server)) as c:
            found = history.listed(c, key.name[0]).get(key.name[1], [])
        for versions in possible:
            if history.fits(versions, found):
                return [v._replace(id=f[0]) for v, f in zip(versions, found)]
        self.problems.add("%s: versions %s, wanted one of %s", key.name, found, possible)
        return list(possible[0])

    def with_new(self, key, v):
        return [v] + (key.versions if key.name[0] == VERSIONED else [])

    def kind(self):
        return self.rng.choices(("picture", "text", "poison"), (70, 16, 14))[0]

    # -- steps --

    def put(self):
        """Often over what was put just now, whose invocation runs."""
        key = self.last if self.rng.random() < 0.4 else self.rng.choice(self.keys)
        self.last = key
        body, v = self.run_.contents.make(self.rng, self.kind())
        self.change(key, self.with_new(key, v), 200, "PUT", body=body)

    def delete(self):
        key = self.last if self.rng.random() < 0.4 else self.rng.choice(self.keys)
        marker = Version(None, None, 0, None, "marker", None)
        after = [marker] + key.versions if key.name[0] == VERSIONED else []
        self.change(key, after, 204, "DELETE")

    def remove(self):
        """The newest version: what it covered comes back, were it a marker or a picture."""
        key = self.rng.choice([k for k in self.keys if k.name[0] == VERSIONED])
        if key.versions:
            at = 0 if self.rng.random() < 0.8 else self.rng.randrange(len(key.versions))
            self.change(key, key.versions[:at] + key.versions[at + 1:], 204, "DELETE",
                        {"versionId": key.versions[at].id})

    def copy(self):
        source, key = self.rng.choice(self.keys), self.rng.choice(self.keys)
        if source.current() is None or source is key:
            return
        self.change(key, self.with_new(key, source.current()._replace(id=None)), 200, "PUT",
                    headers={"x-amz-copy-source": "/%s/%s" % source.name})

    def upload(self):
        key = self.rng.choice(self.keys)
        path = "/%s/%s" % key.name
        body, v = self.run_.contents.make(self.rng, self.kind())
        reply = self.call("POST", path, {"uploads": ""})
        if reply is None:
            return
        upload = re.search(rb"<UploadId>([^<]+)<", reply.body).group(1).decode()
        reply = self.call("PUT", path, {"partNumber": 1, "uploadId": upload}, body)
        if reply is None:
            return
        darkroom.equal(reply.status, 200, "UploadPart")
        etag = hashlib.md5(bytes.fromhex(v.etag)).hexdigest() + "-1"
        self.change(key, self.with_new(key, v._replace(etag=etag)), 200, "POST",
                    {"uploadId": upload}, crashlib.completion([v.etag]))

    def demand(self):
        """A free size is of the version that is current, whatever came before."""
        key = self.rng.choice(self.keys)
        order = {"bucket": key.name[0], "key": key.name[1], "expires_s": 600,
                 "params": {"w": str(self.rng.randrange(20, 40)), "fit": "inside"}}
        reply = self.call("POST", "/_/sign-url", body=json.dumps(order).encode())
        if reply is None:
            return
        path, _, query = reply.json()["url"].partition("?")
        reply = self.call("GET", path, dict(pair.split("=") for pair in query.split("&")))
        v = key.current()
        if reply is None or reply.status in (500, 503, 504):
            return  # dead, or paused for too long, or its worker was killed
        if reply.status == 404 and (v is None or v.kind != "picture"):
            return
        if reply.status != 200 or v is None or v.kind != "picture":
            self.problems.add("%s: a free size of %s is answered %d %s", key.name, v, reply.status,
                              reply.body[:200])
        else:
            colour_check(self.problems, "free size of %s/%s" % key.name, reply.body, v)

    def shared(self):
        body, _ = self.run_.contents.make(self.rng, self.kind())
        if self.rng.random() < 0.75:
            self.call("PUT", "/%s/%s" % SHARED, body=body)
        else:
            self.call("DELETE", "/%s/%s" % SHARED)

    def overtake(self):
        """A picture is overwritten while its invocation runs: whatever is served meanwhile is of the
        version that it names. (Only where versions have names.)"""
        key = self.rng.choice([k for k in self.keys if k.name[0] == VERSIONED])
        for looks in (self.rng.randrange(12), OVERTAKE_LOOKS):
            body, v = self.run_.contents.make(self.rng, "picture", big=True)
            self.change(key, self.with_new(key, v), 200, "PUT", body=body)
            for _ in range(looks):
                if not key.versions or self.thumbnail(key) == key.versions[0].id:
                    break

    def thumbnail(self, key):
        """The version that the served one names."""
        reply = self.call("GET", "/%s-derived/%s/small.webp" % key.name)
        if reply is None or reply.status != 200:
            return None
        named = reply.headers.get("x-amz-meta-source-version")
        for v in key.versions:
            if v.id == named:
                colour_check(self.problems, "thumbnail of %s, version %s" % (key.name, named),
                             reply.body, v)
        return named

    def read(self):
        """What was written is read at once."""
        key = self.rng.choice(self.keys)
        reply, v = self.call("GET", "/%s/%s" % key.name), key.current()
        if reply is None:
            return
        found = hashlib.sha256(reply.body).hexdigest() if reply.status == 200 else reply.status
        if found != (v.sha256 if v else 404):
            self.problems.add("%s: GET shows %s, wanted %s", key.name, found, v)


# ---- the director ----

class Director:
    """What happens to all keys at once. The only one who kills and configures; in the main thread,
    for a server dies with the thread that started it (PR_SET_PDEATHSIG)."""

    def __init__(self, run):
        self.run_, self.server, self.problems = run, run.server, run.problems
        self.lists = []   # of presets, as they were in force
        self.repeats = []  # asked for, each may repeat a verdict: (bucket, prefix)
        self.repeats_done = 0  # so many of them are over for certain
        self.done = collections.Counter()
        self.acts = ((self.kill_server, 3), (self.kill_worker, 6), (self.presets, 4),
                     (self.pause, 4), (self.unpause, 4), (self.impatient, 3),
                     (self.reprocess, 4), (self.redrive, 3))

    def play(self):
        """One round."""
        self.rng = random.Random("%s %d director" % (self.run_.seed, self.run_.round))
        choices, weights = zip(*self.acts)
        while self.run_.await_steps(DIRECTOR_EVERY):
            act = self.rng.choices(choices, weights)[0]
            act()
            self.done[act.__name__] += 1

    def must(self, *args, **kwargs):
        with contextlib.closing(crashlib.Client(self.server)) as c:
            return c.must(*args, **kwargs).json()

    def function(self, name, **patch):
        self.must("PUT", "/_/functions", {"name": name}, json.dumps(patch).encode())

    def kill_server(self):
        self.run_.lives.kill()

    def kill_worker(self):
        """One that is at work, if there is one."""
        workers = [w for w in self.server.workers() if w["pid"] > 0]
        if workers:
            workers.sort(key=lambda w: w["state"] != "busy")
            with contextlib.suppress(ProcessLookupError):  # it has just been replaced
                os.kill(workers[0]["pid"], signal.SIGKILL)

    def presets(self, presets=None):
        presets = presets or self.rng.choice(LISTS)
        self.lists.append(presets)  # from now on it may be in force
        self.function("thumbnail", environment={"PRESETS": json.dumps(presets)})

    def pause(self):
        self.function(self.rng.choice(("thumbnail", "metadata")), reserved_concurrency=0)

    def unpause(self):
        self.function("thumbnail", reserved_concurrency=-1)
        self.function("metadata", reserved_concurrency=-1)

    def impatient(self):
        """No retries: a killed worker is a dead letter."""
        self.function("thumbnail", maximum_retry_attempts=self.rng.choice((0, 0, 1)))

    def reprocess(self, function=None, prefixes=None):
        function = function or self.rng.choice(("thumbnail", "thumbnail", "metadata"))
        for bucket in (PLAIN, VERSIONED):
            for prefix in prefixes or ["client-%d/" % self.rng.randrange(CLIENTS)]:
                if function == "thumbnail":
                    self.repeats.append((bucket, prefix))
                select = "all" if prefixes else self.rng.choice(SELECTIONS)
                self.must("POST", "/_/reprocess", body=json.dumps({
                    "bucket": bucket, "prefix": prefix, "function": function,
                    "select": select}).encode())

    def redrive(self):
        count = self.must("POST", "/_/dlq", {"action": "redrive"})["count"]
        if count:
            self.repeats += [(PLAIN, ""), (VERSIONED, "")]
        return count

    def patient(self):
        self.unpause()
        self.function("thumbnail", maximum_retry_attempts=2)

    def quiet(self):
        """Nothing waits, runs, or lies dead: with nobody killing workers a redrive helps."""
        self.patient()
        for _ in range(REDRIVES_MAX):
            self.server.idle(QUIET_SECONDS)
            if self.redrive() == 0:
                self.repeats_done = len(self.repeats)
                return
        raise darkroom.Failed("dead letters after %d redrives" % REDRIVES_MAX)


# ---- comparing ----

def colour_check(problems, what, body, v):
    image = darkroom.picture(body).convert("RGB")
    seen = image.getpixel((image.width // 2, image.height // 2))
    if any(abs(a - b) > COLOUR_ROOM for a, b in zip(seen, v.colour)):
        problems.add("%s is %s, its source %s", what, seen, v.colour)
    return max(image.size)


def plain(item, name):
    """A map of strings of the item."""
    return {k: v.get("S") for k, v in item.get(name, {}).get("M", {}).items()}


class Comparison:
    """Everything of one bucket, read while nothing happens."""

    def __init__(self, run, c, bucket, exact):
        self.run, self.problems, self.c, self.bucket = run, run.problems, c, bucket
        self.exact = exact  # everything was reprocessed
        self.derived_bucket = bucket + "-derived"
        self.found, self.items = history.listed(c, bucket), c.items(bucket)
        self.derived = collections.defaultdict(list)
        for key in c.list(self.derived_bucket):
            self.derived[crashlib.source_of(key)].append(key)
        self.sources = {k for k, versions in self.found.items() if versions[0][1]}

    def bad(self, key, text, *args):
        self.problems.add("%s/%s: " + text, self.bucket, key.name[1], *args)

    def everything(self):
        for name in self.items.keys() - self.sources:
            self.problems.add("%s/%s: has an item, but is gone", self.bucket, name)
        for name in self.derived.keys() - self.sources:
            self.problems.add("%s/%s: is gone, but has %s", self.bucket, name, self.derived[name])
        for key in self.run.keys:
            if key.name[0] == self.bucket:
                self.key(key)

    def key(self, key):
        if key.name == SHARED:
            self.adopt(key)
        elif not history.fits(key.versions, self.found.get(key.name[1], [])):
            self.bad(key, "versions %s, wanted %s", self.found.get(key.name[1]), key.versions)
            return
        v, item = key.current(), self.items.get(key.name[1])
        if v is None:
            return
        if item is None:
            self.bad(key, "no item")
            return
        self.item(key, v, item)
        self.derived_objects(key, v, item)

    def adopt(self, key):
        """The shared key is what it is; whatever it is, the rest must follow."""
        reply = self.c.call("GET", "/%s/%s" % key.name)
        v = self.run.contents.made.get(hashlib.sha256(reply.body).hexdigest())
        key.versions = [v] if reply.status == 200 else []
        if key.versions and v is None:
            self.bad(key, "bytes that nobody put")
            key.versions = []

    def item(self, key, v, item):
        state, verdict = plain(item, "state"), VERDICT_OF[v.kind]
        told = set(s.partition(":")[0] for s in state.values())
        facts = item.get("metadata_state", {}).get("S", "").partition(":")[0]
        if told != {verdict} or facts != verdict:
            self.bad(key, "a %s whose state is %s, metadata %s", v.kind, state, facts)
        if item.get("ready", {}).get("BOOL") != (verdict == "ready"):
            self.bad(key, "ready is %s", item.get("ready"))
        of = tuple(item.get(name, {}).get("S") for name in ("etag", "sha256"))
        if of != (v.etag, v.sha256):
            self.bad(key, "the item is of %s, wanted %s", of, v)

    def lists(self, key):
        lists = self.run.director.lists
        return lists[-1:] if self.exact else lists[0 if key.name == SHARED else key.lists_from:]

    def derived_objects(self, key, v, item):
        mine = self.derived.get(key.name[1], [])
        state, thumbnails = plain(item, "state"), item.get("thumbnails", {}).get("M", {}).values()
        wanted = [w for w in map(wanted_of, self.lists(key)) if w.keys() == state.keys()]
        sizes = {}
        for name in mine:
            if v.kind != "picture":
                self.bad(key, "a %s that has %s", v.kind, name)
                continue
            reply = self.c.must("GET", "/%s/%s" % (self.derived_bucket, name))
            if name.endswith(".avif"):  # Debian's PIL reads none
                sizes[name] = max([int(t["M"][d]["N"]) for t in thumbnails
                                   for d in ("width", "height") if t["M"]["key"]["S"] == name] or
                                  [0])
            else:
                sizes[name] = colour_check(self.problems, name, reply.body, v)
            of = reply.headers.get("x-amz-meta-source-version")
            if v.id is not None and of != v.id:
                self.bad(key, "%s says it is of version %s, not %s", name, of, v.id)
        if {t["M"]["key"]["S"] for t in thumbnails} - sizes.keys() and v.kind == "picture":
            self.bad(key, "the item names %s, there are %s", thumbnails, mine)
        presets = {n: side for n, side in sizes.items() if not n.rpartition("/")[2].startswith("_")}
        # Primary formats have the preset's name, secondary ones that and their own.
        if not any(presets == {"%s/%s.%s" % (key.name[1], name.partition(".")[0], ext): side
                               for name, (side, ext) in w.items()} for w in wanted) \
                and v.kind == "picture":
            self.bad(key, "state %s and %s, wanted one of %s", state, presets, wanted)


class Notices:
    """The event stream from its beginning, read on at each comparison."""

    def __init__(self, run):
        self.run, self.problems = run, run.problems
        self.last = 0
        self.by_key = collections.defaultdict(list)

    def stream(self, c, query):
        headers = c.headers("GET", "/_/events", query, hashlib.sha256(b"").hexdigest(), "s3", {})
        c.connection.request("GET", "/_/events" + ("?" + query if query else ""), headers=headers)
        reply = c.connection.getresponse()
        darkroom.equal(reply.status, 200, "status of /_/events")
        fields = {}
        for line in reply:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            else:
                yield fields
                fields = {}

    def one(self, query):
        c = crashlib.Client(self.run.server)
        return contextlib.closing(c), self.stream(c, query)

    def newest(self):
        closing, stream = self.one("")
        with closing:
            return int(next(stream)["id"])

    def read(self):
        until = self.newest()
        if until <= self.last:
            return
        closing, stream = self.one("last_event_id=%d" % self.last)
        with closing:
            for fields in stream:
                if "data" not in fields:
                    continue
                data = json.loads(fields["data"])
                if int(fields["id"]) != self.last + 1:
                    self.problems.add("notice %s comes after %d", fields["id"], self.last)
                self.last = int(fields["id"])
                self.by_key[data["bucket"], data["key"]].append(
                    (fields["event"], int(data["sequencer"], 16)))
                if self.last >= until:
                    return

    def check(self):
        self.read()
        for key in self.run.keys:
            told = self.by_key.get(key.name, [])
            order = [sequencer for _, sequencer in told]
            if order != sorted(order):
                self.problems.add("%s: notices of old generations after newer ones: %s", key.name,
                                  told)
            if told:
                self.key(key, told)
            elif key.current():
                self.problems.add("%s: no notice at all", key.name)

    def key(self, key, told):
        v, deleted = key.current(), sum(kind == "deleted" for kind, _ in told)
        if key.name != SHARED and deleted != key.deleted:
            self.problems.add("%s: %d notices of deletion, wanted %d", key.name, deleted,
                              key.deleted)
        if v is None:
            if told[-1][0] != "deleted":
                self.problems.add("%s: is gone, but the last notice is %s", key.name, told[-1])
            return
        verdicts = [kind for kind, sequencer in told
                    if sequencer == told[-1][1] and kind in VERDICTS]
        asked = self.run.director.repeats[0 if key.name == SHARED else key.repeats_from:]
        repeats = sum(b == key.name[0] and key.name[1].startswith(p) for b, p in asked)
        lists = self.run.director.lists[0 if key.name == SHARED else key.lists_from:]
        repeats += any(len(p["format"]) > 1 for presets in lists for p in presets) and \
            len(lists) - 1  # when a follow-up waited, all is made anew
        if not 1 <= len(verdicts) <= 1 + repeats or verdicts[-1] != VERDICT_OF[v.kind]:
            self.problems.add("%s: a %s with the notices %s of its generation, %d repeats allowed",
                              key.name, v.kind, verdicts, repeats)


# ---- running ----

class Run:
    def __init__(self, seed, steps, data="data", program=None):
        self.seed, self.step_count, self.round = seed, steps, 0
        self.server = crashlib.Server(data, program)
        self.server.settings.update(queue={"retry_base_ms": 20}, image={"demand_wait_ms": 1500})
        self.server.checkpoint_bytes(1 << 20)
        self.lives = lives.Lives(self.server)
        self.problems, self.contents = crashlib.Problems(), Contents()
        self.keys_of = [[Key((bucket, "client-%d/%d.png" % (i, k)))
                         for bucket in (PLAIN, VERSIONED) for k in range(KEYS)]
                        for i in range(CLIENTS)]
        self.keys = [k for keys in self.keys_of for k in keys] + [Key(SHARED)]
        self.director, self.notices = Director(self), Notices(self)
        self.turn = threading.Condition()
        self.claimed = self.limit = 0

    def claim(self):
        with self.turn:
            self.claimed += self.claimed < self.limit
            self.turn.notify_all()
            if self.problems.list or self.claimed == self.limit:
                self.limit = 0
            return self.limit > 0

    def await_steps(self, n):
        """Waits for so many more; False when the round is over."""
        with self.turn:
            at = self.claimed + n
            self.turn.wait_for(lambda: self.claimed >= at or self.limit == 0)
            return self.limit > 0

    def prepare(self):
        self.lives.start()
        with contextlib.closing(crashlib.Client(self.server)) as c:
            c.must("POST", "/_/buckets", body=b'{"bucket":"%s"}' % VERSIONED.encode())
            c.must("PUT", "/" + VERSIONED, {"versioning": ""},
                   b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        self.director.presets(LISTS[0])

    def steps(self):
        while self.claimed < self.step_count:
            self.round += 1
            self.limit = min(self.claimed + ROUND_STEPS, self.step_count)
            clients = [Client(self, i) for i in range(CLIENTS)]
            for c in clients:
                c.start()
            self.director.play()
            for c in clients:
                c.join()
            self.problems.check()
            self.compare()

    def compare(self, exact=False):
        self.director.quiet()
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for bucket in (PLAIN, VERSIONED):
                Comparison(self, c, bucket, exact).everything()
        self.notices.check()
        darkroom.equal(self.server.metric("lost_events_total"), 0, "lost_events_total")
        self.problems.check()

    def reprocessed(self):
        """Everything made anew is of the present presets."""
        self.director.reprocess("thumbnail", [""])
        self.compare(exact=True)

    def sound(self):
        darkroom.equal(self.server.stop(), 0, "exit code")
        crashlib.directory_check(self.server.data, self.problems, clean=True)
        self.problems.check()


def catches(seed, plant):
    """The run is void unless the model catches a server with the planted bug (base/plant.h)."""
    run = Run(seed, PLANT_STEPS, "planted", crashlib.planted_program(plant))
    try:
        run.prepare()
        run.steps()
    except darkroom.Failed as e:
        if re.search(r"not within|client \d+: ", str(e)):
            raise  # a time that ran out, or a client's own mistake, does not show the bug
        print("%s: caught in %d steps: %s" % (plant, run.claimed, str(e)[:160]))
        return
    finally:
        run.server.kill()
    raise darkroom.Failed("not caught in %d steps: the run is void" % PLANT_STEPS)


def main():
    crashlib.set_up()
    os.environ.setdefault("SEED", os.environ.get("MODEL_SEED", ""))
    seed = crashlib.seed_of()
    for plant in PLANTS:
        darkroom.report("catches the planted bug " + plant, lambda: catches(seed, plant))
    run = Run(seed, STEPS)
    good = False
    try:
        run.prepare()
        good = darkroom.report("the model agrees after %d steps" % STEPS, run.steps) and \
            darkroom.report("a reprocess of everything makes the present presets",
                            run.reprocessed) and \
            darkroom.report("the database is sound, nothing is left over", run.sound)
        print("%d rounds, %d contents, %d notices; director: %s" % (
            run.round, run.contents.count, run.notices.last,
            ", ".join("%s %d" % d for d in sorted(run.director.done.items()))))
    finally:
        run.server.kill()
        if not good:
            print("--- the end of the server's log\n%s\n---" % run.server.log_tail(15))


main()
