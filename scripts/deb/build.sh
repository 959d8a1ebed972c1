#!/usr/bin/env bash
# Build a Debian package of this checkout for the Debian release that this runs on: dist/voiceauthd_VERSION_ARCH.deb.
# Run by `make deb` from the top of the checkout, as root or not; it writes to build/deb and OUT only.
#
# It contains a virtual environment with every Python package at the version in constraints.txt, so it depends on the
# minor version of Python that it was built with.
#
# TORCH=debian       depend on Debian's python3-torch instead of containing torch: half the size, another version
# SOURCE_DATE_EPOCH  the date of all files, default: that of the last commit
# COMPRESS           for dpkg-deb, default: -Zzstd -z7
# OUT                where the package goes, default: dist
set -euo pipefail

fail() { echo "$*" >&2; exit 1; }
[ -e scripts/deb/build.sh ] || fail "run this from the top of the checkout"
for tool in dpkg-deb dpkg; do command -v "$tool" >/dev/null || fail "needs $tool (Debian: dpkg)"; done
umask 022

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_ID")
debian_version=$version-1~deb$release
arch=$(dpkg --print-architecture)
root=$PWD/build/deb/root
home=/opt/voiceauthd
out=${OUT:-dist}
read -ra compress <<<"${COMPRESS:--Zzstd -z7}"

# Remove what the daemon never runs: tests, headers, tools of the packages, and pip. torch needs its shm manager.
slim() {
    local venv=$1 site=$2 name
    "$venv/bin/python" -m pip uninstall --quiet --yes pip
    find "$venv/bin" -mindepth 1 ! -name 'python*' ! -name 'voiceauth*' -delete
    rm -rf "$venv/include" "$venv/share/man" "$site"/voiceauthd-*.dist-info/direct_url.json
    rm -rf "$site/torch/test" "$site/torch/include" "$site/torch/share"
    [ ! -d "$site/torch/bin" ] || find "$site/torch/bin" -mindepth 1 ! -name torch_shm_manager -delete
    for name in scipy sympy networkx mpmath; do
        if [ -d "$site/$name" ]; then find "$site/$name" -type d -name tests -prune -exec rm -rf {} +; fi
    done
}

# Compile once, here: the package then owns these files, and they are the same in every build.
compile() {
    find "$2" -name __pycache__ -prune -exec rm -rf {} +
    "$1/bin/python" -m compileall -q -f -j 0 -s "$root" -p / --invalidation-mode unchecked-hash "$2" ||
        echo "some files of the packages cannot be compiled (see above); they are not used" >&2
}

put_documents() {
    local doc=$root/usr/share/doc/voiceauthd
    install -d "$doc"
    gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
    printf 'voiceauthd (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$debian_version" \
        "$maintainer" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | gzip -9nc >"$doc/changelog.Debian.gz"
    install -m 0644 README.md docs/{login,threat-model,configuration,cli,exit-codes}.md "$doc"
    "$venv/bin/python" -I scripts/deb/copyright.py "$site" LICENSE >"$doc/copyright"
}

control() {
    local minor next depends
    minor=$("$venv/bin/python" -c 'import sys; print(sys.version_info.minor)')
    next=$((minor + 1))
    # procps: the unit's ExecReload= calls kill.
    depends="python3 (>= 3.$minor~), python3 (<< 3.$next~), ${torch:+$torch }libportaudio2, libsndfile1, libpam0g"
    depends+=", libstdc++6, procps, init-system-helpers, systemd | adduser"
    printf '%s\n' \
        "Package: voiceauthd" \
        "Version: $debian_version" \
        "Architecture: $arch" \
        "Maintainer: $maintainer" \
        "Installed-Size: $(du -k -s --apparent-size "$root" | cut -f1)" \
        "Depends: $depends" \
        "Recommends: libasound2-plugins, libpam-modules" \
        "Section: sound" \
        "Priority: optional" \
        "Description: recognises who is speaking, in real time, over a local socket" \
        " A daemon that listens to the microphone, recognises which enrolled person is" \
        " speaking, and answers on a local socket: to unlock something, to check who" \
        " asks, or to watch who speaks. Nothing leaves the machine, and no audio is" \
        " written to disk. A speaker model is fetched once, by \`voiceauth setup\`." \
        " ." \
        " A voice is a convenience, a second factor or a presence signal: a good" \
        " recording of it may be accepted."
}

maintainer=${DEB_MAINTAINER:-voiceauthd developers <root@localhost>}
venv=$root$home
torch=
rm -rf build/deb
install -d "$root" "$out"
if [ "${TORCH:-}" = debian ]; then
    # The environment also sees Debian's own packages, after those that it contains.
    torch="python3-torch (>= 2.6),"
    "$(scripts/find-python.sh system)" -m venv --system-site-packages "$venv"
    # That torch, and the sympy that it asks for, which torch requires at one version.
    grep -vE '^(torch|sympy)==' constraints.txt >build/deb/constraints.txt
    "$venv/bin/python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' \
        >>build/deb/constraints.txt || fail "needs Debian's torch: apt-get install python3-torch"
    export CONSTRAINTS=build/deb/constraints.txt
fi
DESTDIR=$root PREFIX=/usr scripts/install.sh install
site=$(echo "$venv"/lib/python3.*/site-packages)
install -d "$root/usr/share/zsh"
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
put_documents
slim "$venv" "$site"
compile "$venv" "$site"

install -d "$root/DEBIAN"
control >"$root/DEBIAN/control"
printf '%s\n' /etc/voiceauthd/config.yaml /etc/pam.d/voiceauthd >"$root/DEBIAN/conffiles"
for script in preinst postinst prerm postrm; do install -m 0755 "scripts/deb/$script" "$root/DEBIAN/$script"; done
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
chmod 0644 "$root"/DEBIAN/{control,conffiles,md5sums}

deb=$out/voiceauthd_${debian_version}_$arch.deb
dpkg-deb --root-owner-group "${compress[@]}" --build "$root" "$deb" >/dev/null
echo "$deb: $(du -m --apparent-size "$deb" | cut -f1) MiB; installed $(du -m -s --apparent-size "$root" | cut -f1) MiB"
rm -rf build/deb
