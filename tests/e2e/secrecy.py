#!/usr/bin/python3
"""Secrets stay where they belong: not in a log line at any level, not in an answer, not in what other
processes of the machine can see, not in a file that others can read.

The server runs at log.level=debug through a load in which every secret is used well and badly. Then
each secret, in every form it could leak in, is looked for.
"""
import base64
import glob
import json
import os
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import conformance
import darkroom
from conformance import MAIN, OTHER, exchange, presign, sign
from darkroom import contains, equal, true, until

TOKEN = "metrics-token-3f9a7c2e51"
URL_KEY = "5f" * 31 + "a7"
HOOK = "webhook-secret-77c1b2d0e5f4"
NOWHERE = "127.0.0.1:1"  # nothing listens there: every delivery fails, and is told of
answers = []


def forms(secret):
    """The secret as it is, and as a careless dump would show it."""
    raw = secret.encode()
    out = {secret, raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode().rstrip("="), "AWS4" + secret}
    if len(secret) == 64:
        try:
            key = bytes.fromhex(secret)
            out |= {secret.upper(), base64.b64encode(key).decode().rstrip("=")}
        except ValueError:
            pass
    return out


def secrets_of(s):
    return [s.secret, MAIN["secret_access_key"], OTHER["secret_access_key"], TOKEN, URL_KEY, HOOK]


def look(text, secrets, where):
    for secret in secrets:
        for form in forms(secret):
            true(form not in text, "a secret is in %s: ...%s" % (where, text[max(0, text.find(form) - 80):text.find(form)]))


def ask(s, method, target, body=b"", headers=None):
    """Any answer will do; all of it is kept."""
    send = {"Host": "%s:%d" % (s.host, s.port), "Content-Length": str(len(body))}
    send.update(headers or {})
    try:
        a = exchange(s, method, target, body, send)
    except darkroom.Failed:
        return None
    answers.append("%r %s" % (a.headers, a.body.decode("latin-1")))
    return a


def root(s):
    return {"access_key_id": s.key, "secret_access_key": s.secret}


def signed(s, account, method, target, body=b"", spoil=None, **how):
    headers = {"Host": "%s:%d" % (s.host, s.port)}
    sign(account, method, target, headers, conformance.hashlib.sha256(body).hexdigest(), **how)
    if spoil:
        spoil(headers)
    return ask(s, method, target, body, headers)


def load(s):
    me = root(s)
    body = json.dumps({"bucket": "photos", "prefix": "secrets/", "url": "http://%s/x" % NOWHERE, "secret": HOOK}).encode()
    made = s.signed("POST", "/_/webhooks", body)  # the one answer that may hold it
    true(made.status < 300, "a webhook: %d %r" % (made.status, made.body[:200]))
    s.put_settled("secrets/a.jpg", darkroom.sample("grey.jpg"))
    for account in (me, MAIN, OTHER):
        swapped = dict(account, secret_access_key="not-" + account["secret_access_key"][::-1])
        wrong = lambda h: h.update({"Authorization": h["Authorization"][:-4] + "0000"})
        for method, target in (("GET", "/"), ("PUT", "/photos/secrets/b"), ("GET", "/photos/secrets/a.jpg"), ("GET", "/_/status"),
                               ("GET", "/_/explain?bucket=photos&key=secrets/a.jpg"), ("DELETE", "/photos/secrets/none")):
            signed(s, account, method, target, b"")
            signed(s, swapped, method, target, b"")
            signed(s, account, method, target, b"", wrong)
            signed(s, account, method, target, b"", when=-5000)
            signed(s, account, method, target, b"", lambda h: h.update({"x-amz-meta-sneaked": "in"}))
            ask(s, method, presign(s, account, method, target))
            ask(s, method, presign(s, account, method, target)[:-3] + "000")
        # The secret where it does not belong: a client that mixed its fields up.
        ask(s, "GET", "/photos/secrets/a.jpg", headers={"Authorization": "AWS %s:x" % account["access_key_id"]})
        signed(s, account, "POST", "/", b"{}", service="dynamodb")
    for token in (TOKEN, "wrong", ""):
        ask(s, "GET", "/_/metrics", headers={"Authorization": "Bearer " + token})
    until(lambda: b"attempts" in signed(s, me, "GET", "/_/webhooks").body, "the webhook is listed")
    until(lambda: "webhook_failed" in s.log(), "a delivery was tried and told of")
    signed(s, me, "POST", "/_/webhooks", body.replace(b"photos", b"no such"))
    signed(s, me, "POST", "/_/webhooks", body.replace(NOWHERE.encode(), b"127.0.0.1:2"))
    signed(s, me, "POST", "/_/webhooks", body[:-9])
    reply = signed(s, me, "POST", "/_/sign-url", b'{"bucket": "photos", "key": "secrets/a.jpg", "w": 33}')
    ask(s, "GET", "/_/img/photos/secrets/a.jpg?w=40&exp=4000000000&sig=" + "0" * 64)
    ask(s, "GET", "/_/img/photos/secrets/a.jpg?w=40&exp=1&sig=x")
    form = b"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nx\r\n--B\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\ne30=\r\n" \
        b"--B\r\nContent-Disposition: form-data; name=\"AWSAccessKeyId\"\r\n\r\nMAINKEY\r\n--B\r\nContent-Disposition: form-data; " \
        b"name=\"signature\"\r\n\r\nAAAA\r\n--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--\r\n"
    ask(s, "POST", "/photos", form, {"Content-Type": "multipart/form-data; boundary=B"})
    for words in (["status"], ["explain", "s3://photos/secrets/a.jpg"], ["ls", "s3://photos/"], ["functions", "list"], ["webhooks", "list"], ["nonsense"]):
        done = s.cli(*words)
        answers.append(done.stdout + done.stderr)
    return reply


