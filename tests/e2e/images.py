#!/usr/bin/python3
"""Delivery through /_/img: presets and free sizes, who may have them, what waits and what is kept."""
import concurrent.futures
import json
import os
import resource
import socket
import sys
import textwrap
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, true, contains, until

RED, BLUE, GREEN = (200, 20, 20), (20, 20, 200), (20, 180, 20)
WAIT_MS = 30000
AT_ONCE = 1000
PRESETS = [
    {"name": "small", "width": 160, "height": 160, "fit": "cover"},
    {"name": "medium", "width": 640, "height": 640},
    {"name": "multi", "width": 100, "height": 100, "format": ["webp", "avif", "jpeg"]},
    {"name": "plain", "width": 90, "height": 90, "format": "jpeg"},
]
BROWSERS = {  # Accept of an <img>, and which of webp+avif+jpeg is the best for it
    "Chrome": ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "avif"),
    "Chrome before 85": ("image/webp,image/apng,image/*,*/*;q=0.8", "webp"),
    "Firefox": ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "avif"),
    "Firefox before 92": ("image/webp,*/*", "webp"),
    "Safari": ("image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,"
               "image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "avif"),
    "Safari before 14": ("image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5", "jpeg"),
    "Internet Explorer": ("image/png, image/svg+xml, image/*;q=0.8, */*;q=0.5", "jpeg"),
    "curl": ("*/*", "jpeg"),
}
LATER = str(int(time.time()) + 3600)


# ---- small helpers ----

