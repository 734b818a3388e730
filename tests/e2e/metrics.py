#!/usr/bin/env python3
"""/_/metrics against what the test did: counter by counter, the form as promtool wants it; the
dashboard and the alert rules in samples/ name only what is there. One request id in the log."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom as dr

PICTURE, TEXT, BROKEN = dr.sample("parrots.png"), b"no picture", dr.sample("parrots.png")[:60]
LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-z_]+)="([^"]*)"(?:,|$)')
STAGES = ("queued", "decode", "encode", "commit")


def page(s):
    reply = s.get("/_/metrics")
    dr.equal(reply.status, 200, "status of /_/metrics")
    return reply.body.decode()


def read(text):
    """{"name{a="b"}": value}; labels in their order on the page."""
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = LINE.match(line).groups()
            key = name + ("{%s}" % labels if labels else "")
            dr.true(key not in values, "%s stands there twice" % key)
            values[key] = float(value)
    return values


class Watch:
    """What moves between now and later."""

    def __init__(self, s):
        self.s, self.before = s, read(page(s))

    def moved(self):
        after = read(page(self.s))
        return {k: v - self.before.get(k, 0) for k, v in after.items() if v != self.before.get(k, 0)}


def expect(moved, wanted):
    for name, value in wanted.items():
        dr.equal(moved.get("darkroom_" + name, 0), value, "change of " + name)


def settled(s, watch, name, value):
    """Gauges and counts of the queue follow within a tick."""
    s.idle()
    return dr.until(lambda: watch.moved().get("darkroom_" + name, 0) >= value and watch.moved(), name)


def promtool():
    there = shutil.which("promtool") or os.path.join(dr.TOP, "build/tools/promtool")
    if not os.path.exists(there):
        raise dr.Skipped("no promtool (tools/deps.sh promtool fetches it)")
    return there


def test_upload_of_a_picture(s):
    w = Watch(s)
    s.put_settled("one.png", PICTURE)
    settled(s, w, "attempts_total{outcome=\"ready\",reason=\"\"}", 2)
    moved = settled(s, w, "events_acked_total", 2)
    expect(moved, {
        "objects_put_total": 1, "object_bytes_in_total": len(PICTURE), "invocations_total": 1,
        "events_total": 2, "events_acked_total": 2,
        "attempts_total{outcome=\"ready\",reason=\"\"}": 2,
        "http_responses_total{service=\"s3\",operation=\"PutObject\",code=\"2xx\"}": 1,
        "invocation_duration_seconds_count": 1,
        "invocation_duration_seconds_bucket{le=\"+Inf\"}": 1,
        "stage_duration_seconds_count{stage=\"queued\"}": 1,
        "stage_duration_seconds_count{stage=\"decode\"}": 1,
        "stage_duration_seconds_count{stage=\"encode\"}": 3,
        "stage_duration_seconds_count{stage=\"commit\"}": 1,
        "invocations_failed_total": 0, "lost_events_total": 0, "queue_dead": 0})
    dr.true(moved["darkroom_db_sync_seconds_count"] >= 2, "syncs: %r" % moved.get("darkroom_db_sync_seconds_count"))
    dr.true(moved["darkroom_db_commits_total"] >= 2, "commits")
    wall = moved["darkroom_invocation_duration_seconds_sum"]
    dr.true(abs(wall - moved["darkroom_invocation_seconds_total"]) < 1e-5, "two sums of one duration")
    inside = sum(moved['darkroom_stage_duration_seconds_sum{stage="%s"}' % x] for x in ("decode", "encode"))
    dr.true(0 < inside <= wall, "decode and encode took %r of %r s" % (inside, wall))
    dr.true(moved["darkroom_worker_cpu_seconds_total"] > 0, "no processor time")


def test_outcomes_by_reason(s):
    w = Watch(s)
    s.put_settled("text.txt", TEXT)
    s.put_settled("broken.png", BROKEN)
    s.put_settled("empty", b"")
    moved = settled(s, w, "attempts_total{outcome=\"skipped\",reason=\"empty\"}", 2)
    expect(moved, {"attempts_total{outcome=\"skipped\",reason=\"not_an_image\"}": 2,
                   "attempts_total{outcome=\"skipped\",reason=\"empty\"}": 2})
    failed = sum(v for k, v in moved.items() if k.startswith('darkroom_attempts_total{outcome="failed"'))
    dr.equal(failed, 2, "failed attempts: %r" % {k: v for k, v in moved.items() if "attempts" in k})


def test_requests_by_operation_and_class(s):
    s.put_settled("get.txt", TEXT)
    w = Watch(s)
    client = s.s3()
    for _ in range(3):
        client.get_object(Bucket="photos", Key="get.txt")["Body"].read()
    client.list_objects_v2(Bucket="photos")
    for key in ("none", "nothing"):
        try:
            client.get_object(Bucket="photos", Key=key)
        except client.exceptions.NoSuchKey:
            pass
    s.dynamodb().get_item(TableName="images", Key={"bucket": {"S": "photos"}, "key": {"S": "x"}})
    s.get("/_/health")
    s.get("/photos/get.txt")  # unsigned: refused
    response = "http_responses_total{service=\"%s\",operation=\"%s\",code=\"%s\"}"
    wanted = {response % ("s3", "GetObject", "2xx"): 3, response % ("s3", "GetObject", "4xx"): 3,
              response % ("s3", "ListObjects", "2xx"): 1,
              response % ("dynamodb", "GetItem", "2xx"): 1, response % ("admin", "health", "2xx"): 1}
    # An answer is counted when the last byte has gone, so the client may be sooner.
    moved = dr.until(lambda: (lambda m: m if all(m.get("darkroom_" + k, 0) >= v for k, v in wanted.items())
                              else None)(w.moved()), "the answers")
    expect(moved, dict(wanted, object_bytes_out_total=3 * len(TEXT)))
    hits = moved.get("darkroom_cache_hits_total", 0) + moved.get("darkroom_cache_misses_total", 0)
    dr.true(hits >= 3, "%d reads of the cache" % hits)
    def unanswered():
        now = w.moved()
        answered = sum(v for k, v in now.items() if k.startswith("darkroom_http_responses_total"))
        return now["darkroom_http_requests_total"] - answered
    dr.until(lambda: unanswered() in (0, 1), "as many answers as requests")  # but for this page's own


def test_lanes_and_ages(s):
    """With the functions paused events wait, and grow old."""
    for name in ("thumbnail", "metadata"):
        dr.equal(s.cli("functions", "set", name, "--concurrency", "0").returncode, 0, "pausing " + name)
    for i in range(3):
        s.s3().put_object(Bucket="photos", Key="waits/%d" % i, Body=TEXT)
    lane, age = 'darkroom_queue_events{lane="live"}', 'darkroom_queue_oldest_age_seconds{lane="live"}'

    def waiting():
        now = read(page(s))
        return now if now[lane] == 6 and now[age] > 0 else None
    first = dr.until(waiting, "six events that wait")
    later = dr.until(lambda: (waiting() or {}).get(age, 0) > first[age] + 0.2, "an older event")
    dr.true(later, "age")
    for other in ("followup", "batch"):
        dr.equal(first['darkroom_queue_events{lane="%s"}' % other], 0, other)
        dr.equal(first['darkroom_queue_oldest_age_seconds{lane="%s"}' % other], 0, "age of " + other)
    for name in ("thumbnail", "metadata"):
        dr.equal(s.cli("functions", "set", name, "--concurrency", "-1").returncode, 0, "resuming " + name)
    s.idle()
    dr.until(lambda: read(page(s))[lane] == 0 and read(page(s))[age] == 0, "empty lane")


def test_pool_and_crash(s):
    s.idle()
    now = dr.until(lambda: (lambda p: p if p["darkroom_workers_ready"] == p["darkroom_workers_configured"] else None)(
        read(page(s))), "ready workers")
    dr.equal(now["darkroom_workers_busy"], 0, "busy workers")
    dr.equal(now["darkroom_memory_granted_bytes"], 0, "granted memory")
    dr.true(now["darkroom_memory_budget_bytes"] > 0, "memory budget")
    w = Watch(s)
    os.kill(s.workers()[0]["pid"], signal.SIGSYS)  # how seccomp ends a process
    moved = dr.until(lambda: w.moved().get("darkroom_workers_started_total") and w.moved(), "another worker")
    expect(moved, {"sandbox_kills_total": 1, "workers_crashed_total": 1, "workers_started_total": 1})
    dr.until(lambda: read(page(s))["darkroom_workers_ready"] == now["darkroom_workers_ready"], "ready workers")


def test_histograms_add_up(s):
    values = read(page(s))
    for name in [k[:-len("_count")] for k in values if k.endswith("_count")] + \
                ["%s{stage=\"%s\"}" % ("darkroom_stage_duration_seconds", x) for x in STAGES]:
        base, _, labels = name.partition("{")
        labels = labels.rstrip("}")
        buckets = [v for k, v in values.items() if k.startswith(base + "_bucket{" + labels)]
        dr.true(buckets == sorted(buckets), "%s: buckets fall: %r" % (name, buckets))
        dr.equal(values[base + "_count" + ("{%s}" % labels if labels else "")], buckets[-1], "count of " + name)


def test_no_client_words_in_labels(s):
    s.s3().put_object(Bucket="photos", Key="secret-key-in-no-label", Body=TEXT)
    s.idle()
    s.request("BREW", "/photos/x")
    s.get("/_/no-such-page-of-ours")
    text = page(s)
    for word in ("secret-key", "BREW", "no-such-page", "photos", "parrots"):
        dr.true(word not in text, "%r is in the metrics" % word)


def test_form(s):
    text = page(s)
    tool = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True)
    dr.equal((tool.returncode, tool.stdout + tool.stderr), (0, ""), "promtool check metrics")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            dr.true(len(line.split(" ", 3)) == 4 and line.split(" ", 3)[3].strip(), "no help: " + line)


def names(text):
    found = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found |= {name + x for x in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


def used(text):
    return set(re.findall(r"\b(?:darkroom|process)_[a-z_]+", text))


def test_dashboard(s):
    with open(os.path.join(dr.TOP, "samples/grafana-dashboard.json")) as f:
        board = json.load(f)
    queries = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
    dr.true(len(queries) >= 12, "only %d queries" % len(queries))
    missing = set().union(*map(used, queries)) - names(page(s))
    dr.true(not missing, "the dashboard names %s" % sorted(missing))
    ids = [p["id"] for p in board["panels"]]
    dr.equal(len(ids), len(set(ids)), "panel ids")
    boxes = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    dr.equal(len(boxes), len(set(boxes)), "places of panels")


def test_alerts(s):
    path = os.path.join(dr.TOP, "samples/prometheus-alerts.yml")
    with open(path) as f:
        text = f.read()
    exprs = "\n".join(re.findall(r"^ *expr: (.*)$", text, re.M))
    dr.true(len(used(exprs)) >= 6, "rules about %r" % used(exprs))
    missing = used(exprs) - names(page(s))
    dr.true(not missing, "the alert rules name %s" % sorted(missing))
    tool = subprocess.run([promtool(), "check", "rules", path], capture_output=True, text=True)
    dr.equal(tool.returncode, 0, tool.stdout + tool.stderr)
    tool = subprocess.run([promtool(), "test", "rules", os.path.join(dr.TOP, "samples/prometheus-alerts-test.yml")],
                          capture_output=True, text=True, cwd=os.path.join(dr.TOP, "samples"))
    dr.equal(tool.returncode, 0, tool.stdout + tool.stderr)


def lines(s):
    return [json.loads(line) for line in s.log().splitlines()]


def test_one_request_id(s):
    """From the answer of the PUT to the commit of its results; also the follow-up's."""
    answer = s.s3().put_object(Bucket="photos", Key="id.png", Body=PICTURE)
    mine = answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
    s.settled("id.png", answer["ETag"])
    s.idle()
    about = [x for x in lines(s) if x.get("key") == "id.png"]
    dr.equal({x.get("request_id") for x in about}, {mine}, "request ids of lines about the object")
    events = [x["event"] for x in about]
    for event, count in (("s3_committed", 1), ("invoke", 1), ("REPORT", 1), ("result_committed", 2)):
        dr.equal(events.count(event), count, "lines " + event)
    dr.true(events.index("invoke") < events.index("REPORT") < events.index("result_committed"), "order: %r" % events)
    dr.equal({x["function"] for x in about if x["event"] == "result_committed"}, {"thumbnail", "metadata"}, "functions")
    report = next(x for x in about if x["event"] == "REPORT")
    dr.true(isinstance(report["duration_ms"], float) and isinstance(report["billed_duration_ms"], int), "numbers")


