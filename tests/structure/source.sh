#!/bin/bash
# What review would refuse: banned calls, long files, unused exports, paths of one machine.
set -u
cd "$DARKROOM_TOP"

banned='strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|sscanf|system|popen|alloca|rand|srand|sleep|usleep|gets'
hits=$(git grep -nE "(^|[^a-zA-Z0-9_])($banned)\(" -- '*.c' '*.h' | grep -vE ':[[:space:]]*(/\*|\*|//)' | cut -d: -f1,2 | tr '\n' ' ')
[ -z "$hits" ] && echo "ok no banned call" || echo "not ok banned calls: $hits"

hits=$(git grep -nE '(^|[^a-zA-Z0-9_.>])(time|gettimeofday|clock_gettime)\(' -- '*.c' ':!base/clock.c' ':!tests' | cut -d: -f1,2 | tr '\n' ' ')
[ -z "$hits" ] && echo "ok time is asked in clock.c only" || echo "not ok time asked in: $hits"

long=$(git ls-files '*.c' '*.h' | xargs wc -l | awk '$2 != "total" && (($2 ~ /\.c$/ && $1 > 900) || ($2 ~ /\.h$/ && $2 !~ /^tests/ && $1 > 420)) {print $2 "(" $1 ")"}' | tr '\n' ' ')
[ -z "$long" ] && echo "ok no file is too long" || echo "not ok long files: $long"

# How long a comparison takes must not tell how much of a signature, digest or token was right: no
# test can see it. Each place that compares one is counted; whoever moves or adds one tells it here.
compared='base/auth.c:1 base/aws_chunked.c:2 base/digest.c:1 base/payload.c:3 base/sigv2.c:2 base/sigv4_check.c:2 pipeline/admin_service.c:1 pipeline/image_url.c:1'
hits=$(git grep -c 'digest_equal(' -- '*.c' ':!tests' | tr '\n' ' ')
grep -A3 '^digest_equal(' base/digest.c | grep -q 'CRYPTO_memcmp(a, b, n) == 0' || hits="digest_equal() itself $hits"
[ "$hits" = "$compared " ] && echo "ok secrets are compared in constant time" || echo "not ok secrets are compared elsewhere: $hits"

# A new place would compare by other means: with what is named like a secret, that is refused. (A
# lexer's token is none, and the CLI looks only at its own user's.)
secret='(^|[^a-zA-Z0-9_"])(h?mac|signature|secret|secret_access_key|session_token|token|password|claimed)([^a-zA-Z0-9_"]|$)'
hits=$(git grep -nE '(^|[^a-zA-Z0-9_])(memcmp|bcmp|strn?(case)?cmp|slice_(i?eqs?|cmp|starts))\(' -- '*.c' ':!tests' ':!metadata/expr_lex.c' ':!pipeline/cli_*' |
    sed -E 's/^([^:]*:[0-9]+):.*[^a-zA-Z0-9_](memcmp|bcmp|strn?(case)?cmp|slice_(i?eqs?|cmp|starts))\(/\1: /' | grep -E "$secret" | cut -d: -f1,2 | tr '\n' ' ')
[ -z "$hits" ] && echo "ok nothing named like a secret is compared byte by byte" || echo "not ok secrets compared byte by byte: $hits"

# A function begins with its name in column 1 and ends with a brace there.
long=$(git ls-files '*.c' ':!tests' | xargs awk '
    /^[a-z_][a-zA-Z0-9_]*\(/ {name = $0; sub(/\(.*/, "", name); start = FNR}
    /^}/ {if (name != "" && FNR - start > 100) print FILENAME ":" name "(" FNR - start ")"; name = ""}' | tr '\n' ' ')
[ -z "$long" ] && echo "ok no function is over 100 lines" || echo "not ok long functions: $long"

wide=$(git ls-files '*.c' '*.h' | xargs awk 'length($0) > 100 && !/^ *X\(/ && !/^(CONF|STAT|STAT_AS|HISTOGRAM|FAMILY)\(/ {print FILENAME ":" FNR}' | head -20 | tr '\n' ' ')
[ -z "$wide" ] && echo "ok no line is over 100 columns" || echo "not ok wide lines: $wide"

hits=$(git grep -nE '\b(TODO|FIXME|XXX)\b' -- '*.c' '*.h' '*.sh' Makefile ':!tests/structure' | cut -d: -f1,2 | tr '\n' ' ')
[ -z "$hits" ] && echo "ok nothing is left to do by its own word" || echo "not ok left to do: $hits"

# tests/run passes over what is not executable: a script must not be left out by its mode.
idle=$(git ls-files tests | while read -r f; do
    [ -f "$f" ] && [ ! -x "$f" ] && [ "$(head -c 2 "$f" | tr -d '\0')" = '#!' ] && echo "$f"
done | tr '\n' ' ')
[ -z "$idle" ] && echo "ok every script of the tests can be run" || echo "not ok not executable: $idle"

# An exported function that nobody outside its file uses should be static.
unused=
for o in $(find build/gcc -name '*.o' -not -path '*/tests/*'); do
    nm -g --defined-only "$o" | awk '$2 == "T" {print $3}'
done | sort -u >/tmp/darkroom-exports.$$
{
    for o in $(find build/gcc -name '*.o' -not -path '*/tests/*'); do nm -u "$o" | awk '{print $2}'; done
    git ls-files 'tests/*.[ch]' | xargs grep -hoE '\b[a-z][a-z0-9_]+\b' # they need not be built
} | sort -u >/tmp/darkroom-uses.$$
unused=$(comm -23 /tmp/darkroom-exports.$$ /tmp/darkroom-uses.$$ | grep -vxE 'main|gmtime|recv|MHD_queue_response|gnutls_handshake|gnutls_record_recv' | # http_mhd_front.c, remote_libs3.c
     tr '\n' ' ')
rm -f /tmp/darkroom-exports.$$ /tmp/darkroom-uses.$$
[ -z "$unused" ] && echo "ok every exported function is used elsewhere" || echo "not ok exported for nobody: $unused"
