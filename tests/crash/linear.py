#!/usr/bin/python3
"""One key of a plain bucket is a register: whatever clients do to it at once, and however often the
server is killed meanwhile, their answers are those of some order of the operations (linearize.py).
LINEAR_OPS operations (3,000), LINEAR_KILLS kills (3), SEED to repeat the choices.

The checker itself is tried on small histories, known good and known bad, before it is believed.
"""
import collections
import contextlib
import hashlib
import http.client
import os
import random
import threading
import time

import crashlib
import darkroom
import linearize
import lives
from linearize import ABSENT, REFUSED, UNANSWERED, Op

OPS = int(os.environ.get("LINEAR_OPS", "3000"))
KILLS = int(os.environ.get("LINEAR_KILLS", "3"))
CLIENTS = 6
KEYS = 3
OPS_PER_KEY = 1000  # then the clients go on to new keys
LARGE = 70000       # above 64 KiB bodies are files
KINDS = ("put", "put-new", "put-over", "delete", "read", "read-head")
WEIGHTS = (20, 8, 8, 12, 30, 22)


# ---- the checker, checked ----

def op(start, end, kind, value=None, result="done", expected=None):
    return Op(start, end, 0, kind, value, expected, result)


GOOD = {
    "nothing": [],
    "reads of what is not there": [op(1, 2, "read", result=ABSENT)],
    "a read beside a put sees either": [
        op(1, 9, "put", "a"), op(2, 3, "read", result=ABSENT), op(4, 5, "read", result="a")],
    "two puts at once, read in one order": [
        op(1, 9, "put", "a"), op(1, 9, "put", "b"), op(10, 11, "read", result="a")],
    "an unanswered put happened": [
        op(1, 5, "put", "a", UNANSWERED), op(6, 7, "read", result="a")],
    "an unanswered put did not happen": [
        op(1, 5, "put", "a", UNANSWERED), op(6, 7, "read", result=ABSENT)],
    "one of two new ones is refused": [
        op(1, 9, "put-new", "a"), op(1, 9, "put-new", "b", REFUSED), op(10, 11, "read", result="a")],
    "a delete beside the put that is refused": [
        op(1, 2, "put", "a"), op(3, 9, "delete"), op(3, 9, "put-over", "b", REFUSED, "a"),
        op(10, 11, "read", result=ABSENT)],
}
BAD = {
    "a read of what was never put": [op(1, 2, "read", result="a")],
    "a stale read after an overwrite": [
        op(1, 2, "put", "a"), op(3, 4, "put", "b"), op(5, 6, "read", result="a")],
    "a read after a delete": [
        op(1, 2, "put", "a"), op(3, 4, "delete"), op(5, 6, "read", result="a")],
    "the new value, then the old one": [
        op(1, 2, "put", "a"), op(3, 9, "put", "b"), op(4, 5, "read", result="b"),
        op(6, 7, "read", result="a")],
    "a lost put": [op(1, 2, "put", "a"), op(3, 4, "read", result=ABSENT)],
    "two readers see two puts in two orders": [
        op(1, 2, "put", "a"), op(1, 3, "put", "b"), op(4, 5, "read", result="a"),
        op(6, 7, "read", result="b")],
    "two new ones at once": [op(1, 9, "put-new", "a"), op(1, 9, "put-new", "b")],
    "an unanswered put that comes after its end": [
        op(1, 2, "put", "a", UNANSWERED), op(3, 4, "read", result=ABSENT),
        op(5, 6, "read", result="a")],
    "a condition that did not hold": [
        op(1, 2, "put", "a"), op(3, 4, "put", "b"), op(5, 6, "put-over", "c", expected="a")],
    "a refusal without a reason": [
        op(1, 2, "put", "a"), op(3, 4, "put-over", "c", REFUSED, "a")],
}


def checker():
    for name, history in GOOD.items():
        darkroom.equal(linearize.check(history), None, name)
    for name, history in BAD.items():
        darkroom.true(linearize.check(history), "accepted: " + name)


# ---- the history ----

