#!/usr/bin/python3
"""What reviewers broke once, so that it stays mended: strangers, lost bytes, poisoned items, workers
that die or cannot start, and who may see thumbnails."""
import glob
import os
import shutil
import signal
import stat
import sys

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import equal, refused, true, until

OTHER = {"id": "111111111111", "display_name": "bob", "email": "bob@example.com",
         "access_key_id": "BOBKEY", "secret_access_key": "bob-secret"}


def test_nothing_is_derived_into_a_strangers_bucket(s):
    s.signed("DELETE", "/photos-derived")
    bob = s.s3(key=OTHER["access_key_id"], secret=OTHER["secret_access_key"])
    bob.create_bucket(Bucket="photos-derived")
    item = s.put_settled("secret.jpg", darkroom.sample("grey.jpg"))
    true(all(v.startswith("failed: the derived bucket belongs") for v in item["state"].values()),
         "state is %s" % item["state"])
    equal(bob.list_objects_v2(Bucket="photos-derived").get("KeyCount"), 0, "objects bob got")
    bob.delete_bucket(Bucket="photos-derived")
    s.s3().create_bucket(Bucket="photos-derived")
    equal(s.put_settled("secret.jpg", darkroom.sample("grey.jpg"))["ready"], True, "ready again")


def test_strangers_leave_no_bodies_behind(s):
    for target in ("/photos?delete", "/_/reprocess", "/_/nothing"):
        reply = s.request("POST", target, b"x" * 100000)
        equal(reply.status, 403, "anonymous POST " + target)


def test_administration_wants_the_body_signed(s):
    body = b'{"bucket": "sneaked-in"}'
    headers = s.signed_headers("POST", "/_/buckets", body, payload="UNSIGNED-PAYLOAD")
    equal(s.request("POST", "/_/buckets", body, headers).status, 403, "UNSIGNED-PAYLOAD")
    url = s.s3().generate_presigned_url("list_objects", {"Bucket": "_"})
    equal(s.get("/_/status?" + url.split("?")[1]).status, 403, "a presigned query")
    refused("404", 404, s.s3().head_bucket, Bucket="sneaked-in")


def test_a_long_content_type_is_refused(s):
    before = s.metric("workers_crashed_total")
    reply = s.signed("PUT", "/photos/long-type.jpg", darkroom.sample("grey.jpg"),
                     {"Content-Type": "image/" + "j" * 9000})
    equal(reply.status, 400, "PUT")
    equal(s.metric("workers_crashed_total"), before, "workers_crashed_total")


def test_a_tab_in_metadata_is_given_back(s):
    equal(s.signed("PUT", "/photos/tab", b"x", {"x-amz-meta-t": "a\tb"}).status, 200, "PUT")
    equal(s.signed("HEAD", "/photos/tab").headers.get("x-amz-meta-t"), "a b", "the value")


def test_a_poisoned_item_stops_nobody(s):
    s.put_settled("poison.jpg", darkroom.sample("grey.jpg"))
    s.dynamodb().update_item(
        TableName="images", Key={"bucket": {"S": "photos"}, "key": {"S": "poison.jpg"}},
        UpdateExpression="SET notes = :n",
        ExpressionAttributeValues={":n": {"L": [{"NULL": True}] * 90000}})
    reply = s.signed("PUT", "/photos/poison.jpg", darkroom.sample("grey.jpg"))
    equal(reply.status, 200, "PUT over it")
    equal(s.settled("poison.jpg", reply.headers["etag"])["ready"], True, "ready")
    s.signed("DELETE", "/photos/poison.jpg")


def test_lost_bytes_end_in_a_dead_letter(s):
    s.put_settled("lost/a.png", darkroom.sample("parrots.png"))
    blobs = glob.glob(os.path.join(s.data, "blobs", "*", "*"))
    big = [b for b in blobs if os.path.getsize(b) == len(darkroom.sample("parrots.png"))]
    equal(len(big), 1, "files of that size")
    s.kill()
    os.unlink(big[0])
    s.start()
    commits = s.metric("db_commits_total")
    equal(s.signed("GET", "/photos/lost/a.png").status, 500, "GET")
    equal(s.cli("reprocess", "--all", "s3://photos/lost/").returncode, 1, "reprocess")
    true(s.metric("db_commits_total") - commits < 200, "it spun")
    true("cannot be read" in s.cli("dlq", "list").stdout, "the dead letter")
    s.cli("dlq", "purge", "--all")
    s.signed("DELETE", "/photos/lost/a.png")


def test_health_tells_of_workers_on_a_quiet_server(s):
    """They die while nothing happens, and their program is gone: an upgrade gone wrong."""
    program = os.path.join(os.getcwd(), "worker")
    shutil.copy(os.path.join(darkroom.PROGRAMS, "darkroom-worker"), program)
    t = darkroom.Server(config={"workers": {"program": program}},
                        data=os.path.join(os.getcwd(), "quiet")).start()
    try:
        until(lambda: t.get("/_/health").json()["status"] == "ok", "health is ok")
        t.idle()
        os.rename(program, program + ".away")
        for worker in t.workers():
            os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: t.get("/_/health").json()["status"] == "degraded", "health tells of them")
        os.rename(program + ".away", program)
        until(lambda: t.get("/_/health").json()["status"] == "ok", "health is ok again")
    finally:
        equal(t.stop(), 0, "exit code")


def test_get_leaves_a_device_alone(s):
    null = os.path.join(os.getcwd(), "null")  # not the machine's own: this test may fail
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        open(null, "wb").close()
    except PermissionError:
        raise darkroom.Skipped("a device cannot be made here")
    equal(s.cli("get", "s3://photos/nope", null).returncode, 1, "exit code")
    true(os.path.exists(null) and stat.S_ISCHR(os.stat(null).st_mode), "the device is gone")


def thumbnails_are(listen, status, data, args=()):
    t = darkroom.Server(listen=listen, data=data, args=args).start()
    try:
        if t.item("g.jpg") is None:
            t.put_settled("g.jpg", darkroom.sample("grey.jpg"))
        equal(t.thumbnail("g.jpg", "small").status, status, "%s %s" % (listen, " ".join(args)))
    finally:
        equal(t.stop(), 0, "exit code")


def test_thumbnails_are_public_on_loopback_only(s):
    data = os.path.join(os.getcwd(), "public")
    thumbnails_are("127.0.0.1:0", 200, data)
    thumbnails_are("0.0.0.0:0", 403, data)
    thumbnails_are("127.0.0.1:0", 200, data)
    thumbnails_are("0.0.0.0:0", 200, data, ("--public-thumbnails",))


# One attempt's delay is short, so that a dead letter does not take long.
darkroom.run(globals(), config={"accounts": [OTHER], "queue": {"retry_base_ms": 20}})
