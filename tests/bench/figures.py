"""What the lines of the benchmark share: processes, rounds, medians and the printed figure."""
import json
import os
import statistics
import subprocess
import sys

TOP = os.environ["DARKROOM_TOP"]
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import darkroom  # noqa: E402

PROGRAMS = os.path.join(TOP, "build", "bench")
PHOTOS = os.environ["PHOTOS"]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
COMMAND_SECONDS = 580
END_SECONDS = 5

started = []
counts = {"holds": 0, "MISSED": 0}


class Unmeasured(Exception):
    """A line has no figure; the text says why."""


# ---- processes: only those started here are ever ended, by their own handle ----

def server(**options):
    s = darkroom.Server(**options)
    started.append(s)
    try:
        return s.start()
    except darkroom.Failed as e:
        raise Unmeasured(str(e))


def background(args, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    p = subprocess.Popen(args, **options)
    started.append(p)
    return p


def end(p):
    """SIGTERM first: a killed nginx would leave its workers behind."""
    p.terminate()
    try:
        p.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()


def end_all():
    for p in reversed(started):
        if isinstance(p, darkroom.Server):
            if p.running():
                p.kill()
        elif p.poll() is None:
            end(p)
    started.clear()


def command(args, env=None):
    """The standard output of a program that must succeed."""
    try:
        r = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=COMMAND_SECONDS, env=env)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unmeasured(str(e))
    if r.returncode != 0:
        raise Unmeasured("%s: code %d: %s" % (os.path.basename(args[0]), r.returncode,
                                              r.stderr.strip()[-300:]))
    return r.stdout


def program(name, *args, env=None):
    """One of our own C programs; every line it prints is JSON."""
    lines = command([os.path.join(PROGRAMS, name)] + [str(a) for a in args], env).splitlines()
    return [json.loads(line) for line in lines]


# ---- files ----

def photos(*folders, endings, bytes_max=1 << 30):
    """Files of the photo folder (its own level when it has no such subfolder), in a fixed order."""
    found = []
    for folder in folders:
        path = os.path.join(PHOTOS, folder)
        path = path if os.path.isdir(path) else PHOTOS
        found += [os.path.join(path, name) for name in sorted(os.listdir(path))
                  if name.lower().endswith(endings)]
    found = [f for f in dict.fromkeys(found) if 0 < os.path.getsize(f) <= bytes_max]
    if not found:
        raise Unmeasured("no photos in %s" % PHOTOS)
    return found


def samples():
    endings = (".jpg", ".png", ".webp", ".gif", ".tif", ".avif", ".heic")
    return [os.path.join(darkroom.SAMPLES, name) for name in sorted(os.listdir(darkroom.SAMPLES))
            if name.endswith(endings)]


def rss_mb(pid):
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


# ---- figures ----

def interleaved(ours, peer):
    """Results of both, taken in turn so that a noisy neighbour meets both."""
    a, b = [], []
    for i in range(ROUNDS):
        a.append(ours(i))
        b.append(peer(i))
    return a, b


def median(values):
    return statistics.median(values)


def surroundings():
    with open("/proc/loadavg") as f:
        load = f.read().split()[0]
    print("%d cores, load average %s at the start, photos from %s" % (
        os.cpu_count(), load, os.path.basename(os.path.dirname(PHOTOS)) + "/" +
        os.path.basename(PHOTOS)))
    print("%-50s %12s %12s %8s   %s" % ("what", "ours", "peer", "ratio", "bar"), flush=True)


def line(what, ours, peer=None, ratio=None, bar=None, holds=None):
    """One figure. Without a bar it is there to explain the others."""
    verdict = ""
    if bar is not None:
        verdict = "holds" if holds else "MISSED"
        counts[verdict] += 1
    print("%-50s %12s %12s %8s   %-12s %s" % (
        what, ours, "-" if peer is None else peer, "-" if ratio is None else "%.2f" % ratio,
        "-" if bar is None else bar, verdict), flush=True)


def at_least(what, ours, peer, bar, unit="%.0f/s"):
    line(what, unit % ours, unit % peer, ours / peer, ">= %gx" % bar, ours / peer >= bar)


def at_most(what, ours, peer, bar, unit="%.1f ms"):
    line(what, unit % ours, unit % peer, ours / peer, "<= %gx" % bar, ours / peer <= bar)


def within(what, ours, bar, unit="%.1f ms"):
    line(what, unit % ours, bar="<= " + unit % bar, holds=ours <= bar)


def summary():
    print("%d figures hold their bar, %d do not" % (counts["holds"], counts["MISSED"]))