def raise_file_limit():
    """Room for AT_ONCE connections, here and in the server."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    want = 4 * AT_ONCE if hard == resource.RLIM_INFINITY else min(4 * AT_ONCE, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


def img(key, bucket="photos", **params):
    path = "/_/img/%s/%s" % (bucket, urllib.parse.quote(key))
    return path + ("?" + urllib.parse.urlencode(params) if params else "")


def url_key(s, line=0):
    with open(os.path.join(s.data, "url-keys")) as f:
        return bytes.fromhex(f.read().split()[line])


def readme_signer():
    """The lines that the README gives to applications, as they stand there."""
    with open(os.path.join(darkroom.TOP, "README.md")) as f:
        lines = f.read().split("    import hmac", 1)[1].split("\n\n", 1)[0]
    names = {}
    exec(textwrap.dedent("    import hmac" + lines), names)
    return names["picture_url"]


def signed(key, path_key, bucket="photos", **params):
    params.setdefault("exp", LATER)
    return picture_url(key.hex(), bucket, path_key, **params)


def functions_set(s, name, **patch):
    reply = s.signed("PUT", "/_/functions?name=" + name, json.dumps(patch).encode())
    equal(reply.status, 200, "status of setting %s (%s)" % (name, reply.body))


class Paused:
    """The thumbnail function makes nothing while inside, until go()."""

    def __init__(self, s):
        self.s = s

    def __enter__(self):
        functions_set(self.s, "thumbnail", reserved_concurrency=0)
        self.paused = True
        return self

    def go(self):
        if self.paused:  # each change is a new revision: what runs then has to run again
            functions_set(self.s, "thumbnail", reserved_concurrency=-1)
        self.paused = False

    def __exit__(self, *_):
        self.go()


def put(s, key, body, bucket="photos"):
    return s.s3().put_object(Bucket=bucket, Key=key, Body=body)["ETag"]


def ready(s, key, colour, size=(400, 300)):
    return s.put_settled(key, darkroom.plain_png(size[0], size[1], colour))


def colour_of(body):
    picture = darkroom.picture(body).convert("RGB")
    return picture.getpixel((picture.width // 2, picture.height // 2))


def is_colour(body, want, what):
    got = colour_of(body)
    true(all(abs(a - b) <= 12 for a, b in zip(got, want)), "%s is %s, not %s" % (what, got, want))


def is_picture(reply, kind, size, what):
    equal((reply.status, reply.headers.get("content-type")), (200, "image/" + kind), what)
    equal(darkroom.picture(reply.body).size, size, "size of " + what)


def is_miss(reply, status, what):
    equal(reply.status, status, "status of %s (%s)" % (what, reply.body[:200]))
    equal(reply.headers.get("cache-control"), "no-store", "Cache-Control of " + what)
    return reply.json() if reply.body else None


def invocations(s):
    s.idle()
    return s.metric("invocations_total")


# ---- presets ----

def test_presets_are_set(s):
    functions_set(s, "thumbnail", environment={
        "DERIVED_BUCKET": "{bucket}-derived", "PRESETS": json.dumps(PRESETS)})


def test_preset(s):
    ready(s, "a b+c%é.png", RED)
    reply = s.get(img("a b+c%é.png", preset="small"))
    direct = s.thumbnail("a b+c%é.png", "small")
    is_picture(reply, "webp", (160, 160), "small")
    is_colour(reply.body, RED, "small")
    for name in ("etag", "content-type", "last-modified", "cache-control", "accept-ranges"):
        equal(reply.headers[name], direct.headers[name], name)
    equal(reply.body, direct.body, "bytes")
    equal(reply.headers["cache-control"], "no-cache", "Cache-Control")
    equal(reply.headers["x-content-type-options"], "nosniff", "X-Content-Type-Options")


def test_preset_as_s3_would_answer(s):
    ready(s, "cond.png", RED)
    target = img("cond.png", preset="small")
    whole = s.get(target)
    again = s.get(target, If_None_Match=whole.headers["etag"])
    equal((again.status, again.body, again.headers["etag"]), (304, b"", whole.headers["etag"]), "304")
    part = s.get(target, Range="bytes=4-9")
    equal((part.status, part.body), (206, whole.body[4:10]), "206")
    for header, status, name in (({"Range": "bytes=99999999-"}, 416, "InvalidRange"),
                                 ({"If_Match": '"other"'}, 412, "PreconditionFailed")):
        refusal = s.get(target, **header)
        equal((refusal.status, refusal.json()["error"]), (status, name), "a refusal as pages tell it")
        equal(refusal.headers["content-type"], "application/json", "Content-Type of %d" % status)
    head = s.request("HEAD", target)
    equal((head.status, head.body, head.headers["content-length"]), (200, b"", str(len(whole.body))), "HEAD")
    equal(head.headers["etag"], whole.headers["etag"], "ETag of HEAD")
    contains(s.get(target + "&v=7").headers["cache-control"], "immutable", "Cache-Control with v=")


def test_refused_requests(s):
    is_miss(s.get(img("cond.png", preset="nosuch")), 404, "unknown preset")
    is_miss(s.get(img("cond.png")), 400, "nothing asked for")
    is_miss(s.get(img("cond.png", preset="small", size="3")), 400, "unknown parameter")
    is_miss(s.get(img("cond.png", preset="small") + "&preset=medium"), 400, "preset twice")
    is_miss(s.get(img("cond.png", preset="small", w="3")), 400, "preset and size")
    is_miss(s.get("/_/img/photos?preset=small"), 400, "no key")
    is_miss(s.get("/_/img/No_Bucket/x?preset=small"), 400, "no bucket name")
    is_miss(s.get(img("x", bucket="nowhere", preset="small")), 404, "no such bucket")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        reply = s.request(method, img("cond.png", preset="small"))
        equal((reply.status, reply.headers["allow"]), (405, "GET, HEAD"), method)
    reply = s.request("GET", img("cond.png", preset="small"), body=b"body")
    equal(reply.status, 400, "GET with a body")
    reply = s.request("GET", "/_/img/photos/cond.png?preset=small",
                      headers={"Host": "photos.localhost:%d" % s.port})
    equal(reply.status, 403, "a key of a bucket-style host")  # that bucket is private


def test_permission_is_that_of_the_derived_object(s):
    equal(s.cli("buckets", "add", "private").returncode, 0, "buckets add")
    put(s, "p.png", darkroom.plain_png(300, 200, RED), "private")
    until(lambda: (s.item("p.png", bucket="private") or {}).get("ready"), "private/p.png")
    target = img("p.png", bucket="private", preset="small")
    is_miss(s.get(target), 403, "anonymous")
    is_miss(s.get(target + "&v=1&wait=1000&placeholder=1"), 403, "anonymous, waiting")
    is_miss(s.get(img("absent.png", bucket="private", preset="small")), 403, "absent, anonymous")
    reply = s.signed("GET", target)
    is_picture(reply, "webp", (160, 160), "signed")
    is_miss(s.signed("GET", img("absent.png", bucket="private", preset="small")), 404, "absent")
    contains(s.signed("GET", target + "&v=1").headers["cache-control"], "private", "Cache-Control")
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::private-derived/p.png/small*"}]}
    s.s3().put_bucket_policy(Bucket="private-derived", Policy=json.dumps(policy))
    equal(s.get(target).status, 200, "anonymous, by policy")
    is_miss(s.get(img("p.png", bucket="private", preset="medium")), 403, "another preset")
    # The public one: who may get everything but list nothing does not learn what is missing.
    is_miss(s.get(img("absent.png", preset="small")), 403, "absent in photos, anonymous")
    is_miss(s.signed("GET", img("absent.png", preset="small")), 404, "absent in photos")


def test_wrong_credentials_are_not_anonymous(s):
    headers = s.signed_headers("GET", img("cond.png", preset="small"))
    headers["Authorization"] = headers["Authorization"][:-4] + "0000"
    is_miss(s.request("GET", img("cond.png", preset="small"), headers=headers), 403, "bad signature")


def test_presigned_by_s3_rules(s):
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    request = AWSRequest(method="GET", url=s.url + img("p.png", bucket="private", preset="medium"))
    S3SigV4QueryAuth(Credentials(s.key, s.secret), "s3", "us-east-1", expires=60).add_auth(request)
    target = request.url[len(s.url):]
    is_picture(s.get(target), "webp", (300, 200), "presigned")
    is_miss(s.get(target.replace("medium", "small")), 403, "presigned for another preset")


# ---- not ready ----

def test_pending(s):
    with Paused(s):
        put(s, "later.png", darkroom.plain_png(300, 100, GREEN))
        until(lambda: (s.item("later.png") or {}).get("metadata_state") == "ready", "metadata")
        reply = s.get(img("later.png", preset="small"))
        equal(is_miss(reply, 202, "pending")["state"], "pending", "state")
        equal((reply.headers["x-darkroom-state"], reply.headers["retry-after"]), ("pending", "1"), "202")
        equal(s.request("HEAD", img("later.png", preset="small")).status, 202, "HEAD")
        is_miss(s.get(img("later.png", preset="small", wait=50)), 202, "a wait that ends")
        reply = s.get(img("later.png", preset="small", placeholder=1))
        equal((reply.status, reply.headers["content-type"], reply.headers["cache-control"]),
              (200, "image/png", "no-store"), "placeholder")
        equal(reply.headers["x-darkroom-state"], "pending", "state of the placeholder")
        picture = darkroom.picture(reply.body)
        true(max(picture.size) <= 32 and picture.width > picture.height, "placeholder: %s" % (picture.size,))
        is_colour(reply.body, GREEN, "placeholder")
        auto = img("later.png", preset="small", placeholder=1, fm="auto")
        equal(s.get(auto, Accept="image/*").status, 200, "a placeholder that is accepted")
        is_miss(s.get(auto, Accept="image/webp"), 202, "a placeholder that is not accepted")
    until(lambda: s.get(img("later.png", preset="small")).status == 200, "later.png")
    reply = s.get(img("later.png", preset="small", placeholder=1))
    is_picture(reply, "webp", (160, 100), "once it is ready")  # nothing is enlarged


def test_wait_joins_and_starts_nothing(s):
    s.idle()
    with Paused(s) as paused:
        put(s, "wait.png", darkroom.plain_png(300, 300, BLUE))
        until(lambda: (s.item("wait.png") or {}).get("metadata_state") == "ready", "metadata")
        before = s.metric("invocations_total")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            waits = [pool.submit(s.get, img("wait.png", preset="small", wait=WAIT_MS)) for _ in range(20)]
            until(lambda: s.get("/_/health").status == 200, "health")
            true(not any(w.done() for w in waits), "a wait has ended before there was news")
            equal(s.metric("invocations_total"), before, "invocations")
            paused.go()
            for w in waits:
                is_picture(w.result(), "webp", (160, 160), "what was waited for")
                is_colour(w.result().body, BLUE, "what was waited for")
    equal(invocations(s), before + 2, "invocations")  # presets, and AVIF behind them


def test_failures_end_a_wait_with_the_reason(s):
    put(s, "text.txt", b"this is no picture")
    reply = s.get(img("text.txt", preset="small", wait=WAIT_MS))
    is_miss(reply, 404, "no picture")
    contains(reply.headers["x-darkroom-state"], "skipped", "state")
    before = invocations(s)
    reply = s.get(signed(url_key(s), "text.txt", w=50))
    is_miss(reply, 404, "free size of no picture")
    contains(reply.headers["x-darkroom-state"], "skipped", "state")
    equal(invocations(s), before, "invocations for what is known to be none")


def test_nobody_made_it(s):
    s.s3().create_bucket(Bucket="plain")
    s.s3().create_bucket(Bucket="plain-derived")
    put(s, "x.png", darkroom.plain_png(30, 30, RED), "plain")
    reply = s.signed("GET", img("x.png", bucket="plain", preset="small"))
    contains(is_miss(reply, 404, "no rule")["message"], "reprocess", "message")


# ---- overwritten, deleted ----

def test_overwritten(s):
    ready(s, "over.png", RED)
    target = img("over.png", preset="small")
    with Paused(s) as paused:
        put(s, "over.png", darkroom.plain_png(400, 300, BLUE))
        for more in ("", "&v=2", "&fm=auto", "&placeholder=1"):
            reply = s.get(target + more)
            is_colour(reply.body, RED, "the older picture")
            equal(reply.headers["cache-control"], "no-cache", "Cache-Control with %s" % more)
            equal(reply.headers["x-darkroom-state"], "pending", "state")
        direct = s.get("/photos-derived/over.png/small.webp?v=2")
        equal((direct.status, direct.headers["cache-control"]), (200, "no-cache"), "direct GET with v=")
        paused.go()
        is_colour(s.get(target + "&wait=%d" % WAIT_MS).body, BLUE, "what was waited for")
    reply = s.get(target + "&v=2")
    true("x-darkroom-state" not in reply.headers, "state of a ready one")
    contains(reply.headers["cache-control"], "immutable", "Cache-Control once it is ready")
    contains(s.get("/photos-derived/over.png/small.webp?v=2").headers["cache-control"], "immutable",
             "Cache-Control of a direct GET")


def test_never_the_old_one_once_the_new_is_ready(s):
    free = signed(url_key(s), "swap.png", w=60, fm="png")
    for i in range(12):
        colour = (RED, GREEN, BLUE)[i % 3]
        put(s, "swap.png", darkroom.plain_png(200, 200, colour))
        is_colour(s.get(free).body, colour, "free size of version %d" % i)
        reply = s.get(img("swap.png", preset="small", wait=WAIT_MS))
        is_colour(reply.body, colour, "version %d" % i)
        is_colour(s.get(img("swap.png", preset="small")).body, colour, "version %d again" % i)


def test_nobody_goes_back_in_time(s):
    """Readers of every kind while versions follow each other: each sees them in their order."""
    shades = [12 + 16 * i for i in range(15)]
    ready(s, "flow.png", (shades[0],) * 3)
    targets = [img("flow.png", preset="small"), img("flow.png", preset="small", wait=WAIT_MS),
               img("flow.png", preset="multi", fm="auto"), signed(url_key(s), "flow.png", w=64, fm="png"),
               img("flow.png", preset="small", v=1)]
    stop, seen = threading.Event(), [set() for _ in targets]

    def read(i):
        last = 0
        while not stop.is_set():
            reply = s.get(targets[i], Accept="image/webp,image/jpeg")
            if reply.status in (202, 503):
                continue
            equal(reply.status, 200, "status of " + targets[i])
            shade = colour_of(reply.body)[0]
            version = min(range(len(shades)), key=lambda v: abs(shades[v] - shade))
            true(version >= last, "%s: version %d after %d" % (targets[i], version, last))
            last = version
            seen[i].add(version)

    def write():
        try:
            for shade in shades[1:]:
                etag = put(s, "flow.png", darkroom.plain_png(120, 120, (shade,) * 3))
                if shade % 32 == 12:
                    s.settled("flow.png", etag)
            s.settled("flow.png", etag)
            until(lambda: all(len(shades) - 1 in versions for versions in seen), "the last version")
        finally:
            stop.set()
    darkroom.at_once(len(targets) + 1, lambda i: write() if i == len(targets) else read(i))


def test_reconfigured(s):
    """Thumbnails stay until a reprocess, as they are, and are not to be kept."""
    ready(s, "conf.png", GREEN)
    changed = [dict(p, width=50, height=50) if p["name"] == "medium" else p for p in PRESETS]
    environment = {"DERIVED_BUCKET": "{bucket}-derived", "PRESETS": json.dumps(changed)}
    target = img("conf.png", preset="medium", v=1)
    functions_set(s, "thumbnail", environment=environment)
    reply = s.get(target)
    is_picture(reply, "webp", (400, 300), "as it was configured before")
    equal(reply.headers["cache-control"], "no-cache", "Cache-Control")
    true("x-darkroom-state" not in reply.headers, "a state, although nothing is under way")
    equal(s.cli("reprocess", "s3://photos/conf.png").returncode, 0, "reprocess")
    reply = s.get(target)
    is_picture(reply, "webp", (50, 38), "as it is configured now")
    contains(reply.headers["cache-control"], "immutable", "Cache-Control")
    functions_set(s, "thumbnail", environment=dict(environment, PRESETS=json.dumps(PRESETS)))


def test_deleted(s):
    ready(s, "gone.png", RED)
    free = signed(url_key(s), "gone.png", w=50)
    equal((s.get(img("gone.png", preset="small")).status, s.get(free).status), (200, 200), "before")
    s.s3().delete_object(Bucket="photos", Key="gone.png")
    is_miss(s.get(img("gone.png", preset="small")), 403, "anonymous")
    is_miss(s.get(img("gone.png", preset="small", wait=WAIT_MS)), 403, "anonymous, waiting")
    is_miss(s.signed("GET", img("gone.png", preset="small")), 404, "who may list")
    is_miss(s.get(free), 404, "free size")
    left = s.s3().list_objects_v2(Bucket="photos-derived", Prefix="gone.png/")
    equal(left["KeyCount"], 0, "derived objects that are left")


def test_what_a_client_puts_in_its_place_is_shown(s):
    ready(s, "mine.png", RED)
    put(s, "mine.png/small.webp", b"my own", "photos-derived")
    reply = s.get(img("mine.png", preset="small", v=1))
    equal((reply.status, reply.body, reply.headers["cache-control"]), (200, b"my own", "no-cache"), "own")
    s.s3().delete_object(Bucket="photos-derived", Key="mine.png/small.webp")
    is_miss(s.get(img("mine.png", preset="small")), 404, "taken away by hand")


# ---- fm=auto ----

def test_accept_matrix(s):
    ready(s, "acc.png", GREEN, (300, 300))
    until(lambda: s.thumbnail("acc.png", "multi", "avif").status == 200, "AVIF")
    for name, (accept, best) in BROWSERS.items():
        reply = s.get(img("acc.png", preset="multi", fm="auto"), Accept=accept)
        equal((reply.status, reply.headers["content-type"]), (200, "image/" + best), name)
        equal(reply.headers["vary"], "Accept", "Vary for " + name)
        plain = s.get(img("acc.png", preset="plain", fm="auto"), Accept=accept)
        equal(plain.headers["content-type"], "image/jpeg", "only JPEG for " + name)
        webp = s.get(img("acc.png", preset="small", fm="auto"), Accept=accept)
        equal((webp.status, webp.headers["content-type"]), (200, "image/webp"), "only WebP for " + name)
        free = s.get(signed(url_key(s), "acc.png", w=40, fm="auto"), Accept=accept)
        equal(free.headers["content-type"], "image/" + ("webp" if "webp" in accept else "jpeg"),
              "free size for " + name)
    for kind in ("webp", "avif", "jpeg"):
        reply = s.get(img("acc.png", preset="multi", fm=kind))
        equal(reply.headers["content-type"], "image/" + kind, "fm=" + kind)
        true("vary" not in reply.headers, "Vary without a choice")


def test_never_what_is_not_accepted(s):
    target = img("acc.png", preset="multi", fm="auto")
    for accept in ("text/html", "image/png", "image/*;q=0", "*/*;q=0", "image/jxl"):
        reply = s.get(target, Accept=accept)
        contains(is_miss(reply, 406, accept)["message"], "image/avif", "message")
        equal(reply.headers["vary"], "Accept", "Vary of 406")
    reply = s.get(target, Accept="image/avif;q=0, image/webp;q=0.2, image/jpeg;q=0.3")
    equal(reply.headers["content-type"], "image/jpeg", "by weight")
    etag = s.get(target, Accept="image/webp").headers["etag"]
    reply = s.get(target, Accept="image/webp", If_None_Match=etag)
    equal((reply.status, reply.headers["vary"]), (304, "Accept"), "304")
    equal(s.get(img("absent", preset="multi", fm="auto")).headers["vary"], "Accept", "Vary of 403")
    is_miss(s.get(img("acc.png", preset="multi", fm="png")), 404, "a format it has not")


# ---- free sizes ----

def test_free_size_needs_a_signature(s):
    ready(s, "free.png", RED, (800, 600))
    before, demands = invocations(s), s.metric("demands_total")
    good = signed(url_key(s), "free.png", w=123, h=77, fit="cover")
    past = signed(url_key(s), "free.png", w=123, exp=int(time.time()) - 1)
    bad = [img("free.png", w=123), img("free.png", w=123, exp=LATER), good[:-1], good + "0", past,
           img("free.png", w=123, exp=LATER, sig="0" * 64), good.replace("w=123", "w=124"),
           good.replace("free.png", "cond.png"), good.replace("cover", "contain"),
           good.replace("exp=", "exp=1"), good + "&v=1", signed(b"x" * 32, "free.png", w=123),
           img("free.png", w=123, exp=LATER, sig=""), img("absent.png", w=123)]
    texts = set()
    for target in bad:
        reply = s.get(target)
        if reply.status != 400:
            texts.add(is_miss(reply, 403, target)["message"])
    equal(len(texts), 1, "different words for missing, wrong and expired")
    is_miss(s.signed("GET", img("free.png", w=123)), 403, "signed by S3's rules, as root")
    equal((invocations(s), s.metric("demands_total")), (before, demands), "invocations and demands")
    reply = s.get(good)
    is_picture(reply, "webp", (123, 77), "free size")
    equal(reply.headers["cache-control"], "no-cache", "Cache-Control")
    equal(invocations(s), before + 1, "invocations")


def test_free_size_is_stored(s):
    before = invocations(s)
    target = signed(url_key(s), "free.png", w=200, fm="jpeg", q=60, v="3")
    first, second = s.get(target), s.get(target)
    is_picture(first, "jpeg", (200, 150), "free size")
    equal((second.body, second.headers["etag"]), (first.body, first.headers["etag"]), "second answer")
    equal(invocations(s), before + 1, "invocations")
    age = int(first.headers["cache-control"].split("max-age=")[1].split(",")[0])
    true(0 < age <= 3600, "max-age %d outlives the URL" % age)
    keys = [o["Key"] for o in s.s3().list_objects_v2(Bucket="photos-derived", Prefix="free.png/_")["Contents"]]
    true(any(k.endswith(".jpg") for k in keys), "keys: %s" % keys)
    # Another spelling of the same picture is the same picture.
    again = s.get(signed(url_key(s), "free.png", fm="jpeg", q=60, dpr="2", w=100, fit="inside"))
    equal(again.body, first.body, "the same size by dpr")
    equal(invocations(s), before + 1, "invocations")
    equal(s.request("HEAD", target).headers["etag"], first.headers["etag"], "HEAD")
    # Taken away by hand, it is made again.
    for key in keys:
        s.s3().delete_object(Bucket="photos-derived", Key=key)
    equal(s.get(target).body, first.body, "made again")


def test_free_sizes_of_every_kind(s):
    for params, kind, size in [
            (dict(w=100, h=100), "webp", (100, 75)), (dict(w=100, h=100, fit="cover"), "webp", (100, 100)),
            (dict(w=100, h=100, fit="contain", fm="png"), "png", (100, 100)), (dict(h=60), "webp", (80, 60)),
            (dict(w=100, h=100, dpr="1.5", fm="jpeg"), "jpeg", (150, 113)),
            (dict(w=4000), "webp", (800, 600)), (dict(w=50, h=50, fit="cover", focus="attention"), "webp", (50, 50))]:
        reply = s.get(signed(url_key(s), "free.png", **params))
        equal((reply.status, reply.headers["content-type"]), (200, "image/" + kind), str(params))
        got = darkroom.picture(reply.body).size
        true(all(abs(a - b) <= 1 for a, b in zip(got, size)), "%s is %s, not %s" % (params, got, size))
    is_miss(s.get(signed(url_key(s), "absent.png", w=10)), 404, "absent")
    is_miss(s.get(signed(url_key(s), "x", bucket="nowhere", w=10)), 404, "no such bucket")
    is_miss(s.get(signed(url_key(s), "x.png", bucket="plain-derived", w=10)), 404, "nothing derived from it")


def test_signed_preset_opens_a_private_bucket(s):
    key = url_key(s)
    is_picture(s.get(signed(key, "p.png", bucket="private", preset="medium")), "webp", (300, 200), "signed")
    is_miss(s.get(signed(key, "p.png", bucket="private", preset="medium") + "0"), 403, "tampered")
    is_miss(s.get(signed(key, "cond.png", preset="small", exp=1)), 403, "expired, although public")
    is_miss(s.get(signed(key, "absent.png", bucket="private", preset="small")), 404, "absent")


def test_cli_signs(s):
    url = s.cli("sign-url", "s3://photos/é ü/+%~!*'().png", "--width", "7", "--fit", "inside").stdout.strip()
    expires = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["exp"][0]
    equal(url, s.url + signed(url_key(s), "é ü/+%~!*'().png", w=7, fit="inside", exp=expires), "the CLI's URL")
    done = s.cli("sign-url", "s3://photos/a b+c%é.png", "--width", "70", "--height", "50", "--fit", "cover",
                 "--format", "jpeg", "--quality", "50", "--dpr", "2", "--focus", "entropy")
    equal(done.returncode, 0, "exit code (%s)" % done.stderr)
    true(done.stdout.startswith(s.url + "/_/img/photos/a%20b%2Bc%25%C3%A9.png?"), done.stdout)
    is_picture(s.get(done.stdout.strip()[len(s.url):]), "jpeg", (140, 100), "what the CLI signed")
    done = s.cli("sign-url", "s3://private/p.png", "--preset", "small", "--expires", "100", "--json")
    is_picture(s.get(json.loads(done.stdout)["url"][len(s.url):]), "webp", (160, 160), "a preset")
    for bad in (["s3://photos/x"], ["s3://photos/x", "--width", "0"], ["s3://photos/x", "--width"],
                ["s3://photos", "--width", "5"], ["--width", "5"], ["s3://photos/x", "--size", "5"],
                ["s3://photos/x", "--width", "5", "--expires", "0"]):
        equal(s.cli("sign-url", *bad).returncode, 2, "exit code of %s" % bad)
    equal(s.request("POST", "/_/sign-url", b"{}").status, 403, "sign-url, unsigned")


# ---- many ----

def raw_gets(s, targets):
    """All requests are sent before any answer is read; the answers."""
    socks = []
    try:
        for _ in targets:
            socks.append(socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS))
        for c, target in zip(socks, targets):
            c.sendall(("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target).encode())
        answers = []
        for c in socks:
            r = darkroom.http.client.HTTPResponse(c)
            r.begin()
            answers.append(darkroom.Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()))
        return answers
    finally:
        for c in socks:
            c.close()


def test_thousand_first_requests_are_one_invocation(s):
    ready(s, "crowd.jpg", RED, (1600, 1200))
    before = invocations(s)
    answers = raw_gets(s, [signed(url_key(s), "crowd.jpg", w=333)] * AT_ONCE)
    equal({a.status for a in answers}, {200}, "statuses")
    equal(len({a.body for a in answers}), 1, "different answers")
    is_picture(answers[0], "webp", (333, 250), "the picture")
    equal(invocations(s), before + 1, "invocations")


def test_overload(s):
    ready(s, "flood.png", RED, (3000, 2000))
    stored = img("flood.png", preset="small")
    stop, seen = threading.Event(), []

    def look():
        while not stop.is_set():
            seen.append((s.get(stored).status, s.get("/_/health").status))
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        answers = raw_gets(s, [signed(url_key(s), "flood.png", w=1000 + i, fm="png") for i in range(120)])
    finally:
        stop.set()
        watcher.join()
    statuses = {a.status for a in answers}
    equal(statuses, {200, 503}, "statuses of the flood")
    for a in answers:
        if a.status == 503:
            equal(a.headers.get("retry-after"), "1", "Retry-After")
            contains(is_miss(a, 503, "refused")["message"], "being made", "message")
    true(seen, "nothing was served meanwhile")
    equal(set(seen), {(200, 200)}, "stored ones and health meanwhile")
    true(s.metric("demands_refused_total") > 0, "no demand was refused")


# ---- the end ----

def test_stopping_ends_what_waits(s):
    polls = []

    def all_are_in(since):
        polls.append(1)
        return s.metric("http_requests_total") >= since + len(polls) + 8
    with Paused(s):
        put(s, "stop.png", darkroom.plain_png(100, 100, RED))
        since = s.metric("http_requests_total")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            waits = [pool.submit(s.get, img("stop.png", preset="small", wait=WAIT_MS)) for _ in range(8)]
            until(lambda: all_are_in(since), "eight that wait")
            s.restart()
            equal({w.result().status for w in waits}, {202}, "statuses of those that waited")
    until(lambda: s.get(img("stop.png", preset="small")).status == 200, "stop.png after the restart")


# ---- keys ----

def test_keys_change_without_breaking_urls(s):
    old = url_key(s)
    target = signed(old, "free.png", w=200, fm="jpeg", q=60)
    path = os.path.join(s.data, "url-keys")
    with open(path, "w") as f:
        f.write("ab" * 32 + "\n" + old.hex() + "\n")
    s.restart()
    equal(s.get(target).status, 200, "signed with the key before")
    equal(s.get(signed(b"\xab" * 32, "free.png", w=200)).status, 200, "signed with the new one")
    contains(s.cli("sign-url", "s3://photos/free.png", "--width", "200").stdout, "sig=", "sign-url")
    with open(path, "w") as f:
        f.write("ab" * 32 + "\n")
    s.restart()
    is_miss(s.get(target), 403, "signed with a key that is gone")
    equal(os.stat(path).st_mode & 0o077, 0, "mode of url-keys")


picture_url = readme_signer()
raise_file_limit()
# The thousand connections are opened before the first one asks: that may take a while.
darkroom.run(globals(), config={"workers": {"count": 2}, "http": {"header_deadline_ms": 120000},
                                "image": {"demands_max": 8, "demand_wait_ms": 300000}})
