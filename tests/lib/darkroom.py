"""The running product for end-to-end tests in Python: one server per script, small checks.

    import darkroom
    def test_something(s): darkroom.equal(s.get("/_/health").status, 200, "status")
    darkroom.run(globals())

Every function whose name begins with test_ is one check, in the order they stand in the file: it gets
the server and fails by raising. A script prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`.
Nothing waits by the clock alone: a wait is a condition asked again until it holds or a deadline ends.
Deadlines only end what has failed: they are generous, so that a slow machine or a busy one is no failure.
"""
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import select
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
import urllib.parse
import zlib

TOP = os.environ.get("DARKROOM_TOP") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
PROGRAMS = os.path.join(TOP, os.environ.get("DARKROOM_BUILD", ""))  # see tests/run
SANITIZED = "address" in os.environ.get("DARKROOM_BUILD", "")  # see `make check-addresses`
SERVER_SANITIZED = SANITIZED or "thread" in os.environ.get("DARKROOM_BUILD", "")  # and its worker not
FINDING_CODE = 86  # of what a sanitizer ended: tests/run says so
# A sanitizer's shadow and quarantine are resident too: a worker would be replaced after every picture.
WORKERS = {"recycle_rss_bytes": 1 << 40} if SANITIZED else {}
SAMPLES = os.path.join(TOP, "samples")
START_SECONDS = 120
STOP_SECONDS = 120
READY_SECONDS = 240
ANSWER_SECONDS = 120
STEP_SECONDS = 0.03
STATUS_AGE_SECONDS = 0.1


class Failed(Exception):
    """A check did not hold; the text says what was seen and what was wanted."""


class Skipped(Exception):
    """A check cannot be made here; the text says why."""


def skip(name, why):
    """For what is left out in the middle of a check that goes on."""
    print("skip %s: %s" % (name, why), flush=True)


def memory_is_judged(name, sanitized=SANITIZED):
    """Not under a sanitizer, which multiplies it: that the check is left out is said."""
    if sanitized:
        skip(name, "memory is not judged under a sanitizer")
    return not sanitized


# ---- small checks ----

def short(value):
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


def true(condition, why):
    if not condition:
        raise Failed(why)


def equal(got, want, what):
    if got != want:
        raise Failed("%s is %s, not %s" % (what, short(got), short(want)))


def contains(text, part, what):
    if part not in text:
        raise Failed("%s lacks %s: %s" % (what, short(part), short(text)))


def refused(code, status, call, *args, **kwargs):
    """The call must fail with that S3 or DynamoDB error code and HTTP status."""
    import botocore.exceptions
    try:
        call(*args, **kwargs)
    except botocore.exceptions.ClientError as e:
        got = (e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"])
        equal(got, (code, status), "the refusal")
        return e.response
    raise Failed("was not refused with %s" % code)


def until(condition, what, seconds=READY_SECONDS):
    """Asks again and again until the condition gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed("%s: not within %d s" % (what, seconds))
        select.select([], [], [], STEP_SECONDS)


def sample(name):
    with open(os.path.join(SAMPLES, name), "rb") as f:
        return f.read()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def picture(data):
    """A PIL image of the bytes. Debian's python3-pil is wanted for looking at pixels only."""
    import io
    try:
        from PIL import Image
    except ImportError:
        raise Skipped("python3-pil is not installed")
    return Image.open(io.BytesIO(data))


def plain_png(width, height, colour, right=None):
    """A picture of one colour (r, g, b), or of two halves, made without any library for pictures."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    half = width // 2
    rows = (b"\0" + bytes(colour) * half + bytes(right or colour) * (width - half)) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def at_once(count, job):
    """job(0) ... job(count - 1), all in threads that start together; the first failure is raised."""
    failures, gate = [], threading.Barrier(count)

    def one(i):
        try:
            gate.wait()
            job(i)
        except Exception as e:
            failures.append(e)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def clean_env(**more):
    """The environment without what would tell a client of another account or a proxy."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("AWS_", "DARKROOM_")) and not k.lower().endswith("_proxy")}
    env.update(AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
               AWS_EC2_METADATA_DISABLED="true", HOME=os.getcwd(), DARKROOM_TOP=TOP)
    env.update(more)
    return env


# ---- certificates ----

class Authority:
    """A CA of our own and the certificates it gives; files in the working directory."""

    def __init__(self, name="ca"):
        self.key, self.file = os.path.abspath(name + ".key"), os.path.abspath(name + ".pem")
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.file,
                     "-days", "2", "-subj", "/CN=Test CA")

    @staticmethod
    def openssl(*args):
        done = subprocess.run(("openssl",) + args, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        equal(done.returncode, 0, "openssl %s: %s" % (args[0], done.stderr))

    def issue(self, name, serial, *key, days=1):
        """Paths of a certificate for localhost and 127.0.0.1, and of its key."""
        base = os.path.abspath(name)
        kind = key or ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        with open(base + ".ext", "w") as f:
            f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl("req", *kind, "-nodes", "-keyout", base + ".key", "-out", base + ".csr",
                     "-subj", "/CN=localhost")
        self.openssl("x509", "-req", "-in", base + ".csr", "-CA", self.file, "-CAkey", self.key, "-set_serial",
                     str(serial), "-days", str(days), "-extfile", base + ".ext", "-out", base + ".pem")
        return base + ".pem", base + ".key"


class TlsSocket:
    """A client's TLS connection that can end its sending side alone, which Python's SSLSocket cannot:
    shutdown() sends close_notify and then a FIN, as much of the two as is asked for."""

    def __init__(self, sock, ca, name="127.0.0.1"):
        self.sock, self.received, self.to_send = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=ca)
        self.tls = context.wrap_bio(self.received, self.to_send, server_hostname=name)
        self.drive(self.tls.do_handshake)

    def drive(self, step, *args):
        """Repeats a step of the protocol until it needs no more bytes from the peer."""
        while True:
            try:
                result = step(*args)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                more = self.sock.recv(65536)
                self.received.write(more) if more else self.received.write_eof()

    def flush(self):
        if self.to_send.pending > 0:
            self.sock.sendall(self.to_send.read())

    def __getattr__(self, name):
        return getattr(self.sock, name)  # fileno, settimeout, setsockopt...

    def sendall(self, data):
        for at in range(0, len(data), 16384):
            self.drive(self.tls.write, data[at:at + 16384])

    send = sendall

    def recv(self, n):
        try:
            return self.drive(self.tls.read, n)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError, ssl.SSLError):
            return b""

    def makefile(self, mode):
        return io.BufferedReader(TlsReader(self))

    def shutdown(self, how, notify=True, fin=True):
        if notify:
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass  # the peer has not said its own yet
            self.flush()
        if fin:
            self.sock.shutdown(how)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TlsReader(io.RawIOBase):
    def __init__(self, tls):
        self.tls = tls

    def readable(self):
        return True

    def readinto(self, into):
        got = self.tls.recv(len(into))
        into[:len(got)] = got
        return len(got)


