#!/usr/bin/env python3
"""`darkroom top` on a real pseudo-terminal: what it shows, and that the terminal is as it was however
it ends; plain and JSON output where there is none."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests/lib"))
import darkroom as dr

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
SHOWN, HIDDEN = b"\x1b[?25h", b"\x1b[?25l"
HOME = b"\x1b[H"
SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
ODD_KEY = "odd\x1b]0;owned\x07\u009b31m-\u00e9.png"


class Top:
    """One on a terminal of its own, as a shell would start it: the head of a session."""

    def __init__(self, s, rows=40, columns=120):
        self.master, self.slave = pty.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.out = b""
        slave = self.slave

        def own_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self.p = subprocess.Popen([os.path.join(dr.PROGRAMS, "darkroom"), "--data", s.data, "top"], stdin=slave,
                                  stdout=slave, stderr=slave, preexec_fn=own_terminal, env=dr.clean_env())

    def size(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        if select.select([self.master], [], [], 0.05)[0]:
            self.out += os.read(self.master, 65536)
        return self.out

    def until(self, what, name):
        dr.until(lambda: what(self.read()), name)

    def frames(self):
        return [f.decode(errors="replace") for f in self.out.split(HOME)[1:]]

    def lines(self):
        """Of the last whole frame, without control sequences."""
        whole = [f for f in self.out.split(HOME)[1:] if f.rstrip().endswith(b"\x1b[J")]
        return [SEQUENCE.sub(b"", x).decode() for x in whole[-1].split(b"\r\n")] if whole else []

    def shows(self, text, name=None):
        self.until(lambda _: any(text in x for x in self.lines()), name or "a frame with %r" % text)

    def ended(self):
        self.until(lambda _: self.p.poll() is not None, "the end of top")
        while select.select([self.master], [], [], 0)[0]:
            self.read()
        return self.p.returncode

    def restored(self):
        dr.true(self.out.index(ENTER) < self.out.rindex(LEAVE), "the screen was not given back")
        dr.true(self.out.rindex(HIDDEN) < self.out.rindex(SHOWN), "the cursor was not given back")
        dr.true(self.out.rindex(ENTER) < self.out.rindex(LEAVE), "the screen was taken again")
        dr.equal(termios.tcgetattr(self.slave), self.before, "modes of the terminal")

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        os.close(self.master)
        os.close(self.slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def test_frame(s):
    with Top(s) as t:
        t.shows("darkroom top")
        t.until(lambda o: o.count(HOME) >= 4, "frames that follow one another")
        text = "\n".join(t.lines())
        for word in (s.url, "storage: ok", "live", "followup", "batch", "dead", "idle", "requests", "processors"):
            dr.contains(text, word, "the frame")
        pids = re.findall(r"^(\d+) +idle", text, re.M)
        dr.equal(sorted(map(int, pids)), sorted(w["pid"] for w in s.workers()), "workers")
        dr.true(t.out.startswith(ENTER), "the first bytes are %r" % t.out[:20])
        os.write(t.master, b"q")
        dr.equal(t.ended(), 0, "exit code after q")
        t.restored()


def test_what_waits_is_shown(s):
    for name in ("thumbnail", "metadata"):
        dr.equal(s.cli("functions", "set", name, "--concurrency", "0").returncode, 0, "pausing " + name)
    for i in range(7):
        s.s3().put_object(Bucket="photos", Key="waits/%d" % i, Body=b"x")
    with Top(s) as t:
        def waits(_):
            found = [re.match(r"live +14 +(\S+) s", x) for x in t.lines()]
            return any(m and float(m.group(1)) > 0 for m in found)
        t.until(waits, "14 events that grow old")
    for name in ("thumbnail", "metadata"):
        dr.equal(s.cli("functions", "set", name, "--concurrency", "-1").returncode, 0, "resuming " + name)
    s.idle()


def test_ctrl_c(s):
    with Top(s) as t:
        t.shows("darkroom top")
        os.write(t.master, b"\x03")  # the terminal makes the signal
        dr.equal(t.ended(), 0, "exit code after Ctrl-C")
        t.restored()


def test_sigterm_and_sighup(s):
    for signum in (signal.SIGTERM, signal.SIGHUP):
        with Top(s) as t:
            t.shows("darkroom top")
            t.p.send_signal(signum)
            dr.equal(t.ended(), -signum, "exit code after %s" % signum.name)
            t.restored()


def test_ctrl_z(s):
    with Top(s) as t:
        t.shows("darkroom top")
        t.p.send_signal(signal.SIGTSTP)
        t.until(lambda o: o.endswith(LEAVE), "the screen given back")

        def stopped():
            with open("/proc/%d/stat" % t.p.pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "T"
        dr.until(stopped, "a stopped process")
        t.restored()
        seen = len(t.out)
        t.p.send_signal(signal.SIGCONT)
        t.until(lambda o: ENTER in o[seen:] and HOME in o[seen:], "the screen taken again")
        os.write(t.master, b"q")
        dr.equal(t.ended(), 0, "exit code")
        t.restored()


def test_window_size(s):
    with Top(s, rows=12, columns=50) as t:
        t.shows("darkroom top")
        t.until(lambda o: o.count(HOME) >= 3, "a frame of numbers")
        dr.true(len(t.lines()) <= 12 and max(map(len, t.lines())) <= 50, "more than 12 rows of 50 columns")
        dr.true(not any("idle" in x for x in t.lines()), "the workers have room?")
        t.size(40, 120)
        t.p.send_signal(signal.SIGWINCH)
        t.shows("idle", "the workers in the larger window")


def test_server_that_goes_and_comes(s):
    with Top(s) as t:
        t.shows("darkroom top")
        t.until(lambda o: o.count(HOME) >= 3, "frames")
        dr.equal(s.stop(), 0, "exit code of the server")
        t.shows("cannot reach " + s.url)
        s.listen = "%s:%d" % (s.host, s.port)
        s.start()
        t.shows("storage: ok")
        text = "\n".join(t.lines())
        dr.true(not re.search(r"-\d+\.\d/s", text), "a rate below 0 after a restart:\n" + text)
        os.write(t.master, b"q")
        dr.equal(t.ended(), 0, "exit code")


def test_keys_do_not_draw(s):
    """A key with control characters, in bytes and as U+009B, is shown and not obeyed."""
    with Top(s, columns=200) as t:
        t.shows("darkroom top")
        with s.held():  # so it runs until it was seen
            s.s3().put_object(Bucket="photos", Key=ODD_KEY, Body=dr.sample("motocross.heic"))
            t.shows("s3://photos/odd", "the key among what runs")
        dr.true(b"\x1b]" not in t.out and b"\x07" not in t.out and b"\xc2\x9b" not in t.out, "control characters")
        line = next(x for x in t.lines() if "s3://photos/odd" in x)
        dr.contains(line, "odd\\x1b]0;owned\\x07\\u009b31m-\u00e9.png", "the line")
    s.idle()


def test_without_a_terminal(s):
    for args in (["top"], ["top", "--once"]):
        got = s.cli(*args)
        dr.equal((got.returncode, got.stderr), (0, ""), "darkroom " + " ".join(args))
        dr.equal(got.stdout.count("darkroom top"), 1, "frames")
        dr.true("\x1b" not in got.stdout, "control sequences in plain output")
        dr.contains(got.stdout, "idle", "the frame")


def test_json(s):
    once = s.cli("top", "--once", "--json")
    dr.equal(once.returncode, 0, "exit code")
    frame = json.loads(once.stdout)
    dr.true(frame["per_second"]["requests"] > 0, "its own requests")
    dr.equal(set(frame["oldest_age_ms"]), {"live", "followup", "batch"}, "lanes")
    p = subprocess.Popen([os.path.join(dr.PROGRAMS, "darkroom"), "--data", s.data, "top", "--json"],
                         stdout=subprocess.PIPE, env=dr.clean_env())
    for _ in range(2):
        dr.true("per_second" in json.loads(p.stdout.readline()), "no rates in the line")
    p.send_signal(signal.SIGTERM)
    dr.equal(p.wait(dr.STOP_SECONDS), -signal.SIGTERM, "exit code")
    p.stdout.close()


def test_no_server(s):
    got = subprocess.run([os.path.join(dr.PROGRAMS, "darkroom"), "--endpoint-url", "http://127.0.0.1:1", "--data", s.data,
                          "top", "--once"], capture_output=True, text=True, env=dr.clean_env())
    dr.equal(got.returncode, 3, "exit code")
    dr.contains(got.stderr, "127.0.0.1:1", "the complaint")


if __name__ == "__main__":
    dr.run(globals())
