#!/bin/sh
# Inside the namespaces that emulator.py makes: mount what the emulated machine sees, let QEMU run
# its programs, then run the command. MOUNTS has lines "ro|rw OUTSIDE<tab>INSIDE".
set -eu

mount -t proc proc "$ROOT/proc"
mount --rbind /sys "$ROOT/sys"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/tmp"
printf '%s' "$MOUNTS" | while IFS='	' read -r mode outside inside; do
    mount --bind "$outside" "$ROOT$inside"
    [ "$mode" = rw ] || mount -o remount,bind,ro "$ROOT$inside"
done

# binfmt_misc of a user namespace of its own is there since Linux 6.7: nothing on the machine
# itself changes. The masks are those of QEMU's qemu-binfmt-conf.sh; F opens QEMU now, from here.
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || {
    echo "this Linux has no binfmt_misc in user namespaces: 6.7 is the first" >&2
    exit 125
}
register() {
    head="\\x7fELF\\x0$2\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00$3\\x00"
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":$1:M::$head:$mask:$QEMU/$1:F" >/proc/sys/fs/binfmt_misc/register
}
register qemu-aarch64 2 '\xb7'
register qemu-arm 1 '\x28'

# Not exec: a process 1 ignores a signal that it has no handler for, its own SIGILL too.
status=0
chroot "$ROOT" /usr/bin/env -i "$@" || status=$?
exit $status
