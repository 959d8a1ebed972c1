"""WavLM: the same vectors as transformers, no unusable clips or vectors, and no network."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from embed_clips import noise
from models import tiny_wavlm
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, WavLMForXVector, WavLMModel

from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import ExitCode, ModelError

SAME = 0.99999


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wavlm(tmp_path_factory.mktemp("wavlm"))


@pytest.fixture(scope="session")
def embedder(folder: Path) -> Embedder:
    return load(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def load(folder: Path) -> Embedder:
    return load_embedder(ModelConfig(name=str(folder), device="cpu"))


def vectors(embedder: Embedder, *clips: np.ndarray) -> np.ndarray:
    return np.stack([embedding.vector for embedding in embedder.embed(clips)])


def model_card(folder: Path, clips: list[np.ndarray]) -> np.ndarray:
    """Embed as in the model card of microsoft/wavlm-base-sv. Shape (clips, dimension)."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = WavLMForXVector.from_pretrained(folder).eval()
    inputs = extractor(clips, sampling_rate=16_000, padding=True, return_tensors="pt")
    with torch.no_grad():
        embeddings = model(**inputs).embeddings
    return torch.nn.functional.normalize(embeddings, dim=-1).numpy()


def refusal(folder: Path) -> ModelError:
    """Return the error of loading a checkpoint, which is one line with the exit code for models."""
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.MODEL
    return caught.value


@pytest.mark.parametrize("seconds", [1, 1.2345, 3, 10])
def test_a_single_clip_gives_the_same_as_the_model_card(folder: Path, embedder: Embedder, seconds: float) -> None:
    clip = noise(seconds, seed=round(seconds * 10))
    expected = model_card(folder, [clip])[0]
    got = vectors(embedder, clip)[0]
    assert got @ expected >= SAME
    assert np.linalg.norm(got) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_batch_gives_the_same_as_the_model_card(folder: Path, embedder: Embedder, seconds: float) -> None:
    clips = [noise(seconds, seed) for seed in range(4)]
    cosines = np.sum(vectors(embedder, *clips) * model_card(folder, clips), axis=1)
    assert cosines.min() >= SAME


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_front_end_is_that_of_the_checkpoint(tmp_path: Path, normalise: bool, norm: str) -> None:
    layers = {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "use_weighted_layer_sum": True}
    tiny_wavlm(tmp_path, normalise=normalise, **layers)
    embedder = load(tmp_path)
    clip = noise(2, 3) + np.float32(0.02)
    assert vectors(embedder, clip)[0] @ model_card(tmp_path, [clip])[0] >= SAME
    other = tiny_wavlm(tmp_path / "other", normalise=not normalise, **layers)
    assert load(other).model.preprocessing != embedder.model.preprocessing


def test_without_a_preprocessor_file_clips_are_normalised_as_transformers_does(tmp_path: Path) -> None:
    # With layer norm, because group norm would hide the difference.
    tiny_wavlm(tmp_path, normalise=None, feat_extract_norm="layer", do_stable_layer_norm=True)
    clip = noise(2, 3) + np.float32(0.02)
    got = vectors(load(tmp_path), clip)[0]
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    assert got @ model_card(tmp_path, [clip])[0] >= SAME


def test_results_for_clips_of_various_lengths_are_in_order_and_unpadded(embedder: Embedder) -> None:
    clips = [noise(seconds, seed) for seed, seconds in enumerate([2, 3, 2, 1, 3, 3])]
    together = vectors(embedder, *clips)
    alone = np.stack([vectors(embedder, clip)[0] for clip in clips])
    assert np.sum(together * alone, axis=1).min() >= SAME
    # The embeddings differ, so a wrong order would fail above.
    assert np.max(alone @ alone.T - np.eye(6)) < 0.999


def test_the_same_clip_gives_the_same_vector_twice(embedder: Embedder) -> None:
    clip = noise(2, 5)
    assert np.array_equal(vectors(embedder, clip), vectors(embedder, clip))


def test_the_logits_are_not_used(copy: Path, embedder: Embedder) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["classifier.weight"].fill_(float("nan"))
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    clip = noise(2, 7)
    assert vectors(load(copy), clip)[0] @ vectors(embedder, clip)[0] >= SAME


