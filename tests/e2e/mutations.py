#!/usr/bin/python3
"""Damaged pictures by the hundred: each gets its verdict, none takes the server down, none makes a
worker open a file or a connection that it names.

A canary file and a canary port are named inside the pictures. The kernel tells of every opening of the
file, and the port is listened to; both alarms are tried before they are trusted.

    MUTATIONS=N SEED=S   so many, from that seed (`make soak-mutations`)
"""
import collections
import ctypes
import os
import re
import select
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
import mutate
from darkroom import equal, true

COUNT = int(os.environ.get("MUTATIONS", "240"))
SEED = os.environ.get("SEED", "1")
AT_ONCE = 4
ROUND = 1000  # uploads between two looks at the queue
ROUND_SECONDS = 900
TIMEOUT_S = 10  # of the functions, here
LATE_MS = 60000  # a busy machine's; how sharp the deadline is, test_badworker.c tells
IN_OPEN = 0x20
VERDICTS = ("ready", "failed: ", "skipped: ")


class Canary:
    """A file whose openings are heard and a port whose callers are."""

    def __init__(self, name):
        self.path = os.path.join(os.getcwd(), name)
        with open(self.path, "wb") as f:
            f.write(darkroom.plain_png(40, 40, (250, 20, 20)))
        os.chmod(os.getcwd(), 0o755)
        libc = ctypes.CDLL(None, use_errno=True)
        self.watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        true(self.watch >= 0 and libc.inotify_add_watch(self.watch, self.path.encode(), IN_OPEN) >= 0,
             "inotify: %s" % os.strerror(ctypes.get_errno()))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0)
        self.port = self.listener.getsockname()[1]

    def openings(self):
        if not select.select([self.watch], [], [], 0)[0]:
            return 0
        return len(os.read(self.watch, 65536)) // struct.calcsize("iIII")

    def callers(self):
        count = 0
        while True:
            try:
                self.listener.accept()[0].close()
                count += 1
            except BlockingIOError:
                return count

    def try_alarms(self):
        open(self.path, "rb").close()
        socket.create_connection(("127.0.0.1", self.port)).close()
        equal((self.openings(), self.callers()), (1, 1), "what the alarms told when they were tried")

    def words(self):
        url = "http://127.0.0.1:%d/x.png" % self.port
        paths = (self.path, "file://" + self.path, url, "../" * 12 + self.path[1:], "|cat " + self.path)
        images = ('<image xlink:href="%s" width="9" height="9"/>' % p for p in paths)
        return [w.encode() for w in (*paths, *images, '<!DOCTYPE a [<!ENTITY x SYSTEM "%s">]>' % self.path)]


def put(s, mutator, begin, end):
    def one(i):
        name, body = mutator.make(i)
        reply = s.signed("PUT", "/photos/%06d-%s" % (i, name), body)
        equal(reply.status, 200, "status of number %d" % i)
    darkroom.at_once(AT_ONCE, lambda part: [one(i) for i in range(begin + part, end, AT_ONCE)])


def verdicts(s):
    """key -> the set of what is said of it."""
    found = {}
    for page in s.dynamodb().get_paginator("scan").paginate(TableName="images"):
        for item in page["Items"]:
            states = [v["S"] for v in item.get("state", {"M": {}})["M"].values()]
            found[item["key"]["S"]] = set(states + [item.get("metadata_state", {"S": "missing"})["S"]])
    return found


def longest_ms(s):
    return max(float(ms) for ms in re.findall(r" REPORT .* duration_ms=([0-9.]+)", s.log()))


def test_damaged_pictures(s):
    canary = Canary("canary.png")
    canary.try_alarms()
    for name in ("thumbnail", "metadata"):
        equal(s.cli("functions", "set", name, "--timeout", str(TIMEOUT_S)).returncode, 0, "setting of a timeout")
    seeds = mutate.made()
    for name in ("motocross.avif", "motocross.heic", "animation.webp"):
        seeds[name] = darkroom.sample(name)
    mutator = mutate.Mutator(seeds, canary.words(), SEED)
    for begin in range(0, COUNT, ROUND):
        put(s, mutator, begin, min(begin + ROUND, COUNT))
        s.idle(ROUND_SECONDS)
    equal((canary.openings(), canary.callers()), (0, 0), "openings of the canary file, callers at its port")
    found = verdicts(s)
    equal(len(found), COUNT, "items")
    odd = {k: v for k, v in found.items() if not all(x.startswith(VERDICTS) for x in v)}
    equal(odd, {}, "items without a verdict")
    true(longest_ms(s) <= TIMEOUT_S * 1000 + LATE_MS, "one invocation took %.0f ms" % longest_ms(s))
    told = collections.Counter(min(v).split(":")[0] for v in found.values())
    true(told["ready"] > 0 and told["failed"] > 0, "all are alike: %s" % told)
    print("# %d pictures from seed %s: %s; workers crashed %d, killed %d, by the sandbox %d; longest %.0f ms" % (
        COUNT, SEED, dict(told), s.metric("workers_crashed_total"), s.metric("workers_killed_total"),
        s.metric("sandbox_kills_total"), longest_ms(s)), flush=True)


try:
    import PIL  # noqa: F401
except ImportError:
    print("skip mutations: python3-pil is not installed")
else:
    darkroom.run(globals(), config={"image": {"formats": "jxl,svg"}})
