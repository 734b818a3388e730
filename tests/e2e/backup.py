#!/usr/bin/env python3
"""Backup and restore: a snapshot under load is one moment, whole; a second one takes only what is
new; what breaks off is a half that the next one removes; a full disk there harms nobody here; the
server writes where its settings allow and nowhere else. Restored elsewhere everything is served
again, and events that were waiting are done.

The check of the check: a server that does not hold files while a backup runs (plant-unheld) must
lose some. Needs a second file system (/dev/shm) and the right to mount, else parts are skipped."""
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))
import darkroom  # noqa: E402
from darkroom import contains, equal, true, until  # noqa: E402

LARGE = 70000  # more than STORE_INLINE_MAX: a file of its own
PART = 5 << 20
LOAD_BACKUPS = 3
FILES = 100
ROOM_BYTES = 1 << 30


def body_of(key, number, size):
    """Bytes that tell of themselves which write they are."""
    head = ("%s %d " % (key, number)).encode()
    return head + hashlib.sha256(head).digest() * (size // 32 + 1)


def backup(s, *args):
    done = s.cli("backup", "create", "--json", *args)
    equal((done.returncode, done.stderr), (0, ""), "backup create")
    return json.loads(done.stdout)


def job(s):
    return s.signed("GET", "/_/backup").json()["job"]


def post(s, body):
    return s.signed("POST", "/_/backup", json.dumps(body).encode())


def folder(s):
    return os.path.join(s.data, "backups")


def snapshots(path):
    return sorted(n for n in os.listdir(path) if n.startswith("snapshot-"))


def files_of(snapshot):
    """name -> inode of the large files."""
    return {name: os.stat(os.path.join(where, name)).st_ino
            for where, _, names in os.walk(os.path.join(snapshot, "blobs")) for name in names}


def restore(snapshot, name):
    """A server on a new data directory that was made out of it."""
    target = os.path.abspath(name)
    done = subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroom"), "restore", snapshot, "--data", target],
                          capture_output=True, text=True, env=darkroom.clean_env())
    equal(done.returncode, 0, "darkroom restore: " + done.stderr)
    contains(done.stdout, "0 missing", "report")
    return darkroom.Server(data=target)


@contextlib.contextmanager
def running(server):
    server.start()
    try:
        yield server
    finally:
        if server.running():
            equal(server.stop(), 0, "exit code")


def all_objects(s):
    """bucket/key -> ETag, size, time; and every byte of it is looked at."""
    found, s3 = {}, s.s3()
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            for o in page.get("Contents", []):
                body = s3.get_object(Bucket=name, Key=o["Key"])["Body"].read()
                equal(len(body), o["Size"], "bytes of " + o["Key"])
                if "-" not in o["ETag"]:
                    equal(hashlib.md5(body).hexdigest(), o["ETag"].strip('"'), "MD5 of " + o["Key"])
                found[name + "/" + o["Key"]] = (o["ETag"], o["Size"], str(o["LastModified"]))
    return found


# ---- the load ----

