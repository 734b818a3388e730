#!/usr/bin/python3
"""http.bodies_memory_bytes used up by one body that is on its way: every service refuses the next one in its
own words, with Retry-After, serves what needs none, and goes on when there is room again. So it is with a body
that is larger than a service takes."""
import contextlib
import json
import os
import sys
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true, until

MEMORY = 1 << 20
LEFT = 2000
SMALL, LARGE = b"x" * (LEFT // 2), b"x" * (2 * LEFT)
TABLE = "DynamoDB_20120810."


def table_headers(s, operation, body):
    """DynamoDB's signature covers the body; `body` may be one that is only begun."""
    return s.signed_headers("POST", "/", body, {"X-Amz-Target": TABLE + operation, "Content-Type": "application/x-amz-json-1.0"},
                            service="dynamodb")


def table(s, operation, fields):
    body = json.dumps(fields).encode()
    return s.request("POST", "/", body, table_headers(s, operation, body))


def item(padding):
    return {"TableName": "images", "Item": {"bucket": {"S": "b"}, "key": {"S": "k"}, "x": {"S": padding.decode()}}}


@contextlib.contextmanager
def full(s):
    """All of the memory but LEFT bytes."""
    n = MEMORY - LEFT
    head = "POST / HTTP/1.1\r\n" + "".join("%s: %s\r\n" % h for h in table_headers(s, "PutItem", b"").items())
    c = s.socket()
    try:
        c.sendall(("%sContent-Length: %d\r\n\r\n" % (head, n + 1)).encode() + b" " * n)
        until(lambda: s.metric("http_bodies_bytes") == n, "the body is in memory")
        yield
    finally:
        c.close()
    until(lambda: s.metric("http_bodies_bytes") == 0, "the memory is given back")


def dynamodb_error(a, status, kind):
    """As SDKs read it: the type behind the '#', and a checksum over the answer."""
    equal((a.status, a.headers["content-type"]), (status, "application/x-amz-json-1.0"), "the answer %r" % a.body[:200])
    equal(a.json()["__type"].rpartition("#")[2], kind, "__type")
    true([a.json()[n] for n in ("message", "Message") if a.json().get(n)], "no message: %r" % a.body)
    equal(int(a.headers["x-amz-crc32"]), zlib.crc32(a.body), "x-amz-crc32")
    true(a.headers.get("x-amzn-requestid"), "no request id")


def test_a_table_says_service_unavailable(s):
    with full(s):
        a = table(s, "PutItem", item(LARGE))
        dynamodb_error(a, 503, "ServiceUnavailableException")
        equal(a.headers["retry-after"], "1", "Retry-After")
        equal(table(s, "PutItem", item(SMALL)).status, 200, "one for which there is room")
    equal(table(s, "PutItem", item(LARGE)).status, 200, "afterwards")


def test_an_sdk_understands_it(s):
    import botocore.exceptions
    with full(s):
        try:
            s.dynamodb(retries={"max_attempts": 0}).put_item(**item(LARGE))
            raise darkroom.Failed("it was taken")
        except botocore.exceptions.ClientError as e:
            equal(e.response["Error"]["Code"], "ServiceUnavailableException", "code")


def test_an_admin_page_says_busy(s):
    body = json.dumps({"bucket": "photos", "padding": LARGE.decode()}).encode()
    with full(s):
        a = s.signed("POST", "/_/verify", body)
        equal((a.status, a.headers["retry-after"], a.json()["error"]), (503, "1", "BUSY"), "the answer")
        contains(a.json()["message"], "memory", "message")
        equal(s.signed("GET", "/_/status").status, 200, "a page without a body")
    true(s.signed("POST", "/_/verify", body).status in (200, 400), "afterwards")


def test_s3_says_slow_down(s):
    before = s.metric("slowdown_total")
    xml = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 200 + b"</Delete>"
    checked = {"Content-MD5": darkroom.md5_base64(xml)}
    with full(s):
        for method, target, body, headers in (("PUT", "/photos/k", LARGE, {}), ("POST", "/photos?delete=", xml, checked)):
            a = s.signed(method, target, body, headers)
            equal((a.status, a.headers["retry-after"]), (503, "2"), "%s %s: %r" % (method, target, a.body[:200]))
            contains(a.body.decode(), "<Code>SlowDown</Code>", "body")
        equal(s.metric("slowdown_total") - before, 2, "slowdown_total")
        equal(s.signed("PUT", "/photos/small", SMALL).status, 200, "one for which there is room")
        equal(s.signed("GET", "/photos/small").body, SMALL, "what is stored")
        equal(s.signed("GET", "/photos/k").status, 404, "what was refused")
    equal(s.signed("PUT", "/photos/k", LARGE).status, 200, "afterwards")


def head_only(s, head, size):
    """The answer to a header that announces too much and waits to be told to go on."""
    with s.socket() as c:
        c.sendall(("%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (head, size)).encode())
        r = darkroom.http.client.HTTPResponse(c)
        r.begin()
        return darkroom.Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())


def test_bodies_larger_than_a_service_takes(s):
    head = "POST / HTTP/1.1\r\n" + "".join("%s: %s\r\n" % h for h in table_headers(s, "PutItem", b"").items())
    dynamodb_error(head_only(s, head, 5 << 20), 413, "SerializationException")
    fields = s.signed_headers("POST", "/_/verify", b"").items()
    a = head_only(s, "POST /_/verify HTTP/1.1\r\n" + "".join("%s: %s\r\n" % h for h in fields), 300 << 10)
    equal((a.status, a.json()["error"]), (400, "TOOBIG"), "an admin page's answer")


darkroom.run(globals(), config={"http": {"bodies_memory_bytes": MEMORY, "header_deadline_ms": 120000, "body_rate_min": 0}})