def test_an_unusable_clip_is_refused(embedder: Embedder, bad_clip: np.ndarray) -> None:
    with pytest.raises(ModelError) as caught:
        embedder.embed([noise(1, 1), bad_clip])
    assert caught.value.reason == "unusable_clip"


def test_no_clips_give_no_embeddings(embedder: Embedder) -> None:
    assert embedder.embed([]) == []


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 0.0])
def test_a_model_without_usable_vectors_is_refused(copy: Path, embedder: Embedder, poison: float) -> None:
    weights = load_file(copy / "model.safetensors")
    for name in ("feature_extractor.weight", "feature_extractor.bias"):
        weights[name].fill_(poison)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert refusal(copy).reason == "unusable_embedding"  # found by the warm-up


def test_an_unusable_vector_at_run_time_is_refused(folder: Path) -> None:
    embedder = load(folder)
    with torch.no_grad():
        embedder._network.get_parameter("feature_extractor.bias")[3] = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(ModelError) as caught:
        embedder.embed([noise(2, 1)])
    assert caught.value.reason == "unusable_embedding"


def test_loading_a_folder_uses_no_network(folder: Path, connections: list[str]) -> None:
    vectors(load(folder), noise(1, 1))
    assert connections == []


def test_a_missing_model_says_what_to_do_without_using_a_network(tmp_path: Path, connections: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        load_embedder(ModelConfig(name="microsoft/wavlm-base-sv", cache=tmp_path))
    message = str(caught.value)
    assert "voiceauth model fetch microsoft/wavlm-base-sv" in message
    assert "model.name: campplus" in message
    assert str(tmp_path) in message
    assert connections == []


def test_the_model_id_and_threshold(folder: Path, embedder: Embedder) -> None:
    assert embedder.model.name == folder.name
    assert embedder.model.revision == "local"
    assert embedder.model.dimension == 24
    assert embedder.threshold == 0.86


def test_an_old_pickled_checkpoint_gives_the_same(copy: Path, embedder: Embedder) -> None:
    weights = load_file(copy / "model.safetensors")
    convolution = "wavlm.encoder.pos_conv_embed.conv"
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        weights[f"{convolution}.{old}"] = weights.pop(f"{convolution}.parametrizations.weight.{new}")
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    clip = noise(2, 7)
    old_model = load(copy)
    assert vectors(old_model, clip)[0] @ vectors(embedder, clip)[0] >= SAME
    assert old_model.model.digest != embedder.model.digest


def test_pickled_code_is_not_run(copy: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "attacked",))

    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Attack()}))
    assert refusal(copy).reason == "model_corrupt"
    torch.save({"x": Attack()}, copy / "pytorch_model.bin")
    assert refusal(copy).reason == "model_corrupt"
    assert not (tmp_path / "attacked").exists()


def test_a_wavlm_without_a_speaker_head_is_refused(copy: Path) -> None:
    encoder: WavLMModel = WavLMForXVector.from_pretrained(copy).wavlm
    encoder.save_pretrained(copy)
    assert "without a speaker head" in str(refusal(copy))


def test_another_architecture_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "wav2vec2"}))
    assert "'wav2vec2', not 'wavlm'" in str(refusal(copy))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 64},
        {"num_hidden_layers": 3},
        {"hidden_size": "many"},
        {"hidden_act": "none"},
    ],
)
def test_weights_of_another_configuration_are_refused(copy: Path, change: dict[str, object]) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    assert str(copy) in str(refusal(copy))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_damaged_file_is_refused_by_name(copy: Path, file: str) -> None:
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: len(content) // 2])
    assert file in str(refusal(copy))
    (copy / file).write_bytes(b"")
    assert file in str(refusal(copy))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_is_refused_by_name(copy: Path, file: str) -> None:
    (copy / file).unlink()
    assert file in str(refusal(copy))


@pytest.mark.parametrize("change", [{"sampling_rate": 8000}, {"feature_extractor_type": "X"}, {"do_normalize": "yes"}])
def test_another_front_end_is_refused(copy: Path, change: dict[str, object]) -> None:
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "preprocessor_config.json" in str(refusal(copy))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in str(refusal(tmp_path / "nowhere"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_device_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="only: cpu") as caught:
        load_embedder(ModelConfig(name=str(folder), device="cuda"))
    assert caught.value.reason == "no_device"