class Load:
    """Threads that overwrite, delete and upload in parts. Per key the number of the last write that
    was answered: what is restored must be that one or a later one, whole."""

    def __init__(self, s):
        self.s, self.stop, self.threads, self.failures = s, threading.Event(), [], []
        self.answered, self.begun = {}, {}

    def __enter__(self):
        for i, work in enumerate((self.small, self.large, self.parts)):
            self.threads.append(threading.Thread(target=self.guard, args=(work, i)))
            self.threads[-1].start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        equal(self.failures, [], "failures of the load")

    def guard(self, work, i):
        try:
            work(self.s.s3(), i)
        except Exception as e:
            self.failures.append(repr(e))

    def write(self, s3, key, number, size):
        self.begun[key] = number
        if number % 5 == 4:  # gone, until the next write
            s3.delete_object(Bucket="load", Key=key)
        else:
            s3.put_object(Bucket="load", Key=key, Body=body_of(key, number, size))
        self.answered[key] = number

    def small(self, s3, _):
        number = 0
        while not self.stop.is_set():
            for k in range(8):
                self.write(s3, "small/%d" % k, number, 100)
            number += 1

    def large(self, s3, _):
        number = 0
        while not self.stop.is_set():
            for k in range(8):
                self.write(s3, "large/%d" % k, number, LARGE)
            number += 1

    def parts(self, s3, _):
        number = 0
        while not self.stop.is_set():
            key = "parts/0"
            self.begun[key] = number
            up = s3.create_multipart_upload(Bucket="load", Key=key)["UploadId"]
            body = body_of(key, number, PART + 100)
            parts = [{"PartNumber": n, "ETag": s3.upload_part(Bucket="load", Key=key, UploadId=up, PartNumber=n,
                                                              Body=piece)["ETag"]}
                     for n, piece in ((1, body[:PART]), (2, body[PART:]))]
            s3.complete_multipart_upload(Bucket="load", Key=key, UploadId=up, MultipartUpload={"Parts": parts})
            self.answered[key] = number
            number += 1

    def judge(self, s3, before, begun):
        """Each key holds a write between the last one answered before and the last one begun."""
        for key, low in before.items():
            high = begun[key]
            try:
                got = s3.get_object(Bucket="load", Key=key)["Body"].read()
            except s3.exceptions.NoSuchKey:
                true(any(n % 5 == 4 for n in range(low, high + 1)) and not key.startswith("parts"),
                     "%s is gone; writes %d to %d" % (key, low, high))
                continue
            name, number, _ = got.split(b" ", 2)
            equal(name.decode(), key, "content of " + key)
            true(low <= int(number) <= high, "%s has write %s, not %d to %d" % (key, number, low, high))
            size = 100 if key.startswith("small") else LARGE if key.startswith("large") else PART + 100
            equal(hashlib.md5(got).digest(), hashlib.md5(body_of(key, int(number), size)).digest(),
                  "bytes of " + key)


def test_moment_under_load(s):
    s3 = s.s3()
    s3.create_bucket(Bucket="load")
    stable = {"stable/%d" % i: body_of("stable", i, (200, LARGE, 3 << 20)[i % 3]) for i in range(30)}
    for key, body in stable.items():
        s3.put_object(Bucket="load", Key=key, Body=body)
    picture = darkroom.sample("parrots.png")
    s3.put_object(Bucket="photos", Key="during.png", Body=picture)
    with Load(s) as load:
        until(lambda: len(load.answered) == 17, "every key of the load")
        for _ in range(LOAD_BACKUPS):
            before = dict(load.answered)
            made = backup(s)
            begun = dict(load.begun)
            equal(made["missing"], 0, "missing files")
    with running(restore(os.path.join(folder(s), made["snapshot"]), "elsewhere")) as r:
        equal((r.key, r.secret), (s.key, s.secret), "root keys")
        again = r.s3()
        for key, body in stable.items():
            equal(again.get_object(Bucket="load", Key=key)["Body"].read(), body, key)
        load.judge(again, before, begun)
        all_objects(r)
        r.settled("during.png")
        equal(r.thumbnail("during.png", "small").status, 200, "thumbnail")
        r.idle()
        equal(r.metric("lost_events_total"), 0, "lost_events_total")
        sound(r)
    shutil.rmtree("elsewhere")


