#!/usr/bin/env python3
"""Every command and verb of the CLI, as the program itself lists them, held to the same rules:

    --help works, an unknown option and a missing argument are 2
    a server that is away is 3, and so is a data directory that no server runs on
    an unknown bucket, key or name is 1 with a sentence that names it
    --json puts nothing but JSON lines on standard output

A new command needs a row in TABLE: what it takes, and what it says of things that are not there."""
import concurrent.futures
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom  # noqa: E402
from darkroom import Failed, equal, true  # noqa: E402

CLI = os.path.join(darkroom.PROGRAMS, "darkroom")
PICTURE = os.path.join(os.environ["DARKROOM_TOP"], "samples", "grey.jpg")
PRESETS = os.path.join(os.environ["DARKROOM_TOP"], "samples", "presets.json")


class Row:
    """good: arguments that work, in this order down the table; found(server) says better ones when
    they have to be asked for; code: what they then end with.
    unknown: [(arguments, what standard error says)], each with exit code 1."""

    def __init__(self, good=(), unknown=(), code=0, found=None, text=False, local=False):
        self.good, self.unknown, self.code, self.found = list(good), list(unknown), code, found
        self.text = text    # standard output is no JSON by nature (get)
        self.local = local  # asks no server


def newest(s, command):
    """The ID that comes first in a list."""
    return [str(json.loads(s.cli(command, "list", "--json").stdout.splitlines()[0])["id"])]


