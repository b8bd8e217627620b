#!/bin/sh
# Makes base images from Debian's packages, where no registry is at hand, and loads them.
#
#   sh scripts/images.sh busybox              imports busybox:latest
#   sh scripts/images.sh debian               imports debian:bookworm (debootstrap, some minutes)
#   sh scripts/images.sh busybox -o FILE      only writes the root file system as a tar
#
# CORTEN names the command that imports (default: target/dist/corten, target/debug/corten, corten, the first there is).
set -eu

fail() { echo "images.sh: $*" >&2; exit 1; }

need() { # program package
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: apt-get install $2"
}

make_busybox() { # directory
    need busybox busybox-static
    mkdir -p "$1/bin" "$1/etc" "$1/root" "$1/tmp" "$1/var" "$1/usr/bin" "$1/home"
    chmod 1777 "$1/tmp"
    cp "$(command -v busybox)" "$1/bin/busybox"
    for applet in $("$1/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$1/etc/passwd"
    printf 'root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n' >"$1/etc/group"
}

make_debian() { # directory
    need debootstrap debootstrap
    debootstrap --variant=minbase bookworm "$1" >&2
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
}

[ $# -ge 1 ] || fail "usage: images.sh busybox|debian [-o FILE]"
what=$1
output=
if [ "${2:-}" = -o ]; then output=${3:?-o needs a file}; fi
case $what in
    busybox) name=busybox:latest ;;
    debian) name=debian:bookworm ;;
    *) fail "unknown image $what: busybox or debian" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/root"
chmod 755 "$work/root"
"make_$what" "$work/root"
tar --numeric-owner --sort=name --mtime=@0 -C "$work/root" -cf "$work/root.tar" .

if [ -n "$output" ]; then
    mv "$work/root.tar" "$output"
    exit 0
fi
here=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${CORTEN:-}" ]; then
    for CORTEN in "$here/target/dist/corten" "$here/target/debug/corten" corten; do
        command -v "$CORTEN" >/dev/null 2>&1 && break
    done
fi
# shellcheck disable=SC2086 # CORTEN may carry flags
if [ "$what" = busybox ]; then
    $CORTEN import -c 'CMD ["sh"]' "$work/root.tar" "$name"
else
    $CORTEN import -c 'CMD ["bash"]' "$work/root.tar" "$name"
fi
