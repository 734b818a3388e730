"""Thumbnails: processor time, cost of isolation, the whole pipeline, and what the pixels look like.

Times are processor time unless the line says otherwise: of all processes and threads that took part,
the medians of several rounds in which every candidate has its turn. A ratio of several photos is the
median of theirs; the table above it has each."""
import json
import os
import subprocess
import time

import figures
import peers

ROUNDS = int(os.environ.get("BENCH_IMAGE_ROUNDS", "9"))
PIPELINE_ROUNDS, PIPELINE_TURNS = 5, 2
LARGE_BYTES = 1000000  # about ten megapixels; the fixed costs weigh more on less
SIDES = (1024, 512, 256, 128)
FLOOR, FOUR, SEPARATE, PIPELINE, BYTES, SEEN = 1.25, 1.2, 2.1, 0.9, 1.05, 1.0
ISOLATION_MS = 5
# Where the decoder's own shrinking leaves least to the good filter: functions/image.c.
MARGIN = 1.75
READY_SECONDS = 120


class Talker:
    """A program that answers one line of JSON to every line it gets."""

    def __init__(self, args, env=None):
        self.process = figures.background(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          text=True, env=env)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise figures.Unmeasured("no answer to: %s" % " ".join(str(w) for w in words))
        return json.loads(line)


def short(path):
    return os.path.basename(path)[:28]


def sides(*values):
    return ",".join(str(v) for v in values)


def in_turn(rounds, **candidates):
    """Median of each candidate's result; every round asks all of them. One round warms up."""
    got = {name: [] for name in candidates}
    for i in range(rounds + 1):
        for name, call in candidates.items():
            value = call()
            if i > 0:
                got[name].append(value)
    return {name: figures.median(values) for name, values in got.items()}


def ms(us):
    return "%.1f ms" % (us / 1000)


# ---- a: one small JPEG ----

def by_process(args):
    """Processor time of a program that is started for one picture."""
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE)
    error = p.stderr.read()
    _, status, used = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    p.stderr.close()
    if p.returncode != 0:
        raise figures.Unmeasured("%s: %s" % (args[0], error.decode(errors="replace").strip()[-200:]))
    return (used.ru_utime + used.ru_stime) * 1e6


def commands():
    """name -> command line of one 256 px JPEG, for the peers that are programs."""
    vips = peers.debian("libvips-tools", "vipsthumbnail")
    magick = peers.debian("imagemagick", "convert-im6.q16", "magick")
    out = os.path.abspath("peer.jpg")
    found = {}
    if vips:
        found["vipsthumbnail"] = lambda path: [vips, path, "--size", "256x256", "-o",
                                               out + "[Q=80,optimize_coding,strip]"]
    if magick:
        found["ImageMagick"] = lambda path: [magick, "-define", "jpeg:size=512x512", path,
                                             "-auto-orient", "-resize", "256x256", "-quality", "80",
                                             "-strip", out]
    return found


def small_jpeg(ours, sharp, paths, held):
    processes = commands()
    ratios = {}
    for path in paths:
        roads = {"floor": lambda: ours.ask("floor", "jpeg", 256, path)["cpu_us"],
                 "worker": lambda: ours.ask("worker", "jpeg", 256, path)["cpu_us"]}
        if sharp:
            roads["sharp"] = lambda: sharp.ask("sharp", "jpeg", 256, path)["cpu_us"]
        got = in_turn(ROUNDS, **roads)
        got.update(in_turn(2, **{name: lambda c=command: by_process(c(path))
                                 for name, command in processes.items()}) if processes else {})
        for name, us in got.items():
            if name != "worker":
                figures.line("  %s, %s" % (short(path), name), ms(got["worker"]), ms(us),
                             got["worker"] / us)
                ratios.setdefault(name, []).append(got["worker"] / us)
    bars = {"floor": FLOOR, "sharp": 1.0}
    names = {"floor": "libjpeg-turbo alone", "sharp": "sharp, warm"}
    for name, values in ratios.items():
        ratio = figures.median(values)
        bar = bars.get(name) if held else None
        figures.line("256 px JPEG, warm worker / " + names.get(name, name + " process"), "", None,
                     ratio, bar and "<= %gx" % bar, bar and ratio <= bar)


