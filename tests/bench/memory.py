"""Resident memory: the idle server, warm workers, and one worker over many mixed photos."""
import os

import figures

PHOTOS = int(os.environ.get("BENCH_PHOTOS", "2000"))
SECONDS = 500  # for all of them; a slower machine gets fewer, and the line says how many
BYTES_MAX = 3000000  # larger ones take too long for so many; they are in the jpeg line
SMALL_BYTES, SMALL_TIMES = 400000, 3  # small photos are more frequent
SERVER_MB, WARM_MB, WORKER_MB = 40, 60, 150
FLAT = 1.10  # the last turn of the list against an early one
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".avif", ".heic")


def idle():
    s = figures.server(data="data")
    s.idle()
    figures.within("RSS of the idle server, just started", figures.rss_mb(s.process.pid), SERVER_MB,
                   "%.1f MB")
    figures.within("RSS of a warm worker", max(figures.rss_mb(w["pid"]) for w in s.workers()),
                   WARM_MB, "%.1f MB")
    for path in figures.samples():
        with open(path, "rb") as f:
            s.put_settled(os.path.basename(path), f.read())
    s.idle()
    figures.within("RSS of the idle server after the samples", figures.rss_mb(s.process.pid),
                   SERVER_MB, "%.1f MB")
    figures.end_all()


def many():
    paths = figures.samples() + figures.photos("formats", "jpeg", "orient", endings=ENDINGS,
                                               bytes_max=BYTES_MAX)
    small = [path for path in paths if os.path.getsize(path) <= SMALL_BYTES]
    kinds, paths = len(paths), paths + small * (SMALL_TIMES - 1)
    looks = figures.program("memory", os.path.join(figures.TOP, "darkroom-worker"), PHOTOS,
                            SECONDS, *paths)
    whole = [look for look in looks[1:] if look["photos"] >= len(paths)]
    if len(whole) < 2:
        raise figures.Unmeasured("too few photos for two turns of %d" % len(paths))
    first, last = whole[0], whole[-1]
    for look in first, looks[len(looks) // 2], last:
        figures.line("  RSS of one worker after %d photos" % look["photos"],
                     "%.1f MB" % (look["rss_bytes"] / 1e6))
    figures.line("  photos it made thumbnails of (%d files)" % kinds,
                 "%d/%d" % (last["answered"], last["photos"]))
    figures.within("RSS of a worker, largest after any of %d" % last["photos"],
                   last["rss_max_bytes"] / 1e6, WORKER_MB, "%.1f MB")
    figures.at_most("largest RSS in a turn, after %d / %d" % (last["photos"], first["photos"]),
                    last["turn_bytes"] / 1e6, first["turn_bytes"] / 1e6, FLAT, "%.1f MB")


def run():
    idle()
    many()
