"""Faults of the audio: it ends, is old, or there is no detector to find speech in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_audio import quiet, voice
from daemon_caller import RefusedError
from faulty_daemon import VERIFY_TIMEOUT, FaultyDaemon, repeated, start, start_faulty
from pam_room import PamRoom
from virtual_mic import VirtualMic, virtual_mic  # noqa: F401  a fixture is used by its name
from waiting import wait_until

from voiceauthd.errors import ExitCode

# The microphone


def test_a_microphone_lost_during_a_verification_accepts_nobody(faulty: FaultyDaemon) -> None:
    def pull_out() -> None:
        faulty.begin("the microphone is lost")
        wait_until("it is lost", lambda: faulty.daemon.ask("Status")["source"]["state"] == "lost")

    def plug_in() -> None:
        faulty.repair()
        wait_until("it is back", lambda: faulty.daemon.ask("Status")["source"]["state"] == "open")

    found = faulty.midway(pull_out, before=plug_in)
    faulty.accepts_nobody("the microphone is lost during a verification", found=found)
    assert [one.message for one in found[:2]] == ["source_lost"] * 2
    faulty.accepts_nobody("there is no microphone")
    faulty.falls_through_to_the_password()
    plug_in()


@pytest.mark.slow
def test_a_real_device_lost_during_a_verification_accepts_nobody(
    own_pam: PamRoom,
    folder: Path,
    virtual_mic: VirtualMic,  # noqa: F811
) -> None:
    """With PulseAudio and PortAudio, in real time."""
    audio = {"source": "microphone", "device": "vmic", "backoff": 0.2, "backoff_limit": 0.5}
    recording = folder / "owner.wav"
    soundfile.write(recording, np.concatenate([quiet(0.3), np.tile(voice("verify-ralph"), 4)]), 16_000)
    with start_faulty({"audio": audio}, pam=own_pam, environment=virtual_mic.env, with_audio=False) as faulty:

        def more_windows() -> bool:
            return faulty.daemon.ask("Status")["windows"]["cut"] > before

        player = virtual_mic.play_async(recording)
        assert faulty.by_socket(timeout=8.0).accepted
        player.kill()
        with faulty.held("worker"), faulty.begun(faulty.by_socket, timeout=8.0) as trying:
            before = faulty.daemon.ask("Status")["windows"]["cut"]
            player = virtual_mic.play_async(recording)
            wait_until("there are windows", more_windows)
            virtual_mic.remove_sink()
            faulty.release("worker")
            found = [trying.result(20.0)]
        player.kill()
        assert found[0].message == "source_lost"
        found += [faulty.by_client(), faulty.by_pam()]
        faulty.accepts_nobody("a device is lost during a verification", found=found)
        faulty.falls_through_to_the_password()


# The queue


@pytest.fixture
def short_queue(own_pam: PamRoom) -> Iterator[FaultyDaemon]:
    """A daemon whose queue holds two windows."""
    with start_faulty({"queue": {"windows": 2}}, pam=own_pam) as faulty:
        yield faulty


def test_old_speech_in_a_full_queue_accepts_nobody(short_queue: FaultyDaemon) -> None:
    """The worker hung while the owner spoke and left; then somebody else tries."""
    faulty, feed = short_queue, short_queue.daemon.feed
    assert feed is not None
    with faulty.speaking():
        faulty.accepts_the_owner()
    found = []
    for way, more in ((faulty.by_socket, {"timeout": VERIFY_TIMEOUT}), (faulty.by_pam, {})):
        dropped = faulty.daemon.ask("Status")["queue"]["dropped"]
        with faulty.held("worker"):
            feed.play(repeated("verify-ralph"))
            wait_until(
                "the queue is full", lambda before=dropped: faulty.daemon.ask("Status")["queue"]["dropped"] > before
            )
            feed.stop_playing()
            feed.play_quiet(1.0)
            assert faulty.daemon.ask("Status")["queue"]["depth"] == 2
            with faulty.begun(way, **more) as trying:
                faulty.release("worker")
                found.append(trying.result(30.0))
    faulty.accepts_nobody("the queue is full of old speech", found=found)
    assert found[0].message == "no_speech"
    with faulty.speaking():
        faulty.accepts_the_owner(pam=False)


@pytest.mark.slow
def test_a_queue_that_overflows_while_the_owner_speaks_accepts_nobody_before_the_model_answers(
    short_queue: FaultyDaemon,
) -> None:
    faulty = short_queue
    with faulty.speaking():
        with faulty.held("worker"):
            faulty.accepts_nobody("the queue overflows")
            assert faulty.daemon.ask("Status")["queue"]["dropped"] > 0
            faulty.falls_through_to_the_password()
        faulty.accepts_the_owner()


# The detectors

BROKEN_MODULE = "raise ImportError('this file is broken')\n"


def without(folder: Path, module: str) -> dict[str, str]:
    """Return an environment in which a module cannot be imported."""
    place = folder / "modules" / module
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(BROKEN_MODULE)
    return {"PYTHONPATH": os.pathsep.join([str(place.parent), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize(
    ("module", "confirm"), [("webrtcvad", False), pytest.param("silero_vad", True, marks=pytest.mark.slow)]
)
def test_without_a_detector_the_daemon_does_not_start(
    own_pam: PamRoom, folder: Path, module: str, confirm: bool
) -> None:
    with start_faulty(folder=folder, pam=own_pam) as faulty, faulty.speaking():
        faulty.accepts_the_owner()
    daemon = start(folder, {"speech": {"confirm": confirm}}, environment=without(folder, module))
    dead = FaultyDaemon(daemon, own_pam)
    assert daemon.wait() == ExitCode.MODEL
    errors = [line for line in daemon.log.read_text().splitlines() if "ERROR" in line]
    assert len(errors) == 1, errors
    assert module.replace("_", "-") in errors[0]
    assert "Traceback" not in daemon.log.read_text()
    assert not daemon.socket.exists()
    dead.accepts_nobody(f"{module} is missing")
    dead.falls_through_to_the_password()


@pytest.mark.slow
def test_a_reload_that_needs_a_missing_detector_is_refused(own_pam: PamRoom, folder: Path) -> None:
    """The old configuration and its detector stay in use."""
    with (
        start_faulty(folder=folder, pam=own_pam, environment=without(folder, "silero_vad")) as faulty,
        faulty.speaking(),
    ):
        faulty.accepts_the_owner()
        faulty.daemon.configure({"speech": {"confirm": True}})
        with pytest.raises(RefusedError, match="silero-vad"):
            faulty.reload()
        faulty.accepts_the_owner()
        faulty.daemon.configure({})
        faulty.reload()
        faulty.accepts_the_owner()
