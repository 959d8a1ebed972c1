"""A real microphone path: sound that PulseAudio plays, PortAudio hears, and the daemon recognises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_box import ENOUGH, Box, wait_until, with_model
from daemon_caller import Caller
from daemon_room import PEOPLE, quiet, takes, voice
from virtual_mic import VirtualMic

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def hearing(folder: Path, virtual_mic: VirtualMic) -> Iterator[Box]:
    """The daemon at the virtual microphone; Ralph and Susan are enrolled."""
    audio = {"audio": {"source": "microphone", "device": "vmic", "backoff": 0.2, "backoff_limit": 0.5}}
    environment = virtual_mic.env | with_model()
    with Box(folder, ENOUGH | audio, environment=environment, hears=False) as box:
        box.await_ready()
        for person in PEOPLE:
            box.enroll(person, takes(person))
        yield box


def recording(folder: Path, name: str) -> Path:
    """With quiet before and behind it, as a file to be played."""
    path = folder / f"{name}.wav"
    soundfile.write(path, np.concatenate([quiet(0.3), voice(name), quiet(0.7, seed=1)]), 16_000)
    return path


def verify(box: Box, mic: VirtualMic, name: str, sound: Path) -> dict:
    with box.caller() as caller:
        caller.send("Verify", name=name)
        caller.until("listening")
        player = mic.play_async(sound)
        decision = caller.until("decided")
    assert player.wait(20) == 0
    return decision


def source(box: Box) -> dict:
    return box.ask("Status")["source"]


def lost(monitor: Caller) -> dict:
    event = monitor.events("source")[-1]
    while not event["detail"].startswith("lost"):
        event = monitor.events("source")[-1]
    return event


def test_voices_are_recognised_and_a_lost_microphone_comes_back(hearing: Box, virtual_mic: VirtualMic) -> None:
    box, folder = hearing, hearing.folder
    assert source(box)["state"] == "closed"
    accepted = verify(box, virtual_mic, "Ralph", recording(folder, "verify-ralph"))
    assert (accepted["outcome"], accepted["reason"]) == ("accept", "match")
    assert verify(box, virtual_mic, "Ralph", recording(folder, "verify-stranger"))["outcome"] == "reject"
    wait_until("nobody listens", lambda: source(box)["state"] == "closed")

    with box.caller() as monitor:
        monitor.send("Monitor")
        wait_until("the microphone is open", lambda: source(box)["state"] == "open")
        assert "vmic" in source(box)["description"]
        virtual_mic.remove_sink()
        assert "vmic" in lost(monitor)["detail"]
        status = box.ask("Status")
        assert (status["state"], status["source"]["state"]) == ("degraded", "lost")
        assert status["problem"] == status["source"]["problem"]
        assert box.refusal("Verify", name="Ralph").error == "NoSource"
        virtual_mic.add_sink("vmic")
        wait_until("the microphone is open again", lambda: source(box)["state"] == "open")
        assert source(box)["reopened"] == 1
        assert box.ask("Status")["state"] == "ready"
        assert verify(box, virtual_mic, "Ralph", recording(folder, "verify-ralph"))["outcome"] == "accept"
        windows = [event for event in monitor.events("silence") if event["kind"] == "window"]
    assert {window["identity"] for window in windows} == {"Ralph"}
    wait_until("nobody listens", lambda: source(box)["state"] == "closed")
    began = time.monotonic()
    assert box.end() == 0
    assert time.monotonic() - began < 2.0
