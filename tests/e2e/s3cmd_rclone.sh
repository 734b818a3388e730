#!/bin/bash
# s3cmd and rclone: put, get, list, sync and check a tree with awkward names.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

start_server
mkdir -p "tree/a b" "tree/plus+and%25" "tree/ünï/深い"
printf 1 >"tree/a b/c d.txt"
printf 2 >"tree/plus+and%25/x%20y+z"
printf 3 >"tree/ünï/深い/é.txt"
printf 4 >"tree/amp&=?#.txt"
printf 5 >"tree/quote'\"s.txt"
printf 6 >"tree/(br[ac]{k}ets)~!@\$^,;.txt"
head -c 17000000 /dev/urandom >tree/large.bin
: >tree/empty

shows() {
    local want=$1 out
    shift
    out=$("$@") && has "$out" "$want"
}

if command -v s3cmd >/dev/null; then
    # The bucket in the path: a bucket in the host name need not resolve.
    s3cmd() {
        command s3cmd -c /dev/null --no-progress --no-ssl --host "${url#http://}" --host-bucket "${url#http://}" \
            --access_key "$AWS_ACCESS_KEY_ID" --secret_key "$AWS_SECRET_ACCESS_KEY" "$@"
    }
    check "s3cmd mb" s3cmd mb s3://sbox
    check "s3cmd put" s3cmd put "$samples/grey.jpg" s3://sbox/dir/grey.jpg
    check "s3cmd get" s3cmd get s3://sbox/dir/grey.jpg grey.back
    check "s3cmd: the same bytes" cmp grey.back "$samples/grey.jpg"
    check "s3cmd ls" shows s3://sbox/dir/ s3cmd ls s3://sbox/
    check "s3cmd ls -r" shows s3://sbox/dir/grey.jpg s3cmd ls -r s3://sbox/
    check "s3cmd la" shows s3://photos s3cmd ls
    check "s3cmd info" shows "File size: 24244" s3cmd info s3://sbox/dir/grey.jpg
    check "s3cmd sync up" s3cmd sync tree/ s3://sbox/tree/
    mkdir sdown
    check "s3cmd sync down" s3cmd sync s3://sbox/tree/ sdown/
    check "s3cmd: the same tree" diff -r tree sdown
    check "s3cmd cp" s3cmd cp s3://sbox/tree/large.bin s3://sbox/copy.bin
    check "s3cmd mv" s3cmd mv s3://sbox/copy.bin s3://sbox/moved.bin
    check "s3cmd Version 2 signature" s3cmd --signature-v2 get --force s3://sbox/dir/grey.jpg grey.back
    check_refused "s3cmd get of a missing key" "does not exist" s3cmd get s3://sbox/none none
    check "s3cmd del -r" s3cmd del -r --force s3://sbox/
    check "s3cmd rb" s3cmd rb s3://sbox
else
    skip "s3cmd" "not installed"
fi

if command -v rclone >/dev/null; then
    rclone() {
        command rclone --config /dev/null --s3-provider Other --s3-endpoint "$url" --s3-env-auth --stats 0 "$@"
    }
    check "rclone mkdir" rclone mkdir :s3:rbox
    check "rclone copy" rclone copy tree :s3:rbox/tree
    check "rclone check" rclone check tree :s3:rbox/tree
    check "rclone check --download" rclone check --download tree :s3:rbox/tree
    check "rclone lsf" shows "quote'\"s.txt" rclone lsf -R :s3:rbox/tree
    check "rclone sync down" rclone sync :s3:rbox/tree rdown
    check "rclone: the same tree" diff -r tree rdown
    rm "tree/a b/c d.txt"
    printf changed >"tree/amp&=?#.txt"
    check "rclone sync of changes" rclone sync tree :s3:rbox/tree
    check "rclone check after it" rclone check tree :s3:rbox/tree
    check "rclone copyto" rclone copyto :s3:rbox/tree/large.bin :s3:rbox/copy.bin
    check "rclone cat" shows changed rclone cat ":s3:rbox/tree/amp&=?#.txt"
    check "rclone copyto of a picture" rclone copyto "$samples/parrots.png" ":s3:photos/r/ü p.png"
    ready() { rclone cat ":s3:photos-derived/r/ü p.png/small.webp" | head -c 12 | grep -q WEBP; }
    check "its thumbnail" within 30 ready
    check "rclone purge" rclone purge :s3:rbox
    check_refused "rclone: the bucket is gone" "not found" rclone lsf :s3:rbox
else
    skip "rclone" "not installed"
fi
