#!/usr/bin/python3
"""HTTPS: clients nobody here wrote, certificates exchanged under way, and what TLS must not change: deadlines,
the end of a client's side, one answer per request, who may do what."""
import http.client
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import warnings

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import Skipped, contains, equal, true, until

DEADLINE_MS = 2000
LATE_S = 45  # before the idle timeout, which a byte now and then or none would wait for
LARGE = 64 << 20
warnings.simplefilter("ignore", DeprecationWarning)  # of naming TLS 1.1, to see it refused
authority = darkroom.Authority()
stranger = darkroom.Authority("stranger")


# ---- helpers ----

def run(*args, code=0, **env):
    if shutil.which(args[0]) is None and not os.path.exists(args[0]):
        raise Skipped("%s is not installed" % args[0])
    done = subprocess.run(args, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL,
                          env=darkroom.clean_env(**env))
    equal(done.returncode, code, "exit code of %s (%s)" % (os.path.basename(args[0]), done.stderr[-300:]))
    return done


def keys(s):
    return dict(AWS_ACCESS_KEY_ID=s.key, AWS_SECRET_ACCESS_KEY=s.secret, AWS_DEFAULT_REGION="us-east-1",
                AWS_CA_BUNDLE=s.ca)


def serial(c):
    return int(c.getpeercert()["serialNumber"], 16)


def serial_now(s):
    context = ssl.create_default_context(cafile=s.ca)
    with socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) as c:
        with context.wrap_socket(c, server_hostname=s.host) as tls:
            return serial(tls)


def install(s, certificate, key):
    """As an operator does: each file is replaced by a rename."""
    for source, target in ((certificate, s.certificate), (key, s.certificate_key)):
        shutil.copy(source, target + ".new")
        os.rename(target + ".new", target)


def hangup(s, fact):
    """SIGHUP; returns when all is read again, and the log has one more line of that fact."""
    def count(what):
        return len(re.findall(" %s\\b" % what, s.log()))
    before, ends = count(fact), count("reload what=log")
    s.process.send_signal(signal.SIGHUP)
    until(lambda: count("reload what=log") > ends or s.process.poll() is not None, "the end of a reload in the log")
    equal(s.process.poll(), None, "exit code of a server that was told to reload")
    true(count(fact) > before, "no %s in the log: %s" % (fact, s.log_tail(3)))


def raw_put(s, key, body, **more):
    target = "/photos/" + key
    headers = s.signed_headers("PUT", target, body, dict({"Content-Length": str(len(body))}, **more))
    head = "PUT %s HTTP/1.1\r\n" % target + "".join("%s: %s\r\n" % h for h in headers.items())
    return head.encode() + b"\r\n" + body


def answer(c):
    response = http.client.HTTPResponse(c)
    response.begin()
    return darkroom.Reply(response.status, {k.lower(): v for k, v in response.getheaders()},
                          response.read())


# ---- clients ----

def test_boto3_and_thumbnail(s):
    s.put_settled("a.jpg", darkroom.sample("landscape-turned.jpg"))
    thumbnail = s.thumbnail("a.jpg", "small")
    equal(thumbnail.status, 200, "status of the thumbnail")
    equal(s.item("a.jpg")["state"]["small"], "ready", "state")


def test_curl(s):
    url = s.url + "/_/health"
    equal(json.loads(run("curl", "-sS", "--cacert", s.ca, url).stdout)["storage"], "ok", "health")
    run("curl", "-sS", "--cacert", stranger.file, url, code=60)
    equal(run("curl", "-sS", "--cacert", s.ca, "-o", "/dev/null", "-w", "%{ssl_verify_result} %{http_version}",
              url).stdout, "0 1.1", "verified, and the protocol")


def test_aws_cli(s):
    with open("up.bin", "wb") as f:
        f.write(os.urandom(300000))
    aws = ("aws", "--endpoint-url", s.url, "s3", "cp")
    run(*aws, "up.bin", "s3://photos/cli.bin", **keys(s))
    run(*aws, "s3://photos/cli.bin", "down.bin", **keys(s))
    true(open("up.bin", "rb").read() == open("down.bin", "rb").read(), "the bytes differ")


def test_own_cli(s):
    program = os.path.join(darkroom.PROGRAMS, "darkroom")
    s.s3().put_object(Bucket="photos", Key="own cli", Body=b"bytes")
    contains(s.cli("status").stdout, "live", "status")
    equal(s.cli("get", "s3://photos/own cli").stdout, "bytes", "what get printed")
    equal(s.cli("ls", "s3://photos/own").returncode, 0, "exit code of ls")
    contains(run(program, "--data", s.data, "status", AWS_CA_BUNDLE=s.ca).stdout, "live", "status")
    run(program, "--data", s.data, "status", code=3)
    run(program, "--data", s.data, "--ca-file", stranger.file, "status", code=3)
    refused = s.cli("--signature", "v2", "ls", "s3://photos/")
    equal(refused.returncode, 2, "exit code with libs3, which knows no CA file")