def processes(s):
    """The server and all below it."""
    found, todo = [], [s.process.pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for path in glob.glob("/proc/%d/task/*/children" % pid):
            with open(path) as f:
                todo += [int(w) for w in f.read().split()]
    return found


def proc(pid, name):
    with open("/proc/%d/%s" % (pid, name), "rb") as f:
        return f.read().decode("latin-1")


# ---- a mixed load at debug level ----

def test_no_secret_is_logged_or_answered(s):
    load(s)
    true(len(answers) > 100, "only %d answers" % len(answers))
    log = s.log()
    contains(log, " debug ", "the log at level debug")
    look(log, secrets_of(s), "the log")
    look("\n".join(answers), secrets_of(s), "an answer")
    true(any("SignatureDoesNotMatch" in a for a in answers), "no signature was refused")


def test_no_signature_is_logged(s):
    """A presigned URL is good for whoever reads it."""
    for target in (presign(s, root(s), "GET", "/photos/secrets/a.jpg", expires=604800),):
        equal(ask(s, "GET", target).status, 200, "GET")
        true(target.rpartition("=")[2] not in s.log(), "the signature of a presigned URL is in the log")


def test_no_secret_on_a_command_line(s):
    pids = processes(s)
    true(len(pids) > 1, "no worker runs")
    for pid in pids:
        look(proc(pid, "cmdline"), secrets_of(s), "/proc/%d/cmdline" % pid)


def test_workers_have_no_secret_in_their_environment(s):
    for pid in processes(s)[1:]:
        text = proc(pid, "environ")
        look(text, secrets_of(s), "the environment of worker %d" % pid)
        true("DARKROOM_SECRET" not in text and "DARKROOM_URL_KEYS" not in text, "names of secrets in %r" % text)


def test_secrets_of_the_environment_reach_no_worker(s):
    keys = {"DARKROOM_ACCESS_KEY_ID": "ENVKEY", "DARKROOM_SECRET_ACCESS_KEY": "environment-secret-90125", "DARKROOM_URL_KEYS": URL_KEY}
    t = darkroom.Server(data=os.path.join(os.getcwd(), "env"), env=keys, config={"log": {"level": "debug"}}).start()
    try:
        t.put_settled("a.jpg", darkroom.sample("grey.jpg"))
        pids = processes(t)
        true(len(pids) > 1, "no worker runs")
        for pid in pids[1:]:
            look(proc(pid, "environ"), [keys["DARKROOM_SECRET_ACCESS_KEY"], URL_KEY], "the environment of worker %d" % pid)
        for pid in pids:
            look(proc(pid, "cmdline"), [keys["DARKROOM_SECRET_ACCESS_KEY"], URL_KEY], "a command line")
        look(t.log(), [keys["DARKROOM_SECRET_ACCESS_KEY"], URL_KEY], "the log")
        true(not os.path.exists(os.path.join(t.data, "credentials")), "keys of the environment were written to a file")
    finally:
        equal(t.stop(), 0, "exit code")


def test_settings_are_printed_without_secrets(s):
    words = s.command() + ["--print-config"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=300, env=s.env)
    equal(text.returncode, 0, "exit code")
    contains(text.stdout, "metrics.token", "the settings")
    look(text.stdout + text.stderr, secrets_of(s), "--print-config")


def test_a_wrong_configuration_is_told_without_its_secrets(s):
    path = os.path.join(os.getcwd(), "wrong.json")
    for text in ('{"accounts": [{"id": "1", "access_key_id": "K", "secret_access_key": "%s"' % MAIN["secret_access_key"],
                 '{"accounts": [{"id": "", "access_key_id": "K", "secret_access_key": "%s"}]}' % MAIN["secret_access_key"],
                 '{"accounts": [{"access_key_id": "K", "secret": "%s"}]}' % MAIN["secret_access_key"],
                 '{"metrics": {"token": ["%s"]}}' % TOKEN, '{"metrics": {"tokens": "%s"}}' % TOKEN):
        with open(path, "w") as f:
            f.write(text)
        done = subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroomd"), "--data", os.path.join(os.getcwd(), "wrong"), "--config", path,
                               "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=300, env=s.env, stdin=subprocess.DEVNULL)
        true(done.returncode != 0 and done.stderr, "it started with %s" % text)
        look(done.stdout + done.stderr, [MAIN["secret_access_key"], TOKEN], "the complaint about %s" % text[:40])


def test_a_configuration_with_secrets_is_private_or_told(s):
    """One's own file that is open to others is told of, with what to do."""
    path = os.path.join(os.getcwd(), "open.json")

    def tried(text, mode):
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroomd"), "--config", path, "--print-config"], capture_output=True, text=True,
                              timeout=300, env=s.env, stdin=subprocess.DEVNULL)
    accounts = json.dumps({"accounts": [MAIN]})
    token = json.dumps({"metrics": {"token": TOKEN}})
    for text in (accounts, token):
        for mode in (0o640, 0o604, 0o644, 0o620, 0o666):
            done = tried(text, mode)
            equal(done.returncode, 0, "mode %04o of %s" % (mode, text[:20]))
            true(done.stderr.endswith(' warn config_open_to_others path=%s mode=%04o hint="it holds secrets: make it 0600"\n' % (path, mode)), done.stderr)
        for mode in (0o600, 0o400):
            done = tried(text, mode)
            equal((done.returncode, done.stderr), (0, ""), "mode %04o" % mode)
            look(done.stdout, secrets_of(s), "--print-config")
    for text in ("{}", '{"accounts": []}', '{"metrics": {"token": ""}}', '{"tls": {"key": "/etc/key.pem"}}'):
        done = tried(text, 0o644)
        equal((done.returncode, done.stderr), (0, ""), "a file without secrets: " + text)
    if os.geteuid() == 0:  # somebody else's file, given to us: a package's, a container's volume
        os.chown(path, 65534, 65534)
        done = tried(accounts, 0o644)
        equal((done.returncode, done.stderr), (0, ""), "another owner's file")


