#!/bin/sh
# `make install`: this clone to /opt/chat, beside what runs there, which goes on until it is restarted. What fails half-way
# has changed nothing but leftovers, which the next run takes away.
set -eu

fail() {
    echo "install: $1" >&2
    exit 1
}

CODE=".npmrc Makefile README.md docs chat constraints.txt gunicorn.conf.py haproxy package-lock.json package.json pyproject.toml
setup.cfg systemd templates wsgi.py"
RELEASES=/opt/chat-releases
UNITS=/etc/systemd/system
PYTHON=${PYTHON:-/usr/bin/python3}
PYTHON=$(command -v "$PYTHON" || echo "$PYTHON")

[ "$(id -u)" = 0 ] || fail "it writes to /opt, /etc and the list of users: run it as root (sudo make install)."
cd "$(dirname "$0")/.."
[ -d /etc/systemd ] && command -v systemctl >/dev/null || fail "there is no systemd on this machine; see the README for others."
[ -x "$PYTHON" ] || fail "$PYTHON is missing: apt install python3-venv."
case $(readlink -f "$PYTHON") in
/home/* | /root/*) fail "the service can't run $PYTHON, which lies in a home directory: use Debian's (apt install python3-venv)." ;;
esac
[ -L /opt/chat ] || [ ! -e /opt/chat ] || fail "/opt/chat was not made by make install: move it away first."
if uid=$(id -u chat 2>/dev/null); then
    [ "$uid" -lt 1000 ] || fail "the user chat is a person's: the service needs a system user of that name."
fi

umask 022
mkdir -p "$RELEASES"
for release in "$RELEASES"/*; do # what is not the one in use, and what nobody works in any more
    [ -d "$release" ] || continue
    [ "$release" = "$(readlink -f /opt/chat)" ] && continue
    readlink /proc/[0-9]*/cwd 2>/dev/null | grep -qxF "$release" || rm -rf "$release"
done
release=$RELEASES/$(date +%Y%m%d-%H%M%S)-$$
mkdir "$release"
echo "install: the code and its environment in $release"
# shellcheck disable=SC2086
cp -R $CODE "$release"
find "$release" -name __pycache__ -prune -exec rm -rf {} +
chmod -R u=rwX,go=rX "$release"
"${MAKE:-make}" --no-print-directory -C "$release" setup PYTHON="$PYTHON" EXTRAS= || fail "the set-up failed (above); what ran before still runs."
(cd "$release" && .venv/bin/python -m compileall -q chat wsgi.py && .venv/bin/chat --help >/dev/null) ||
    fail "the new version can't be started (above); what ran before still runs."

id -u chat >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin chat
mkdir -p /etc/chat
if [ ! -e /etc/chat/chat.env ]; then
    install -m 0640 systemd/chat.env /etc/chat/chat.env.new
    mv /etc/chat/chat.env.new /etc/chat/chat.env
fi
chgrp chat /etc/chat/chat.env
install -m 0644 systemd/chat@.service systemd/chat.service systemd/chat.target "$UNITS"
for unit in chat@.service chat.service; do
    install -D -m 0644 systemd/common.conf "$UNITS/$unit.d/10-common.conf"
done
ln -sfn "$release" /opt/chat.new
mv -T /opt/chat.new /opt/chat
[ ! -d /run/systemd/system ] || systemctl daemon-reload

if running=$(systemctl list-units --plain --no-legend --state=active 'chat@*.service' chat.service 2>/dev/null | cut -d' ' -f1) &&
    [ -n "$running" ]; then
    echo "install: done. The new version begins with a restart, one unit after the other:"
    echo "    for unit in $(echo $running); do systemctl restart \$unit || break; done"
else
    echo "install: done. Settings: /etc/chat/chat.env. One unit per port, each restarted by itself:"
    echo "    systemctl enable --now chat.target chat@3001 chat@3002"
    echo "or all under one, CHAT_WORKERS from CHAT_BASE_PORT on:"
    echo "    systemctl enable --now chat"
fi
