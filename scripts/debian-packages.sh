#!/usr/bin/env bash
# Install the named Debian packages that are missing, with sudo if not root.
# Exits with 1 if some are still missing afterwards, and lists them. Without apt it only lists them.
set -euo pipefail

missing() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            printf '%s\n' "$package"
    done
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "apt is not available; install the equivalents of these Debian packages: $*" >&2
    exit 0
fi

mapfile -t wanted < <(missing "$@")
[ ${#wanted[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "not root, and sudo is not available; as root, run: apt-get install ${wanted[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "installing ${wanted[*]}" >&2
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
# The package lists may be missing or out of date; update them only if the installation fails.
"${install[@]}" "${wanted[@]}" </dev/null >/dev/null 2>&1 ||
    { "${as_root[@]}" apt-get update -qq </dev/null && "${install[@]}" "${wanted[@]}" </dev/null >/dev/null; } ||
    true

mapfile -t wanted < <(missing "$@")
if [ ${#wanted[@]} -gt 0 ]; then
    echo "still missing: ${wanted[*]} (try: apt-get install ${wanted[*]})" >&2
    exit 1
fi
