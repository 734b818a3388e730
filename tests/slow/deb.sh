#!/bin/bash
# Builds the Debian package out of a copy of the tree and lets lintian judge it:  deb.sh OUT_DIR
# Minutes long and in need of packages of its own, so a target apart: make deb.
set -u
top=${DARKROOM_TOP:-$PWD}
out=$1
rm -rf "$out"
mkdir -p "$out/darkroom"
(cd "$top" && git ls-files -z | xargs -0 cp --parents -t "$top/$out/darkroom") || exit 1
cd "$out/darkroom" || exit 1

if dpkg-buildpackage -us -uc -b >../build.log 2>&1; then
    echo "ok dpkg-buildpackage -us -uc -b"
else
    tail -30 ../build.log
    echo "not ok dpkg-buildpackage: see $out/build.log"
    exit 1
fi
cd ..
lintian --tag-display-limit 0 --fail-on error ./*.changes >lintian.log 2>&1
code=$?
cat lintian.log
bad=0
[ $code = 0 ] && echo "ok lintian has no error" || { echo "not ok lintian: $code"; bad=1; }
dpkg-deb -c darkroom_*.deb >contents
for name in usr/bin/darkroomd usr/bin/darkroom usr/libexec/darkroom/darkroom-worker \
    lib/systemd/system/darkroomd.service etc/darkroom/darkroom.json etc/logrotate.d/darkroom; do
    grep -q " ./$name$" contents && echo "ok $name is in it" || { echo "not ok $name is not in it"; bad=1; }
done
mkdir unpacked && dpkg-deb -x darkroom_*.deb unpacked && unpacked/usr/bin/darkroomd --version &&
    echo "ok its server runs" || { echo "not ok its server does not run"; bad=1; }
exit $bad
