#!/usr/bin/env python3
"""What darkroomd is to a supervisor: it takes a socket that was opened for it, says when it is ready,
reloads and stops, answers a watchdog; its log is rotated by rename and SIGHUP, and no line is lost.

The test is the supervisor; with systemd as process 1 the unit is tried as well."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true, until  # noqa: E402

UNIT = os.path.join(darkroom.TOP, "packaging/darkroomd.service")
WORD_SECONDS = 120


class Supervisor:
    """Hears what a server tells it."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(WORD_SECONDS)

    def hear(self):
        return self.socket.recv(4096).decode()

    def close(self):
        self.socket.close()


def command(data, *args):
    return [os.path.join(darkroom.PROGRAMS, "darkroomd"), "--data", os.path.abspath(data), "--bare"] + list(args)


@contextlib.contextmanager
def started(data, args=(), env=None, passed=(), pid="self"):
    """The process; `passed` become descriptors 3, 4... as LISTEN_FDS has it."""
    def child():
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate(passed)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
        if passed:
            os.environ["LISTEN_PID"] = str(os.getpid())
    told = darkroom.clean_env(**(env or {}))
    words = command(data, *args)
    if passed:  # LISTEN_PID is known to the process alone
        told["LISTEN_FDS"] = str(len(passed))
        own = "$$" if pid == "self" else pid
        words = ["/bin/sh", "-c", "LISTEN_PID=%s exec \"$@\"" % own, "sh"] + words
    p = subprocess.Popen(words, env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=child,
                         close_fds=False, stdin=subprocess.DEVNULL, text=True)
    try:
        yield p
    finally:
        if p.poll() is None:
            p.kill()
        p.communicate()


def url_of(p):
    line = p.stdout.readline()
    contains(line, "listening on ", "first line")
    return line.split()[-1]


