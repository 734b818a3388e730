#!/bin/bash
# The README's section "The operator's day", each command as it stands there.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

start_server
export AWS_ENDPOINT_URL=$url PATH=$programs:$PATH
ln -s "$samples" samples
# The indented lines of the section.
sed -n "/^## The operator's day/,/^## /s/^    //p" "$DARKROOM_TOP/README.md" >day
check "the section has its commands" test "$(grep -c '^darkroom ' day)" -ge 15
while read -r -u 7 line; do
    check "${line%% *#*}" bash -c "$line"
done 7<day

says() { # TEXT COMMAND...
    local text=$1
    shift
    has "$("$@")" "$text"
}
check "the new presets are there" says 2026/grey.jpg/card.jpg darkroom ls --recursive s3://photos-derived/2026/
check "the second reprocess had nothing to do" says '"planned":0' darkroom reprocess s3://photos --json
check "the rule that was left" says "thumbnail" darkroom rules list s3://campaign
lacks_metadata() { lacks "$(darkroom rules list s3://campaign)" metadata; }
check "and no other" lacks_metadata
