"""Fixtures of the tests of `pipeline/`."""

from __future__ import annotations

import pytest
from live_parts import Obedient


@pytest.fixture(autouse=True)
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positive sound is speech."""
    monkeypatch.setattr("voiceauthd.speech.segmenter.FirstGate", Obedient)