def test_waiting_events_are_done_after_restore(s):
    s.idle()
    equal(s.cli("functions", "set", "thumbnail", "--concurrency", "0").returncode, 0, "pausing")
    s.s3().put_object(Bucket="photos", Key="waits.png", Body=darkroom.sample("parrots.png"))
    made = backup(s)
    newest = s.explain("during.png")["object"]["generation"]
    with running(restore(folder(s), "later")) as r:  # the newest in the folder
        equal(r.signed("GET", "/photos-derived/waits.png/small.webp").status, 404, "thumbnail that nobody has made")
        equal(r.cli("functions", "set", "thumbnail", "--concurrency", "-1").returncode, 0, "going on")
        r.settled("waits.png")
        equal(r.thumbnail("waits.png", "small").status, 200, "thumbnail")
        r.put_settled("new.png", darkroom.sample("parrots.png"))
        ahead = r.explain("new.png")["object"]["generation"]
        true(ahead >= newest + (1 << 32), "generation %s after %s" % (ahead, newest))
        sound(r)
    equal(s.cli("functions", "set", "thumbnail", "--concurrency", "-1").returncode, 0, "going on")
    s.settled("waits.png")
    equal(made["schema"], r_schema(s, made), "schema")
    shutil.rmtree("later")


def r_schema(s, made):
    with open(os.path.join(folder(s), made["snapshot"], "manifest.json")) as f:
        return json.load(f)["schema"]


def test_no_two_restored_servers_share_a_number(s):
    # A disaster, and a week later another: the same backup again.
    made = backup(s)
    generations = []
    for name in ("first-life", "second-life"):
        with running(restore(os.path.join(folder(s), made["snapshot"]), name)) as r:
            numbers = []
            for key in ("one", "two"):
                r.s3().put_object(Bucket="load", Key=key, Body=b"x")
                numbers.append(r.explain(key, "load")["object"]["generation"])
            true(not generations or numbers[0] > generations[-1], "%r after %r" % (numbers, generations))
            generations += numbers
            backup(r)
        shutil.rmtree(name)
    true(generations[-1] < 1 << 53, "%d is no whole number to JavaScript" % generations[-1])


