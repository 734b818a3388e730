#!/usr/bin/python3
"""System calls that fail, one at a time, under a small mixed load. FAULTS (16) of them, SEED to
repeat its choices, FAULT_SITES="syncer fdatasync" only sites that match it, KEEP=DIR for the
log. Its arguments are parts of the names of checks: these only.

A site is a kind of thread, a system call and an error; the n-th such call of that thread fails
("EIO+": that one and all after it), n walks up until the load ends without having met it. strace
makes the errors, it replaces the call. The library fault_shim.so does what strace cannot: short
reads and writes, storms of EINTR, and errors of writes to files alone, which strace cannot tell
from those that wake threads.

What is asked of the server, whatever fails:
  - what was acknowledged is there, whole, at once and after a restart; what was refused with 500 or
    503, or not answered, is there whole or not at all; bytes are right or not sent
  - after a failed sync nothing that began later is acknowledged until the restart, the health page
    says so, reads go on; after any other error the next write is accepted without a restart
  - every event survives: in the end each picture has its thumbnails
The run is void unless it also catches servers with planted bugs (base/plant.h): those come first.
"""
import contextlib
import http.client
import mmap
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

import crashlib
import darkroom

FAULTS = int(os.environ.get("FAULTS", "16"))
CHECKS_WANTED = sys.argv[1:]
SITES_WANTED = os.environ.get("FAULT_SITES", "")
DRAIN_SECONDS = 900
RESTART_EVERY = 4
REFUSALS = (500, 503)
ATTACH_SECONDS = 120
LARGE = (70 << 10, 300 << 10)
SHIM = "build/gcc/tests/crash/fault_shim.so"
SYNCS = ("fdatasync", "fsync")
POOL = "darkroomd"  # threads without a name of their own: the pools and the main one
PLANTS = {"ignore_sync_error": ("syncer", "fdatasync", "EIO"),
          "ignore_link_error": (POOL, "linkat", "EIO")}
PLANT_TRIES = 6

STRACE_SITES = [
    ("syncer", "fdatasync", "EIO"), ("syncer", "fdatasync", "ENOSPC"),
    ("syncer", "fdatasync", "EINTR"),
    ("writer", "pwrite64", "EIO"), ("writer", "pwrite64", "ENOSPC"),
    ("writer", "pwrite64", "EINTR"),
    ("writer", "fdatasync", "EIO"), ("writer", "sync_file_range", "EIO"),
    ("writer", "pread64", "EIO"), ("writer", "mmap", "ENOMEM"), ("writer", "ftruncate", "ENOSPC"),
    (POOL, "fdatasync", "EIO"), (POOL, "fdatasync", "ENOSPC"), (POOL, "fsync", "EIO"),
    (POOL, "linkat", "EIO"), (POOL, "linkat", "ENOSPC"), (POOL, "mkdir", "ENOSPC"),
    (POOL, "openat", "EIO"), (POOL, "openat", "EMFILE"), (POOL, "unlinkat", "EIO"),
    (POOL, "pread64", "EIO"), (POOL, "pwrite64", "ENOSPC"), (POOL, "memfd_create", "EMFILE"),
    (POOL, "statfs", "EIO"), (POOL, "newfstatat", "EIO"),
    ("MHD-worker", "openat", "EIO"), ("MHD-worker", "openat", "ENOSPC"),
    ("MHD-worker", "openat", "EMFILE"), ("MHD-worker", "pread64", "EIO"),
    ("MHD-worker", "sendfile", "EIO"), ("MHD-worker", "statfs", "EIO"),
    ("MHD-worker", "sendto", "EPIPE"), ("MHD-worker", "recvfrom", "ECONNRESET"),
    ("accept", "accept4", "EMFILE"), ("accept", "accept4", "ECONNABORTED"),
    ("dispatch", "openat", "EIO"), ("dispatch", "openat", "EMFILE"), ("dispatch", "pread64", "EIO"),
    ("dispatch", "sendmsg", "ENOBUFS"), ("dispatch", "recvmsg", "EINTR"),
    ("dispatch", "recvmsg", "EMFILE"), ("notifier", "pread64", "EIO"),
    ("writer", "pwrite64", "EIO+"), ("writer", "pwrite64", "ENOSPC+"),
    ("writer", "pread64", "EIO+"),
    ("syncer", "fdatasync", "EIO+"), (POOL, "fdatasync", "EIO+"), (POOL, "linkat", "ENOSPC+"),
    (POOL, "openat", "EMFILE+"), (POOL, "unlinkat", "EIO+"), (POOL, "pread64", "EIO+"),
    ("MHD-worker", "openat", "EMFILE+"), ("MHD-worker", "pread64", "EIO+"),
    ("dispatch", "openat", "EMFILE+"), ("dispatch", "pread64", "EIO+"),
    ("dispatch", "recvmsg", "EMFILE+")]
