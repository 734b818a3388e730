#!/usr/bin/env python3
"""What `darkroom cost` says was used is what the kernel says that the workers used: starts, warm-up,
time-outs and crashes included. Its rows, its prices; the REPORT lines that agree with it."""
import contextlib
import json
import os
import re
import signal
import struct
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom as dr

SAMPLES = os.path.join(dr.TOP, "samples")
PRICES = {"cost": {"per_cpu_s": "0.01", "per_gb_s": "0.5", "per_million_invocations": "1000",
                   "per_gb_in": "2", "per_gb_stored_out": "3", "currency": "EUR"}}
KILL_TRIES = 100
BEGAN = time.time()
IDLE_SECONDS = 1.5  # what idle workers used is written once a second
KILL_AFTER_S = 0.015  # of processor time; reading the picture alone takes several times that
RECYCLE = 8  # invocations, so that workers end and start again meanwhile


def samples():
    return sorted(f for f in os.listdir(SAMPLES) if f.rsplit(".")[-1] in ("jpg", "png", "webp", "gif"))


def sample(name):
    with open(os.path.join(SAMPLES, name), "rb") as f:
        return f.read()


def cpu_s(pid):
    """Of a live process, all threads, as its own CPU-time clock has it (to the nanosecond)."""
    return time.clock_gettime((~pid << 3) | 2)


