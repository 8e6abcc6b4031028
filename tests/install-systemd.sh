#!/bin/sh
# systemd, and Debian's Python with venv, for the tests of the units: they boot a machine of their own, as root only.
set -e
if [ "$(id -u)" != 0 ]; then
    echo "systemd: not root, its tests will be skipped"
elif [ -x /lib/systemd/systemd ] && /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "systemd: $(systemctl --version | head -n 1)"
elif command -v apt-get >/dev/null; then
    echo "systemd: installing Debian's"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd python3-venv >/dev/null
else
    echo "systemd: none here, its tests will be skipped"
fi
