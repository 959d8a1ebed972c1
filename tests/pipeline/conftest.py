"""Fixtures for the tests of `pipeline/`."""

from __future__ import annotations

import pytest
from live_parts import Published, ScriptedModel, SignDetector


@pytest.fixture(autouse=True)
def sign_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the first detector: positive samples are speech."""
    monkeypatch.setattr("voiceauthd.speech.segmenter.FirstGate", SignDetector)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def published() -> Published:
    return Published()
