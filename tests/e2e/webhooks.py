#!/usr/bin/env python3
"""Webhooks: signed notices that arrive, at least once and in order, at hosts that are allowed."""
import hashlib
import hmac
import http.server
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import darkroom
from darkroom import equal, true, until

HEAD = "X-Darkroom-"


class Receiver:
    """Who is told. `answers` maps a path to a status, or to an Event that a request waits for."""

    def __init__(self, up=True):
        self.got, self.answers = [], {}
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, self.headers, body))
                answer = receiver.answers.get(self.path, 204)
                if isinstance(answer, threading.Event):
                    answer.wait(600)
                    answer = 204
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Http(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass  # the server was killed meanwhile

        # Bound and not listening: whoever connects is refused, and the port stays ours.
        self.http = Http(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.http.server_bind()
        self.address = "127.0.0.1:%d" % self.http.server_address[1]
        if up:
            self.listen()

    def listen(self):
        self.http.server_activate()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, path):
        return "http://%s%s" % (self.address, path)

    def notices(self, path):
        return [json.loads(body) for p, _, body in list(self.got) if p == path]

    def keys(self, path):
        return [n["key"] for n in self.notices(path)]


receiver, late = Receiver(), Receiver(up=False)
ALLOWED = ["127.0.0.1:1", receiver.address, late.address]
OPTIONS = {"webhook": {"hosts": ",".join(ALLOWED), "retry_base_ms": 10}}
PNG = darkroom.plain_png(64, 48, (200, 30, 30))


def add(s, prefix, url, **more):
    body = json.dumps(dict({"bucket": "photos", "prefix": prefix, "url": url}, **more)).encode()
    return s.signed("POST", "/_/webhooks", body)


def added(s, prefix, url, **more):
    reply = add(s, prefix, url, **more)
    equal(reply.status, 200, "status of adding: %s" % reply.body)
    return reply.json()


def remove(s, hook):
    equal(s.signed("DELETE", "/_/webhooks?id=%d" % hook["id"]).status, 200, "status of removing")


def listed(s, hook):
    rows = s.signed("GET", "/_/webhooks").json()["webhooks"]
    return [r for r in rows if r["id"] == hook["id"]][0]


def put(s, key, body=PNG):
    return s.s3().put_object(Bucket="photos", Key=key, Body=body)


def came(path, count, by=None):
    by = by or receiver
    until(lambda: len(by.notices(path)) >= count, "%d notices at %s" % (count, path))
    return by.notices(path)


def configure(s, **webhook):
    with open(s.data + ".json", "w") as f:
        json.dump({"webhook": dict(OPTIONS["webhook"], **webhook)}, f)
    s.restart()


def test_one_put_one_signed_notice(s):
    hook = added(s, "one/", receiver.url("/one"))
    equal(len(hook["secret"]), 64, "length of the secret")
    put(s, "elsewhere/a.png")
    version = put(s, "one/a.png")
    notice = came("/one", 1)[0]
    # What it says is there can be had at that moment.
    equal((notice["type"], notice["bucket"], notice["key"]), ("ready", "photos", "one/a.png"), "notice")
    equal(sorted(notice["presets"]), ["large", "medium", "small"], "presets")
    for preset in notice["presets"].values():
        reply = s.get("/%s/%s" % (preset["bucket"], preset["key"]))
        equal((reply.status, reply.headers["etag"].strip('"'), len(reply.body)),
              (200, preset["etag"].strip('"'), preset["size"]), "the thumbnail")
    true(version["ETag"], "a PUT")
    put(s, "one/b.png")
    came("/one", 2)
    equal(receiver.keys("/one"), ["one/a.png", "one/b.png"], "keys told")
    for _, headers, body in [g for g in receiver.got if g[0] == "/one"]:
        stamp = headers[HEAD + "Timestamp"]
        want = hmac.new(hook["secret"].encode(), stamp.encode() + b"." + body, hashlib.sha256)
        equal(headers[HEAD + "Signature"], "v1=" + want.hexdigest(), "signature")
        equal(headers[HEAD + "Id"], json.loads(body)["id"], "id")
        true(abs(time.time() - int(stamp)) < 600, "timestamp")
        equal(headers["Content-Type"], "application/json", "type")
        true(headers["User-Agent"].startswith("darkroom/"), "user agent")
    equal(listed(s, hook)["told"], 2, "notices told")
    remove(s, hook)


def test_every_end_is_told(s):
    hook = added(s, "ends/", receiver.url("/ends"))
    put(s, "ends/text", b"no picture at all")
    came("/ends", 1)
    put(s, "ends/broken.png", PNG[:40])
    came("/ends", 2)
    put(s, "ends/good.png")
    came("/ends", 3)
    s.s3().delete_object(Bucket="photos", Key="ends/good.png")
    told = [(n["type"], n["key"]) for n in came("/ends", 4)]
    equal(told[0], ("skipped", "ends/text"), "what became of a text")
    true(told[1][0] in ("failed", "skipped") and told[1][1] == "ends/broken.png", "of a broken picture")
    equal(told[2:], [("ready", "ends/good.png"), ("deleted", "ends/good.png")], "of a picture")
    ids = [int(n["id"]) for n in receiver.notices("/ends")]
    equal(ids, sorted(set(ids)), "ids")
    remove(s, hook)


def test_retried_until_it_is_back(s):
    hook = added(s, "late/", late.url("/late"))
    for i in range(3):
        put(s, "late/%d.png" % i)
    row = until(lambda: listed(s, hook)["attempts"] >= 2 and listed(s, hook), "two attempts")
    equal(row["state"], "failing", "state")
    true("onnect" in row["last_error"], "last error is " + row["last_error"])
    late.listen()
    came("/late", 3, late)
    until(lambda: listed(s, hook)["told"] == 3, "three told")
    equal(sorted(late.keys("/late")), ["late/%d.png" % i for i in range(3)], "keys told")
    equal(listed(s, hook)["state"], "ok", "state")
    remove(s, hook)


def test_errors_are_retried(s):
    hook = added(s, "errors/", receiver.url("/errors"))
    receiver.answers["/errors"] = 500
    put(s, "errors/a.png")
    came("/errors", 4)
    receiver.answers["/errors"] = 204
    until(lambda: listed(s, hook)["told"] == 1, "told")
    equal(len(set(n["id"] for n in receiver.notices("/errors"))), 1, "notices sent")
    signatures = [h[HEAD + "Signature"] for p, h, _ in receiver.got if p == "/errors"]
    true(len(signatures) >= 5, "attempts")
    remove(s, hook)


def test_a_hanging_receiver_delays_nobody(s):
    gate = receiver.answers["/hangs"] = threading.Event()
    hangs, goes = added(s, "two/", receiver.url("/hangs")), added(s, "two/", receiver.url("/goes"))
    put(s, "two/first.png")
    came("/hangs", 1)
    for i in range(5):
        put(s, "two/%d.png" % i)
    came("/goes", 6)
    # The same one again and again, where all this takes longer than a delivery may.
    equal(set(receiver.keys("/hangs")), {"two/first.png"}, "keys on the way to who hangs")
    s.restart()  # it does not keep the server from ending, either
    came("/hangs", len(receiver.keys("/hangs")) + 1)
    gate.set()
    until(lambda: listed(s, hangs)["told"] == 6, "six told")
    equal(list(dict.fromkeys(receiver.keys("/hangs"))), receiver.keys("/goes"), "keys told")
    remove(s, hangs)
    remove(s, goes)


def test_kill_9_in_between(s):
    hook = added(s, "kill/", receiver.url("/kill"))
    gate = receiver.answers["/kill"] = threading.Event()
    keys = ["kill/%d.png" % i for i in range(4)]
    for key in keys:
        put(s, key)
        s.settled(key)
    came("/kill", 1)
    s.kill()
    before = len(receiver.notices("/kill"))
    gate.set()
    s.listen = "%s:%d" % (s.host, s.port)
    s.start()
    until(lambda: listed(s, hook)["told"] == 4, "all told")
    ids = [int(n["id"]) for n in receiver.notices("/kill")]
    equal(sorted(set(receiver.keys("/kill"))), keys, "keys told")
    equal(ids[before:], sorted(set(ids[before:])), "ids after the start")
    equal(ids[:before] + ids[before:][:1], ids[:1] * (before + 1), "the one that nobody had answered")
    remove(s, hook)


def test_only_to_allowed_hosts(s):
    for url, status in [("http://example.com/", 403), (receiver.url("") + "0/", 400),
                        ("http://127.0.0.1/", 403), ("http://%s@example.com/" % receiver.address, 400),
                        ("http://user:word@%s/" % receiver.address, 400),
                        ("http://%s.example.com/" % receiver.address.split(":")[0], 403),
                        ("http://example.com#@%s/" % receiver.address, 400),
                        ("ftp://%s/" % receiver.address, 400), ("file:///etc/passwd", 400),
                        ("http://localhost:%s/" % receiver.address.split(":")[1], 403), ("", 400)]:
        reply = add(s, "", url)
        equal((url, reply.status), (url, status), "the refusal")
    true("webhook.hosts" in add(s, "", "http://example.com/").json()["message"], "the setting's name")
    equal(s.signed("GET", "/_/webhooks").json()["webhooks"], [], "webhooks")


def test_allowed_no_longer(s):
    hook = added(s, "shrink/", receiver.url("/shrink"))
    configure(s, hosts=late.address)
    put(s, "shrink/a.png")
    row = until(lambda: listed(s, hook)["attempts"] >= 2 and listed(s, hook), "two attempts")
    true("webhook.hosts" in row["last_error"], "last error is " + row["last_error"])
    equal(receiver.notices("/shrink"), [], "notices that came")
    configure(s)
    equal(came("/shrink", 1)[0]["key"], "shrink/a.png", "key told")
    remove(s, hook)


def test_a_removed_hook_is_silent(s):
    gone, stays = added(s, "gone/", receiver.url("/gone")), added(s, "gone/", receiver.url("/stays"))
    put(s, "gone/a.png")
    came("/gone", 1)
    remove(s, gone)
    put(s, "gone/b.png")
    came("/stays", 2)
    put(s, "gone/c.png")
    came("/stays", 3)
    equal(receiver.keys("/gone"), ["gone/a.png"], "keys told")
    equal(s.signed("DELETE", "/_/webhooks?id=%d" % gone["id"]).status, 404, "removing it again")
    remove(s, stays)


def test_tls_is_verified(s):
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                           "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                           "-keyout", "key.pem", "-out", "cert.pem"], capture_output=True)
    if made.returncode != 0:
        raise darkroom.Skipped("openssl makes no certificate")
    secure = Receiver(up=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    secure.http.socket = context.wrap_socket(secure.http.socket, server_side=True)
    secure.listen()
    configure(s, hosts=secure.address)
    hook = added(s, "tls/", "https://%s/tls" % secure.address)
    put(s, "tls/a.png")
    row = until(lambda: listed(s, hook)["attempts"] >= 1 and listed(s, hook), "an attempt")
    true("certificate" in row["last_error"], "last error is " + row["last_error"])
    equal(secure.got, [], "what came")
    remove(s, hook)
    configure(s)


def test_bodies_that_are_refused(s):
    url = receiver.url("/x")
    for body in [{}, {"bucket": "photos"}, {"url": url}, {"bucket": "X", "url": url},
                 {"bucket": "photos", "url": 7}, {"bucket": "photos", "url": url, "prefix": 7},
                 {"bucket": "photos", "url": url, "secret": "short"},
                 {"bucket": "photos", "url": url, "secret": 7},
                 {"bucket": "photos", "url": url, "secret": "with a blank in it"},
                 {"bucket": "photos", "url": url, "secret": "x" * 129},
                 {"bucket": "photos", "url": url, "prefix": "x" * 1025},
                 {"bucket": "photos", "url": receiver.url("/" + "x" * 2048)}]:
        reply = s.signed("POST", "/_/webhooks", json.dumps(body).encode())
        equal((body, reply.status), (body, 400), "the refusal")
    equal(s.signed("POST", "/_/webhooks", json.dumps({"bucket": "none-such", "url": url}).encode()).status,
          404, "no bucket")
    equal(s.request("GET", "/_/webhooks").status, 403, "unsigned")
    equal(s.signed("DELETE", "/_/webhooks").status, 404, "no id")


def test_there_is_a_maximum(s):
    hooks = [added(s, "many/", receiver.url("/many%d" % i)) for i in range(16)]
    equal(add(s, "many/", receiver.url("/many16")).status, 409, "one more")
    equal(add(s, "many/", receiver.url("/many3")).status, 409, "the same again")
    put(s, "many/a.png")
    for i in range(16):
        came("/many%d" % i, 1)
    for hook in hooks:
        remove(s, hook)


def test_the_cli(s):
    def run(code, *args):
        done = s.cli("webhooks", *args)
        equal(done.returncode, code, "exit code of %s: %s" % (args, done.stderr))
        return done.stdout + done.stderr
    equal(run(0, "list"), "no webhooks\n", "an empty list")
    secret = re.search(r"^secret: ([0-9a-f]{64})$", run(0, "add", "s3://photos/cli/", receiver.url("/cli")),
                       re.M).group(1)
    with open("secret.txt", "w") as f:
        f.write("my own secret".replace(" ", "-") + "-of-length\n")
    own = json.loads(run(0, "add", "s3://photos", receiver.url("/own"), "--secret-file", "secret.txt",
                         "--json"))
    equal(own["secret"], "my-own-secret-of-length", "my own secret")
    put(s, "cli/a.png")
    came("/cli", 1)
    came("/own", 1)
    text = run(0, "list") + run(0, "list", "--json")
    true(receiver.url("/cli") in text and "s3://photos/cli/" in text, "list: " + text)
    true(secret not in text and own["secret"] not in text, "a secret is listed")
    true(secret not in s.log() and own["secret"] not in s.log(), "a secret is logged")
    text = run(1, "add", "s3://photos", "http://example.com/")
    true("webhook.hosts" in text and "keys" not in text, "the refusal, no other keys would do: " + text)
    run(2, "add", "s3://photos")
    run(2, "add", "photos", receiver.url("/x"))
    run(2, "remove", "x")
    run(1, "remove", "999999")
    for row in [json.loads(line) for line in run(0, "list", "--json").splitlines()]:
        run(0, "remove", str(row["id"]))
    equal(run(0, "list"), "no webhooks\n", "the list at last")


def test_the_receiver_of_the_readme(s):
    """Its ten lines, as they stand there."""
    with open(os.path.join(darkroom.TOP, "README.md")) as f:
        block = re.search(r"(?:^    import hashlib, hmac.*\n)(?:^(?:    .*)?\n)+", f.read(), re.M)
    with open("receiver.py", "w") as f:
        f.write(re.sub("^    ", "", block.group(0), flags=re.M))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = "0123456789abcdef-readme"
    configure(s, hosts="127.0.0.1:%d" % port)
    hook = added(s, "readme/", "http://127.0.0.1:%d/" % port, secret=secret)
    wrong = added(s, "readme/", "http://127.0.0.1:%d/wrong" % port, secret=secret + "!")
    process = subprocess.Popen([sys.executable, "receiver.py", str(port), secret], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        put(s, "readme/a.png")
        equal(process.stdout.readline(), "ready readme/a.png\n", "what it prints")
        until(lambda: listed(s, hook)["told"] == 1, "told")
        row = until(lambda: "answered" in listed(s, wrong)["last_error"] and listed(s, wrong), "a refusal")
        equal((row["told"], row["last_error"]), (0, "answered 401"), "with another secret")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    remove(s, hook)
    remove(s, wrong)
    configure(s)


def test_a_bad_setting_is_named_at_the_start(s):
    other = darkroom.Server(data="other", config={"webhook": {"hosts": "http://example.com"}})
    try:
        other.start()
    except darkroom.Failed as e:
        true("webhook.hosts" in str(e), "the reason: %s" % e)
    else:
        other.kill()
        raise darkroom.Failed("it started")


if __name__ == "__main__":
    darkroom.run(globals(), config=OPTIONS)
