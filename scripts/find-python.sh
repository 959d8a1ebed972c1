#!/usr/bin/env bash
# Print the path of a Python that can create the virtual environment: 3.11 or newer, with ensurepip.
#
#     find-python.sh            for a checkout: $PYTHON, else `python3`, else the newest one
#     find-python.sh system     for an installation: prefer the system's own, and never use one below a home folder,
#                               which the service (ProtectHome=) cannot see
#
# On Debian, ensurepip is in the package python3-venv; if only that is missing, it is installed.
set -euo pipefail
here=$(dirname "$0")
for_system=${1:-}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Whether the real interpreter, behind links and virtual environments, is below a home folder.
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
        # The Debian package adds the module only to the system's own Python.
        [ "$(readlink -f "$path")" = "$(readlink -f /usr/bin/python3)" ] || continue
        "$here/debian-packages.sh" python3-venv >&2 && can_make_venv "$path" || continue
    fi
    printf '%s\n' "$path"
    exit 0
done

if [ ${#hidden[@]} -gt 0 ]; then
    echo "${hidden[*]} is below a home folder, which the service cannot see (ProtectHome=yes)." >&2
    echo "Install a system Python: apt-get install python3 python3-venv" >&2
else
    echo "no Python 3.11 or newer that can create a virtual environment (tried: ${candidates[*]})." >&2
    echo "Install one (Debian 12: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2
fi
exit 1
