#!/bin/sh
# `make uninstall`: stops and removes all that `make install` has made, but for the settings.
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "uninstall: it stops services and removes files: run it as root (sudo make uninstall)." >&2
    exit 1
fi

UNITS=/etc/systemd/system
if [ -d /run/systemd/system ]; then
    systemctl stop webfarm.target webfarm.service 'webfarm@*.service' 2>/dev/null || true
fi
for unit in webfarm.target webfarm.service "$UNITS"/webfarm.target.wants/*; do
    systemctl --quiet disable "$(basename "$unit")" 2>/dev/null || true
done
rm -f "$UNITS/webfarm@.service" "$UNITS/webfarm.service" "$UNITS/webfarm.target"
for folder in webfarm.target.wants webfarm@.service.d webfarm.service.d; do
    if [ -d "$UNITS/$folder" ] && ! rmdir "$UNITS/$folder" 2>/dev/null; then
        echo "uninstall: $UNITS/$folder stays: make install has not made its files."
    fi
done
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl reset-failed webfarm.target webfarm.service 'webfarm@*.service' 2>/dev/null || true
fi
[ ! -L /opt/webfarm ] || rm /opt/webfarm
if [ -d /var/lib/webfarm ] && ! rmdir /var/lib/webfarm 2>/dev/null; then
    echo "uninstall: /var/lib/webfarm stays: it holds files of the app."
fi
rm -rf /opt/webfarm.new /opt/webfarm-releases
if uid=$(id -u webfarm 2>/dev/null) && [ "$uid" -lt 1000 ]; then
    [ ! -e /etc/webfarm/webfarm.env ] || chgrp root /etc/webfarm/webfarm.env
    userdel webfarm
fi
if [ -e /etc/webfarm/webfarm.env ]; then
    echo "uninstall: done; /etc/webfarm/webfarm.env stays: it may hold your only copy of a secret."
else
    echo "uninstall: done."
fi
