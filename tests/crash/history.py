"""The load and the model of versions: puts, deletions with and without a version id, restoring by
deleting the marker, uploads, tags, legal holds and lifecycle rules, in a bucket with object lock and
in one whose versioning is switched at every start.

A key has one writer, so all but the last of its changes were answered. Its model is what was
acknowledged, `sure`, and what the change without an answer would make of it, `maybe`; a key with
one of these is left alone until the survey. What is found must be one of the two, whole: version
ids, order, markers, ETags, bytes, number of tags, legal hold.

What the lifecycle rules are about (brief/...) may go at any time, held versions excepted.
"""
import collections
import contextlib
import hashlib
import re
import threading
import time
import xml.etree.ElementTree

import crashlib
import darkroom

LOCKED, SWITCHED = "history", "switched"
KEYS, VERSIONS_MAX = 5, 8
LARGE = 150 << 10
LIFECYCLE = {"day_s": 1, "interval_s": 1}
RULES = b"""<LifecycleConfiguration><Rule><ID>brief</ID><Status>Enabled</Status>
<Filter><Prefix>brief/</Prefix></Filter><Expiration><Days>1</Days></Expiration>
<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>
<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>
</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>"""

# id None: it was never told. A marker has no ETag.
Version = collections.namedtuple("Version", "id etag md5 size tags held")


def is_marker(v):
    return v.etag is None


class Key:
    """`versions`: newest first. `maybe` None: nothing is in doubt."""

    def __init__(self):
        self.sure, self.maybe = [], None


class History:
    """Of all keys, over all cycles. Filled by the workers, each its own keys."""

    def __init__(self):
        self.lock = threading.Lock()
        self.keys = collections.defaultdict(Key)
        self.brief = collections.defaultdict(list)  # key -> [Version, acknowledged?]
        self.touched = set()
        self.enabled = True  # SWITCHED
        self.changes = 0

    def key(self, name):
        with self.lock:
            self.touched.add(name)
            return self.keys[name]


def with_new(versions, new, enabled):
    """A put or a marker on top; without versioning enabled it is the null version."""
    if enabled:
        return [new] + versions
    return [new._replace(id="null")] + [v for v in versions if v.id != "null"]