SHIM_SITES = [("any", "write to a file", "EIO"), ("any", "write to a file", "ENOSPC")]

# At a start the threads have no names yet, so all of them are meant.
START_SITES = [("fdatasync", "EIO"), ("fsync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO"),
               ("pread64", "EIO"), ("openat", "EIO"), ("mkdir", "ENOSPC"),
               ("unlink", "EIO"), ("unlinkat", "EIO"), ("rename", "EIO"),
               ("ftruncate", "ENOSPC"), ("flock", "EIO"), ("getdents64", "EIO")]


# ---- the load: the same steps each time, every one once ----

class Steps(crashlib.Worker):
    """Ends by itself. Errors are expected; what they leave behind is not judged here."""

    def run(self):
        for step in self.script():
            try:
                self.client = self.client or crashlib.Client(self.load.server)
                step()
            except (OSError, http.client.HTTPException):
                self.client = None
            except Exception as e:
                self.problems.add("client %d: %s: %s", self.index, type(e).__name__, e)
                break
        if self.client is not None:
            self.client.close()

    def script(self):
        raise NotImplementedError

    def ask(self, want, *args, **kwargs):
        """The reply when it is the wanted one, None when it is an error that may be."""
        reply = self.client.call(*args, **kwargs)
        if reply.status == want and b"<Error>" not in reply.body:
            return reply
        if reply.status not in REFUSALS and reply.status != want:
            self.problems.add("%s %s was answered %d %s", args[0], args[1], reply.status,
                              reply.body[:200])
        return None

    def write(self, key, state, want, *args, **kwargs):
        op, began = self.ledger.begin(key, state), time.time()
        reply = self.ask(want, *args, **kwargs)
        if reply is None:
            return None
        if state and reply.headers.get("etag", "").strip('"') not in ("", state.etag):
            self.problems.add("%s %s has ETag %s, not %s", args[0], args[1], reply.headers["etag"],
                              state.etag)
        self.ledger.answered(key, op)
        self.load.acknowledged.append((began, "%s %s" % (args[0], args[1])))
        return reply

    def get(self, key):
        sure, state = self.ledger.sure(key)
        reply = self.client.call("GET", "/%s/%s" % key)
        if sure and self.ledger.sure(key) == (True, state) and reply.status not in REFUSALS:
            crashlib.compare(self.problems, key, reply, {state})


class Objects(Steps):
    """Small and large ones, overwritten, copied, deleted, read."""

    def script(self):
        for i in range(3):
            small = (crashlib.PLAIN, "small/%d/%d" % (self.index, i))
            large = (crashlib.PLAIN, "large/%d/%d" % (self.index, i))
            copy = (crashlib.PLAIN, "copy/%d/%d" % (self.index, i))
            yield lambda: self.put(small, self.bodies.plain(self.rng, 4000))
            yield lambda: self.put(large, self.large())
            yield lambda: self.get(large)
            yield lambda: self.upload((crashlib.PLAIN, "multi/%d/%d" % (self.index, i)))
            yield lambda: self.put(small, self.bodies.plain(self.rng, 60000))
            yield lambda: self.copy(large, copy)
            yield lambda: self.get(small)
            yield lambda: self.put(large, self.large())
            yield lambda: self.get(copy)
            if i == self.load.cycle % 3:
                yield lambda: self.delete(large)
                yield lambda: self.delete(small)

    def large(self):
        return self.bodies.plain(self.rng, self.rng.randrange(*LARGE))

    def copy(self, source, target):
        sure, state = self.ledger.sure(source)
        if sure and state:
            self.write(target, state, 200, "PUT", "/%s/%s" % target,
                       headers={"x-amz-copy-source": "/%s/%s" % source})

    def upload(self, key):
        path, body = "/%s/%s" % key, self.large()
        reply = self.ask(200, "POST", path, {"uploads": ""})
        if reply is None:
            return
        upload = re.search(rb"<UploadId>([^<]+)<", reply.body).group(1).decode()
        if self.ask(200, "PUT", path, {"partNumber": 1, "uploadId": upload}, body):
            etag = crashlib.hashlib.md5(crashlib.hashlib.md5(body).digest()).hexdigest() + "-1"
            self.write(key, crashlib.state_of(body, etag), 200, "POST", path, {"uploadId": upload},
                       crashlib.completion([crashlib.hashlib.md5(body).hexdigest()]))


