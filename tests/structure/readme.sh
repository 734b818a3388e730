#!/bin/bash
# The README names every operation the server has, and none that it has not.
set -u
cd "$DARKROOM_TOP"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Rows of the operation table by their S3 name, in the README as whole words.
sed -n -E 's/^ *(\{|CANNED\(|ABSENT\()"([A-Z][A-Za-z0-9]*)",.*/\2/p' objectstore/s3_ops.c | sort -u >"$tmp/has"
sed -n '/^## What the endpoint speaks/,/^## /p' README.md | grep -v '^| `NotImplemented`' | grep '^|' |
    grep -oE '\b(Get|Put|Delete|List|Head|Create|Copy|Post|Upload|Complete|Abort)[A-Z][A-Za-z0-9]*\b' |
    sort -u >"$tmp/says"
lacks=$(comm -23 "$tmp/has" "$tmp/says" | tr '\n' ' ')
[ -s "$tmp/has" ] && [ -z "$lacks" ] && echo "ok the README names every operation" ||
    echo "not ok operations the README does not name: $lacks"
# ListObjectsV2 is ListObjects with a parameter.
more=$(comm -13 "$tmp/has" "$tmp/says" | grep -vx ListObjectsV2 | tr '\n' ' ')
[ -z "$more" ] && echo "ok the README names no operation that is not there" ||
    echo "not ok operations only the README has: $more"
