#!/usr/bin/python3
"""Bits that change on the disk, and a log whose end is torn.

One bit of an object's bytes is flipped, in the database file or in the blob's own file, in its
first, a middle and its last byte of each block: a GET is an error before the first byte or a cut
connection, never wrong bytes, and what does not touch that block is served. With the bit put back
all is well.

A killed server's log gets rubbish at its end: everything acknowledged is there. It is cut off at
borders of its frames, a byte before and after: what is found is what the first so many writes left,
whole, and the more of the log the more of them. (Cut where it was synced, which no torn write does:
that acknowledged writes go with it is no fault.)
LOG_CUTS (6) cuts, SEED.
"""
import contextlib
import http.client
import os
import random
import shutil

import crashlib
import darkroom

LOG_CUTS = int(os.environ.get("LOG_CUTS", "6"))
BLOCK = 1 << 20
INLINE_SIZES = (900, 20000, 60000)
FILE_BYTES = 3 * BLOCK + 12345
SMALL_FILE_BYTES = 100 << 10
PIECE = 24  # bytes that are found once
LOG_HEADER, FRAME = 32, 24 + 8192
RUBBISH = (1, 24, FRAME, 3 * FRAME + 7)
WRITES, KEYS = 36, 7


def server_on(data, program=None):
    return crashlib.Server(data, program, bare=True)


def flip(path, at, bit):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def get(server, key, first=None, last=None):
    """(status, bytes that came, True when all that were promised did)."""
    with contextlib.closing(crashlib.Client(server)) as c:
        headers = {"range": "bytes=%d-%d" % (first, last)} if first is not None else {}
        path = "/%s/%s" % (crashlib.PLAIN, key)
        c.connection.request("GET", path, None, c.headers(
            "GET", path, "", crashlib.hashlib.sha256(b"").hexdigest(), "s3", headers))
        try:
            r = c.connection.getresponse()
        except (OSError, http.client.HTTPException):
            return 0, b"", False
        try:
            return r.status, r.read(), True
        except http.client.IncompleteRead as e:
            return r.status, e.partial, False
        except OSError:
            return r.status, b"", False


