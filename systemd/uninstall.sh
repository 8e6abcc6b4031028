#!/bin/sh
# `make uninstall`: all that `make install` has made is stopped and taken away, but for the settings.
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "uninstall: it stops services and removes files: run it as root (sudo make uninstall)." >&2
    exit 1
fi

UNITS=/etc/systemd/system
if [ -d /run/systemd/system ]; then
    systemctl stop chat.target chat.service 'chat@*.service' 2>/dev/null || true
fi
for unit in chat.target chat.service "$UNITS"/chat.target.wants/*; do
    systemctl --quiet disable "$(basename "$unit")" 2>/dev/null || true
done
rm -f "$UNITS/chat@.service" "$UNITS/chat.service" "$UNITS/chat.target"
rm -f "$UNITS/chat@.service.d/10-common.conf" "$UNITS/chat.service.d/10-common.conf"
for folder in chat.target.wants chat@.service.d chat.service.d; do
    if [ -d "$UNITS/$folder" ] && ! rmdir "$UNITS/$folder" 2>/dev/null; then
        echo "uninstall: $UNITS/$folder stays: what is in it is not of make install."
    fi
done
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl reset-failed chat.target chat.service 'chat@*.service' 2>/dev/null || true
fi
[ ! -L /opt/chat ] || rm /opt/chat
rm -rf /opt/chat.new /opt/chat-releases
if uid=$(id -u chat 2>/dev/null) && [ "$uid" -lt 1000 ]; then
    [ ! -e /etc/chat/chat.env ] || chgrp root /etc/chat/chat.env
    userdel chat
fi
if [ -e /etc/chat/chat.env ]; then
    echo "uninstall: done; /etc/chat/chat.env stays: it may hold secrets that nothing else has."
else
    echo "uninstall: done."
fi
