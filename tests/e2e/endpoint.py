#!/usr/bin/python3
"""The HTTP endpoint and the process as an operator meets them: health, metrics, settings, files and
their modes, workers, raw requests that no library would send."""
import base64
import json
import os
import socket
import stat
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true

COMMAND = os.path.join(darkroom.PROGRAMS, "darkroomd")


def daemon(*args, env=None):
    """Runs darkroomd that is expected to end by itself."""
    return subprocess.run([COMMAND] + list(args), capture_output=True, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, env=darkroom.clean_env(**(env or {})))


def test_health(s):
    reply = s.get("/_/health")
    equal((reply.status, reply.headers["content-type"]), (200, "application/json"), "reply")
    health = darkroom.until(lambda: s.get("/_/health").json()["status"] == "ok" and
                            s.get("/_/health").json(), "health ok")
    equal(health["storage"], "ok", "storage")
    equal(health["workers"]["ready"], health["workers"]["configured"], "ready workers")
    for form in ("jpeg", "png", "webp", "gif", "tiff", "avif", "heic"):
        contains(health["workers"]["formats"], form, "formats")


def test_metrics(s):
    reply = s.get("/_/metrics")
    contains(reply.headers["content-type"], "text/plain", "Content-Type")
    equal(s.metric("lost_events_total"), 0, "lost_events_total")
    for line in reply.body.decode().splitlines():
        words = line.split()
        true(line.startswith("# ") or (len(words) == 2 and words[0].startswith(("darkroom_", "process_"))), line)


def test_admin_wants_root_keys(s):
    for method, target in (("GET", "/_/status"), ("GET", "/_/explain?bucket=photos&key=x"),
                           ("GET", "/_/dlq"), ("GET", "/_/functions"), ("POST", "/_/reprocess"),
                           ("PUT", "/_/functions?name=thumbnail"), ("DELETE", "/_/dlq")):
        equal(s.request(method, target, b"{}" if method != "GET" else None).status, 403, target)
    equal(s.signed("GET", "/_/nothing").status, 404, "an unknown page")


def test_files(s):
    def mode(name):
        return oct(stat.S_IMODE(os.stat(os.path.join(s.data, name)).st_mode))
    equal(mode("credentials"), "0o600", "mode of credentials")
    equal(mode("."), "0o700", "mode of the data directory")
    with open(os.path.join(s.data, "endpoint")) as f:
        equal(f.read().strip(), s.url, "DIR/endpoint")
    true(s.secret not in s.log(), "the secret is in the log")


def test_one_server_per_directory(s):
    second = daemon("--data", s.data, "--listen", "127.0.0.1:0")
    equal((second.returncode, second.stdout), (1, ""), "second server")
    contains(second.stderr, "in use", "its reason")
    equal(s.get("/_/health").status, 200, "the first one")


def test_wrong_settings(s):
    cases = [({"http": {"threads": "many"}}, "http.threads"), ({"http": {"threads": 65}}, "http.threads"),
             ({"no": {"such": 1}}, "no"), ({"auth": {"sigv2": "perhaps"}}, "auth.sigv2"),
             ({"bare": "yes"}, "bare"), ({"accounts": [{"id": "x"}]}, "accounts"),
             ({"listen": "nowhere"}, "listen"), ("{", "wrong.json")]
    for settings, name in cases:
        with open("wrong.json", "w") as f:
            f.write(settings if isinstance(settings, str) else json.dumps(settings))
        done = daemon("--config", "wrong.json", "--data", "unused")
        lines = done.stderr.strip().splitlines()
        equal((done.returncode, len(lines)), (2, 1), "%s: code and lines of %s" % (settings, done.stderr))
        contains(lines[0], name, "the line")
    for args in (["--no-such-option"], ["--config", "missing.json"], ["--sandbox", "no"], ["--data"]):
        done = daemon(*args)
        equal((done.returncode, len(done.stderr.strip().splitlines())), (2, 1), " ".join(args))
    true(not os.path.exists("unused"), "a data directory was made")


def test_print_config(s):
    done = daemon("--print-config", "--listen", "127.0.0.1:1234")
    equal((done.returncode, done.stderr), (0, ""), "--print-config")
    for part in ("http.threads", "auth.sigv2", "127.0.0.1:1234", "queue.retry_base_ms", "bytes"):
        contains(done.stdout, part, "the settings")


def other(args=(), **options):
    return darkroom.Server(args=args, data="other%d" % len(os.listdir(".")), **options)


def test_bare(s):
    bare = other(["--bare"]).start()
    try:
        equal(bare.s3().list_buckets()["Buckets"], [], "buckets")
        equal(bare.dynamodb().list_tables()["TableNames"], [], "tables")
    finally:
        equal(bare.stop(), 0, "exit code")