def test_presigned(s):
    s.s3().put_object(Bucket="photos", Key="presigned", Body=b"yes")
    url = s.s3(signature_version="s3v4").generate_presigned_url(
        "get_object", {"Bucket": "photos", "Key": "presigned"})
    true(url.startswith("https://"), url)
    with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=s.ca)) as r:
        equal(r.read(), b"yes", "body")


def test_version_2_on_loopback(s):
    true(s.s3(signature_version="s3").list_buckets()["Buckets"], "no buckets")


def test_large_objects(s):
    body = os.urandom(1 << 20) * (LARGE >> 20)
    s.s3().put_object(Bucket="photos", Key="large", Body=body)
    stream = s.s3().get_object(Bucket="photos", Key="large")["Body"]
    equal(darkroom.sha256(stream.read()), darkroom.sha256(body), "SHA-256")
    part = s.s3().get_object(Bucket="photos", Key="large", Range="bytes=1048570-3145731")["Body"].read()
    true(part == body[1048570:3145732], "a range differs")


def test_events(s):
    c = s.connection()
    target = "/_/events?prefix=told"
    c.request("GET", target, headers=s.signed_headers("GET", target))
    r = c.getresponse()
    equal(r.status, 200, "status")
    r.readline()
    s.s3().put_object(Bucket="photos", Key="told.jpg", Body=darkroom.sample("landscape-turned.jpg"))
    while True:
        line = r.readline().decode()
        true(line, "the stream ended")
        if line.startswith("data:") and json.loads(line[5:]).get("key") == "told.jpg":
            break
    c.close()