class Recorder(threading.Thread):
    """One client: every operation with its times."""

    def __init__(self, run, index):
        super().__init__(daemon=True)
        self.run_, self.index = run, index
        self.rng = random.Random("%s %d" % (run.seed, index))
        self.client = self.life = None
        self.made = 0
        self.seen = {}  # key -> a value that it may have, for put-over

    def run(self):
        try:
            while self.run_.claim():
                self.step()
        except Exception as e:  # a thread that ends in silence would weaken the load
            self.run_.problems.add("client %d: %s: %s", self.index, type(e).__name__, e)
            self.run_.stop()
        if self.client is not None:
            self.client.close()

    def body(self):
        """Like no other; its MD5 is its name."""
        self.made += 1
        text = b"client %d, body %d\n" % (self.index, self.made)
        return text * (LARGE // len(text) + 1) if self.rng.random() < 0.1 else text

    def step(self):
        run = self.run_
        key = "key-%d" % (run.epoch_of_keys() * KEYS + self.rng.randrange(KEYS))
        kind = self.rng.choices(KINDS, WEIGHTS)[0]
        expected = self.seen.get(key)
        if kind == "put-over" and expected is None:
            kind = "put"
        body = self.body() if kind.startswith("put") else b""
        value = hashlib.md5(body).hexdigest() if body else None
        life = self.connect()
        start = time.monotonic_ns()
        try:
            result = self.ask(kind, key, body, value, expected)
            end = time.monotonic_ns()
        except (OSError, http.client.HTTPException) as e:
            end, result = max(start, run.lives.death_of(life, e)), UNANSWERED
        kind = "read" if kind == "read-head" else kind
        run.history[key].append(Op(start, end, self.index, kind, value, expected, result))
        if result != REFUSED:
            self.seen[key] = result if kind == "read" else value

    def connect(self):
        """The server's life; a connection to an earlier one is of no use."""
        life = self.run_.lives.alive()
        if self.client is None or self.life != life:
            if self.client is not None:
                self.client.close()
            self.client, self.life = crashlib.Client(self.run_.server), life
        return life

    def ask(self, kind, key, body, value, expected):
        path = "/%s/%s" % (crashlib.PLAIN, key)
        if kind == "read":
            return self.value_read(key, self.client.call("GET", path))
        if kind == "read-head":
            return self.value_read(key, self.client.call("HEAD", path), whole=False)
        if kind == "delete":
            return self.outcome(key, self.client.call("DELETE", path), 204, ())
        headers = {"if-none-match": "*"} if kind == "put-new" else \
            {"if-match": '"%s"' % expected} if kind == "put-over" else {}
        # S3: If-Match on a key that is not there is 404 (NoSuchKey).
        refusals = {"put-new": (412,), "put-over": (412, 404)}.get(kind, ())
        reply = self.client.call("PUT", path, body=body, headers=headers)
        if reply.status == 200 and reply.headers["etag"] != '"%s"' % value:
            self.run_.problems.add("%s: PUT is answered with ETag %s", key, reply.headers["etag"])
        return self.outcome(key, reply, 200, refusals)

    def outcome(self, key, reply, good, refusals):
        if reply.status not in (good,) + refusals:
            self.run_.problems.add("%s: status %d %s", key, reply.status, reply.body[:200])
        return REFUSED if reply.status in refusals else "done"

    def value_read(self, key, reply, whole=True):
        if reply.status == 404:
            return ABSENT
        etag = reply.headers.get("etag", "").strip('"')
        if reply.status != 200 or whole and hashlib.md5(reply.body).hexdigest() != etag:
            self.run_.problems.add("%s: status %d, ETag %s, torn bytes", key, reply.status, etag)
        return etag


class Run:
    """The server, what the clients did, and how many operations they may still do."""

    def __init__(self, seed):
        self.seed = seed
        self.server = crashlib.Server("data")
        self.lives = lives.Lives(self.server)
        self.problems = crashlib.Problems()
        self.history = collections.defaultdict(list)
        self.lock = threading.Condition()
        self.claimed, self.limit = 0, OPS

    def claim(self):
        with self.lock:
            self.claimed += 1
            self.lock.notify_all()
            return self.claimed <= self.limit

    def stop(self):
        with self.lock:
            self.limit = 0
            self.lock.notify_all()

    def epoch_of_keys(self):
        return self.claimed // (OPS_PER_KEY * KEYS)

    def record(self):
        crashlib.prepare(self.server, pictures=False)
        clients = [Recorder(self, i) for i in range(CLIENTS)]
        for c in clients:
            c.start()
        rng = random.Random(self.seed)
        for at in sorted(rng.randrange(OPS) for _ in range(KILLS)):
            with self.lock:
                self.lock.wait_for(lambda: self.claimed >= min(at, self.limit))
            if self.limit:
                self.lives.kill()
        for c in clients:
            c.join()
        self.problems.check()
        darkroom.true(sum(map(len, self.history.values())) >= OPS, "too few operations")

    def judge(self):
        for key, ops in self.history.items():
            found = linearize.check(ops)
            if found:
                self.problems.add("%s: %s", key, linearize.failure_text(found, ops))
        self.problems.check()

    def end(self):
        """The register holds at the end what the history says."""
        with contextlib.closing(crashlib.Client(self.server)) as c:
            now = time.monotonic_ns()
            for key, ops in self.history.items():
                reply = c.call("GET", "/%s/%s" % (crashlib.PLAIN, key))
                value = hashlib.md5(reply.body).hexdigest() if reply.status == 200 else ABSENT
                ops.append(Op(now, time.monotonic_ns(), CLIENTS, "read", None, None, value))
        self.judge()
        darkroom.equal(self.server.stop(), 0, "exit code")


def main():
    crashlib.set_up()
    if not darkroom.report("the checker tells good histories from bad ones", checker):
        return
    run = Run(crashlib.seed_of())
    try:
        run.lives.start()
        darkroom.report("%d operations, %d kills" % (OPS, KILLS), run.record) and \
            darkroom.report("the history of each key is linearizable", run.judge) and \
            darkroom.report("so is what is there at the end", run.end)
        flat = [o for ops in run.history.values() for o in ops]
        print("%d operations on %d keys, %d refused, %d unanswered" % (
            len(flat), len(run.history), sum(o.result == REFUSED for o in flat),
            sum(o.result == UNANSWERED for o in flat)))
    finally:
        run.server.kill()


main()
