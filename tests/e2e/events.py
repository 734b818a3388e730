#!/usr/bin/python3
"""GET /_/events: Server-Sent Events of what became of objects, resumable."""
import concurrent.futures
import http.client
import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, contains

STREAMS_MAX = 256
ACCOUNT_STREAMS_MAX = 64
GRACE_MS = 60000  # what a stop waits for a stream that does not end
THEM = {"id": "333333333333", "display_name": "them", "email": "them@example.org",
        "access_key_id": "THEIRKEY", "secret_access_key": "their-secret"}
OTHER = (THEM["access_key_id"], THEM["secret_access_key"])
RULE = {"LambdaFunctionConfigurations": [{
    "LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:thumbnail",
    "Events": ["s3:ObjectCreated:*"]}]}
BAD = darkroom.sample("parrots.png")[:40]


class Stream:
    """One open stream, read as a browser's EventSource would (WHATWG HTML, 9.2.6)."""

    def __init__(self, s, target="/_/events", headers=None, signed=True, seconds=darkroom.ANSWER_SECONDS):
        self.c = s.connection(seconds)
        all_headers = s.signed_headers("GET", target, headers=headers) if signed else headers or {}
        self.c.request("GET", target, headers=all_headers)
        self.r = self.c.getresponse()
        self.status = self.r.status
        self.last_id = None
        self.blocks = 0

    def block(self):
        """The fields up to the next empty line; None at the end."""
        fields = {}
        while True:
            line = self.r.readline().decode()
            if not line:
                return None
            line = line.rstrip("\n")
            if not line:
                self.blocks += 1
                return fields
            name, _, value = line.partition(":")
            if name:
                fields[name] = value[1:] if value.startswith(" ") else value

    def next(self):
        """(event, key, data), passing over what has no data; None at the end."""
        while True:
            fields = self.block()
            if fields is None:
                return None
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                data = json.loads(fields["data"])
                if fields["event"] != "reset":
                    equal(data["id"], self.last_id, "id in the data")
                    equal(data["type"], fields["event"], "type in the data")
                return fields["event"], data.get("key"), data

    def up_to(self, last):
        """The data of what comes until the stream says that it has passed that id."""
        got = []
        while int(self.last_id or 0) < last:
            fields = self.block()
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                got.append(json.loads(fields["data"]))
        return got

    def expect(self, *wanted):
        for want in wanted:
            got = self.next()
            equal(got and got[:2], want, "next event")
        return got[2]

    def close(self):
        self.c.sock and self.c.sock.close()
        self.r.close()
        self.c.close()


def opened(s, *args, **kwargs):
    """A stream that is there already: its first block has come."""
    stream = Stream(s, *args, **kwargs)
    equal(stream.status, 200, "status of the stream")
    stream.last_id = stream.block()["id"]
    return stream


def put(s, key, body, bucket="photos", **more):
    s.s3(**more).put_object(Bucket=bucket, Key=key, Body=body)


def streams_end(s):
    """Nothing but a write tells that a client has gone; so there is something to write."""
    deadline = time.monotonic() + darkroom.READY_SECONDS
    while s.metric("event_streams") > 0:
        true(time.monotonic() < deadline, "%d streams stay" % s.metric("event_streams"))
        put(s, "wake", b"no picture")
        s.idle()


def test_ready(s):
    e = opened(s)
    equal(e.r.headers["Content-Type"], "text/event-stream", "Content-Type")
    equal(e.r.headers["Cache-Control"], "no-store", "Cache-Control")
    put(s, "a \"b\n.jpg", darkroom.sample("grey.jpg"))
    data = e.expect(("ready", "a \"b\n.jpg"))
    equal(data["bucket"], "photos", "bucket")
    equal(sorted(data["presets"]), ["large", "medium", "small"], "presets")
    small = data["presets"]["small"]
    equal((small["state"], small["bucket"], small["key"], small["width"], small["height"]),
          ("ready", "photos-derived", "a \"b\n.jpg/small.webp", 160, 160), "small")
    head = s.s3().head_object(Bucket=small["bucket"], Key=small["key"])
    equal((small["etag"], small["size"], small["content_type"]),
          (head["ETag"].strip('"'), head["ContentLength"], head["ContentType"]), "what is stored")
    e.close()