def health(port):
    return darkroom.exchange_raw(port, b"GET /_/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status


def environ_of(pid):
    """The parent's, until a new process has become the program."""
    with open("/proc/%s/environ" % pid, "rb") as f:
        return f.read()


def test_says_ready_reloading_stopping(s):
    for name in (os.path.abspath("notify"), "@darkroom-test-%d" % os.getpid()):
        boss = Supervisor(name)
        with started("notified", ["--listen", "127.0.0.1:0"], {"NOTIFY_SOCKET": name}) as p:
            equal(boss.hear(), "READY=1", "word at the start")
            port = int(url_of(p).rsplit(":", 1)[1])
            equal(health(port), 200, "health when it has said so")
            p.send_signal(signal.SIGHUP)
            words = boss.hear()
            contains(words, "RELOADING=1\nMONOTONIC_USEC=", "word at SIGHUP")
            equal(boss.hear(), "READY=1", "word after it")
            workers = until(lambda: subprocess.run(["pgrep", "-P", str(p.pid)], capture_output=True,
                                                   text=True).stdout.split(), "workers")
            for w in workers:
                until(lambda: b"NOTIFY_SOCKET" not in environ_of(w), "a worker without NOTIFY_SOCKET")
            p.terminate()
            equal(boss.hear(), "STOPPING=1", "word at SIGTERM")
            equal(p.wait(darkroom.STOP_SECONDS), 0, "exit code")
        boss.close()


def test_feeds_a_watchdog(s):
    boss = Supervisor("@darkroom-dog-%d" % os.getpid())
    with started("watched", ["--listen", "127.0.0.1:0"],
                 {"NOTIFY_SOCKET": boss.name, "WATCHDOG_USEC": "200000"}) as p:
        equal(boss.hear(), "READY=1", "word at the start")
        equal([boss.hear() for _ in range(3)], ["WATCHDOG=1"] * 3, "words")
        p.terminate()
        until(lambda: boss.hear() == "STOPPING=1", "STOPPING=1")
    boss.close()


def test_nobody_listens(s):
    with started("alone", ["--listen", "127.0.0.1:0"], {"NOTIFY_SOCKET": "/nowhere/at/all"}) as p:
        url_of(p)
        p.terminate()
        equal(p.wait(darkroom.STOP_SECONDS), 0, "exit code")


def listening(family=socket.AF_INET, host="127.0.0.1", kind=socket.SOCK_STREAM):
    made = socket.socket(family, kind)
    made.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        made.listen(16)
    return made


def test_takes_a_passed_socket(s):
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            made = listening(family, host)
        except OSError:
            continue  # no IPv6 here
        port = made.getsockname()[1]
        client = socket.create_connection((host, port))  # waits in the queue until it is served
        with started("passed", ["--listen", "127.0.0.1:1"], passed=[made.fileno()]) as p:
            contains(url_of(p), ":%d" % port, "where it listens")
            client.sendall(b"GET /_/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            contains(client.recv(4096), b"200 OK", "answer to who came before")
            p.terminate()
            equal(p.wait(darkroom.STOP_SECONDS), 0, "exit code")
        client.close()
        with socket.create_connection((host, port)):
            pass  # the socket is its owner's and goes on without the server
        made.close()


def test_refuses_what_is_no_listener(s):
    udp, plain = listening(kind=socket.SOCK_DGRAM), socket.socket()
    both = listening(), listening()
    for passed, what in (([udp.fileno()], "not a listening TCP socket"), ([plain.fileno()], "not a listening"),
                         ([b.fileno() for b in both], "one socket")):
        with started("refuses", passed=passed) as p:
            equal(p.wait(darkroom.STOP_SECONDS), 2, "exit code")
            contains(p.stderr.read(), what, "reason")
    with started("others", ["--listen", "127.0.0.1:0"], passed=[both[0].fileno()], pid="1") as p:
        port = int(url_of(p).rsplit(":", 1)[1])  # meant for another process: not taken
        true(port != both[0].getsockname()[1], "took a socket that was not its own")
    for x in (udp, plain) + both:
        x.close()


# ---- the log ----

def test_log_is_rotated_without_loss(s):
    server = darkroom.Server(data="logged", args=["--bare"], config={"log": {"file": os.path.abspath("darkroomd.log")}})
    server.start()
    stop, done = threading.Event(), [0]

    def load():
        while not stop.is_set():  # one line each
            equal(server.signed("POST", "/_/dlq?action=redrive").status, 200, "status")
            done[0] += 1
    try:
        thread = threading.Thread(target=load)
        thread.start()
        for n in range(10):
            at = done[0]
            until(lambda: done[0] > at + 3, "requests")
            os.rename("darkroomd.log", "darkroomd.log.%d" % n)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: os.path.exists("darkroomd.log"), "a new file")
        stop.set()
        thread.join()
        equal(server.stop(), 0, "exit code")
    finally:
        stop.set()
        if server.running():
            server.kill()
    lines = []
    for n in ["darkroomd.log.%d" % n for n in range(10)] + ["darkroomd.log"]:
        with open(n) as f:
            lines += f.read().splitlines()
    equal(sum(" admin_change " in line for line in lines), done[0], "lines of requests")
    equal(sum(" log_reopened " in line for line in lines), 10, "lines about it")
    true(all(line.startswith("20") and line.count("T") > 0 for line in lines), "a torn line")
    equal(server.log(), "", "what went to standard error")
    equal(os.stat("darkroomd.log").st_mode & 0o777 & ~0o640, 0, "mode of the log")


def test_log_that_cannot_be_opened(s):
    with open("bad.json", "w") as f:
        json.dump({"log": {"file": "/nowhere/at/all"}}, f)
    done = subprocess.run(command("badlog", "--config", os.path.abspath("bad.json")), capture_output=True, text=True,
                          env=darkroom.clean_env())
    equal(done.returncode, 1, "exit code")
    contains(done.stderr, "log.file: /nowhere/at/all: No such file", "reason")


# ---- installed ----

def test_install_is_complete(s):
    root = os.path.abspath("root")
    done = subprocess.run(["make", "-C", darkroom.TOP, "--no-print-directory", "install", "DESTDIR=" + root,
                           "PREFIX=/usr", "SYSCONFDIR=/etc"], capture_output=True, text=True)
    equal(done.returncode, 0, "make install: " + done.stderr)
    for name in ("usr/bin/darkroomd", "usr/bin/darkroom", "usr/libexec/darkroom/darkroom-worker",
                 "usr/share/man/man1/darkroom.1", "usr/share/man/man8/darkroomd.8",
                 "usr/lib/systemd/system/darkroomd.service", "usr/lib/systemd/system/darkroomd.socket",
                 "usr/share/bash-completion/completions/darkroom", "usr/share/zsh/site-functions/_darkroom",
                 "etc/darkroom/darkroom.json", "etc/logrotate.d/darkroom"):
        true(os.path.isfile(os.path.join(root, name)), name + " is not there")
    with open(os.path.join(root, "etc/darkroom/darkroom.json")) as f:
        json.load(f)
    server = darkroom.Server(data="installed", args=["--config", os.path.join(root, "etc/darkroom/darkroom.json")])
    server.command = lambda plain=server.command: [os.path.join(root, "usr/bin/darkroomd")] + plain()[1:]
    server.start()
    try:
        server.put_settled("a.png", darkroom.sample("parrots.png"))
        equal(server.thumbnail("a.png", "small").status, 200, "thumbnail by the installed worker")
    finally:
        equal(server.stop(), 0, "exit code")


def test_unit_is_valid(s):
    if subprocess.run(["which", "systemd-analyze"], capture_output=True).returncode != 0:
        raise darkroom.Skipped("no systemd-analyze here")
    os.makedirs("units", exist_ok=True)
    for name in ("darkroomd.service", "darkroomd.socket"):
        with open(os.path.join(os.path.dirname(UNIT), name)) as f, open("units/" + name, "w") as out:
            out.write(f.read().replace("@bindir@", darkroom.TOP).replace("@sysconfdir@", "/etc"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "units/darkroomd.service", "units/darkroomd.socket"],
                          capture_output=True, text=True)
    equal((done.returncode, done.stderr), (0, ""), "systemd-analyze verify")
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "units/darkroomd.service"],
                          capture_output=True, text=True)
    level = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
    true(level and float(level[0].split(":")[1].split()[0]) < 4.0, "exposure: %s %s" % (level, done.stderr))


def test_unit_runs(s):
    with open("/proc/1/comm") as f:
        if f.read().strip() != "systemd":
            raise darkroom.Skipped("systemd is not process 1 here")
    raise darkroom.Skipped("install the package to try the unit")


if __name__ == "__main__":
    darkroom.run(globals())
