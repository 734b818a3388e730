#!/usr/bin/python3
"""Power cuts: the data directory lies on a file system in a file, which is shut down under load so
that whatever was not synced is gone; mounted again, it is compared with what the clients were told.
POWERCUT_EXT4 (6) and POWERCUT_XFS (4) cuts, SEED to repeat its choices, KEEP=DIR to keep the log.

What may be found: per key the last acknowledged write, or one that was under way at the cut, whole;
one of those that a reader was shown may not be gone. Commits reach the disk in order, so more than
was acknowledged may be there, but no later write without the earlier ones (SQLite's log ends at the
first frame that does not fit).

The run is void unless it also catches each server with a planted bug (base/plant.h), so those come
first. Needs root and loop devices, else it is skipped.
"""
import contextlib
import ctypes
import fcntl
import os
import random
import re
import shutil
import sqlite3
import struct
import subprocess
import threading
import time

import crashlib
import darkroom
import history

CUTS = {"ext4": int(os.environ.get("POWERCUT_EXT4", "6")),
        "xfs": int(os.environ.get("POWERCUT_XFS", "4"))}
SMALL, LARGE = crashlib.SmallWorker, crashlib.LargeWorker
# What a planted server is loaded with. Answering early also makes the store take files for
# leftovers of a failed put, so that bug must show without files.
PLANTS = {"no_sync": (SMALL, SMALL, LARGE, crashlib.MultipartWorker),
          "no_fsync": (SMALL, SMALL, LARGE, crashlib.MultipartWorker),
          "early_ack": (SMALL,) * 6,
          "early_read": (SMALL,) * 6 + (crashlib.ReadingWorker,) * 4}
PLANT_CUTS = 100  # within so many it must have been caught; as a rule one of the first does
DRAIN_SECONDS = 900
STARTUP_SECONDS = 0.15
IMAGE_BYTES = 4 << 30  # sparse; 500 cuts leave more than half a GiB
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
SHUTDOWN = 0x8004587d     # FS_IOC_SHUTDOWN, known to ext4 and xfs
WITHOUT_FLUSH = 2         # not even the file system's own log in memory reaches the disk
MOUNT = "darkroom-powercut"
MNT_DETACH = 2
UNMOUNT_SECONDS = 120
LIBC = ctypes.CDLL(None)


class Unavailable(Exception):
    """This machine cannot do it; the text says why."""


# ---- a disk whose power can be cut ----

def tool(*command):
    """Its error text, empty when it succeeded."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or "failed"


class Disk:
    """A mounted file. Its loop device goes with the last mount."""

    def __init__(self, kind):
        self.kind = kind
        self.path = os.path.abspath("%s-%d-%s" % (MOUNT, os.getpid(), kind))
        self.image = self.path + ".img"

    def __enter__(self):
        os.makedirs(self.path)
        with open(self.image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        why = tool(*MAKE[self.kind], self.image) or self.mount()
        if why:
            self.__exit__()
            raise Unavailable(why)
        return self

    def __exit__(self, *_):
        unmount(self.path, force=True)
        os.unlink(self.image)
        os.rmdir(self.path)

    def mount(self):
        return tool("mount", "-t", self.kind, "-o", "loop", self.image, self.path)

    def cut(self):
        """From here on nothing reaches the disk, and what is only in memory never will."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(fd)

    def sync(self):
        fd = os.open(self.path, os.O_RDONLY)
        LIBC.syncfs(fd)
        os.close(fd)

    def replug(self):
        unmount(self.path)
        why = self.mount()
        if why:
            raise darkroom.Failed("%s cannot be mounted after the cut: %s" % (self.kind, why))


def mounted():
    """Asked of the kernel: a file system that is shut down does not answer for itself."""
    with open("/proc/self/mounts") as f:
        return [line.split()[1] for line in f]


def unmount(path, force=False):
    """The workers of a killed server end a moment after it."""
    try:
        darkroom.until(lambda: path not in mounted() or not tool("umount", path), "unmounting",
                       UNMOUNT_SECONDS)
    except darkroom.Failed:
        if not force:
            raise
        LIBC.umount2(path.encode(), MNT_DETACH)


def remove_old_mounts():
    """Of a run that was killed: its number in the name belongs to no process any more."""
    for path in mounted():
        owner = re.search(MOUNT + r"-(\d+)-\w+$", path)
        if owner and not os.path.exists("/proc/" + owner.group(1)):
            LIBC.umount2(path.encode(), MNT_DETACH)


# ---- one file system, one program ----

