#!/bin/bash
# What a program is not linked with is part of the design.
set -u
cd "$DARKROOM_TOP"

not_linked() {
    local program=$1 lib bad=
    shift
    for lib in "$@"; do
        readelf -d "$program" | grep NEEDED | grep -q "\[lib$lib\." && bad="$bad $lib"
    done
    [ -z "$bad" ] && echo "ok $program is not linked with $*" || echo "not ok $program is linked with$bad"
}
# For the server and the CLI not even through another library.
not_reached() {
    local program=$1 lib bad=
    shift
    for lib in "$@"; do
        ldd "$program" | grep -q "lib$lib\." && bad="$bad $lib"
    done
    [ -z "$bad" ] && echo "ok $program does not reach $*" || echo "not ok $program reaches$bad"
}
not_linked ./darkroomd vips s3 seccomp
not_reached ./darkroomd vips
not_linked ./darkroom-worker microhttpd s3 sqlite3 jansson uv
not_reached ./darkroom-worker microhttpd s3 sqlite3
not_linked ./darkroom sqlite3 vips microhttpd uv
not_reached ./darkroom sqlite3 vips
