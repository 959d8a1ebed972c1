#!/usr/bin/env bash
# Build the Debian package for another Debian release, inside a root folder of that release. Needs root.
#
#     build-in-release.sh trixie
#
# The root folder is made with mmdebstrap, from the mirror that apt uses here. The package depends on that release's own
# python3-torch: the index of Python packages may have no CPU build of torch for its version of Python.
#
# ROOT  a root folder made before, default: a temporary one
set -euo pipefail

release=${1:?usage: build-in-release.sh RELEASE}
fail() { echo "$*" >&2; exit 1; }
[ -e scripts/deb/build.sh ] || fail "run this from the top of the checkout"
[ "$(id -u)" -eq 0 ] || fail "not root: sudo make deb RELEASE=$release"
for tool in mmdebstrap systemd-nspawn; do
    command -v "$tool" >/dev/null || fail "needs $tool: apt-get install mmdebstrap systemd-container"
done

packages=systemd,systemd-sysv,init-system-helpers,python3,python3-venv,python3-torch,libportaudio2,libsndfile1
packages+=,ca-certificates,man-db
root=${ROOT:-}
if [ -z "$root" ]; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
fi
if [ ! -e "$root/usr/bin/python3" ]; then
    # shellcheck disable=SC2016 # apt fills in the site
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' | head -n 1)
    [ -n "$mirror" ] || fail "apt knows no mirror: run apt-get update"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$release" "$root" "$mirror"
fi

# The checkout, without what tools have left in it.
rm -rf "$root/root/voiceauthd"
install -d "$root/root/voiceauthd"
cp -r CHANGELOG.md LICENSE README.md constraints.txt pyproject.toml daemon docs scripts systemd "$root/root/voiceauthd"

inside=(--quiet --directory="$root" --register=no --keep-unit --as-pid2 --console=pipe --chdir=/root/voiceauthd)
inside+=(--resolv-conf=replace-host --setenv=TORCH=debian --setenv=TMPDIR=/var/tmp)
inside+=("--setenv=SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
# pip inside asks the same index, with the same certificates, as pip here.
while IFS= read -r setting; do
    inside+=("--setenv=$setting")
done < <(env | grep -iE '^(PIP_|https?_proxy=|no_proxy=)' || true)
if [ -n "${PIP_CERT:-}" ]; then inside+=("--bind-ro=$(realpath "$PIP_CERT"):$PIP_CERT"); fi
systemd-nspawn "${inside[@]}" scripts/deb/build.sh </dev/null

install -d dist
cp "$root"/root/voiceauthd/dist/*.deb dist/
rm -rf "$root/root/voiceauthd"