class Smalls(Steps):
    """Something else in the batches."""

    def script(self):
        for i in range(16):
            key = (crashlib.PLAIN, "tiny/%d/%d" % (self.index, i % 6))
            yield lambda: self.put(key, self.bodies.plain(self.rng, 300 + 2000 * i))
            if i % 5 == 4:
                yield lambda: self.delete(key)


class Pictures(Steps):
    """Results arrive while the others write."""

    def script(self):
        for i in range(3):
            key = (crashlib.PHOTOS, "album/%d.jpg" % i)
            name, body = self.bodies.picture(self.rng)
            yield lambda: self.put(key, body, name)
        yield lambda: self.put(key, b"not a picture: " + self.bodies.plain(self.rng, 500))
        yield lambda: self.delete((crashlib.PHOTOS, "album/0.jpg"))
        name, body = self.bodies.picture(self.rng)
        kept = (crashlib.PHOTOS, "kept/%d.jpg" % self.load.cycle)
        yield lambda: self.put(kept, body, name)


class Load:
    """Has an end. What crashlib's workers ask of one."""

    def __init__(self, run, kinds):
        self.server, self.ledger, self.problems = run.server, run.ledger, run.problems
        self.bodies, self.seed, self.cycle = run.bodies, run.seed, run.cycles
        self.ending = threading.Event()
        self.acknowledged = []  # (when it began by the wall's clock, what)
        self.workers = [kind(self, i) for i, kind in enumerate(kinds)]

    def run(self):
        for w in self.workers:
            w.start()
        for w in self.workers:
            w.join()


# ---- faults ----

class Strace:
    """Attached to one kind of thread while the load runs. `fired`: [(time, call)]."""

    def __init__(self, run, site, nth):
        self.pid, self.fired = run.server.process.pid, []
        self.role, self.call, self.error = site
        self.nth = nth

    def threads(self):
        for thread in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/comm" % (self.pid, thread)) as f:
                if f.read().strip() == self.role:
                    yield thread

    def traced(self, thread):
        with open("/proc/%d/task/%s/status" % (self.pid, thread)) as f:
            return not re.search(r"^TracerPid:\s0$", f.read(), re.MULTILINE)

    def __enter__(self):
        threads = list(self.threads())
        darkroom.true(threads, "no thread is called " + self.role)
        command = ["strace", "-ttt", "-qq", "-o", "strace.log", "-e", "trace=" + self.call, "-e",
                   "inject=%s:error=%s:when=%d%s" % (self.call, self.error.rstrip("+"), self.nth,
                                                     "+" * self.error.endswith("+"))]
        for thread in threads:
            command += ["-p", thread]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        darkroom.until(lambda: self.process.poll() is not None or all(map(self.traced, threads)),
                       "strace", ATTACH_SECONDS)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        text = self.process.communicate()[1]
        with open("strace.log") as f:
            self.fired = [(float(m.group(1)), m.group(2)) for m in
                          re.finditer(r"^(?:\d+ +)?(\d+\.\d+) (?:<\.\.\. )?(\w+).*\(INJECTED\)",
                                      f.read(), re.MULTILINE)]
        os.unlink("strace.log")
        darkroom.equal(text, "", "what strace complains about")


