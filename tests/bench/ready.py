"""From the answer of a PUT to all default presets readable, less the image work itself."""
import http.client
import time

import figures

UPLOADS = 40
BAR_MS = 15
WAIT_SECONDS = 20
LAST = "large"  # all presets of an object are one commit; any of them would do


def invocation_ms(s, key):
    """How long the worker had the photo: wall clock of the runs, joined functions counted once."""
    runs = {(a["pid"], a["started"]): a["run_us"] for a in s.explain(key)["attempts"]}
    return sum(runs.values()) / 1000


def upload(s, viewer, client, path, key):
    """Milliseconds until a viewer reads the thumbnails of one upload, and those of the image work."""
    with open(path, "rb") as f:
        body = f.read()
    s.idle()
    headers = s.signed_headers("PUT", "/photos/" + key, body, payload="UNSIGNED-PAYLOAD")
    client.request("PUT", "/photos/" + key, body, headers)
    answer = client.getresponse()
    answered = time.perf_counter()
    answer.read()
    if answer.status != 200:
        raise figures.Unmeasured("PUT was answered %d" % answer.status)
    presets = ["/photos-derived/%s/%s.webp" % (key, name) for name in ("small", "medium", LAST)]
    while presets:
        viewer.request("GET", presets[-1])
        got = viewer.getresponse()
        got.read()
        if got.status == 200:
            presets.pop()
        elif time.perf_counter() - answered > WAIT_SECONDS:
            raise figures.Unmeasured("no thumbnail of %s in %d s" % (path, WAIT_SECONDS))
    whole = (time.perf_counter() - answered) * 1000
    return whole, invocation_ms(s, key)


def run():
    s = figures.server(data="data")
    viewer = http.client.HTTPConnection(s.host, s.port, timeout=WAIT_SECONDS)
    client = http.client.HTTPConnection(s.host, s.port, timeout=WAIT_SECONDS)
    paths = figures.samples()
    for i, path in enumerate(paths):  # both workers have seen every format
        upload(s, viewer, client, path, "warm-%d" % i)
    took = [upload(s, viewer, client, paths[i % len(paths)], "photo-%d" % i) for i in range(UPLOADS)]
    rest = sorted(whole - work for whole, work in took)
    figures.within("PUT answered to presets readable, less image work", figures.median(rest), BAR_MS)
    figures.line("  its 90th percentile", "%.1f ms" % rest[len(rest) * 9 // 10])
    figures.line("  with the image work (median of all samples)",
                 "%.1f ms" % figures.median([whole for whole, _ in took]))
