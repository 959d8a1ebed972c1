#!/usr/bin/env bash
# Install voiceauthd for the whole machine, or uninstall it. Run by `make` from the top of a checkout, as root.
#
#     install.sh install       run it again to upgrade
#     install.sh uninstall     keeps profiles, models and configuration
#
# DESTDIR      an absolute folder to install into instead of /, for packagers; nothing outside it is changed
# PREFIX       where commands, units, man pages and completions go, default /usr/local
# PYTHON       the Python to use, default: the system's own
# CONSTRAINTS  the versions of Python packages, default: constraints.txt
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

# True if the units are installed for the systemd that runs here.
managed() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

put_package() {
    local python venv=$destdir$home  # and $source, which is removed at the end
    # Create it again if the Python that it was created with is gone or has changed.
    if [ -e "$venv" ] && ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then rm -rf "$venv"; fi
    if [ ! -e "$venv" ]; then
        python=$(scripts/find-python.sh system)
        echo "creating $venv with $python"
        "$python" -m venv "$venv"
    fi
    # Build in a copy: pip would leave files owned by root in the checkout.
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    cp -r pyproject.toml README.md LICENSE daemon systemd "$source"
    install -D -m 0755 scripts/voiceauth-pam "$source/scripts/voiceauth-pam"
    rm -rf "$source"/daemon/*.egg-info
    "$venv/bin/python" -m pip install --quiet --constraint "${CONSTRAINTS:-constraints.txt}" "$source[media]" ||
        fail "pip could not install the package (see above)"
    # Truncated after its first line, for example by a full disk, the script would succeed and PAM let everybody in.
    cmp scripts/voiceauth-pam "$venv/bin/voiceauth-pam" || fail "voiceauth-pam was not installed completely"
}

# Remove DESTDIR from the paths inside the environment's scripts.
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

# Man pages and completions, made from the installed commands themselves.
put_manuals() {
    remove_manuals
    "$destdir$home/bin/python" -I -m voiceauthd.cli.write_manuals "$destdir$prefix/share"
}

remove_manuals() {
    local share=$destdir$prefix/share
    rm -f "$share"/man/man1/voiceauth.1.gz "$share"/man/man1/voiceauth-[a-z]*.1.gz "$share/man/man8/voiceauthd.8.gz"
    rm -f "$share"/bash-completion/completions/{voiceauth,voiceauthd} "$share/zsh/site-functions/_voiceauth"
    rm -f "$share"/fish/vendor_completions.d/{voiceauth,voiceauthd}.fish
}

# The PAM service that checks the password of a voice's owner. An existing file belongs to the administrator.
put_pam() {
    local change=
    if [ -e "$destdir$pam" ]; then
        echo "kept $destdir$pam"
        return
    fi
    install -d "$destdir${pam%/*}"
    # Debian and SUSE have common-auth and common-account; others have system-auth for both.
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
    put_manuals
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
Installed. Next, as the user who uses the microphone:
  voiceauth setup        a desktop (PipeWire, PulseAudio): your own service
  sudo voiceauth setup   a machine with plain ALSA: the system service, which can also serve logins
  voiceauth doctor       shows what is missing
END
}

do_uninstall() {
    if managed; then
        systemctl disable --quiet --now voiceauthd.socket voiceauthd.service 2>/dev/null || true
    fi
    for command in "${commands[@]}"; do
        # Leave another package's command of that name.
        [ "$(readlink "$destdir$prefix/bin/$command")" != "$home/bin/$command" ] || rm -f "$destdir$prefix/bin/$command"
    done
    for unit in "${units[@]}"; do
        rm -f "$destdir$prefix/lib/systemd/system/$unit" "$destdir$prefix/lib/systemd/user/$unit"
    done
    for unit in "${proof_units[@]}"; do rm -f "$destdir$prefix/lib/systemd/system/$unit"; done
    rm -f "$destdir$prefix/lib/sysusers.d/voiceauthd.conf" "$destdir$prefix/lib/tmpfiles.d/voiceauthd.conf"
    remove_manuals
    rm -rf "$destdir$home"
    if managed; then systemctl daemon-reload; fi
    echo "Removed. Kept: $destdir$state (profiles and models), $destdir${config%/*} (configuration), $destdir$pam,"
    echo "the user voiceauthd."
    echo "To remove these too: rm -r $destdir$state $destdir${config%/*} $destdir$pam; userdel voiceauthd"
}

case ${1:-} in
    install) do_install ;;
    uninstall) do_uninstall ;;
    *) fail "usage: install.sh install | uninstall" ;;
esac
