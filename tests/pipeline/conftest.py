"""Fixtures of the tests of `pipeline/`."""

from __future__ import annotations

import pytest
from live_parts import Model, Obedient, World


@pytest.fixture(autouse=True)
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive sound is speech."""
    monkeypatch.setattr("voiceauthd.speech.segmenter.FirstGate", Obedient)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def world() -> World:
    return World()
