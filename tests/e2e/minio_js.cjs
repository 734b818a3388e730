// Run by minio_js.sh: minio-js as an application would use it.
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const fs = require("node:fs");
const { Readable } = require("node:stream");
const Minio = require("minio");

const at = new URL(process.env.DARKROOM_URL);
const connect = (more) => new Minio.Client({
    endPoint: at.hostname, port: Number(at.port), useSSL: false,
    accessKey: process.env.AWS_ACCESS_KEY_ID, secretKey: process.env.AWS_SECRET_ACCESS_KEY, ...more,
});
const client = connect();
const inParts = connect({ partSize: 5 << 20 });
const picture = fs.readFileSync(process.argv[2]);
const bucket = "minio-shelf";
const names = ["a b", "plus+plus", "per%25cent%2F", "a//b", "/lead", "quote'\"s", "ünï/深い 🖼", "n\u0303 \u00f1", "q?x=1&y#z",
    "(br[a]{c}k)~!@$^*,;:=", "back\\slash", "<xml>&amp;", "tab\tin", "new\nline", "end/", "ü".repeat(500)];

async function check(name, job) {
    try {
        await job();
        console.log("ok " + name);
    } catch (e) {
        console.log("not ok " + name + ": " + String(e.stack || e).replace(/\s+/g, " ").slice(0, 300));
    }
}

async function collect(stream) {
    const all = [];
    for await (const piece of stream) all.push(piece);
    return all;
}
const bytes = async (key) => Buffer.concat(await collect(await client.getObject(bucket, key)));
const keys = async (stream) => (await collect(stream)).map((o) => o.name ?? o.prefix);
const failing = (code) => (e) => e.code === code || assert.fail(e.code + " instead of " + code);

async function buckets() {
    await check("makeBucket", () => client.makeBucket(bucket));
    await check("makeBucket in another region", async () => {
        await client.makeBucket("minio-far", "eu-west-1");
        await connect({ region: "eu-west-1" }).putObject("minio-far", "k", "v");
        await client.removeObject("minio-far", "k");
        await client.removeBucket("minio-far");
    });
    await check("bucketExists", async () => {
        assert.equal(await client.bucketExists(bucket), true);
        assert.equal(await client.bucketExists("no-such-bucket"), false);
    });
    await check("listBuckets", async () => {
        const found = (await client.listBuckets()).find((b) => b.name === bucket);
        assert(Math.abs(found.creationDate - Date.now()) < 60000);
    });
    await check("bucket policy", async () => {
        const policy = {
            Version: "2012-10-17",
            Statement: [{ Effect: "Allow", Principal: { AWS: ["*"] }, Action: ["s3:GetObject"],
                Resource: ["arn:aws:s3:::" + bucket + "/public/*"] }],
        };
        await client.setBucketPolicy(bucket, JSON.stringify(policy));
        assert.deepEqual(JSON.parse(await client.getBucketPolicy(bucket)), policy);
        await client.putObject(bucket, "public/x", "for all");
        assert.equal(await (await fetch(`${at.origin}/${bucket}/public/x`)).text(), "for all");
        await client.removeObject(bucket, "public/x");
        await client.setBucketPolicy(bucket, "");
        await assert.rejects(client.getBucketPolicy(bucket), failing("NoSuchBucketPolicy"));
    });
    await check("bucket notification", async () => {
        const config = await client.getBucketNotification("photos");
        assert([config.CloudFunctionConfiguration].flat().length >= 2);
    });
}