# ---- plain HTTP ----

class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def exchange_raw(port, data, seconds=ANSWER_SECONDS):
    """Sends exactly these bytes; everything that comes back until the peer closes or is done."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as c:
        c.sendall(data)
        got = b""
        try:
            response = http.client.HTTPResponse(c)
            response.begin()
            got = response.read()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, got)
        except (http.client.HTTPException, ConnectionError) as e:
            return Reply(0, {}, str(e).encode())


# ---- the server ----

class Server:
    """darkroomd on an own data directory and a port that the kernel chose. With an Authority, or
    with DARKROOM_TLS=1 in the environment of the script, it serves HTTPS."""

    def __init__(self, args=(), config=None, data=None, env=None, listen="127.0.0.1:0", authority=None):
        if authority is None and os.environ.get("DARKROOM_TLS"):
            authority = Authority()
        self.ca = None
        if authority is not None:
            self.ca = authority.file
            self.certificate, self.certificate_key = authority.issue("server", 0x1001)
            config = dict(config or {}, tls={"certificate": self.certificate, "key": self.certificate_key})
        self.data = os.path.abspath(data or "data")
        self.args, self.listen = list(args), listen
        self.env = clean_env(**(env or {}))
        self.log_path = self.data + ".log"
        self.process = self.url = None
        if WORKERS and "--config" not in self.args:
            config = dict(config or {})
            config["workers"] = dict(WORKERS, **config.get("workers", {}))
        if config is not None:
            path = self.data + ".json"
            with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:  # it may hold secrets
                json.dump(config, f)
            self.args += ["--config", path]

    def command(self):
        return [os.path.join(PROGRAMS, "darkroomd"), "--data", self.data, "--listen", self.listen] + self.args

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log,
                                            stdin=subprocess.DEVNULL, env=self.env)
        line = self.first_line()
        if not line.startswith("listening on %s://" % ("https" if self.ca else "http")):
            raise Failed("darkroomd did not start: %s" % (line or self.log_tail(5)))
        self.url = line.split()[-1]
        host = urllib.parse.urlsplit(self.url)
        self.host, self.port = host.hostname, host.port
        self.read_keys()
        return self

    def first_line(self):
        deadline = time.monotonic() + START_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            ready = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            got = os.read(self.process.stdout.fileno(), 4096) if ready[0] else b""
            if not got:
                break
            line += got
        return line.decode().strip()

    def read_keys(self):
        if "DARKROOM_ACCESS_KEY_ID" in self.env:
            self.key = self.env["DARKROOM_ACCESS_KEY_ID"]
            self.secret = self.env["DARKROOM_SECRET_ACCESS_KEY"]
            return
        values = {}
        with open(os.path.join(self.data, "credentials")) as f:
            for line in f:
                name, _, value = line.partition("=")
                values[name.strip()] = value.strip()
        self.key, self.secret = values["aws_access_key_id"], values["aws_secret_access_key"]

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        self.process.kill()
        self.wait()

    def wait(self):
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "none within %d s of SIGTERM" % STOP_SECONDS
        self.process.stdout.close()
        return code

    def restart(self):
        """A clean stop and a start on the same directory and port."""
        equal(self.stop(), 0, "exit code")
        self.listen = "%s:%d" % (self.host, self.port)
        return self.start()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def log_tail(self, lines):
        return "\n".join(self.log().splitlines()[-lines:])

    # -- clients --

    def client(self, service, key=None, secret=None, **config):
        import boto3
        from botocore.config import Config
        return boto3.session.Session().client(
            service, endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id=key or self.key, aws_secret_access_key=secret or self.secret,
            verify=self.ca,
            config=Config(**config) if config else None)

    def s3(self, **kwargs):
        return self.client("s3", **kwargs)

    def dynamodb(self, **kwargs):
        return self.client("dynamodb", **kwargs)

    def connection(self, seconds=ANSWER_SECONDS):
        if self.ca is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        return http.client.HTTPSConnection(self.host, self.port, timeout=seconds,
                                           context=ssl.create_default_context(cafile=self.ca))

    def socket(self, seconds=ANSWER_SECONDS):
        """A connected one, its TLS handshake done where there is TLS."""
        c = socket.create_connection((self.host, self.port), timeout=seconds)
        if self.ca is None:
            return c
        return TlsSocket(c, self.ca, self.host)

    def request(self, method, target, body=None, headers=None):
        """One unsigned request; the target goes out exactly as it is given."""
        c = self.connection()
        try:
            c.putrequest(method, target, skip_host="Host" in (headers or {}),
                         skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                c.putheader(name, value)
            if body is not None and "Content-Length" not in (headers or {}):
                c.putheader("Content-Length", str(len(body)))
            c.endheaders(body)
            r = c.getresponse()
            return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()

    def get(self, target, **headers):
        return self.request("GET", target,
                            headers={k.replace("_", "-"): v for k, v in headers.items()})

    def signed_headers(self, method, target, body=b"", headers=None, service="s3", payload=None):
        """Headers with a Signature Version 4 made by botocore. `payload`: another word for
        x-amz-content-sha256 than the digest of the body."""
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        request = AWSRequest(method=method, url=self.url + target, data=body, headers=headers or {})
        if "Host" not in request.headers:
            request.headers["Host"] = "%s:%d" % (self.host, self.port)
        said = payload or hashlib.sha256(body).hexdigest()

        class Auth(S3SigV4Auth if service == "s3" else SigV4Auth):
            def payload(self, request):
                return said

        Auth(Credentials(self.key, self.secret), service, "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def signed(self, method, target, body=b"", headers=None):
        return self.request(method, target, body or None,
                            self.signed_headers(method, target, body, headers))

    # -- the story of an object --

    def item(self, key, bucket="photos", table="images"):
        """The item as plain Python; None when there is none."""
        from boto3.dynamodb.types import TypeDeserializer
        if not hasattr(self, "ddb") or self.ddb.meta.endpoint_url != self.url:
            self.ddb = self.dynamodb()
        got = self.ddb.get_item(TableName=table, ConsistentRead=True,
                                Key={"bucket": {"S": bucket}, "key": {"S": key}}).get("Item")
        return None if got is None else {k: TypeDeserializer().deserialize(v) for k, v in got.items()}

    def explain(self, key, bucket="photos"):
        query = urllib.parse.urlencode({"bucket": bucket, "key": key}, quote_via=urllib.parse.quote)
        reply = self.signed("GET", "/_/explain?" + query)
        equal(reply.status, 200, "status of /_/explain")
        return reply.json()

    def settled(self, key, etag=None, seconds=READY_SECONDS):
        """The item once nothing is pending; with an ETag, of that upload."""
        def look():
            item = self.item(key)
            done = item and is_settled(item) and (etag is None or item["etag"] == etag.strip('"'))
            return item if done else None
        try:
            return until(look, "verdict on " + key, seconds)
        except Failed as e:
            raise Failed("%s; the item is %s" % (e, short(self.item(key))))

    def put_settled(self, key, body, **more):
        answer = self.s3().put_object(Bucket="photos", Key=key, Body=body, **more)
        return self.settled(key, answer["ETag"])

    def thumbnail(self, key, preset, extension="webp", bucket="photos-derived"):
        return self.get("/%s/%s/%s.%s" % (bucket, urllib.parse.quote(key), preset, extension))

    def waiting(self):
        """Events in the database: the status is a copy, as old as the server was busy."""
        db = sqlite3.connect("file:%s/darkroom.db?mode=ro" % self.data, uri=True)
        try:
            return db.execute("SELECT count(*) FROM event").fetchone()[0]
        except sqlite3.OperationalError:  # busy
            return 1
        finally:
            db.close()

    def idle(self, seconds=READY_SECONDS):
        """Waits until no event is left and no invocation runs. What runs is told by the status, which
        as a rule is no older than STATUS_AGE_SECONDS, so it must say so for longer than that."""
        since = [None]

        def look():
            state = self.signed("GET", "/_/status").json()
            queue = state["queue"]
            if state["running"] or queue["live"] + queue["followup"] + queue["batch"] or self.waiting():
                since[0] = None
            elif since[0] is None:
                since[0] = time.monotonic()
            return since[0] is not None and time.monotonic() - since[0] > 2 * STATUS_AGE_SECONDS
        until(look, "empty queue", seconds)

    def metric(self, name):
        for line in self.get("/_/metrics").body.decode().splitlines():
            if line.startswith("darkroom_%s " % name):
                return int(line.split()[1])
        raise Failed("no metric " + name)

    def workers(self):
        return self.signed("GET", "/_/status").json()["workers"]

    @contextlib.contextmanager
    def held(self):
        """All workers stand still meanwhile: what they are given runs until this ends."""
        def all_ready():
            state = self.signed("GET", "/_/status").json()
            ready = state["pool"]["ready"] == state["pool"]["configured"]
            return [w["pid"] for w in state["workers"]] if ready else None
        pids = until(all_ready, "all workers")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def runs(self):
        """Keys at which a worker is."""
        return [r["key"] for r in self.signed("GET", "/_/status").json()["running"]]

    def cli(self, *args, timeout=300):
        """The operator's CLI on this data directory."""
        trust = ["--ca-file", self.ca] if self.ca else []
        done = subprocess.run([os.path.join(PROGRAMS, "darkroom"), "--data", self.data] + trust + list(args),
                              capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, env=clean_env())
        if done.returncode == FINDING_CODE:
            raise Failed("a sanitizer ended darkroom %s: %s" % (args[0], done.stderr))
        return done


