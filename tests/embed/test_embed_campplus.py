"""CAM++: the network of the paper, Kaldi's filter bank, and real voices."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import campplus_reference
import numpy as np
import pytest
import soundfile
import torch
from embed_clips import bad_clips, noise
from models import campplus_cache, development_speech, rows

from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.campplus import CAMPPLUS_THRESHOLD
from voiceauthd.embed.campplus_net import CamPlusPlus
from voiceauthd.embed.embedding import Embedder, unit_mean
from voiceauthd.embed.fbank import Fbank
from voiceauthd.embed.load import load_embedder
from voiceauthd.embed.tensors import Tensors
from voiceauthd.errors import ModelError

SAME = 0.99999

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def reference() -> campplus_reference.CamPlusPlus:
    """The reference network with random weights and random batch norm statistics."""
    torch.manual_seed(0)
    network = campplus_reference.CamPlusPlus().eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.normal_(0, 0.1)
            elif "cam_layer.linear1" in name or "cam_layer.linear2" in name:
                tensor.mul_(8)  # so that the masks differ between segments
    return network


@pytest.fixture(scope="session")
def network(reference: campplus_reference.CamPlusPlus) -> CamPlusPlus:
    """The daemon's network with the same weights."""
    return CamPlusPlus(Tensors(reference.state_dict(), CPU))


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The real model."""
    return load_embedder(ModelConfig(name="campplus", cache=campplus_cache(), device="cpu"))


def vectors(embedder: Embedder, *clips: np.ndarray) -> np.ndarray:
    return np.stack([embedding.vector for embedding in embedder.embed(clips)])


# 98 frames are 1 s. A segment of the masks ends every 200 input frames (100 after halving): these lengths have one
# segment or several, with the last one full, partial or of a single frame.
@pytest.mark.parametrize("frames", [3, 98, 200, 201, 401, 998])
def test_the_network_is_that_of_the_paper(
    reference: campplus_reference.CamPlusPlus, network: CamPlusPlus, frames: int
) -> None:
    features = torch.randn(2, frames, 80)
    with torch.inference_mode():
        expected, got = reference(features), network(features)
    assert torch.cosine_similarity(expected, got).min() >= SAME
    assert torch.allclose(expected, got, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("frames", [2, 100, 101, 201, 350])
def test_the_masks_change_between_segments_as_in_the_paper(
    reference: campplus_reference.CamPlusPlus, network: CamPlusPlus, frames: int
) -> None:
    drifting = torch.randn(2, frames, 128) + torch.linspace(-2, 2, frames)[:, None]
    layer = reference.get_submodule("xvector.block1.tdnnd1")
    with torch.inference_mode():
        expected = layer(drifting.transpose(1, 2)).transpose(1, 2)
        got = network.blocks[0].layers[0](drifting)
    assert torch.allclose(expected, got, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_with_a_missing_tensor_is_refused(reference: campplus_reference.CamPlusPlus) -> None:
    tensors = reference.state_dict()
    del tensors["xvector.block2.tdnnd24.cam_layer.linear1.bias"]
    with pytest.raises(ModelError, match=r"tdnnd24\.cam_layer\.linear1\.bias is missing"):
        CamPlusPlus(Tensors(tensors, CPU))


def test_a_checkpoint_with_an_additional_tensor_is_refused(reference: campplus_reference.CamPlusPlus) -> None:
    tensors = reference.state_dict() | {"xvector.dense.nonlinear.batchnorm.weight": torch.ones(192)}
    with pytest.raises(ModelError, match=r"unknown tensor xvector\.dense\.nonlinear\.batchnorm\.weight"):
        CamPlusPlus(Tensors(tensors, CPU))


def test_a_checkpoint_with_a_tensor_of_another_shape_is_refused(reference: campplus_reference.CamPlusPlus) -> None:
    tensors = reference.state_dict() | {"head.conv1.weight": torch.ones(32, 3, 3, 3)}
    with pytest.raises(ModelError, match=r"head.conv1.weight has shape \(32, 3, 3, 3\)"):
        CamPlusPlus(Tensors(tensors, CPU))


def kaldi_fbank(samples: np.ndarray) -> np.ndarray:
    """Compute Kaldi's filter bank from its definition, in double precision. Shape (frames, 80)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    emphasised = frames - 0.97 * np.concatenate((frames[:, :1], frames[:, :-1]), axis=1)
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(emphasised * povey, 512)) ** 2

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(np.array(20.0)), mel(np.array(8000.0)), 82)
    bins = mel(np.arange(256) * 16_000 / 512)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0, np.minimum(rising, falling))
    features = np.log(np.maximum(power[:, :256] @ weights.T, np.finfo(np.float32).eps))
    return features - features.mean(axis=0)


