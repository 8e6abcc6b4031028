#!/bin/sh
# iproute2 for the tests over several machines (network namespaces): the one on PATH, else Debian's when root.
set -e
if found=$(command -v ip); then
    echo "network: $found"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "network: installing Debian's iproute2"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2 >/dev/null
else
    echo "network: no iproute2, the tests over several machines are skipped"
fi