async function objects() {
    await check("putObject with metadata", async () => {
        const info = await client.putObject(bucket, "dir/k", "hello", 5,
            { "Content-Type": "text/x", "Cache-Control": "no-cache", Who: "me", "X-Amz-Meta-Other": "two words" });
        assert.equal(info.etag, crypto.createHash("md5").update("hello").digest("hex"));
        const stat = await client.statObject(bucket, "dir/k");
        assert.equal(stat.size, 5);
        assert.equal(stat.metaData["content-type"], "text/x");
        assert.equal(stat.metaData["cache-control"], "no-cache");
        assert.deepEqual([stat.metaData.who, stat.metaData.other], ["me", "two words"]);
    });
    await check("getPartialObject", async () => {
        const part = await collect(await client.getPartialObject(bucket, "dir/k", 1, 3));
        assert.equal(Buffer.concat(part).toString(), "ell");
    });
    await check("putObject of nothing", async () => {
        await client.putObject(bucket, "empty", "");
        assert.equal((await bytes("empty")).length, 0);
    });
    await check("putObject of a stream", async () => {
        await client.putObject(bucket, "stream", Readable.from([picture]), picture.length);
        assert((await bytes("stream")).equals(picture));
    });
    await check("putObject of a stream in parts", async () => {
        const body = crypto.randomBytes(12 << 20);
        const pieces = Array.from({ length: 12 }, (_, i) => body.subarray(i << 20, (i + 1) << 20));
        const info = await inParts.putObject(bucket, "parts", Readable.from(pieces), body.length);
        assert.match(info.etag, /-3$/);
        assert((await bytes("parts")).equals(body));
    });
    await check("putObject of a stream of unknown length", async () => {
        const body = crypto.randomBytes(6 << 20);
        await client.putObject(bucket, "unknown", Readable.from([body.subarray(0, 9), body.subarray(9)]));
        assert((await bytes("unknown")).equals(body));
    });
    await check("fPutObject, fGetObject", async () => {
        await client.fPutObject(bucket, "file.png", process.argv[2]);
        await client.fGetObject(bucket, "file.png", "file.back");
        assert(fs.readFileSync("file.back").equals(picture));
        assert.equal((await client.statObject(bucket, "file.png")).metaData["content-type"], "image/png");
    });
    await check("copyObject", async () => {
        await client.copyObject(bucket, "copy ü+", `/${bucket}/dir/k`);
        assert.equal((await client.statObject(bucket, "copy ü+")).metaData.who, "me");
        const unless = new Minio.CopyConditions();
        unless.setMatchETagExcept((await client.statObject(bucket, "dir/k")).etag);
        await assert.rejects(client.copyObject(bucket, "copy", `/${bucket}/dir/k`, unless), failing("PreconditionFailed"));
    });
    await check("composeObject", async () => {
        const source = (Object_) => new Minio.CopySourceOptions({ Bucket: bucket, Object: Object_ });
        await client.composeObject(new Minio.CopyDestinationOptions({ Bucket: bucket, Object: "composed" }),
            [source("parts"), source("unknown"), source("dir/k")]);
        const whole = Buffer.concat([await bytes("parts"), await bytes("unknown"), await bytes("dir/k")]);
        assert((await bytes("composed")).equals(whole));
    });
    await check("incomplete uploads", async () => {
        await client.initiateNewMultipartUpload(bucket, "incomplete/é", {});
        const left = await collect(client.listIncompleteUploads(bucket, "", true));
        assert.deepEqual(left.map((u) => u.key), ["incomplete/é"]);
        await client.removeIncompleteUpload(bucket, "incomplete/é");
        assert.equal((await collect(client.listIncompleteUploads(bucket, "", true))).length, 0);
    });
}

async function listings() {
    await check("listObjects, listObjectsV2", async () => {
        const all = ["copy ü+", "dir/k", "empty", "file.png", "parts", "stream", "unknown", "composed"].sort();
        for (const version of ["listObjects", "listObjectsV2"]) {
            assert.deepEqual(await keys(client[version](bucket, "", true)), all);
            assert.deepEqual(await keys(client[version](bucket, "d", false)), ["dir/"]);
        }
        assert.deepEqual(await keys(client.listObjectsV2(bucket, "", true, "stream")), ["unknown"]);
    });
    await check("list over more than one page", async () => {
        await Promise.all(Array.from({ length: 20 }, async (_, lane) => {
            for (let i = lane; i < 1010; i += 20) await client.putObject(bucket, `page/${1000 + i}`, "");
        }));
        for (const version of ["listObjects", "listObjectsV2"])
            assert.equal((await keys(client[version](bucket, "page/", true))).length, 1010);
        await client.removeObjects(bucket, await keys(client.listObjectsV2(bucket, "page/", true)));
        assert.equal((await keys(client.listObjectsV2(bucket, "page/", true))).length, 0);
    });
}

