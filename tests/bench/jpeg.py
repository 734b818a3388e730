"""JPEG to 256 px in a warm worker, in processor time, against libjpeg-turbo's own least work."""
import os

import figures

ROUNDS = 9
BAR = 1.25
BYTES_MIN = 1000000  # about ten megapixels; the fixed costs of an invocation weigh more on less


def run():
    paths = figures.photos("jpeg", endings=(".jpg", ".jpeg"))
    large = [path for path in paths if os.path.getsize(path) >= BYTES_MIN]
    paths = large or paths
    photos = figures.program("jpeg", os.path.join(figures.TOP, "darkroom-worker"), ROUNDS, *paths)
    ratio = figures.median([p["worker_us"] / p["floor_us"] for p in photos])
    mean = lambda name: sum(p[name] for p in photos) / len(photos) / 1000
    for path, p in zip(paths, photos):
        figures.line("  %s (%d and %d bytes)" % (
            os.path.basename(path)[:28], p["worker_bytes"], p["floor_bytes"]),
            "%.2f ms" % (p["worker_us"] / 1000), "%.2f ms" % (p["floor_us"] / 1000),
            p["worker_us"] / p["floor_us"])
    if not large:
        print("  (no photo of ten megapixels here: the next line is not held to its bar)")
    figures.line("JPEG to 256 px, CPU of a warm worker, libjpeg-turbo", "%.2f ms" % mean("worker_us"),
                 "%.2f ms" % mean("floor_us"), ratio, "<= %gx" % BAR if large else None, ratio <= BAR)
    figures.line("  with the metadata function", "%.2f ms" % mean("both_us"),
                 "%.2f ms" % mean("floor_us"),
                 figures.median([p["both_us"] / p["floor_us"] for p in photos]))
