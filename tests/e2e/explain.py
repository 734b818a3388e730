#!/usr/bin/python3
"""The story of an object: who did what to it and when, what the workers made of it, when it was last
sent; also of what is deleted, of thumbnails, and after a crash."""
import json
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.environ["DARKROOM_TOP"], "tests", "lib"))
import darkroom
from darkroom import contains, equal, true

ANN = {"id": "111122223333", "display_name": "ann", "email": "ann@example.com",
       "access_key_id": "ANNKEY", "secret_access_key": "ann-secret-0123456789"}


def sample(name="parrots.png"):
    with open(os.path.join(darkroom.SAMPLES, name), "rb") as f:
        return f.read()


def request_id(reply):
    return reply["ResponseMetadata"]["RequestId"]


def changes(s, key, bucket="photos"):
    """Oldest first."""
    return s.explain(key, bucket)["changes"][::-1]


def events(s, **query):
    """All rows of the log that match, page by page."""
    got, after = [], 0
    while True:
        words = urllib.parse.urlencode(dict(query, after=after), quote_via=urllib.parse.quote)
        page = s.signed("GET", "/_/event-log?" + words).json()
        got += page["events"]
        after = page["next"]
        if after == 0:
            return got


def test_a_put_and_what_came_of_it(s):
    put = s.s3().put_object(Bucket="photos", Key="p.png", Body=sample(), ContentType="image/png")
    s.settled("p.png", put["ETag"])
    told = s.explain("p.png")
    equal(len(told["changes"]), 1, "changes")
    change = told["changes"][0]
    equal((change["event"], change["request_id"], change["who"], change["version_id"], change["source_ip"]),
          ("ObjectCreated:Put", request_id(put), s.key, "null", "127.0.0.1"), "the change")
    equal((change["etag"], change["size"]), (put["ETag"].strip('"'), len(sample())), "what was put")
    equal(change["seq"], told["object"]["generation"], "its number")
    equal(sorted((a["function"], a["outcome"], a["generation"]) for a in told["attempts"]),
          [(f, "ready", change["seq"]) for f in ("metadata", "thumbnail")], "attempts")
    for a in told["attempts"]:
        true(change["time"] <= a["queued"] <= a["started"], "times in order: %r" % a)
        true(a["pid"] > 0 and a["run_us"] > 0 and a["rss_bytes"] > 0, "figures: %r" % a)
    equal(sorted(d["preset"] for d in told["derived"]), ["large", "medium", "small"], "derived")


def test_names_of_attributes_draw_nothing(s):
    # Whoever may update the table chooses them.
    s.s3().put_object(Bucket="photos", Key="draws.png", Body=sample())
    s.settled("draws.png")
    key = {"bucket": {"S": "photos"}, "key": {"S": "draws.png"}}
    s.client("dynamodb").update_item(
        TableName="images", Key=key, UpdateExpression="SET #a = :one, #b = :two, #c = :two",
        ExpressionAttributeNames={"#a": "\x1b[2J\u009b1m", "#b": "format", "#c": "note"},
        ExpressionAttributeValues={":one": {"S": "x"}, ":two": {"S": "\x1b]0;title\x07"}})
    for words in (["explain", "s3://photos/draws.png"], ["wait", "s3://photos/draws.png"]):
        text = s.cli(*words).stdout
        true(not any(c in text for c in "\x1b\u009b\x07"), "%s writes control characters: %r" % (words[0], text))
    contains(s.cli("explain", "s3://photos/draws.png").stdout, "\\x1b[2J\\u009b1m", "the name")


def test_last_sent(s):
    def sent():
        told = s.explain("p.png")
        return [told["last_served"]] + [d["last_served"] for d in told["derived"]]
    equal(sent(), [None] * 4, "before anything was sent")
    s.s3().head_object(Bucket="photos", Key="p.png")
    equal(sent(), [None] * 4, "after a HEAD")
    s.s3().get_object(Bucket="photos", Key="p.png")["Body"].read()
    true(sent()[0] >= s.explain("p.png")["served_since"][:19] and sent()[1:] == [None] * 3, "after a GET")
    equal(s.get("/_/img/photos/p.png?preset=small").status, 200, "the thumbnail")
    equal([d["preset"] for d in s.explain("p.png")["derived"] if d["last_served"]], ["small"], "sent thumbnails")
    text = s.cli("explain", "s3://photos/p.png").stdout
    contains(text, "last sent", "explain")
    contains(text, "not since the server's start", "explain of what was not sent")


def test_a_thumbnail_tells_its_source(s):
    told = s.explain("p.png/small.webp", "photos-derived")
    source = told["source"]
    equal((source["bucket"], source["key"], source["preset"], source["generation"]),
          ("photos", "p.png", "small", s.explain("p.png")["object"]["generation"]), "the source")
    equal(told["changes"], [], "a function's writes are not changes")
    contains(s.cli("explain", "s3://photos-derived/p.png/small.webp").stdout, "made of     s3://photos/p.png",
             "explain")
    true("source" not in s.explain("p.png"), "a source that has a source")