class VersionWorker(crashlib.Worker):
    """Changes its own keys, one change at a time."""

    def step(self):
        rng, history = self.rng, self.load.history
        if rng.random() < 0.08:
            self.brief()
            return
        bucket = LOCKED if rng.random() < 0.6 else SWITCHED
        enabled = bucket == LOCKED or history.enabled
        name = (bucket, "%d/%d" % (self.index, rng.randrange(KEYS)))
        key = history.key(name)
        if key.maybe is not None:
            self.load.ending.wait(0.001)
            return
        dice = rng.random()
        if not key.sure or dice < (0.45 if len(key.sure) < VERSIONS_MAX else 0.05):
            self.put(name, key, enabled)
        elif dice < 0.55:
            marker = Version(None, None, None, 0, 0, False)
            self.change(name, key, with_new(key.sure, marker, enabled), 204, "DELETE")
        elif dice < 0.85:
            self.remove(name, key)
        else:
            self.describe(name, key)

    def change(self, name, key, maybe, want, *args, **kwargs):
        """One change: in doubt until it was answered. `maybe` learns its newest version's id."""
        key.maybe, start = maybe, time.monotonic_ns()
        reply = self.client.call(args[0], "/%s/%s" % name, *args[1:], **kwargs)
        if reply.status != want or (b"<Error>" in reply.body and want < 400):
            self.problems.add("%s /%s/%s was answered %d %s", args[0], *name, reply.status,
                              reply.body[:200])
            return
        if maybe and maybe[0].id is None:
            maybe[0] = maybe[0]._replace(id=reply.headers["x-amz-version-id"])
        with self.ledger.lock:
            if self.ledger.doubt is None or start > self.ledger.doubt:
                key.sure, key.maybe = maybe, None
                self.load.history.changes += 1

    def put(self, name, key, enabled):
        rng = self.rng
        large = rng.random() < 0.15
        body = self.bodies.plain(rng, LARGE if large else rng.randrange(300, 5000))
        state, tags, held = crashlib.state_of(body), rng.randrange(3), False
        headers = {"x-amz-tagging": "&".join("t%d=v" % i for i in range(tags))} if tags else {}
        if name[0] == LOCKED and rng.random() < 0.1:
            held = True
            headers["x-amz-object-lock-legal-hold"] = "ON"
        if rng.random() < 0.2:
            self.upload(name, key, enabled, body, headers, tags, held)
            return
        new = Version(None, state.etag, state.md5, state.size, tags, held)
        if headers.get("x-amz-object-lock-legal-hold"):
            headers["content-md5"] = darkroom.md5_base64(body)
        self.change(name, key, with_new(key.sure, new, enabled), 200, "PUT", body=body,
                    headers=headers)

    def upload(self, name, key, enabled, body, headers, tags, held):
        path = "/%s/%s" % name
        reply = self.client.call("POST", path, {"uploads": ""}, headers=headers)
        upload = re.search(rb"<UploadId>([^<]+)<", reply.body)
        if reply.status != 200 or not upload:
            self.problems.add("CreateMultipartUpload was answered %d", reply.status)
            return
        upload = upload.group(1).decode()
        part = self.client.call("PUT", path, {"partNumber": 1, "uploadId": upload}, body,
                                {"content-md5": darkroom.md5_base64(body)})
        if part.status != 200:
            self.problems.add("UploadPart was answered %d %s", part.status, part.body[:200])
            return
        md5 = hashlib.md5(body)
        etag = hashlib.md5(md5.digest()).hexdigest() + "-1"
        new = Version(None, etag, md5.hexdigest(), len(body), tags, held)
        self.change(name, key, with_new(key.sure, new, enabled), 200, "POST",
                    {"uploadId": upload}, crashlib.completion([md5.hexdigest()]))

    def remove(self, name, key):
        """As a rule the newest: an older one, or what the marker covered, is current again."""
        v = key.sure[0] if self.rng.random() < 0.5 else self.rng.choice(key.sure)
        rest = list(key.sure) if v.held else [o for o in key.sure if o is not v]
        self.change(name, key, rest, 403 if v.held else 204, "DELETE", {"versionId": v.id})

    def describe(self, name, key):
        """Tags or a legal hold of one version."""
        at = self.rng.randrange(len(key.sure))
        v, maybe = key.sure[at], list(key.sure)
        if is_marker(v):
            return
        if name[0] == LOCKED and self.rng.random() < 0.6:
            maybe[at] = v._replace(held=not v.held)
            what, body = "legal-hold", b"<LegalHold><Status>%s</Status></LegalHold>" % (
                b"OFF" if v.held else b"ON")
        else:
            maybe[at] = v._replace(tags=self.rng.randrange(4))
            what, body = "tagging", b"<Tagging><TagSet>%s</TagSet></Tagging>" % b"".join(
                b"<Tag><Key>t%d</Key><Value>v</Value></Tag>" % i for i in range(maybe[at].tags))
        self.change(name, key, maybe, 200, "PUT", {what: "", "versionId": v.id}, body,
                    {"content-md5": darkroom.md5_base64(body)})

    def brief(self):
        """Something for the lifecycle rules; held, it must outlive them."""
        body = self.bodies.plain(self.rng, self.rng.randrange(300, LARGE))
        name, held = "brief/%d/%d" % (self.index, self.rng.randrange(KEYS)), self.rng.random() < 0.1
        state, start = crashlib.state_of(body), time.monotonic_ns()
        new = Version(None, state.etag, state.md5, state.size, 0, held)
        headers = {"content-md5": darkroom.md5_base64(body)}
        if held:
            headers["x-amz-object-lock-legal-hold"] = "ON"
        record = [new, False]
        self.load.history.brief[name].append(record)
        reply = self.client.call("PUT", "/%s/%s" % (LOCKED, name), None, body, headers)
        if reply.status != 200:
            self.problems.add("PUT %s was answered %d %s", name, reply.status, reply.body[:200])
            return
        record[0] = new._replace(id=reply.headers["x-amz-version-id"])
        with self.ledger.lock:
            record[1] = self.ledger.doubt is None or start > self.ledger.doubt


# ---- comparing ----

def switch(c, history):
    """SWITCHED is suspended, or enabled again."""
    history.enabled = not history.enabled
    c.must("PUT", "/" + SWITCHED, {"versioning": ""},
           b"<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>" % (
               b"Enabled" if history.enabled else b"Suspended"))


def prepare(server):
    with contextlib.closing(crashlib.Client(server)) as c:
        buckets_make(c)


