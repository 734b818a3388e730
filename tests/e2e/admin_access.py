#!/usr/bin/python3
"""Who may call the pages under /_/: the list is the server's own table, so a page that is new cannot be
forgotten. A page that is not one of the three named here must refuse everybody but the root account,
however the request is signed, and must take root's."""
import base64
import email.utils
import hashlib
import hmac
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
import darkroom
from conformance import MAIN, OTHER, exchange, presign, sign
from darkroom import contains, equal, true, until

ANYONE = {("GET", "/_/health"), ("GET", "/_/formats")}
METRICS = {("GET", "/_/metrics")}
TOKEN = "let-me-see"
# What the router has beside the table; who may there: events.py, images.py.
SERVICES = {"s3", "ddb", "image", "event_stream", "admin"}

ROUTES = darkroom.admin_routes()
GUARDED = [r for r in ROUTES if r not in ANYONE | METRICS]


# ---- requests ----

def send(s, method, target, body, headers):
    headers = dict({"Host": "%s:%d" % (s.host, s.port)}, **headers)
    if body is not None:
        headers["Content-Length"] = str(len(body))
    return exchange(s, method, target, body or b"", headers)


def header_signed(account, payload=None, **how):
    def call(s, method, target, body):
        headers = {"Host": "%s:%d" % (s.host, s.port)}
        sign(account, method, target, headers, payload or hashlib.sha256(body or b"").hexdigest(), **how)
        return send(s, method, target, body, headers)
    return call


def presigned(account):
    return lambda s, method, target, body: send(s, method, presign(s, account, method, target), body, {})