def sound(r):
    """Nothing is missing, stale, orphaned, mismatched, damaged or stuck, every byte read."""
    r.idle()
    done = r.cli("verify", "--deep", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    equal((done.returncode, lines[:-1]), (0, []), "verify --deep: %s" % done.stderr)
    true(lines[-1]["objects"] > 0 and lines[-1]["bytes"] > 0, "nothing was read: %s" % lines[-1])


def test_everything_is_the_same_elsewhere(s):
    s.idle()
    made, here = backup(s), all_objects(s)
    equal(made["objects"], len(here), "objects in the manifest")
    with running(restore(os.path.join(folder(s), made["snapshot"]), "same")) as r:
        equal(all_objects(r), here, "objects")
        equal(r.item("during.png"), s.item("during.png"), "item")
        sound(r)
    shutil.rmtree("same")


def test_second_backup_links_on_one_file_system(s):
    one = os.path.join(folder(s), backup(s)["snapshot"])
    s.s3().put_object(Bucket="load", Key="new", Body=body_of("new", 1, LARGE))
    made = backup(s)
    two = os.path.join(folder(s), made["snapshot"])
    first, second = files_of(one), files_of(two)
    equal({k: v for k, v in second.items() if k in first}, first, "inodes of what was there before")
    equal(len(second), len(first) + 1, "files")
    equal((made["linked"], made["reused"], made["copied"]), (len(second), 0, 0), "linked, reused, copied")
    for name in ("credentials", "darkroom.db", "manifest.json"):
        equal(stat.S_IMODE(os.stat(os.path.join(two, name)).st_mode), 0o600, "mode of " + name)
    equal(stat.S_IMODE(os.stat(two).st_mode), 0o700, "mode of the folder")


def test_list_and_prune(s):
    whole = snapshots(folder(s))
    listed = [json.loads(line)["snapshot"] for line in
              s.cli("backup", "list", "--json").stdout.splitlines()]
    equal(listed, whole[::-1], "listed snapshots, the newest first")
    contains(s.cli("backup", "list").stdout, whole[-1], "table")
    for verb in (["list"], ["prune", "--keep", "3"]):  # looking makes no folders
        equal(s.cli("backup", *verb, os.path.join(folder(s), "typing-error")).returncode, 1, "exit code")
    true(not os.path.exists(os.path.join(folder(s), "typing-error")), "a folder was made")
    equal(s.cli("backup", "prune").returncode, 2, "exit code without --keep")
    done = s.cli("backup", "prune", "--keep", "1", "--json")
    equal((done.returncode, json.loads(done.stdout)["removed"]), (0, len(whole) - 1), "prune")
    equal(snapshots(folder(s)), whole[-1:], "what is left")
    with running(restore(folder(s), "pruned")) as r:
        all_objects(r)
    shutil.rmtree("pruned")


def test_a_shared_folder(s):
    """Two servers, one folder: neither removes nor restores what is the other's."""
    path = os.path.abspath("shared-set")
    with other_server("left", path) as left, other_server("right", path) as right:
        made = {}
        for turn in range(3):
            for server in (left, right):
                made.setdefault(server, []).append(backup(server)["snapshot"])
        os.mkdir(os.path.join(path, "snapshot-20200101T000000.000Z"))  # a half
        shutil.copytree(os.path.join(path, made[left][0]), os.path.join(path, "snapshot-20200102T000000.000Z"))
        with open(os.path.join(path, "snapshot-20200102T000000.000Z", "manifest.json"), "w") as f:
            f.write("{}")  # nobody knows whose
        unknown = ["snapshot-20200102T000000.000Z"]
        listed = [json.loads(line) for line in left.cli("backup", "list", "--json").stdout.splitlines()]
        equal([m["snapshot"] for m in listed if m["own"]], made[left][::-1], "own ones listed")
        equal([m["snapshot"] for m in listed if not m["own"]], made[right][::-1], "others listed")
        equal(right.cli("backup", "list").stdout.count("of another store"), 3, "others in the table")
        done = left.cli("backup", "prune", "--keep", "1", "--json")
        equal(json.loads(done.stdout), {"removed": 2, "others": 4}, "prune")
        equal(snapshots(path), sorted(unknown + made[left][2:] + made[right]), "what is left")
        done = right.cli("backup", "prune", "--keep", "0")
        equal((done.returncode, done.stdout), (0, "3 backups removed\n2 of other stores are left as they are\n"), "prune")
        equal(snapshots(path), sorted(unknown + made[left][2:]), "what is left")
        backup(right)
        done = subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroomd"), "--restore", path, "--data", "whose"],
                              capture_output=True, text=True, env=darkroom.clean_env())
        equal((done.returncode, os.path.exists("whose")), (1, False), "a restore from the folder of both")
        contains(done.stderr, "more than one store: name one snapshot's folder", "reason")
        restore(os.path.join(path, made[left][2]), "whose")
    shutil.rmtree("whose")


# ---- who may, and where ----

def test_writes_only_where_it_may(s):
    here = os.path.abspath(".")
    os.makedirs("outside", exist_ok=True)
    os.symlink(os.path.join(here, "outside"), os.path.join(folder(s), "link"))
    for bad in (here, os.path.join(here, "outside"), "/", "relative", folder(s) + "x", folder(s) + "/../../outside",
                folder(s) + "/link", folder(s) + "/link/in", folder(s) + "/.hidden", folder(s) + "/\0/x",
                folder(s) + "/lock"):
        reply = post(s, {"dir": bad})
        equal(reply.status, 403, "status for %r: %s" % (bad, reply.body))
        contains(reply.json()["message"], folder(s), "message")
    equal(s.cli("backup", "create", here).returncode, 1, "exit code")
    equal(os.listdir("outside"), [], "what was written outside")
    os.remove(os.path.join(folder(s), "link"))
    equal(s.request("POST", "/_/backup", b"{}").status, 403, "status unsigned")
    equal(s.get("/_/backup").status, 403, "status of GET unsigned")
    made = backup(s, os.path.join(folder(s), "weekly", "one"))
    true(os.path.exists(os.path.join(folder(s), "weekly", "one", made["snapshot"], "manifest.json")), "manifest")


