// Run by js.sh: the JS SDK v3 as an application would use it, with nothing set but the endpoint.
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const fs = require("node:fs");
const { Readable } = require("node:stream");
const s3sdk = require("@aws-sdk/client-s3");
const dynamo = require("@aws-sdk/client-dynamodb");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const endpoint = process.env.DARKROOM_URL;
// Without this the SDK puts the bucket into the host name, which need not resolve here.
const s3 = new s3sdk.S3({ endpoint, forcePathStyle: true });
const ddb = new dynamo.DynamoDB({ endpoint });
const picture = fs.readFileSync(process.argv[2]);
const Bucket = "js-shelf";

const names = ["a b", "plus+plus", "per%25cent%2F", "a//b", "/lead", "./a/../b", "quote'\"s", "ünï/深い 🖼", "n\u0303 \u00f1",
    "q?x=1&y#z", "(br[a]{c}k)~!@$^*,;:=", "back\\slash", "<xml>&amp;", "tab\tin", "new\nline", "cr\rin", "end/", "ü".repeat(500)];

async function check(name, job) {
    try {
        await job();
        console.log("ok " + name);
    } catch (e) {
        console.log("not ok " + name + ": " + String(e.stack || e).replace(/\s+/g, " ").slice(0, 300));
    }
}

const text = async (input) => (await s3.getObject({ Bucket, ...input })).Body.transformToString();
const bytes = async (Key) => Buffer.from(await (await s3.getObject({ Bucket, Key })).Body.transformToByteArray());
const sdkError = (code, status) => (e) => e.name === code && e.$metadata.httpStatusCode === status;

async function until(condition, what) {
    for (const end = Date.now() + 240000; Date.now() < end;) {
        const value = await condition();
        if (value) return value;
    }
    throw new Error(what + ": not within 240 s");
}

