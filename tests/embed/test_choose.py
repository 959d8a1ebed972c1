"""Which model `model.name` means, given the cache and the enrolled profiles, and that none is replaced silently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.cache import list_models, require_trusted, snapshot
from voiceauthd.embed.choose import MISSING, EnrolledModel, choose_model
from voiceauthd.embed.load import locate
from voiceauthd.embed.manifest import FORMAT
from voiceauthd.errors import ModelError

WAVLM = "microsoft/wavlm-base-sv"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o700)
    return folder


def cached(cache: Path, name: str, revision: str = "abc123", fetched: str = "2026-01-01") -> Path:
    folder = cache / f"{name.replace('/', '--')}@{revision}"
    folder.mkdir()
    known = {"name": name, "revision": revision, "digest": "d", "source": "s", "licence": "l", "fetched": fetched}
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, **known, "files": {"model.safetensors": "x"}}))
    return folder


def enrolled(name: str, revision: str = "abc123", count: int = 1) -> list[EnrolledModel]:
    return [EnrolledModel(name, revision, "d")] * count


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((WAVLM, "campplus"), WAVLM),
        ((WAVLM,), WAVLM),
        (("campplus",), "campplus"),
        (("other/wavlm", "campplus"), "campplus"),
    ],
)
def test_auto_takes_wavlm_if_it_is_cached_otherwise_campplus(
    cache: Path, there: tuple[str, ...], expected: str
) -> None:
    for name in there:
        cached(cache, name)
    choice = choose_model(ModelConfig(cache=cache))
    assert choice.config.name == expected
    assert "auto" in choice.reason


def test_auto_takes_the_configured_wavlm_before_campplus(cache: Path) -> None:
    cached(cache, "campplus")
    cached(cache, "other/wavlm")
    assert choose_model(ModelConfig(cache=cache, wavlm="other/wavlm")).config.name == "other/wavlm"


def test_auto_without_a_model_says_both_commands(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"model fetch campplus.*model fetch microsoft/wavlm-base-sv") as raised:
        choose_model(ModelConfig(cache=cache))
    assert raised.value.reason == MISSING


def test_a_named_model_is_taken_unchanged(cache: Path) -> None:
    cached(cache, "campplus")
    named = ModelConfig(name=WAVLM, cache=cache)
    assert choose_model(named).config == named
    with pytest.raises(ModelError, match=f"{WAVLM} is not in the model cache") as raised:
        locate(named)
    assert raised.value.reason == MISSING


def test_auto_keeps_the_model_that_most_profiles_belong_to(cache: Path) -> None:
    cached(cache, WAVLM)
    cached(cache, "campplus")
    choice = choose_model(ModelConfig(cache=cache), enrolled("campplus", count=2) + enrolled(WAVLM))
    assert (choice.config.name, choice.config.revision) == ("campplus", "abc123")
    assert "2 enrolled profiles belong to campplus" in choice.reason
    assert "enrol again" in choice.reason


@pytest.mark.parametrize(
    ("model", "command"),
    [
        (EnrolledModel("campplus", "old", "d"), "`voiceauth model fetch campplus`"),
        (EnrolledModel(WAVLM, "f00", "d"), f"`voiceauth model fetch {WAVLM} --revision f00`"),
        (EnrolledModel("mine", "local", "d"), "set `model.name` to the folder of mine"),
    ],
)
def test_auto_never_replaces_the_model_of_the_profiles(cache: Path, model: EnrolledModel, command: str) -> None:
    cached(cache, WAVLM)
    cached(cache, "campplus")
    with pytest.raises(ModelError) as raised:
        choose_model(ModelConfig(cache=cache), [model])
    assert command in str(raised.value)
    assert raised.value.reason == MISSING


def test_a_snapshot_differs_after_a_model_was_added_or_changed(cache: Path) -> None:
    empty = snapshot(cache)
    folder = cached(cache, "campplus")
    there = snapshot(cache)
    assert there != empty
    (folder / "model.safetensors").write_bytes(b"1")
    assert snapshot(cache) != there
    assert snapshot(cache / "missing") == empty == frozenset()


@needs_root
def test_a_cache_of_another_user_or_open_to_all_is_refused_with_the_fix(cache: Path) -> None:
    require_trusted(cache)
    cache.chmod(0o777)
    with pytest.raises(ModelError, match="chmod o-w"):
        require_trusted(cache)
    cache.chmod(0o700)
    os.chown(cache, NOBODY, NOBODY)
    with pytest.raises(ModelError, match=r"who could replace the model.*chown -R root"):
        require_trusted(cache)


@needs_root
@pytest.mark.parametrize("closed", ["the cache", "the model's folder"])
def test_an_unreadable_folder_is_named_with_its_owner_and_the_fix(cache: Path, closed: str) -> None:
    model = cached(cache, "campplus")
    above = [folder for folder in cache.parents if folder.is_relative_to(tempfile.gettempdir())][:-1]
    for folder in (*above, cache, model):
        folder.chmod(0o755)
    shut = cache if closed == "the cache" else model
    shut.chmod(0o700)
    code = (
        "import os\nfrom pathlib import Path\nfrom voiceauthd.embed.choose import choose_model\n"
        "from voiceauthd.config.schema import ModelConfig\nfrom voiceauthd.errors import ModelError\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"try: choose_model(ModelConfig(cache=Path({str(cache)!r})))\nexcept ModelError as problem: print(problem)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    assert f"{shut} belongs to root, and nobody cannot read it" in output
    assert f"chown -R nobody {shut}" in output


def test_a_file_beside_the_models_is_ignored(cache: Path) -> None:
    (cache / "notes.txt").write_text("mine")
    cached(cache, "campplus")
    assert [model.name for model in list_models(cache)] == ["campplus"]
