#!/usr/bin/python3
"""/_/img against those who want what is not theirs: other accounts' pictures, names that lie, requests
that are not what was signed, answers that say too much."""
import json
import os
import socket
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true, until

ANN = {"id": "111111111111", "display_name": "ann", "email": "ann@example.org",
       "access_key_id": "ANNKEY", "secret_access_key": "ann-secret"}
BOB = {"id": "222222222222", "display_name": "bob", "email": "bob@example.org",
       "access_key_id": "BOBKEY", "secret_access_key": "bob-secret"}
RED, BLUE, GREEN = (200, 20, 20), (20, 20, 200), (20, 180, 20)
WAIT_MS = 30000
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:"


def escape(name, value, safe="-._~"):
    return name + "=" + urllib.parse.quote(str(value), safe=safe)


def img(key, bucket="photos", **params):
    path = "/_/img/%s/%s" % (bucket, urllib.parse.quote(key, safe="/-._~"))
    query = "&".join(escape(n, v) for n, v in sorted(params.items()))
    return path + ("?" + query if query else "")


def url_sign(s, url):
    import hashlib
    import hmac
    with open(os.path.join(s.data, "url-keys")) as f:
        key = bytes.fromhex(f.read().split()[0])
    return url + "&sig=" + hmac.new(key, url.encode(), hashlib.sha256).hexdigest()


def signed(s, key, bucket="photos", **params):
    params.setdefault("exp", int(time.time()) + 3600)
    return url_sign(s, img(key, bucket, **params))


def of(s, account):
    return s.s3(key=account["access_key_id"], secret=account["secret_access_key"])


def as_account(s, account, target, method="GET", **how):
    key, secret = s.key, s.secret
    s.key, s.secret = account["access_key_id"], account["secret_access_key"]
    try:
        return s.request(method, target, None, s.signed_headers(method, target, **how))
    finally:
        s.key, s.secret = key, secret


def environment(s, **env):
    reply = s.signed("PUT", "/_/functions?name=thumbnail", json.dumps({"environment": env}).encode())
    equal(reply.status, 200, "status of setting the environment (%s)" % reply.body)


def concurrency(s, count):
    reply = s.signed("PUT", "/_/functions?name=thumbnail", json.dumps({"reserved_concurrency": count}).encode())
    equal(reply.status, 200, "status of setting the concurrency")


def colour_is(body, want, what):
    picture = darkroom.picture(body).convert("RGB")
    got = picture.getpixel((picture.width // 2, picture.height // 2))
    true(all(abs(a - b) <= 12 for a, b in zip(got, want)), "%s is %s, not %s" % (what, got, want))


def told(reply):
    """What an answer tells: all but what differs between any two."""
    body = reply.json() if reply.headers.get("content-type") == "application/json" else reply.body
    if isinstance(body, dict):
        body.pop("request_id", None)
    hidden = ("date", "x-amz-request-id", "content-length")
    return reply.status, {k: v for k, v in reply.headers.items() if k not in hidden}, body


def invocations(s):
    s.idle()
    return s.metric("invocations_total")


# ---- whose pictures ----

def test_shared_derived_bucket(s):
    """Two buckets, one key, one derived bucket: the last writer's picture is nobody else's."""
    for name in ("left", "right", "thumbs"):
        s.s3().create_bucket(Bucket=name)
    colours = {"left": RED, "right": BLUE}
    for name, colour in colours.items():
        s.s3().put_object(Bucket=name, Key="k.png", Body=darkroom.plain_png(64, 64, colour))
    environment(s, DERIVED_BUCKET="thumbs")
    try:
        for _ in range(3):
            for name, colour in colours.items():
                reply = s.get(signed(s, "k.png", name, w=33, fm="png", v=1))
                equal(reply.status, 200, "status of %s" % name)
                colour_is(reply.body, colour, "the picture of " + name)
    finally:
        environment(s, DERIVED_BUCKET="{bucket}-derived")


def test_states_are_no_list_of_what_there_is(s):
    """Who may get the derived objects but list nothing does not learn of objects nobody derives from."""
    s.s3().create_bucket(Bucket="quiet")
    s.s3().create_bucket(Bucket="quiet-derived")
    s.s3().put_bucket_policy(Bucket="quiet-derived", Policy=json.dumps({
        "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::quiet-derived/*"}]}))
    s.s3().put_object(Bucket="quiet", Key="passwords.txt", Body=b"hidden")
    equal(told(s.get(img("passwords.txt", "quiet", preset="small"))),
          told(s.get(img("absent.txt", "quiet", preset="small"))), "what anybody is told")


