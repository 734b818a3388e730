#!/bin/bash
# The main job on the sample pictures: start a server on an empty directory and a free port, PUT every
# picture, wait until each preset is ready, show what was made and what the table says, fetch one
# thumbnail as a browser would, stop. Exits 1 when anything is missing.
set -eu
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
server=
finish() {
    code=$?
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || code=1
    fi
    [ $code = 0 ] || tail -20 "$dir/log" >&2
    rm -rf "$dir"
    exit $code
}
trap finish EXIT

# The line "listening on URL" comes when the server is ready for requests.
mkfifo "$dir/out"
env -u DARKROOM_ACCESS_KEY_ID -u DARKROOM_SECRET_ACCESS_KEY \
    ./darkroomd --data "$dir/data" --listen 127.0.0.1:0 >"$dir/out" 2>"$dir/log" &
server=$!
read -r line <"$dir/out"
url=${line#listening on }
echo "$line (data in $dir/data)"

# These keys and nothing from the user's own AWS settings.
export AWS_SHARED_CREDENTIALS_FILE=$dir/data/credentials
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_PROFILE AWS_ENDPOINT_URL
darkroom="./darkroom --endpoint-url $url"

objects=
for picture in samples/*.jpg samples/*.png samples/*.webp samples/*.gif samples/*.tif \
    samples/*.avif samples/*.heic; do
    key=demo/${picture##*/}
    $darkroom put "$picture" "s3://photos/$key"
    objects="$objects s3://photos/$key"
done
echo "stored $(echo $objects | wc -w) pictures"
echo

$darkroom wait --timeout 60 $objects

echo
echo "fetched as a browser would (no signature needed on a loopback listener):"
made=0
for object in $objects; do
    key=${object#s3://photos/}
    for preset in small medium large; do
        address=$url/photos-derived/$key/$preset.webp
        curl -sSf --noproxy '*' -o "$dir/thumbnail" "$address"
        # A WebP file begins with RIFF....WEBP.
        [ "$(head -c 12 "$dir/thumbnail" | tr -d '\0' | cut -c 1-4)" = RIFF ]
        made=$((made + 1))
        [ $preset = small ] && echo "  $address"
    done
done
[ $made = $(($(echo $objects | wc -w) * 3)) ]
echo
echo "$made thumbnails are there; the table has an item for each picture"
