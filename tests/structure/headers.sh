#!/bin/bash
# Every header compiles alone; the include graph is acyclic and keeps the arrows of the design:
# base <- objectstore, metadata, functions <- pipeline. One library, one file.
set -u
cd "$DARKROOM_TOP"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
inc_functions=$(sed -n 's/^INC_functions := //p' build/flags.mk)

bad=
for h in $(git ls-files '*.h' ':!tests'); do
    case "$h" in *_list.h) continue ;; esac
    inc=
    case "$h" in functions/*) inc=$inc_functions ;; esac
    echo "#include \"$h\"" >"$tmp/alone.c"
    eval "gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. $inc -fsyntax-only $tmp/alone.c" 2>"$tmp/err" ||
        bad="$bad $h"
done
[ -z "$bad" ] && echo "ok every header compiles alone" || echo "not ok headers that do not compile alone:$bad"

# "FOLDER INCLUDED-FOLDER" for each include of our own.
git ls-files '*.c' '*.h' ':!tests' | while read -r f; do
    sed -n 's/^#include "\([a-z]*\)\/[^"]*".*/\1/p' "$f" | sed "s|^|${f%%/*} |"
done | sort -u >"$tmp/edges"
wrong=$(awk '$1 != $2 && !($2 == "base" || ($1 == "pipeline" && $2 != "tests")) {print $1 "->" $2}' "$tmp/edges")
[ -z "$wrong" ] && echo "ok include arrows" || echo "not ok include arrows: $wrong"

private=$(git grep -nE '#include "(objectstore|metadata|functions)/[a-z0-9_]*_priv\.h"' -- 'pipeline/*' |
    cut -d: -f1,3)
[ -z "$private" ] && echo "ok pipeline includes public headers only" || echo "not ok private headers in pipeline: $private"

# One header, the folders or files that may include it.
only() {
    local who
    who=$(git grep -lE "#include <$1" -- '*.c' '*.h' ':!tests' | grep -vE "$2" | tr '\n' ' ')
    [ -z "$who" ] && echo "ok $1 only where it belongs" || echo "not ok $1 included by $who"
}
only 'sqlite3\.h' '^base/db_priv\.h$'
only 'microhttpd\.h' '^base/http_(mhd|guard)[a-z_]*\.[ch]$'
only 'gnutls/' '^base/http_(tls|mhd_front)\.c$'
only 'openssl/' '^base/(digest|crc)\.c$'
only 'expat\.h' '^base/xml\.c$'
only 'vips/' '^functions/image[a-z_]*\.[ch]$'
only 'seccomp\.h' '^functions/sandbox[a-z_]*\.c$'
only 'uv\.h' '^pipeline/'
only 'libs3\.h' '^objectstore/remote_libs3\.c$'
only 'curl/' '^(objectstore/remote_http|pipeline/webhook_send)\.c$'

cyclic=$(git ls-files '*.h' ':!tests' | while read -r f; do
    sed -n 's/^#include "\([^"]*\)".*/\1/p' "$f" | sed "s|^|$f |"
done | tsort 2>&1 >/dev/null | grep -v 'input contains a loop' | tr '\n' ' ')
[ -z "$cyclic" ] && echo "ok the header graph has no cycle" || echo "not ok header cycle: $cyclic"

many=$(git ls-files '*.c' ':!tests' | while read -r f; do
    n=$(grep -c '^#include "' "$f")
    [ "$n" -gt 11 ] && echo "$f($n)"
done | tr '\n' ' ')
[ -z "$many" ] && echo "ok no file includes more than ten of our headers beside its own" || echo "not ok too many includes: $many"
