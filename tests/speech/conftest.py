"""Fixtures for the tests of `speech/`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from speech_parts import SignDetector, unconfirmed

from voiceauthd.speech.segmenter import Segmenter


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """One thread, as in the daemon. With more, silero-vad costs half as much again, and many times that while other
    processes use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sign_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the first detector: positive samples are speech."""
    monkeypatch.setattr("voiceauthd.speech.segmenter.FirstGate", SignDetector)


@pytest.fixture
def cutter(sign_detector: None) -> Segmenter:
    """A segmenter for numbered audio."""
    return Segmenter(unconfirmed())
