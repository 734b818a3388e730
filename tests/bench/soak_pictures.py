#!/usr/bin/python3
"""Every file of some folders through the whole product, each in a fresh worker: its verdict, the time
and the memory it took. Fails for a file that crashes a worker, outlives its deadline, gets no verdict,
or is refused only after it had taken memory.

    PICTURES=dir[:dir...] make soak-pictures        FORMATS=jxl,svg opts these in
"""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import Failed, equal, report, true

REFUSED_MB_MAX = 32  # over a worker that has done nothing
SECONDS_MAX = 40     # the functions' 30 s, and the way
BAD_OUTCOMES = ("crashed", "timeout", "memory", "bad answer")


def files():
    for folder in os.environ.get("PICTURES", "").replace(":", " ").split():
        for base, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                yield os.path.join(base, name)


def attempts_of(s, key):
    return s.explain(key).get("attempts", [])


def verdict_of(item):
    return "; ".join(sorted(set(item["state"].values()))) + (" (damaged)" if item.get("damaged") is True else "")


def one(s, path, rows):
    key = path.lstrip("/")
    with open(path, "rb") as f:
        body = f.read()
    answer = s.s3().put_object(Bucket="photos", Key=key, Body=body)
    item = s.settled(key, answer["ETag"], seconds=SECONDS_MAX)
    tries = attempts_of(s, key)
    bad = [t for t in tries if t["outcome"] in BAD_OUTCOMES]
    ms = max([t["run_us"] for t in tries] or [0]) / 1000
    mb = max([t["rss_bytes"] for t in tries] or [0]) / 1e6
    rows.append((key, len(body), ms, mb, verdict_of(item)))
    true(not bad, "%s: %s" % (bad and bad[0]["outcome"], bad and bad[0].get("reason")))
    return item, mb


def check(s, path, rows, idle_mb):
    item, mb = one(s, path, rows)
    made = any(v == "ready" for v in item["state"].values())
    true(made or mb - idle_mb < REFUSED_MB_MAX,
         "refused with %.0f MB over an idle worker" % (mb - idle_mb))


def main():
    paths = list(files())
    if not paths:
        print("skip soak_pictures: set PICTURES to one or more folders")
        return
    image = {"formats": os.environ["FORMATS"]} if os.environ.get("FORMATS") else {}
    s = darkroom.Server(config={"workers": {"count": 1, "recycle_invocations": 1}, "image": image})
    rows = []
    s.start()
    try:
        s.put_settled("empty-first", b"no picture")
        idle_mb = max(t["rss_bytes"] for t in attempts_of(s, "empty-first")) / 1e6
        print("a worker that has done nothing: %.1f MB" % idle_mb)
        for path in paths:
            report(os.path.basename(path), lambda path=path: check(s, path, rows, idle_mb))
        print("\n%-58s %10s %9s %8s  %s" % ("file", "bytes", "ms", "peak MB", "verdict"))
        for key, size, ms, mb, verdict in rows:
            print("%-58s %10d %9.1f %8.1f  %s" % (key[-58:], size, ms, mb, verdict))
        report("lives", lambda: equal(s.process.poll(), None, "exit code"))
    except Failed as e:
        print("not ok soak_pictures: %s" % e)
    finally:
        equal(s.stop(), 0, "exit code")


main()