def test_not_only_loopback(s):
    keys = {"DARKROOM_ACCESS_KEY_ID": "ROOTKEY", "DARKROOM_SECRET_ACCESS_KEY": "root-secret"}
    wide = other(listen="0.0.0.0:0", config={"metrics": {"token": "let-me-see"}}, env=keys).start()
    try:
        true(wide.url.startswith("http://0.0.0.0:"), "the line says " + wide.url)
        with open(os.path.join(wide.data, "endpoint")) as f:
            equal(f.read().strip(), wide.url.replace("0.0.0.0", "127.0.0.1"), "DIR/endpoint")
        true(not os.path.exists(os.path.join(wide.data, "credentials")), "credentials were made")
        equal(wide.put_settled("a.jpg", darkroom.sample("grey.jpg"))["ready"], True, "ready")
        equal(wide.thumbnail("a.jpg", "small").status, 403, "anonymous GET of a thumbnail")
        equal(wide.get("/_/metrics").status, 403, "metrics without token")
        equal(wide.get("/_/metrics", Authorization="Bearer let-me-not").status, 403, "with a wrong one")
        equal(wide.get("/_/metrics", Authorization="Bearer let-me-see").status, 200, "with the token")
        url = wide.s3().generate_presigned_url("get_object", {"Bucket": "photos", "Key": "a.jpg"})
        equal(wide.get(url[len(wide.url):]).status, 400, "Version 2 signature")
    finally:
        equal(wide.stop(), 0, "exit code")


def test_restart_keeps_everything(s):
    first = other().start()
    etag = first.s3().put_object(Bucket="photos", Key="stays.jpg", Body=darkroom.sample("grey.jpg"))["ETag"]
    first.settled("stays.jpg", etag)
    first.kill()
    first.start()
    try:
        equal(first.s3().head_object(Bucket="photos", Key="stays.jpg")["ETag"], etag, "ETag")
        equal(first.item("stays.jpg")["ready"], True, "ready")
        equal(first.thumbnail("stays.jpg", "small").status, 200, "thumbnail")
    finally:
        equal(first.stop(), 0, "exit code")
    true(not os.path.exists(os.path.join(first.data, "endpoint")), "DIR/endpoint is still there")


# ---- workers ----

def test_workers_map_nothing_foreign(s):
    s.put_settled("maps.heic", darkroom.sample("motocross.heic"))
    for worker in s.workers():
        try:
            with open("/proc/%d/maps" % worker["pid"]) as f:
                maps = f.read()
        except PermissionError:
            raise darkroom.Skipped("only root may look into the workers")
        contains(maps, "libvips", "maps")
        for name in ("poppler", "magick", "openslide", "sqlite", "libs3", "microhttpd"):
            true(name not in maps.lower(), "%s is mapped" % name)


def test_a_killed_worker_is_replaced(s):
    before = s.workers()
    for worker in before:
        os.kill(worker["pid"], 9)
    darkroom.until(lambda: s.get("/_/health").json()["status"] == "ok" and
                   not {w["pid"] for w in s.workers()} & {w["pid"] for w in before}, "new workers")
    true(s.put_settled("after-kill.jpg", darkroom.sample("grey.jpg"))["ready"], "not ready")


# ---- raw requests ----

def crc64nvme(data):
    crc = (1 << 64) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9a6c9329ac4bc9b5 if crc & 1 else 0)
    return crc ^ (1 << 64) - 1


def trailer_upload(s, key, body, checksum, with_length):
    """What SDKs send since 2025: aws-chunked with a checksum trailer, over chunked transfer coding
    when the length of the whole is not told."""
    parts = [body[i:i + 40000] for i in range(0, len(body), 40000)]
    inner = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + \
        b"0\r\nx-amz-checksum-crc64nvme:" + checksum + b"\r\n\r\n"
    headers = s.signed_headers(
        "PUT", "/photos/" + key, headers={"Content-Encoding": "aws-chunked",
                                          "X-Amz-Decoded-Content-Length": str(len(body)),
                                          "X-Amz-Trailer": "x-amz-checksum-crc64nvme"},
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    if with_length:
        headers["Content-Length"] = str(len(inner))
    else:
        headers["Transfer-Encoding"] = "chunked"
        cuts = [inner[i:i + 7777] for i in range(0, len(inner), 7777)]
        inner = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in cuts) + b"0\r\n\r\n"
    head = "PUT /photos/%s HTTP/1.1\r\n" % key + "".join("%s: %s\r\n" % h for h in headers.items())
    return darkroom.exchange_raw(s.port, head.encode() + b"\r\n" + inner)


def test_checksum_trailer(s):
    equal("%x" % crc64nvme(b"123456789"), "ae8b14860a799888", "the test's own CRC-64/NVME")
    body = darkroom.sample("landscape-turned.jpg")[:100001]
    good = base64.b64encode(crc64nvme(body).to_bytes(8, "big"))
    for with_length in (True, False):
        reply = trailer_upload(s, "trailer.bin", body, good, with_length)
        equal(reply.status, 200, "upload (%s)" % reply.body)
        equal(reply.headers["x-amz-checksum-crc64nvme"], good.decode(), "checksum in the answer")
        got = s.s3().get_object(Bucket="photos", Key="trailer.bin")
        true(got["Body"].read() == body, "other bytes came back")
        true("aws-chunked" not in got.get("ContentEncoding", ""), "the coding was kept")
        s.s3().delete_object(Bucket="photos", Key="trailer.bin")
        bad = trailer_upload(s, "trailer.bin", body, base64.b64encode(b"\1" * 8), with_length)
        equal(bad.status, 400, "upload with a wrong checksum")
        contains(bad.body, b"<Code>BadDigest</Code>", "the refusal")
        equal(s.signed("HEAD", "/photos/trailer.bin").status, 404, "what was refused")


