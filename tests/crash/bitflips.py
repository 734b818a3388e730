#!/usr/bin/python3
"""Bits that change on the disk, and a log whose end is torn.

One bit of an object's bytes is flipped, in the database file or in the blob's own file, in its
first, a middle and its last byte of each block: a GET is an error before the first byte or a cut
connection, never wrong bytes, and what does not touch that block is served. With the bit put back
all is well.

The scrubber finds each of a planted set - bits in the database and in files, files cut short, files
that are gone - and nothing else, also while everything is overwritten under it, and quarantines
them until they are overwritten.

A killed server's log gets rubbish at its end: everything acknowledged is there. It is cut off at
borders of its frames, a byte before and after: what is found is what the first so many writes left,
whole, and the more of the log the more of them. (Cut where it was synced, which no torn write does:
that acknowledged writes go with it is no fault.)
LOG_CUTS (6) cuts, CHURN_PASSES (3) passes under overwrites, SEED.
"""
import contextlib
import http.client
import os
import random
import shutil
import threading

import crashlib
import darkroom

LOG_CUTS = int(os.environ.get("LOG_CUTS", "6"))
BLOCK = 1 << 20
INLINE_SIZES = (900, 20000, 60000)
FILE_BYTES = 3 * BLOCK + 12345
SMALL_FILE_BYTES = 100 << 10
CHURN_PASSES = int(os.environ.get("CHURN_PASSES", "3"))
PLANTED_SECONDS = 6  # for a server that cannot find them
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


# ---- the scrubber ----

def scrubbing(data, program=None):
    server = server_on(data, program)
    server.settings["scrub"] = {"interval_s": 1, "rate_mb_s": 100000}
    server.checkpoint_bytes(32 << 20)  # writes the settings
    return server


def status(server):
    return server.signed("GET", "/_/status").json()["scrub"]


def plant_inline(data, bodies, rng):
    """One bit of each body, wherever it can be found in one piece."""
    path = os.path.join(data, "darkroom.db")
    with open(path, "rb") as f:
        image = f.read()
    for key, body in bodies.items():
        place = next(p for p in range(0, len(body) - PIECE, PIECE)
                     if image.count(body[p:p + PIECE]) == 1)
        flip(path, image.index(body[place:place + PIECE]) + rng.randrange(PIECE), rng.randrange(8))


