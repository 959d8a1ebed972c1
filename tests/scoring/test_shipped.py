"""The shipped cohort and calibration: for CAM++, made only from freely licensed speech."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from models import campplus_cache
from score_parts import MODEL

from voiceauthd.config.schema import Config, ModelConfig
from voiceauthd.embed.embedding import ModelId
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import UsageError
from voiceauthd.scoring.backend import CALIBRATION, COHORT, NO_BACKEND, folder_name, shipped_backend
from voiceauthd.scoring.calibration import Evidence
from voiceauthd.scoring.policy import AUTH, UNLOCK, make_policies, require_usable

ROOT = Path(__file__).resolve().parents[2]

CAMPPLUS = ModelId(
    name="campplus",
    revision="cn_en_common",
    digest="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
    preprocessing="kaldi-fbank80-mean/1",
    dimension=192,
)

MAX_BYTES = 300_000

THRESHOLD = 0.6

NOT_FREE = ("vf_", "emo_")
"""Speakers of VoxForge (GPL) and of EmoDB."""


@pytest.fixture(scope="module")
def backend():
    return shipped_backend(CAMPPLUS)


@pytest.fixture(scope="module")
def files():
    folder = resources.files("voiceauthd.scoring") / "shipped" / folder_name(CAMPPLUS)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_both_files_exist_and_are_small(files):
    assert set(files) == {COHORT, CALIBRATION}
    assert sum(map(len, files.values())) < MAX_BYTES


def test_they_belong_to_the_model_and_to_each_other(backend):
    assert backend.cohort.model == CAMPPLUS
    assert backend.calibration.model == asdict(CAMPPLUS)
    assert backend.calibration.cohort == backend.cohort.digest


def test_they_are_for_the_loaded_model():
    embedder = load_embedder(ModelConfig(name="campplus", cache=campplus_cache(), device="cpu"))
    assert embedder.model == CAMPPLUS
    assert shipped_backend(embedder.model).calibration is not None


def test_they_name_only_freely_licensed_speech(backend):
    for about in (backend.cohort, backend.calibration):
        assert about.sources
        assert all(source.endswith("(CC BY 4.0)") for source in about.sources)
        assert len(set(about.sources)) == len(about.sources)
        assert not [name for name in about.speakers if name.startswith(NOT_FREE)]
        assert len(set(about.speakers)) == len(about.speakers) >= 100
    assert set(backend.calibration.speakers) <= set(backend.cohort.speakers)


def test_the_files_have_no_other_fields(files):
    assert set(json.loads(files[CALIBRATION])) == {
        "format",
        "model",
        "cohort",
        "offset",
        "weights",
        "net_speech",
        "exemplars",
        "snr_db",
        "snr_unknown",
        "target",
        "nontarget",
        "speakers",
        "pairs",
        "alarms",
        "cllr",
        "mincllr",
        "sources",
        "created",
    }
    header = json.loads(files[COHORT][8 : 8 + int.from_bytes(files[COHORT][:8], "little")])
    assert set(header) == {"__metadata__", "vectors"}


def test_nobody_is_in_the_cohort_twice(backend):
    vectors = backend.cohort.vectors.astype(np.float64)
    cosines = vectors @ vectors.T - 2.0 * np.eye(len(vectors))
    assert float(np.max(cosines)) < 0.75
    assert float(np.median(cosines)) < 0.3


def test_the_llr_rises_with_the_score(backend):
    calibration = backend.calibration
    llrs = [calibration.llr(Evidence(score, 0.3, 3.0, 5, 20.0)) for score in np.linspace(-0.3, 0.6, 19)]
    assert llrs == sorted(llrs)
    assert llrs[0] < -5.0
    assert llrs[-1] > 5.0


def test_they_demonstrate_unlock_but_not_yet_auth(backend):
    policies = make_policies(Config(), THRESHOLD, backend)
    assert policies[UNLOCK].demonstrated
    assert policies[UNLOCK].trials == backend.calibration.pairs >= 3000
    assert backend.calibration.cllr < 0.05
    if not policies[AUTH].demonstrated:
        with pytest.raises(UsageError, match="not demonstrated"):
            require_usable(policies[AUTH])


def test_they_are_not_used_for_another_model():
    assert shipped_backend(MODEL) is NO_BACKEND


def test_a_built_wheel_contains_them(files):
    """By the patterns for setuptools in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["voiceauthd"]
    package = ROOT / "daemon" / "voiceauthd"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    folder = package / "scoring" / "shipped" / folder_name(CAMPPLUS)
    assert {folder / name for name in files} <= packed
