#!/usr/bin/python3
"""Bytes with two readings over a plain socket: one unambiguous answer each, or a close, and never a
second request out of a body.

INNER is a request that would take effect if anybody took it for one: a PUT with a presigned query,
which makes a marker object. It stands where a proxy in front and we could disagree: in a body, behind
a refused head, in a trailer. Each case counts the answers - every byte that comes back must belong to
one - and then looks for its marker. That markers do appear when the bytes say so is checked first.

In the templates: {H} the Host line, {PUT} the target of a presigned PUT of the case's own object,
{INNER} and {N} the inner request and its length, {B} the bucket.
"""
import os
import re
import select
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
import darkroom
from conformance import MAIN, api, presign, quoted, wants
from darkroom import Failed, equal, true, until

ANSWER_SECONDS = 120
DEADLINE_MS = 2000
IDLE_SECONDS = 60  # http.idle_timeout_ms
HEADERS_MAX, HEADER_BYTES_MAX = 100, 16 << 10  # base/http.h
names = globals()
numbers = iter(range(1, 1 << 30))
state = {}


# ---- the socket ----

def dial(s):
    return s.socket(ANSWER_SECONDS)


def hear(c):
    """All bytes until the server ends the connection."""
    got = b""
    try:
        while True:
            more = c.recv(65536)
            if not more:
                return got
            got += more
    except ConnectionResetError:
        return got
    except socket.timeout:
        raise Failed("the connection stays open; so far %r" % got[:300])


def say(s, data, half):
    """What comes back for these bytes. `half`: the client ends its side, else the server must."""
    with dial(s) as c:
        try:
            c.sendall(data)
            if half:
                c.shutdown(socket.SHUT_WR)
        except OSError:  # it has hung up already
            pass
        return hear(c)


def parse(stream, methods=()):
    """[(status, fields, body)] of answers that follow each other with not a byte between them."""
    answers, methods = [], list(methods)
    while stream:
        head, mark, rest = stream.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        m = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n\0]*", lines[0])
        true(m and mark, "no answer: %r" % stream[:200])
        status = int(m.group(1))
        fields = {}
        for line in lines[1:]:
            m = re.fullmatch(rb"([!-9;-~]+): ?([^\r\n\0]*)", line)
            true(m, "a field line %r" % line)
            fields[m.group(1).lower().decode()] = m.group(2).decode("latin-1")
        true("content-length" in fields or status in (100, 204, 304), "an answer without a length: %r" % head)
        headless = status in (100, 204, 304) or (status != 100 and methods[:1] == ["HEAD"])
        n = 0 if headless else int(fields["content-length"])
        true(len(rest) >= n, "%d of %d bytes of a body" % (len(rest), n))
        answers.append((status, fields, rest[:n]))
        stream = rest[n:]
        if status != 100 and methods:
            methods.pop(0)
    return answers


def bucket(s):
    if "bucket" not in state:
        state["bucket"] = conformance.bucket(s)
    return state["bucket"]


class Case:
    """A number, an object and a marker of its own."""

    def __init__(self, s):
        self.s, self.n = s, next(numbers)
        self.host = "Host: %s:%d\r\n" % (s.host, s.port)
        self.own, self.marker = "%s/own-%d" % (bucket(s), self.n), "%s/marker-%d" % (bucket(s), self.n)

    def put_target(self, key=None):
        return presign(self.s, MAIN, "PUT", key or self.own)

    def inner(self):
        return "PUT %s HTTP/1.1\r\n%sContent-Length: 1\r\n\r\nm" % (self.put_target(self.marker), self.host)

    def fill(self, template):
        text = template if isinstance(template, str) else template(self)
        inner = self.inner()
        for name, value in (("{H}", self.host), ("{PUT}", self.put_target()), ("{INNER}", inner),
                            ("{N}", str(len(inner))), ("{NX}", "%x" % len(inner)), ("{B}", bucket(self.s)),
                            ("{A}", "%s:%d" % (self.s.host, self.s.port)),
                            ("{SCHEME}", "https" if self.s.ca else "http"),
                            ("{OTHER_SCHEME}", "http" if self.s.ca else "https")):
            text = text.replace(name, value)
        return text.encode("latin-1")

    def exists(self, path):
        return api(self.s)("HEAD", path).status == 200

    def check(self, got, expected, marker, own, methods=()):
        answers = parse(got, methods)
        statuses = " ".join(str(a[0]) for a in answers) or "close"
        true(statuses in [e.strip() for e in expected.split("|")], "%s instead of %s: %r" % (
            statuses, expected, got[:400]))
        if marker is not None:
            equal(self.exists(self.marker), marker, "the inner PUT took effect")
        if own is not None:
            equal(self.exists(self.own), own, "the object was stored")
        return answers


