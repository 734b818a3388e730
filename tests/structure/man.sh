#!/bin/bash
# The man page of the CLI is the one that its option tables make, and troff takes both pages.
set -u
cd "$DARKROOM_TOP"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

./darkroom man-page >"$tmp/darkroom.1"
if cmp -s "$tmp/darkroom.1" man/darkroom.1; then
    echo "ok man/darkroom.1 is what the option tables say"
else
    echo "not ok man/darkroom.1 is old: make man"
fi
if command -v groff >/dev/null; then
    warnings=$(groff -man -Tutf8 -ww -z man/*.[18] 2>&1)
    [ -z "$warnings" ] && echo "ok groff has nothing to say about the man pages" ||
        echo "not ok groff: $(echo $warnings | cut -c1-300)"
else
    echo "skip groff has nothing to say about the man pages: groff is not installed"
fi
