#!/bin/sh
# Boots systemd with this machine's files, changed by nothing: what is written lands in memory and is gone with it.
#     unshare --mount sh tests/kit/boot-systemd.sh FOLDER         (an empty one; as root)
# The machine ends when its first process does.
#
# This clone is in /tmp/clone there, read-only. Of this machine's units it has only those that a start needs, so that nothing else of this machine is started.
set -eu
base=$1
clone=$(cd "$(dirname "$0")/../.." && pwd)

if [ "${2:-}" != inside ]; then
    mount --make-rprivate /
    mkdir "$base/cgroup" "$base/disk"
    mount -t cgroup2 cgroup2 "$base/cgroup"
    group=$base/cgroup/webfarm-test-$$
    before=$base/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
    unshare --mount --uts --ipc --cgroup --pid --fork --kill-child sh "$0" "$base/disk" inside &
    machine=$!
    trap 'kill -KILL $machine 2>/dev/null || true' TERM # the machine's first process goes with it, and so do all others
    wait $machine || true
    echo $$ >"$before/cgroup.procs"
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.05; done
    exit
fi

mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
cd "$base/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp

units=run/units
rm -rf etc/systemd/system
mkdir -p etc/systemd/system "$units/sysinit.target.wants"
for name in basic sysinit multi-user local-fs sockets timers paths slices shutdown umount network network-online; do
    cp "lib/systemd/system/$name.target" "$units"
done
for name in .service .socket -dev-log.socket; do
    cp "lib/systemd/system/systemd-journald$name" "$units"
done
ln -s ../systemd-journald.service "$units/sysinit.target.wants"

mkdir tmp/clone tmp/old
mount --bind "$clone" tmp/clone
mount -o remount,bind,ro tmp/clone
pivot_root . tmp/old
umount -l tmp/old
exec env -i container=webfarm PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_GENERATOR_PATH=/run/none \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units /lib/systemd/systemd --unit=multi-user.target