class Run:
    def __init__(self, disk, seed, program=None, kinds=crashlib.MIXED + (history.VersionWorker,) * 2):
        self.kinds, self.history = kinds, history.History()
        self.disk, self.seed, self.rng = disk, seed, random.Random("%s %s" % (seed, disk.kind))
        self.planted = program is not None
        self.server = crashlib.Server(os.path.join(disk.path, "data"), program, bare=self.planted)
        self.ledger, self.problems = crashlib.Ledger(), crashlib.Problems()
        self.server.settings["lifecycle"] = history.LIFECYCLE
        self.bodies = crashlib.Bodies(seed)
        self.cuts = 0

    def first_start(self):
        if not self.planted:
            self.cut_in_startup()
        self.server.start()
        crashlib.prepare(self.server, pictures=not self.planted)
        history.prepare(self.server)
        if self.planted:
            self.disk.sync()  # a missing bucket would be caught too easily

    def load_and_cut(self):
        load = crashlib.Load(self.server, self.ledger, self.problems, self.bodies, self.seed,
                             self.cuts, self.kinds, self.history)
        load.start()
        try:
            pause(self.rng.uniform(0.1, 0.4) if self.planted else self.rng.uniform(0.3, 1.2))
            self.server.check_alive()
            moment = time.monotonic()
            self.ledger.power_failing()
            self.disk.cut()
            self.ledger.power_failed()
            # Errors instead of darkness, for a moment: they must not be acknowledged either, and
            # are no reason to die.
            pause(self.rng.choice((0, 0.01, 0.05)))
            if not self.planted:
                self.server.check_alive()
        finally:
            self.server.kill()
            load.stop()
        # What a planted server answers under load does not count: the cut must show the bug.
        self.problems.before(0 if self.planted else moment)

    def cut_in_startup(self):
        self.server.launch()
        pause(self.rng.random() * STARTUP_SECONDS)
        self.disk.cut()
        self.server.kill()
        self.disk.replug()

    def cycle(self):
        """The server runs at the beginning and at the end."""
        self.load_and_cut()
        self.disk.replug()
        self.cuts += 1
        self.server.checkpoint_bytes((1 if self.cuts % 2 else 32) << 20)
        try:
            crashlib.directory_check(self.server.data, self.problems, clean=False)
            if self.rng.random() < 0.25:
                self.cut_in_startup()
            self.server.start()
            crashlib.survey(self.server, self.ledger, self.problems, self.rng)
            history.survey(self.server, self.history, self.problems)
        finally:
            self.problems.check()

    def cycles(self, count):
        self.first_start()
        for _ in range(count):
            self.cycle()
        print("%s: %d cuts, %d acknowledged writes, %d keys, %d changes of versions" % (
            self.disk.kind, self.cuts, self.ledger.acknowledged, len(self.ledger.keys),
            self.history.changes))

    def end(self):
        self.server.idle(DRAIN_SECONDS)
        darkroom.equal(self.server.metric("lost_events_total"), 0, "lost_events_total")
        crashlib.survey(self.server, self.ledger, self.problems, self.rng, everything=True)
        history.survey(self.server, self.history, self.problems)
        crashlib.pictures_check(self.server, self.ledger, self.problems)
        darkroom.equal(self.server.stop(), 0, "exit code")
        crashlib.directory_check(self.server.data, self.problems, clean=True)
        self.problems.check()


def pause(seconds):
    """The random moment; nothing is waited for."""
    threading.Event().wait(seconds)


@contextlib.contextmanager
def run_on(kind, *args):
    with Disk(kind) as disk:
        run = Run(disk, *args)
        try:
            yield run
        finally:
            run.server.kill()
            if os.environ.get("KEEP"):
                os.makedirs(os.environ["KEEP"], exist_ok=True)
                shutil.copy(run.server.log_path, os.environ["KEEP"])
            crashlib.keep_log(run.server)


# ---- the checks ----

def catches(kind, plant, seed):
    with run_on(kind, seed, crashlib.planted_program(plant), PLANTS[plant]) as run:
        try:
            run.cycles(PLANT_CUTS)
        except (darkroom.Failed, sqlite3.DatabaseError) as e:
            darkroom.true(run.cuts > 0, "no cut was made: %s" % e)
            print("%s on %s, cut %d: %s" % (plant, kind, run.cuts, str(e)[:160]))
            return
    raise darkroom.Failed("planted bug not caught in %d cuts: the run is void" % PLANT_CUTS)


def survives(kind, seed):
    with run_on(kind, seed) as run:
        run.cycles(CUTS[kind])
        run.end()


def usable(kind):
    """Why not, or None."""
    if os.geteuid() != 0:
        return "only root may mount"
    if not shutil.which(MAKE[kind][0]):
        return "%s is not installed" % MAKE[kind][0]
    try:
        with Disk(kind) as disk:
            disk.cut()
            unmount(disk.path)
    except (Unavailable, OSError) as e:
        return "no loop mount of %s here: %s" % (kind, e)
    return None


def main():
    crashlib.set_up()
    seed = crashlib.seed_of()
    remove_old_mounts()
    for kind in CUTS:
        why = usable(kind) if CUTS[kind] > 0 else "no cuts are asked for"
        if why:
            print("skip power cuts on %s: %s" % (kind, why), flush=True)
            continue
        good = all([darkroom.report("power cuts on %s catch planted %s" % (kind, plant),
                                    lambda: catches(kind, plant, seed)) for plant in PLANTS])
        name = "acknowledged writes survive %d power cuts on %s" % (CUTS[kind], kind)
        good = darkroom.report(name, lambda: survives(kind, seed)) and good
        if not good:
            crashlib.last_log()


main()
