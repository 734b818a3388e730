"""What the load tests share: servers with small limits, load from openload.c, watching, comparing."""
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "crash"))
import crashlib  # noqa: E402
import darkroom  # noqa: E402
import nginx  # noqa: E402

PROBE = "probe"  # a picture that is there before any load
PROBE_TARGET = "/%s/%s/small.webp" % (crashlib.DERIVED, PROBE)
PRESETS = 3
WATCH_SECONDS = 0.25
LIVE, BATCH = 'queue_events{lane="live"}', 'queue_events{lane="batch"}'  # metrics
SETTLE_SECONDS = 900


def server(settings, program=None):
    """{"queue": {"events_max": 5}}: those settings. Not started."""
    s = crashlib.Server("data", program)
    s.settings.update(settings)
    with open(s.config_path, "w") as f:
        json.dump(s.settings, f)
    return s


def memory(s, what="VmRSS"):
    """Bytes of the server process."""
    with open("/proc/%d/status" % s.process.pid) as f:
        for line in f:
            if line.startswith(what + ":"):
                return int(line.split()[1]) << 10
    return 0


def pictures(count):
    """Files of small pictures, each of other colours; a worker has a few milliseconds' work."""
    paths = []
    for i in range(count):
        path = os.path.abspath("picture-%d.png" % i)
        with open(path, "wb") as f:
            f.write(darkroom.plain_png(480, 360, (40 * i % 256, 90, 200), (10, 30 * i % 256, 60)))
        paths.append(path)
    return paths


def md5s(paths):
    found = []
    for path in paths:
        with open(path, "rb") as f:
            found.append(crashlib.state_of(f.read()).md5)
    return found


def openload():
    return crashlib.make("build/gcc/tests/load/openload")


class Load:
    """One openload process; with bodies it uploads, else it gets."""

    def __init__(self, s, target, rate, seconds, bodies=(), connections=256, source=None, flags=()):
        self.target, self.bodies = target, list(bodies)
        self.out = os.path.abspath("answers-%d" % id(self)) if bodies else None
        command = [openload(), "-p", str(s.port), "-r", str(rate),
                   "-d", str(seconds), "-c", str(connections)] + list(flags)
        command += ["-a", source] if source else []
        for path in self.bodies:
            command += ["-b", path]
        command += ["-o", self.out] if self.out else []
        env = dict(os.environ, AWS_ACCESS_KEY_ID=crashlib.KEY, AWS_SECRET_ACCESS_KEY=crashlib.SECRET)
        self.process = subprocess.Popen(command + [target], env=env, stdout=subprocess.PIPE, text=True)

    def result(self):
        """The figures, as openload prints them."""
        out = self.process.communicate()[0]
        darkroom.equal(self.process.returncode, 0, "exit code of openload")
        return json.loads(out)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def answers(self):
        """{key: (status, MD5 of the body)}."""
        bucket = self.target.split("/")[1]
        prefix, sums, found = self.target[len(bucket) + 2:], md5s(self.bodies), {}
        with open(self.out) as f:
            for line in f:
                number, status = (int(word) for word in line.split())
                found["%s%08d" % (prefix, number)] = (status, sums[number % len(sums)])
        return found


@contextlib.contextmanager
def loads(*some):
    """So that none outlives a failure."""
    try:
        yield some
    finally:
        for one in some:
            one.stop()


def gets(s, seconds):
    """A stored thumbnail on kept connections and on new ones."""
    return (Load(s, PROBE_TARGET, 200, seconds), Load(s, PROBE_TARGET, 20, seconds, flags=["-f"]))


def probes(s, seconds):
    """These, and health."""
    return gets(s, seconds) + (Load(s, "/_/health", 20, seconds, flags=["-f"]),)


def peer(s):
    """An nginx with the same thumbnail, to be asked at the same time; None: there is none here."""
    try:
        return nginx.Nginx(PROBE_TARGET, s.get(PROBE_TARGET).body)
    except nginx.Missing as e:
        print("# no peer: %s" % e)
        return None


def p99_ms(result):
    return result["ok_p99_us"] / 1000


class Watch:
    """Samples of the process and its metrics while a load runs."""

    def __init__(self, s, *metrics):
        self.s, self.metrics = s, metrics
        self.most = dict.fromkeys(metrics, 0)
        self.rss = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(WATCH_SECONDS):
            try:
                self.rss.append(memory(self.s))
                for name in self.metrics:
                    self.most[name] = max(self.most[name], self.s.metric(name))
            except (OSError, darkroom.Failed):
                continue  # the next one

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def rss_max(self):
        return max(self.rss or [0])


# ---- what must be true afterwards ----

def only_slowdowns(result, what):
    """Each request was answered, with 200 or as it should be refused."""
    for name in ("bare_503", "other", "lost"):
        if result[name]:
            raise darkroom.Failed("%s: %d requests ended as %s (first status %d): %s" % (
                what, result[name], name, result["first_other"], result))


def kept(s, bucket, load):
    """What was answered 200 is there with its bytes' MD5, what was refused is not. The keys."""
    with contextlib.closing(crashlib.Client(s)) as c:
        found = c.list(bucket)
    accepted = set()
    for key, (status, md5) in load.answers().items():
        if status == 200:
            accepted.add(key)
            darkroom.equal(found.get(key, (None,))[0], md5, "ETag of accepted %s" % key)
        elif key in found:
            raise darkroom.Failed("%s was answered %d and is there" % (key, status))
    return accepted


def processed(s, keys):
    """Each has its item, settled, and all its thumbnails."""
    with contextlib.closing(crashlib.Client(s)) as c:
        items, derived = c.items(), c.list(crashlib.DERIVED)
    pending, bare = [], []
    for key in keys:
        states = [v["S"] for v in items.get(key, {}).get("state", {"M": {}})["M"].values()]
        states.append(items.get(key, {}).get("metadata_state", {"S": "missing"})["S"])
        if len(states) <= 1 or any(state != "ready" for state in states):
            pending.append(key)
        elif sum(("%s/%s.webp" % (key, p)) in derived for p in ("small", "medium", "large")) != PRESETS:
            bare.append(key)
    if pending or bare:
        raise darkroom.Failed("of %d accepted pictures %d are not ready, %d lack thumbnails: %s" % (
            len(keys), len(pending), len(bare), darkroom.short((pending + bare)[:3])))


def none_lost(s):
    """After the queue has emptied: each event has ended, none is unaccounted for."""
    def left():
        return s.metric("events_total") - sum(
            s.metric("events_%s_total" % name) for name in ("acked", "superseded", "dead"))
    darkroom.until(lambda: left() == 0, "the end of all events")
    darkroom.equal(s.metric("lost_events_total"), 0, "lost_events_total")


def catches(plant, run, saying):
    """run(program) must fail, and for this reason."""
    program = crashlib.planted_program(plant)
    try:
        run(program)
    except darkroom.Failed as e:
        darkroom.contains(str(e), saying, "what caught planted " + plant)
        print("%s: %s" % (plant, str(e)[:160]))
        return
    raise darkroom.Failed("planted bug not caught: the run is void")


def figure(text, *values):
    """For RELIABILITY.md."""
    print("# %s  %s" % (time.strftime("%Y-%m-%d", time.gmtime()), text % values), flush=True)
