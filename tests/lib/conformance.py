"""What the conformance scripts share: accounts, requests signed here and not by a library (so that
any header, date or scope can be wrong), answers judged for form before the check sees them, and
tables whose every row is a check of its own.

    import conformance
    from conformance import api, bucket, wants
    def test_something(s): wants(api(s)("GET", "/no-such-bucket"), "404 NoSuchBucket")
    conformance.run(globals())

The sources of what is expected are named where it is not plain from Amazon S3's API Reference.
"""
import base64
import datetime
import hashlib
import hmac
import http.client
import itertools
import json
import os
import re
import sys
import urllib.parse
import xml.etree.ElementTree

import darkroom
from darkroom import Failed, Reply, equal, true

# Plain accounts: the root keys may do everything, so they prove nothing about access.
MAIN = {"id": "111111111111", "display_name": "main", "email": "main@example.org",
        "access_key_id": "MAINKEY", "secret_access_key": "main-secret"}
OTHER = {"id": "222222222222", "display_name": "other", "email": "other@example.org",
         "access_key_id": "OTHERKEY", "secret_access_key": "other-secret"}
NOBODY = {"access_key_id": "", "secret_access_key": ""}
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
EMPTY = hashlib.sha256(b"").hexdigest()

numbers = itertools.count(1)


# ---- signing ----

def quoted(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(account, scope, string):
    key = ("AWS4" + account["secret_access_key"]).encode()
    for part in scope.split("/"):
        key = mac(key, part)
    return mac(key, string).hex()


def canonical_query(query):
    pairs = [(a.partition("=")[0], a.partition("=")[2]) for a in query.split("&") if a]
    return "&".join("%s=%s" % (quoted(urllib.parse.unquote(n)), quoted(urllib.parse.unquote(v)))
                    for n, v in sorted(pairs))


def string_to_sign(method, target, headers, names, payload, stamp, scope):
    path, _, query = target.partition("?")
    folded = {n.lower(): " ".join(v.split()) for n, v in headers.items()}
    canonical = "\n".join([method, path, canonical_query(query),
                           "".join("%s:%s\n" % (n, folded[n]) for n in names), ";".join(names), payload])
    return "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode("latin-1")).hexdigest()])


def amz_date(seconds=0):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return now.strftime("%Y%m%dT%H%M%SZ")


def sign(account, method, target, headers, payload, when=0, region="us-east-1", service="s3", stamp=None):
    """Adds Authorization and what it needs; `when` seconds off the clock."""
    stamp = stamp or amz_date(when)
    scope = "%s/%s/%s/aws4_request" % (stamp[:8], region, service)
    headers["x-amz-date"] = stamp
    headers["x-amz-content-sha256"] = payload
    names = sorted(n.lower() for n in headers)
    string = string_to_sign(method, target, headers, names, payload, stamp, scope)
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        account["access_key_id"], scope, ";".join(names), signature(account, scope, string))


def presign(s, account, method, target, expires=60, when=0, headers=None, **replace):
    """The target with a query that authenticates; `replace` sets X-Amz-... parameters by hand."""
    headers = dict(headers or {}, Host="%s:%d" % (s.host, s.port))
    stamp = amz_date(when)
    scope = "%s/us-east-1/s3/aws4_request" % stamp[:8]
    names = sorted(n.lower() for n in headers)
    params = {"Algorithm": "AWS4-HMAC-SHA256", "Credential": account["access_key_id"] + "/" + scope,
              "Date": stamp, "Expires": str(expires), "SignedHeaders": ";".join(names)}
    params.update(replace)
    target += ("&" if "?" in target else "?") + "&".join(
        "X-Amz-%s=%s" % (n.replace("_", "-"), quoted(v)) for n, v in params.items() if v is not None)
    string = string_to_sign(method, target, headers, names, "UNSIGNED-PAYLOAD", stamp, scope)
    return target + "&X-Amz-Signature=" + signature(account, scope, string)


# ---- answers ----

def plain(node):
    """The tree without namespaces; what is not of S3's namespace or of none keeps its name."""
    for n in node.iter():
        n.tag = re.sub(r"^\{%s\}" % re.escape(NAMESPACE), "", n.tag)
    return node


class Answer(Reply):
    """A reply with its XML: one(path) and all(path) give texts, code is the error's."""

    def __init__(self, status, headers, body):
        super().__init__(status, headers, body)
        self.xml = None
        if body[:5] == b"<?xml" or "xml" in headers.get("content-type", ""):
            try:
                self.xml = plain(xml.etree.ElementTree.fromstring(body)) if body else None
            except xml.etree.ElementTree.ParseError as e:
                raise Failed("XML that does not parse (%s): %s" % (e, darkroom.short(body)))

    @property
    def code(self):
        return self.one("Code") if self.xml is not None and self.xml.tag == "Error" else ""

    def one(self, path, default=None):
        node = None if self.xml is None else self.xml.find(path)
        return default if node is None else node.text or ""

    def all(self, path):
        return [] if self.xml is None else [n.text or "" for n in self.xml.findall(path)]

    def json(self):
        return json.loads(self.body)


