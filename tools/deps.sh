#!/bin/bash
# Installs the Debian packages that are missing: deps.sh build | test | bench | lint | deb | peer PACKAGE...
# Does nothing (and needs no network and no root) when all are there.
# deps.sh promtool DIR puts that one program of Debian's package prometheus into DIR: the package
# itself would start a server of its own.
set -u

build="gcc make pkg-config libc6-dev libvips-dev libmicrohttpd-dev libgnutls28-dev libs3-dev
       libjansson-dev libuv1-dev libsqlite3-dev libssl-dev libcurl4-openssl-dev libseccomp-dev
       libexpat1-dev curl ca-certificates bsdextrautils"
test="libcmocka-dev clang libclang-rt-14-dev awscli python3-boto3 xfsprogs e2fsprogs strace s3cmd
      rclone git python3-pil libs3-2"
lint="clang-tidy cppcheck"
bench="nginx-light wrk libturbojpeg0-dev python3-boto3 python3-pil"

# $1 folder
fetch_promtool() {
    command -v promtool >/dev/null || [ -x "$1/promtool" ] && return 0
    local dir
    dir=$(mktemp -d) && mkdir -p "$1" || return 1
    (cd "$dir" && apt-get download -q prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb x) &&
        mv "$dir/x/usr/bin/promtool" "$1/"
    local code=$?
    rm -rf "$dir"
    [ $code = 0 ] || echo "deps: promtool cannot be fetched; the checks that need it are skipped" >&2
    return 0
}

case "${1:-}" in
promtool)
    fetch_promtool "${2:?folder}"
    exit
    ;;
build) want=$build ;;
test) want="$build $test" ;;
bench) want="$build $bench" ;;
deb) want="$build debhelper dpkg-dev lintian fakeroot debootstrap" ;;
lint) want="$build $lint" ;;
peer) want="${*:2}" ;;
*)
    echo "usage: tools/deps.sh build | test | bench | lint | deb | peer PACKAGE... | promtool DIR" >&2
    exit 2
    ;;
esac

missing=
for p in $want; do
    dpkg-query -W -f='${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

echo "installing:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "deps: these Debian packages are missing and only root can install them:$missing" >&2
    exit 1
fi
log=$(mktemp)
if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    echo "deps: apt-get failed; its output is in $log" >&2
    exit 1
fi
rm -f "$log"
