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
printf 7 >"tree/#?%&+"
printf 8 >"tree/ends with space "
printf 9 >"tree/ begins with one"
printf a >"tree/back\\slash"
printf b >"tree/$(printf 'n\u0303-NFD')" # the same letter twice, once as two characters
printf c >"tree/$(printf '\u00f1-NFC')"
printf d >"tree/$(printf 'x%.0s' {1..255})"
printf e >"tree/=leading;and*stars|pipes<>:"
printf f >"tree/...dots"
mkdir -p "tree/$(printf 'd%.0s' {1..240})/$(printf 'e%.0s' {1..240})"
printf g >"tree/$(printf 'd%.0s' {1..240})/$(printf 'e%.0s' {1..240})/$(printf 'ü%.0s' {1..110})"
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
    s3_link=$(s3cmd signurl s3://sbox/dir/grey.jpg +60)
    get_link() { curl -sf -o link.back "$1" && cmp link.back "$samples/grey.jpg"; }
    check "s3cmd signurl" get_link "$s3_link"
    check "s3cmd put with metadata" s3cmd put --add-header=x-amz-meta-who:me --mime-type=text/x \
        "$samples/grey.jpg" "s3://sbox/with metadata"
    check "s3cmd info: metadata" shows "x-amz-meta-who: me" s3cmd info "s3://sbox/with metadata"
    check "s3cmd info: type" shows "MIME type: text/x" s3cmd info "s3://sbox/with metadata"
    check "s3cmd multipart" s3cmd put --multipart-chunk-size-mb=5 tree/large.bin s3://sbox/parts.bin
    check "s3cmd get of it" s3cmd get s3://sbox/parts.bin parts.back
    check "s3cmd: the same parts" cmp parts.back tree/large.bin
    check "s3cmd multipart: nothing left" lacks "$(s3cmd multipart s3://sbox)" "2026"
    check "s3cmd du" shows "s3://sbox/tree/" s3cmd du s3://sbox/tree/
    rm "tree/#?%&+"
    check "s3cmd sync --delete-removed" shows "delete: 's3://sbox/tree/#?%&+'" \
        s3cmd sync --delete-removed tree/ s3://sbox/tree/
    printf 7 >"tree/#?%&+"
    s3cmd_wrong() { s3cmd --secret_key=wrong ls s3://sbox; }
    check_refused "s3cmd with a wrong secret" SignatureDoesNotMatch s3cmd_wrong
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
    # Not those XML has no form for: rclone asks again with encoding-type, but only after a minute.
    printf h >"tree/new
line"
    printf i >"tree/$(printf 'tab\tin')"
    check "rclone sync of names with control characters" rclone sync tree :s3:rbox/tree
    check "rclone check of them" rclone check --one-way tree :s3:rbox/tree
    check "rclone sync has nothing to do" lacks "$(rclone sync -v tree :s3:rbox/tree 2>&1)" Copied
    rm -r rdown
    check "rclone sync down of them" rclone sync :s3:rbox/tree rdown
    check "rclone: the same names" diff -r tree rdown
    check "rclone copy in parts" rclone copyto --s3-upload-cutoff 5M --s3-chunk-size 5M tree/large.bin :s3:rbox/parts.bin
    check "rclone: the same parts" cmp tree/large.bin <(rclone cat :s3:rbox/parts.bin)
    printf piped | check "rclone rcat" rclone rcat :s3:rbox/piped
    check "rclone cat of it" shows piped rclone cat :s3:rbox/piped
    r_link=$(rclone link --expire 60s ":s3:rbox/tree/amp&=?#.txt")
    check "rclone link" same "$(curl -sf "$r_link")" 4
    check "rclone size" shows "Total objects" rclone size :s3:rbox/tree
    check "rclone touch keeps the time" rclone copyto --metadata tree/empty :s3:rbox/empty
    check "rclone lsl" shows "$(date -u -r tree/empty +%Y-%m-%d)" rclone lsl :s3:rbox/empty
    rclone_wrong() { rclone --s3-env-auth=false --s3-access-key-id "$AWS_ACCESS_KEY_ID" --s3-secret-access-key wrong lsf :s3:rbox; }
    check_refused "rclone with a wrong secret" SignatureDoesNotMatch rclone_wrong
    rm "tree/a b/c d.txt" "tree/new
line"
    printf changed >"tree/amp&=?#.txt"
    check "rclone sync of changes" rclone sync tree :s3:rbox/tree
    check "rclone check after it" rclone check tree :s3:rbox/tree
    check "rclone copyto" rclone copyto :s3:rbox/tree/large.bin :s3:rbox/copy.bin
    check "rclone cat" shows changed rclone cat ":s3:rbox/tree/amp&=?#.txt"
    check "rclone copyto of a picture" rclone copyto "$samples/parrots.png" ":s3:photos/r/ü p.png"
    ready() { rclone cat ":s3:photos-derived/r/ü p.png/small.webp" | head -c 12 | grep -q WEBP; }
    check "its thumbnail" within 240 ready
    check "rclone purge" rclone purge :s3:rbox
    check_refused "rclone: the bucket is gone" "not found" rclone lsf :s3:rbox
else
    skip "rclone" "not installed"
fi