# ---- b: four sizes; c: isolation ----

def four_sizes(ours, paths, all_held):
    for form in "jpeg", "webp":
        alone, apart = [], []
        for path in paths:
            ask = lambda *wanted: ours.ask("worker", form, sides(*wanted), path)["cpu_us"]
            got = in_turn(ROUNDS, four=lambda: ask(*SIDES), alone=lambda: ask(SIDES[0]),
                          apart=lambda: sum(ask(side) for side in SIDES))
            alone.append(got["four"] / got["alone"])
            apart.append(got["apart"] / got["four"])
            figures.line("  %s, %s, with / the largest alone" % (short(path), form), ms(got["four"]),
                         ms(got["alone"]), alone[-1])
            figures.line("  %s, %s, four calls / one" % (short(path), form), ms(got["four"]),
                         ms(got["apart"]), apart[-1])
        one, four = figures.median(alone), figures.median(apart)
        held = all_held and form == "jpeg"  # WebP pays a third of its encoder again, whatever we do
        figures.line("%s at %s / the largest alone" % (form, sides(*SIDES)), "", None, one,
                     "<= %gx" % FOUR if held else None, one <= FOUR)
        figures.line("%s, four calls / one call for four" % form, "", None, four,
                     ">= %gx" % SEPARATE if held else None, four >= SEPARATE)


def isolation(ours, paths):
    extra = {"cpu_us": [], "wall_us": []}
    for path in paths:
        got = {"worker": [], "plain": []}
        for i in range(ROUNDS + 1):
            for road in got:
                cost = ours.ask(road, "webp", sides(*SIDES), path)
                if i > 0:
                    got[road].append(cost)
        for kind in extra:
            a, b = (figures.median([c[kind] for c in got[road]]) for road in ("worker", "plain"))
            extra[kind].append(a - b)
            if kind == "cpu_us":
                figures.line("  %s, four sizes: worker, plain calls" % short(path), ms(a), ms(b), a / b)
    figures.within("isolation of one photo, processor time", figures.median(extra["cpu_us"]) / 1000,
                   ISOLATION_MS, "%.2f ms")
    figures.line("  the same by the wall clock (noisy)", "%.2f ms" % (
        figures.median(extra["wall_us"]) / 1000))


# ---- d: the whole pipeline ----

def upload_all(s, paths, turn):
    """Seconds from the first PUT until everything about every photo is done."""
    acked, failed = s.metric("events_acked_total"), s.metric("invocations_failed_total")
    began = time.perf_counter()
    connection = figures.darkroom.http.client.HTTPConnection(s.host, s.port, timeout=READY_SECONDS)
    for i, path in enumerate(paths):
        with open(path, "rb") as f:
            body = f.read()
        key = "/photos/turn-%s/%d" % (turn, i)
        connection.request("PUT", key, body, s.signed_headers("PUT", key, body,
                                                              payload="UNSIGNED-PAYLOAD"))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise figures.Unmeasured("PUT was answered %d" % answer.status)
    wanted = acked + 2 * len(paths)  # an event for each function
    figures.darkroom.until(lambda: s.metric("events_acked_total") >= wanted, "all photos",
                           READY_SECONDS)
    took = time.perf_counter() - began
    if s.metric("invocations_failed_total") != failed:
        raise figures.Unmeasured("an invocation failed")
    return took


