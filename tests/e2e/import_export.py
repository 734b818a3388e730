#!/usr/bin/env python3
"""darkroom import and export: between two Darkrooms (V4, V2, TLS), with stores that nobody here wrote
(npm's s3rver, moto), with folders, through a proxy that damages, delays and lies, and against listings
made to mislead. What counts is what stands at the target afterwards, and what the second run moves."""
import fcntl
import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.environ.get("DARKROOM_TOP") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../.."), "tests/lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true, until  # noqa: E402
from proxy import Proxy  # noqa: E402

MIB = 1 << 20
ACCOUNT = {"DARKROOM_ACCESS_KEY_ID": "REMOTEKEYREMOTEKEY01", "DARKROOM_SECRET_ACCESS_KEY": "remote/secret+1"}
KEYS = {"DARKROOM_REMOTE_ACCESS_KEY_ID": ACCOUNT["DARKROOM_ACCESS_KEY_ID"],
        "DARKROOM_REMOTE_SECRET_ACCESS_KEY": ACCOUNT["DARKROOM_SECRET_ACCESS_KEY"]}
remote = None  # the other Darkroom
others = {}    # stores that nobody here wrote
clients = {}   # by URL


class Run:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        lines = [line for line in out.splitlines() if line.startswith("{")]
        self.last = json.loads(lines[-1]) if lines else {}
        self.lines = [json.loads(line) for line in lines[:-1]]

    def counts(self, **want):
        equal({k: self.last.get(k) for k in want}, want, "counts (%s%s)" % (self.out, self.err))
        return self

    def exits(self, code):
        equal(self.code, code, "exit code (%s%s)" % (self.out[-500:], self.err[-500:]))
        return self


def environment(s, **more):
    return darkroom.clean_env(**dict(KEYS, **more))


def command(s, *args):
    trust = ["--ca-file", s.ca] if s.ca else []
    return [os.path.join(darkroom.PROGRAMS, "darkroom"), "--data", s.data] + trust + list(args)


def cli(s, *args, env=None, timeout=300):
    done = subprocess.run(command(s, *args), capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env=env or environment(s))
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def bring(s, source, target, *args, url=None, **more):
    return cli(s, "import", source, "--to", target, "--endpoint-url", url or remote.url, "--json", *args, **more)


def send(s, source, target, *args, url=None, **more):
    return cli(s, "export", source, "--to", target, "--endpoint-url", url or remote.url, "--json", *args, **more)


def s3_of(server):
    """One client for each server; making one takes longer than most requests."""
    if server.url not in clients:
        clients[server.url] = server.s3()
    return clients[server.url]


def plain(server, name):
    """A bucket without functions on it."""
    s3_of(server).create_bucket(Bucket=name)
    return name


def fill(server, bucket, objects):
    client = s3_of(server)
    for key, body in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)


def contents(server, bucket, prefix=""):
    """Key -> body of all objects."""
    client, found, token = s3_of(server), {}, {}
    while True:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **token)
        for o in page.get("Contents", ()):
            found[o["Key"]] = client.get_object(Bucket=bucket, Key=o["Key"])["Body"].read()
        if not page["IsTruncated"]:
            return found
        token = {"ContinuationToken": page["NextContinuationToken"]}


def bytes_of(objects):
    return sum(len(b) for b in objects.values())


def flip(body):
    return body[:len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1:]


# ---- two Darkrooms ----

AWKWARD = ["plain.txt", "a b/c+d%25.txt", "%2e%2e/x", "ümläut/日本.png", "\U0001f4f7", "line\nbreak\ttab", "//two",
           "/lead", "./dot", "a/../b", "trail/", "q?x=1&y=2#f", "back\\slash", "~tilde", "k" * 1015, "a", "a/b",
           "a-b", "quote\"'<>&", "\x01\x7f"]


def test_awkward_keys_arrive_as_they_are(s):
    source, target = plain(remote, "awkward"), plain(s, "awkward-in")
    objects = {"p/" + key: ("%d" % i).encode() * (i + 1) for i, key in enumerate(AWKWARD)}
    fill(remote, source, objects)
    fill(remote, source, {"other": b"not under the prefix", "p": b"nor this"})
    bring(s, "s3://%s/p/" % source, "s3://%s/in" % target).exits(0).counts(
        planned=len(objects), done=len(objects), skipped=0, failed=0, bytes=bytes_of(objects), unverified=0)
    equal(contents(s, target), {"in/" + k[2:]: v for k, v in objects.items()}, "what arrived")
    again = bring(s, "s3://%s/p/" % source, "s3://%s/in" % target).exits(0)
    again.counts(planned=len(objects), done=0, skipped=len(objects), failed=0, bytes=0)
    equal(again.lines, [], "lines about objects")
    # The other way round, into a folder of the other store.
    back = plain(remote, "awkward-back")
    send(s, "s3://%s/in" % target, "s3://%s/x/" % back).exits(0).counts(done=len(objects), failed=0)
    equal(contents(remote, back), {"x/in/" + k[2:]: v for k, v in objects.items()}, "what went back")


