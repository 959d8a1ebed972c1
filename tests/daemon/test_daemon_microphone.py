"""A real microphone path: PulseAudio plays audio, PortAudio records it, and the daemon recognises the speaker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_audio import PEOPLE, quiet, takes, voice
from daemon_caller import Caller
from daemon_process import QUICK_ENROLMENT, DaemonProcess, with_model
from virtual_mic import VirtualMic
from waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def hearing(folder: Path, virtual_mic: VirtualMic) -> Iterator[DaemonProcess]:
    """A daemon with the virtual microphone; Ralph and Susan are enrolled."""
    audio = {"audio": {"source": "microphone", "device": "vmic", "backoff": 0.2, "backoff_limit": 0.5}}
    environment = virtual_mic.env | with_model()
    with DaemonProcess(folder, QUICK_ENROLMENT | audio, environment=environment, with_audio=False) as daemon:
        daemon.await_ready()
        for person in PEOPLE:
            daemon.enroll(person, takes(person))
        yield daemon


def recording(folder: Path, name: str) -> Path:
    """Write a recording with quiet before and after it as a file to play."""
    path = folder / f"{name}.wav"
    soundfile.write(path, np.concatenate([quiet(0.3), voice(name), quiet(0.7, seed=1)]), 16_000)
    return path


def verify(daemon: DaemonProcess, mic: VirtualMic, name: str, file: Path) -> dict:
    with daemon.caller() as caller:
        caller.send("Verify", name=name)
        caller.until("listening")
        player = mic.play_async(file)
        decision = caller.until("decided")
    assert player.wait(20) == 0
    return decision


def source(daemon: DaemonProcess) -> dict:
    return daemon.ask("Status")["source"]


def lost(monitor: Caller) -> dict:
    event = monitor.events("source")[-1]
    while not event["detail"].startswith("lost"):
        event = monitor.events("source")[-1]
    return event


def test_voices_are_recognised_and_a_lost_microphone_is_reopened(
    hearing: DaemonProcess, virtual_mic: VirtualMic
) -> None:
    daemon, folder = hearing, hearing.folder
    assert source(daemon)["state"] == "closed"
    accepted = verify(daemon, virtual_mic, "Ralph", recording(folder, "verify-ralph"))
    assert (accepted["outcome"], accepted["reason"]) == ("accept", "match")
    assert verify(daemon, virtual_mic, "Ralph", recording(folder, "verify-stranger"))["outcome"] == "reject"
    wait_until("the microphone is closed", lambda: source(daemon)["state"] == "closed")

    with daemon.caller() as monitor:
        monitor.send("Monitor")
        wait_until("the microphone is open", lambda: source(daemon)["state"] == "open")
        assert "vmic" in source(daemon)["description"]
        virtual_mic.remove_sink()
        assert "vmic" in lost(monitor)["detail"]
        status = daemon.ask("Status")
        assert (status["state"], status["source"]["state"]) == ("degraded", "lost")
        assert status["problem"] == status["source"]["problem"]
        assert daemon.refusal("Verify", name="Ralph").error == "NoSource"
        virtual_mic.add_sink("vmic")
        wait_until("the microphone is open again", lambda: source(daemon)["state"] == "open")
        assert source(daemon)["reopened"] == 1
        assert daemon.ask("Status")["state"] == "ready"
        assert verify(daemon, virtual_mic, "Ralph", recording(folder, "verify-ralph"))["outcome"] == "accept"
        windows = [event for event in monitor.events("silence") if event["kind"] == "window"]
    assert {window["identity"] for window in windows} == {"Ralph"}
    wait_until("the microphone is closed", lambda: source(daemon)["state"] == "closed")
    began = time.monotonic()
    assert daemon.end() == 0
    assert time.monotonic() - began < 2.0