def test_deny_binds_delivery(s):
    s.put_settled("deny.png", darkroom.plain_png(64, 64, RED))
    target = img("deny.png", preset="small")
    equal(s.get(target).status, 200, "before")
    old = s.s3().get_bucket_policy(Bucket="photos-derived")["Policy"]
    both = json.loads(old)
    both["Statement"].append({
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::photos-derived/deny.png/*",
        "Condition": {"StringNotLike": {"aws:Referer": "https://good.example/*"}}})
    s.s3().put_bucket_policy(Bucket="photos-derived", Policy=json.dumps(both))
    try:
        for more in ("", "&wait=10&placeholder=1", "&v=1"):
            equal(s.get(target + more).status, 403, "without the referer")
        equal(s.signed("GET", target).status, 403, "root without the referer")
        equal(s.get(target, Referer="https://good.example/x").status, 200, "with the referer")
    finally:
        s.s3().put_bucket_policy(Bucket="photos-derived", Policy=old)


def test_signed_for_another_service(s):
    s.put_settled("svc.png", darkroom.plain_png(64, 64, RED))
    for service in ("dynamodb", "iam", "s3control"):
        target = img("svc.png", preset="small")
        headers = s.signed_headers("GET", target, service=service)
        true(s.request("GET", target, None, headers).status in (400, 403), "signed for " + service)


def test_only_root_signs(s):
    body = json.dumps({"bucket": "photos", "key": "a.png", "params": {"w": "10"}}).encode()
    for account in (ANN, BOB):
        key, secret, s.key, s.secret = s.key, s.secret, account["access_key_id"], account["secret_access_key"]
        try:
            equal(s.signed("POST", "/_/sign-url", body).status, 403, "sign-url by " + account["display_name"])
        finally:
            s.key, s.secret = key, secret


# ---- what was signed ----

def test_signature_covers_what_is_meant(s):
    """Another spelling of the same request is the same request; any other request is none."""
    s.put_settled("a A+b.png", darkroom.plain_png(64, 64, RED))
    good = signed(s, "a A+b.png", w=21, fm="png", v="x y")
    path, query = good.split("?")
    parts = query.split("&")
    same = [good, path + "?" + "&".join(reversed(parts)), good.replace("/photos/a", "/photos/%61"),
            good.replace("fm=png", "f%6d=%70ng")]
    for target in same:
        equal(s.get(target).status, 200, target)
        equal(s.request("HEAD", target).status, 200, "HEAD of " + target)
    other = [good.replace("w=21", "w=22"), good.replace("w=21", "w=021"), good.replace("w=21", "w=+21"),
             good.replace("v=x%20y", "v="), good.replace("&v=x%20y", ""), good + "&v=x%20y", good + "&dpr=1",
             good + "&wait=0", good + "&placeholder=0", good.replace("/_/img/photos/", "/_/img//photos/"),
             good.replace("/a%20A", "//a%20A"), good.replace("/a%20A", "/./a%20A"),
             good.replace("/a%20A", "/x/../a%20A"), good.replace("a%20A", "a%20a"), good.replace("%2B", "+"),
             good.replace("a%20A", "a%2520A"), good[:-1], good[:-2], good + "00", good + "%00",
             good.replace("sig=", "sig=%20"), good.replace("sig=", "SIG="), good + "&sig=" + good[-64:],
             good.replace("exp=", "exp=0"), good.replace("exp=", "exp=-"), good.replace("fm=png", "fm=PNG")]
    for target in other:
        true(s.get(target).status in (400, 403) or "%2B" in good and target == good.replace("%2B", "+"),
             "%s: %d" % (target, s.get(target).status))


def test_expiry_is_a_number_in_the_future(s):
    for exp in ("0", "-1", "+1", "00", "1e12", "0x7fffffff", "9" * 18, "9" * 19, "9" * 40, "99999999999999999999",
                "18446744073709551615", "9223372036854775808", "", " 1", "1.5", str(int(time.time()) - 1)):
        target = url_sign(s, "/_/img/photos/a%20A%2Bb.png?exp=" + urllib.parse.quote(exp) + "&w=20")
        true(s.get(target).status in (400, 403), "exp=%s: %d" % (exp, s.get(target).status))


def test_names_that_lie(s):
    """Odd keys are keys, and nothing else."""
    before = s.metric("invocations_total")
    for path in ("/_/img/photos/%2e%2e/photos-derived/x", "/_/img/photos/..%2f..%2fmeta.db", "/_/img/photos/%00",
                 "/_/img/photos/a%00.png", "/_/img/photos//", "/_/img/photos/x/", "/_/img/photos/%2F",
                 "/_/img/photos/%ff", "/_/img/photos/%", "/_/img/PHOTOS/a.png", "/_/img/photos%2Fa.png/x",
                 "/_/img/photos/", "/_/img/photos", "/_/img/", "/_/img", "/_/img//x", "/_/img/../credentials",
                 "/_/img/photos/" + "k" * 1025, "/_/img/photos/" + "k" * 1024):
        for query in ("?preset=small", "?preset=small&wait=10&placeholder=1"):
            reply = s.get(path + query)
            true(reply.status in (400, 403, 404), "%s: %d" % (path, reply.status))
        reply = s.get(url_sign(s, path + "?exp=%d&w=20" % (time.time() + 60)))
        true(reply.status in (400, 403, 404), "%s, signed: %d" % (path, reply.status))
    equal(s.metric("invocations_total"), before, "invocations")


# ---- what is current ----

def test_an_older_version_comes_back(s):
    """A delete marker that goes, a newest version that goes: what is shown is what is current."""
    s3 = s.s3()
    s3.create_bucket(Bucket="vers")
    s3.create_bucket(Bucket="vers-derived")
    s3.put_bucket_versioning(Bucket="vers", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket="vers", NotificationConfiguration={
        "LambdaFunctionConfigurations": [
            {"LambdaFunctionArn": FUNCTION + name, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
            for name in ("thumbnail", "metadata")]})
    first = s3.put_object(Bucket="vers", Key="k.png", Body=darkroom.plain_png(64, 64, RED))["VersionId"]
    preset = img("k.png", "vers", preset="small", wait=WAIT_MS, v=1)

    def shown(colour, what):
        reply = s.signed("GET", preset)
        equal(reply.status, 200, "status of the preset, %s (%s)" % (what, reply.body[:200]))
        colour_is(reply.body, colour, "the preset, " + what)
        contains(reply.headers["cache-control"], "immutable", "Cache-Control, " + what)
        reply = s.get(signed(s, "k.png", "vers", w=40, fm="png", v=1))
        equal(reply.status, 200, "status of the free size, %s (%s)" % (what, reply.body[:200]))
        colour_is(reply.body, colour, "the free size, " + what)
    shown(RED, "first")
    second = s3.put_object(Bucket="vers", Key="k.png", Body=darkroom.plain_png(64, 64, BLUE))["VersionId"]
    shown(BLUE, "overwritten")
    s3.delete_object(Bucket="vers", Key="k.png", VersionId=second)
    shown(RED, "newest version deleted")
    marker = s3.delete_object(Bucket="vers", Key="k.png")["VersionId"]
    equal(s.get(signed(s, "k.png", "vers", w=40, fm="png", v=1)).status, 404, "behind a delete marker")
    equal(s.signed("GET", preset).status, 404, "preset behind a delete marker")
    s3.delete_object(Bucket="vers", Key="k.png", VersionId=marker)
    shown(RED, "delete marker removed")
    s3.delete_object(Bucket="vers", Key="k.png", VersionId=first)
    equal(s.signed("GET", preset).status, 404, "after the last version")


def test_presets_change_under_a_wait(s):
    presets = [{"name": "small", "width": 32, "height": 32}, {"name": "big", "width": 60, "height": 60}]
    environment(s, DERIVED_BUCKET="{bucket}-derived", PRESETS=json.dumps(presets))
    concurrency(s, 0)
    try:
        s.s3().put_object(Bucket="photos", Key="w.png", Body=darkroom.plain_png(64, 64, RED))
        c = socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS)
        c.sendall(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % img("w.png", preset="big", wait=WAIT_MS)).encode())
        environment(s, DERIVED_BUCKET="{bucket}-derived", PRESETS=json.dumps(presets[:1]))
    finally:
        concurrency(s, -1)
    r = darkroom.http.client.HTTPResponse(c)
    r.begin()
    true(r.status in (404, 202), "status of a preset that went: %d" % r.status)
    r.read()
    c.close()
    equal(s.get(img("w.png", preset="big")).status, 404, "a preset that is gone")
    until(lambda: s.get(img("w.png", preset="small", wait=WAIT_MS)).status == 200, "small")


def test_derived_bucket_goes_and_comes(s):
    s3 = s.s3()
    s3.create_bucket(Bucket="coming")
    s3.put_object(Bucket="coming", Key="a.png", Body=darkroom.plain_png(64, 64, RED))
    target = signed(s, "a.png", "coming", w=30)
    before = invocations(s)
    equal(s.get(target).status, 404, "no derived bucket")
    equal(invocations(s), before, "invocations without a derived bucket")
    for _ in range(2):
        s3.create_bucket(Bucket="coming-derived")
        equal(s.get(target).status, 200, "with a derived bucket")
        for o in s3.list_objects_v2(Bucket="coming-derived")["Contents"]:
            s3.delete_object(Bucket="coming-derived", Key=o["Key"])
        s3.delete_bucket(Bucket="coming-derived")
        equal(s.get(target).status, 404, "its derived bucket gone")


def test_nothing_outlives_its_source(s):
    """Free sizes go with their source, whether a rule watches the bucket or not."""
    s3 = s.s3()
    s3.create_bucket(Bucket="ruleless")
    s3.create_bucket(Bucket="ruleless-derived")

    def left(bucket):
        return [o["Key"] for o in s3.list_objects_v2(Bucket=bucket + "-derived", Prefix="mine.png/").get("Contents", [])]
    for bucket in ("photos", "ruleless"):
        s3.put_object(Bucket=bucket, Key="mine.png", Body=darkroom.plain_png(64, 64, RED))
        s.idle()
        equal(s.get(signed(s, "mine.png", bucket, w=30)).status, 200, "a free size in " + bucket)
        s3.put_object(Bucket=bucket, Key="mine.png", Body=darkroom.plain_png(64, 64, BLUE))
        s.idle()
        equal([k for k in left(bucket) if "/_" in k], [], "free sizes of the older version in " + bucket)
        equal(s.get(signed(s, "mine.png", bucket, w=30)).status, 200, "a free size in " + bucket)
        s3.delete_object(Bucket=bucket, Key="mine.png")
        s.idle()
        equal(left(bucket), [], "what is left in %s-derived" % bucket)


# ---- many words, many pixels ----

def test_accept_floods(s):
    s.put_settled("flood.png", darkroom.plain_png(64, 64, RED))
    target = img("flood.png", preset="small", fm="auto")
    for accept in (",".join(["image/x;q=0.%d" % (i % 10) for i in range(600)]) + ",image/webp", "," * 9000 + "*/*",
                   "image/webp" + ";q=1" * 2000, '"' * 4000 + ",*/*", ";" * 5000, "image/*;q=" + "9" * 5000):
        reply = s.get(target, Accept=accept)
        true(reply.status in (200, 406), "status of %s...: %d" % (accept[:30], reply.status))
        equal(reply.headers["vary"], "Accept", "Vary")
    etag = s.get(target).headers["etag"]
    for more, status in (({"Range": "bytes=1-4"}, 206), ({"Range": "bytes=999999-"}, 416),
                         ({"If_None_Match": etag}, 304), ({"If_Match": '"x"'}, 412)):
        reply = s.get(target, **more)
        equal((reply.status, reply.headers.get("vary")), (status, "Accept"), "Vary with %s" % more)


def test_sizes_at_the_bounds(s):
    s.put_settled("dot.png", darkroom.plain_png(1, 1, RED))
    s.put_settled("line.png", darkroom.plain_png(20000, 1, RED))
    for key in ("dot.png", "line.png"):
        for params in ({"w": 4096, "h": 4096, "fit": "contain", "fm": "png", "q": 100}, {"w": 1024, "dpr": 4},
                       {"w": 4096, "h": 4096, "fit": "cover"}, {"w": 1, "h": 4096, "fit": "cover"}, {"h": 4096},
                       {"w": 1}, {"w": 1, "h": 1, "fit": "contain", "fm": "jpeg"}):
            reply = s.get(signed(s, key, **params))
            true(reply.status in (200, 404), "%s of %s: %d %s" % (params, key, reply.status, reply.body[:200]))
            if reply.status == 200:
                true(len(reply.body) < 8 << 20, "%s of %s: %d bytes" % (params, key, len(reply.body)))
    for params in ({"w": 4096, "dpr": 4}, {"w": 4097}, {"w": 0}, {"w": 1025, "dpr": "4.00"}, {"w": 10, "dpr": "0.5"},
                   {"w": 10, "q": 0}, {"w": 10, "q": 101}, {"w": "1e3"}, {"w": 10, "dpr": "1."}, {"w": 10, "dpr": ".5"}):
        true(s.get(signed(s, "dot.png", **params)).status == 400 or params.get("dpr") == "1.", str(params))


# Last: a bucket like this one keeps the operator from changing the function.

def test_bucket_with_the_name_of_anothers_derived_one(s):
    """Whoever takes the name first learns nothing of the pictures, and costs no decode."""
    of(s, BOB).create_bucket(Bucket="bobs")
    of(s, BOB).put_bucket_notification_configuration(Bucket="bobs", NotificationConfiguration={
        "LambdaFunctionConfigurations": [
            {"LambdaFunctionArn": FUNCTION + name, "Events": ["s3:ObjectCreated:*"]}
            for name in ("thumbnail", "metadata")]})
    of(s, BOB).delete_bucket(Bucket="bobs-derived")
    of(s, ANN).create_bucket(Bucket="bobs-derived")
    concurrency(s, 0)
    try:
        of(s, BOB).put_object(Bucket="bobs", Key="secret.png", Body=darkroom.plain_png(64, 64, RED))
        until(lambda: (s.item("secret.png", bucket="bobs") or {}).get("metadata_state") == "ready", "metadata")
        for more in ({}, {"placeholder": 1}, {"wait": 50}, {"fm": "auto"}):
            there = as_account(s, ANN, img("secret.png", "bobs", preset="small", **more))
            absent = as_account(s, ANN, img("absent.png", "bobs", preset="small", **more))
            equal(told(there), told(absent), "what Ann is told with %s" % more)
            equal(there.status, 404, "status")
    finally:
        concurrency(s, -1)
    before = invocations(s)
    for side in range(3):
        equal(s.get(signed(s, "secret.png", "bobs", w=20 + side)).status, 404, "a free size")
    equal(invocations(s), before, "invocations for pictures that have no place")


if __name__ == "__main__":
    darkroom.run(globals(), config={"workers": {"count": 2}, "accounts": [ANN, BOB]})
