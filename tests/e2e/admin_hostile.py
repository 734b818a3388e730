#!/usr/bin/env python3
"""Every page of /_/ with numbers out of range, texts that are none, JSON that is nested, missing or cut: each request
is answered with JSON and a status that says whose fault it is, and the server lives. The requests are the same in
each run; SEED=N in the environment makes others."""
import json
import os
import random
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.environ.get("DARKROOM_TOP") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../.."), "tests/lib"))
import darkroom  # noqa: E402
from darkroom import equal, true  # noqa: E402

REQUESTS = 600
OPEN = ("/_/health", "/_/formats", "/_/metrics")  # they take no words
PAGES = [(method, path[len("/_/"):]) for method, path in darkroom.admin_routes() if path not in OPEN]
NAMES = """id action bucket key prefix function preset select since_ms until_ms after until before force rate expected
    reason older_than_s by since dir keep name cursor deep fix expires_s params url secret public commit memory_mb
    timeout_s""".split()
OF_PAGE = {"reprocess": ["bucket", "prefix", "select", "rate", "since_ms", "id", "action"],
           "verify": ["bucket", "prefix", "deep", "fix", "cursor"], "invoke": ["function", "bucket", "key", "commit"],
           "dlq": ["id", "action", "after", "until", "older_than_s"], "explain": ["bucket", "key"],
           "replay": ["bucket", "prefix", "after", "until", "force", "since_ms", "until_ms"],
           "sign-url": ["bucket", "key", "params", "expires_s"], "functions": ["name", "memory_mb"]}
RIGHT = {"bucket": "photos", "key": "a.png", "function": "thumbnail", "select": "all", "name": "thumbnail"}
NUMBERS = [0, 1, -1, 2, 1000, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, -2**63, 2**64, 1e300, 0.5]
TEXTS = ["", "photos", "photos-derived", "a.png", "x" * 1000, "x" * 1025, "x" * 5000, "\0", "a\0b", "\x1b[2J", "%00",
         "../..", "metadata", "small", "stale,missing", "pause", "resume", "cancel", "redrive", "day", "prefix",
         "0001-01-01", "9999-12-31", "error", "timeout", "http://127.0.0.1:1/x", "\U0001F600" * 300, "{}", "[]"]


def value(dice, depth=0):
    kind = dice.random()
    if kind < .4:
        return dice.choice(NUMBERS)
    if kind < .8:
        return dice.choice(TEXTS)
    if kind < .85 or depth > 3:
        return dice.choice([None, True, False])
    if kind < .92:
        return [value(dice, depth + 1) for _ in range(dice.randint(0, 4))]
    return {dice.choice(NAMES): value(dice, depth + 1) for _ in range(dice.randint(0, 6))}


def cursor(dice):
    names = ("phase", "bucket", "key", "more", "id", "id2", "at")
    return {n: dice.choice([0, 1, 2, 3, 4, 5, -1]) if n == "phase" else value(dice, 2)
            for n in names if dice.random() < .8}


def request(dice):
    method, page = dice.choice(PAGES)
    names = OF_PAGE.get(page.split("/")[0], []) * 3 + NAMES
    query, body = {}, {}
    for _ in range(dice.randint(0, 5)):
        name = dice.choice(names)
        right = name in RIGHT and dice.random() < .6
        v = RIGHT[name] if right else cursor(dice) if name == "cursor" else value(dice)
        if method in ("POST", "PUT") and dice.random() < .7:
            body[name] = v
        else:
            query[name] = v if isinstance(v, str) else json.dumps(v)
    text = json.dumps(body).encode() if method in ("POST", "PUT") and dice.random() < .95 else b""
    if dice.random() < .05:
        text = text[:dice.randint(0, len(text))]
    target = "/_/" + page
    if query:
        target += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    return method, target, text


def test_each_request_is_answered(s):
    client, dice = s.s3(), random.Random(int(os.environ.get("SEED", "1")))
    for key in ("a.png", "d/\x1b[2J\u009b", "x" * 1000):
        client.put_object(Bucket="photos", Key=key, Body=b"no picture")
    for number in range(REQUESTS):
        method, target, body = request(dice)
        what = "request %d: %s %s %r" % (number, method, target[:200], body[:200])
        try:
            reply = s.signed(method, target, body)
        except OSError as e:
            raise darkroom.Failed("%s: %s" % (what, e))
        if reply.status == 431 or len(target) > 7000:
            continue  # before it is anybody's page
        true(reply.status in (200, 400, 403, 404, 409, 503), "%s: %d %r" % (what, reply.status, reply.body[:200]))
        try:
            json.loads(reply.body)
        except ValueError:
            raise darkroom.Failed("%s: no JSON: %r" % (what, reply.body[:200]))


def test_what_it_began_can_be_ended(s):
    for batch in s.signed("GET", "/_/reprocess").json()["batches"]:
        if batch["state"] in ("feeding", "draining", "paused"):
            reply = s.signed("POST", "/_/reprocess?action=cancel&id=%d" % batch["id"])
            true(reply.status in (200, 409), "canceling %r: %d" % (batch, reply.status))
    equal(s.metric("lost_events_total"), 0, "lost_events_total")


if __name__ == "__main__":
    darkroom.run(globals())