def test_locations_are_https(s):
    s3 = s.s3()
    upload = s3.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
    etag = s3.upload_part(Bucket="photos", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    done = s3.complete_multipart_upload(Bucket="photos", Key="parts", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": etag}]})
    true(done["Location"].startswith(s.url + "/"), done["Location"])


# ---- certificates ----

def test_sighup_exchanges_the_certificate(s):
    c = s.connection()
    c.request("GET", "/_/health")
    c.getresponse().read()
    before = serial(c.sock)
    install(s, *authority.issue("second", before + 1, "-newkey", "rsa:2048"))
    hangup(s, "reload what=tls")
    equal(serial_now(s), before + 1, "serial of a new connection")
    for _ in range(3):
        c.request("GET", "/_/health")
        equal(c.getresponse().read()[:1], b"{", "answer on the old connection")
    equal(serial(c.sock), before, "serial of the old connection")
    c.close()


def test_a_bad_pair_keeps_the_old_one(s):
    before = serial_now(s)
    _, other_key = authority.issue("third", before + 1)
    good = tempfile.mkdtemp()
    shutil.copy(s.certificate, good)
    shutil.copy(s.certificate_key, good)
    install(s, s.certificate, other_key)
    hangup(s, "tls_reload_failed")
    refusal = [line for line in s.log().splitlines() if " tls_reload_failed " in line][-1]
    contains(refusal, "not the key of the certificate", "log line")
    equal(serial_now(s), before, "serial after a key of another")
    with open(s.certificate, "w") as f:
        f.write("-----BEGIN CERTIFICATE-----\nnonsense\n")
    hangup(s, "tls_reload_failed")
    equal(serial_now(s), before, "serial after nonsense")
    os.unlink(s.certificate)
    hangup(s, "tls_reload_failed")
    equal(serial_now(s), before, "serial without the file")
    for spoil in (os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)):  # nobody writes to the pipe
        for target in (s.certificate, s.certificate_key):
            install(s, *(os.path.join(good, os.path.basename(p)) for p in (s.certificate, s.certificate_key)))
            os.unlink(target)
            spoil(target)
            hangup(s, "tls_reload_failed")
            equal(serial_now(s), before, "serial with no file in the place of " + os.path.basename(target))
            (os.rmdir if os.path.isdir(target) else os.unlink)(target)
    plain_is_refused(s)
    install(s, *(os.path.join(good, os.path.basename(p)) for p in (s.certificate, s.certificate_key)))
    hangup(s, "reload what=tls")
    equal(serial_now(s), before, "serial of the pair that was put back")


def test_what_is_odd_about_a_pair_is_told(s):
    """It is taken all the same: a server without a certificate serves nobody."""
    good = tempfile.mkdtemp()
    shutil.copy(s.certificate, good)
    shutil.copy(s.certificate_key, good)
    for mode, told in ((0o604, True), (0o602, True), (0o640, False), (0o600, False)):
        os.chmod(s.certificate_key, mode)
        before = s.log().count(" tls_key_exposed ")
        hangup(s, "reload what=tls")
        equal(s.log().count(" tls_key_exposed "), before + told, "warnings of mode %04o" % mode)
        true(not told or "mode=%04o" % mode in s.log(), "the mode is not told")
    install(s, *authority.issue("old", 0x77, days=-1))
    before = s.log().count(" tls_certificate_expired ")
    hangup(s, "reload what=tls")
    contains([line for line in s.log().splitlines() if " tls_certificate_expired " in line][before], "serial=77 ", "log line")
    try:
        serial_now(s)
        raise darkroom.Failed("a client took it")
    except ssl.SSLCertVerificationError as e:
        contains(str(e), "expired", "what a client says")
    install(s, *(os.path.join(good, os.path.basename(p)) for p in (s.certificate, s.certificate_key)))
    hangup(s, "reload what=tls")
    equal(s.log().count(" tls_certificate_expired "), before + 1, "warnings of a good one")
    serial_now(s)


def test_reloads_under_load(s):
    """Handshakes go on while the pair is exchanged under them, over and over."""
    pairs = [authority.issue("r%d" % i, 0x2000 + i) for i in range(2)]
    seen, failures = set(), []
    before = serial_now(s)

    def knock(i):
        turn = 0
        while turn < 40 or not (failures or seen >= {0x2000, 0x2001}):
            if i == 0:
                install(s, *pairs[turn % 2])
                s.process.send_signal(signal.SIGHUP)
            try:
                seen.add(serial_now(s))
            except OSError as e:
                failures.append(e)
            turn += 1
            true(turn < 4000, "serials seen: %s" % seen)
    darkroom.at_once(6, knock)
    equal(failures, [], "failed handshakes")
    equal(seen - {before}, {0x2000, 0x2001}, "serials seen")
    hangup(s, "reload what=tls")


def test_a_start_without_a_usable_pair(s):
    good, key = authority.issue("start", 7)
    _, wrong = authority.issue("wrong", 8)
    locked = os.path.abspath("locked.key")
    darkroom.Authority.openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
    with open("garbage.pem", "w") as f:
        f.write("garbage")
    for certificate, key_file, named in (
            (good, "", "tls.key is missing"), ("", key, "tls.certificate is missing"),
            ("none.pem", key, "tls.certificate: none.pem"), (good, "none.key", "tls.key: none.key"),
            ("garbage.pem", key, "tls.certificate: garbage.pem"), (good, "garbage.pem", "tls.key: garbage.pem"),
            (good, wrong, "tls.key: "), (good, locked, "tls.key: "), (good, "/dev/zero", "tls.key: ")):
        with open("start.json", "w") as f:
            json.dump({"tls": {"certificate": certificate, "key": key_file}}, f)
        done = run(os.path.join(darkroom.PROGRAMS, "darkroomd"), "--data", "start-data", "--config", "start.json",
                   "--listen", "127.0.0.1:0", "--log-level", "error", code=2)
        equal(len(done.stderr.splitlines()), 1, "lines on standard error: %r" % done.stderr)
        contains(done.stderr, named, "standard error")
        true(not os.path.exists("start-data"), "a data directory was made")


# ---- the protocol ----

def test_only_new_protocols(s):
    for version, good in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True),
                          (ssl.TLSVersion.TLSv1_3, True)):
        context = ssl.create_default_context(cafile=s.ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) as c:
            try:
                with context.wrap_socket(c, server_hostname=s.host) as tls:
                    true(good, "%s was taken" % tls.version())
            except ssl.SSLError as e:
                true(not good, "%s: %s" % (version.name, e))
                contains(str(e), "alert protocol version", "what the client was told")


def plain_is_refused(s, times=10):
    for _ in range(times):
        with socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: %s\r\n" % (b"y" * 8000) + b"\r\n")
            equal(c.recv(1000), b"", "what came back")
            c.sendall(b"z" * 100000)
            equal(c.recv(1000), b"", "what came back")


def test_plain_http_ends_cleanly(s):
    """An end and no reset, though most of the request is never read."""
    before = s.metric("tls_handshakes_failed_total")
    plain_is_refused(s)
    until(lambda: s.metric("tls_handshakes_failed_total") == before + 10, "tls_handshakes_failed_total")


@contextlib.contextmanager
def strict(s):
    """A server with a short deadline: the other checks' own requests may be slow."""
    t = darkroom.Server(data="strict", authority=authority,
                        config={"http": {"header_deadline_ms": DEADLINE_MS}}).start()
    try:
        yield t
    finally:
        equal(t.stop(), 0, "exit code")
        shutil.rmtree(t.data)


def test_a_stalled_handshake_is_cut(s):
    with strict(s) as t:
        stalled_handshake(t)


