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

async function check(name, job) {
    try {
        await job();
        console.log("ok " + name);
    } catch (e) {
        console.log("not ok " + name + ": " + String(e.stack || e).replace(/\s+/g, " ").slice(0, 300));
    }
}

const bytes = async (Key) => Buffer.from(await (await s3.getObject({ Bucket, Key })).Body.transformToByteArray());
const sdkError = (code, status) => (e) => e.name === code && e.$metadata.httpStatusCode === status;

async function until(condition, what) {
    for (const end = Date.now() + 60000; Date.now() < end;) {
        const value = await condition();
        if (value) return value;
    }
    throw new Error(what + ": not within 60 s");
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