def refused(s, template, expected="400"):
    """Answered once and closed by the server, or closed; neither object is there."""
    case = Case(s)
    answers = case.check(say(s, case.fill(template), half=False), expected, False, False)
    if answers:
        equal(answers[-1][1].get("connection", "").lower(), "close", "Connection of the last answer")


def taken(s, template, expected="200", marker=False, own=True, methods=()):
    """These bytes have one reading, and it is followed; the client ends its side behind them."""
    case = Case(s)
    case.check(say(s, case.fill(template), half=True), expected, marker, own, methods)


# ---- the marker is worth looking for ----

def test_inner_requests_take_effect_when_they_are_requests(s):
    taken(s, "{INNER}", "200", marker=True, own=None)
    taken(s, "GET /_/health HTTP/1.1\r\n{H}\r\n{INNER}", "200 200", marker=True, own=None)
    taken(s, "PUT {PUT} HTTP/1.1\r\n{H}Content-Length: 2\r\n\r\nab{INNER}", "200 200", marker=True)


# ---- framing: everything that a proxy might read otherwise ----

O = "PUT {PUT} HTTP/1.1\r\n{H}"
CHUNKED = "Transfer-Encoding: chunked\r\n"
END = "0\r\n\r\n"
conformance.table(names, "framing", [
    ("CL.TE", O + "Content-Length: {N}\r\n" + CHUNKED + "\r\n" + END + "{INNER}"),
    ("TE.CL", O + CHUNKED + "Content-Length: 4\r\n\r\n{NX}\r\n{INNER}\r\n" + END),
    ("TE and CL 0", O + CHUNKED + "Content-Length: 0\r\n\r\n" + END + "{INNER}"),
    ("two equal CL", O + "Content-Length: {N}\r\nContent-Length: {N}\r\n\r\n{INNER}"),
    ("two CL, the second shorter", O + "Content-Length: {N}\r\nContent-Length: 0\r\n\r\n{INNER}"),
    ("two CL, the first shorter", O + "Content-Length: 0\r\nContent-Length: {N}\r\n\r\n{INNER}"),
    ("CL list", O + "Content-Length: {N}, {N}\r\n\r\n{INNER}"),
    ("CL with a plus", O + "Content-Length: +{N}\r\n\r\n{INNER}"),
    ("CL negative", O + "Content-Length: -1\r\n\r\n{INNER}"),
    ("CL with a blank inside", O + "Content-Length: 1 0\r\n\r\n{INNER}"),
    ("CL with a blank behind", O + "Content-Length: {N} \r\n\r\n{INNER}"),
    ("CL hexadecimal", O + "Content-Length: 0x{NX}\r\n\r\n{INNER}"),
    ("CL with a fraction", O + "Content-Length: {N}.0\r\n\r\n{INNER}"),
    ("CL with a parameter", O + "Content-Length: {N};x=1\r\n\r\n{INNER}"),
    ("CL empty", O + "Content-Length:\r\n\r\n{INNER}"),
    ("CL of 64 bits and more", O + "Content-Length: 18446744073709551616\r\n\r\n{INNER}", "400|413"),
    ("CL of 63 bits and more", O + "Content-Length: 9223372036854775808\r\n\r\n{INNER}"),
    ("CL of forty digits", O + "Content-Length: " + "9" * 40 + "\r\n\r\n{INNER}", "400|413"),
    ("CL with a NUL behind", O + "Content-Length: {N}\0\r\n\r\n{INNER}"),
    ("CL with a NUL in the name", O + "Content\0-Length: {N}\r\n\r\n{INNER}"),
    ("CL behind a NUL", O + "\0Content-Length: {N}\r\n\r\n{INNER}"),
    ("CL with a blank before the colon", O + "Content-Length : {N}\r\n\r\n{INNER}"),
    ("CL with an underscore", O + "Content_Length: {N}\r\n\r\n{INNER}"),
    ("CL in a folded line", O + "X: y\r\n Content-Length: {N}\r\n\r\n{INNER}"),
    ("CL in the fold of its own", O + "Content-Length:\r\n {N}\r\n\r\n{INNER}"),
    ("CL behind a bare LF", O + "X: y\nContent-Length: {N}\r\n\r\n{INNER}"),
    ("CL behind a bare CR", O + "X: y\rContent-Length: {N}\r\n\r\n{INNER}"),
    ("TE misspelt with a blank", O + "Transfer-Encoding : chunked\r\n\r\n" + END + "{INNER}"),
    ("TE misspelt with a tab", O + "Transfer-Encoding\t: chunked\r\n\r\n" + END + "{INNER}"),
    ("TE misspelt with an underscore", O + "Transfer_Encoding: chunked\r\n\r\n" + END + "{INNER}"),
    ("TE xchunked", O + "Transfer-Encoding: xchunked\r\n\r\n" + END + "{INNER}"),
    ("TE chunked, identity", O + "Transfer-Encoding: chunked, identity\r\n\r\n" + END + "{INNER}"),
    ("TE identity, chunked", O + "Transfer-Encoding: identity, chunked\r\n\r\n" + END + "{INNER}"),
    ("TE gzip, chunked", O + "Transfer-Encoding: gzip, chunked\r\n\r\n" + END + "{INNER}"),
    ("TE identity", O + "Transfer-Encoding: identity\r\nContent-Length: {N}\r\n\r\n{INNER}"),
    ("TE chunked chunked", O + "Transfer-Encoding: chunked, chunked\r\n\r\n" + END + "{INNER}"),
    ("TE quoted", O + "Transfer-Encoding: \"chunked\"\r\n\r\n" + END + "{INNER}"),
    ("TE with a parameter", O + "Transfer-Encoding: chunked;q=1\r\n\r\n" + END + "{INNER}"),
    ("TE with a vertical tab", O + "Transfer-Encoding: \vchunked\r\n\r\n" + END + "{INNER}"),
    ("TE with a tab behind", O + "Transfer-Encoding: chunked\t\r\n\r\n" + END + "{INNER}"),
    ("TE with a NUL behind", O + "Transfer-Encoding: chunked\0\r\n\r\n" + END + "{INNER}"),
    ("TE empty", O + "Transfer-Encoding:\r\nContent-Length: {N}\r\n\r\n{INNER}"),
    ("TE twice", O + CHUNKED + CHUNKED + "\r\n" + END + "{INNER}"),
    ("TE twice, one unknown", O + CHUNKED + "Transfer-Encoding: cow\r\n\r\n" + END + "{INNER}"),
    ("TE in a folded line", O + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + END + "{INNER}"),
    ("TE in the first line, folded", "PUT {PUT} HTTP/1.1\r\n Transfer-Encoding: chunked\r\n{H}\r\n" + END + "{INNER}"),
    ("TE behind a bare LF", O + "X: y\nTransfer-Encoding: chunked\r\n\r\n" + END + "{INNER}"),
    ("TE behind a bare CR", O + "X: y\rTransfer-Encoding: chunked\r\n\r\n" + END + "{INNER}"),
    ("TE in HTTP/1.0", "PUT {PUT} HTTP/1.0\r\n{H}" + CHUNKED + "\r\n" + END + "{INNER}"),
], lambda s, template, expected="400": refused(s, template, expected))