def test_metadata_and_tags_go_along(s):
    source, target = plain(remote, "meta"), plain(s, "meta-in")
    s3_of(remote).put_object(
        Bucket=source, Key="m", Body=b"body", ContentType="image/x-odd; q=1", CacheControl="max-age=60, private",
        ContentDisposition="attachment; filename=\"a b.jpg\"", ContentEncoding="gzip", ContentLanguage="de, fr",
        Expires="Wed, 21 Oct 2026 07:28:00 GMT", Metadata={"title": "two  spaces", "empty": "", "MiXed": "=?UTF-8?Q?=C3=BC?="},
        Tagging="kind=a%20b&sum=1%2B1%3D2")
    bring(s, "s3://meta", "s3://meta-in").exits(0).counts(done=1)
    names = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Metadata",
             "ExpiresString", "ETag", "ContentLength")
    was, now = s3_of(remote).head_object(Bucket=source, Key="m"), s3_of(s).head_object(Bucket=target, Key="m")
    equal({n: now.get(n) for n in names}, {n: was.get(n) for n in names}, "metadata")
    tags = s3_of(s).get_object_tagging(Bucket=target, Key="m")["TagSet"]
    equal(sorted((t["Key"], t["Value"]) for t in tags), [("kind", "a b"), ("sum", "1+1=2")], "tags")


def upload_parts(server, bucket, key, parts, **more):
    client = server.s3(request_checksum_calculation="when_required")  # an ETag is all that is known
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    done = [{"PartNumber": i + 1, "ETag": client.upload_part(
        Bucket=bucket, Key=key, UploadId=upload, PartNumber=i + 1, Body=part)["ETag"]} for i, part in enumerate(parts)]
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done})


def test_multipart_keeps_its_etag_in_flat_memory(s):
    source, target = plain(remote, "parts"), plain(s, "parts-in")
    five = os.urandom(5 * MIB)
    upload_parts(remote, source, "three", [five, five[::-1], b"end"], ContentType="image/tiff", Tagging="a=b")
    upload_parts(remote, source, "one", [b"single part"])
    upload_parts(remote, source, "uneven", [five + b"more", five, b"end"])
    large = os.urandom(MIB) * 66
    s3_of(remote).put_object(Bucket=source, Key="large", Body=large)
    memory = []

    def look(handler, method, key, count):
        if method == "GET" and key == "/parts/large" and count == 5:  # its last part
            with open("/proc/%d/status" % process.pid) as f:
                memory.append(int(f.read().split("VmHWM:")[1].split()[0]))

    with Proxy(remote, look) as proxy:
        process = subprocess.Popen(command(s, "import", "s3://parts", "--to", "s3://parts-in", "--endpoint-url", proxy.url,
                                           "--json"), env=environment(s), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=300)
    run = Run(process.returncode, out.decode(), err.decode()).exits(0).counts(done=4, failed=0)
    true(0 < memory[0] < 48 << 10, "%d KiB when the last of 66 MiB came" % memory[0])
    equal(run.last["unverified"], 1, "objects whose ETag proves nothing (uneven parts)")
    for key in ("three", "one"):
        was, now = (s3_of(x).head_object(Bucket=b, Key=key) for x, b in ((remote, source), (s, target)))
        equal([now["ETag"], now["ContentType"], now["Metadata"]], [was["ETag"], was["ContentType"], {}], key)
    now = s3_of(s).head_object(Bucket=target, Key="large")
    true(now["ETag"].endswith('-5"'), "66 MiB went in parts: " + now["ETag"])
    equal(now["Metadata"], {"darkroom-source-etag": hashlib.md5(large).hexdigest()}, "its note of the source")
    equal(s3_of(s).get_object(Bucket=target, Key="large")["Body"].read() == large, True, "66 MiB are the same")
    equal(s3_of(s).list_multipart_uploads(Bucket=target).get("Uploads", []), [], "uploads left open")
    bring(s, "s3://parts", "s3://parts-in").exits(0).counts(done=0, skipped=4, bytes=0)
    # The note does not go further: parts of 16 MiB are kept, so nothing needs to be said there.
    send(s, "s3://parts-in/large", "s3://parts/back").exits(0).counts(done=1)
    there = s3_of(remote).head_object(Bucket=source, Key="back/large")
    equal((there["ETag"], there["Metadata"]), (now["ETag"], {}), "sent on")


def test_what_changed_goes_again(s):
    source, target = plain(remote, "change"), plain(s, "change-in")
    objects = {"k%02d" % i: b"old %d" % i for i in range(30)}
    fill(remote, source, objects)
    bring(s, "s3://change", "s3://change-in").exits(0).counts(done=30)
    changes = {"k03": b"new 3", "k17": b"longer than before", "k31": b"one more"}
    fill(remote, source, changes)
    run = bring(s, "s3://change", "s3://change-in", "--dry-run").exits(0)
    run.counts(planned=31, done=0, skipped=28, failed=0, bytes=0, to_copy=3, dry_run=True)
    equal(sorted(line["key"] for line in run.lines), sorted(changes), "what would be copied")
    equal(contents(s, target), objects, "after a dry run")
    bring(s, "s3://change", "s3://change-in").exits(0).counts(done=3, skipped=28, bytes=bytes_of(changes))
    equal(contents(s, target), dict(objects, **changes), "after the second run")