class Shim:
    """The preloaded library; its control file lasts as long as the test."""
    FIELDS = ("short_every", "eintr_every", "write_nth", "write_errno", "writes", "fired", "calls",
              "cut", "interrupted")
    ERRORS = {"EIO": 5, "ENOSPC": 28}

    def __init__(self, run=None, site=None, nth=0):
        self.site, self.nth, self.fired = site, nth, []

    @classmethod
    def prepare(cls):
        cls.path = os.path.abspath("control")
        with open(cls.path, "wb") as f:
            f.write(bytes(4096))
        with open(cls.path, "r+b") as f:
            cls.memory = mmap.mmap(f.fileno(), 4096)

    @classmethod
    def set(cls, **values):
        for name in cls.FIELDS:
            struct.pack_into("i", cls.memory, 4 * cls.FIELDS.index(name), values.get(name, 0))

    @classmethod
    def read(cls, name):
        return struct.unpack_from("i", cls.memory, 4 * cls.FIELDS.index(name))[0]

    def __enter__(self):
        self.set(write_nth=self.nth, write_errno=self.ERRORS[self.site[2]])
        return self

    def __exit__(self, *_):
        self.fired = [(time.time(), "write")] * self.read("fired")
        self.set()


class Server(crashlib.Server):
    """Preloads the library. With `inject`, a start under strace."""

    def __init__(self, data, program=None):
        super().__init__(data, program)
        self.env["DARKROOM_FAULT_CONTROL"] = Shim.path
        self.inject = None

    def command(self):
        """The library is for the server alone: it takes itself out of the environment."""
        command = super().command()[3:]
        if self.inject is None:
            return ["setpriv", "--pdeathsig", "KILL", "env",
                    "LD_PRELOAD=" + os.path.join(darkroom.TOP, SHIM)] + command
        return ["setpriv", "--pdeathsig", "KILL", "strace", "-D", "-f", "-b", "execve", "-qq", "-o",
                "strace.log", "-e", "trace=" + self.inject[0], "-e",
                "inject=%s:error=%s:when=%d" % self.inject] + command


# ---- one data directory through many faults ----