conformance.table(names, "framing that is sound", [
    ("CL with a tab", O + "Content-Length:\t2\r\n\r\nab", "200"),
    ("CL with leading zeros", O + "Content-Length: 002\r\n\r\nab{INNER}", "200 200", True),
    ("CL in other case", O + "cOnTeNt-LeNgTh: 2\r\n\r\nab{INNER}", "200 200", True),
    ("CL 0 and a request behind", O + "Content-Length: 0\r\n\r\n{INNER}", "200 200", True),
    ("a body that looks like a request", O + "Content-Length: {N}\r\n\r\n{INNER}", "200"),
    ("a chunk that looks like a request", O + CHUNKED + "\r\n{NX}\r\n{INNER}\r\n" + END, "200"),
    ("TE in other case", O + "tRANSFER-eNCODING: CHUNKED\r\n\r\n{NX}\r\n{INNER}\r\n" + END, "200"),
    ("nothing behind a chunked body is read", O + CHUNKED + "\r\n2\r\nab\r\n" + END + "{INNER}", "200"),
    ("chunk sizes with zeros and capitals", O + CHUNKED + "\r\n000A\r\n0123456789\r\n" + END, "200"),
    ("a chunk extension", O + CHUNKED + "\r\n2;a=b;c\r\nab\r\n0;z\r\n\r\n", "200"),
    ("a trailer that looks like framing", O + CHUNKED + "\r\n2\r\nab\r\n0\r\nContent-Length: {N}\r\n"
     "Transfer-Encoding: chunked\r\nHost: evil\r\n\r\n{INNER}", "200"),
], lambda s, template, expected, marker=False: taken(s, template, expected, marker))

