#!/bin/bash
# Runs the fuzz targets, each alone:  tests/fuzz/run.sh [NAME]...
#
# As a part of `make test`: the seeds and 20,000 inputs from a fixed random seed, the same each
# time. With FUZZ_SECONDS (`make fuzz`): that long each, from the seeds and from what earlier runs
# left in build/fuzz/NAME. An input that fails is kept as build/fuzz/NAME-FAILURE; to look at it:
#   build/clang-fuzzer-no-link-address-undefined/tests/fuzz/fuzz_NAME FILE
set -u
cd "$DARKROOM_TOP" || exit 1
programs=build/clang-fuzzer-no-link-address-undefined/tests/fuzz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

have_libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer -w -x c - -o "$work/probe" 2>/dev/null
}
if ! have_libfuzzer; then
    [ "${1:-}" = --probe ] && exit 1
    echo "skip fuzz: clang has no libFuzzer here (libclang-rt-14-dev)"
    exit 0
fi
[ "${1:-}" = --probe ] && exit 0

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:handle_abort=1 UBSAN_OPTIONS=print_stacktrace=1

fuzz() {
    local name=$1 log=$work/$1.log corpus=$work/$1 how=(-runs=20000 -seed=1) dict=() code runs
    if [ -n "${FUZZ_SECONDS:-}" ]; then
        corpus=build/fuzz/$name
        how=(-max_total_time="$FUZZ_SECONDS")
    fi
    mkdir -p "$corpus" build/fuzz
    [ -f "tests/fuzz/seeds/$name.dict" ] && dict=(-dict="tests/fuzz/seeds/$name.dict")
    "$programs/fuzz_$name" "${how[@]}" "${dict[@]}" -print_final_stats=1 -timeout=120 \
        -rss_limit_mb=2048 -artifact_prefix="build/fuzz/$name-" \
        "$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1 9>&-
    code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $code = 0 ] && [ "${runs:-0}" -gt 0 ]; then
        echo "ok fuzz $name ($runs runs)"
        return
    fi
    grep -vE '^#[0-9]+' "$log" | tail -30 | cut -c1-160 | sed 's/^/# /'
    echo "not ok fuzz $name: code $code: $(grep -m1 -E 'assertion failed|runtime error|ERROR' "$log")"
}

for source in tests/fuzz/fuzz_*.c; do
    name=${source##*/fuzz_}
    name=${name%.c}
    case " ${*:-$name} " in *" $name "*) fuzz "$name" ;; esac
done
