"""The sound ends, comes too late, or nobody can tell speech from noise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_box import wait_until
from daemon_caller import RefusedError
from daemon_room import quiet, voice
from fault_parts import LISTENS, House, new_house, on_and_on, start
from pam_room import PamRoom
from virtual_mic import VirtualMic, virtual_mic  # noqa: F401  a fixture is used by its name

from voiceauthd.errors import ExitCode

# The microphone


def test_a_microphone_that_vanishes_in_the_middle_lets_nobody_in(house: House) -> None:
    def pull_out() -> None:
        house.begin("the microphone is lost")
        wait_until("it is lost", lambda: house.box.ask("Status")["source"]["state"] == "lost")

    def plug_in() -> None:
        house.mend()
        wait_until("it is back", lambda: house.box.ask("Status")["source"]["state"] == "open")

    found = house.midway(pull_out, before=plug_in)
    house.lets_nobody_in("the microphone vanishes in the middle", found=found)
    assert [one.said for one in found[:2]] == ["source_lost"] * 2
    house.lets_nobody_in("there is no microphone")
    house.falls_through_to_the_password()
    plug_in()


@pytest.mark.slow
def test_a_real_device_that_vanishes_in_the_middle_lets_nobody_in(
    own_pam: PamRoom,
    folder: Path,
    virtual_mic: VirtualMic,  # noqa: F811
) -> None:
    """PulseAudio and PortAudio, in real time."""
    audio = {"source": "microphone", "device": "vmic", "backoff": 0.2, "backoff_limit": 0.5}
    sound = folder / "owner.wav"
    soundfile.write(sound, np.concatenate([quiet(0.3), np.tile(voice("verify-ralph"), 4)]), 16_000)
    with new_house({"audio": audio}, pam=own_pam, environment=virtual_mic.env, hears=False) as house:

        def heard() -> bool:
            return house.box.ask("Status")["windows"]["cut"] > before

        player = virtual_mic.play_async(sound)
        assert house.by_socket(timeout=8.0).accepted
        player.kill()
        with house.held("worker"), house.begun(house.by_socket, timeout=8.0) as trying:
            before = house.box.ask("Status")["windows"]["cut"]
            player = virtual_mic.play_async(sound)
            wait_until("speech is heard", heard)
            virtual_mic.remove_sink()
            house.release("worker")
            found = [trying.result(20.0)]
        player.kill()
        assert found[0].said == "source_lost"
        found += [house.by_client(), house.by_pam()]
        house.lets_nobody_in("a device vanishes in the middle", found=found)
        house.falls_through_to_the_password()


# The queue


@pytest.fixture
def slow_house(own_pam: PamRoom) -> Iterator[House]:
    """Its queue holds two windows."""
    with new_house({"queue": {"windows": 2}}, pam=own_pam) as house:
        yield house


def test_what_was_said_before_waits_in_a_full_queue_and_lets_nobody_in(slow_house: House) -> None:
    """The worker has hung, the owner has spoken and left, and then somebody asks."""
    house, room = slow_house, slow_house.box.room
    assert room is not None
    with house.speaking():
        house.lets_the_owner_in()
    found = []
    for way, more in ((house.by_socket, {"timeout": LISTENS}), (house.by_pam, {})):
        dropped = house.box.ask("Status")["queue"]["dropped"]
        with house.held("worker"):
            room.play(on_and_on("verify-ralph"))
            wait_until("the queue is full", lambda before=dropped: house.box.ask("Status")["queue"]["dropped"] > before)
            room.hush()
            room.rest(1.0)
            assert house.box.ask("Status")["queue"]["depth"] == 2
            with house.begun(way, **more) as trying:
                house.release("worker")
                found.append(trying.result(30.0))
    house.lets_nobody_in("the queue is full of old sound", found=found)
    assert found[0].said == "no_speech"
    with house.speaking():
        house.lets_the_owner_in(pam=False)


@pytest.mark.slow
def test_a_queue_that_runs_over_while_the_owner_speaks_lets_nobody_in_before_the_model_answers(
    slow_house: House,
) -> None:
    house = slow_house
    with house.speaking():
        with house.held("worker"):
            house.lets_nobody_in("the queue runs over")
            assert house.box.ask("Status")["queue"]["dropped"] > 0
            house.falls_through_to_the_password()
        house.lets_the_owner_in()


# The detectors

BROKEN_MODULE = "raise ImportError('this file is broken')\n"


def without(folder: Path, module: str) -> dict[str, str]:
    """An environment in which a module cannot be imported."""
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
    with new_house(folder=folder, pam=own_pam) as house, house.speaking():
        house.lets_the_owner_in()
    box = start(folder, {"speech": {"confirm": confirm}}, environment=without(folder, module))
    dead = House(box, own_pam)
    assert box.wait() == ExitCode.MODEL
    told = [line for line in box.log.read_text().splitlines() if "ERROR" in line]
    assert len(told) == 1, told
    assert module.replace("_", "-") in told[0]
    assert "Traceback" not in box.log.read_text()
    assert not box.socket.exists()
    dead.lets_nobody_in(f"{module} is missing")
    dead.falls_through_to_the_password()


@pytest.mark.slow
def test_a_reload_that_wants_a_missing_detector_is_refused(own_pam: PamRoom, folder: Path) -> None:
    """The configuration before it stays in force, and its detector works."""
    with new_house(folder=folder, pam=own_pam, environment=without(folder, "silero_vad")) as house, house.speaking():
        house.lets_the_owner_in()
        house.box.configure({"speech": {"confirm": True}})
        with pytest.raises(RefusedError, match="silero-vad"):
            house.reload()
        house.lets_the_owner_in()
        house.box.configure({})
        house.reload()
        house.lets_the_owner_in()
