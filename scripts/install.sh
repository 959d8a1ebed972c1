#!/usr/bin/env bash
# Installs voiceauthd for the whole machine, or removes it. Run from the top of a checkout, by `make`, as root.
#
#     install.sh install       may be repeated: that is how to upgrade
#     install.sh uninstall     keeps profiles, models and configuration
#
# DESTDIR  an absolute folder to install into instead of /, for packagers; then nothing outside it is touched
# PREFIX   where commands and units go, default /usr/local
# PYTHON   the Python to use, default: the system's own
set -euo pipefail

destdir=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
home=/opt/voiceauthd
config=/etc/voiceauthd/config.yaml
state=/var/lib/voiceauthd
commands=(voiceauthd voiceauth voiceauth-pam voiceauthd-prove)
units=(voiceauthd.socket voiceauthd.service)
proof_units=(voiceauthd-proof.socket voiceauthd-proof@.service)
pam=/etc/pam.d/voiceauthd

fail() { echo "$*" >&2; exit 1; }
[ -f pyproject.toml ] && [ -d systemd ] || fail "run this from the top of the checkout"
[ -n "$destdir" ] || [ "$(id -u)" -eq 0 ] || fail "not root: sudo make ${1:-install}"

# True when the units belong to the systemd that runs here.
managed() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

put_package() {
    local python venv=$destdir$home  # and $source, which is removed at the end
    # Made anew when the Python that it was made from is gone, or is another one now.
    if [ -e "$venv" ] && ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then rm -rf "$venv"; fi
    if [ ! -e "$venv" ]; then
        python=$(scripts/find-python.sh system)
        echo "making $venv with $python"
        "$python" -m venv "$venv"
    fi
    # Built in a copy: pip would leave files of root's in the checkout.
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    cp -r pyproject.toml README.md LICENSE daemon "$source"
    install -D -m 0755 scripts/voiceauth-pam "$source/scripts/voiceauth-pam"
    rm -rf "$source"/daemon/*.egg-info
    "$venv/bin/python" -m pip install --quiet --constraint constraints.txt "$source" ||
        fail "pip could not install the package (see above)"
    # An executable of one line, as a full disk may leave it, is a shell's success; PAM would let everybody in.
    cmp scripts/voiceauth-pam "$venv/bin/voiceauth-pam" || fail "voiceauth-pam was not installed whole"
}

# The addresses inside the environment's scripts, as they will be once DESTDIR is /.
settle_package() {
    [ -n "$destdir" ] || return 0
    grep -rlIZ --exclude-dir=lib "$destdir$home" "$destdir$home/bin" "$destdir$home/pyvenv.cfg" |
        xargs -0 -r sed -i "s|$destdir$home|$home|g"
}

put_config() {
    if [ -e "$destdir$config" ]; then
        echo "kept $destdir$config"
        return
    fi
    install -d "$destdir${config%/*}"
    "$destdir$home/bin/voiceauth" config default >"$destdir$config.new"
    mv "$destdir$config.new" "$destdir$config"
    chmod 0644 "$destdir$config"
}

put_units() {
    local unit folder
    for folder in system user; do install -d "$destdir$prefix/lib/systemd/$folder"; done
    for unit in "${units[@]}"; do
        sed "s|/usr/local/bin|$prefix/bin|g" "systemd/$unit" >"$destdir$prefix/lib/systemd/system/$unit"
        sed "s|/usr/local/bin|$prefix/bin|g" "systemd/user/$unit" >"$destdir$prefix/lib/systemd/user/$unit"
    done
    for unit in "${proof_units[@]}"; do
        sed "s|/usr/local/bin|$prefix/bin|g" "systemd/$unit" >"$destdir$prefix/lib/systemd/system/$unit"
    done
    install -D -m 0644 systemd/sysusers.d/voiceauthd.conf "$destdir$prefix/lib/sysusers.d/voiceauthd.conf"
    install -D -m 0644 systemd/tmpfiles.d/voiceauthd.conf "$destdir$prefix/lib/tmpfiles.d/voiceauthd.conf"
}

# By which the owner of a voice is asked for the password. One that is there is the administrator's.
put_pam() {
    local change=
    if [ -e "$destdir$pam" ]; then
        echo "kept $destdir$pam"
        return
    fi
    install -d "$destdir${pam%/*}"
    # Debian and SUSE have these two; others have one for both.
    [ -e /etc/pam.d/common-auth ] || change='s/common-(auth|account)$/system-auth/'
    sed -E "$change" systemd/pam.d/voiceauthd >"$destdir$pam.new"
    chmod 0644 "$destdir$pam.new"
    mv "$destdir$pam.new" "$destdir$pam"
}

do_install() {
    umask 022
    put_package
    put_config
    settle_package
    install -d "$destdir$prefix/bin"
    for command in "${commands[@]}"; do ln -sfn "$home/bin/$command" "$destdir$prefix/bin/$command"; done
    put_units
    put_pam
    if [ -z "$destdir" ] && command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$prefix/lib/sysusers.d/voiceauthd.conf"
        systemd-tmpfiles --create "$prefix/lib/tmpfiles.d/voiceauthd.conf"
    fi
    if managed; then
        systemctl daemon-reload
        systemctl try-restart voiceauthd.service
        if systemctl --quiet is-active voiceauthd.socket; then systemctl start voiceauthd-proof.socket; fi
    fi
    [ -n "$destdir" ] || cat <<END
Installed. Next, once:
  voiceauth doctor                           says what is still missing, such as the model
  systemctl enable --now voiceauthd.socket   for the whole machine, or
  systemctl --user enable --now voiceauthd.socket   for yourself alone
END
}

do_uninstall() {
    if managed; then
        systemctl disable --quiet --now voiceauthd.socket voiceauthd.service 2>/dev/null || true
    fi
    for command in "${commands[@]}"; do
        # Not another package's command of that name.
        [ "$(readlink "$destdir$prefix/bin/$command")" != "$home/bin/$command" ] || rm -f "$destdir$prefix/bin/$command"
    done
    for unit in "${units[@]}"; do
        rm -f "$destdir$prefix/lib/systemd/system/$unit" "$destdir$prefix/lib/systemd/user/$unit"
    done
    for unit in "${proof_units[@]}"; do rm -f "$destdir$prefix/lib/systemd/system/$unit"; done
    rm -f "$destdir$prefix/lib/sysusers.d/voiceauthd.conf" "$destdir$prefix/lib/tmpfiles.d/voiceauthd.conf"
    rm -rf "$destdir$home"
    if managed; then systemctl daemon-reload; fi
    echo "Removed. Kept: $destdir$state (profiles and models), $destdir${config%/*} (configuration), the user voiceauthd,"
    echo "$destdir$pam."
    echo "To remove these too: rm -r $destdir$state $destdir${config%/*} $destdir$pam; userdel voiceauthd"
}

case ${1:-} in
    install) do_install ;;
    uninstall) do_uninstall ;;
    *) fail "usage: install.sh install | uninstall" ;;
esac
