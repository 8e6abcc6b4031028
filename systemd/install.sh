#!/bin/sh
# `make install`: copies this clone to /opt/webfarm. The version that runs there goes on until you restart it.
# A failed run leaves that version in place, and a folder that the next run removes.
set -eu

fail() {
    echo "install: $1" >&2
    exit 1
}

CODE=".npmrc Makefile README.md docs chat constraints.txt gunicorn.conf.py haproxy package-lock.json package.json pyproject.toml
setup.cfg setup.py systemd templates webfarm wsgi.py"
RELEASES=/opt/webfarm-releases
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
[ -L /opt/webfarm ] || [ ! -e /opt/webfarm ] || fail "/opt/webfarm was not made by make install: move it away first."
if uid=$(id -u webfarm 2>/dev/null); then
    [ "$uid" -lt 1000 ] || fail "the user webfarm is a person's: the service needs a system user of that name."
fi

umask 022
mkdir -p "$RELEASES"
for release in "$RELEASES"/*; do # neither the current one, nor the folder of a running process
    [ -d "$release" ] || continue
    [ "$release" = "$(readlink -f /opt/webfarm)" ] && continue
    readlink /proc/[0-9]*/cwd 2>/dev/null | grep -qxF "$release" || rm -rf "$release"
done
release=$RELEASES/$(date +%Y%m%d-%H%M%S)-$$
mkdir "$release"
echo "install: the code and its environment in $release"
# shellcheck disable=SC2086
cp -R $CODE "$release"
find "$release" -name __pycache__ -prune -exec rm -rf {} +
chmod -R u=rwX,go=rX "$release"
"${MAKE:-make}" --no-print-directory -C "$release" setup PYTHON="$PYTHON" EXTRAS= || fail "the set-up failed (above); the version before still runs."
(cd "$release" && .venv/bin/python -m compileall -q webfarm chat wsgi.py && .venv/bin/webfarm --help >/dev/null) ||
    fail "the new version can't be started (above); the version before still runs."

id -u webfarm >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin webfarm
mkdir -p /etc/webfarm
if [ ! -e /etc/webfarm/webfarm.env ]; then
    install -m 0640 systemd/webfarm.env /etc/webfarm/webfarm.env.new
    mv /etc/webfarm/webfarm.env.new /etc/webfarm/webfarm.env
fi
chgrp webfarm /etc/webfarm/webfarm.env
# The units name /opt/webfarm, which leads to this folder only below.
mkdir "$release/systemd/units"
(cd "$release" && env -i .venv/bin/webfarm systemd-units --directory "$release" --output systemd/units) &&
    sed -i "s|$release|/opt/webfarm|g" "$release"/systemd/units/* && cp "$release"/systemd/units/* "$UNITS" ||
    fail "the units could not be written (above); the version before still runs."
ln -sfn "$release" /opt/webfarm.new
mv -T /opt/webfarm.new /opt/webfarm
[ ! -d /run/systemd/system ] || systemctl daemon-reload

if running=$(systemctl list-units --plain --no-legend --state=active 'webfarm@*.service' webfarm.service 2>/dev/null | cut -d' ' -f1) &&
    [ -n "$running" ]; then
    echo "install: done. The new version begins with a restart, one unit after the other:"
    echo "    for unit in $(echo $running); do systemctl restart \$unit || break; done"
else
    echo "install: done. Settings: /etc/webfarm/webfarm.env. One unit per port, each restarted by itself:"
    echo "    systemctl enable --now webfarm.target webfarm@3001 webfarm@3002"
    echo "or all under one, WEBFARM_WORKERS from WEBFARM_BASE_PORT on:"
    echo "    systemctl enable --now webfarm"
fi
