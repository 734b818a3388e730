#!/usr/bin/python3
"""A full disk: the data directory lies on a tmpfs of 48 MiB, another file takes the rest of it.

With the reserve, PUTs are refused in good time while reads and deletes go on; without one, the
error comes from any write: of a blob's file, of the log in mid-transaction, in a checkpoint. Either
way PUTs are accepted again when space returns, without a restart, and nothing acknowledged is lost.
ROUNDS (3) of filling; SEED. Needs to mount, else it is skipped.
"""
import contextlib
import http.client
import os
import random
import subprocess
import threading

import crashlib
import darkroom

ROUNDS = int(os.environ.get("ROUNDS", "3"))
DISK_BYTES = 48 << 20
RESERVE = 8 << 20
CHECKPOINT = 1 << 20
DRAIN_SECONDS = 900
REFUSED_SECONDS = 60
BODIES_MAX = 400


@contextlib.contextmanager
def disk():
    path = os.path.abspath("disk")
    os.makedirs(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % DISK_BYTES, "tmpfs", path],
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        os.rmdir(path)
        raise darkroom.Skipped("no tmpfs can be mounted: " + done.stderr.strip())
    try:
        yield path
    finally:
        darkroom.until(lambda: subprocess.run(["umount", path], stderr=subprocess.PIPE).returncode
                       == 0, "unmounting")
        os.rmdir(path)