def never_wrong(server, key, body, bad, what):
    """`bad` is the block with the flipped bit."""
    status, came, whole = get(server, key)
    if status == 200:
        darkroom.true(not whole, "%s: served whole" % what)
        darkroom.true(body.startswith(came) and len(came) <= bad * BLOCK,
                      "%s: %d bytes came before the cut, wrong ones" % (what, len(came)))
    else:
        darkroom.true(status in (0, 500), "%s: status %d" % (what, status))
    for block in range(0, len(body), BLOCK):
        first, last = block, min(block + BLOCK, len(body)) - 1
        status, came, whole = get(server, key, first, last)
        if block // BLOCK == bad:
            darkroom.true(status in (0, 500) or (status == 206 and came == b"" and not whole),
                          "%s: a range of the bad block has status %d and %d bytes" % (
                              what, status, len(came)))
        else:
            darkroom.equal((status, whole, came == body[first:last + 1]), (206, True, True),
                           "%s: a range of block %d" % (what, block // BLOCK))


def all_well(server, bodies):
    for key, body in bodies.items():
        status, came, whole = get(server, key)
        darkroom.equal((status, whole, came == body), (200, True, True), "%s afterwards" % key)


def put_all(server, bodies):
    with contextlib.closing(crashlib.Client(server)) as c:
        for key, body in bodies.items():
            c.must("PUT", "/%s/%s" % (crashlib.PLAIN, key), body=body)


@contextlib.contextmanager
def running(server):
    server.start()
    try:
        yield server
    finally:
        server.kill()


# ---- bits ----

def inline_bits(rng, program=None):
    """The bytes of an inline blob are in one piece or go on in overflow pages."""
    bodies = {"inline-%d" % n: rng.randbytes(n) for n in INLINE_SIZES}
    server = server_on("inline", program)
    server.start()
    crashlib.prepare(server, pictures=False)
    put_all(server, bodies)
    darkroom.equal(server.stop(), 0, "exit code")  # the log is copied into the database
    path = os.path.join(server.data, "darkroom.db")
    flips = 0
    for key, body in bodies.items():
        for place in (0, len(body) // 2, len(body) - PIECE):
            with open(path, "rb") as f:
                at = f.read().find(body[place:place + PIECE])
            if at < 0:
                continue  # parted by the border of a page
            bit, at = rng.randrange(8), at + rng.choice((0, PIECE - 1))
            flip(path, at, bit)
            with running(server):
                never_wrong(server, key, body, 0, "%s, bit %d of byte %d" % (key, bit, at))
                all_well(server, {k: v for k, v in bodies.items() if k != key})
            flip(path, at, bit)
            flips += 1
    darkroom.true(flips >= 2 * len(bodies), "only %d places were found" % flips)
    with running(server):
        all_well(server, bodies)
    print("%d bits in the database" % flips)


def file_places(size):
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        yield from (start, (start + end) // 2, end - 1)


def blob_files(data):
    """{size: path}"""
    return {os.path.getsize(os.path.join(folder, name)): os.path.join(folder, name)
            for folder, _, names in os.walk(os.path.join(data, "blobs")) for name in names}


def file_bits(rng, program=None):
    """While the server runs, on blocks that it has not read yet; for each place once. Then the
    process has found no sound block where the bad one is, so the bit can be put back."""
    bodies = {"large": rng.randbytes(FILE_BYTES), "smaller": rng.randbytes(SMALL_FILE_BYTES)}
    server = server_on("files", program)
    server.start()
    crashlib.prepare(server, pictures=False)
    put_all(server, bodies)
    darkroom.equal(server.stop(), 0, "exit code")
    paths, flips = blob_files(server.data), 0
    for key, body in bodies.items():
        for place in file_places(len(body)):
            with running(server):
                bit = rng.randrange(8)
                flip(paths[len(body)], place, bit)
                never_wrong(server, key, body, place // BLOCK, "%s, bit %d of byte %d" % (
                    key, bit, place))
                darkroom.true(server.metric("blocks_corrupt_total") > 0, "no bad block is counted")
                flip(paths[len(body)], place, bit)
                all_well(server, bodies)
            flips += 1
    print("%d bits in files" % flips)


def file_shorter(rng):
    """A file that lost its end, or is gone."""
    body = rng.randbytes(FILE_BYTES)
    server = server_on("shorter")
    server.start()
    crashlib.prepare(server, pictures=False)
    put_all(server, {"large": body})
    darkroom.equal(server.stop(), 0, "exit code")
    path = blob_files(server.data)[FILE_BYTES]
    os.truncate(path, FILE_BYTES - 1)
    with running(server):
        never_wrong(server, "large", body, FILE_BYTES // BLOCK, "the last byte is gone")
    os.unlink(path)
    with running(server):
        status, came, whole = get(server, "large")
        darkroom.equal(status, 500, "status of an object without its file")


def catches(rng):
    program = crashlib.planted_program("no_check")
    for check in (inline_bits, file_bits):
        try:
            check(rng, program)
        except darkroom.Failed as e:
            darkroom.contains(str(e), "served whole", "what was found")
            print("no_check: %s" % e)
        else:
            raise darkroom.Failed("planted bug not caught by %s: the run is void" % check.__name__)
    shutil.rmtree("inline")
    shutil.rmtree("files")


# ---- the log ----

def log_made(rng):
    """A killed server's directory, the history of its writes: [{key: body}] after each."""
    server = server_on("log")
    server.start()
    crashlib.prepare(server, pictures=False)
    states = [{}]
    with contextlib.closing(crashlib.Client(server)) as c:
        for i in range(WRITES):
            key, now = "k%d" % rng.randrange(KEYS), dict(states[-1])
            if now.get(key) and rng.random() < 0.3:
                c.must("DELETE", "/%s/%s" % (crashlib.PLAIN, key), want=204)
                del now[key]
            else:
                now[key] = rng.randbytes(rng.choice((40, 3000, 30000)))
                c.must("PUT", "/%s/%s" % (crashlib.PLAIN, key), body=now[key])
            states.append(now)
    server.kill()
    return server.data, states


def found(data):
    """{key: body} that a server on a copy of it shows; None without the bucket."""
    with running(server_on(data)) as server, contextlib.closing(crashlib.Client(server)) as c:
        if c.call("HEAD", "/" + crashlib.PLAIN).status != 200:
            return None
        return {key: c.must("GET", "/%s/%s" % (crashlib.PLAIN, key)).body
                for key in c.list(crashlib.PLAIN)}


def copy_with_log(data, change):
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree(data, "copy")
    change(os.path.join("copy", "darkroom.db-wal"))
    return found("copy")


def log_rubbish(rng):
    data, states = log_made(rng)

    def append(path, rubbish):
        with open(path, "ab") as f:
            f.write(rubbish)
    for n in RUBBISH:
        for rubbish in (bytes(n), rng.randbytes(n)):
            got = copy_with_log(data, lambda path: append(path, rubbish))
            darkroom.true(got == states[-1], "%d bytes of rubbish behind the log" % n)

    def repeat(path):
        """Frames that were sound once, where they do not belong."""
        with open(path, "rb") as f:
            frames = f.read()[LOG_HEADER:LOG_HEADER + 2 * FRAME]
        append(path, frames)
    darkroom.true(copy_with_log(data, repeat) == states[-1], "old frames behind the log")
    shutil.rmtree(data)


def log_cuts(rng):
    data, states = log_made(rng)
    size = os.path.getsize(os.path.join(data, "darkroom.db-wal"))
    borders = range(LOG_HEADER, size + 1, FRAME)
    places = sorted(p for b in borders[::4] for p in (b - 1, b, b + 1) if p <= size)
    if len(places) > LOG_CUTS:
        places = sorted(rng.sample(places, LOG_CUTS))
    at = -1
    for place in places + [size]:
        got = copy_with_log(data, lambda path: os.truncate(path, place))
        if got is None:
            darkroom.true(at < 0, "the log cut at %d: no bucket" % place)
            continue
        now = next((i for i in range(max(at, 0), len(states)) if states[i] == got), None)
        darkroom.true(now is not None, "the log cut at %d: no state from %d on" % (place, at))
        at = now
    darkroom.true(states[at] == states[-1], "the whole log: not all is there")
    print("%d cuts of a log of %d frames" % (len(places), len(borders) - 1))


def main():
    crashlib.set_up()
    seed = crashlib.seed_of()
    for name, check in (("flipped bits catch planted no_check", catches),
                        ("bits flipped in the database are never served", inline_bits),
                        ("bits flipped in files are never served", file_bits),
                        ("a file that is short or gone is never served", file_shorter),
                        ("rubbish behind the log costs nothing", log_rubbish),
                        ("a log cut off shows a state that was", log_cuts)):
        if not darkroom.report(name, lambda: check(random.Random(seed))):
            crashlib.last_log("server.log")


main()