class Run:
    def __init__(self, seed, program=None, kinds=(Objects, Smalls, Pictures)):
        self.seed, self.rng, self.kinds = seed, random.Random(seed), kinds
        self.server = Server("data", program)
        self.server.settings["storage"] = {"checkpoint_bytes": 1 << 20}
        self.server.checkpoint_bytes(1 << 20)
        self.ledger, self.problems = crashlib.Ledger(), crashlib.Problems()
        self.bodies = crashlib.Bodies(seed)
        self.cycles = self.fired = self.syncs = 0
        self.counts = {}

    def start(self):
        self.server.start()
        crashlib.prepare(self.server)

    def fault(self, site, nth):
        """False when the load ended without it."""
        self.cycles += 1
        load = Load(self, self.kinds)
        with (Shim if site in SHIM_SITES else Strace)(self, site, nth) as shot:
            load.run()
        self.server.check_alive()
        self.fired += bool(shot.fired)
        what = "%s %s %s, number %d" % (*site, nth)
        count = len(self.problems.list)
        try:
            synced = [when for when, call in shot.fired if call in SYNCS]
            if synced:
                self.after_failed_sync(site, load, min(synced))
            else:
                self.after_error()
        except darkroom.Failed as e:
            raise darkroom.Failed("%s: %s" % (what, e))
        if len(self.problems.list) > count:
            self.problems.list.insert(0, (0, "after " + what))
        self.problems.check()
        return bool(shot.fired)

    def probes(self):
        """(want, arguments) of one write of each kind."""
        key = "/%s/probe" % crashlib.PLAIN
        return ((200, ("PUT", key, None, b"small")), (200, ("PUT", key, None, b"x" * LARGE[0])),
                (200, ("POST", key, {"uploads": ""})), (204, ("DELETE", key)))

    def after_error(self):
        """It goes on. What is there is right, and is so after the restart that follows now and
        then."""
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for want, args in self.probes():
                darkroom.equal(c.call(*args).status, want, "%s afterwards" % args[0])
        health = self.server.get("/_/health").json()
        darkroom.equal(health["storage"], "ok", "storage by the health page")
        self.compare()
        if self.cycles % RESTART_EVERY == 0:
            self.restart(self.rng.random() < 0.5)

    def after_failed_sync(self, site, load, when):
        """The syncer answers all writes, so its moment is exact; the others tell it of theirs."""
        self.syncs += 1
        late = [what for began, what in load.acknowledged if began > when and site[0] == "syncer"]
        darkroom.true(not late, "acknowledged after the failed sync: %s" % late[:3])
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for _, args in self.probes():
                reply = c.call(*args)
                darkroom.true(reply.status in REFUSALS,
                              "%s after the failed sync was answered %d" % (args[0], reply.status))
        health = self.server.get("/_/health").json()
        darkroom.true(health["storage"] != "ok", "health says nothing of the failed sync")
        darkroom.equal(self.server.metric("db_sync_failed"), 1, "db_sync_failed")
        self.compare()
        self.restart(self.rng.random() < 0.5)

    def compare(self, errors=False):
        """Every key of the running server; nothing is settled, for the restart may show another of
        the possible states. `errors`: the fault may still be met by a read."""
        with contextlib.closing(crashlib.Client(self.server)) as c:
            for key in list(self.ledger.keys):
                reply = c.call("GET", "/%s/%s" % key)
                if not errors or reply.status not in REFUSALS:
                    crashlib.compare(self.problems, key, reply, self.ledger.possible(key))

    def restart(self, clean):
        if clean:
            darkroom.equal(self.server.stop(), 0, "exit code")
        else:
            self.server.kill()
        crashlib.directory_check(self.server.data, self.problems, clean=False)
        self.server.start()
        crashlib.survey(self.server, self.ledger, self.problems, self.rng)

    def walk(self, sites, total):
        """`total` faults over the sites in turn; a site is done when its n is beyond the load."""
        turns = {site: 1 for site in sites}
        while turns and self.cycles < total:
            for site in sorted(turns, key=lambda s: (turns[s], self.rng.random())):
                if self.cycles >= total:
                    break
                nth = turns[site]
                if self.fault(site, nth):
                    self.counts[site] = self.counts.get(site, 0) + 1
                    turns[site] += 1 if nth < 6 else max(1, nth // 4)
                else:
                    del turns[site]
        print("%d loads, %d faults at %d of %d sites, %d of them syncs, %d acknowledged writes" % (
            self.cycles, self.fired, len(self.counts), len(sites), self.syncs,
            self.ledger.acknowledged))
        if not turns:
            print("never met: " + ", ".join(" ".join(s) for s in sites if s not in self.counts))

    def end(self):
        """No event was lost, nothing is left over."""
        self.server.idle(DRAIN_SECONDS)
        darkroom.equal(self.server.metric("lost_events_total"), 0, "lost_events_total")
        crashlib.survey(self.server, self.ledger, self.problems, self.rng, everything=True)
        crashlib.pictures_check(self.server, self.ledger, self.problems)
        self.problems.check()
        darkroom.equal(self.server.metric("queue_dead"), 0, "queue_dead")
        darkroom.equal(self.server.stop(), 0, "exit code")
        self.server.start()
        darkroom.equal(self.server.stop(), 0, "exit code")
        crashlib.directory_check(self.server.data, self.problems, clean=True)
        self.problems.check()


# ---- the checks ----

@contextlib.contextmanager
def run_on(*args):
    run = Run(*args)
    try:
        yield run
    finally:
        run.server.kill()
        if os.environ.get("KEEP"):
            os.makedirs(os.environ["KEEP"], exist_ok=True)
            shutil.copy(run.server.log_path, os.environ["KEEP"])
        if os.path.exists(run.server.log_path):
            os.replace(run.server.log_path, "last.log")
        shutil.rmtree("data", ignore_errors=True)


def catches(plant, seed):
    with run_on(seed, crashlib.planted_program(plant), (Objects, Smalls)) as run:
        run.start()
        try:
            for nth in range(1, PLANT_TRIES + 1):
                run.fault(PLANTS[plant], nth)
        except darkroom.Failed as e:
            darkroom.true(run.fired > 0, "nothing was injected: %s" % e)
            print("%s, fault %d: %s" % (plant, run.fired, str(e)[:160]))
            return
    raise darkroom.Failed("planted bug not caught in %d faults: the run is void" % PLANT_TRIES)


def survives(seed, sites):
    with run_on(seed) as run:
        run.start()
        run.walk(sites, FAULTS)
        run.end()


def start_ups(seed):
    """It starts, or says why it does not and ends; a start without the fault finds everything."""
    with run_on(seed) as run:
        run.start()
        Load(run, run.kinds).run()
        run.server.kill()
        counts = {"refused": 0, "served": 0, "without": 0}
        for i in range(max(4, FAULTS // 4)):
            run.server.inject = START_SITES[i % len(START_SITES)] + (1 + i // len(START_SITES),)
            counts[start_up(run)] += 1
            run.server.kill()
            run.server.inject = None
            crashlib.directory_check(run.server.data, run.problems, clean=False)
            run.problems.check()
        run.server.start()
        crashlib.survey(run.server, run.ledger, run.problems, run.rng, everything=True)
        run.end()
        print("of starts with a fault %(refused)d were refused, %(served)d served; %(without)d had "
              "none" % counts)


def start_up(run):
    what = "%s %s, number %d" % run.server.inject
    try:
        run.server.start()
    except darkroom.Failed:
        run.server.process.wait(ATTACH_SECONDS)
        darkroom.true(run.server.process.returncode > 0, "start with %s ended with code %d" % (
            what, run.server.process.returncode))
        return "refused"
    run.compare(errors=True)
    if run.problems.list:
        run.problems.list.insert(0, (0, "a start with " + what))
    run.problems.check()
    with open("strace.log") as f:
        return "served" if "(INJECTED)" in f.read() else "without"


def storms(seed):
    """Short reads and writes, and interrupted calls, are nobody's error: all is acknowledged."""
    with run_on(seed) as run:
        run.start()
        for short, storm in ((2, 0), (0, 3), (3, 5)):
            Shim.set(short_every=short, eintr_every=storm)
            load = Load(run, run.kinds)
            before = run.ledger.acknowledged
            load.run()
            calls, cut, interrupted = map(Shim.read, ("calls", "cut", "interrupted"))
            run.compare()
            run.server.idle(DRAIN_SECONDS)
            Shim.set()
            run.problems.check()
            darkroom.true(cut > 20 if short else interrupted > 20, "only %d calls were met" % calls)
            darkroom.true(not run.ledger.under_way(), "a write was refused")
            print("%d of %d calls cut, %d interrupted, %d acknowledged writes" % (
                cut, calls, interrupted, run.ledger.acknowledged - before))
            run.cycles += 1
        run.restart(False)
        run.end()


def usable():
    """Why not, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", "inject=chdir:error=EIO",
                           "true"], stderr=subprocess.PIPE, text=True)
    return None if done.returncode == 0 else "strace may not trace here: " + done.stderr.strip()


def main():
    crashlib.set_up()
    seed = crashlib.seed_of()
    Shim.prepare()
    crashlib.make(SHIM)
    checks = [("short calls and storms of EINTR are nobody's error", lambda: storms(seed))]
    why = usable()
    sites = SHIM_SITES + ([] if why else STRACE_SITES)
    if SITES_WANTED:
        sites = [s for s in sites if re.search(SITES_WANTED, " ".join(s))]
    if why:
        print("skip faults of system calls: %s" % why, flush=True)
    else:
        checks += [("faults catch planted " + plant, lambda plant=plant: catches(plant, seed))
                   for plant in PLANTS]
        checks.append(("a start that meets a fault loses nothing", lambda: start_ups(seed)))
    checks.append(("no fault of %d makes a false acknowledgement" % FAULTS,
                   lambda: survives(seed, sites)))
    for name, check in checks:
        if CHECKS_WANTED and not any(wanted in name for wanted in CHECKS_WANTED):
            continue
        if not darkroom.report(name, check):
            crashlib.last_log()


if __name__ == "__main__":
    main()
