#!/usr/bin/python3
"""Small files that would cost much: each gets its verdict at the first attempt, in a fresh worker that
takes less than 32 MB over an idle one."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import bombs
import darkroom
from darkroom import equal, true

OVER_IDLE_BYTES_MAX = 32 << 20


def attempts_of(s, key):
    return s.explain(key)["attempts"]


def peak(attempts):
    return max(a["rss_bytes"] for a in attempts)


def idle_peak(s):
    s.put_settled("no-picture", b"no picture")
    return peak(attempts_of(s, "no-picture"))


def check(s, kind, named):
    for name in ("thumbnail", "metadata"):  # the verdict is asked for, not how fast this machine is
        equal(s.cli("functions", "set", name, "--timeout", "300").returncode, 0, "functions set")
    idle = idle_peak(s)
    for name, (body, begins) in named.items():
        key = "bombs/" + name
        item = s.put_settled(key, body)
        attempts = attempts_of(s, key)
        for preset, state in item["state"].items():
            true(state.startswith(begins), "%s, %s: %s" % (name, preset, state))
        equal(sorted(a["function"] for a in attempts), ["metadata", "thumbnail"], name + ", attempts")
        over = peak(attempts) - idle
        true(over < OVER_IDLE_BYTES_MAX or darkroom.SANITIZED, "%s took %.1f MB" % (name, over / 1e6))
        print("# %-24s %8d bytes %8.1f ms %6.1f MB  %s" % (
            name, len(body), max(a["run_us"] for a in attempts) / 1e3, over / 1e6,
            item["state"]["small"]), flush=True)
    darkroom.memory_is_judged("the memory of " + kind)


def need_pil():
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise darkroom.Skipped("python3-pil is not installed")


def test_png(s):
    check(s, "PNG", bombs.png_bombs())


def test_jpeg(s):
    need_pil()
    check(s, "JPEG", bombs.jpeg_bombs())


def test_pages_and_frames(s):
    need_pil()
    check(s, "pages and frames", bombs.paged_bombs())


darkroom.run(globals(), config={"workers": {"recycle_invocations": 1}})