conformance.table(names, "chunks", [
    ("size of 17 digits", O + CHUNKED + "\r\n10000000000000002\r\nab\r\n" + END + "{INNER}", "400|413|close"),
    ("size negative", O + CHUNKED + "\r\n-2\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("size with a plus", O + CHUNKED + "\r\n+2\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("size with 0x", O + CHUNKED + "\r\n0x2\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("size with a blank before", O + CHUNKED + "\r\n 2\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("size missing", O + CHUNKED + "\r\n\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("size with a NUL", O + CHUNKED + "\r\n2\0\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("size followed by letters", O + CHUNKED + "\r\n2x\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("data longer than said", O + CHUNKED + "\r\n2\r\nabc\r\n" + END + "{INNER}", "400|close"),
    ("data shorter than said", O + CHUNKED + "\r\n5\r\nab\r\n" + END + "{INNER}", "400|close"),
    ("no line end behind the data", O + CHUNKED + "\r\n2\r\nab" + END + "{INNER}", "400|close"),
    ("an extension that does not end", O + CHUNKED + "\r\n2;" + "x" * 70000, "400|413|431"),
    ("a request in place of the trailer", O + CHUNKED + "\r\n2\r\nab\r\n0\r\n{INNER}", "400|close"),
    ("a trailer of 70,000 bytes", O + CHUNKED + "\r\n2\r\nab\r\n0\r\nX: " + "x" * 70000 + "\r\n\r\n{INNER}", "400|413|431|close"),
    ("5,000 trailers", O + CHUNKED + "\r\n2\r\nab\r\n0\r\n" + "X: y\r\n" * 5000 + "\r\n{INNER}", "400|413|431|close"),
], lambda s, template, expected: refused(s, template, expected))


def test_a_body_that_ends_early_stores_nothing(s):
    for body in ("Content-Length: 5\r\n\r\nab", CHUNKED + "\r\n2\r\nab\r\n", CHUNKED + "\r\n2\r\nab\r\n0\r\n",
                 CHUNKED + "\r\n2\r\nab\r\n0\r\nX: y\r\n", CHUNKED + "\r\n2\r\nab", CHUNKED + "\r\n2",
                 CHUNKED + "\r\nFFFFFFFFFFFFFFFF\r\nab\r\n" + END + "{INNER}",
                 CHUNKED + "\r\n7FFFFFFFFFFFFFFF\r\nab\r\n" + END + "{INNER}"):
        taken(s, O + body, "close|400", own=False)


# ---- request line, host, fields ----

G = "GET {B}?list-type=2 HTTP/1.1\r\n"
conformance.table(names, "head", [
    ("no Host", G + "\r\n{INNER}"),
    ("two equal Hosts", G + "{H}{H}\r\n{INNER}"),
    ("two Hosts", G + "{H}Host: evil\r\n\r\n{INNER}"),
    ("Host list", G + "Host: a, b\r\n\r\n{INNER}"),
    ("Host with a path", G + "Host: {A}/x\r\n\r\n{INNER}"),
    ("Host with a NUL", G + "Host: {A}\0.evil\r\n\r\n{INNER}"),
    ("Host folded", G + "Host:\r\n {A}\r\n\r\n{INNER}"),
    ("Host behind a blank", G + " {H}\r\n{INNER}"),
    ("absolute form of another host", "GET http://evil/ HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("absolute form with a user", "GET http://u@{A}/ HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("absolute form, the other scheme", "GET {OTHER_SCHEME}://{A}/ HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("authority form", "CONNECT {A} HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("authority form of a GET", "GET {A} HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("asterisk", "GET * HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("target empty", "GET  HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("target with a blank", "GET {B}/a b HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("target with a tab", "GET {B}/a\tb HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("target with a NUL", "GET {B}/a\0b HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("target with a bare CR", "GET {B}/a\rb HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("target with a bare LF", "GET {B}/a\nb HTTP/1.1\r\n{H}\r\n{INNER}", "400|close"),
    ("tabs between the words", "GET\t{B}\tHTTP/1.1\r\n{H}\r\n{INNER}", "400|close"),
    ("two blanks between the words", "GET  {B} HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("a blank behind the version", "GET {B} HTTP/1.1 \r\n{H}\r\n{INNER}"),
    ("a word behind the version", "GET {B} HTTP/1.1 x\r\n{H}\r\n{INNER}"),
    ("bare LF behind the request line", "GET {B} HTTP/1.1\n{H}\r\n{INNER}"),
    ("bare LF at the end of the head", G + "{H}\n{INNER}"),
    ("bare CR behind the request line", "GET {B} HTTP/1.1\r{H}\r\n{INNER}", "400|close"),
    ("bare CR in a value", G + "{H}X: a\rb\r\n\r\n{INNER}"),
    ("NUL in a value", G + "{H}X: a\0b\r\n\r\n{INNER}"),
    ("NUL in a name", G + "{H}X\0Y: a\r\n\r\n{INNER}"),
    ("NUL for an empty line", G + "{H}\0\r\n\r\n{INNER}"),
    ("obs-fold", G + "{H}X: a\r\n b\r\n\r\n{INNER}"),
    ("obs-fold with a tab", G + "{H}X: a\r\n\tb\r\n\r\n{INNER}"),
    ("a field without a colon", G + "{H}Xyz\r\n\r\n{INNER}"),
    ("a field without a name", G + "{H}: x\r\n\r\n{INNER}"),
    ("a name with a blank", G + "{H}X Y: x\r\n\r\n{INNER}"),
    ("a name with a high byte", G + "{H}X\xe9: x\r\n\r\n{INNER}"),
    ("DEL in a value", G + "{H}X: a\x7f\r\n\r\n{INNER}"),
    ("method with a NUL", "GE\0T {B} HTTP/1.1\r\n{H}\r\n{INNER}", "400|close"),
    ("method with a colon", "GET: {B} HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("no version", "GET {B}\r\n{H}\r\n{INNER}", "400|close"),
    ("HTTP/0.9", "GET /\r\n", "400|close"),
    ("HTTP/0.9 by name", "GET / HTTP/0.9\r\n{H}\r\n{INNER}", "400|505|close"),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{INNER}", "400|505|close"),
    ("HTTP/2.0 by name", "GET {B} HTTP/2.0\r\n{H}\r\n{INNER}", "400|505|close"),
    ("HTTP/11.1", "GET {B} HTTP/11.1\r\n{H}\r\n{INNER}", "400|505|close"),
    ("HTTP/1.", "GET {B} HTTP/1.\r\n{H}\r\n{INNER}", "400|505|close"),
    ("http/1.1", "GET {B} http/1.1\r\n{H}\r\n{INNER}", "400|505|close"),
    ("HTTP/1.1 with a NUL", "GET {B} HTTP/1.1\0\r\n{H}\r\n{INNER}", "400|505|close"),
    ("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + "\0" * 64 + "\r\n\r\n", "400|close"),
    ("%", "GET {B}/% HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("%zz", "GET {B}/%zz HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("%4", "GET {B}/a%4 HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("%u0041", "GET {B}/%u0041 HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("% in the query", "GET {B}?prefix=% HTTP/1.1\r\n{H}\r\n{INNER}"),
    ("one field more than fits", G + "{H}" + "X: y\r\n" * HEADERS_MAX + "\r\n{INNER}", "431"),
    ("10,000 fields", G + "{H}" + "X: y\r\n" * 10000 + "\r\n{INNER}", "431"),
    ("a field of 20,000 bytes", G + "{H}X: " + "y" * 20000 + "\r\n\r\n{INNER}", "431"),
    ("a field of 1 MB", G + "{H}X: " + "y" * (1 << 20) + "\r\n\r\n{INNER}", "431"),
    ("a name of 40,000 bytes", G + "{H}" + "y" * 40000 + ": x\r\n\r\n{INNER}", "431"),
    ("a target of 20,000 bytes", "GET /" + "y" * 20000 + " HTTP/1.1\r\n{H}\r\n{INNER}", "414|431"),
    ("a target of 100,000 bytes", "GET /" + "y" * 100000 + " HTTP/1.1\r\n{H}\r\n{INNER}", "414|431"),
    ("a method of 100,000 bytes", "Y" * 100000 + " / HTTP/1.1\r\n{H}\r\n{INNER}", "400|414|431"),
], lambda s, template, expected="400": refused(s, template, expected))

conformance.table(names, "head that is sound", [
    ("absolute form", "GET {SCHEME}://{A}/_/health HTTP/1.1\r\n{H}\r\n{INNER}", "200 200"),
    ("asterisk of OPTIONS", "OPTIONS * HTTP/1.1\r\n{H}\r\n{INNER}", "400 200|403 200"),
    ("a line end before the request", "\r\n\r\nGET /_/health HTTP/1.1\r\n{H}\r\n{INNER}", "200 200"),
    ("an upgrade nobody offers", "GET /_/health HTTP/1.1\r\n{H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
     "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{INNER}", "200 200"),
    ("HTTP/1.2 is answered as 1.1", "GET /_/health HTTP/1.2\r\n{H}\r\n{INNER}", "200 200|505"),
    ("lower-case method", "put {PUT} HTTP/1.1\r\n{H}Content-Length: 2\r\n\r\nab{INNER}", "405 200|403 200"),
    ("unknown method", "BREW {B} HTTP/1.1\r\n{H}\r\n{INNER}", "405 200|403 200"),
    ("unknown method with a body", "BREW {B} HTTP/1.1\r\n{H}Content-Length: 2\r\n\r\nab{INNER}", "405 200|403 200"),
    ("HTTP/1.0 ends its connection", "GET /_/health HTTP/1.0\r\n{H}\r\n{INNER}", "200", False),
    ("HTTP/1.0 without Host", "GET /_/health HTTP/1.0\r\n\r\n{INNER}", "200", False),
    ("Connection: close", "GET /_/health HTTP/1.1\r\n{H}Connection: close\r\n\r\n{INNER}", "200", False),
    ("Connection: keep-alive, close", "GET /_/health HTTP/1.1\r\n{H}Connection: keep-alive, close\r\n\r\n{INNER}", "200", False),
], lambda s, template, expected, marker=True: taken(s, template, expected, marker, own=False))


# ---- bodies nobody asked for ----

conformance.table(names, "unread body", [
    ("GET", "GET {B}/x HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}", "403"),
    ("administration", "GET /_/health HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}", "403"),
    ("DELETE", "DELETE {B}/x HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}", "403"),
    ("HEAD", "HEAD {B}/x HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}", "403", ["HEAD"]),
    ("OPTIONS", "OPTIONS {B}/x HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}", "403|400"),
    ("refused PUT", "PUT {B}/x HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}", "403"),
    ("refused chunked PUT", "PUT {B}/x HTTP/1.1\r\n{H}" + CHUNKED + "\r\n{NX}\r\n{INNER}\r\n" + END, "403"),
    ("refused large PUT", lambda case: "PUT {B}/x HTTP/1.1\r\n{H}Content-Length: %d\r\n\r\n" % (
        3000 * len(case.inner())) + "{INNER}" * 3000, "403"),
], lambda s, template, expected, methods=(): taken(s, template, expected, own=None, methods=methods))


def test_a_request_follows_a_drained_body(s):
    taken(s, "PUT {B}/x HTTP/1.1\r\n{H}Content-Length: {N}\r\n\r\n{INNER}{INNER}", "403 200", marker=True, own=None)


def test_nothing_follows_a_refusal(s):
    """Sound requests behind the refused one, in the same write and in later ones."""
    case = Case(s)
    with dial(s) as c:
        c.sendall(case.fill("GET /_/health HTTP/1.1\r\n{H}\r\nGET /x y HTTP/1.1\r\n{H}\r\n{INNER}"))
        try:
            for _ in range(3):
                c.sendall(case.fill("{INNER}"))
        except OSError:
            pass
        case.check(hear(c), "200 400", marker=False, own=None)


# ---- Expect: 100-continue ----

E = "Expect: 100-continue\r\n"
conformance.table(names, "expect", [
    ("with a body at once", O + E + "Content-Length: 2\r\n\r\nab{INNER}", "100 200 200|200 200", True),
    ("with chunks at once", O + E + CHUNKED + "\r\n2\r\nab\r\n" + END, "100 200|200"),
    ("in other case", O + "eXPECT: 100-Continue\r\nContent-Length: 2\r\n\r\nab{INNER}", "100 200 200|200 200", True),
    ("with an empty body", O + E + "Content-Length: 0\r\n\r\n{INNER}", "100 200 200", True),
    ("twice", O + E + E + "Content-Length: 2\r\n\r\nab{INNER}", "100 200 200|200 200", True),
    ("twice, with an empty body", O + E + E + "Content-Length: 0\r\n\r\n{INNER}", "100 200 200", True),
    ("something else", O + "Expect: 200-ok\r\nContent-Length: 2\r\n\r\nab{INNER}", "200 200", True),
    ("a body that looks like a request", O + E + "Content-Length: {N}\r\n\r\n{INNER}", "100 200"),
], lambda s, template, expected, marker=False: taken(s, template, expected, marker))

conformance.table(names, "expect without a body", [
    ("GET", "GET /_/health HTTP/1.1\r\n{H}" + E + "\r\n{INNER}", "200 200"),
    ("HEAD", "HEAD {B}/x HTTP/1.1\r\n{H}" + E + "\r\n{INNER}", "403 200", ["HEAD", "PUT"]),
    ("PUT", "PUT {B}/x HTTP/1.1\r\n{H}" + E + "\r\n{INNER}", "403 200|411 200"),
    ("DELETE", "DELETE {B}/x HTTP/1.1\r\n{H}" + E + "\r\n{INNER}", "403 200"),
    ("HTTP/1.0", "GET /_/health HTTP/1.0\r\n{H}" + E + "\r\n", "200", (), False),
], lambda s, template, expected, methods=(), marker=True: taken(s, template, expected, marker, own=None, methods=methods))


def test_expect_is_refused_before_the_body(s):
    """One answer, no 100, and the body that came nevertheless is no request."""
    refused(s, "PUT {B}/x HTTP/1.1\r\n{H}" + E + "Content-Length: {N}\r\n\r\n{INNER}", "403")
    refused(s, "PUT {B}/x HTTP/1.1\r\n{H}" + E + "Content-Length: 9999999\r\n\r\n{INNER}", "403")
    refused(s, "PUT {B}/x HTTP/1.1\r\n{H}" + E + CHUNKED + "\r\n{NX}\r\n{INNER}\r\n" + END, "403")


def test_expect_is_signed_as_it_was_sent(s):
    """The field is hidden from the library, not from the signature."""
    a = api(s)("PUT", bucket(s) + "/expect", b"", {"Expect": "100-continue"})
    wants(a, "200")


# ---- half-close ----

def test_an_answer_comes_after_a_half_close(s):
    """Several connections at once, so that some are read again when the disk is done with them."""
    def one(_):
        for i in range(10):
            taken(s, O + "Content-Length: 2\r\n\r\nab", "200")
            taken(s, O + "Content-Length: 2\r\n\r\nab{INNER}", "200 200", marker=True)
            taken(s, O + CHUNKED + "\r\n2\r\nab\r\n" + END, "200")
            taken(s, O + "Content-Length: 100000\r\n\r\n" + "x" * 100000, "200")
            taken(s, "GET /_/health HTTP/1.1\r\n{H}\r\n" * 5, " ".join(["200"] * 5), own=None)
    darkroom.at_once(16, one)


def test_an_answer_comes_when_the_end_comes_later(s):
    """The end of the client's side arrives while the object is on its way to the disk."""
    def one(_):
        case = Case(s)
        with dial(s) as c:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            c.sendall(case.fill(O + "Content-Length: 70000\r\n\r\n" + "x" * 69999))
            c.sendall(b"y")
            c.shutdown(socket.SHUT_WR)
            case.check(hear(c), "200", False, True)
    for i in range(10):
        darkroom.at_once(16, one)


def test_a_half_closed_connection_ends_soon(s):
    """With its last answer, not at the idle timeout."""
    for text in (O + "Content-Length: 2\r\n\r\nab", "GET /_/health HTTP/1.1\r\n{H}\r\n"):
        began = time.monotonic()
        taken(s, text, "200", own=None)
        true(time.monotonic() - began < IDLE_SECONDS, "it took %.1f s" % (time.monotonic() - began))
    until(lambda: s.metric("http_connections") <= 1, "connections are gone")


# ---- many on one connection, slow ones ----

def is_whole(got):
    head, mark, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return mark and length is not None and len(body) >= int(length.group(1))


def test_a_thousand_requests_on_one_connection(s):
    case = Case(s)
    with dial(s) as c:
        for i in range(1000):
            c.sendall(case.fill("GET /_/health HTTP/1.1\r\n{H}\r\n"))
            got = b""
            while not is_whole(got):
                got += c.recv(65536)
            equal(parse(got)[0][0], 200, "status of request %d" % i)


def test_answers_come_in_order(s):
    case = Case(s)
    paths = ["%s/order-%d" % (bucket(s), i) for i in range(20)]
    text = "".join("PUT %s HTTP/1.1\r\n{H}Content-Length: %d\r\n\r\n%s" % (
        case.put_target(p), i, "x" * i) + "GET %s HTTP/1.1\r\n{H}\r\n" % presign(s, MAIN, "GET", p)
        for i, p in enumerate(paths))
    answers = case.check(say(s, case.fill(text), half=True), " ".join(["200"] * 40), None, None)
    for i in range(20):
        equal(len(answers[2 * i + 1][2]), i, "bytes of answer %d" % (2 * i + 1))


def test_slow_heads_end_at_their_deadline(s):
    """Bytes that keep coming do not move it. A server of its own: those of the other checks may be slow."""
    strict = darkroom.Server(data="strict", args=["--bare"], config={
        "accounts": [MAIN], "http": {"header_deadline_ms": DEADLINE_MS}}).start()
    shared = state.pop("bucket", None)
    try:
        slow_heads(strict)
    finally:
        state.pop("bucket", None)
        if shared:
            state["bucket"] = shared
        equal(strict.stop(), 0, "exit code")


def slow_heads(s):
    for template in ("GET /_/health HTTP/1.1\r\n{H}X: ", "GET /", O + "X: "):
        case = Case(s)
        with dial(s) as c:
            c.sendall(case.fill(template))
            began = time.monotonic()
            try:
                while not select.select([c], [], [], DEADLINE_MS / 40000)[0]:
                    true(time.monotonic() - began < ANSWER_SECONDS, "still open")
                    c.sendall(b"x")
            except OSError:
                pass
            true(time.monotonic() - began >= DEADLINE_MS / 2000, "cut before its time")
            case.check(hear(c), "close", False, False)


# ---- keys are data ----

KEYS = ["../x", "../../../../etc/passwd", "/", "//", "/x", "x/", "./x", ".", "..", "a/../b", "a//b", "%", "%00", "%2e%2e/x", "\0",
        "a\0b", "a\nb", "\x7f", "+", " ", "a b", "?", "#", "\\", "..\\x", "CON", "~", "*", "-rf", "$(x)", "<&>\"'", "k" * 1024,
        "\xe4", "\u20ac", "\U0001f600", "\ufeff", "e\u0301", "\xe9", "_/health", ".darkroom", "credentials", "blobs/x", "lock"]


def outside(s):
    """What there is beside and in the data directory, bytes of objects aside."""
    top = os.path.dirname(s.data)
    return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, files in os.walk(top) for f in files
                  if os.sep + "blobs" not in d and not f.endswith((".log", "-wal", "-shm")))


def ask(s, method, target, body=b""):
    case = Case(s)
    length = "Content-Length: %d\r\n" % len(body) if method == "PUT" else ""
    text = "%s %s HTTP/1.1\r\n%s%sConnection: close\r\n\r\n" % (method, presign(s, MAIN, method, target), case.host, length)
    return parse(say(s, text.encode("latin-1") + body, half=False), [method])[0]


def test_keys_are_data(s):
    b = conformance.bucket(s)
    before = outside(s)
    for key in KEYS:
        target = b + "/" + quoted(key)
        equal(ask(s, "PUT", target, key.encode())[0], 200, "PUT of %r" % key)
    for key in KEYS:
        status, _, body = ask(s, "GET", b + "/" + quoted(key))
        equal((status, body), (200, key.encode()), "GET of %r" % key)
    listed = ask(s, "GET", b + "?list-type=2&encoding-type=url")
    equal(listed[0], 200, "the listing")
    got = re.findall(rb"<Key>([^<]*)</Key>", listed[2])
    equal(sorted(conformance.urllib.parse.unquote_to_bytes(k.replace(b"+", b"%20")) for k in got),
          sorted(k.encode() for k in KEYS), "the keys listed")
    equal(outside(s), before, "files of the data directory")


conformance.table(names, "key that is refused", [
    ("of 1025 bytes", "k" * 1025, "400"),
    ("of 1025 bytes in 343 characters", "%E2%82%AC" * 341 + "kk", "400"),
    ("overlong slash", "%C0%AF", "400"),
    ("overlong dots", "%C0%AE%C0%AE%C0%AFx", "400"),
    ("overlong of three bytes", "%E0%80%AF", "400"),
    ("surrogate", "%ED%A0%80", "400"),
    ("above U+10FFFF", "%F4%90%80%80", "400"),
    ("cut character", "a%C3", "400"),
    ("stray byte", "a%80b", "400"),
    ("stray byte, not escaped", "a\x80b", "400"),
], lambda s, key, expected: equal(
    str(parse(say(s, ("PUT %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx" % (
        presign(s, MAIN, "PUT", bucket(s) + "/" + key), s.host, s.port)).encode("latin-1"), half=False))[0][0]),
    expected, "status"))


def test_keys_in_any_spelling_are_one(s):
    b = conformance.bucket(s)
    for spelling in ("a%2fb", "a%2Fb", "a/b", "%61/b", "%61%2f%62"):
        equal(ask(s, "PUT", b + "/" + spelling, spelling.encode())[0], 200, "PUT of " + spelling)
        equal(ask(s, "GET", b + "/a/b")[2], spelling.encode(), "what a/b holds")
    equal(ask(s, "GET", b + "/a%252fb")[0], 404, "a twice encoded key")


conformance.run(names, config={"http": {"header_deadline_ms": 120000}})
