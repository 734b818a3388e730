#!/usr/bin/python3
"""Slow clients by the thousand: they are cut in time, and nobody else notices.

Connections from several loopback addresses send one byte every two seconds: of a header, of a body,
or none at all and do not read the answer they asked for. All along a stored thumbnail is asked for
from another address. Each slow connection must be cut when its time is over, measured by itself: a
header at http.header_deadline_ms, a body or an answer after the first http.rate_window_ms in which
it fell behind.

The run is void unless it catches a server without the header's deadline and one without limits on
connections.

    SLOW_CONNECTIONS=N  so many; with it the settings are the defaults and the times of the others
                        are judged as well (`make soak-slow`)
"""
import collections
import contextlib
import os
import resource
import select
import socket
import time

import loadlib
from loadlib import crashlib, darkroom

SOAK = "SLOW_CONNECTIONS" in os.environ
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # for each process; a reader costs the server two
COUNT = int(os.environ.get("SLOW_CONNECTIONS", "1000"))
ADDRESSES = 10
HEADER_SECONDS = 10 if SOAK else 2
WINDOW_SECONDS = 20 if SOAK else 2
SETTINGS = {"http": {"header_deadline_ms": 1000 * HEADER_SECONDS,
                     "rate_window_ms": 1000 * WINDOW_SECONDS}}
PULSE_SECONDS = 2 if SOAK else 0.5
ROUND_SECONDS = 1  # at most, between two looks of the server at its connections
NOISE_SECONDS = 3  # of a machine that has other work
LATE_SECONDS = NOISE_SECONDS if SOAK else 60  # or is slow
OTHERS_MS_MAX = 50
OPENED_PER_SECOND = 2000 if SOAK else 1000  # a flood of new ones is another matter
PER_STEP = 20
LARGE = 8 << 20
LARGE_TARGET = "/%s/large" % crashlib.DERIVED
CONNECTION_BYTES_MAX = 48 << 10  # of RSS: 32 KiB for its requests, its records, its request's arena
STREAM_BYTES = 64 << 10  # for a part of a large answer


class Slow:
    """Connections that send `head` at once and then a byte now and then, or nothing more."""

    def __init__(self, s, count, head, pulse=True, room=None):
        self.begun, self.ended = {}, []
        self.due = collections.deque()
        self.poll = select.epoll()
        self.sockets = {}
        first = time.monotonic()
        for i in range(count):
            c = socket.socket()
            if room:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            c.bind(("127.0.1.%d" % (1 + i % ADDRESSES), 0))
            now = time.monotonic()
            c.connect((s.host, s.port))
            c.setblocking(False)
            c.send(head)
            self.sockets[c.fileno()] = c
            self.begun[c.fileno()] = now
            self.poll.register(c, select.EPOLLRDHUP)
            if pulse:
                self.due.append((now + PULSE_SECONDS, c.fileno()))
            if i % PER_STEP == PER_STEP - 1:
                self.run((i + 1) / OPENED_PER_SECOND - (time.monotonic() - first))

    def end(self, fd):
        self.ended.append(time.monotonic() - self.begun[fd])
        self.poll.unregister(fd)
        self.sockets.pop(fd).close()

    def beat(self):
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            _, fd = self.due.popleft()
            with contextlib.suppress(OSError):
                if fd in self.sockets:
                    self.sockets[fd].send(b"x")
            self.due.append((now + PULSE_SECONDS, fd))

    def run(self, seconds):
        """Until all that were opened are cut, or the time is over."""
        until = time.monotonic() + seconds
        while self.sockets and time.monotonic() < until:
            for fd, _ in self.poll.poll(0.02):
                self.end(fd)
            self.beat()

    def close(self):
        for c in self.sockets.values():
            c.close()
        self.poll.close()


def check_cut(slow, count, least, most):
    if slow.sockets:
        raise darkroom.Failed("%d of %d were not cut after %.1f s" % (len(slow.sockets), count, most))
    darkroom.true(min(slow.ended) >= least, "one was cut after %.2f s" % min(slow.ended))
    darkroom.true(max(slow.ended) <= most, "one was cut after %.2f s" % max(slow.ended))


def at_once(s, slow):
    """How many connections the server has, not less than we hold: all were opened, some may be cut."""
    def look():
        has = s.metric("http_connections")
        slow.run(0.01)
        return has if has >= len(slow.sockets) else None
    return darkroom.until(look, "as many connections as are held")