def test_restore_refuses(s):
    os.makedirs("home", exist_ok=True)
    with open("home/letter", "w") as f:
        f.write("mine")

    def refused(backup_dir, target, what):
        done = subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroomd"), "--restore", backup_dir, "--data", target],
                              capture_output=True, text=True, env=darkroom.clean_env())
        equal(done.returncode, 1, "exit code; " + what)
        contains(done.stderr, what, "reason")
    whole = os.path.join(folder(s), snapshots(folder(s))[-1])
    mode = os.stat("home").st_mode
    refused(whole, "home", "not empty")
    equal((os.listdir("home"), os.stat("home").st_mode), (["letter"], mode), "the home that was there")
    refused(whole, s.data, "data directory")
    refused("home", "nowhere", "no whole backup")
    refused("/nowhere", "nowhere", "cannot be opened")
    true(not os.path.exists("nowhere"), "a target was made for nothing")
    shutil.copytree(whole, "damaged")
    with open("damaged/darkroom.db", "r+b") as f:
        f.seek(20000)
        f.write(b"\xff")
    refused("damaged", "nowhere", "stored bytes do not match")
    shutil.rmtree("damaged")
    shutil.copytree(whole, "lacks")
    name = next(iter(files_of("lacks")))
    for where, _, names in os.walk("lacks"):
        if name in names:
            os.remove(os.path.join(where, name))
    refused("lacks", "partly", "files of the backup are gone")
    shutil.rmtree("lacks")
    shutil.copytree(whole, "cut")
    for where, _, names in os.walk("cut"):
        if name in names:
            os.truncate(os.path.join(where, name), 1000)
    refused("cut", "partly", "files of the backup are gone or cut")
    shutil.rmtree("cut")
    half = darkroom.Server(data="partly")  # is no data directory for anybody
    with darkroom_refuses(half):
        half.start()
    with running(restore(whole, "partly")) as r:  # but a restore may begin anew
        equal(len(all_objects(r)) > 0, True, "objects")
    shutil.rmtree("partly")


def test_a_foreign_database_is_refused(s):
    """tests/pipeline/test_restore.c has all that does not belong; here it is what an operator sees."""
    def refusal(*args):
        done = subprocess.run([os.path.join(darkroom.PROGRAMS, "darkroomd"), *args], capture_output=True, text=True,
                              env=darkroom.clean_env(), timeout=300)
        equal((done.returncode, done.stdout), (1, ""), "exit code and output: " + done.stderr)
        told = [line for line in done.stderr.splitlines() if line.startswith("darkroomd: ")]
        equal(len(told), 1, "lines of the program: " + done.stderr)
        contains(told[0], 'trigger "evil" does not belong in a database of schema', "reason")
    whole = os.path.join(folder(s), backup(s)["snapshot"])
    shutil.copytree(whole, "evil")
    db = sqlite3.connect("evil/darkroom.db")
    db.executescript("CREATE TRIGGER evil AFTER UPDATE ON store_state BEGIN DELETE FROM bucket; END")
    db.close()
    with open("evil/darkroom.db", "rb") as f:
        data = f.read()
    with open("evil/manifest.json") as f:
        manifest = json.load(f)
    manifest.update(db_sha256=hashlib.sha256(data).hexdigest(), db_bytes=len(data))
    with open("evil/manifest.json", "w") as f:
        json.dump(manifest, f)
    refusal("--restore", "evil", "--data", "evil-data")
    true(not os.path.exists("evil-data"), "a target was made")
    os.mkdir("evil-data", 0o700)
    refusal("--restore", "evil", "--data", "evil-data")
    equal(os.listdir("evil-data"), [], "the empty target that was there")
    shutil.copy("evil/darkroom.db", "evil-data")
    refusal("--data", "evil-data", "--listen", "127.0.0.1:0")
    with open("evil-data/darkroom.db", "rb") as f:
        equal(hashlib.sha256(f.read()).hexdigest(), manifest["db_sha256"], "the database that was refused")
    shutil.rmtree("evil-data")
    shutil.rmtree("evil")


