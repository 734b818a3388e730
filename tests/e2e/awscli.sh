#!/bin/bash
# aws cli with default settings: an endpoint and keys, nothing else. S3 commands, the S3 API, DynamoDB.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

[ -x /usr/bin/aws ] || { skip "aws cli" "not installed"; exit 0; }
start_server
aws() { /usr/bin/aws --endpoint-url "$url" "$@"; }
api() { aws s3api "$@"; }
ddb() { aws --region us-east-1 dynamodb "$@"; }
# equals WANT COMMAND...: its output
equals() {
    local want=$1 out
    shift
    out=$("$@") && same "$out" "$want"
}
shows() {
    local want=$1 out
    shift
    out=$("$@") && has "$out" "$want"
}

# words COMMAND...: its text output as one line
words() { "$@" --output text | tr '\t\n' '  ' | sed 's/ *$//'; }

# ---- s3 commands ----
head -c 20000000 /dev/urandom >large.bin
check "mb" aws s3 mb s3://box
check "cp small" aws s3 cp --no-progress "$samples/grey.jpg" s3://box/dir/grey.jpg
check "cp of 20 MB, in parts" aws s3 cp --no-progress large.bin s3://box/large.bin
check "it came in parts" shows '-3\"' api head-object --bucket box --key large.bin
check "cp back" aws s3 cp --no-progress s3://box/large.bin back.bin
check "the same bytes" cmp large.bin back.bin
check "cp from standard input" eval 'echo hello | aws s3 cp - s3://box/stdin.txt'
check "cp to standard output" equals hello aws s3 cp s3://box/stdin.txt -
check "cp within the store" aws s3 cp --no-progress s3://box/large.bin s3://box/copy/large.bin
check "the copy" eval 'aws s3 cp s3://box/copy/large.bin - | cmp - large.bin'
check "mv" aws s3 mv --no-progress s3://box/copy/large.bin s3://box/moved.bin
check "ls" shows "PRE dir/" aws s3 ls s3://box/
check "ls --recursive" shows dir/grey.jpg aws s3 ls --recursive s3://box
check "ls of all buckets" shows photos-derived aws s3 ls
check_refused "cp of a missing key" 404 aws s3 cp s3://box/none none

mkdir -p "tree/a b" "tree/plus+and%25" "tree/ünï/深い"
printf 1 >"tree/a b/c d.txt"
printf 2 >"tree/plus+and%25/x%20y+z"
printf 3 >"tree/ünï/深い/é.txt"
printf 4 >"tree/amp&=?#.txt"
printf 5 >"tree/quote'\"s.txt"
printf 6 >"tree/(br[ac]{k}ets)~!@\$^,;.txt"
printf 7 >"tree/ends with space "
: >tree/empty
check "sync up" aws s3 sync --no-progress tree s3://box/tree
check "sync down" aws s3 sync --no-progress s3://box/tree down
check "the same tree" diff -r tree down
check "sync again has nothing to do" equals "" aws s3 sync --no-progress tree s3://box/tree
rm "tree/a b/c d.txt"
check "sync --delete" shows "delete: " aws s3 sync --delete --no-progress tree s3://box/tree
link=$(aws s3 presign "s3://box/tree/amp&=?#.txt")
check "presign, curl" equals 4 curl -sf "$link"
check "a presigned URL that was changed" equals 403 curl -s -o /dev/null -w '%{http_code}' "${link/amp/amx}"
check "rm --recursive" aws s3 rm --recursive --only-show-errors s3://box/tree
check "nothing is left" equals None api list-objects-v2 --bucket box --prefix tree/ --query Contents --output text
check_refused "rb of a full bucket" BucketNotEmpty aws s3 rb s3://box
check "rb --force" aws s3 rb --force s3://box
check_refused "the bucket is gone" NoSuchBucket aws s3 ls s3://box

# ---- s3api ----
check "create-bucket" api create-bucket --bucket desk
put_get() {
    api put-object --bucket desk --key "$1" --body "$samples/grey.jpg" && rm -f back.jpg &&
        api get-object --bucket desk --key "$1" back.jpg && cmp back.jpg "$samples/grey.jpg" &&
        equals "$1" api list-objects-v2 --bucket desk --query "Contents[].Key" --output text &&
        api delete-object --bucket desk --key "$1"
}
for key in a//b ./x/../y 'n%41me+ ?#&' 'ünï/深い 🖼'; do
    check "put and get of $key" put_get "$key"
done
as() { AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2 aws s3api list-objects-v2 --bucket desk; }
check_refused "a wrong secret" SignatureDoesNotMatch as "$AWS_ACCESS_KEY_ID" wrong
check_refused "a wrong access key" InvalidAccessKeyId as NOBODY "$AWS_SECRET_ACCESS_KEY"
check "get-bucket-location" equals None \
    api get-bucket-location --bucket desk --query LocationConstraint --output text
check "put-object" api put-object --bucket desk --key "a/ü 1" --body "$samples/grey.jpg" --metadata who=me
check "head-object" equals "24244 me" \
    words api head-object --bucket desk --key "a/ü 1" --query "[ContentLength,Metadata.who]"
check "copy-object" api copy-object --bucket desk --key b --copy-source "desk/a/ü 1"
check "list-object-versions" equals "a/ü 1 null b null" \
    words api list-object-versions --bucket desk --query "Versions[].[Key,VersionId]"
check "delete-objects" shows '"Key": "b"' \
    api delete-objects --bucket desk --delete '{"Objects": [{"Key": "a/ü 1"}, {"Key": "b"}]}'
check_refused "they are gone" 404 api head-object --bucket desk --key b