async function awkward() {
    for (const name of names) {
        await check("name " + JSON.stringify(name).slice(0, 30), async () => {
            const key = "names/" + name;
            await client.putObject(bucket, key, name);
            assert.equal((await bytes(key)).toString(), name);
            assert.equal((await client.statObject(bucket, key)).size, Buffer.byteLength(name));
            for (const version of ["listObjects", "listObjectsV2"])
                assert.deepEqual(await keys(client[version](bucket, key, true)), [key]);
            const got = await fetch(await client.presignedGetObject(bucket, key));
            assert.equal(await got.text(), name);
            await client.copyObject(bucket, key + "~", `/${bucket}/${key}`);
            await client.removeObject(bucket, key);
            await client.removeObjects(bucket, [key + "~"]);
            assert.deepEqual(await keys(client.listObjectsV2(bucket, key, true)), []);
        });
    }
    // What the URL parser of node would fold never leaves minio-js as a name.
    await check("dot segments are not another's object", async () => {
        await client.putObject(bucket, "names/x", "x");
        await assert.rejects(client.statObject(bucket, "names/../../photos/none"));
        await client.removeObject(bucket, "names/x");
    });
}

async function presigned() {
    await check("presigned PUT, GET, HEAD, DELETE", async () => {
        const put = await client.presignedPutObject(bucket, "signed a+b", 60);
        assert.equal((await fetch(put, { method: "PUT", body: "by url" })).status, 200);
        const get = await client.presignedGetObject(bucket, "signed a+b", 60, { "response-content-type": "text/y" });
        const got = await fetch(get);
        assert.deepEqual([await got.text(), got.headers.get("content-type")], ["by url", "text/y"]);
        assert.equal((await fetch(get.replace("text%2Fy", "text%2Fz"))).status, 403);
        assert.equal((await fetch(get, { method: "PUT", body: "x" })).status, 403);
        const head = await client.presignedUrl("HEAD", bucket, "signed a+b", 60);
        assert.equal((await fetch(head, { method: "HEAD" })).status, 200);
        const remove = await client.presignedUrl("DELETE", bucket, "signed a+b", 60);
        assert.equal((await fetch(remove, { method: "DELETE" })).status, 204);
        assert.equal((await fetch(get)).status, 404);
    });
    await check("presigned listing", async () => {
        const list = await client.presignedUrl("GET", bucket, "", 60, { prefix: "dir/", "max-keys": "10" });
        assert.match(await (await fetch(list)).text(), /<Key>dir\/k<\/Key>/);
    });
    await check("presigned and expired", async () => {
        const old = await client.presignedUrl("GET", bucket, "dir/k", 60, {}, new Date(Date.now() - 120000));
        const got = await fetch(old);
        assert.equal(got.status, 403);
        assert.match(await got.text(), /Request has expired/);
    });
}

async function errors() {
    await check("what is not there", async () => {
        await assert.rejects(client.getObject(bucket, "none"), failing("NoSuchKey"));
        await assert.rejects(client.statObject(bucket, "none"), failing("NotFound"));
        await assert.rejects(client.putObject("no-such-bucket", "k", "v"), failing("NoSuchBucket"));
        await assert.rejects(collect(client.listObjectsV2("no-such-bucket")), failing("NoSuchBucket"));
        await client.removeObject(bucket, "none");
    });
    await check("wrong keys", async () => {
        const wrong = { region: "us-east-1", secretKey: "wrong" };
        await assert.rejects(connect(wrong).getObject(bucket, "dir/k"), failing("SignatureDoesNotMatch"));
        await assert.rejects(connect(wrong).putObject(bucket, "dir/k", "v"), failing("SignatureDoesNotMatch"));
        await assert.rejects(connect({ accessKey: "NOBODY" }).getObject(bucket, "dir/k"), failing("InvalidAccessKeyId"));
        const nobody = connect({ accessKey: "", secretKey: "" });
        await assert.rejects(nobody.getObject(bucket, "dir/k"), failing("AccessDenied"));
        assert.equal((await bytes("dir/k")).toString(), "hello");
    });
    await check("removeBucket with objects in it", () =>
        assert.rejects(client.removeBucket(bucket), failing("BucketNotEmpty")));
    await check("removeObjects, removeBucket", async () => {
        await client.removeObjects(bucket, await keys(client.listObjectsV2(bucket, "", true)));
        await client.removeBucket(bucket);
        assert.equal(await client.bucketExists(bucket), false);
    });
}

async function main() {
    for (const part of [buckets, objects, listings, awkward, presigned, errors]) await part();
}

main().catch((e) => {
    console.error(e);
    process.exit(1);
});