def plant_files(data, bodies, rng):
    """{key: reason}; each file has its own way to be damaged."""
    paths, planted = blob_files(data), {}
    for i, (key, body) in enumerate(bodies.items()):
        path = paths[len(body)]
        if key.startswith("short"):
            os.truncate(path, rng.choice((0, 1, len(body) // 2, len(body) - 1)))
            planted[key] = "the file is cut short"
        elif key.startswith("gone"):
            os.unlink(path)
            planted[key] = "the file is missing"
        else:
            places = list(file_places(len(body)))
            flip(path, places[i % len(places)], rng.randrange(8))
            planted[key] = "a checksum does not match"
    return planted


def found_by(server, count, seconds):
    def look():
        now = status(server)
        return now if now["quarantined"] >= count and len(now["damaged"]) >= count else None
    try:
        now = darkroom.until(look, "%d blobs in quarantine" % count, seconds)
    except darkroom.Failed as e:
        raise darkroom.Failed("%s; found are %s" % (
            e, sorted(o["key"] for o in status(server)["damaged"])))
    # Another whole pass finds no more.
    passes = server.metric("scrub_passes_total")
    darkroom.until(lambda: server.metric("scrub_passes_total") >= passes + 2, "two more passes")
    return {o["key"]: o["reason"] for o in status(server)["damaged"]}


def scrubber_finds(rng, program=None):
    data = "scrub-planted" if program else "scrub"
    small = {"inline-%d" % n: rng.randbytes(n) for n in range(1000, 61000, 3000)}
    sizes = iter(range(100 << 10, 100 << 20, (300 << 10) + 1))
    large = {"%s-%d" % (how, i): rng.randbytes(next(sizes))
             for how in ("flipped", "short", "gone") for i in range(10)}
    sound = {"sound-%d" % i: rng.randbytes(70000 + i) for i in range(5)}
    server = scrubbing(data, program)
    server.start()
    crashlib.prepare(server, pictures=False)
    put_all(server, dict(small, **large, **sound))
    darkroom.equal(server.stop(), 0, "exit code")
    plant_inline(server.data, small, rng)
    planted = dict(plant_files(server.data, large, rng),
                   **{key: "a checksum does not match" for key in small})
    shorter = next(key for key in planted if key.startswith("short"))
    with running(server):
        seconds = PLANTED_SECONDS if program else darkroom.READY_SECONDS
        darkroom.equal(found_by(server, len(planted), seconds), planted, "what the scrubber found")
        health = server.get("/_/health").json()
        darkroom.equal((health["status"], health["quarantined"]), ("degraded", len(planted)),
                       "health")
        all_well(server, sound)
        for key, body in dict(small, **large).items():
            status_code, came, whole = get(server, key)
            darkroom.true(status_code in (0, 500) or not whole and body.startswith(came),
                          "%s in quarantine: status %d" % (key, status_code))
        with contextlib.closing(crashlib.Client(server)) as c:
            story = c.must("GET", "/_/explain", {"bucket": crashlib.PLAIN, "key": shorter}).json()
        darkroom.equal(story["damaged"]["reason"], "the file is cut short", "explain")
    with running(server):  # it is remembered, and ends with the bytes
        darkroom.equal(status(server)["quarantined"], len(planted), "after a restart")
        with contextlib.closing(crashlib.Client(server)) as c:
            for i, key in enumerate(planted):
                if i % 2:
                    c.must("DELETE", "/%s/%s" % (crashlib.PLAIN, key), want=204)
                else:
                    c.must("PUT", "/%s/%s" % (crashlib.PLAIN, key), body=b"again")
        darkroom.equal(status(server)["quarantined"], 0, "after all were overwritten or deleted")
        darkroom.until(lambda: server.get("/_/health").json()["quarantined"] == 0, "sound health")
    print("%d plants" % len(planted))


def scrubber_is_not_fooled(rng):
    """Everything is overwritten, deleted, copied while it reads."""
    server = scrubbing("churn")

    def churn(i, seed):
        mine = random.Random(seed)
        with contextlib.closing(crashlib.Client(server)) as c:
            while not enough.is_set():
                key = "/%s/k%d-%d" % (crashlib.PLAIN, i, mine.randrange(3))
                what = mine.random()
                if what < 0.2:
                    c.call("DELETE", key)
                elif what < 0.3:
                    c.call("PUT", key + "-copy", headers={"x-amz-copy-source": key})
                else:
                    c.must("PUT", key, body=mine.randbytes(mine.choice(
                        (100, 60000, 70000, BLOCK + 1, 3 * BLOCK))))
    enough = threading.Event()
    threads = [threading.Thread(target=churn, args=(i, rng.random())) for i in range(4)]
    with running(server):
        crashlib.prepare(server, pictures=False)
        for t in threads:
            t.start()
        try:
            darkroom.until(lambda: server.metric("scrub_passes_total") >= CHURN_PASSES,
                           "%d passes" % CHURN_PASSES)
        finally:
            enough.set()
            for t in threads:
                t.join()
        darkroom.equal(server.metric("scrub_found_total"), 0, "false findings")
        print("%d puts under %d passes over %d bytes" % (
            server.metric("objects_put_total"), server.metric("scrub_passes_total"),
            server.metric("scrub_bytes_total")))


# ---- planted bugs ----

def catches(rng):
    program = crashlib.planted_program("no_check")
    for check, data, said in ((inline_bits, "inline", "served whole"),
                              (file_bits, "files", "served whole"),
                              (scrubber_finds, "scrub-planted", "blobs in quarantine")):
        try:
            check(rng, program)
        except darkroom.Failed as e:
            darkroom.contains(str(e), said, "what was found")
            print("no_check: %.200s" % e)
        else:
            raise darkroom.Failed("planted bug not caught by %s: the run is void" % check.__name__)
        shutil.rmtree(data)


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
                        ("the scrubber finds every planted damage", scrubber_finds),
                        ("the scrubber finds nothing under overwrites", scrubber_is_not_fooled),
                        ("rubbish behind the log costs nothing", log_rubbish),
                        ("a log cut off shows a state that was", log_cuts)):
        if not darkroom.report(name, lambda: check(random.Random(seed))):
            crashlib.last_log("server.log")


main()