def test_killed_and_resumed(s):
    source, target = plain(remote, "resume"), plain(s, "resume-in")
    objects = {"o%03d" % i: os.urandom(3000) for i in range(120)}
    fill(remote, source, objects)
    gets, held, release = [0], threading.Semaphore(0), threading.Event()

    def hold(handler, method, key, count):
        if method != "GET" or not key.startswith("/resume/o"):
            return
        with proxy.lock:
            gets[0] += 1
            mine = gets[0]
        if mine > 40:
            held.release()
            release.wait(300)

    with Proxy(remote, hold) as proxy:
        process = subprocess.Popen(command(s, "import", "s3://resume", "--to", "s3://resume-in", "--endpoint-url",
                                           proxy.url, "--jobs", "3"), env=environment(s), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(3):  # then the first 40 have gone all the way
            true(held.acquire(timeout=300), "the 41st GET and two more never came")
        process.kill()
        process.wait()
        release.set()
    there = len(contents(s, target))
    equal(there, 40, "objects that had arrived when it was killed")
    run = bring(s, "s3://resume", "s3://resume-in").exits(0)
    run.counts(planned=120, done=120 - there, skipped=there, failed=0, bytes=3000 * (120 - there))
    equal(contents(s, target) == objects, True, "all objects are the same")


def test_interrupted_stops_soon_and_leaves_no_upload(s):
    source, target = plain(remote, "interrupt"), plain(s, "interrupt-in")
    five = os.urandom(5 * MIB)
    upload_parts(remote, source, "large", [five] * 4)
    reached, release = threading.Event(), threading.Event()

    def hold(handler, method, key, count):
        if method == "GET" and key.endswith("/large") and count == 3:
            reached.set()
            release.wait(300)

    with Proxy(remote, hold) as proxy:
        process = subprocess.Popen(command(s, "import", "s3://interrupt", "--to", "s3://interrupt-in",
                                           "--endpoint-url", proxy.url), env=environment(s), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        true(reached.wait(300), "the third part was never asked for")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
        release.set()
    equal(process.returncode, 1, "exit code")
    contains(err.decode(), "interrupted", "what it says")
    equal(s3_of(s).list_multipart_uploads(Bucket=target).get("Uploads", []), [], "uploads left open")
    equal(contents(s, target), {}, "objects at the target")


# ---- a bad way between ----

def test_a_flipped_byte_is_found(s):
    source, target = plain(remote, "flip"), plain(s, "flip-in")
    fill(remote, source, {"always": b"x" * 5000, "once": b"y" * 5000, "never": b"z" * 5000})
    upload_parts(remote, source, "parts", [b"p" * 5 * MIB, b"q" * 1000])

    def damage(handler, method, key, count):
        if method == "GET" and (key == "/flip/always" or key == "/flip/parts" or (key == "/flip/once" and count == 1)):
            return lambda h, response, body: Proxy.answer(h, response, flip(body))

    with Proxy(remote, damage) as proxy:
        run = bring(s, "s3://flip", "s3://flip-in", "--retries", "1", url=proxy.url).exits(1).counts(done=2, failed=2)
        true(proxy.seen["GET", "/flip/once"] == 2, "it was tried again")
    failed = {line["key"]: line["why"] for line in run.lines if line["status"] == "failed"}
    equal(sorted(failed), ["always", "parts"], "what failed")
    for why in failed.values():
        contains(why, "MD5", "why")
    equal(sorted(contents(s, target)), ["never", "once"], "what is at the target")
    equal(s3_of(s).list_multipart_uploads(Bucket=target).get("Uploads", []), [], "uploads left open")


def test_a_flipped_byte_on_the_way_out_is_found(s):
    source, target = plain(s, "flip-out"), plain(remote, "flip-out-there")
    fill(s, source, {"k": b"bytes " * 1000})

    with Proxy(remote) as proxy:
        handler = proxy.server.RequestHandlerClass
        honest = handler.handle_one

        def damaged(self):  # what the other side reads is not what was sent
            body = flip(self.rfile.read(int(self.headers["Content-Length"])))
            kept, self.rfile = self.rfile, io.BytesIO(body)
            honest(self)
            self.rfile = kept
        handler.do_PUT = damaged
        run = send(s, "s3://flip-out", "s3://flip-out-there", "--retries", "1", url=proxy.url).exits(1).counts(done=0, failed=1)
    contains(run.lines[0]["why"], "SHA256", "why")
    equal(contents(remote, target), {}, "what is at the target")


def test_errors_that_pass_are_tried_again(s):
    source, target = plain(remote, "errors"), plain(s, "errors-in")
    objects = {name: name.encode() * 100 for name in ("e500", "e503", "drop", "stall", "good", "e404")}
    fill(remote, source, objects)
    gone = threading.Event()

    def trouble(handler, method, key, count):
        name = key.split("/")[-1]
        if method != "GET" or not name or count > 2 and name != "e404":
            if name or count > 1:
                return None
            return lambda h, r, b: Proxy.answer(h, r, b"", status=500)  # the first page of the listing
        if name in ("e500", "e503"):
            return lambda h, r, b: Proxy.answer(h, r, b"<Error><Code>SlowDown</Code></Error>", status=int(name[1:]))
        if name == "e404":
            return lambda h, r, b: Proxy.answer(h, r, b"<Error><Code>NoSuchKey</Code></Error>", status=404)
        if name == "drop":
            return "drop"
        if name == "stall" and count == 1:
            gone.wait(300)
        return None

    with Proxy(remote, trouble) as proxy:
        run = bring(s, "s3://errors", "s3://errors-in", "--stall", "4s", "--retries", "2", url=proxy.url)
        gone.set()
        run.exits(1).counts(planned=6, done=5, failed=1)
        equal(proxy.seen["GET", "/errors/e404"], 1, "a 404 is not asked again")
        equal(proxy.seen["GET", "/errors/e503"], 3, "times that 503 was asked")
    objects.pop("e404")
    equal(contents(s, target), objects, "what arrived")


def test_lies_about_length(s):
    source, target = plain(remote, "lies"), plain(s, "lies-in")
    fill(remote, source, {name: b"0123456789" * 50 for name in ("more", "less", "range", "true")})
    upload_parts(remote, source, "multi", [b"p" * 5 * MIB, b"q" * 1000])

    def lie(handler, method, key, count):
        if method != "GET":
            return None
        if key == "/lies/more":
            def more(h, r, b):
                Proxy.answer(h, r, b, length=len(b) + 10)
                h.close_connection = True
            return more
        if key == "/lies/less":
            return lambda h, r, b: Proxy.answer(h, r, b[:-10])
        if key == "/lies/multi":  # a part that is longer than what was asked for
            return lambda h, r, b: Proxy.answer(h, r, b + b"x")
        return None

    with Proxy(remote, lie) as proxy:
        run = bring(s, "s3://lies", "s3://lies-in", "--retries", "1", url=proxy.url).exits(1).counts(done=2, failed=3)
    equal(sorted(line["key"] for line in run.lines if line["status"] == "failed"), ["less", "more", "multi"], "failed")
    equal(sorted(contents(s, target)), ["range", "true"], "what is at the target")


# ---- listings made to mislead ----

class Liar:
    """A store whose listing is what `page(n, query)` says."""

    def __init__(self, page, head_says=None):
        liar = self
        self.pages = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.send_response_only(200)
                for name, value in (head_says or {}).items():
                    self.send_header(name, value)
                self.end_headers()

            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                body, head = b"object", {}
                if "list-type" in query:
                    liar.pages += 1
                    body = page(liar.pages, query)
                if isinstance(body, tuple):
                    body, head = body
                try:
                    self.send_response_only(200)
                    for name, value in head.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that go away are expected
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def listing(keys, token=None, size=6, truncated=None):
    entries = "".join("<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                      "<ETag>\"%s\"</ETag><Size>%s</Size></Contents>"
                      % (urllib.parse.quote(k), hashlib.md5(b"object").hexdigest(), size) for k in keys)
    more = "<NextContinuationToken>%s</NextContinuationToken>" % token if token else ""
    return ("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%s</IsTruncated>%s%s</ListBucketResult>" % (
        "true" if token or truncated else "false", more, entries)).encode()


def test_hostile_listings_are_bounded(s):
    target = plain(s, "hostile-in")
    giant = listing(["p/%08d" % i + "x" * 900 for i in range(9000)])
    cases = {
        "a key outside of the prefix": (lambda n, q: listing(["p/ok", "q/outside"]), "not under the prefix", 2),
        "the same page for ever": (lambda n, q: listing(["p/a", "p/b"], "t"), "the same again", 5),
        "two pages in turns": (lambda n, q: listing(["p/%d" % (n % 2)], "t%d" % n), "the same again", 8),
        "empty pages for ever": (lambda n, q: listing([], "t%d" % n), "empty pages", 110),
        "more, without a token": (lambda n, q: listing(["p/a"], truncated=True), "cannot be read", 8),
        "a giant page": (lambda n, q: giant, "over", 8),
        "a deep page": (lambda n, q: b"<a>" * 100000, "cannot be read", 8),
        "a size that is none": (lambda n, q: listing(["p/a"], size="-5"), "cannot be read", 8),
        "a size over all": (lambda n, q: listing(["p/a"], size="9" * 30), "cannot be read", 8),
        "a size that no object has": (lambda n, q: listing(["p/a"], size=str(2**63 - 1)), "cannot be read", 8),
        "no XML": (lambda n, q: b"hello", "cannot be read", 8),
        "a billion laughs": (lambda n, q: b'<!DOCTYPE a [<!ENTITY b "bb">]><ListBucketResult>&b;</ListBucketResult>',
                             "cannot be read", 8),
        "a giant header": (lambda n, q: (listing(["p/a"]), {"x-amz-meta-a": "y" * 90000}), "", 8),
    }
    for name, (page, says, pages_max) in cases.items():
        with Liar(page) as liar:
            run = bring(s, "s3://remote/p/", "s3://hostile-in", "--jobs", "1", "--retries", "0", url=liar.url)
            equal(run.code, 1, "exit code of %s: %s%s" % (name, run.out, run.err))
            contains(run.err, says, name)
            true(liar.pages <= pages_max, "%s: %d pages were asked for" % (name, liar.pages))
    true(set(contents(s, target)) <= {"ok", "a", "b", "0", "1"}, "keys at the target")


def test_an_unordered_listing_still_moves_nothing_twice(s):
    plain(s, "unordered-in")
    keys = ["p/m", "p/c", "p/z", "p/a", "p/c"]
    with Liar(lambda n, q: listing(keys)) as liar:
        bring(s, "s3://remote/p/", "s3://unordered-in", "--jobs", "1", url=liar.url).exits(0).counts(planned=5, failed=0)
        bring(s, "s3://remote/p/", "s3://unordered-in", url=liar.url).exits(0).counts(done=0, skipped=5, bytes=0)
    equal(sorted(contents(s, "unordered-in")), ["a", "c", "m", "z"], "what arrived")


def test_what_has_no_etag_is_not_called_verified(s):
    plain(s, "silent-in")
    with Liar(lambda n, q: listing(["p/a", "p/b"])) as liar:
        bring(s, "s3://remote/p/", "s3://silent-in", url=liar.url).exits(0).counts(done=2, unverified=2)


def test_a_hostile_size_of_one_object(s):
    plain(s, "size-in")
    says = {"Content-Length": str(2**63 - 1), "ETag": '"%s"' % ("0" * 32)}
    with Liar(lambda n, q: listing(["p/a"], size=100 * MIB), says) as liar:
        run = bring(s, "s3://remote/p/", "s3://size-in", url=liar.url).exits(1).counts(failed=1)
        contains(run.lines[0]["why"], "no size", "why")


def test_what_others_say_draws_nothing(s):
    # C0 cannot stand in XML, but a carriage return can, and U+009B is ESC [ to some terminals.
    plain(s, "draws-in")
    error = "<Error><Code>AccessDenied</Code><Message>no\u009b2J&#13;darkroom: all is well</Message></Error>".encode()
    with Proxy(remote, lambda *_: lambda h, r, b: Proxy.answer(h, r, error, status=403)) as proxy:
        run = cli(s, "import", "s3://draws", "--to", "s3://draws-in", "--endpoint-url", proxy.url).exits(1)
    true("\u009b" not in run.err and "\r" not in run.err, "control characters: %r" % run.err)
    contains(run.err, "\\u009b2J\\x0d", "the message")
    says = {"Content-Length": "none", "ETag": '"%s"' % ("0" * 32)}
    with Liar(lambda n, q: listing(["p/a\u009b2J", "p/\x1b[2J"], size=100 * MIB), says) as liar:
        run = cli(s, "import", "s3://remote/p/", "--to", "s3://draws-in", "--endpoint-url", liar.url).exits(1)
    true("\u009b" not in run.err and "\x1b" not in run.err, "control characters: %r" % run.err)
    contains(run.err, "a\\u009b2J: ", "the key")


# ---- folders ----

def tree(path):
    found = {}
    for base, _, names in os.walk(path):
        for name in names:
            full = os.path.join(base, name)
            if not os.path.islink(full):
                with open(full, "rb") as f:
                    found[os.path.relpath(full, path)] = f.read()
    return found


def test_a_folder_in_and_out(s):
    target = plain(s, "folder-in")
    files = {"a.txt": b"text", "a/b.jpg": b"not really", "a/deep/er/c d+%.bin": os.urandom(100000), "a-x": b"", "ü": b"u",
             "z\nline": b"newline", "big": os.urandom(MIB) * 17}
    for name, body in files.items():
        os.makedirs(os.path.dirname("in/" + name) or ".", exist_ok=True)
        with open("in/" + name, "wb") as f:
            f.write(body)
    os.utime("in/a.txt", ns=(0, 1234567890123456789))
    os.symlink("/etc/passwd", "in/a/link")
    os.symlink("/etc", "in/etc")
    os.mkfifo("in/pipe")
    run = cli(s, "import", "in", "--to", "s3://folder-in/f", "--json").exits(0)
    run.counts(planned=10, done=7, skipped=3, failed=0, bytes=bytes_of(files))
    equal(contents(s, target) == {"f/" + k: v for k, v in files.items()}, True, "what arrived")
    head = s3_of(s).head_object(Bucket=target, Key="f/a.txt")
    equal((head["ContentType"], head["Metadata"]), ("text/plain", {"mtime": "1234567890.123456789"}), "a.txt")
    equal(s3_of(s).head_object(Bucket=target, Key="f/a/b.jpg")["ContentType"], "image/jpeg", "type")
    cli(s, "import", "in", "--to", "s3://folder-in/f", "--json").exits(0).counts(done=0, skipped=10, bytes=0)
    with open("in/a.txt", "wb") as f:
        f.write(b"next")
    cli(s, "import", "in/", "--to", "s3://folder-in/f/", "--json").exits(0).counts(done=1, skipped=9, bytes=4)
    # And out again, twice.
    cli(s, "export", "s3://folder-in/f/", "--to", "out", "--json").exits(0).counts(planned=7, done=7, failed=0)
    equal(tree("out") == dict(files, **{"a.txt": b"next"}), True, "what came out")
    equal(os.stat("out/a.txt").st_mtime_ns, os.stat("in/a.txt").st_mtime_ns, "its time")
    cli(s, "export", "s3://folder-in/f/", "--to", "out", "--json").exits(0).counts(done=0, skipped=7, bytes=0)
    with open("out/a/b.jpg", "wb") as f:
        f.write(b"NOT really")  # as long as before
    cli(s, "export", "s3://folder-in/f/", "--to", "out", "--json").exits(0).counts(done=1, skipped=6)
    equal(tree("out")["a/b.jpg"], b"not really", "what was changed here")


def test_two_exports_do_not_meddle(s):
    # The part of a run that lives: must neither be taken away from it, nor stand in the file's place half done.
    fill(s, plain(s, "meddle"), {"a": b"whole", "dir/b": b"other"})
    os.makedirs("meddled")
    part = "meddled/.darkroom-part." + hashlib.md5(b"a").hexdigest()
    with open(part, "wb") as f:
        f.write(b"who")
        f.flush()
        fcntl.flock(f, fcntl.LOCK_EX)
        run = cli(s, "export", "s3://meddle", "--to", "meddled", "--json").exits(1).counts(done=1, failed=1)
        contains([line for line in run.lines if line["key"] == "a"][0]["why"], "another export", "why")
        equal(tree("meddled"), {"dir/b": b"other", os.path.basename(part): b"who"}, "while it is written")
    cli(s, "export", "s3://meddle", "--to", "meddled", "--json").exits(0).counts(done=1, skipped=1)
    equal(tree("meddled"), {"a": b"whole", "dir/b": b"other"}, "after that run was killed")


def test_no_key_leads_out_of_the_folder(s):
    source = plain(s, "escape")
    bad = ["../up", "a/../../up", "/abs", "x//y", "./dot", "a/..", "..", "l" * 256, "link/inside", "file/below",
           ".darkroom-part.x"]
    good = ["good", "file", "deep/er/ok", "dir.x"]
    fill(s, source, {key: b"bytes" for key in bad + good})
    fill(s, source, {"marker/": b"", "marker2/": b"not empty"})
    os.makedirs("jail/out")
    os.makedirs("jail/elsewhere")
    os.symlink("../elsewhere", "jail/out/link")
    os.symlink("../elsewhere/target", "jail/out/good")
    os.mkdir("jail/out/dir.x")
    run = cli(s, "export", "s3://escape", "--to", "jail/out", "--json").exits(1)
    failed = sorted(line["key"] for line in run.lines if line["status"] == "failed")
    equal(failed, sorted(bad + ["marker2/", "dir.x"]), "what was refused")
    run.counts(done=3, failed=len(bad) + 2, skipped=1)
    equal(tree("jail"), {"out/good": b"bytes", "out/file": b"bytes", "out/deep/er/ok": b"bytes"}, "all files")
    equal(stat.S_ISREG(os.lstat("jail/out/good").st_mode), True, "a link is replaced by the file")
    equal(os.path.exists("up") or os.path.exists("jail/up") or os.path.exists("/abs"), False, "files outside")


# ---- others ----

def answers(url):
    host = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((host.hostname, host.port), timeout=1).close()
        return True
    except OSError:
        return False


def free_port():
    with socket.socket() as c:
        c.bind(("127.0.0.1", 0))
        return c.getsockname()[1]


def both_ways(s, name, url, key, secret, *args):
    """Objects go there and come back; the second run of each moves nothing."""
    import boto3
    other = boto3.session.Session().client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key,
                                           aws_secret_access_key=secret)
    source, back = plain(s, name + "-from"), plain(s, name + "-back")
    other.create_bucket(Bucket="there")
    objects = {"a": b"1", "a.txt": b"2", "a-b/c d+e%.txt": b"3", "folder/x": b"4" * 100000, "folder/y/z": b"", "ä/ö": b"5"}
    for k, v in objects.items():
        s3_of(s).put_object(Bucket=source, Key=k, Body=v, ContentType="image/x-test", Metadata={"colour": "red"})
    upload_parts(s, source, "parts", [b"p" * 5 * MIB, b"q"])
    objects["parts"] = b"p" * 5 * MIB + b"q"
    env = environment(s, DARKROOM_REMOTE_ACCESS_KEY_ID=key, DARKROOM_REMOTE_SECRET_ACCESS_KEY=secret)
    n = len(objects)
    send(s, "s3://%s" % source, "s3://there", *args, url=url, env=env).exits(0).counts(planned=n, done=n)
    head = other.head_object(Bucket="there", Key="a-b/c d+e%.txt")
    equal((head["ContentType"], head["Metadata"]), ("image/x-test", {"colour": "red"}), "metadata there")
    send(s, "s3://%s" % source, "s3://there", *args, url=url, env=env).exits(0).counts(done=0, skipped=n, bytes=0)
    bring(s, "s3://there", "s3://%s" % back, *args, url=url, env=env).exits(0).counts(planned=n, done=n)
    equal(contents(s, back) == objects, True, "what came back")
    head = s3_of(s).head_object(Bucket=back, Key="folder/x")
    equal((head["ContentType"], head["Metadata"]), ("image/x-test", {"colour": "red"}), "metadata back")
    bring(s, "s3://there", "s3://%s" % back, *args, url=url, env=env).exits(0).counts(done=0, skipped=n, bytes=0)


def with_store(s, name, url, command_line, key, secret, **more):
    with open(name + ".log", "wb") as log:
        process = subprocess.Popen(command_line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **more)
    try:
        until(lambda: answers(url) or process.poll() is not None, name + " listens")
        both_ways(s, name, url, key, secret)
    finally:
        process.terminate()
        process.wait()


class Installed(threading.Thread):
    """A store of others, installed while the tests before it run; `steps` as subprocess.run() takes them.
    A network that is not there, or slow, is no fault of ours."""

    def __init__(self, program, *steps):
        super().__init__(daemon=True)
        self.program, self.steps, self.why = program, steps, ""
        self.start()

    def run(self):
        for step in self.steps:
            if os.path.exists(self.program):
                return
            if not shutil.which(step[0]):
                self.why = step[0] + " is not installed"
                return
            try:
                done = subprocess.run(step, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                self.why = "%s does not come to an end" % step[0]
                return
            if done.returncode != 0:
                self.why = "%s failed: %s" % (step[0], done.stderr[-200:])
                return

    def path(self):
        self.join()
        if not os.path.exists(self.program):
            raise darkroom.Skipped(self.why or self.program + " is not there")
        return self.program


def install():
    npm, moto = (os.path.join(darkroom.TOP, "build", name) for name in ("npm-s3rver", "moto"))
    return {
        "s3rver": Installed(
            os.path.join(npm, "node_modules", "s3rver", "bin", "s3rver.js"),
            ["npm", "install", "--prefix", npm, "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
             "--fetch-retries", "1", "s3rver@3.7.1"]),
        "moto": Installed(
            os.path.join(moto, "bin", "moto_server"),
            ["python3", "-m", "venv", moto], [moto + "/bin/pip", "-q", "install", "moto[server,s3]==5.2.5"])}


def test_s3rver(s):
    program, port = others["s3rver"].path(), free_port()
    os.makedirs("s3rver")
    with_store(s, "s3rver", "http://127.0.0.1:%d" % port,
               ["node", program, "-d", "s3rver", "-a", "127.0.0.1", "-p", str(port), "--silent"], "S3RVER", "S3RVER")


def test_moto(s):
    program, port = others["moto"].path(), free_port()
    with_store(s, "moto", "http://127.0.0.1:%d" % port, [program, "-H", "127.0.0.1", "-p", str(port)], "KEY", "SECRET",
               env=darkroom.clean_env())


def test_signature_version_2(s):
    source, target = plain(remote, "vtwo"), plain(s, "vtwo-in")
    for k in ("a", "dir/b+c%", "ä"):
        s3_of(remote).put_object(Bucket=source, Key=k, Body=k.encode() * 3000, ContentType="image/x-two",
                               Metadata={"colour": "red"})
    run = bring(s, "s3://vtwo", "s3://vtwo-in", "--signature", "v2").exits(0).counts(done=3, failed=0)
    equal(contents(s, target), contents(remote, source), "what arrived")
    head = s3_of(s).head_object(Bucket=target, Key="dir/b+c%")
    equal((head["ContentType"], head["Metadata"]), ("image/x-two", {"colour": "red"}), "metadata")
    bring(s, "s3://vtwo", "s3://vtwo-in", "--signature", "v2").exits(0).counts(done=0, skipped=3, bytes=0)
    send(s, "s3://vtwo-in", "s3://vtwo/back/", "--signature", "v2").exits(0).counts(done=3)
    equal(contents(remote, source, "back/"), {"back/" + k: k.encode() * 3000 for k in ("a", "dir/b+c%", "ä")}, "back")
    # What libs3 would bend is refused by name.
    fill(remote, source, {"a b": b"space"})
    run = bring(s, "s3://vtwo", "s3://vtwo-in", "--signature", "v2").exits(1).counts(failed=1)
    contains([line for line in run.lines if line["status"] == "failed"][0]["why"], "--signature v4", "why")

    def only_v2(handler, method, key, count):
        if "AWS4-HMAC-SHA256" in handler.headers.get("Authorization", ""):
            return lambda h, r, b: Proxy.answer(h, r, b"<Error><Code>InvalidRequest</Code></Error>", status=400)
    with Proxy(remote, only_v2) as proxy:
        run = cli(s, "import", "s3://vtwo/dir/", "--to", "s3://vtwo-in/auto", "--endpoint-url", proxy.url).exits(0)
    contains(run.err, "Signature Version 2", "what it chose")
    run = cli(s, "import", "s3://vtwo/dir/", "--to", "s3://vtwo-in/auto", "--endpoint-url", remote.url).exits(0)
    contains(run.err, "Signature Version 4", "what it chose")


def test_over_tls(s):
    authority = darkroom.Authority("remote-ca")
    other = darkroom.Server(data="tls", authority=authority, env=ACCOUNT).start()
    try:
        fill(other, plain(other, "secret"), {"k%d" % i: b"over TLS" * i for i in range(10)})
        plain(s, "secret-in")
        # AWS_ENDPOINT_URL is ours; --remote-url leaves --endpoint-url to our server.
        bring(s, "s3://secret", "s3://secret-in", "--remote-ca-file", authority.file, url=other.url).exits(0).counts(done=10)
        env = environment(s, AWS_ACCESS_KEY_ID=s.key, AWS_SECRET_ACCESS_KEY=s.secret)
        bring(s, "s3://secret", "s3://secret-in", "--remote-url", other.url, "--remote-ca-file", authority.file,
              url=s.url, env=env).exits(0).counts(done=0, skipped=10)
        run = bring(s, "s3://secret", "s3://secret-in", "--retries", "1", url=other.url).exits(3)
        contains(run.err, "certificate", "without the CA")
        # libs3 would talk to anybody who stands in between.
        run = bring(s, "s3://secret", "s3://secret-in", "--signature", "v2", url=other.url).exits(2)
        contains(run.err, "certificate", "by libs3")
        wrong = environment(s, DARKROOM_REMOTE_SECRET_ACCESS_KEY="wrong")
        run = bring(s, "s3://secret", "s3://secret-in", "--remote-ca-file", authority.file, url=other.url, env=wrong)
        contains(run.exits(1).err, "signature", "refused by V4, and not tried by V2")
    finally:
        other.stop()


def test_exit_codes(s):
    fill(remote, plain(remote, "codes"), {"a": b"1", "b": b"2", "c": b"3"})
    plain(s, "codes-in")
    taken = socket.socket()  # bound and not listening: whoever connects is refused
    taken.bind(("127.0.0.1", 0))
    nobody = "http://127.0.0.1:%d" % taken.getsockname()[1]
    no_keys = darkroom.clean_env()
    bring(s, "s3://x", "s3://codes-in", "--retries", "1", url=nobody).exits(3)
    bring(s, "s3://nosuch", "s3://codes-in").exits(1)
    run = bring(s, "s3://codes", "s3://nosuch-either").exits(1)
    contains(run.err, "buckets add", "what to do")
    contains(bring(s, "s3://codes", "s3://codes-in", env=no_keys).exits(2).err, "DARKROOM_REMOTE_ACCESS_KEY_ID", "keys")
    wrong = environment(s, DARKROOM_REMOTE_SECRET_ACCESS_KEY="wrong")
    contains(bring(s, "s3://codes", "s3://codes-in", env=wrong).exits(1).err, "signature", "wrong keys")
    cli(s, "import", "s3://codes").exits(2)
    cli(s, "import", "s3://codes", "--to", "s3://codes-in").exits(2)
    cli(s, "import", "no/such/folder", "--to", "s3://codes-in").exits(2)
    cli(s, "import", "s3://codes", "--to", "folder").exits(2)
    bring(s, "s3://codes", "s3://codes-in", "--jobs", "0").exits(2)
    # A profile of the shared credentials file.
    with open("profiles", "w") as f:
        f.write("[other]\naws_access_key_id = %s\naws_secret_access_key = %s\n" % tuple(KEYS.values()))
    env = darkroom.clean_env(AWS_SHARED_CREDENTIALS_FILE=os.path.abspath("profiles"))
    bring(s, "s3://codes", "s3://codes-in", "--profile", "other", env=env).exits(0).counts(done=3)
    bring(s, "s3://codes", "s3://codes-in", "--profile", "none", env=env).exits(2)
    # A public bucket needs no keys.
    s3_of(remote).put_bucket_policy(Bucket="codes", Policy=json.dumps({"Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": ["s3:ListBucket", "s3:GetObject"],
        "Resource": ["arn:aws:s3:::codes", "arn:aws:s3:::codes/*"]}]}))
    bring(s, "s3://codes", "s3://codes-in", "--anonymous", env=no_keys).exits(0).counts(skipped=3)


def test_a_side_that_goes_away(s):
    source = plain(remote, "away")
    plain(s, "away-in")
    fill(remote, source, {"k%03d" % i: b"x" for i in range(60)})

    def gone(handler, method, key, count):
        return "drop" if method == "GET" and key.startswith("/away/k") and key > "/away/k010" else None
    with Proxy(remote, gone) as proxy:
        run = bring(s, "s3://away", "s3://away-in", "--jobs", "4", "--retries", "1", url=proxy.url).exits(3)
    contains(run.err, "goes on from here", "what it says")
    true(8 <= run.last["failed"] < 30, "it gave up after %d failures" % run.last["failed"])


def main():
    global remote, others
    others = install()
    work = tempfile.mkdtemp(prefix="remote-", dir=os.getcwd())
    remote = darkroom.Server(data=os.path.join(work, "remote"), env=ACCOUNT, args=["--bare"])
    try:
        remote.start()
        darkroom.run(globals(), args=["--bare"])
    finally:
        if remote.running():
            remote.stop()


if __name__ == "__main__":
    main()