async function main() {
    await check("createBucket", () => s3.createBucket({ Bucket }));
    await check("putObject with the default checksum", async () => {
        const answer = await s3.putObject({ Bucket, Key: "a b+ü.txt", Body: "hello", Metadata: { who: "me" } });
        assert(answer.ChecksumCRC32);
        const got = await s3.getObject({ Bucket, Key: "a b+ü.txt", ChecksumMode: "ENABLED" });
        assert.equal(await got.Body.transformToString(), "hello");
        assert.deepEqual([got.Metadata.who, got.ChecksumCRC32], ["me", answer.ChecksumCRC32]);
    });
    for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
        await check("putObject with " + ChecksumAlgorithm, async () => {
            const answer = await s3.putObject({ Bucket, Key: "sum", Body: picture, ChecksumAlgorithm });
            assert(answer["Checksum" + ChecksumAlgorithm]);
            assert((await bytes("sum")).equals(picture));
        });
    }
    await check("putObject of a stream, checksum as trailer", async () => {
        const body = crypto.randomBytes(300000);
        const Body = Readable.from([body.subarray(0, 100000), body.subarray(100000)]);
        await s3.putObject({ Bucket, Key: "stream", Body, ContentLength: body.length });
        assert((await bytes("stream")).equals(body));
    });
    await check("putObject of a file's stream", async () => {
        await s3.putObject({ Bucket, Key: "file", Body: fs.createReadStream(process.argv[2]) });
        assert((await bytes("file")).equals(picture));
    });
    await check("Upload in parts", async () => {
        const body = crypto.randomBytes(12 << 20);
        await new Upload({ client: s3, params: { Bucket, Key: "parts", Body: Readable.from([body]) } }).done();
        assert((await bytes("parts")).equals(body));
    });
    await check("headObject, copyObject", async () => {
        await s3.copyObject({ Bucket, Key: "copy", CopySource: Bucket + "/" + encodeURIComponent("a b+ü.txt") });
        assert.equal((await s3.headObject({ Bucket, Key: "copy" })).ContentLength, 5);
    });
    await check("conditions", async () => {
        await assert.rejects(s3.putObject({ Bucket, Key: "copy", Body: "x", IfNoneMatch: "*" }),
            sdkError("PreconditionFailed", 412));
        const { ETag } = await s3.headObject({ Bucket, Key: "copy" });
        await s3.putObject({ Bucket, Key: "copy", Body: "x", IfMatch: ETag });
        await assert.rejects(s3.getObject({ Bucket, Key: "copy", IfMatch: ETag }), sdkError("PreconditionFailed", 412));
    });
    await check("errors", async () => {
        await assert.rejects(s3.getObject({ Bucket, Key: "none" }), sdkError("NoSuchKey", 404));
        await assert.rejects(s3.headObject({ Bucket, Key: "none" }), sdkError("NotFound", 404));
        await assert.rejects(s3.listObjectsV2({ Bucket: "no-such-bucket" }), sdkError("NoSuchBucket", 404));
    });
    await check("presigned GET and PUT", async () => {
        const put = await getSignedUrl(s3, new s3sdk.PutObjectCommand({ Bucket, Key: "signed" }));
        assert.equal((await fetch(put, { method: "PUT", body: "by url" })).status, 200);
        const get = await getSignedUrl(s3, new s3sdk.GetObjectCommand({ Bucket, Key: "signed" }));
        assert.equal(await (await fetch(get)).text(), "by url");
    });
    await check("presigned: overrides, HEAD, DELETE, a part, expiry", async () => {
        const sign = (command, input, more) => getSignedUrl(s3, new s3sdk[command]({ Bucket, Key: "p ü+", ...input }), more);
        const asked = async (url, method, body) => {
            const reply = await fetch(url, { method, body });
            await reply.text(); // or its connection stays open
            return reply.status;
        };
        assert.equal(await asked(await sign("PutObjectCommand", {}), "PUT", "x"), 200);
        const url = await sign("GetObjectCommand", { ResponseContentDisposition: "attachment; filename=\"y z\"" });
        const got = await fetch(url);
        assert.equal(got.headers.get("content-disposition"), "attachment; filename=\"y z\"");
        assert.equal(await asked(url.replace("y%20z", "z%20y"), "GET"), 403);
        assert.equal(await asked(url, "PUT", "y"), 403);
        assert.equal(await asked(await sign("HeadObjectCommand", {}), "HEAD"), 200);
        const signingDate = new Date(Date.now() - 120000);
        assert.equal(await asked(await sign("GetObjectCommand", {}, { signingDate, expiresIn: 60 }), "GET"), 403);
        const { UploadId } = await s3.createMultipartUpload({ Bucket, Key: "p ü+" });
        const part = await fetch(await sign("UploadPartCommand", { UploadId, PartNumber: 1 }), { method: "PUT", body: "part" });
        await s3.completeMultipartUpload({ Bucket, Key: "p ü+", UploadId,
            MultipartUpload: { Parts: [{ PartNumber: 1, ETag: part.headers.get("etag") }] } });
        assert.equal(await text({ Key: "p ü+" }), "part");
        assert.equal(await asked(await sign("DeleteObjectCommand", {}), "DELETE"), 204);
        assert.equal(await asked(await sign("GetObjectCommand", {}), "GET"), 404);
    });
    await check("metadata, ranges", async () => {
        await s3.putObject({ Bucket, Key: "meta", Body: "hello", ContentType: "text/x", CacheControl: "no-cache",
            ContentDisposition: "inline", ContentLanguage: "de", ContentEncoding: "x-own", Expires: new Date(2e12),
            Metadata: { a: "1", b: "two words", c: "ü" } });
        const head = await s3.headObject({ Bucket, Key: "meta" });
        assert.deepEqual([head.ContentType, head.CacheControl, head.ContentDisposition, head.ContentLanguage, head.ContentEncoding],
            ["text/x", "no-cache", "inline", "de", "x-own"]);
        assert.equal(head.ExpiresString, new Date(2e12).toUTCString());
        assert.deepEqual([head.Metadata.a, head.Metadata.b], ["1", "two words"]);
        assert.equal(await text({ Key: "meta", Range: "bytes=1-3" }), "ell");
        assert.equal(await text({ Key: "meta", Range: "bytes=-2" }), "lo");
        await assert.rejects(text({ Key: "meta", Range: "bytes=5-" }), sdkError("InvalidRange", 416));
        await s3.copyObject({ Bucket, Key: "meta", CopySource: Bucket + "/meta", MetadataDirective: "REPLACE", Metadata: { d: "4" } });
        assert.deepEqual((await s3.headObject({ Bucket, Key: "meta" })).Metadata, { d: "4" });
        await s3.deleteObject({ Bucket, Key: "meta" });
    });
    await check("parts: copied, listed, out of order, aborted", async () => {
        const Key = "own/parts", { UploadId } = await s3.createMultipartUpload({ Bucket, Key, Metadata: { m: "p" } });
        const copied = await s3.uploadPartCopy({ Bucket, Key, UploadId, PartNumber: 7,
            CopySource: Bucket + "/parts", CopySourceRange: "bytes=0-5242879" });
        const put = await s3.uploadPart({ Bucket, Key, UploadId, PartNumber: 9, Body: "tail" });
        const listed = (await s3.listParts({ Bucket, Key, UploadId })).Parts.map((p) => [p.PartNumber, p.Size]);
        assert.deepEqual(listed, [[7, 5242880], [9, 4]]);
        assert.equal((await s3.listMultipartUploads({ Bucket, Prefix: "own/" })).Uploads[0].UploadId, UploadId);
        const parts = [{ PartNumber: 7, ETag: copied.CopyPartResult.ETag }, { PartNumber: 9, ETag: put.ETag }];
        const finish = (Parts) => s3.completeMultipartUpload({ Bucket, Key, UploadId, MultipartUpload: { Parts } });
        await assert.rejects(finish([parts[1], parts[0]]), sdkError("InvalidPartOrder", 400));
        await assert.rejects(finish([{ ...parts[0], ETag: "\"0\"" }]), sdkError("InvalidPart", 400));
        assert.match((await finish(parts)).ETag, /-2"$/);
        assert.equal((await s3.headObject({ Bucket, Key })).ContentLength, 5242884);
        assert.equal(await text({ Key, Range: "bytes=5242880-" }), "tail");
        await s3.deleteObject({ Bucket, Key });
        const upload = new Upload({ client: s3, params: { Bucket, Key, Body: new Readable({ read() {} }) } });
        const failed = assert.rejects(upload.done());
        await upload.abort();
        await failed;
        const gone = await s3.createMultipartUpload({ Bucket, Key });
        await s3.abortMultipartUpload({ Bucket, Key, UploadId: gone.UploadId });
        await assert.rejects(s3.listParts({ Bucket, Key, UploadId: gone.UploadId }), sdkError("NoSuchUpload", 404));
        assert.equal((await s3.listMultipartUploads({ Bucket })).Uploads, undefined);
    });
    for (const name of names) {
        await check("name " + JSON.stringify(name).slice(0, 30), async () => {
            const Key = "names/" + name;
            await s3.putObject({ Bucket, Key, Body: name });
            assert.equal(await text({ Key }), name);
            const page = await s3.listObjectsV2({ Bucket, Prefix: Key, EncodingType: "url" });
            assert.deepEqual(page.Contents.map((o) => decodeURIComponent(o.Key.replace(/\+/g, " "))), [Key]);
            const CopySource = encodeURIComponent(Bucket + "/" + Key);
            await s3.copyObject({ Bucket, Key: Key + "~", CopySource });
            const url = await getSignedUrl(s3, new s3sdk.HeadObjectCommand({ Bucket, Key: Key + "~" }));
            // fetch() folds dot segments before it sends.
            if (!name.startsWith(".")) assert.equal((await fetch(url, { method: "HEAD" })).status, 200);
            const { Deleted } = await s3.deleteObjects({ Bucket, Delete: { Objects: [{ Key }, { Key: Key + "~" }] } });
            assert.deepEqual(Deleted.map((d) => d.Key).sort(), [Key, Key + "~"].sort());
            assert.equal((await s3.listObjectsV2({ Bucket, Prefix: "names/" })).KeyCount, 0);
        });
    }
    await check("wrong keys", async () => {
        const client = (accessKeyId, secretAccessKey) =>
            new s3sdk.S3({ endpoint, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
        const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret } = process.env;
        await assert.rejects(client(id, "wrong").getObject({ Bucket, Key: "sum" }), sdkError("SignatureDoesNotMatch", 403));
        await assert.rejects(client("NOBODY", secret).getObject({ Bucket, Key: "sum" }), sdkError("InvalidAccessKeyId", 403));
        await assert.rejects(client(id, "wrong").putObject({ Bucket, Key: "sum", Body: Readable.from(["x"]), ContentLength: 1 }),
            sdkError("SignatureDoesNotMatch", 403));
        assert((await bytes("sum")).equals(picture));
    });
    await check("list in pages", async () => {
        const keys = [];
        for await (const page of s3sdk.paginateListObjectsV2({ client: s3, pageSize: 3 }, { Bucket }))
            keys.push(...page.Contents.map((o) => o.Key));
        assert.deepEqual(keys, ["a b+ü.txt", "copy", "file", "parts", "signed", "stream", "sum"]);
    });
    await check("deleteObjects", async () => {
        const Objects = ["a b+ü.txt", "copy", "file", "parts", "signed", "stream", "sum"].map((Key) => ({ Key }));
        assert.equal((await s3.deleteObjects({ Bucket, Delete: { Objects } })).Deleted.length, Objects.length);
        await s3.deleteBucket({ Bucket });
    });
    await check("a picture, its item, its thumbnail", async () => {
        await s3.putObject({ Bucket: "photos", Key: "js/parrots.png", Body: picture });
        const Key = { bucket: { S: "photos" }, key: { S: "js/parrots.png" } };
        const item = await until(async () => {
            const { Item } = await ddb.getItem({ TableName: "images", Key });
            return Item && Item.ready && Item.ready.BOOL && Item.width && Item;
        }, "item");
        assert.deepEqual([item.width.N, item.height.N, item.format.S], ["768", "512", "png"]);
        const reply = await fetch(endpoint + "/photos-derived/js/parrots.png/medium.webp");
        assert.deepEqual([reply.status, reply.headers.get("content-type")], [200, "image/webp"]);
        assert.equal(Buffer.from(await reply.arrayBuffer()).toString("latin1", 8, 12), "WEBP");
    });
    await check("a table", async () => {
        const TableName = "js-table";
        await ddb.createTable({
            TableName, BillingMode: "PAY_PER_REQUEST",
            AttributeDefinitions: [{ AttributeName: "p", AttributeType: "S" }, { AttributeName: "n", AttributeType: "N" }],
            KeySchema: [{ AttributeName: "p", KeyType: "HASH" }, { AttributeName: "n", KeyType: "RANGE" }],
        });
        for (const n of ["10", "9", "-1"])
            await ddb.putItem({ TableName, Item: { p: { S: "x" }, n: { N: n }, all: { L: [{ NULL: true }, { B: Buffer.from([0, 255]) }] } } });
        const got = await ddb.query({ TableName, KeyConditionExpression: "p = :p", ExpressionAttributeValues: { ":p": { S: "x" } } });
        assert.deepEqual(got.Items.map((i) => i.n.N), ["-1", "9", "10"]);
        assert.deepEqual([...got.Items[0].all.L[1].B], [0, 255]);
        await ddb.deleteItem({ TableName, Key: { p: { S: "x" }, n: { N: "9" } } });
        assert.equal((await ddb.scan({ TableName })).Count, 2);
    });
}

main().catch((e) => {
    console.error(e);
    process.exit(1);
});