NO_KEY, NO_BUCKET = "s3://photos/none.jpg", "s3://no-such-bucket/k.jpg"
TABLE = {
    "put": Row([PICTURE, "s3://photos/cat.jpg"], [([PICTURE, NO_BUCKET], "no-such-bucket")]),
    "wait": Row(["s3://photos/cat.jpg"],
                [([NO_KEY], "none.jpg: no such object"), ([NO_BUCKET], "no such bucket")]),
    "status": Row(),
    "formats": Row(),
    "top": Row(["--once"]),
    "cost": Row(["--by", "prefix"]),
    "explain": Row(["s3://photos/cat.jpg"],
                   [([NO_KEY], "none.jpg"), ([NO_BUCKET], "no such bucket")]),
    "ls": Row(["s3://photos"], [(["s3://no-such-bucket"], "no-such-bucket")]),
    "get": Row(["s3://photos/cat.jpg"], [([NO_KEY], "none.jpg"), ([NO_BUCKET], "no-such-bucket")],
               text=True),
    "import": Row([os.path.dirname(PICTURE), "--to", "s3://photos/imported"],
                  [([os.path.dirname(PICTURE), "--to", "s3://no-such-bucket"], "no-such-bucket")]),
    "export": Row(["s3://photos", "--to", "exported"],
                  [(["s3://no-such-bucket", "--to", "exported"], "no-such-bucket")]),
    "sign-url": Row(["s3://photos/cat.jpg", "--preset", "small"],
                    [([NO_BUCKET, "--preset", "small"], "no-such-bucket"),
                     (["s3://photos/cat.jpg", "--preset", "nope"], "there are: small")]),
    "reprocess": Row(["s3://photos/", "--all"], [(["s3://no-such-bucket"], "no-such-bucket"),
                                        (["--attach", "999999"], "no such batch")]),
    "verify": Row(["s3://photos/none-begins-so"], [(["s3://no-such-bucket"], "no such bucket")]),
    "batch list": Row(),
    "batch show": Row(["1"], [(["999999"], "no such batch")], found=lambda s: newest(s, "batch")),
    # one that has ended cannot be stopped any more
    "batch pause": Row(["1"], [(["999999"], "no such batch")], found=lambda s: newest(s, "batch"), code=1),
    "batch resume": Row(["1"], [(["999999"], "no such batch")], found=lambda s: newest(s, "batch"), code=1),
    "batch cancel": Row(["1"], [(["999999"], "no such batch")], found=lambda s: newest(s, "batch"), code=1),
    "events list": Row(["--since", "1h"]),
    "events replay": Row(["--since", "1h", "--dry-run"]),
    "dlq list": Row(),
    "dlq show": Row(["1"], [(["999999"], "no such dead letter")], code=1),
    "dlq redrive": Row(["--all"], [(["999999"], "no such dead letter")]),
    "dlq purge": Row(["--all"], [(["999999"], "no such dead letter")]),
    "buckets add": Row(["holiday", "--public"]),
    "buckets list": Row(),
    "buckets show": Row(["photos", "--count"], [(["no-such-bucket"], "no such bucket")]),
    "rules list": Row(["s3://holiday"], [(["s3://no-such-bucket"], "no such bucket")]),
    "rules remove": Row(["s3://holiday", "thumbnail"],
                        [(["s3://photos", "nope"], "no rule \"nope\""),
                         (["s3://no-such-bucket", "x"], "no such bucket")]),
    "rules add": Row(["s3://holiday", "--function", "thumbnail", "--suffix", ".jpg"],
                     [(["s3://photos", "--function", "nope"], "no function nope"),
                      (["s3://photos", "--function", "thumbnail"], "overlap"),
                      (["s3://no-such-bucket", "--function", "thumbnail"], "no such bucket")]),
    "buckets remove": Row(["holiday"], [(["no-such-bucket"], "no such bucket"),
                                        (["photos"], "not empty")]),
    "functions get": Row(["thumbnail"], [(["nope"], "no such function")]),
    "functions list": Row(),
    "functions invoke": Row(["thumbnail", "s3://photos/cat.jpg"],
                            [(["thumbnail", NO_KEY], "no such object"),
                             (["thumbnail", NO_BUCKET], "no such bucket"),
                             (["nope", "s3://photos/cat.jpg"], "no such function")]),
    "functions set": Row(["metadata", "--memory", "1024"],
                         [(["nope", "--memory", "1024"], "no function nope")]),
    "presets list": Row(unknown=[(["--function", "nope"], "no such function"),
                                 (["--function", "metadata"], "has no presets")]),
    "presets diff": Row([PRESETS], [([PRESETS, "--function", "nope"], "no such function")], code=1),
    "presets set": Row([PRESETS], [([PRESETS, "--function", "nope"], "no such function")]),
    "webhooks list": Row(),
    "webhooks add": Row(["s3://photos", "http://127.0.0.1:9/hook"],
                        [(["s3://no-such-bucket", "http://127.0.0.1:9/hook"], "no-such-bucket")]),
    "webhooks remove": Row(["1"], [(["999999"], "no such webhook")],
                           found=lambda s: newest(s, "webhooks")),
    "backup create": Row(),
    "backup list": Row(),
    "backup prune": Row(["--keep", "1"]),
    "restore": Row(["backups", "--data", "restored"],
                   [(["nowhere", "--data", "restored"], "nowhere cannot be opened")], local=True,
                   found=lambda s: [os.path.join(s.data, "backups"), "--data", "restored"]),
    "completion bash": Row(local=True, text=True),
    "completion zsh": Row(local=True, text=True),
    "help": Row(local=True, text=True),
}


def offered(*words):
    """What the program offers behind these words."""
    out = subprocess.run([CLI, "complete", "--", *words, ""], capture_output=True, text=True)
    equal(out.returncode, 0, "code of complete")
    return [w for w in out.stdout.split() if not w.startswith((":", "s3:"))]


def every_verb():
    """["put"], ["dlq", "list"] ...: a command with verbs says so when none is given."""
    for command in offered():
        said = subprocess.run([CLI, command, "--help"], capture_output=True, text=True).stdout
        if said.startswith("usage: darkroom %s ...\n" % command):
            for verb in offered(command):
                yield [command, verb]
        else:
            yield [command]


VERBS = list(every_verb())


def run(verb, *args, **env):
    return subprocess.run([CLI, *verb, *args], capture_output=True, timeout=300,
                          stdin=subprocess.DEVNULL, env=darkroom.clean_env(**env))


def words(out):
    return out.stderr.decode()


def each(check):
    """Runs it for every verb and tells all that went wrong."""
    def one(verb):
        name = " ".join(verb)
        try:
            true(name in TABLE, "no row in TABLE")
            check(verb, TABLE[name])
        except Failed as e:
            return "%s: %s" % (name, e)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        wrong = [w for w in pool.map(one, VERBS) if w]
    true(not wrong, "; ".join(wrong))