def judge(method, a):
    """What every answer owes, whatever was asked."""
    for name in ("date", "x-amz-request-id"):
        true(name in a.headers, "an answer without %s: %s" % (name, a.headers))
    if method == "HEAD" or a.status in (204, 304):
        equal(a.body, b"", "body of a %s" % (a.status if method != "HEAD" else "HEAD"))
    elif a.status >= 400:
        true(a.xml is not None and a.xml.tag == "Error", "%d without an Error document: %s" % (
            a.status, darkroom.short(a.body)))
        for name in ("Code", "Message", "RequestId"):
            true(a.one(name), "an Error without %s: %s" % (name, darkroom.short(a.body)))
        equal(a.one("RequestId"), a.headers["x-amz-request-id"], "RequestId")
        equal(a.headers.get("content-type"), "application/xml", "Content-Type of an Error")
    true(a.status < 500 or a.status == 501, "%d: %s" % (a.status, darkroom.short(a.body)))
    return a


def wants(answer, expected, what=""):
    """The answer is "STATUS" or "STATUS Code"; several may be allowed: "200|409 BucketNotEmpty"."""
    got = ("%d %s" % (answer.status, answer.code)).strip()
    true(got in [e.strip() for e in expected.split("|")],
         "%s%s instead of %s: %s" % (what + ": " if what else "", got, expected, darkroom.short(answer.body[:200])))
    return answer


# ---- asking ----

class Api:
    """Requests of one account. Headers whose value is None are not sent; `unsigned` headers are
    added after the signature."""

    def __init__(self, s, account):
        self.s, self.account = s, account

    def __call__(self, method, target, body=b"", headers=None, unsigned=None, payload=None, **how):
        body = body.encode() if isinstance(body, str) else body
        send = {n: v for n, v in (headers or {}).items() if v is not None}
        send.setdefault("Host", "%s:%d" % (self.s.host, self.s.port))
        if self.account is not NOBODY:
            sign(self.account, method, target, send, payload or hashlib.sha256(body).hexdigest(), **how)
        send.update(unsigned or {})
        if (body or method in ("PUT", "POST")) and "Content-Length" not in send:
            send["Content-Length"] = str(len(body))
        return judge(method, exchange(self.s, method, target, body,
                                      {n: v for n, v in send.items() if v is not None}))

    def ok(self, method, target, body=b"", headers=None, **how):
        a = self(method, target, body, headers, **how)
        true(a.status < 300, "%s %s: %d %s" % (method, target, a.status, darkroom.short(a.body[:300])))
        return a


def exchange(s, method, target, body, headers):
    """One request over an own connection; the header bytes go out exactly as given."""
    c = s.connection()
    try:
        head = "%s %s HTTP/1.1\r\n" % (method, target)
        head += "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n"
        c.connect()
        c.sock.sendall(head.encode("latin-1", "surrogateescape") + body)
        r = http.client.HTTPResponse(c.sock, method=method)
        r.begin()
        return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
    except (http.client.HTTPException, ConnectionError) as e:
        raise Failed("no answer to %s %s: %r" % (method, target, e))
    finally:
        c.close()


def api(s, account=MAIN):
    return Api(s, account)


def other(s):
    return Api(s, OTHER)


def anybody(s):
    return Api(s, NOBODY)


def bucket(s, headers=None, account=MAIN):
    """A new bucket; its name with the slash before it."""
    name = "/conf-%d-%d" % (os.getpid(), next(numbers))
    api(s, account).ok("PUT", name, b"", headers)
    return name


def filled(s, *keys, **more):
    """A new bucket with these keys, each holding its own name."""
    b = bucket(s, **more)
    for key in keys:
        api(s).ok("PUT", b + "/" + quoted(key, "/"), key.encode())
    return b


def etag(body):
    return '"%s"' % hashlib.md5(body).hexdigest()


def md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def canonical_id(s, account):
    """The account's canonical user id, as its own bucket list says it."""
    return api(s, account).ok("GET", "/").one("Owner/ID")


def element(name, *inner, **attributes):
    """<name>inner</name>, the text not escaped."""
    return "<%s%s>%s</%s>" % (name, "".join(' %s="%s"' % a for a in attributes.items()), "".join(inner), name)


# ---- tables and running ----

def table(names, prefix, rows, check):
    """Each row (name, ...) becomes a check of its own: check(s, ...)."""
    for row in rows:
        name = "test_%s: %s" % (prefix, row[0])
        true(name not in names, "two checks are called " + name)
        names[name] = lambda s, row=row: check(s, *row[1:])


def run(names, **options):
    config = {"accounts": [MAIN, OTHER]}
    config.update(options.pop("config", {}))
    darkroom.run(names, args=["--bare"], config=config, **options)
