#!/bin/bash
# curl --aws-sigv4: requests as they stand in S3's documentation. This curl signs the query as it is
# given (sorted, "uploads=" and not "uploads"), and the payload's word, which S3 demands of bodies, only
# when it is given as a header; newer ones send it by themselves.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

curl --help all | grep -q -- --aws-sigv4 || { skip "curl --aws-sigv4" "this curl is too old"; exit 0; }
start_server
region=us-east-1
unsigned="x-amz-content-sha256: UNSIGNED-PAYLOAD"
c() {
    curl -sS --path-as-is --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
        --aws-sigv4 "aws:amz:$region:s3" "$@"
}
# s3 METHOD TARGET [CURL OPTIONS]...: the body; its last line is the status
s3() {
    local method=$1 target=$2
    shift 2
    [ "$method" = HEAD ] && set -- -I "$@" || set -- -X "$method" "$@"
    c -w '\n%{http_code}' -H "$unsigned" "$@" "$url$target"
}
# answers STATUS TEXT COMMAND...
answers() {
    local status=$1 text=$2 out
    shift 2
    out=$("$@")
    same "${out##*$'\n'}" "$status" && has "$out" "$text"
}
put_get() {
    answers 200 "" s3 PUT "/cbox/$1" --data-binary @hello && answers 200 hello s3 GET "/cbox/$1"
}
element() { sed -n "s/.*<$1>\([^<]*\)<\/$1>.*/\1/p"; }
printf 'hello\n' >hello
head -c 6000000 /dev/urandom >part1
head -c 70000 /dev/urandom >part2
cat part1 part2 >whole

# ---- buckets and objects ----
check "create bucket" answers 200 "" s3 PUT /cbox
check "head bucket" answers 200 "" s3 HEAD /cbox
check "list buckets" answers 200 "<Name>cbox</Name>" s3 GET /
check "put" answers 200 "" s3 PUT /cbox/dir/k -T hello -H "x-amz-meta-who: me" -H "Content-Type: text/x"
check "get" answers 200 hello s3 GET /cbox/dir/k
check "head: metadata" answers 200 "x-amz-meta-who: me" s3 HEAD /cbox/dir/k
check "head: content type" answers 200 "Content-Type: text/x" s3 HEAD /cbox/dir/k
check "range" answers 206 ell s3 GET /cbox/dir/k -H "Range: bytes=1-3"
check "range behind the end" answers 416 InvalidRange s3 GET /cbox/dir/k -H "Range: bytes=6-"
check "copy" answers 200 CopyObjectResult s3 PUT /cbox/copy -H "x-amz-copy-source: /cbox/dir/k"
check "put if absent" answers 412 PreconditionFailed s3 PUT /cbox/copy -T hello -H "If-None-Match: *"
digest=$(sha256sum part2 | cut -d' ' -f1)
with_digest() { c -w '\n%{http_code}' -H "x-amz-content-sha256: $1" -T "$2" "$url/cbox/digest"; }
check "put with the payload's digest" answers 200 "" with_digest "$digest" part2
check "put with another's digest" answers 400 XAmzContentSHA256Mismatch with_digest "$digest" hello
plain() { c -w '\n%{http_code}' "$@"; } # what curl sends of itself
check "get with no more than endpoint and keys" answers 200 hello plain "$url/cbox/dir/k"
check "list with no more than endpoint and keys" answers 200 "<Key>dir/k</Key>" \
    plain "$url/cbox?list-type=2"
check "delete with no more than endpoint and keys" answers 204 "" plain -X DELETE "$url/cbox/none"
check "put with no word of the payload" answers 400 x-amz-content-sha256 \
    c -w '\n%{http_code}' -T hello "$url/cbox/none"

# ---- names ----
for key in 'a%20b' 'plus%2Bplus' 'per%2525cent' 'a//b' '/lead' 'end/' 'a/../b' './a' '%2E%2E/x' "it's" '%22q%22' \
    '%C3%BC%E6%B7%B1' 'a&b=c;d@e,f' '%3F%23' '~-_.' '%5Bx%5D%7By%7D%7C%5C%5E%60%3C%3E' '%01%7F' 'new%0Aline'; do
    check "put and get of $key" put_get "$key"
