#!/bin/bash
# Ratios against peers, measured in this run:  tests/bench/run.sh [put|get|ready|list|memory|jpeg|images]...
#
# Every figure line says what, ours, the peer or the reference, their ratio, the bar it is held to,
# and whether it holds. Exit code 0 when all was measured, whatever the figures say.
#   PHOTOS=DIR         photos to use (default: ../shared/photos where there is one, else samples/)
#   BENCH_PHOTOS=N     photos one worker gets in the memory line (default 2000)
#   BENCH_LIST_KEYS=N  keys the listed bucket grows to (default 1000000)
#   BENCH_ROUNDS=N     rounds of every interleaved pair (default 3)
#   BENCH_DIR=DIR      where the data goes; its file system is what syncs are measured on
set -eu
cd "$(dirname "$0")/../.."
export DARKROOM_TOP=$PWD
if [ -z "${PHOTOS:-}" ]; then
    [ -d ../shared/photos ] && PHOTOS=$PWD/../shared/photos || PHOTOS=$PWD/samples
fi
PHOTOS=$(readlink -f "$PHOTOS")
export PHOTOS

out=build/bench
mkdir -p $out
flags="-std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Wshadow -Wmissing-prototypes
       -Wstrict-prototypes -Wvla -Wformat=2 -Werror -I. -pthread"
libs="build/gcc/libfunctions.a build/gcc/libbase.a -lcrypto -lm"
gcc $flags -o $out/load tests/bench/load.c tests/lib/put_head.c $libs
gcc $flags -o $out/peer_syncfile tests/bench/peer_syncfile.c $libs
gcc $flags -o $out/memory tests/bench/memory.c tests/bench/bench_worker.c $libs
vips=$(pkg-config --cflags vips | sed 's/-I/-isystem /g')
images_o=$(ls build/gcc/functions/image*.o)
gcc $flags $vips -o $out/images tests/bench/images.c tests/bench/images_plain.c \
    tests/bench/bench_worker.c tests/bench/floor_jpeg.c $images_o $libs -lturbojpeg \
    $(pkg-config --libs vips)
gcc $flags $vips -o $out/images_loop tests/bench/images_loop.c tests/bench/bench_worker.c $libs \
    $(pkg-config --libs vips)
gcc $flags -o $out/jpeg tests/bench/jpeg.c tests/bench/bench_worker.c tests/bench/floor_jpeg.c \
    $libs -lturbojpeg

work=$(mktemp -d "${BENCH_DIR:-$PWD/build}/bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
/usr/bin/python3 "$DARKROOM_TOP/tests/bench/bench.py" "$@"
