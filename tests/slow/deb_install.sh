#!/bin/bash
# Installs the Debian package in a bare Debian 12 and looks at it as an administrator would:
#   deb_install.sh PACKAGE.deb CHROOT     (root; the folder CHROOT is made, and removed at the end)
# User, folders, modes, unit; the server started as the unit starts it, a picture in, its thumbnail
# out; installed over itself with settings changed; removed, purged. Minutes long, and it fetches
# Debian's packages, so a target apart: make deb-install.
set -u
# The mounts are this process's own and go with it, whatever happens.
[ -n "${OWN_MOUNTS:-}" ] || OWN_MOUNTS=1 exec unshare --mount --propagation private "$0" "$@"
deb=$(realpath "$1")
root=$(realpath -m "$2")
top=${DARKROOM_TOP:-$PWD}
bad=0
server=

check() { # NAME COMMAND...
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok $name"
    else
        echo "not ok $name: $(tail -5 <<<"$said" | tr '\n' ' ')"
        bad=1
    fi
}
equal() { # GOT WANTED
    [ "$1" = "$2" ] || { echo "it is \"$1\", not \"$2\""; return 1; }
}
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
mode() { inside stat -c '%a %U:%G' "$1" 2>&1; }
is_gone() { ! inside test -e "$1"; }
apt() { inside apt-get -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@"; }

finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    for dir in proc dev; do
        ! mountpoint -q "$root/$dir" || umount "$root/$dir" || umount -l "$root/$dir"
    done
    # never through a mount into the machine's own folders
    if grep -q " $root/" /proc/self/mounts; then
        echo "not ok $root has mounts and is left as it is"
    else
        rm -rf --one-file-system "$root"
    fi
}
trap finish EXIT
trap 'exit 1' INT TERM

# ---- a bare Debian ----

[ ! -e "$root" ] || { trap - EXIT; echo "not ok $root is there already"; exit 1; }
debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 ||
    { echo "not ok debootstrap: $(tail -3 "$root.log")"; exit 1; }
rm -f "$root.log"
mount --bind /proc "$root/proc" && mount --bind /dev "$root/dev" || exit 1
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp "$deb" "$root/darkroom.deb"
cp "$top/samples/parrots.png" "$root/parrots.png"

# ---- installed ----

apt update || exit 1
check "apt installs it" apt install /darkroom.deb
check "dpkg finds no file changed" equal "$(inside dpkg --verify darkroom)" ""
check "the user is a system user" inside sh -c 'test "$(id -u darkroom)" -lt 1000'
check "nobody logs in as it" equal "$(inside getent passwd darkroom | cut -d: -f6,7)" /var/lib/darkroom:/usr/sbin/nologin
check "mode of the data directory" equal "$(mode /var/lib/darkroom)" "700 darkroom:darkroom"
check "mode of the log folder" equal "$(mode /var/log/darkroom)" "750 darkroom:darkroom"
check "mode of the settings" equal "$(mode /etc/darkroom/darkroom.json)" "640 root:darkroom"
check "settings and logrotate's are conffiles" equal \
    "$(inside dpkg-query -W -f '${Conffiles}\n' darkroom | awk '{ print $1 }' | sort | xargs)" \
    "/etc/darkroom/darkroom.json /etc/logrotate.d/darkroom"
check "pages of the manual" inside test -e /usr/share/man/man8/darkroomd.8.gz -a -e /usr/share/man/man1/darkroom.1.gz
apt install systemd logrotate >/dev/null 2>&1
check "systemd takes the unit and its socket" equal \
    "$(inside systemd-analyze verify --man=no darkroomd.service darkroomd.socket 2>&1 | grep -i darkroom)" ""
exposure=$(inside systemd-analyze security --offline=true darkroomd.service 2>/dev/null | tail -1)
echo "# systemd-analyze security: ${exposure#*: }"
check "systemd finds it well confined" grep -q ": [0-2]\.[0-9]" <<<"$exposure"
check "logrotate takes its part" inside logrotate --debug /etc/logrotate.d/darkroom

# ---- serving, as the unit says ----

command=$(inside sed -n 's/^ExecStart=//p' /lib/systemd/system/darkroomd.service)
start() {
    chroot --userspec=darkroom:darkroom "$root" env -i PATH=/usr/bin:/bin sh -c "umask 077; cd /; exec $command" \
        >"$root/out" 2>"$root/err" &
    server=$!
    timeout 60 sh -c "until grep -q '^listening on' '$root/out'; do kill -0 $server || exit 1; done" || {
        tail -5 "$root/err"
        return 1
    }
}
stop() { # not in a subshell, which could not wait for it
    kill "$server"
    wait "$server"
    check "$1" equal $? 0
    server=
}
as_root() { inside darkroom --data /var/lib/darkroom "$@"; }

start
check "it starts as its user" test -n "$server"
check "an upload" as_root put /parrots.png s3://photos/parrots.png
check "its thumbnails" as_root wait s3://photos/parrots.png
check "one of them is a picture" equal \
    "$(as_root get s3://photos-derived/parrots.png/small.webp - | head -c 12 | tr -d '\0' | cut -c 1-4)" RIFF
check "AVIF and HEIC are read" inside sh -c 'darkroom --data /var/lib/darkroom formats | grep -qi heic'
check "the sandbox is whole" equal "$(as_root --json status | grep -o '"sandbox_missing":"[^"]*"')" '"sandbox_missing":""'
check "nobody else reads the data" equal "$(mode /var/lib/darkroom/credentials)" "600 darkroom:darkroom"
check "the log says nothing bad" equal "$(grep -E ' (warn|error) ' "$root/err")" ""
stop "it ends cleanly"

# ---- over itself, removed, purged ----

inside sed -i 's/9000/9001/' /etc/darkroom/darkroom.json
inside chmod 600 /etc/darkroom/darkroom.json
check "installed over itself" apt install --reinstall /darkroom.deb
check "changed settings stay" inside grep -q 9001 /etc/darkroom/darkroom.json
check "and their mode" equal "$(mode /etc/darkroom/darkroom.json)" "600 root:darkroom"
inside chmod 640 /etc/darkroom/darkroom.json
start
check "what was stored is served" equal "$(as_root ls s3://photos | grep -c parrots.png)" 1
stop "it ends cleanly again"
check "removed" apt remove darkroom
check "settings stay" inside test -e /etc/darkroom/darkroom.json
check "purged" apt purge darkroom
check "settings are gone" is_gone /etc/darkroom
check "logs are gone" is_gone /var/log/darkroom
check "pictures are not" inside test -e /var/lib/darkroom/darkroom.db
exit $bad