def test_nothing_is_linked_that_others_can_write(s):
    # Who keeps a hand on the file could change an object's bytes later, and its checksum's with them.
    whole = os.path.join(folder(s), snapshots(folder(s))[-1])
    shutil.copytree(whole, "loose")
    paths = {name: os.path.join(where, name) for where, _, names in os.walk("loose/blobs") for name in names}
    true(len(paths) > 1, "large files: %r" % paths)
    loose = sorted(paths)[0]
    os.chmod(paths[loose], 0o666)
    before = files_of("loose")
    with running(restore(os.path.abspath("loose"), "tight")) as r:
        shared = {name for name, inode in files_of("tight").items() if before.get(name) == inode}
        equal(shared, set(paths) - {loose}, "files that are shared with the backup")
        for where, _, names in os.walk("tight/blobs"):
            if loose in names:
                equal(stat.S_IMODE(os.stat(os.path.join(where, loose)).st_mode), 0o600, "mode")
        all_objects(r)
    shutil.rmtree("tight")
    shutil.rmtree("loose")


@contextlib.contextmanager
def darkroom_refuses(server):
    try:
        yield
    except darkroom.Failed as e:
        contains(str(e), "run it again", "reason")
        server.process.stdout.close()
        return
    raise darkroom.Failed("a half restored directory was served")


# ---- elsewhere: other file systems, crashes, full disks ----

@contextlib.contextmanager
def other_server(name, backup_dir, program=None, **settings):
    server = darkroom.Server(data=name, config={"backup": dict(dir=backup_dir, **settings)}, args=["--bare"])
    if program:
        command = server.command
        server.command = lambda: [program, "--config", server.data + ".json"] + command()[1:]
    server.start()
    try:
        server.s3().create_bucket(Bucket="load")
        yield server
    finally:
        if server.running():
            server.kill()
        shutil.rmtree(server.data, ignore_errors=True)


@contextlib.contextmanager
def other_file_system(s):
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(s.data).st_dev:
        raise darkroom.Skipped("no second file system at /dev/shm")
    room = os.statvfs("/dev/shm")
    if room.f_bavail * room.f_frsize < ROOM_BYTES:
        raise darkroom.Skipped("less than %d MB are free at /dev/shm" % (ROOM_BYTES >> 20))
    path = tempfile.mkdtemp(dir="/dev/shm", prefix="backup-test-")
    try:
        yield os.path.join(path, "set")
    finally:
        shutil.rmtree(path)


def fill(server, count, size=LARGE, prefix="f"):
    def one(i):
        s3 = server.s3()
        for k in range(i, count, 4):
            s3.put_object(Bucket="load", Key="%s/%d" % (prefix, k), Body=body_of(prefix, k, size))
    darkroom.at_once(4, one)


def test_second_backup_copies_only_what_is_new(s):
    with other_file_system(s) as path, other_server("far", path) as far:
        fill(far, 12)
        made = backup(far)
        equal((made["copied"], made["linked"], made["reused"]), (12, 0, 0), "copied, linked, reused")
        fill(far, 3, prefix="more")
        made = backup(far)
        equal((made["copied"], made["linked"], made["reused"]), (3, 0, 12), "copied, linked, reused")
        one, two = (files_of(os.path.join(path, n)) for n in snapshots(path))
        equal(len(set(one.values()) & set(two.values())), 12, "inodes in both")
        equal(backup(far)["copied"], 0, "copied when nothing is new")
        with running(restore(path, "back")) as r:
            equal(all_objects(r), all_objects(far), "objects")
            fill(r, 2, prefix="fork")
            r_set = os.path.join(r.data, "backups")
            equal(backup(r)["linked"], 17, "files of the restored one")
            equal(snapshots(r_set)[0] > snapshots(path)[-1], True, "a backup of its own")
        shutil.rmtree("back")