def test_bucket_in_the_host_name(s):
    s.put_settled("host.jpg", darkroom.sample("grey.jpg"))
    reply = s.request("GET", "/host.jpg/small.webp", headers={"Host": "photos-derived.localhost:%d" % s.port})
    equal(reply.status, 200, "anonymous GET")
    equal(reply.body, s.thumbnail("host.jpg", "small").body, "the bytes")
    headers = s.signed_headers("PUT", "/_/health", b"a key", {"Host": "photos.localhost"})
    equal(s.request("PUT", "/_/health", b"a key", headers).status, 200, "PUT of a key that begins with _/")
    equal(s.s3().get_object(Bucket="photos", Key="_/health")["Body"].read(), b"a key", "that key")


def test_delete_objects_with_a_checksum(s):
    for key in ("d1", "d2"):
        s.s3().put_object(Bucket="photos", Key=key, Body=b"")
    xml = b"<Delete><Object><Key>d1</Key></Object><Object><Key>d2</Key></Object></Delete>"
    crc = zlib.crc32(xml).to_bytes(4, "big")
    reply = s.signed("POST", "/photos?delete", xml, {"x-amz-checksum-crc32": base64.b64encode(b"1234").decode()})
    equal(reply.status, 400, "with a wrong one")
    equal(s.signed("HEAD", "/photos/d1").status, 200, "d1 after the refusal")
    reply = s.signed("POST", "/photos?delete", xml, {"x-amz-checksum-crc32": base64.b64encode(crc).decode()})
    equal((reply.status, reply.body.count(b"<Deleted>")), (200, 2), "with the right one")


def test_expect_continue(s):
    def ask(headers):
        with socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) as c:
            head = "PUT /photos/expect HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
            c.sendall((head + "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n").encode())
            first = c.recv(4096)
            if first.startswith(b"HTTP/1.1 100"):
                c.sendall(b"hello")
                return first, c.recv(4096)
            return first, b""
    first, then = ask(s.signed_headers("PUT", "/photos/expect", b"hello"))
    contains(first, b"100 Continue", "first answer")
    contains(then, b"200 OK", "second answer")
    wrong = s.signed_headers("PUT", "/photos/expect", b"hello")
    wrong["Authorization"] = wrong["Authorization"][:-4] + "0000"
    contains(ask(wrong)[0], b"403 ", "answer to a wrong signature, before the body")


def test_ambiguous_requests(s):
    """Nothing that two servers could read in two ways is served."""
    host = "Host: %s:%d\r\n" % (s.host, s.port)
    put = "PUT /photos/x HTTP/1.1\r\n" + host
    cases = {"two lengths": put + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
             "length and chunked": put + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             "two hosts": "GET /_/health HTTP/1.1\r\n" + host + "Host: other\r\n\r\n",
             "no host": "GET /_/health HTTP/1.1\r\n\r\n",
             "strange coding": put + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
             "bad length": put + "Content-Length: +1\r\n\r\na"}
    for name, text in cases.items():
        with socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) as c:
            c.sendall(text.encode() + b"GET /_/health HTTP/1.1\r\n" + host.encode() + b"\r\n")
            c.shutdown(socket.SHUT_WR)
            got = b"".join(iter(lambda: c.recv(65536), b""))
        true(got.startswith(b"HTTP/1.1 4") and b"HTTP/1.1 200" not in got, "%s: %s" % (name, got[:200]))
    equal(s.get("/_/health").status, 200, "afterwards")


def test_a_body_that_ends_early(s):
    headers = s.signed_headers("PUT", "/photos/short.jpg", b"x" * 100000)
    with socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) as c:
        c.sendall(("PUT /photos/short.jpg HTTP/1.1\r\nContent-Length: 100000\r\n" +
                   "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n").encode() + b"x" * 70000)
        c.shutdown(socket.SHUT_WR)
        c.recv(4096)
    equal(s.signed("HEAD", "/photos/short.jpg").status, 404, "half an upload")
    equal(s.item("short.jpg"), None, "its item")


def test_slow_header(s):
    slow = other(config={"http": {"header_deadline_ms": 2000}}).start()  # our own come sooner
    try:
        with socket.create_connection((slow.host, slow.port), timeout=darkroom.ANSWER_SECONDS) as c:
            c.sendall(b"GET /_/health HTTP/1.1\r\nHost: x\r\n")
            equal(c.recv(100)[:9].strip() in (b"", b"HTTP/1.1"), True, "the end of a header that never ends")
        darkroom.until(lambda: slow.metric("http_timeouts_total") == 1, "http_timeouts_total")
    finally:
        equal(slow.stop(), 0, "exit code")


darkroom.run(globals())