# ---- files ----

def modes(top):
    return {os.path.relpath(p, top): stat.S_IMODE(os.lstat(p).st_mode)
            for d, dirs, files in os.walk(top) for p in [d] + [os.path.join(d, f) for f in files]}


def private(s):
    for path, mode in modes(s.data).items():
        wanted = 0o644 if path == "endpoint" else 0o700 if os.path.isdir(os.path.join(s.data, path)) else 0o600
        true(mode & ~wanted == 0, "%s has mode %04o" % (path, mode))


def test_files_are_private(s):
    private(s)


def started(s, name, prepare, mask, check):
    """A server of its own, born with that umask."""
    data = os.path.join(os.getcwd(), name)
    prepare(data)
    old = os.umask(mask)
    try:
        t = darkroom.Server(data=data)
        t.start()
    finally:
        os.umask(old)
    try:
        t.put_settled("a.png", darkroom.sample("parrots.png"))  # large enough for a file of its own
        private(t)
        check(t)
    finally:
        equal(t.stop(), 0, "exit code")
    private(t)


def test_files_are_private_whatever_the_umask(s):
    def quiet(t):
        true("made_private" not in t.log(), "it narrowed what it made itself")
        true(os.path.isdir(os.path.join(t.data, "blobs")) and len(modes(t.data)) > 5, "files are %s" % modes(t.data))
    started(s, "umask0", lambda data: None, 0o000, quiet)


def test_an_open_directory_is_narrowed_and_told(s):
    def told(t):
        contains(t.log(), "made_private", "the log")
        contains(t.log(), "was=0755", "the log")
    started(s, "open", lambda data: (os.mkdir(data), os.chmod(data, 0o755)), 0o022, told)


def test_open_secrets_are_narrowed_and_told(s):
    data = os.path.join(os.getcwd(), "secrets")

    def prepare(path):
        t = darkroom.Server(data=path).start()
        equal(t.stop(), 0, "exit code")
        os.chmod(os.path.join(path, "credentials"), 0o644)
        os.chmod(os.path.join(path, "url-keys"), 0o640)

    def told(t):
        equal(modes(data)["credentials"], 0o600, "mode of credentials")
        equal(modes(data)["url-keys"], 0o600, "mode of url-keys")
        contains(t.log(), "was=0644", "the log")
        contains(t.log(), "was=0640", "the log")
    started(s, "secrets", prepare, 0o022, told)


def test_a_directory_that_cannot_be_narrowed_is_refused(s):
    """/proc/self is a directory nobody can change: owned by us, open to all, with no chmod."""
    done = subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroomd"), "--data", "/proc/self/net", "--listen", "127.0.0.1:0"],
                          capture_output=True, text=True, timeout=300, env=s.env, stdin=subprocess.DEVNULL)
    true(done.returncode != 0, "it started")
    contains(done.stderr, "open to others", "the complaint")


darkroom.run(globals(), config={"accounts": [MAIN, OTHER], "log": {"level": "debug"}, "metrics": {"token": TOKEN},
                             "webhook": {"hosts": NOWHERE}},
             env={"DARKROOM_URL_KEYS": URL_KEY})