def cpu_us(pids):
    """Processor time so far of the processes and this one."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = time.process_time() * 1e6
    for pid in pids:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) * 1e6 / ticks
    return total


def pipeline(paths):
    cores = os.cpu_count()
    s = figures.server(data="pipeline")
    upload_all(s, paths, "warm")
    photos = paths * PIPELINE_TURNS
    pids = [s.process.pid] + [w["pid"] for w in s.workers()]
    wall, cpu = {"ours": [], "bare": []}, {"ours": [], "bare": []}
    for turn in range(PIPELINE_ROUNDS):
        before = cpu_us(pids)
        wall["ours"].append(upload_all(s, photos, turn))
        cpu["ours"].append(cpu_us(pids) - before)
        bare = figures.program("images_loop", cores, PIPELINE_TURNS, *paths)[0]
        wall["bare"].append(bare["wall_us"] / 1e6)
        cpu["bare"].append(bare["cpu_us"])
    rate = {name: len(photos) / figures.median(values) for name, values in wall.items()}
    each = {name: figures.median(values) / len(photos) for name, values in cpu.items()}
    figures.at_least("pipeline on %d cores, photos; libvips loop" % cores, rate["ours"],
                     rate["bare"], PIPELINE, "%.1f/s")
    figures.line("  processor time of one, uploading client included", ms(each["ours"]),
                 ms(each["bare"]), each["ours"] / each["bare"])


# ---- e: what it looks like, and how many bytes it takes ----

def at_margin(width, height):
    """Sides for which the decoder's shrinking leaves only MARGIN to the good filter."""
    longer = max(width, height)
    return [int(longer / (shrink * MARGIN)) for shrink in (8, 4, 2)]


def dimensions(path):
    from PIL import Image
    with Image.open(path) as im:
        return im.size


def seen(ours, paths):
    program = peers.debian("butteraugli", "butteraugli")
    if not program:
        return
    worst = 0
    print("  butteraugli distance from a full decode and one lanczos3, before encoding:")
    for path in paths:
        sets = [("presets", ["1600", "640", "160c"]), ("sizes", [str(side) for side in SIDES])]
        sets += [("alone", [str(side)]) for side in (256, 160) + tuple(at_margin(*dimensions(path)))]
        told = []
        for name, wanted in sets:
            prefix = os.path.abspath("look")
            ours.ask("look", sides(*wanted), prefix, path)
            values = [float(figures.command([program, "%s-ours-%d.png" % (prefix, i),
                                             "%s-full-%d.png" % (prefix, i)]))
                      for i in range(len(wanted))]
            worst = max([worst] + values)
            told.append("%s %s" % (name, " ".join(
                "%s:%.2f" % pair for pair in zip(wanted, values))))
        print("    %-28s %s" % (short(path), "; ".join(told)), flush=True)
    figures.line("butteraugli, the worst of all", "%.2f" % worst, bar="< %g" % SEEN,
                 holds=worst < SEEN)


def weight(ours, sharp, paths):
    for form in ("jpeg", "webp") if sharp else ():
        totals = [0, 0]
        for path in paths:
            a = ours.ask("worker", form, sides(*SIDES), path)["bytes"]
            b = sharp.ask("sharp", form, sides(*SIDES), path)["bytes"]
            totals = [totals[0] + sum(a), totals[1] + sum(b)]
            figures.line("  %s, %s q80, bytes at %s" % (short(path), form, sides(*SIDES)),
                         "%d" % sum(a), "%d" % sum(b), sum(a) / sum(b))
        figures.at_most("bytes of %s, quality 80; sharp" % form, totals[0], totals[1], BYTES, "%d")


def run():
    paths = figures.photos("jpeg", endings=(".jpg", ".jpeg"))
    large = [path for path in paths if os.path.getsize(path) >= LARGE_BYTES]
    if not large:
        print("  (no photos of ten megapixels here: their bars do not count for smaller ones)")
    paths = large or paths
    ours = Talker([os.path.join(figures.PROGRAMS, "images"),
                   os.path.join(figures.TOP, "darkroom-worker")])
    command = peers.sharp()
    sharp = command and Talker(*command)
    parts = {"small": lambda: small_jpeg(ours, sharp, paths, bool(large)),
             "four": lambda: four_sizes(ours, paths, bool(large)),
             "isolation": lambda: isolation(ours, paths),
             "bytes": lambda: weight(ours, sharp, paths),
             "pipeline": lambda: pipeline(paths),
             "look": lambda: seen(ours, paths)}
    for name in os.environ.get("BENCH_IMAGE_PARTS", " ".join(parts)).split():
        parts[name]()
