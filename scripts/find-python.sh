#!/usr/bin/env bash
# Prints the path of a Python that can make our virtual environment: 3.11 or newer, with ensurepip.
#
#     find-python.sh            for a checkout: $PYTHON, else what `python3` is, else the newest there is
#     find-python.sh system     for an installation: the system's own first, and never one below a home folder, which
#                               the service (ProtectHome=) cannot see
#
# Debian keeps ensurepip in python3-venv: if that is all that is missing, it is installed.
set -euo pipefail
here=$(dirname "$0")
for_system=${1:-}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The interpreter behind a link or a virtual environment, below a home folder?
in_a_home() {
    local base
    base=$("$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
    case "$base/" in /home/* | /root/* | /run/user/*) return 0 ;; *) return 1 ;; esac
}

if [ "$for_system" = system ]; then
    candidates=(/usr/bin/python3 /usr/local/bin/python3 python3)
else
    candidates=(python3 /usr/bin/python3)
fi
candidates+=(python3.14 python3.13 python3.12 python3.11)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")

hidden=()
for candidate in "${candidates[@]}"; do
    path=$(command -v "$candidate") && new_enough "$path" || continue
    if [ "$for_system" = system ] && in_a_home "$path"; then
        hidden+=("$path")
        continue
    fi
    if ! can_make_venv "$path"; then
        # Only the system's own Python gets the missing module from Debian.
        [ "$(readlink -f "$path")" = "$(readlink -f /usr/bin/python3)" ] || continue
        "$here/debian-packages.sh" python3-venv >&2 && can_make_venv "$path" || continue
    fi
    printf '%s\n' "$path"
    exit 0
done

if [ ${#hidden[@]} -gt 0 ]; then
    echo "${hidden[*]} lies below a home folder, which the service cannot see (ProtectHome=yes)." >&2
    echo "Install a system Python: apt-get install python3 python3-venv" >&2
else
    echo "no Python 3.11 or newer that can make a virtual environment (tried: ${candidates[*]})." >&2
    echo "Install one (Debian 12: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2
fi
exit 1