rules='{"LambdaFunctionConfigurations": [{"Id": "small ones", "Events": ["s3:ObjectCreated:*"],
  "LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:thumbnail",
  "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}}}]}'
check "put-bucket-notification-configuration" \
    api put-bucket-notification-configuration --bucket desk --notification-configuration "$rules"
check "get-bucket-notification-configuration" shows '"Value": "in/"' \
    api get-bucket-notification-configuration --bucket desk
for key in in/yes.jpg in/no.png out/no.jpg; do
    check "put $key" api put-object --bucket desk --key $key --body "$samples/grey.jpg"
done
made() {
    equals "in/yes.jpg/large.webp in/yes.jpg/medium.webp in/yes.jpg/small.webp" \
        words api list-objects-v2 --bucket desk-derived --query "Contents[].Key"
}
check "prefix and suffix count" within 240 made
check "rules go away" api put-bucket-notification-configuration --bucket desk --notification-configuration '{}'
check "none is left" equals "" api get-bucket-notification-configuration --bucket desk

check "thumbnails of all buckets in one" \
    "$programs/darkroom" --data data functions set thumbnail --env DERIVED_BUCKET=desk
check_refused "a loop" "desk -> thumbnail -> desk" \
    api put-bucket-notification-configuration --bucket desk --notification-configuration "$rules"
check "back to one for each" \
    "$programs/darkroom" --data data functions set thumbnail --env 'DERIVED_BUCKET={bucket}-derived'

policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
  "Action": "s3:GetObject", "Resource": "arn:aws:s3:::desk/in/*"}]}'
anonymous() { equals "$1" curl -s -o /dev/null -w '%{http_code}' "$url/desk/$2"; }
check "private without a policy" anonymous 403 in/yes.jpg
check "put-bucket-policy" api put-bucket-policy --bucket desk --policy "$policy"
check "get-bucket-policy" shows s3:GetObject api get-bucket-policy --bucket desk --query Policy --output text
check "it grants what it says" anonymous 200 in/yes.jpg
check "and no more" anonymous 403 out/no.jpg
check "delete-bucket-policy" api delete-bucket-policy --bucket desk
check "private again" anonymous 403 in/yes.jpg
check_refused "a policy for another bucket" \
    MalformedPolicy api put-bucket-policy --bucket desk --policy "${policy//desk/elsewhere}"

# ---- dynamodb ----
check "a picture for the table" aws s3 cp --no-progress "$samples/parrots.png" s3://photos/t/parrots.png
key='{"bucket": {"S": "photos"}, "key": {"S": "t/parrots.png"}}'
ready() {
    equals "True 768 png" words ddb get-item --table-name images --key "$key" \
        --query "Item.[ready.BOOL,width.N,format.S]"
}
check "get-item of it" within 240 ready
check "list-tables" shows '"images"' ddb list-tables
check "describe-table" equals "bucket HASH key RANGE" \
    words ddb describe-table --table-name images --query "Table.KeySchema[].[AttributeName,KeyType]"
check "query" equals 1 ddb query --table-name images --key-condition-expression "#b = :b AND begins_with(#k, :k)" \
    --expression-attribute-names '{"#b": "bucket", "#k": "key"}' \
    --expression-attribute-values '{":b": {"S": "photos"}, ":k": {"S": "t/"}}' --query Count
check "scan with a filter" equals t/parrots.png ddb scan --table-name images --filter-expression "#f = :f" \
    --expression-attribute-names '{"#f": "format"}' --expression-attribute-values '{":f": {"S": "png"}}' \
    --query 'Items[0].key.S' --output text

table() {
    ddb create-table --table-name "$1" --billing-mode PAY_PER_REQUEST \
        --attribute-definitions AttributeName=p,AttributeType="$2" AttributeName=s,AttributeType="$3" \
        --key-schema AttributeName=p,KeyType=HASH AttributeName=s,KeyType=RANGE
}
check "create-table with number and binary keys" table mixed N B
check_refused "create-table again" ResourceInUseException table mixed N B
check "describe it" equals ACTIVE ddb describe-table --table-name mixed --query Table.TableStatus --output text
for n in -10 -1 0 2 10 100; do
    check "put-item $n" ddb put-item --table-name mixed \
        --item '{"p": {"N": "7"}, "s": {"B": "AAE="}, "v": {"N": "'$n'"}}'
done
check "the last one counts" equals 100 \
    ddb get-item --table-name mixed --key '{"p": {"N": "7.0"}, "s": {"B": "AAE="}}' --query Item.v.N --output text
check "create-table with number order" table order S N
for n in 100 -10 2 10 -1 0; do
    ddb put-item --table-name order --item '{"p": {"S": "x"}, "s": {"N": "'$n'"}}' || not_ok "put-item $n" failed
done
numbers() {
    words ddb query --table-name order --key-condition-expression "p = :p" --query "Items[].s.N" \
        --expression-attribute-values '{":p": {"S": "x"}}' "$@"
}
check "numbers in their order" equals "-10 -1 0 2 10 100" numbers
check "backwards, two" equals "100 10" numbers --no-scan-index-forward --limit 2 --no-paginate
check_refused "a key of another type" \
    ValidationException ddb put-item --table-name order --item '{"p": {"S": "x"}, "s": {"S": "1"}}'
check_refused "a table that is not there" ResourceNotFoundException ddb scan --table-name nothing
check "delete-item" ddb delete-item --table-name order --key '{"p": {"S": "x"}, "s": {"N": "10"}}'
check "it is gone" equals 5 ddb scan --table-name order --query Count
check "delete-table" ddb delete-table --table-name order