def test_request_id_of_a_batch(s):
    """What a reprocessing makes has the batch for its request; a line says who began that one."""
    s.put_settled("batch.png", PICTURE)
    done = s.cli("reprocess", "s3://photos/batch.png", "--all", "--json")
    dr.equal(done.returncode, 0, "exit code: " + done.stderr)
    number = json.loads(done.stdout.splitlines()[-1])["id"]
    s.idle()
    mine = [x for x in lines(s) if x.get("request_id") == "batch-%d" % number]
    dr.equal({x["event"] for x in mine}, {"invoke", "REPORT", "result_committed"}, "lines of the batch")
    dr.equal({x["key"] for x in mine}, {"batch.png"}, "keys in them")
    begun = [x for x in lines(s) if x["event"] == "batch_begun" and x["batch_id"] == number]
    dr.equal(len(begun), 1, "lines batch_begun")
    dr.true(any(x["event"] == "admin_change" and x["request_id"] == begun[0]["request_id"] and
                x["path"] == "/_/reprocess" for x in lines(s)), "no such request: %r" % begun)


def test_request_id_of_a_replay(s):
    """The upload's own, and the batch beside it."""
    answer = s.s3().put_object(Bucket="photos", Key="again.png", Body=PICTURE)
    upload = answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
    s.settled("again.png", answer["ETag"])
    done = s.cli("events", "replay", "--prefix", "s3://photos/again", "--force", "--json")
    dr.equal(done.returncode, 0, "exit code: " + done.stderr)
    number = json.loads(done.stdout.splitlines()[-1])["id"]
    s.idle()
    ran = [(x["request_id"], x["batch_id"]) for x in lines(s) if x["event"] == "invoke" and x["key"] == "again.png"]
    dr.equal(ran, [(upload, 0), (upload, number)], "invocations: request and batch")


