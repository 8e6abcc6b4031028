#!/bin/sh
# Chromium for the browser tests: the one on PATH, else Debian's when root, else Playwright's own. Says which.
set -e
if found=$(command -v chromium || command -v chromium-browser || command -v google-chrome); then
    echo "browser: $found"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "browser: installing Debian's chromium"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "browser: Playwright's own Chromium"
    .venv/bin/playwright install chromium
fi
