#!/bin/bash
# The operator's CLI against a running server: every command, exit codes, a restart in the middle of
# a reprocess, dead letters.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

dr() { env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$programs/darkroom" --data data "$@"; }
# json EXPRESSION: of the JSON on standard input, as v
json() { /usr/bin/python3 -c 'import json, sys; v = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
explain() { dr explain --json "s3://photos/$1"; }
item() { explain "$1" | json "(v['item'] or {}).get('$2')"; }
is_ready() { same "$(item "$1" ready)" True; }
# No event is left in the database; the status is a copy, as old as the server was busy.
quiet() {
    /usr/bin/python3 -c 'import sqlite3, sys
sys.exit(sqlite3.connect("file:data/darkroom.db?mode=ro", uri=True).execute("SELECT count(*) FROM event").fetchone()[0] != 0)'
}

start_server

# ---- looking ----
# The keys of `ls --json`, on one line.
json_keys() { /usr/bin/python3 -c 'import json, sys; print(*[json.loads(v)["key"] for v in sys.stdin])'; }
says() { # TEXT COMMAND...
    local text=$1 out
    shift
    out=$("$@") || return 1
    has "$out" "$text"
}
check "help names every command" says reprocess dr --help
check "version" says darkroom dr --version
check "status shows the lanes" says live dr status
check "status as JSON" same "$(dr status --json | json "v['storage']")" ok

# ---- put, explain, ls, get ----
check "put" dr put "$samples/grey.jpg" "s3://photos/cli/grey.jpg"
check "put of an awkward key" dr put "$samples/grey.jpg" "s3://photos/cli/a b+ü%.jpg"
check "put of several files" dr put "$samples/grey.jpg" "$samples/parrots.png" s3://photos/several/
check "each has its name" same "$(dr ls --json s3://photos/several/ | json_keys)" "several/grey.jpg several/parrots.png"
check "put into a bucket" dr put "$samples/grey.jpg" s3://photos
check "its name there" dr get s3://photos/grey.jpg got.named
check_refused "several files under one name" "end s3://photos/one with '/'" \
    dr put "$samples/grey.jpg" "$samples/parrots.png" s3://photos/one
check_code "its exit code" 2 dr put "$samples/grey.jpg" "$samples/parrots.png" s3://photos/one
check_refused "put with an unknown option" "unknown option --fast" dr put --fast "$samples/grey.jpg" s3://photos/one
check_refused "one of several is missing" "absent.jpg" dr put absent.jpg "$samples/grey.jpg" s3://photos/rest/
check_code "its exit code" 1 dr put absent.jpg "$samples/grey.jpg" s3://photos/rest/
check "the other was stored" dr get s3://photos/rest/grey.jpg got.rest
check_refused "put into no bucket names what and where" "s3://none/k/grey.jpg: " dr put "$samples/grey.jpg" s3://none/k/
check "it becomes ready" within 240 is_ready cli/grey.jpg
check "the awkward one too" within 240 is_ready "cli/a b+ü%.jpg"
check "explain for people" says cli/grey.jpg/small.webp dr explain s3://photos/cli/grey.jpg
check "explain tells the attempts" \
    same "$(explain cli/grey.jpg | json "sorted((a['function'], a['outcome']) for a in v['attempts'])")" \
    "[('metadata', 'ready'), ('thumbnail', 'ready')]"
check "explain tells the derived objects" same "$(explain cli/grey.jpg | json "len(v['derived'])")" 3
for mode in auto v2 v4; do
    check "ls with --signature $mode" says cli/grey.jpg dr ls --recursive --signature $mode s3://photos/
    check "get with --signature $mode" dr get --signature $mode s3://photos/cli/grey.jpg "got.$mode"
    check "the bytes of $mode" cmp "got.$mode" "$samples/grey.jpg"
done
check "ls stops at a slash" same "$(dr ls --json s3://photos/cli)" '{"prefix":"cli/"}'
check_refused "get of a key with a space by V2" space dr get --signature v2 "s3://photos/cli/a b+ü%.jpg" x
check_code "its exit code" 2 dr get --signature v2 "s3://photos/cli/a b+ü%.jpg" x
check "get of that key by itself" dr get "s3://photos/cli/a b+ü%.jpg" got.awkward
check "its bytes" cmp got.awkward "$samples/grey.jpg"
check "get to -" same "$(dr get s3://photos/cli/grey.jpg - | sha256sum)" "$(sha256sum <"$samples/grey.jpg")"
check "get to standard output" same "$(dr get s3://photos/cli/grey.jpg | sha256sum)" "$(sha256sum <"$samples/grey.jpg")"

# ---- exit codes ----
check_code "a missing key" 1 dr get s3://photos/none x
check "and no half a file" test ! -e x
printf mine >kept
check_code "a missing key, into a file that is there" 1 dr get s3://photos/none kept
check "which stays" same "$(cat kept)" mine
chmod 604 kept && ln -s kept link
check "get into a file that is there" dr get s3://photos/cli/grey.jpg link
check "its bytes, behind a link" cmp kept "$samples/grey.jpg"
check "and its mode" same "$(stat -c %a kept)$(stat -c %F link)" "604symbolic link"
check "get into a device" dr get s3://photos/cli/grey.jpg /dev/null
check "which stays one" test -c /dev/null
check "nothing is left beside them" same "$(ls -A | grep -c darkroom-part)" 0
check_code "a missing bucket" 1 dr ls s3://none/
check_code "no command" 2 dr
check_code "an unknown command" 2 dr develop
check_code "an unknown option" 2 dr ls --fast s3://photos
check_code "no s3 URL" 2 dr ls photos
for mode in v2 v4; do
    check_refused "a missing key is named, $mode" "s3://photos/none: The specified key does not exist" \
        dr get --signature $mode s3://photos/none x
done
check_refused "a wrong time to wait" "not \"soon\"" dr wait --timeout soon s3://photos/none
check_code "its exit code" 2 dr wait --timeout soon s3://photos/none
check_refused "a batch that is not there" "no such batch" dr reprocess --attach 999999
check_refused "a picture without a size" "needs --preset" dr sign-url s3://photos/cli/grey.jpg
check_code "its exit code" 2 dr sign-url s3://photos/cli/grey.jpg
check "help of a command" says "usage: darkroom put" dr help put
check_code "nobody there" 3 dr --endpoint-url http://127.0.0.1:1 status
check_code "no server on the directory" 3 dr --data nowhere status
check_code "wrong keys" 1 \
    env AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y "$programs/darkroom" --endpoint-url "$url" status
check "options behind the command" says storage "$programs/darkroom" status --endpoint-url "$url"

# ---- buckets ----
check "buckets add" dr buckets add --public holiday
check "put there" dr put "$samples/grey.jpg" s3://holiday/h.jpg
public() { same "$(curl -s -o /dev/null -w '%{http_code}' "$url/holiday-derived/h.jpg/small.webp")" 200; }
check "its thumbnail is public" within 240 public
check "buckets add again" dr buckets add --public holiday
check_code "buckets add of no name" 2 dr buckets add Not_A_Name

# ---- functions ----
check "functions get" says revision dr functions get thumbnail
check "functions set" dr functions set metadata --memory 512 --timeout 20 --retries 1 --max-age 600
limits="[v[k] for k in ('memory_mb', 'timeout_s', 'maximum_retry_attempts', 'maximum_event_age_s')]"
check "what was set" same "$(dr functions get metadata --json | json "$limits")" "[512, 20, 1, 600]"
check "functions set --env" dr functions set metadata --env NOTE=hello
check "the others stay" same "$(dr functions get metadata --json | json "sorted(v['environment'])")" "['NOTE', 'TABLE']"
check_refused "a memory that is too small" memory dr functions set metadata --memory 64
check_code "its exit code" 2 dr functions set metadata --memory 64
check_code "an unknown function" 1 dr functions get developer
check_refused "its sentence" "no such function" dr functions get developer
check_refused "presets of what makes none" "--presets are of thumbnail" \
    dr functions set metadata --presets "$samples/presets.json"
echo '[{"name": "Not Good", "width": 1, "height": 1}]' >bad.json
check_refused "a bad preset" name dr functions set thumbnail --presets bad.json
check_refused "a loop" "" dr functions set thumbnail --env DERIVED_BUCKET=photos

# ---- reprocess, over a restart ----
many=100
mkdir many && for i in $(seq $many); do cp "$samples/parrots.png" "many/$i.png"; done
check "many pictures" \
    /usr/bin/aws --endpoint-url "$url" s3 cp --recursive --only-show-errors many s3://photos/many/
check "are done" within 240 quiet
dr reprocess --all --rate 20/s s3://photos/many/ >reprocess.out 2>reprocess.err &
watcher=$!
some_done() { [ "$(dr batch list --json | tail -n 1 | json "v['done']")" -gt 0 ]; }
check "the batch runs" within 240 some_done
listen=${url#http://}
code=0
stop_server || code=$?
check "SIGTERM in the middle" same $code 0
check "DIR/endpoint is gone" test ! -e data/endpoint
start_server
code=0
wait $watcher || code=$?
check "reprocess survived the restart" same $code 0
check "and did them all" says "$many planned, $many done, 0 skipped, 0 failed" cat reprocess.out
check "reprocess of one function" says "1 done" dr reprocess --all --function metadata s3://photos/cli/grey
batch=$(dr reprocess --all --no-wait --json s3://photos/cli/ | tail -n 1 | json "v['id']")
check "reprocess --no-wait, then --attach" says " 2 done" dr reprocess --attach "$batch"
check_code "reprocess of a bucket without rules" 1 dr reprocess s3://photos-derived
check_code "reprocess of no bucket" 1 dr reprocess s3://none

# ---- dead letters: a function that has no time for what it is asked ----
json "json.dumps([dict(v, name='huge-%d' % n) for n in range(8)])" \
    <<<'{"width": 8192, "height": 8192, "fit": "contain", "format": "png"}' >huge.json
echo '[{"name": "tiny", "width": 32, "height": 32}]' >tiny.json
check "an impossible order" dr functions set thumbnail --presets huge.json --timeout 1 --retries 0 --memory 3008
check "no dead letter yet" says "no dead letters" dr dlq list
for n in 1 2 3; do dr put "$samples/parrots.png" s3://photos/dead/$n.png || not_ok "put $n" failed; done
dead() { same "$(dr dlq list --json | wc -l)" "$1"; }
check "three dead letters" within 240 dead 3
check "the reason is told" says time dr dlq list
check "the item says failed" has "$(item dead/1.png state)" "failed: "
check "explain shows the dead letter" same "$(explain dead/1.png | json "len(v['dead_letters'])")" 1
id=$(dr dlq list --json | head -1 | json "v['id']")
check "dlq show" says dead/1.png dr dlq show "$id"
check_code "dlq show of no such" 1 dr dlq show 999999999
check_code "dlq without a word" 2 dr dlq
check "metadata was not held up" same "$(item dead/1.png width)" 768
check "a possible order" dr functions set thumbnail --presets tiny.json --timeout 30
check "dlq redrive of one" says "1 redriven" dr dlq redrive "$id"
check "it is made now" within 240 is_ready dead/1.png
check "two are left" dead 2
check "dlq purge of one" says "1 purged" dr dlq purge "$(dr dlq list --json | head -1 | json "v['id']")"
check "dlq redrive of all" says "1 redriven" dr dlq redrive --all
check "that one is made too" within 240 is_ready dead/3.png
check "none is left" dead 0
check "dlq purge of nothing" says "0 purged" dr dlq purge --all