def test_other_ends(s):
    e = opened(s)
    put(s, "bad.png", BAD)
    contains(e.expect(("failed", "bad.png"))["presets"]["small"]["state"], "failed: ", "state")
    put(s, "text", b"no picture\n")
    contains(e.expect(("skipped", "text"))["presets"]["large"]["state"], "skipped: ", "state")
    s.s3().delete_object(Bucket="photos", Key="text")
    equal(e.expect(("deleted", "text"))["presets"], {}, "presets of what is gone")
    e.close()


def test_filter(s):
    s.s3().create_bucket(Bucket="more")
    s.s3().put_bucket_notification_configuration(Bucket="more", NotificationConfiguration=RULE)
    one = opened(s, "/_/events?bucket=photos&prefix=in%2F")
    other = opened(s, "/_/events?bucket=more")
    everything = opened(s)
    sent = [("photos", "out/1"), ("photos", "in/1"), ("more", "in/2"), ("photos", "in/3")]
    for bucket, key in sent:
        put(s, key, b"no picture", bucket)
        everything.expect(("skipped", key))
    one.expect(("skipped", "in/1"), ("skipped", "in/3"))
    equal(other.expect(("skipped", "in/2"))["bucket"], "more", "bucket")
    for e in (one, other, everything):
        e.close()


def test_resume_after_a_restart(s):
    e = opened(s)
    put(s, "told", b"no picture")
    e.expect(("skipped", "told"))
    seen = e.last_id
    e.close()
    missed = ["missed-%d" % i for i in range(150)]  # more than one turn of a stream
    s3 = s.s3()
    for key in missed:
        s3.put_object(Bucket="photos", Key=key, Body=b"no picture")
    s.idle()
    s.restart()
    e = Stream(s, headers={"Last-Event-ID": seen})
    got = [e.next() for _ in missed]
    equal(sorted(g[1] for g in got), sorted(missed), "what was missed")
    ids = [int(g[2]["id"]) for g in got]
    equal(ids, list(range(int(seen) + 1, int(seen) + 1 + len(missed))), "ids")
    put(s, "new", b"no picture")
    e.expect(("skipped", "new"))
    e.close()
    again = Stream(s, "/_/events?last_event_id=%d" % ids[-2])
    again.expect(("skipped", got[-1][1]), ("skipped", "new"))
    again.close()


def test_none_is_lost_between_what_was_and_what_comes(s):
    """Streams that begin in the past while more comes; a turn of them ends by bytes and by rows."""
    seen = int(opened(s).last_id)
    keys = ["%03d%s" % (i, "\n" * 900 if i < 50 else "") for i in range(120)]
    client = s.s3()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(client.put_object, Bucket="photos", Key=key, Body=b"no picture") for key in keys]
        for count in (20, 80):
            while sum(f.done() for f in sent) < count:
                concurrent.futures.wait([f for f in sent if not f.done()],
                                        return_when=concurrent.futures.FIRST_COMPLETED)
            e = Stream(s, headers={"Last-Event-ID": str(seen)})
            got = e.up_to(seen + len(keys))
            equal([int(d.get("id", -1)) for d in got], list(range(seen + 1, seen + 1 + len(keys))), "ids")
            equal(sorted(d["key"] for d in got), keys, "keys")
            e.close()


def test_reconnecting_before_any_event(s):
    e = opened(s)
    seen = e.last_id
    e.close()
    put(s, "in-between", b"no picture")
    s.idle()
    e = opened(s, headers={"Last-Event-ID": seen})
    e.expect(("skipped", "in-between"))
    e.close()


def test_an_id_of_another_server(s):
    e = Stream(s, headers={"Last-Event-ID": str(2**62)})
    e.expect(("reset", None))
    put(s, "after-reset", b"no picture")
    e.expect(("skipped", "after-reset"))
    e.close()
    for wrong in ("x", "-1", "99999999999999999999"):
        equal(s.signed("GET", "/_/events", headers={"Last-Event-ID": wrong}).status, 400, wrong)


def test_who_may(s):
    equal(s.get("/_/events").status, 403, "anonymous")
    equal(s.signed("POST", "/_/events", b"").status, 405, "POST")
    equal(s.request("GET", "/_/events", headers={"Authorization": "AWS %s:bad" % s.key}).status, 403,
          "Version 2")
    streams_end(s)


def test_presigned(s):
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    request = AWSRequest(method="GET", url=s.url + "/_/events?prefix=pre%2F")
    S3SigV4QueryAuth(Credentials(s.key, s.secret), "s3", "us-east-1", expires=60).add_auth(request)
    e = opened(s, request.url[len(s.url):], signed=False)
    put(s, "pre/x", b"no picture")
    e.expect(("skipped", "pre/x"))
    e.close()