def phase(s, what, head, least, most, count, late=LATE_SECONDS, each=CONNECTION_BYTES_MAX, **options):
    """One kind of slowness, and what the others saw meanwhile."""
    before, cut = loadlib.memory(s), s.metric("http_timeouts_total")
    seconds = int(count / OPENED_PER_SECOND + most + NOISE_SECONDS)
    others = (loadlib.Load(s, loadlib.PROBE_TARGET, 200, seconds),
              loadlib.Load(s, loadlib.PROBE_TARGET, 50, seconds, flags=["-f"]))
    with loadlib.loads(*others), loadlib.Watch(s) as watch:
        slow = Slow(s, count, head, **options)
        with contextlib.closing(slow):
            connected = at_once(s, slow)
            slow.run(most + late)
            check_cut(slow, count, least, most + late)
        kept, fresh = (one.result() for one in others)
    darkroom.until(lambda: s.metric("http_timeouts_total") - cut == count, "%d connections cut" % count)
    if SOAK:
        darkroom.true(connected >= count, "only %d were connected at once" % connected)
    for result in (kept, fresh):
        darkroom.equal(result["ok"], result["sent"], "reads by others answered 200")
    grown = watch.rss_max() - before
    loadlib.figure("slow %s: %d connections cut after %.1f to %.1f s; others' GET p50/p99 %.2f/%.2f ms, "
                   "on new connections %.2f/%.2f ms; RSS grew by %d MB", what, count,
                   min(slow.ended), max(slow.ended), kept["ok_p50_us"] / 1000, loadlib.p99_ms(kept),
                   fresh["ok_p50_us"] / 1000, loadlib.p99_ms(fresh), grown >> 20)
    if darkroom.memory_is_judged("RSS meanwhile", darkroom.SERVER_SANITIZED):
        darkroom.true(grown <= count * each + (16 << 20), "RSS grew by %d MB" % (grown >> 20))
    if SOAK:
        darkroom.true(max(loadlib.p99_ms(kept), loadlib.p99_ms(fresh)) < OTHERS_MS_MAX,
                      "others waited: p99 %.1f ms, on new connections %.1f ms" %
                      (loadlib.p99_ms(kept), loadlib.p99_ms(fresh)))


def headers(s, count=COUNT, late=LATE_SECONDS):
    phase(s, "headers", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", HEADER_SECONDS - 0.1,
          HEADER_SECONDS + ROUND_SECONDS, count, late)


def bodies(s):
    with contextlib.closing(crashlib.Client(s)) as c:
        path = "/%s/slow" % crashlib.PLAIN
        signed = c.headers("PUT", path, "", "UNSIGNED-PAYLOAD", "s3", {})
        head = "PUT %s HTTP/1.1\r\n%s\r\nContent-Length: 60000\r\n\r\n" % (
            path, "\r\n".join("%s: %s" % field for field in signed.items()))
        phase(s, "bodies", head.encode(), WINDOW_SECONDS - 0.1, WINDOW_SECONDS + 2 * ROUND_SECONDS,
              COUNT)
        darkroom.equal(c.list(crashlib.PLAIN), {}, "objects made of bodies that never ended")
    darkroom.equal(s.metric("http_bodies_bytes"), 0, "bytes of bodies still held")


def readers(s):
    head = "GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE_TARGET
    phase(s, "readers", head.encode(), WINDOW_SECONDS - 0.1, 2 * (WINDOW_SECONDS + ROUND_SECONDS),
          min(COUNT, FILES * 7 // 16 - 500), each=CONNECTION_BYTES_MAX + STREAM_BYTES, pulse=False, room=4096)


def prepare(settings, program=None):
    s = loadlib.server(settings, program)
    s.start()
    with contextlib.closing(crashlib.Client(s)) as c:
        c.must("PUT", "/" + crashlib.PLAIN)
        c.must("PUT", "/photos/" + loadlib.PROBE, body=darkroom.plain_png(300, 200, (9, 99, 200)))
        c.must("PUT", LARGE_TARGET, body=os.urandom(LARGE))
    s.settled(loadlib.PROBE)
    return s


@contextlib.contextmanager
def serving(settings, program=None):
    s = prepare(settings, program)
    try:
        yield s
    finally:
        s.kill()
        crashlib.shutil.rmtree(s.data)


# ---- limits on connections ----

def hold(s, address, count):
    """Tries to get so many; those that were given, each having been answered once."""
    given = []
    for _ in range(count):
        c = socket.socket()
        c.settimeout(darkroom.ANSWER_SECONDS)
        c.bind((address, 0))
        try:
            c.connect((s.host, s.port))
            c.sendall(b"GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n")
            if c.recv(4096).startswith(b"HTTP/1.1 200"):
                given.append(c)
                continue
        except OSError:
            pass  # refused
        c.close()
    return given


def limits(program=None):
    """60 in all, 20 of one address: three greedy ones leave something for a fourth."""
    held = []
    with serving({"http": {"connections_max": 60, "connections_per_address_max": 20}}, program) as s:
        try:
            for i in range(4):
                mine = hold(s, "127.0.2.%d" % (i + 1), 30)
                held += mine
                darkroom.true(len(mine) <= 20, "one address has %d connections" % len(mine))
            darkroom.true(len(held) <= 60, "%d connections in all" % len(held))
            darkroom.equal(len(hold(s, "127.0.2.9", 1)), 1, "connections of one who has none yet")
        finally:
            for c in held:
                c.close()


# ---- running ----

def headers_of(program):
    with serving(SETTINGS, program) as s:
        headers(s, 20, NOISE_SECONDS)


def main():
    crashlib.set_up()
    loadlib.openload()
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    darkroom.report("slow clients catch planted no_header_deadline",
                    lambda: loadlib.catches("no_header_deadline", headers_of, "were not cut"))
    darkroom.report("greedy clients catch planted no_connection_limit",
                    lambda: loadlib.catches("no_connection_limit", limits, "one address has"))
    darkroom.report("greedy addresses get their share and leave room for others", limits)
    if FILES < COUNT + 2000:
        print("skip slow clients: only %d open files are allowed" % FILES)
        return
    with serving(SETTINGS) as s:
        for check in (headers, bodies, readers):
            if not darkroom.report("slow %s are cut in time, others go on" % check.__name__,
                                   lambda: check(s)):
                print(s.log_tail(15))
        darkroom.report("it ends cleanly after slow clients",
                        lambda: darkroom.equal(s.stop(), 0, "exit code"))


main()