def stalled_handshake(s):
    context = ssl.create_default_context(cafile=s.ca)
    out = ssl.MemoryBIO()
    hello = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=s.host)
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = out.read()
    began = time.monotonic()
    silent = [socket.create_connection((s.host, s.port), timeout=darkroom.ANSWER_SECONDS) for _ in range(2)]
    silent[1].sendall(hello[:len(hello) // 2])
    for c in silent:
        try:
            got = c.recv(1000)
        except ConnectionResetError:
            got = b""
        equal(got, b"", "what came back")
        c.close()
    took = time.monotonic() - began
    true(took >= DEADLINE_MS / 1000 - 0.2, "cut after %.1f s" % took)
    true(took < LATE_S, "cut after %.1f s" % took)
    until(lambda: s.metric("http_timeouts_total") == 2, "http_timeouts_total")


def test_a_header_that_trickles_is_cut(s):
    """Each byte a record of its own: the deadline counts from the accept all the same."""
    with strict(s) as t:
        trickle(t)


def trickle(s):
    with s.socket() as c:
        began = time.monotonic()
        c.sendall(b"GET /_/health HTTP/1.1\r\nHost: x\r\nX: ")
        try:
            while time.monotonic() - began < 2 * LATE_S:
                c.sendall(b"y")
                c.settimeout(0.2)
                try:
                    if c.recv(1) == b"":
                        break
                except socket.timeout:
                    pass
        except (ConnectionError, ssl.SSLError):
            pass
        took = time.monotonic() - began
    true(took < LATE_S, "cut after %.1f s" % took)


def test_a_hundred_handshakes_at_once(s):
    def one(i):
        c = s.connection()
        for _ in range(2):
            c.request("GET", "/_/health")
            equal(c.getresponse().read()[:1], b"{", "answer")
        c.close()
    darkroom.at_once(100, one)


def half_closed(s, name, **how):
    """The end of the client's side arrives while the object is on its way to the disk."""
    def one(i):
        key, body = "%s%d" % (name, i), os.urandom(70000)
        request = raw_put(s, key, body)
        with s.socket() as c:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            c.sendall(request[:-1])
            c.sendall(request[-1:])
            c.shutdown(socket.SHUT_WR, **how)
            equal(answer(c).status, 200, "status")
        equal(s.signed("GET", "/photos/" + key).body, body, "what is stored")
    for _ in range(5):
        darkroom.at_once(16, one)


def test_half_close_by_alert_and_fin(s):
    half_closed(s, "both")


def test_half_close_by_alert(s):
    half_closed(s, "alert", fin=False)


def test_half_close_by_fin(s):
    half_closed(s, "fin", notify=False)


def test_the_end_says_so(s):
    """close_notify before the FIN, so that a client can tell an end from a cut."""
    with s.socket() as c:
        c.sendall(b"GET /_/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer(c)
        equal(c.drive(c.tls.read, 1), b"", "what came behind the answer")  # a cut raises SSLEOFError


def test_pipelined_requests(s):
    one = b"GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n"
    with s.socket() as c:
        c.sendall(one * 50)
        c.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            more = c.recv(65536)
            if not more:
                break
            got += more
    equal(got.count(b"HTTP/1.1 200"), 50, "answers")


def test_the_librarys_own_refusals_come_once(s):
    with s.socket() as c:
        c.sendall(b"PUT /photos/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n")
        got = b""
        while True:
            more = c.recv(65536)
            if not more:
                break
            got += more
    equal((got.count(b"HTTP/1.1"), got[:12]), (1, b"HTTP/1.1 400"), "the answer %r" % got)


# ---- who may do what ----

POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*",
     "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}


def secure_only(s):
    s.s3().put_object(Bucket="photos", Key="secure", Body=b"x")
    s.s3().put_bucket_policy(Bucket="photos", Policy=json.dumps(POLICY))
    statuses = [s.get("/photos/secure").status, s.get("/photos/secure", X_Forwarded_Proto="https").status,
                s.get("/photos/secure", X_Forwarded_Proto="http").status]
    s.s3().delete_bucket_policy(Bucket="photos")
    return statuses


def test_secure_transport(s):
    equal(secure_only(s), [200, 200, 200], "over TLS")
    plain = darkroom.Server(data="plain").start()
    try:
        equal(secure_only(plain), [403, 403, 403], "without TLS")
        hangup(plain, "reload what=log")
        equal(plain.get("/_/health").status, 200, "a plain server after SIGHUP")
    finally:
        equal(plain.stop(), 0, "exit code")


if os.environ.get("DARKROOM_TLS"):
    del os.environ["DARKROOM_TLS"]  # one server here is plain
darkroom.run(globals(), authority=authority, config={"http": {"header_deadline_ms": 120000}})