def test_another_account_sees_its_own(s):
    def as_other(call):
        root = s.key, s.secret
        s.key, s.secret = OTHER
        try:
            return call()
        finally:
            s.key, s.secret = root

    mine = s.client("s3", key=OTHER[0], secret=OTHER[1])
    mine.create_bucket(Bucket="theirs")
    mine.put_bucket_notification_configuration(Bucket="theirs", NotificationConfiguration=RULE)
    equal(as_other(lambda: s.signed("GET", "/_/events?bucket=photos")).status, 403, "another's bucket")
    equal(as_other(lambda: s.signed("GET", "/_/events?bucket=nobodys")).status, 403, "no bucket")
    e = as_other(lambda: opened(s))
    own = as_other(lambda: opened(s, "/_/events?bucket=theirs"))
    past = as_other(lambda: opened(s, headers={"Last-Event-ID": "0"}))
    root = opened(s)
    put(s, "secret", b"no picture")
    root.expect(("skipped", "secret"))
    mine.put_object(Bucket="theirs", Key="shown", Body=b"no picture")
    for stream in (root, e, own, past):
        equal(stream.expect(("skipped", "shown"))["bucket"], "theirs", "bucket")
    # A bucket changes hands: what happened before is not its new owner's.
    s.s3().create_bucket(Bucket="handed")
    s.s3().put_bucket_notification_configuration(Bucket="handed", NotificationConfiguration=RULE)
    put(s, "before", b"no picture", "handed")
    root.expect(("skipped", "before"))
    s.s3().delete_object(Bucket="handed", Key="before")
    s.s3().delete_bucket(Bucket="handed")
    mine.create_bucket(Bucket="handed")
    late = as_other(lambda: opened(s, headers={"Last-Event-ID": "0"}))
    late.expect(("skipped", "shown"))
    mine.put_object(Bucket="theirs", Key="last", Body=b"no picture")
    late.expect(("skipped", "last"))
    for stream in (root, e, own, past, late):
        stream.close()


def test_only_so_many(s):
    streams_end(s)
    target = "/_/events?prefix=nothing"
    headers = s.signed_headers("GET", target)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        streams = list(pool.map(lambda _: Stream(s, target, headers, signed=False), range(300)))
    refused = [e for e in streams if e.status != 200]
    equal(len(refused), 300 - STREAMS_MAX, "refused")
    equal({(e.status, e.r.headers["Retry-After"]) for e in refused}, {(503, "5")}, "refusals")
    put(s, "while-full", b"no picture")  # others are served meanwhile
    for e in streams:
        e.close()
    streams_end(s)


def test_an_account_leaves_places_for_others(s):
    key, secret = s.key, s.secret
    s.key, s.secret = OTHER
    try:
        headers = s.signed_headers("GET", "/_/events")
    finally:
        s.key, s.secret = key, secret
    streams = []
    for _ in range(ACCOUNT_STREAMS_MAX + 1):  # one after the other: each is listed before the next
        streams.append(Stream(s, "/_/events", headers, signed=False))
        if streams[-1].status == 200:
            streams[-1].block()
    equal([e.status for e in streams], [200] * ACCOUNT_STREAMS_MAX + [503], "statuses of one account's streams")
    opened(s).close()
    for e in streams:
        e.close()
    streams_end(s)


def test_heartbeat(s):
    s.idle()
    e = opened(s)
    fields = e.block()
    equal(fields, {"id": e.last_id}, "what a quiet stream sends")
    e.close()


def test_shutdown_ends_streams(s):
    streams_end(s)
    streams = [opened(s) for _ in range(20)]
    deaf = socket.create_connection((s.host, s.port))  # asks and never reads
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    target = "/_/events?last_event_id=0"
    lines = ["%s: %s" % h for h in s.signed_headers("GET", target).items()]
    deaf.sendall(("GET %s HTTP/1.1\r\n%s\r\n\r\n" % (target, "\r\n".join(lines))).encode())
    darkroom.until(lambda: s.metric("event_streams") == 21, "all streams are open")
    began = time.monotonic()
    s.restart()
    took = time.monotonic() - began
    true(took < GRACE_MS / 1000, "stop and start took %.1f s" % took)
    for e in streams:
        equal(e.next(), None, "end of the stream")
        e.close()
    deaf.close()
    e = opened(s, headers={"Last-Event-ID": "0"})
    e.close()


darkroom.run(globals(), config={"accounts": [THEM], "shutdown": {"grace_ms": GRACE_MS}})