def buckets_make(c):
    for bucket, headers in ((LOCKED, {"x-amz-bucket-object-lock-enabled": "true"}),
                            (SWITCHED, {})):
        reply = c.call("PUT", "/" + bucket, headers=headers)
        darkroom.true(reply.status in (200, 409), "CreateBucket was answered %d" % reply.status)
    c.must("PUT", "/" + SWITCHED, {"versioning": ""},
           b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    c.must("PUT", "/" + LOCKED, {"lifecycle": ""}, RULES,
           headers={"content-md5": darkroom.md5_base64(RULES)})


def listed(c, bucket):
    """{key: [(id, etag or None, size, is latest)]}, newest first."""
    found, place = collections.defaultdict(list), {}
    while True:
        root = xml.etree.ElementTree.fromstring(
            c.must("GET", "/" + bucket, dict(place, versions="")).body)
        space = root.tag[:root.tag.index("}") + 1]
        for e in root:
            if e.tag in (space + "Version", space + "DeleteMarker"):
                etag = e.findtext(space + "ETag")
                found[e.findtext(space + "Key")].append((
                    e.findtext(space + "VersionId"), etag and etag.strip('"'),
                    int(e.findtext(space + "Size") or 0),
                    e.findtext(space + "IsLatest") == "true"))
        if root.findtext(space + "IsTruncated") != "true":
            return found
        place = {"key-marker": root.findtext(space + "NextKeyMarker"),
                 "version-id-marker": root.findtext(space + "NextVersionIdMarker")}


def fits(model, found):
    return model is not None and len(model) == len(found) and all(
        v.id in (None, f[0]) and (v.etag, v.size) == f[1:3] for v, f in zip(model, found))


def read(c, problems, name, v):
    """The version as it is read, which must be what was listed; tags and hold are told."""
    path = "/%s/%s" % name
    r = c.call("GET", path, {"versionId": v.id})
    md5 = hashlib.md5(r.body).hexdigest()
    if r.status != 200 or (r.headers.get("etag", "").strip('"'), md5) != (v.etag, v.md5):
        problems.add("%s version %s: status %d, MD5 %s, wanted %s", path, v.id, r.status, md5, v)
    return v._replace(tags=int(r.headers.get("x-amz-tagging-count", "0")),
                      held=r.headers.get("x-amz-object-lock-legal-hold") == "ON")


def compare(c, problems, name, key, found):
    """Which of the two it is; then that is sure."""
    path, models = "/%s/%s" % name, [m for m in (key.sure, key.maybe) if fits(m, found)]
    if not models:
        problems.add("%s: versions %s; sure are %s, or %s", path, found, key.sure, key.maybe)
        return
    seen = [v._replace(id=f[0]) for v, f in zip(models[-1], found)]
    seen = [v if is_marker(v) else read(c, problems, name, v) for v in seen]
    if not any([v._replace(id=f.id) for v, f in zip(m, seen)] == seen for m in models):
        problems.add("%s: tags or holds are of %s, wanted one of %s", path, seen, models)
    latest = [f[0] for f in found if f[3]]
    if latest != [f[0] for f in found[:1]]:
        problems.add("%s: latest is %s of %s", path, latest, found)
    current = c.call("GET", path)
    if not found or found[0][1] is None:
        if current.status != 404:
            problems.add("%s: has no current version, GET is answered %d", path, current.status)
    elif current.headers.get("x-amz-version-id") != found[0][0]:
        problems.add("%s: current is %s, newest is %s", path,
                     current.headers.get("x-amz-version-id"), found[0][0])
    key.sure, key.maybe = seen, None


def brief_check(history, problems, found):
    """Nothing nobody put; nothing that is held and gone. What was in doubt and is not there now
    will not come."""
    for name, records in history.brief.items():
        ids = {f[0]: f for f in found.get(name, [])}
        for f in ids.values():
            if f[1] and not any(v.id in (None, f[0]) and (v.etag, v.size) == f[1:3]
                                for v, _ in records):
                problems.add("%s: version %s, but nobody put it", name, f)
        for v, sure in records:
            if v.held and sure and v.id not in ids:
                problems.add("%s: held version %s is gone", name, v)


def survey(server, history, problems):
    with contextlib.closing(crashlib.Client(server)) as c:
        everything_compare(c, history, problems)
        switch(c, history)


def everything_compare(c, history, problems):
    found = {bucket: listed(c, bucket) for bucket in (LOCKED, SWITCHED)}
    for bucket, keys in found.items():
        for key in keys:
            if not key.startswith("brief/") and (bucket, key) not in history.keys:
                problems.add("%s/%s: is listed, but nobody put it", bucket, key)
    for name, key in history.keys.items():
        mine = found[name[0]].get(name[1], [])
        if name in history.touched:
            compare(c, problems, name, key, mine)
        elif not fits(key.sure, mine):
            problems.add("/%s/%s: versions %s, wanted %s", *name, mine, key.sure)
    brief_check(history, problems, found[LOCKED])
    history.touched.clear()
