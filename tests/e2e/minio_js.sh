#!/bin/bash
# minio-js from npm with endpoint and keys only. Its pinned version goes into build/npm-minio, once.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

packages="minio@8.0.7"
cache=$DARKROOM_TOP/build/npm-minio
for tool in node npm; do
    command -v $tool >/dev/null || { skip "minio-js" "$tool is not installed"; exit 0; }
done
if [ "$(cat "$cache/installed" 2>/dev/null)" != "$packages" ]; then
    mkdir -p "$cache"
    if ! HOME=$user_home timeout 180 npm install --prefix "$cache" --no-audit --no-fund --ignore-scripts --no-save \
        --fetch-retries 1 $packages >npm.log 2>&1; then
        skip "minio-js" "npm install failed: $(grep -m1 -i error npm.log)"
        exit 0
    fi
    printf '%s' "$packages" >"$cache/installed"
fi

start_server
NODE_PATH=$cache/node_modules DARKROOM_URL=$url \
    timeout 600 node "$DARKROOM_TOP/tests/e2e/minio_js.cjs" "$samples/parrots.png" >js.out 2>js.err
code=$?
grep -E '^(ok|not ok) ' js.out
failures=$(grep -c '^not ok ' js.out)
[ $code = 0 ] || not_ok "node" "code $code: $(tail -3 js.err)"