done
check "the name of .. is a name" answers 200 "<Key>a/../b</Key>" s3 GET '/cbox?list-type=2&prefix=a%2F..'
check "a newline listed with encoding-type" answers 200 "<Key>new%0Aline</Key>" \
    s3 GET '/cbox?encoding-type=url&list-type=2&prefix=new'

# ---- listing ----
check "list" answers 200 "<Prefix>dir/</Prefix>" s3 GET '/cbox?delimiter=%2F&list-type=2'
check "list of a prefix" answers 200 "<KeyCount>1</KeyCount>" s3 GET '/cbox?list-type=2&prefix=dir%2F'
token=$(s3 GET '/cbox?list-type=2&max-keys=2' | element NextContinuationToken)
token=$(printf %s "$token" | sed 's/+/%2B/g; s/\//%2F/g; s/=/%3D/g')
check "list: the next page" answers 200 "<KeyCount>2</KeyCount>" \
    s3 GET "/cbox?continuation-token=$token&list-type=2&max-keys=2"

# ---- multipart ----
id=$(s3 POST '/cbox/large?uploads=' | element UploadId)
part() { s3 PUT "/cbox/large?partNumber=$1&uploadId=$id" -T "part$1"; }
check "upload part 1" answers 200 "" part 1
check "upload part 2" answers 200 "" part 2
check "list parts" answers 200 "<PartNumber>2</PartNumber>" s3 GET "/cbox/large?uploadId=$id"
etag() { md5sum "$1" | cut -d' ' -f1; }
{
    echo "<CompleteMultipartUpload>"
    for n in 1 2; do echo "<Part><PartNumber>$n</PartNumber><ETag>$(etag part$n)</ETag></Part>"; done
    echo "</CompleteMultipartUpload>"
} >complete.xml
check "complete" answers 200 "-2&quot;</ETag>" s3 POST "/cbox/large?uploadId=$id" --data-binary @complete.xml \
    -H "Content-Type: application/xml"
c -H "$unsigned" -o whole.back "$url/cbox/large"
check "the same bytes" cmp whole whole.back
id=$(s3 POST '/cbox/large?uploads=' | element UploadId)
check "abort" answers 204 "" s3 DELETE "/cbox/large?uploadId=$id"
check "aborted" answers 404 NoSuchUpload part 1

# ---- who may ----
wrong_secret() { AWS_SECRET_ACCESS_KEY=wrong s3 GET /cbox/dir/k; }
wrong_key() { AWS_ACCESS_KEY_ID=NOBODY s3 GET /cbox/dir/k; }
elsewhere() { region=eu-west-3 s3 GET /cbox/dir/k; }
check "wrong secret" answers 403 SignatureDoesNotMatch wrong_secret
check "wrong access key" answers 403 InvalidAccessKeyId wrong_key
check "unsigned" answers 403 AccessDenied curl -s -w '\n%{http_code}' "$url/cbox/dir/k"
check "another region" answers 200 hello elsewhere

# ---- the end of it ----
check "delete of a bucket with objects" answers 409 BucketNotEmpty s3 DELETE /cbox
check "no such key" answers 404 NoSuchKey s3 GET /cbox/none
check "no such bucket" answers 404 NoSuchBucket s3 GET /no-such-bucket
check "delete of a name that XML cannot hold" answers 204 "" s3 DELETE '/cbox/%01%7F'
{
    echo "<Delete><Quiet>true</Quiet>"
    s3 GET '/cbox?list-type=2' | grep -o '<Key>[^<]*</Key>' | sed 's/.*/<Object>&<\/Object>/'
    echo "</Delete>"
} >delete.xml
check "delete many" answers 200 DeleteResult s3 POST '/cbox?delete=' --data-binary @delete.xml \
    -H "Content-MD5: $(openssl md5 -binary delete.xml | base64)" -H "Content-Type: application/xml"
check "delete bucket" answers 204 "" s3 DELETE /cbox
