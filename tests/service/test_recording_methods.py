"""VerifyRecording and IdentifyRecording fail closed: no decision without the whole way to it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from inprocess_daemon import InProcessDaemon, outcome, run_scenario

from voiceauthd.audio.pcm import pcm16
from voiceauthd.errors import ModelError, StorageError
from voiceauthd.scoring.backend import Backend
from voiceauthd.service import recording_methods

ERRORS = ("Cancelled", "StorageFailed", "NotReady", "Internal")


def run(folder: Path, scenario: Callable[[InProcessDaemon], Awaitable[str]]) -> str:
    return run_scenario(folder, Backend(), [], scenario)


async def decided(daemon: InProcessDaemon, samples: np.ndarray | None) -> str:
    """The outcome of a verification of this recording, or the error; None sends nothing."""
    call = asyncio.create_task(daemon.ask("VerifyRecording", name="Ralph"))
    while not daemon.methods._recordings._sending and not call.done():
        await asyncio.sleep(0.01)
    if samples is not None and not call.done():
        (token,) = daemon.methods._recordings._sending
        pcm = base64.b64encode(pcm16(samples)).decode()
        await daemon.ask("SendAudio", claim=token, pcm=pcm, end="all")
    found = outcome(await call)
    assert not daemon.methods._recordings._sending
    return found


def test_a_recording_that_does_not_arrive_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_methods, "PIECE_TIMEOUT", 0.1)
    assert run(tmp_path, lambda daemon: decided(daemon, None)) == "Cancelled"


def test_silence_is_inconclusive(tmp_path: Path) -> None:
    assert run(tmp_path, lambda daemon: decided(daemon, np.zeros(8000, np.float32))) == "inconclusive"


def test_a_decision_that_cannot_be_audited_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(daemon: InProcessDaemon) -> str:
        async def full(*_: object) -> None:
            raise StorageError("the disk is full", "disk_full")

        monkeypatch.setattr(daemon.state.auditor, "record", full)
        return await decided(daemon, np.zeros(8000, np.float32))

    assert run(tmp_path, scenario) == "StorageFailed"


@pytest.mark.parametrize("problem", [ModelError("no detector"), RuntimeError("defect"), MemoryError()])
def test_a_part_that_fails_gives_an_error_and_frees_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def broken(*_: object) -> None:
        raise problem

    monkeypatch.setattr(recording_methods.RecordingDecision, "push", broken)
    assert run(tmp_path, lambda daemon: decided(daemon, np.zeros(8000, np.float32))) in ERRORS