def test_killed_in_the_middle_leaves_a_half(s):
    with other_file_system(s) as path, other_server("killed", path) as k:
        for turn in range(10):
            fill(k, 12, 3000000, "turn-%d" % turn)  # something to copy
            already = len(snapshots(path)) if os.path.isdir(path) else 0
            equal(post(k, {}).status, 200, "status")
            end = time.monotonic() + darkroom.READY_SECONDS
            while not os.path.isdir(path) or len(snapshots(path)) == already:
                true(time.monotonic() < end, "no new folder")
            k.kill()
            half = os.path.join(path, snapshots(path)[-1])
            if not os.path.exists(os.path.join(half, "manifest.json")):
                break
            k.start()
        true(not os.path.exists(os.path.join(half, "manifest.json")), "every backup was too fast to be killed")
        k.start()
        true(os.path.basename(half) not in k.cli("backup", "list").stdout, "a half is listed")
        made = backup(k)
        true(not os.path.exists(half), "the half is still there")
        equal(made["missing"], 0, "missing files")
        with running(restore(path, "after-kill")) as r:
            equal(all_objects(r), all_objects(k), "objects")
        shutil.rmtree("after-kill")


def test_full_disk_there_harms_nobody_here(s):
    os.makedirs("small", exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", os.path.abspath("small")],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise darkroom.Skipped("no tmpfs can be mounted: " + done.stderr.strip())
    try:
        with other_server("near", os.path.abspath("small/set")) as near:
            for size, what in ((600000, "files"), (60000, "database")):
                fill(near, 40, size, what)
                done = near.cli("backup", "create")
                equal(done.returncode, 1, "exit code")
                contains(done.stderr, "no space left", "reason")
                equal(snapshots("small/set"), [], "what is left of it")
                equal(near.get("/_/health").status, 200, "health")
                fill(near, 4, prefix="goes on")
            equal(len(all_objects(near)), 84, "objects")
    finally:
        until(lambda: subprocess.run(["umount", "small"], stderr=subprocess.DEVNULL).returncode == 0, "unmounting")


def test_stop_cancels_a_backup(s):
    with other_file_system(s) as path, other_server("stopped", path) as k:
        fill(k, 8, 3000000)
        equal(post(k, {}).status, 200, "status")
        equal(post(k, {}).status in (200, 503), True, "status of a second one")
        equal(k.stop(), 0, "exit code")
        for name in snapshots(path):
            true(os.path.exists(os.path.join(path, name, "manifest.json")), "a half is left by a clean stop")


def lose_files(server, attempts):
    """Deletes objects while their files are being copied, the last one first and one by one, so that some
    of the deletes are between the database's copy and their file's: how many files the backups missed."""
    missed = 0
    for attempt in range(attempts):
        fill(server, FILES, 600000, "d%d" % attempt)
        equal(post(server, {}).status, 200, "status")
        for k in range(FILES - 1, -1, -1):
            equal(server.signed("DELETE", "/load/d%d/%d" % (attempt, k)).status, 204, "DELETE")
        done = until(lambda: (lambda j: j if j["state"] in ("done", "failed") else None)(job(server)), "the end")
        equal(done["state"], "done", "state")
        missed += done["made"]["missing"]
        if missed:
            break
    return missed


def test_files_are_held(s):
    with other_file_system(s) as path, other_server("held", path) as k:
        equal(lose_files(k, 2), 0, "files that went while a backup ran")
        kept = os.path.join(k.data, "blobs")
        until(lambda: sum(len(names) for _, _, names in os.walk(kept)) == 0, "files that go afterwards")


def test_planted_server_that_holds_none_is_caught(s):
    program = os.path.join(darkroom.TOP, "build/gcc/plant-unheld/darkroomd")
    if not os.path.exists(program):
        raise darkroom.Skipped("make build/gcc/plant-unheld/darkroomd makes it")
    with other_file_system(s) as path, other_server("unheld", path, program) as k:
        true(lose_files(k, 8) > 0, "no file was missed")


if __name__ == "__main__":
    darkroom.run(globals())