def used_s(s):
    """What the kernel says: live workers, and the server's children that it has collected
    (/proc/PID/stat, cutime and cstime: ticks of 10 ms, but of the sum)."""
    with open("/proc/%d/stat" % s.process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    dead = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    live = sum(cpu_s(w["pid"]) for w in s.workers() if w["pid"] > 0)
    return dead + live


def cost(s, by="preset", **more):
    query = "&".join(["by=" + by] + ["%s=%s" % kv for kv in more.items()])
    reply = s.signed("GET", "/_/cost?" + query)
    dr.equal(reply.status, 200, "status of /_/cost")
    return reply.json()


def rows(s, by):
    return {r[by]: r for r in cost(s, by)["rows"]}


def settled(s):
    """The account once nothing is added to it any more: what idle workers used comes a second
    later."""
    s.idle()
    seen = [None, 0]

    def look():
        total = cost(s)["total"]
        if total != seen[0]:
            seen[:] = total, time.monotonic()
        return total if time.monotonic() - seen[1] > IDLE_SECONDS else None
    return dr.until(look, "account at rest")


def load(s, prefix, count, texts):
    client = s.s3()
    for i in range(count):
        for name in samples():
            client.put_object(Bucket="photos", Key="%s/%d-%s" % (prefix, i, name), Body=sample(name))
    for i in range(texts):
        client.put_object(Bucket="photos", Key="texts/%d.txt" % i, Body=b"no picture %d" % i)
    s.idle()


def test_sum_is_what_the_kernel_counted(s):
    for turn in range(20):
        load(s, "2026" if turn == 0 else "more", 2, texts=20 * (turn == 0))
        total = settled(s)
        kernel = used_s(s)
        if kernel > 1 and s.metric("workers_started_total") > 2:
            break  # as a rule at once
    ours = total["cpu_ms"] / 1000
    dr.true(s.metric("workers_started_total") > 2, "no worker was replaced meanwhile")
    dr.true(kernel > 1, "the load was too small to measure: %.2f s" % kernel)
    print("# kernel %.3f s, account %.3f s: %+.2f %%" % (kernel, ours, 100 * (ours / kernel - 1)))
    dr.true(abs(ours - kernel) <= 0.02 * kernel,
            "the kernel counted %.3f s, the account has %.3f s" % (kernel, ours))


def large_png(side=4000):
    """A picture that takes a worker a while."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    line = bytes(range(256)) * (side * 3 // 256 + 2)
    rows = b"".join(b"\0" + line[i % 251:][:side * 3] for i in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def kill_one_at_work(pids):
    """Of idle workers that are about to get something to do; its clock tells that it has begun."""
    began = {pid: cpu_s(pid) for pid in pids}
    end = time.monotonic() + dr.READY_SECONDS
    while time.monotonic() < end:
        for pid in pids:
            if cpu_s(pid) > began[pid] + KILL_AFTER_S:
                os.kill(pid, signal.SIGKILL)
                return
    raise dr.Failed("no worker did anything")


def killed(s):
    """Processor time of the invocations that ended with their worker, in ms."""
    return [float(x[8]) for x in report_lines(s) if x[9] == "crashed" and float(x[8]) > 0]


def test_killed_in_an_invocation(s):
    """What a worker used before it died is known when it is collected, and not before."""
    before, kernel = settled(s), used_s(s)
    body = large_png()
    for i in range(KILL_TRIES):  # it may have ended its work just before
        s.idle()
        pids = dr.until(lambda: (lambda all: all if all and 0 not in all else None)(
            [w["pid"] for w in s.workers() if w["state"] == "idle"]), "idle workers")
        s.s3().put_object(Bucket="photos", Key="killed/%d.png" % i, Body=body)
        with contextlib.suppress(OSError):  # one was replaced meanwhile
            kill_one_at_work(pids)
        s.idle()
        if len(killed(s)) >= 4:
            break
    after, kernel = settled(s), used_s(s) - kernel
    ours = (after["cpu_ms"] - before["cpu_ms"]) / 1000
    print("# kernel %.3f s, account %.3f s" % (kernel, ours))
    dr.true(abs(ours - kernel) <= 0.02 * kernel + 0.02,  # ticks of /proc/PID/stat, twice
            "the kernel counted %.3f s, the account has %.3f s" % (kernel, ours))
    crashed = killed(s)
    dr.true(len(crashed) >= 4 and sum(crashed) > 3 * 1000 * KILL_AFTER_S, "processor time of those killed: %r" % crashed)


def test_every_split_has_the_same_sum(s):
    total = None
    for by in ("preset", "prefix", "day", "function", "bucket"):
        answer = cost(s, by)
        for name in ("cpu_ms", "gb_s", "invocations", "pictures", "bytes_in", "bytes_out"):
            added = sum(r[name] for r in answer["rows"])
            dr.true(abs(added - answer["total"][name]) < 1e-6 * (1 + added),
                    "%s by %s: rows %r, total %r" % (name, by, added, answer["total"][name]))
        total = total or answer["total"]
        dr.equal(answer["total"], total, "total by " + by)


def test_presets(s):
    got = rows(s, "preset")
    for name in ("small", "medium", "large", "(decode)", "(function)", "(start)"):
        dr.true(name in got and got[name]["cpu_ms"] > 0, "no processor time for %s" % name)
    dr.equal(got["small"]["pictures"], got["large"]["pictures"], "pictures of two presets")
    dr.true(got["large"]["cpu_ms"] > got["small"]["cpu_ms"], "large is cheaper than small")
    dr.true(got["large"]["bytes_out"] > got["small"]["bytes_out"], "large has fewer bytes than small")
    dr.equal(got["(decode)"]["invocations"], 0, "invocations of a part")


def test_functions_prefixes_buckets_days(s):
    functions = rows(s, "function")
    dr.equal(set(functions), {"thumbnail", "metadata", "(worker)"}, "functions")
    uploads = 2 * len(samples()) + 20
    for name in ("thumbnail", "metadata"):
        dr.true(functions[name]["invocations"] >= uploads, "invocations of " + name)
    dr.equal(functions["metadata"]["pictures"], 0, "pictures of metadata")
    prefixes = rows(s, "prefix")
    dr.true({"2026/", "texts/", "killed/"} <= set(prefixes), "prefixes %r" % list(prefixes))
    dr.equal(prefixes["texts/"]["pictures"], 0, "pictures of texts")
    dr.equal(prefixes["texts/"]["invocations"], 40, "invocations for texts")
    dr.equal(prefixes["texts/"]["bytes_in"], 2 * sum(len(b"no picture %d" % i) for i in range(20)), "bytes of texts")
    dr.true("photos" in rows(s, "bucket"), "no bucket photos")
    days = {time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (BEGAN, time.time())}  # midnight may be in it
    dr.equal(set(rows(s, "day")) | days, days, "days")


def test_price(s):
    answer = cost(s)
    dr.equal(answer["currency"], "EUR", "currency")
    for r in answer["rows"] + [answer["total"]]:
        want = (r["cpu_ms"] / 1e3 * 0.01 + r["gb_s"] * 0.5 + r["invocations"] / 1e6 * 1000 +
                r["bytes_in"] / 1e9 * 2 + r["bytes_out"] / 1e9 * 3)
        dr.true(abs(r["price"] - want) < 1e-9 + 1e-6 * want, "price %r, not %r" % (r["price"], want))


def report_lines(s):
    pattern = re.compile(r" info REPORT request_id=(\S+) functions=(\S+) bucket=(\S+) key=\"(.*?)\" "
                         r"duration_ms=(\S+) billed_duration_ms=(\d+) memory_size_mb=(\d+) "
                         r"max_memory_used_mb=(\d+) cpu_ms=(\S+) outcome=\"(.*?)\" pid=(\d+)$", re.M)
    return [m.groups() for m in pattern.finditer(s.log())]


def test_reports_agree_with_the_account(s):
    total = cost(s)["total"]
    lines = report_lines(s)
    dr.equal(len(lines), s.metric("invocations_total"), "REPORT lines")
    for (_, _, _, key, duration, billed, memory, used, _, outcome, _) in lines:
        dr.true(0 <= int(billed) - float(duration) < 1.01, "%s: billed %s of %s ms" % (key, billed, duration))
        least = 0 if outcome == "crashed" else 1  # it may have been killed before anybody looked
        dr.true(least <= int(used) <= int(memory), "%s: %s of %s MB" % (key, used, memory))
    billed = sum(int(x[5]) * int(x[6]) for x in lines) / 1024 / 1000
    dr.true(abs(billed - total["gb_s"]) < 1e-6 * billed, "REPORT: %r GB-s, account %r" % (billed, total["gb_s"]))
    cpu = sum(float(x[8]) for x in lines)
    start = rows(s, "preset")["(start)"]["cpu_ms"]
    dr.true(abs(cpu + start - total["cpu_ms"]) < 0.01 * len(lines), "REPORT: %.2f ms, start %.2f, account %.2f"
            % (cpu, start, total["cpu_ms"]))


def test_on_the_fly_has_one_row(s):
    for width in (31, 33, 35):
        reply = s.signed("GET", "/_/img/photos/2026/0-%s?w=%d" % (samples()[0], width))
        dr.true(reply.status in (200, 403), "status %d" % reply.status)
        if reply.status == 403:
            url = s.cli("sign-url", "s3://photos/2026/0-%s" % samples()[0], "--width", str(width))
            dr.equal(s.get(url.stdout.strip().split(str(s.port), 1)[1]).status, 200, "picture on the fly")
    settled(s)
    got = rows(s, "preset")
    dr.equal(got["(on the fly)"]["pictures"], 3, "pictures on the fly")
    dr.true(not any(name.startswith("_") for name in got), "a row per picture on the fly")


def test_survives_a_restart(s):
    before = cost(s)["total"]
    s.restart()
    after = settled(s)
    for name in ("invocations", "pictures", "bytes_in", "bytes_out"):
        dr.equal(after[name], before[name], name)
    dr.true(after["cpu_ms"] > before["cpu_ms"], "ending and starting workers cost nothing")
    dr.true(after["cpu_ms"] - before["cpu_ms"] < 30000, "%.0f ms came from nowhere" % (after["cpu_ms"] - before["cpu_ms"]))


def test_command(s):
    for by in ("preset", "prefix", "day", "function", "bucket"):
        answer = cost(s, by)
        got = s.cli("cost", "--by", by)
        dr.equal((got.returncode, got.stderr), (0, ""), "cost --by " + by)
        table = got.stdout.splitlines()
        dr.equal(len(table), 4 + len(answer["rows"]), "lines by " + by)
        dr.true(table[-1].endswith("  total"), "last line %r" % table[-1])
        dr.true(abs(float(table[-1].split()[0]) - answer["total"]["cpu_ms"] / 1000) < 1, "CPU s of the total")
        rows = [json.loads(x) for x in s.cli("cost", "--by", by, "--json").stdout.splitlines()]
        dr.equal(rows[:-1], cost(s, by)["rows"], "rows as JSON")
        dr.equal(rows[-1]["total"], cost(s, by)["total"], "total as JSON")
    dr.equal(s.cli("cost", "--since", "2099-01-01", "--json").stdout.count("\n"), 1, "lines of the future")
    dr.equal(s.cli("cost", "--by", "colour").returncode, 2, "exit code for a wrong word")
    dr.equal(s.cli("cost", "--since", "yesterday").returncode, 2, "exit code for a wrong day")


def test_questions_that_are_none(s):
    for query in ("by=colour", "since=yesterday", "since=2026-13-01", "since=2026-1-1", "by="):
        dr.equal(s.signed("GET", "/_/cost?" + query).status, 400, "status for " + query)
    dr.equal(s.get("/_/cost").status, 403, "status without a signature")
    dr.equal(cost(s, since="2099-01-01")["rows"], [], "rows of the future")


if __name__ == "__main__":
    dr.run(globals(), config=dict(PRICES, workers={"recycle_invocations": RECYCLE}))