def is_settled(item):
    """Every function has said its word about the current version."""
    states = list(item.get("state", {}).values()) + [item.get("metadata_state", "pending")]
    return len(states) > 1 and "pending" not in states


def source(name):
    with open(os.path.join(os.environ["DARKROOM_TOP"], name)) as f:
        return f.read()


def admin_routes():
    """[(method, path)] of the pages under /_/, from the server's own table."""
    table = re.search(r"admin_route routes\[\] = \{\n(.*?)\n\};", source("pipeline/admin_service.c"), re.S).group(1)
    found = re.findall(r'\{HTTP_([A-Z]+), "(/_/[a-z/-]+)", ADMIN_[A-Z]+, admin_[a-z_]+\}', table)
    true(len(found) == table.count("{") and len(found) >= 30, "read %d of %d rows" % (len(found), table.count("{")))
    return found


def md5_base64(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


# ---- running a script ----

def report(name, check):
    """Runs one check and prints its line; False when it failed."""
    try:
        check()
    except Skipped as e:
        print("skip %s: %s" % (name, e), flush=True)
    except Failed as e:
        print("not ok %s: %s" % (name, e), flush=True)
        return False
    except Exception as e:
        print("not ok %s: %s" % (name, " ".join(str(e).split()) or type(e).__name__), flush=True)
        traceback.print_exc(limit=-3)
        return False
    else:
        print("ok %s" % name, flush=True)
    return True


def end_checks(s):
    equal(s.process.poll(), None, "exit code while it should serve")
    equal(s.metric("lost_events_total"), 0, "lost_events_total")
    equal(s.stop(), 0, "exit code after SIGTERM")
    true(not os.path.exists(os.path.join(s.data, "endpoint")), "DIR/endpoint is still there")


def run(names, **options):
    """Starts a server, runs every test_ function of the script on it, stops it."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        print("skip %s: python3-boto3 is not installed" % os.path.basename(sys.argv[0]))
        return
    s = Server(**options)
    good = False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server goes too
    try:
        s.start()
        wanted = sys.argv[1:]
        good = all([report(name[5:], lambda check=check: check(s)) for name, check in
                    list(names.items())
                    if name.startswith("test_") and (not wanted or name[5:] in wanted)])
        good = report("server lives, loses no event, ends cleanly", lambda: end_checks(s)) and good
    except Failed as e:
        print("not ok %s: %s" % (os.path.basename(sys.argv[0]), e))
    finally:
        if s.running():
            s.kill()
        if not good:
            print("--- the end of the server's log\n%s\n---" % s.log_tail(15))