def test_request_id_of_a_picture_on_the_fly(s):
    s.put_settled("fly.png", PICTURE)
    url = s.cli("sign-url", "s3://photos/fly.png", "--width", "77").stdout.strip()
    reply = s.get(url[len(s.url):])
    dr.equal(reply.status, 200, "status")
    mine = reply.headers["x-amz-request-id"]
    events = dr.until(lambda: (lambda e: e if "result_committed" in e else None)(
        [x["event"] for x in lines(s) if x.get("request_id") == mine]), "lines of the request")
    dr.equal(events, ["invoke", "REPORT", "result_committed"], "lines of the request")


def test_request_id_in_the_notice(s):
    """What listeners and webhooks are told names the request, too."""
    answer = s.s3().put_object(Bucket="photos", Key="told.txt", Body=TEXT)
    wanted = {"skipped": answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]}
    s.settled("told.txt", answer["ETag"])
    gone = s.s3().delete_object(Bucket="photos", Key="told.txt")
    wanted["deleted"] = gone["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
    c = s.connection()
    target = "/_/events?prefix=told&last_event_id=0"
    c.request("GET", target, headers=s.signed_headers("GET", target))
    reply, told = c.getresponse(), {}
    while len(told) < 2:
        line = reply.readline().decode()
        dr.true(line, "the stream ended")
        if line.startswith("data: {"):
            notice = json.loads(line[6:])
            told[notice.get("type")] = notice.get("request_id")
    c.close()
    dr.equal(told, wanted, "request ids of the notices")


def test_every_line_is_json(s):
    s.s3().put_object(Bucket="photos", Key="q \"\\ \n\x01\u00e9\u20ac" + "\U0001f600" * 90, Body=TEXT)
    s.idle()
    every = lines(s)
    for x in every:
        dr.true({"time", "level", "event"} <= set(x), "a line without its head: %r" % x)
    dr.true(any(x.get("key", "").startswith("q \"\\ \n\x01\u00e9\u20ac\U0001f600") for x in every), "the odd key")


if __name__ == "__main__":
    dr.run(globals(), config={"log": {"format": "json", "level": "debug"}})