class Run:
    def __init__(self, path, reserve, seed, program):
        self.rng = random.Random(seed)
        self.ballast = os.path.join(path, "ballast")
        self.path = path
        self.server = crashlib.Server(os.path.join(path, "data"), program)
        self.server.checkpoint_bytes(CHECKPOINT)
        self.server.settings["storage"]["reserve_bytes"] = reserve
        self.server.settings["storage"]["cache_bytes"] = 0
        with open(self.server.config_path, "w") as f:
            crashlib.json.dump(self.server.settings, f)
        self.ledger, self.problems = crashlib.Ledger(), crashlib.Problems()
        self.bodies = crashlib.Bodies(seed)
        self.refused = 0

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def fill(self, leave):
        """Takes all but `leave` bytes."""
        take = self.free() - leave
        with open(self.ballast, "ab") as f:
            with contextlib.suppress(OSError):
                while take > 0:
                    take -= f.write(bytes(min(take, 1 << 16)))
                    f.flush()

    def space_returns(self):
        os.unlink(self.ballast)

    def put(self, c, key, size, want=None):
        body = self.bodies.plain(self.rng, size)
        op = self.ledger.begin(key, crashlib.state_of(body, sha=key[0] == crashlib.PHOTOS))
        reply = c.call("PUT", "/%s/%s" % key, body=body)
        if reply.status == 200:
            self.ledger.answered(key, op)
        else:
            self.refused += 1
            darkroom.true(reply.status in (500, 503), "PUT was answered %d" % reply.status)
            if reply.status == 503:
                darkroom.true("retry-after" in reply.headers, "503 without Retry-After")
        if want:
            darkroom.equal(reply.status, want, "status of a PUT of %d" % size)
        return reply.status

    def delete(self, c, key):
        op = self.ledger.begin(key, None)
        reply = c.call("DELETE", "/%s/%s" % key)
        darkroom.equal(reply.status, 204, "DELETE on a full disk")
        self.ledger.answered(key, op)

    def write_until_full(self):
        """Two clients, small and large bodies, until each was refused some times."""
        def client(index, size):
            refused = 0
            with contextlib.closing(crashlib.Client(self.server)) as c:
                for i in range(BODIES_MAX):
                    key = (crashlib.PLAIN, "%s/%d/%d" % (self.rng.random(), index, i))
                    refused += self.put(c, key, size) != 200
                    if refused > 8:
                        return
            failures.append("client %d was never refused" % index)
        failures = []
        threads = [threading.Thread(target=guarded, args=(failures, client, i, size))
                   for i, size in enumerate((9000, 200000))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        darkroom.true(not failures, "; ".join(failures))

    def reads_go_on(self):
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for key in list(self.ledger.keys):
                crashlib.compare(self.problems, key, c.call("GET", "/%s/%s" % key),
                                 self.ledger.possible(key))
        self.problems.check()
        self.server.check_alive()

    def writes_go_on(self):
        """Without a restart."""
        with contextlib.closing(crashlib.Client(self.server)) as c:
            key = (crashlib.PLAIN, "again/%d" % self.rng.randrange(1 << 30))
            darkroom.until(lambda: self.put(c, key, 5000) == 200, "a PUT accepted again",
                           REFUSED_SECONDS)
            self.put(c, (crashlib.PLAIN, "again/large"), 100 << 10, 200)
        health = self.server.get("/_/health").json()
        darkroom.equal(health["storage"], "ok", "storage by the health page")

    def make_room(self):
        """By deletes alone, as far as they get."""
        keys = sorted(k for k in self.ledger.keys if k[0] == crashlib.PLAIN and
                      self.ledger.sure(k)[1])
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for key in self.rng.sample(keys, len(keys) * 2 // 3):
                self.delete(c, key)

    def restart(self, clean):
        if clean:
            darkroom.equal(self.server.stop(), 0, "exit code")
        else:
            self.server.kill()
        crashlib.directory_check(self.server.data, self.problems, clean=False)
        self.server.start()
        crashlib.survey(self.server, self.ledger, self.problems, self.rng, everything=True)
        self.problems.check()

    def end(self):
        self.server.idle(DRAIN_SECONDS)
        darkroom.equal(self.server.metric("lost_events_total"), 0, "lost_events_total")
        self.restart(clean=True)
        darkroom.equal(self.server.stop(), 0, "exit code")
        crashlib.directory_check(self.server.data, self.problems, clean=True)
        self.problems.check()
        print("%d acknowledged writes, %d refused" % (self.ledger.acknowledged, self.refused))


def guarded(failures, fn, *args):
    try:
        fn(*args)
    except (darkroom.Failed, OSError, http.client.HTTPException) as e:
        failures.append("%s: %s" % (type(e).__name__, e))


@contextlib.contextmanager
def run_on(reserve, seed, program=None):
    with disk() as path:
        run = Run(path, reserve, seed, program)
        try:
            run.server.start()
            crashlib.prepare(run.server)
            yield run
        finally:
            run.server.kill()
            crashlib.keep_log(run.server)


def with_reserve(seed):
    with run_on(RESERVE, seed) as run:
        for _ in range(ROUNDS):
            run.fill(RESERVE + (2 << 20))
            run.write_until_full()
            with contextlib.closing(crashlib.Client(run.server)) as c:
                reply = c.call("PUT", "/%s/refused" % crashlib.PLAIN, body=b"x")
                darkroom.equal((reply.status, reply.headers.get("retry-after", "") != ""),
                               (503, True), "a PUT below the reserve, its Retry-After")
                darkroom.true(b"<Code>SlowDown</Code>" in reply.body, "not SlowDown: %s" %
                              reply.body[:200])
            run.reads_go_on()
            run.make_room()
            run.space_returns()
            run.writes_go_on()
        run.restart(clean=False)
        run.end()


def without_reserve(seed):
    """The last pages go in mid-transaction; a picture's results have to wait, and come."""
    with run_on(0, seed) as run:
        for turn in range(ROUNDS):
            with contextlib.closing(crashlib.Client(run.server)) as c:
                key = (crashlib.PHOTOS, "album/%d.jpg" % turn)
                name, body = run.bodies.picture(run.rng)
                op = run.ledger.begin(key, crashlib.state_of(body, picture=name, sha=True))
                darkroom.equal(c.call("PUT", "/%s/%s" % key, body=body).status, 200, "a picture")
                run.ledger.answered(key, op)
            run.fill(run.rng.choice((0, 1, 3, 9)) * 65536)
            run.write_until_full()
            run.reads_go_on()
            if turn % 2:
                run.server.kill()
                run.space_returns()
                run.server.start()
            else:
                run.space_returns()
            run.writes_go_on()
            run.reads_go_on()
            run.make_room()
        run.restart(clean=False)
        run.server.idle(DRAIN_SECONDS)
        crashlib.pictures_check(run.server, run.ledger, run.problems)
        run.problems.check()
        run.end()


def catches(seed):
    with run_on(0, seed, crashlib.planted_program("ignore_write_error")) as run:
        with contextlib.closing(crashlib.Client(run.server)) as c:
            for i in range(2 * CHECKPOINT // 30000):  # a log that starts over needs no new space
                run.put(c, (crashlib.PLAIN, "before/%d" % i), 30000, 200)
            run.fill(300 << 10)
            for i in range(4):
                run.put(c, (crashlib.PLAIN, "large/%d" % i), 200 << 10)
        try:
            run.reads_go_on()
        except darkroom.Failed as e:
            print("ignore_write_error: %s" % str(e)[:160])
            return
    raise darkroom.Failed("planted bug not caught: the run is void")


def main():
    crashlib.set_up()
    seed = crashlib.seed_of()
    for name, check in (("a full disk catches planted ignore_write_error", catches),
                        ("below the reserve reads and deletes go on", with_reserve),
                        ("the last byte of the disk costs no acknowledged write", without_reserve)):
        if not darkroom.report(name, lambda: check(seed)):
            crashlib.last_log()


main()