@pytest.mark.parametrize("seconds", [1, 3.0049])
def test_the_front_end_is_that_of_kaldi(seconds: float) -> None:
    clip = noise(seconds, 3)
    features = Fbank()(clip)
    assert features.dtype == np.float32
    assert features.shape == (1 + (len(clip) - 400) // 160, 80)
    assert np.abs(features - kaldi_fbank(clip)).max() < 2e-3


def test_the_front_end_is_deterministic() -> None:
    fbank, clip = Fbank(), noise(2, 4)
    assert np.array_equal(fbank(clip), fbank(clip))


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_batch_gives_the_same_as_single_clips(embedder: Embedder, seconds: float) -> None:
    clips = [noise(seconds, seed) for seed in range(4)]
    together = vectors(embedder, *clips)
    alone = np.stack([vectors(embedder, clip)[0] for clip in clips])
    assert np.sum(together * alone, axis=1).min() >= SAME
    assert np.max(alone @ alone.T - np.eye(4)) < 0.99


def test_results_for_clips_of_various_lengths_are_in_order(embedder: Embedder) -> None:
    clips = [noise(seconds, seed) for seed, seconds in enumerate([2, 3, 2, 1, 3])]
    together = vectors(embedder, *clips)
    alone = np.stack([vectors(embedder, clip)[0] for clip in clips])
    assert np.sum(together * alone, axis=1).min() >= SAME


def test_vectors_have_length_one_and_both_signs(embedder: Embedder) -> None:
    vector = vectors(embedder, noise(3, 9))[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert 0.25 < np.mean(vector < 0) < 0.75  # a rectifier after the last layer would leave none


def test_an_unusable_clip_is_refused(embedder: Embedder) -> None:
    with pytest.raises(ModelError) as caught:
        embedder.embed([noise(1, 1), bad_clips()["NaN"]])
    assert caught.value.reason == "unusable_clip"


def test_the_model_id_and_threshold(embedder: Embedder) -> None:
    assert embedder.model.name == "campplus"
    assert embedder.model.digest == "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
    assert embedder.model.dimension == 192
    assert embedder.threshold == CAMPPLUS_THRESHOLD


def test_the_voices_of_the_demo_are_distinguished(embedder: Embedder) -> None:
    folder = Path(str(resources.files("voiceauthd.demo"))) / "voices"
    if not (folder / "verify-ralph.flac").is_file():
        pytest.skip("the demo's voices are missing")

    def embed_file(name: str) -> np.ndarray:
        return vectors(embedder, soundfile.read(folder / name, dtype="float32")[0])[0]

    ralph, susan = (
        unit_mean([embed_file(f"{name}-{take}.flac") for take in range(1, 6)]) for name in ("ralph", "susan")
    )
    again, stranger = embed_file("verify-ralph.flac"), embed_file("verify-stranger.flac")
    assert again @ ralph > CAMPPLUS_THRESHOLD > again @ susan
    assert max(stranger @ ralph, stranger @ susan) < CAMPPLUS_THRESHOLD


def test_real_people_are_closer_to_themselves_than_to_others(embedder: Embedder) -> None:
    folder = development_speech()
    files = {row["enroll_id"]: row["files"].split(";") for row in rows(folder, "enroll.csv")}
    trials = [
        row for row in rows(folder, "trials.csv") if row["test_source"] == "voxforge" and row["label"] == "target"
    ]
    targets = {row["enroll_id"]: row["test_path"] for row in trials}
    people = dict(sorted(targets.items())[:6])

    def embed_file(path: str) -> np.ndarray:
        return vectors(embedder, soundfile.read(folder / path, dtype="float32")[0])[0]

    enrolled = np.stack([unit_mean([embed_file(path) for path in files[person][:2]]) for person in people])
    cosines = np.stack([embed_file(path) for path in people.values()]) @ enrolled.T
    own = cosines.diagonal()
    others = cosines[~np.eye(6, dtype=bool)]
    assert own.min() > others.max()
    assert own.mean() > CAMPPLUS_THRESHOLD
    assert abs(others.mean()) < 0.25


def test_loading_it_needs_neither_transformers_nor_a_network(tmp_path: Path) -> None:
    cache = campplus_cache()
    program = f"""
import socket, sys
def refuse(*arguments): raise SystemExit("tried the network")
socket.getaddrinfo = socket.socket.connect = refuse
from pathlib import Path
from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.load import load_embedder
load_embedder(ModelConfig(name="campplus", cache=Path({str(cache)!r})))
loaded = {{"transformers", "huggingface_hub"}} & set(sys.modules)
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