def test_all_kinds_of_changes(s):
    c = s.s3()
    c.create_bucket(Bucket="plain")
    ids = [request_id(c.put_object(Bucket="plain", Key="k", Body=b"one"))]
    ids.append(request_id(c.copy_object(Bucket="plain", Key="k", CopySource="plain/k",
                                        MetadataDirective="REPLACE")))
    upload = c.create_multipart_upload(Bucket="plain", Key="k")["UploadId"]
    part = c.upload_part(Bucket="plain", Key="k", UploadId=upload, PartNumber=1, Body=b"x" * 100)
    ids.append(request_id(c.complete_multipart_upload(
        Bucket="plain", Key="k", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})))
    ids.append(request_id(c.delete_object(Bucket="plain", Key="k")))
    ids.append(request_id(c.put_object(Bucket="plain", Key="k", Body=b"again")))
    ids.append(request_id(c.delete_objects(Bucket="plain", Delete={"Objects": [{"Key": "k"}, {"Key": "none"}]})))
    got = changes(s, "k", "plain")
    equal([e["event"] for e in got],
          ["ObjectCreated:Put", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload",
           "ObjectRemoved:Delete", "ObjectCreated:Put", "ObjectRemoved:Delete"], "events")
    equal([e["request_id"] for e in got], ids, "request ids")
    equal({e["who"] for e in got}, {s.key}, "who")
    true(all(a["seq"] < b["seq"] for a, b in zip(got, got[1:])), "numbers that rise")
    done = s.cli("explain", "s3://plain/k")
    equal(done.returncode, 0, "exit code for a deleted object")
    contains(done.stdout, "no object", "explain")
    contains(done.stdout, "deleted by %s" % s.key, "explain")
    equal(s.cli("explain", "s3://plain/none").returncode, 1, "exit code for what never was")


def test_versions(s):
    c = s.s3()
    c.create_bucket(Bucket="kept")
    c.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    first = c.put_object(Bucket="kept", Key="k", Body=b"one")["VersionId"]
    marker = c.delete_object(Bucket="kept", Key="k")["VersionId"]
    c.delete_object(Bucket="kept", Key="k", VersionId=marker)
    got = changes(s, "k", "kept")
    equal([(e["event"], e["version_id"], e.get("restored", False)) for e in got],
          [("ObjectCreated:Put", first, False), ("ObjectRemoved:DeleteMarkerCreated", marker, False),
           ("ObjectCreated:Copy", first, True)], "changes")


def test_who(s):
    ann = s.s3(key=ANN["access_key_id"], secret=ANN["secret_access_key"])
    ann.create_bucket(Bucket="anns")
    ann.put_object(Bucket="anns", Key="k", Body=b"x")
    equal([(e["who"], e["account"]) for e in changes(s, "k", "anns")], [("ANNKEY", ANN["id"])], "ann")
    url = ann.generate_presigned_url("put_object", Params={"Bucket": "anns", "Key": "signed"})
    equal(s.request("PUT", url[len(s.url):], b"x").status, 200, "status of a presigned PUT")
    equal(changes(s, "signed", "anns")[0]["who"], "ANNKEY", "who, by a presigned URL")
    ann.put_bucket_policy(Bucket="anns", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::anns/*"}]}))
    equal(s.request("PUT", "/anns/open", b"x").status, 200, "status of an anonymous PUT")
    equal(changes(s, "open", "anns")[0]["who"], "anonymous", "who, unsigned")


def test_a_deleted_picture_keeps_its_attempts(s):
    s.s3().put_object(Bucket="photos", Key="gone.png", Body=sample("grey.jpg"))
    s.settled("gone.png")
    s.s3().delete_object(Bucket="photos", Key="gone.png")
    told = s.explain("gone.png")
    equal((told["object"], told["derived"], told["item"]), (None, [], None), "what there is")
    equal(len([a for a in told["attempts"] if a["outcome"] == "ready"]), 2, "attempts")
    text = s.cli("explain", "s3://photos/gone.png").stdout
    at = [text.find(word) for word in ("put by", "thumbnail: ready", "deleted by")]
    true(-1 not in at and at == sorted(at), "the story in order: %r\n%s" % (at, text))


def test_no_picture_tells_why(s):
    s.s3().put_object(Bucket="photos", Key="poison.jpg", Body=b"\xff\xd8\xff" + b"poison" * 1000)
    s.settled("poison.jpg")
    told = s.explain("poison.jpg")
    true(all(a["outcome"] in ("skipped", "failed") and a["reason"] for a in told["attempts"]), "%r" % told["attempts"])
    contains(s.cli("explain", "s3://photos/poison.jpg").stdout, told["attempts"][0]["reason"], "explain")


def test_the_log_agrees_after_a_crash(s):
    names = ["crash/%02d" % i for i in range(40)]
    c = s.s3()
    c.create_bucket(Bucket="crash")
    for i, name in enumerate(names):
        c.put_object(Bucket="crash", Key=name, Body=b"x")
        if i % 4 == 0:
            c.delete_object(Bucket="crash", Key=name)
    s.kill()
    s.start()
    got = [(e["key"], e["event"]) for e in events(s, bucket="crash")]
    wanted = []
    for i, name in enumerate(names):
        wanted.append((name, "ObjectCreated:Put"))
        if i % 4 == 0:
            wanted.append((name, "ObjectRemoved:Delete"))
    equal(got, wanted, "the log")
    equal([e["key"] for e in events(s, bucket="crash", prefix="crash/1")],
          [k for k, _ in wanted if k.startswith("crash/1")], "below a prefix")
    equal(s.explain("p.png")["last_served"], None, "last sent, after a restart")
    equal(len(changes(s, "p.png")), 1, "changes that are remembered")


def test_events_list(s):
    done = s.cli("events", "list", "--json", "--prefix", "s3://plain/")
    equal(done.returncode, 0, "exit code: " + done.stderr)
    equal([json.loads(line)["key"] for line in done.stdout.splitlines()], ["k"] * 6, "keys")
    contains(s.cli("events", "list", "--since", "1h").stdout, "ObjectRemoved:Delete", "events list")
    equal(s.cli("events", "list", "--since", "1h", "--until", "1h", "--json").stdout, "", "an empty span")
    equal(s.signed("GET", "/_/event-log?since_ms=yesterday").status, 400, "status of a wrong number")
    equal(s.request("GET", "/_/event-log").status, 403, "status without a signature")


darkroom.run(globals(), config={"accounts": [ANN]})
