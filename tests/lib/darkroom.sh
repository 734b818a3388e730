# The running product for end-to-end tests in shell: source it, start_server, check things.
#
#   check NAME COMMAND...     ok when the command succeeds; its output is the reason when it fails
#   within SECONDS COMMAND... asks again until it succeeds
#   skip NAME WHY
#
# At the end of the script the server is stopped by SIGTERM and must exit with 0.
set -u
samples=$DARKROOM_TOP/samples
programs=$DARKROOM_TOP/${DARKROOM_BUILD:-.} # see tests/run
failures=0
server_pid=
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
user_home=$HOME
export AWS_EC2_METADATA_DISABLED=true AWS_PAGER= HOME=$PWD
unset AWS_PROFILE AWS_ENDPOINT_URL AWS_DEFAULT_REGION AWS_REGION AWS_SESSION_TOKEN
unset AWS_CA_BUNDLE
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
unset DARKROOM_ACCESS_KEY_ID DARKROOM_SECRET_ACCESS_KEY

ok() { echo "ok $1"; }
skip() { echo "skip $1: $2"; }
not_ok() {
    failures=$((failures + 1))
    echo "not ok $1: $(printf '%s' "$2" | tr '\n' ' ' | cut -c1-400)"
}

check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "code $?: $out"; fi
}

# check_refused NAME TEXT COMMAND...: it must fail and say so
check_refused() {
    local name=$1 text=$2 out
    shift 2
    if out=$("$@" 2>&1); then
        not_ok "$name" "was not refused: $out"
    elif [ $? = 86 ]; then
        not_ok "$name" "a sanitizer ended it: $out" # see tests/run
    else
        case "$out" in *"$text"*) ok "$name" ;; *) not_ok "$name" "said: $out" ;; esac
    fi
}

# check_code NAME CODE COMMAND...
check_code() {
    local name=$1 want=$2 out code
    shift 2
    out=$("$@" 2>&1)
    code=$?
    if [ $code = "$want" ]; then ok "$name"; else not_ok "$name" "code $code, not $want: $out"; fi
}

same() { [ "$1" = "$2" ] || { echo "got <$1>, wanted <$2>"; return 1; }; }
has() { case "$1" in *"$2"*) ;; *) echo "no <$2> in <$1>"; return 1 ;; esac; }
lacks() { case "$1" in *"$2"*) echo "<$2> in <$1>"; return 1 ;; esac; }

# A pipe nobody writes to: reading it with a time limit is the pause between two looks.
mkfifo quiet && exec 9<>quiet
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            "$@"
            return
        fi
        read -r -t 0.1 -u 9 _
    done
    return 0
}

# start_server [OPTIONS...]: sets $url, the AWS keys, and $server_pid
start_server() {
    local line=
    case "${DARKROOM_BUILD:-}" in
    *address*) # as WORKERS in darkroom.py
        (umask 077 && echo '{"workers": {"recycle_rss_bytes": 1099511627776}}' >sanitized.json)
        set -- --config "$PWD/sanitized.json" "$@"
        ;;
    esac
    rm -f listening && mkfifo listening
    "$programs/darkroomd" --data data --listen "${listen:-127.0.0.1:0}" "$@" \
        >listening 2>>server.log 9>&- &
    server_pid=$!
    exec 8<listening
    read -r -t 120 -u 8 line
    case "$line" in
    "listening on http://"*) url=${line##* } ;;
    *)
        echo "not ok the server starts: $line $(tail -3 server.log)"
        server_pid=
        exit 0
        ;;
    esac
    AWS_ACCESS_KEY_ID=$(sed -n 's/^aws_access_key_id = //p' data/credentials)
    AWS_SECRET_ACCESS_KEY=$(sed -n 's/^aws_secret_access_key = //p' data/credentials)
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
}

# SIGTERM; the exit code is the result
stop_server() {
    local pid=$server_pid
    server_pid=
    kill -TERM "$pid" 2>/dev/null
    wait "$pid"
}

finish() {
    if [ -n "$server_pid" ]; then
        check "no event was lost" no_lost_event
        local code=0
        stop_server || code=$?
        check "the server ends cleanly" same $code 0
    fi
    [ $failures = 0 ] || { echo "--- the end of the server's log"; tail -15 server.log; }
}
no_lost_event() { has "$(curl -s "$url/_/metrics")" "darkroom_lost_events_total 0"; }
trap finish EXIT
