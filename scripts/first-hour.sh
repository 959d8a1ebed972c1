#!/usr/bin/env bash
# The first hour of a new user, timed: the README's commands, word for word, from a fresh clone to an accepted
# verification. Stops at the first step that fails, with its output.
#
#     scripts/first-hour.sh         in a fresh clone, as the user `alice`; sudo must not ask for a password
#
# A virtual microphone (PulseAudio) replaces the real one, and a recorded person speaks into it. It changes what the
# README's commands change: Debian packages, this folder, and this user's home. tests/systemd/test_first_hour.py runs it
# in a machine of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${USER:-}" = alice ] || { echo "run this as the user alice, whom the README's examples enrol"; exit 1; }
log=$(mktemp)
line=$(mktemp)
talking=
total=0
finish() {
    [ -z "$talking" ] || kill "$talking" 2>/dev/null || true
    rm -f "$log" "$line"
}
trap finish EXIT

used() { du -sm --total "$PWD" "$HOME/.cache" "$HOME/.local" 2>/dev/null | tail -1 | cut -f1; }

# Print a time in tenths of a second, and what is on the disk.
show() { printf '%5d.%d s  %6s MiB  %s\n' $(($1 / 10)) $(($1 % 10)) "$(used)" "$2"; }

# Run a command, and print how long it took and what is on the disk afterwards.
step() {
    local name=$1 began tenths
    shift
    began=${EPOCHREALTIME/./}
    if ! "$@" >"$log" 2>&1 </dev/null; then
        cat "$log"
        echo "FAILED: $name"
        exit 1
    fi
    tenths=$(((${EPOCHREALTIME/./} - began) / 100000))
    total=$((total + tenths))
    show "$tenths" "$name"
}

# Run a line of the README, which must be in it as it is here. The second argument is what its output must contain.
follow() {
    grep -qF -- "$1" README.md || { echo "FAILED: README.md does not say: $1"; exit 1; }
    step "$1" shell "$1"
    sed -i 's/\x1b\[[0-9;]*[A-Za-z]//g' "$log"  # colours
    grep -qE -- "$2" "$log" || { cat "$log"; echo "FAILED: $1 did not print: $2"; exit 1; }
}

# As in the terminal of a user who has followed the README so far. `script` makes it a terminal, in which each question
# is answered with Enter.
shell() {
    echo "$1" >"$line"
    [ ! -e .venv/bin/activate ] || sed -i '1i source .venv/bin/activate' "$line"
    # Not `yes`: it would be killed by a broken pipe, which counts as a failure here.
    printf '\n%.0s' {1..20} | script --quiet --return --command "bash $line" /dev/null
}

virtual_microphone() {
    scripts/debian-packages.sh pulseaudio pulseaudio-utils libasound2-plugins
    printf 'pcm.!default { type pulse }\nctl.!default { type pulse }\n' >"$HOME/.asoundrc"
    pulseaudio -n --daemonize=yes --exit-idle-time=-1 --load=module-native-protocol-unix \
        --load='module-null-sink sink_name=vmic rate=48000 channels=1'
    pactl load-module module-remap-source source_name=mic master=vmic.monitor
    pactl set-default-source mic
}

# One person who talks on and on, with a pause after each sentence.
talk() {
    local sentence
    while :; do
        for sentence in daemon/voiceauthd/demo/voices/ralph-?.flac; do
            paplay --device=vmic "$sentence" || return
            sleep 0.5
        done
    done
}

printf '%9s  %10s  %s\n' time 'disk used' step
follow 'make demo' 'demo passed: 10 of 10'
step '(a virtual microphone, and somebody who speaks)' virtual_microphone
talk >/dev/null 2>&1 &
talking=$!
follow '.venv/bin/voiceauth setup' 'accepted'
follow 'voiceauth verify alice && echo "it is alice"' '^it is alice'
follow 'voiceauth identify' alice
follow 'voiceauth profiles show alice' 'exemplars'
step 'voiceauth status' shell 'voiceauth status'
step 'voiceauth doctor' shell 'voiceauth doctor'
show "$total" 'in all'