def test_every_row_is_a_verb(s):
    equal(sorted(TABLE), sorted(" ".join(v) for v in VERBS), "verbs")


def test_help(s):
    def check(verb, row):
        out = run(verb, "--help")
        equal(out.returncode, 0, "code")
        true(out.stdout.decode().startswith("usage: darkroom " + " ".join(verb)), "usage line")
        equal(out.stderr, b"", "standard error")
        equal(run(["help"], *verb).stdout, out.stdout, "darkroom help")
    each(check)


def test_wrong_arguments(s):
    def check(verb, row):
        for extra in (["--no-such-option"], ["--json=yes"], ["--data"], ["x"] * 9):
            out = run(verb, *row.good, *extra)
            if extra == ["x"] * 9 and "..." in run(verb, "--help").stdout.decode().split("\n")[0]:
                continue
            equal(out.returncode, 2, "code of %s" % extra)
            equal(out.stdout, b"", "standard output")
            true("see darkroom %s --help" % " ".join(verb) in words(out), words(out))
    each(check)


def test_server_away(s):
    away = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}

    def check(verb, row):
        out = run(verb, *row.good, "--endpoint-url", "http://127.0.0.1:1", **away)
        equal(out.returncode == 3, not row.local, "code %d" % out.returncode)
        true(row.local or "cannot reach the server" in words(out), words(out))
        out = run(verb, *row.good, "--data", "nowhere")
        equal(out.returncode == 3, not row.local, "code %d without a server's directory" % out.returncode)
        true(row.local or "no server found" in words(out), words(out))
    each(check)


def check_json(out):
    for line in out.stdout.decode().splitlines():
        try:
            true(isinstance(json.loads(line), dict), "an object on each line, not " + line)
        except ValueError:
            raise Failed("no JSON: " + line)


def test_good_arguments_and_json(s):
    for name, row in TABLE.items():
        out = run(name.split(), "--data", s.data, "--json", *(row.found(s) if row.found else row.good))
        equal(out.returncode, row.code, "%s: code (%s)" % (name, words(out)))
        try:
            if not row.text:
                check_json(out)
        except Failed as e:
            raise Failed("%s: %s" % (name, e))


def test_unknown_things(s):
    wrong = []
    for name, row in TABLE.items():
        for args, text in row.unknown:
            out = s.cli(*name.split(), *args)
            if out.returncode != 1 or text not in out.stderr or not out.stderr.startswith("darkroom"):
                wrong.append("%s %s: %d %s" % (name, " ".join(args), out.returncode, out.stderr.strip()))
            out = run(name.split(), "--data", s.data, "--json", *args)
            try:
                check_json(out)
            except Failed as e:
                wrong.append("%s %s --json: %s" % (name, " ".join(args), e))
    true(not wrong, "; ".join(wrong))


def test_a_cycle_is_named(s):
    """What a rule would close is told in words: bucket, function, bucket."""
    equal(s.cli("functions", "set", "thumbnail", "--env", "DERIVED_BUCKET=one").returncode, 0, "set")
    out = s.cli("rules", "add", "s3://one", "--function", "thumbnail", "--id", "again")
    equal(out.returncode, 1, "code")
    darkroom.contains(out.stderr, "one -> thumbnail -> one", "the cycle")
    equal(s.cli("functions", "set", "thumbnail", "--env", "DERIVED_BUCKET=").returncode, 0, "set back")


def test_keys_nobody_knows(s):
    def check(verb, row):
        if row.local:
            return
        out = run(verb, *row.good, "--endpoint-url", s.url, "--json",
                  **{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"})
        if verb == ["formats"]:  # open to anyone, but not with a wrong signature
            return
        equal(out.returncode, 1, "code")
        true("the keys came from AWS_ACCESS_KEY_ID" in words(out), words(out))
        check_json(out)
    each(check)


if __name__ == "__main__":
    darkroom.run(globals(), config={"webhook": {"hosts": "127.0.0.1:9"}})
