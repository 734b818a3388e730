#!/usr/bin/python3
"""kill -9 under load, again and again on one data directory, each time compared with what the
clients were told. COUNT kills (20), SEED to repeat its choices, KEEP=DIR to keep the data of a
failed run.

A killed process loses nothing that it had given to the kernel, so this finds what is wrong with
transactions and recovery, not missing syncs: those are powercut.py's.
"""
import contextlib
import os
import random
import shutil
import threading
import time

import crashlib
import darkroom
import history

COUNT = int(os.environ.get("COUNT", "20"))
DRAIN_SECONDS = 900
PICTURES = 6
STARTUP_SECONDS = 0.25  # about two start-ups: some kills meet recovery, some the listening server


def wait(seconds):
    """The random moment; nothing is waited for."""
    threading.Event().wait(seconds)


def kill_in_startup(server, rng):
    for _ in range(rng.randint(1, 3)):
        server.launch()
        wait(rng.random() * STARTUP_SECONDS)
        server.kill()


def crash(server, load, problems, rng):
    """In mid-load, or while SIGTERM is being obeyed."""
    load.start()
    try:
        wait(rng.uniform(0.2, 1.2))
        server.check_alive()
        moment = time.monotonic()
        if rng.random() < 0.15:
            server.process.terminate()
            wait(rng.random() * 0.1)
    finally:
        server.kill()
        load.stop()
    problems.before(moment)


class Run:
    def __init__(self, seed):
        self.seed, self.rng = seed, random.Random(seed)
        self.server = crashlib.Server("data")
        self.server.settings["lifecycle"] = history.LIFECYCLE
        self.ledger, self.problems = crashlib.Ledger(), crashlib.Problems()
        self.history = history.History()
        self.bodies = crashlib.Bodies(seed)

    def kills(self):
        for cycle in range(COUNT):
            self.server.checkpoint_bytes((1 if cycle % 2 else 32) << 20)
            if cycle == 0 or self.rng.random() < 0.3:
                kill_in_startup(self.server, self.rng)
            self.server.start()
            if cycle == 0:
                crashlib.prepare(self.server)
                history.prepare(self.server)
            self.compare()
            crash(self.server, self.load(cycle), self.problems, self.rng)
            if cycle % 4 == 0:
                crashlib.directory_check(self.server.data, self.problems, clean=False)
                self.problems.check()
        self.server.start()
        self.compare(everything=True)
        self.last_pictures()
        print("%d kills, %d acknowledged writes, %d keys, %d changes of versions" % (
            COUNT, self.ledger.acknowledged, len(self.ledger.keys), self.history.changes))

    def last_pictures(self):
        """However few the load made or left."""
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for i in range(PICTURES):
                key, (name, body) = (crashlib.PHOTOS, "last/%d.jpg" % i), self.bodies.picture(self.rng)
                state = crashlib.state_of(body, picture=name, sha=True)
                op = self.ledger.begin(key, state)
                c.must("PUT", "/%s/%s" % key, body=body)
                self.ledger.answered(key, op)

    def load(self, cycle):
        return crashlib.Load(self.server, self.ledger, self.problems, self.bodies, self.seed, cycle,
                             crashlib.MIXED + (history.VersionWorker,) * 2, self.history)

    def compare(self, everything=False):
        crashlib.survey(self.server, self.ledger, self.problems, self.rng, everything=everything)
        history.survey(self.server, self.history, self.problems)
        self.problems.check()

    def drain(self):
        self.server.idle(DRAIN_SECONDS)
        darkroom.equal(self.server.metric("lost_events_total"), 0, "lost_events_total")
        darkroom.equal(self.server.metric("queue_dead"), 0, "queue_dead")

    def pictures(self):
        count = crashlib.pictures_check(self.server, self.ledger, self.problems)
        self.problems.check()
        darkroom.true(count >= PICTURES, "only %d pictures were left to look at" % count)

    def sound(self):
        """A start after the drain sweeps; then nothing may be left over."""
        darkroom.equal(self.server.stop(), 0, "exit code")
        self.server.start()
        crashlib.survey(self.server, self.ledger, self.problems, self.rng, everything=True)
        history.survey(self.server, self.history, self.problems)
        darkroom.equal(self.server.stop(), 0, "exit code")
        crashlib.directory_check(self.server.data, self.problems, clean=True)
        self.problems.check()


def main():
    crashlib.set_up()
    run = Run(crashlib.seed_of())
    good = False
    try:
        good = darkroom.report("acknowledged writes survive %d kills" % COUNT, run.kills) and \
            darkroom.report("the queue drains and no event was lost", run.drain) and \
            darkroom.report("thumbnails and items are of the last versions", run.pictures) and \
            darkroom.report("the database is sound, every file is referenced", run.sound)
    finally:
        run.server.kill()
        if not good:
            print("--- the end of the server's log\n%s\n---" % run.server.log_tail(15))
            if os.environ.get("KEEP"):
                shutil.copytree(".", os.environ["KEEP"], dirs_exist_ok=True)


main()
