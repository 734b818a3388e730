#!/bin/bash
# The s3 tool of Debian's libs3-2: Version 2 signatures, which a loopback listener takes. Its exit
# code is 0 whatever happens, so what it says is judged. Dot segments in a key never leave it.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

command -v s3 >/dev/null || { skip "s3 of libs3-2" "not installed"; exit 0; }
start_server
export S3_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY
export S3_HOSTNAME=${url#http://}
s3() { command s3 -u -r 0 "$@" 2>&1; }

# says TEXT COMMAND...: succeeds and says so; COMMAND alone: succeeds
says() {
    local want=$1 out
    shift
    out=$("$@")
    lacks "$out" ERROR && has "$out" "$want"
}
good() { says "" "$@"; }
fails() {
    local want=$1 out
    shift
    out=$("$@")
    has "$out" "ERROR: $want"
}
# Without a marker it asks for what follows the key "(null)".
keys() { s3 list "$1" marker="${marker:-}" "${@:2}" | sed -n '3,$p' | sed -E 's/ +20[0-9]{2}-.*//'; }
put_get() {
    good s3 put "lbox/$1" filename=hello && rm -f back &&
        good s3 get "lbox/$1" filename=back && cmp hello back
}
printf 'hello\n' >hello
export TZ=UTC # the tool takes dates for local ones
at() { date -u -d "$1" +%Y-%m-%dT%H:%M:%S; }
head -c 9000000 /dev/urandom >large
md5=$(openssl md5 -binary hello | base64)

# ---- buckets ----
check "create" says successfully s3 create lbox
check "create again" says successfully s3 create lbox
check "create with a location" says successfully s3 create lbox-eu location=EU
check "test" says USA s3 test lbox
check "test of a bucket elsewhere" says EU s3 test lbox-eu
check "test of no bucket" says "Does Not Exist" s3 test lbox-none
check "list buckets" says lbox-eu s3 list
check "list buckets in detail" says root s3 list allDetails=1

# ---- objects ----
check "put with metadata" good s3 put lbox/dir/hello filename=hello contentType=text/plain \
    cacheControl=no-cache contentEncoding=identity x-amz-meta-who=me md5="$md5"
check "head" says "x-amz-meta-who: me" s3 head lbox/dir/hello
check "head: content type" says "Content-Type: text/plain" s3 head lbox/dir/hello
check "put with a wrong md5" fails ErrorBadDigest s3 put lbox/bad filename=large md5="$md5"
check "put of standard input" good s3 put lbox/stdin contentLength=6 <hello
check "get" says hello s3 get lbox/dir/hello
check "get of a range" same "$(s3 get lbox/dir/hello startByte=1 byteCount=3)" ell
check "put of 9 MB" good s3 put lbox/large filename=large
check "get of 9 MB" good s3 get lbox/large filename=large.back
check "the same 9 MB" cmp large large.back
check "get if it matches" fails ErrorPreconditionFailed s3 get lbox/dir/hello ifMatch=x
check "get if it does not match" fails HttpErrorUnknown s3 get lbox/dir/hello \
    ifNotMatch="$(openssl md5 -r hello | cut -c1-32)"
check "get if modified since" says hello s3 get lbox/dir/hello \
    ifModifiedSince="$(at yesterday)"
check "copy" good s3 copy lbox/dir/hello lbox/copy
check "copy keeps metadata" says "x-amz-meta-who: me" s3 head lbox/copy
check "copy with other metadata" good s3 copy lbox/dir/hello lbox/copy x-amz-meta-new=1
check "copy replaced metadata" says "x-amz-meta-new: 1" s3 head lbox/copy
check "get of nothing" fails ErrorNoSuchKey s3 get lbox/none
check "get from no bucket" fails ErrorNoSuchBucket s3 get lbox-none/x
check "delete of nothing" good s3 delete lbox/none

# ---- names ----
for key in /lead a//b end/ "q'\"uote" "a&b=c;d@e,f" 'per%25cent%2F' 'ha#sh' 'quest?ion=1&acl' \
    'ünï/深い 🖼' '(br[a{c}k])~!$*' 'back\slash'; do
    check "put and get of $key" put_get "$key"
done
check "the keys as they are listed" same "$(keys lbox | grep -cxF -e /lead -e a//b -e end/ \
    -e "q'\"uote" -e 'per%25cent%2F' -e 'ha#sh' -e 'quest?ion=1&acl' -e 'back\slash')" 8

# ---- listing ----
check "list of a prefix" same "$(keys lbox prefix=dir/)" dir/hello
check "list with a delimiter" says "Common Prefix: dir/" s3 list lbox delimiter=/
check "list of at most one" same "$(keys lbox maxkeys=1 | wc -l)" 1
check "list behind a marker" same "$(marker=copy keys lbox prefix=c)" ""
check "list in detail" says root s3 list lbox allDetails=1

# ---- signatures ----
link=$(s3 gqs lbox/dir/hello expires="$(at '60 seconds')")
check "presigned GET" same "$(curl -sf "$link")" hello
check "presigned and altered" same \
    "$(curl -s -o /dev/null -w '%{http_code}' "${link/dir\/hello/copy}")" 403
old=$(s3 gqs lbox/dir/hello expires="$(at '60 seconds ago')")
check "presigned and expired" has "$(curl -s "$old")" "Request has expired"
wrong_secret() { S3_SECRET_ACCESS_KEY=wrong s3 get lbox/dir/hello; }
wrong_key() { S3_ACCESS_KEY_ID=NOBODY s3 get lbox/dir/hello; }
check "wrong secret" fails ErrorSignatureDoesNotMatch wrong_secret
check "wrong access key" fails ErrorInvalidAccessKeyId wrong_key

# ---- access control lists ----
check "getacl of a bucket" says FULL_CONTROL s3 getacl lbox
check "getacl of an object" says FULL_CONTROL s3 getacl lbox/dir/hello
check "getlogging" says "not enabled" s3 getlogging lbox

# ---- the end of it ----
check "delete of a bucket with objects" fails ErrorBucketNotEmpty s3 delete lbox
empty() {
    local key
    keys lbox | while read -r key; do
        good s3 delete "lbox/$key" || return 1
    done
    same "$(keys lbox)" ""
}
check "delete of every object" empty
check "delete of the bucket" good s3 delete lbox
check "the bucket is gone" says "Does Not Exist" s3 test lbox