def version_2(account):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html"""
    def call(s, method, target, body):
        date = email.utils.formatdate(usegmt=True)
        text = "%s\n\n\n%s\n%s" % (method, date, target.partition("?")[0])
        mac = hmac.new(account["secret_access_key"].encode(), text.encode(), hashlib.sha1).digest()
        return send(s, method, target, body, {"Date": date, "Authorization": "AWS %s:%s" % (
            account["access_key_id"], base64.b64encode(mac).decode())})
    return call


def anonymous(s, method, target, body):
    return send(s, method, target, body, {})


def root(s):
    return {"access_key_id": s.key, "secret_access_key": s.secret}


def strangers(s):
    """Everybody who is not root, and root in the forms that a link or a proxy could repeat."""
    wrong = dict(root(s), secret_access_key="wrong")
    unknown = dict(MAIN, access_key_id="NOSUCHKEY")
    return {
        "anonymous": anonymous,
        "bearer": lambda s, m, t, b: send(s, m, t, b, {"Authorization": "Bearer " + s.secret}),
        "an account": header_signed(MAIN), "another account": header_signed(OTHER),
        "an account, body unsigned": header_signed(MAIN, payload="UNSIGNED-PAYLOAD"),
        "root's key id, wrong secret": header_signed(wrong), "unknown key": header_signed(unknown),
        "root, an hour ago": header_signed(root(s), when=-3600),
        "root, for another service": header_signed(root(s), service="execute-api"),
        "an account, presigned": presigned(MAIN), "root, presigned": presigned(root(s)),
        "root's key id, wrong secret, presigned": presigned(wrong),
        "an account, Version 2": version_2(MAIN), "root, Version 2": version_2(root(s)),
    }


def refused(a, what, method="GET"):
    equal(a.status, 403, "status of " + what)
    if method != "HEAD":
        said = json.loads(a.body)
        equal((said["error"], said["request_id"]), ("DENIED", a.headers["x-amz-request-id"]), what)
        true(said["message"], "no message: " + what)


def methods_of(method):
    return ("GET", "HEAD") if method == "GET" else (method,)


def bodies_of(method):
    return (None,) if method in ("GET", "HEAD") else (None, b"{}")


def state(s):
    return [s.signed("GET", "/_/" + page).json() for page in ("webhooks", "reprocess", "functions", "buckets", "backup")]


# ---- checks ----

def test_the_open_pages_are_these(s):
    for method, path in sorted(ANYONE | METRICS):
        until(lambda: anonymous(s, method, path, None).status == 200, path)  # formats: once a worker has said
    true(ANYONE | METRICS <= set(ROUTES), "%s" % ROUTES)


def test_all_else_is_roots(s):
    before = state(s)
    for name, call in strangers(s).items():
        for method, path in GUARDED:
            for verb in methods_of(method):
                for body in bodies_of(verb):
                    refused(call(s, verb, path, body), "%s %s%s by: %s" % (verb, path, " {}" if body else "", name), verb)
    equal(state(s), before, "what strangers changed")


def test_root_is_taken(s):
    """Or the check above would pass on a server that refuses everybody. Whether the request makes sense is
    another matter."""
    for method, path in GUARDED:
        for verb in methods_of(method):
            for body in bodies_of(verb):
                a = header_signed(root(s))(s, verb, path, body)
                true(a.status in (200, 400, 404, 409), "%s %s by root: %d %r" % (verb, path, a.status, a.body[:200]))


def test_a_body_must_be_signed(s):
    for method, path in GUARDED:
        if method not in ("GET", "HEAD"):
            a = header_signed(root(s), payload="UNSIGNED-PAYLOAD")(s, method, path, b"{}")
            refused(a, "%s %s by root, body unsigned" % (method, path))
            contains(json.loads(a.body)["message"], "body must be signed", "message")


def test_other_spellings_open_nothing(s):
    for _, path in GUARDED:
        page = path[3:]
        for target in ("/_/%%%02x%s" % (ord(page[0]), page[1:]), "/_/./" + page, "/_//" + page, "//_/" + page, "/_/%s/" % page,
                       "/_/" + page.upper(), "/_/x/../" + page, "/%5F/" + page, "/_%2F" + page):
            for name, call in (("anonymous", anonymous), ("an account", header_signed(MAIN))):
                a = call(s, "GET", target, None)
                true(400 <= a.status < 500, "GET %s by: %s: %d %r" % (target, name, a.status, a.body[:200]))


def test_metrics_from_afar(s):
    """A listener that is not loopback: root's own signature is no token, and without a token nobody has one."""
    keys = {"DARKROOM_ACCESS_KEY_ID": "ROOTKEY", "DARKROOM_SECRET_ACCESS_KEY": "root-secret"}
    bearer = lambda word: lambda s, m, t, b: send(s, m, t, b, {"Authorization": word})
    for token in (TOKEN, ""):
        t = darkroom.Server(data=os.path.join(os.getcwd(), "afar"), args=["--bare"], listen="0.0.0.0:0", env=keys,
                            config={"metrics": {"token": token}}).start()
        try:
            t.key, t.secret = keys.values()
            # The query is not part of a bearer's token, nor is a shorter or longer one.
            for name, call in dict(strangers(t), **{w: bearer(w) for w in (
                    "Bearer", "Bearer ", "Bearer " + TOKEN[:-1], "Bearer " + TOKEN + "x", "bearer", TOKEN,
                    "Bearer  " + TOKEN[1:])}, root=header_signed(root(t))).items():
                for verb in ("GET", "HEAD"):
                    refused(call(t, verb, "/_/metrics", None), "%s metrics by: %s" % (verb, name), verb)
            a = bearer("Bearer " + TOKEN)(t, "GET", "/_/metrics", None)
            equal(a.status, 200 if token else 403, "metrics with the token")
            refused(anonymous(t, "GET", "/_/status", None), "/_/status from afar")
            refused(bearer("Bearer " + TOKEN)(t, "GET", "/_/status", None), "/_/status with the metrics' token")
        finally:
            equal(t.stop(), 0, "exit code")


def test_the_manual_lists_them(s):
    told = set(re.findall(r"/_/[a-z-]+", darkroom.source("man/darkroomd.8").replace("\\-", "-")))
    equal({"/".join(path.split("/")[:3]) for _, path in ROUTES} - told, set(), "pages that the manual does not know")


def test_nothing_else_is_under_the_path(s):
    equal(set(re.findall(r"to\(r, &([a-z0-9_]+)_http_service", darkroom.source("pipeline/router.c"))), SERVICES, "what the router serves")
    for name, call in strangers(s).items():
        if name.startswith(("anonymous", "bearer", "unknown", "root's", "root, an hour", "root, for")) or "Version 2" in name:
            equal(call(s, "GET", "/_/events", None).status, 403, "/_/events by: " + name)
    for method in ("GET", "POST", "PUT", "DELETE"):
        a = header_signed(root(s))(s, method, "/_/nothing", None)
        equal((a.status, json.loads(a.body)["error"]), (404, "NOTFOUND"), "an unknown page")


conformance.run(globals())
