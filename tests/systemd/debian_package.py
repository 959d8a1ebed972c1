"""The Debian package under test, and another version of it, which has the same files."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

_AR_MAGIC = b"!<arch>\n"
_PACKED = ("daemon", "scripts", "systemd", "pyproject.toml", "constraints.txt", "config.yaml")
"""What the package is made from."""


def built_package(folder: Path) -> Path:
    """Return the package that $VOICEAUTHD_TEST_DEB names, or the one in dist/ if nothing has changed since.

    Else build one in `folder`, which takes minutes.
    """
    if named := os.environ.get("VOICEAUTHD_TEST_DEB"):
        return Path(named).resolve()
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    made = sorted((CHECKOUT / "dist").glob(f"voiceauthd_*~deb{release['VERSION_ID'].strip(chr(34))}_*.deb"))
    if made and made[-1].stat().st_mtime > max(file.stat().st_mtime for file in _sources()):
        return made[-1]
    environment = {**os.environ, "OUT": str(folder), "COMPRESS": "-Zzstd -z1"}
    subprocess.run(["scripts/deb/build.sh"], cwd=CHECKOUT, env=environment, check=True)
    return next(folder.glob("voiceauthd_*.deb"))


def newer_version(package: Path, folder: Path) -> tuple[Path, str]:
    """Make the same package with a higher version; return its path and the version."""
    members = dict(_members(package.read_bytes()))
    control = subprocess.run(["dpkg-deb", "--ctrl-tarfile", str(package)], capture_output=True, check=True).stdout
    version = _field(package, "Version") + "+newer"
    data = next(name for name in members if name.startswith("data.tar"))
    target = folder / "newer.deb"
    target.write_bytes(
        _AR_MAGIC
        + _member("debian-binary", members["debian-binary"])
        + _member("control.tar", _with_version(control, version))
        + _member(data, members[data])
    )
    return target, version


def _sources() -> Iterator[Path]:
    for name in _PACKED:
        path = CHECKOUT / name
        yield from (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        if path.is_file():
            yield path


def _field(package: Path, name: str) -> str:
    shown = subprocess.run(["dpkg-deb", "-f", str(package), name], capture_output=True, text=True, check=True)
    return shown.stdout.strip()


def _with_version(control: bytes, version: str) -> bytes:
    changed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(control)) as old, tarfile.open(fileobj=changed, mode="w") as new:
        for entry in old:
            read = old.extractfile(entry)
            data = b"" if read is None else read.read()
            if entry.name.endswith("/control"):
                data = re.sub(rb"^Version: .*$", f"Version: {version}".encode(), data, count=1, flags=re.MULTILINE)
                entry.size = len(data)
            new.addfile(entry, None if read is None else io.BytesIO(data))
    return changed.getvalue()


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(_AR_MAGIC)
    while at < len(archive):
        header = archive[at : at + 60]
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), archive[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
