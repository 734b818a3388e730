#!/bin/bash
# The JS SDK v3 with default settings. Its pinned versions go into build/npm, once.
. "$DARKROOM_TOP/tests/lib/darkroom.sh"

packages="@aws-sdk/client-s3@3.1169.0 @aws-sdk/lib-storage@3.1169.0 @aws-sdk/client-dynamodb@3.1162.0
    @aws-sdk/s3-request-presigner@3.1162.0"
cache=$DARKROOM_TOP/build/npm
for tool in node npm; do
    command -v $tool >/dev/null || { skip "JS SDK" "$tool is not installed"; exit 0; }
done
if [ "$(cat "$cache/installed" 2>/dev/null)" != "$packages" ]; then
    mkdir -p "$cache"
    if ! HOME=$user_home timeout 180 npm install --prefix "$cache" --no-audit --no-fund --ignore-scripts --no-save \
        --fetch-retries 1 $packages >npm.log 2>&1; then
        skip "JS SDK" "npm install failed: $(grep -m1 -i error npm.log)"
        exit 0
    fi
    printf '%s' "$packages" >"$cache/installed"
fi

start_server
NODE_PATH=$cache/node_modules DARKROOM_URL=$url AWS_REGION=us-east-1 \
    timeout 600 node "$DARKROOM_TOP/tests/e2e/js_sdk.cjs" "$samples/parrots.png" >js.out 2>js.err
code=$?
grep -E '^(ok|not ok) ' js.out
failures=$(grep -c '^not ok ' js.out)
[ $code = 0 ] || not_ok "node" "code $code: $(tail -3 js.err)"
