#!/usr/bin/python3
"""auth.failures_per_minute_max: an address that sends wrong signatures is answered in full so many times
a minute, then in short; a right signature is never refused for what its address did."""
import http.client
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
import darkroom
from conformance import EMPTY, Answer, MAIN, api, presign, sign, wants
from darkroom import equal, true, until

SHARE = 20
MISMATCH, UNKNOWN, LIMITED = "403 SignatureDoesNotMatch", "403 InvalidAccessKeyId", "403 AccessDenied"
WRONG = dict(MAIN, secret_access_key="wrong")
NOBODY = dict(MAIN, access_key_id="NOBODYSKEY")


def ask(s, account, source="127.0.0.1", method="GET", target="/"):
    """From an address of our choice: all of 127/8 is this machine."""
    headers = {"Host": "%s:%d" % (s.host, s.port)}
    sign(account, method, target, headers, EMPTY)
    c = http.client.HTTPConnection(s.host, s.port, timeout=30, source_address=(source, 0))
    try:
        c.request(method, target, headers=headers)
        r = c.getresponse()
        return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
    finally:
        c.close()


def use_up(s, source, account=WRONG):
    began = time.monotonic()
    answers = [ask(s, account, source) for _ in range(3 * SHARE)]
    grown = int((time.monotonic() - began) * SHARE / 60) + 1
    full = sum(a.code != "AccessDenied" for a in answers)
    true(SHARE <= full <= SHARE + grown, "%d of %d were answered in full" % (full, len(answers)))
    return answers


def limited(wrong):
    """The short answer to one of a few more wrong requests: every 60 / SHARE seconds one gets the full
    one again."""
    answers = [wrong()]
    while answers[-1].code != "AccessDenied" and len(answers) < SHARE:
        answers.append(wrong())
    return wants(answers[-1], LIMITED)


def test_a_share_of_full_answers(s):
    before = s.metric("auth_failures_total"), s.metric("auth_limited_total")
    answers = use_up(s, "127.0.0.2")
    for a in answers[:SHARE]:
        wants(a, MISMATCH)
    a = wants([a for a in answers[SHARE:] if a.code != "SignatureDoesNotMatch"][-1], LIMITED)
    for name in ("StringToSign", "CanonicalRequest", "AWSAccessKeyId", "SignatureProvided"):
        equal(a.one(name), None, name)
    full = sum(a.code != "AccessDenied" for a in answers)
    equal(s.metric("auth_failures_total") - before[0], len(answers), "auth_failures_total")
    equal(s.metric("auth_limited_total") - before[1], len(answers) - full, "auth_limited_total")


def test_unknown_keys_look_like_wrong_ones_then(s):
    wants(ask(s, NOBODY, "127.0.0.3"), UNKNOWN)
    use_up(s, "127.0.0.4", NOBODY)
    texts = [limited(lambda: ask(s, account, "127.0.0.4")).one("Message") for account in (NOBODY, WRONG)]
    equal(texts[0], texts[1], "the messages")


def test_a_right_signature_is_never_refused(s):
    use_up(s, "127.0.0.5")
    stop, wrong = threading.Event(), []

    def flood():
        while not stop.is_set():
            wrong.append(ask(s, WRONG, "127.0.0.5").status)
    threads = [threading.Thread(target=flood) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        right = 0
        while right < 200 or len(wrong) < 100:
            equal(ask(s, MAIN, "127.0.0.5").status, 200, "a right signature in the middle of it")
            right += 1
    finally:
        stop.set()
        for t in threads:
            t.join()
    equal(set(wrong), {403}, "how wrong ones were answered")


def test_others_have_their_own_share(s):
    use_up(s, "127.0.0.6")
    wants(ask(s, WRONG, "127.0.0.7"), MISMATCH)


def test_the_share_grows_back(s):
    use_up(s, "127.0.0.8")
    began = time.monotonic()
    until(lambda: ask(s, WRONG, "127.0.0.8").code == "SignatureDoesNotMatch", "one more full answer")
    # One comes back every 3 s; with a limit of a minute or longer nothing would for that long.
    true(time.monotonic() - began < 45, "it took %.1f s" % (time.monotonic() - began))


def test_anonymous_and_late_requests_do_not_count(s):
    """They prove nothing about keys: a page that is open in a browser must not use the share up."""
    for _ in range(2 * SHARE):
        true(conformance.anybody(s)("GET", "/photos/none").status >= 400, "a stranger was served")
        wants(api(s)("GET", "/", when=-3600), "403 RequestTimeTooSkewed")
    wants(api(s, WRONG)("GET", "/"), MISMATCH)


def test_presigned_forms_and_tables_count_too(s):
    for _ in range(SHARE):
        conformance.anybody(s)("GET", presign(s, WRONG, "GET", "/photos/x"))
    limited(lambda: api(s, WRONG)("GET", "/"))
    headers = {"Host": "%s:%d" % (s.host, s.port), "X-Amz-Target": "DynamoDB_20120810.ListTables"}
    sign(WRONG, "POST", "/", headers, conformance.hashlib.sha256(b"{}").hexdigest(), service="dynamodb")
    for _ in range(SHARE):
        reply = s.request("POST", "/", b"{}", headers)
        equal(reply.status, 400, "status of the table's answer")
        if "Too many requests" in reply.json()["message"]:
            return
    raise darkroom.Failed("it says %s" % reply.json())


def test_each_request_counts_once(s):
    picture = "/_/img/photos/x.jpg?"
    for account, target in ((WRONG, "/"), (WRONG, picture + "preset=small"), (WRONG, picture + "w=10&fit=inside"),
                            (MAIN, picture + "w=10&fit=inside"), (WRONG, picture + "w=10&exp=1&sig=aa"),
                            (WRONG, "/_/events"), (WRONG, "/_/status"), (MAIN, "/_/status")):
        before = s.metric("auth_failures_total")
        equal(ask(s, account, "127.0.0.9", target=target).status, 403, "status of " + target)
        equal(s.metric("auth_failures_total") - before, 1, "failures counted for " + target)


def test_without_a_limit(s):
    t = darkroom.Server(data=os.path.join(os.getcwd(), "none"), args=["--bare"],
                        config={"accounts": [MAIN], "auth": {"failures_per_minute_max": 0}}).start()
    try:
        for _ in range(3 * SHARE):
            wants(ask(t, WRONG), MISMATCH)
    finally:
        equal(t.stop(), 0, "exit code")


conformance.run(globals(), config={"auth": {"failures_per_minute_max": SHARE}})
