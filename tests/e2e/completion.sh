#!/bin/bash
# Completion: what the program offers, and what the shells make of it.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

start_server
offered() { "$programs/darkroom" complete -- "$@" | tr '\n' ' '; }
at() { offered --endpoint-url "$url" "$@"; }

check "commands" same "$(offered re)" "reprocess restore "
check "verbs" same "$(offered presets '')" "list diff set "
check "options of the verb and global ones" same "$(offered functions invoke --c)" "--commit --ca-file "
check "words of an option" same "$(offered sign-url --fit c)" "cover contain "
check "files" same "$(offered presets set '')" ":files "
check "the server is away" same "$(offered --endpoint-url http://127.0.0.1:1 ls s3:// 2>/dev/null)" ""
check "buckets" same "$(at ls s3://)" "s3://photos/ s3://photos-derived/ "
check "bucket names" same "$(at buckets show photos-)" "photos-derived "
check "functions" same "$(at reprocess --function t)" "thumbnail "
check "put" "$programs/darkroom" --endpoint-url "$url" put "$samples/grey.jpg" s3://photos/a/one.jpg
check "keys" same "$(at get s3://photos/a)" "s3://photos/a/ "
check "keys behind a slash" same "$(at get s3://photos/a/)" "s3://photos/a/one.jpg "

# in_bash LINE: what bash would put behind the last ':' or blank of the line
in_bash() {
    PATH=$DARKROOM_TOP:$PATH AWS_ENDPOINT_URL=$url bash -c '
        compopt() { :; } # there is no line editor
        source <(darkroom completion bash)
        COMP_LINE=$1 COMP_POINT=${#1}
        _darkroom && echo "${COMPREPLY[*]}"' - "$1"
}
check "bash: a verb" same "$(in_bash 'darkroom dlq re')" "redrive"
check "bash: an option" same "$(in_bash 'darkroom ls --rec')" "--recursive"
check "bash: a bucket" same "$(in_bash 'darkroom ls s3://photos-')" "//photos-derived/"
check "bash: the second word" same "$(in_bash 'darkroom presets ')" "list diff set"
check "bash takes the script" bash -n <("$programs/darkroom" completion bash)
if command -v zsh >/dev/null; then
    check "zsh takes the script" zsh -n <("$programs/darkroom" completion zsh)
else
    skip "zsh takes the script" "zsh is not installed"
fi
