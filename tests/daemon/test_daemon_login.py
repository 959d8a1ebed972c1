"""Logging in by voice: pamtester, PAM, pam_exec, `voiceauth-pam`, the socket, the daemon, a microphone, speech."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_box import ENOUGH, Box, wait_until, with_model
from pam_room import PASSWORDS, PamRoom, pam_room  # noqa: F401  a fixture is used by its name
from virtual_mic import VirtualMic
from voices import Cast, cast, samples, to_be_played

pytestmark = pytest.mark.timeout(300)

HELPER = Path(sys.executable).with_name("voiceauth-pam")
OWNER, UID, PASSWORD = "anna", 4711, "correct horse"
DEADLINE = 6.0
Knock = tuple[subprocess.CompletedProcess[str], float]
LOCKED_AFTER = 4


class Door:
    """A service that PAM keeps: the voice first, then the password."""

    def __init__(self, room: PamRoom, box: Box, mic: VirtualMic) -> None:
        self.room, self.box, self.mic = room, box, mic
        room.account(OWNER, UID, PASSWORD)
        line = f"{HELPER} --socket {box.socket} --timeout {DEADLINE:g}"
        room.service("door", f"auth sufficient pam_exec.so quiet stdout seteuid {line}\n{PASSWORDS}")

    def knock(self, sound: Path | None, typed: str = "", **items: str) -> Knock:
        """Asks to be let in as the owner while `sound` is played. Gives how it ended, and after how many seconds."""
        options = [word for name, value in items.items() for word in ("-I", f"{name}={value}")]
        began = time.monotonic()
        tester = subprocess.Popen(
            self.room.command("pamtester", *options, "door", OWNER, "authenticate", "acct_mgmt"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        player = None
        if sound is not None:
            wait_until("the daemon listens", lambda: self.box.ask("Status")["claim"] == "Verify")
            player = self.mic.play_async(sound)
        out, err = tester.communicate(typed, timeout=60)
        took = time.monotonic() - began
        if player is not None:
            player.terminate()
            player.wait()
        self.box.await_idle()
        return subprocess.CompletedProcess(tester.args, tester.returncode, out, err), took


@pytest.fixture
def people() -> Cast:
    return cast()


@pytest.fixture
def door(pam_room: PamRoom, virtual_mic: VirtualMic, people: Cast) -> Iterator[Door]:  # noqa: F811  the fixture
    """The owner is enrolled. The socket lies where nobody but root may put one: the helper looks."""
    assert HELPER.exists(), "voiceauth-pam is not installed beside this Python"
    folder = Path(tempfile.mkdtemp(prefix="voiceauthd-", dir="/run"))
    settings = ENOUGH | {
        "audio": {"source": "microphone", "device": "vmic"},
        "lockout": {"failures": LOCKED_AFTER, "within": 300, "lasts": 300},
    }
    environment = virtual_mic.env | with_model()
    try:
        with Box(folder, settings, environment=environment, hears=False) as box:
            box.await_ready()
            box.enroll(OWNER, [samples(take) for take in people.enrolment])
            yield Door(pam_room, box, virtual_mic)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_owner_is_let_in_by_voice_and_everybody_else_is_asked_for_the_password(
    door: Door, people: Cast, tmp_path: Path
) -> None:
    owner = to_be_played(people.owner, tmp_path)

    entered, _ = door.knock(owner)
    assert entered.returncode == 0, entered
    assert "Speak now" in entered.stdout
    assert "Password" not in entered.stderr

    # Somebody else is asked for a password, and does not know it; the owner does.
    stranger = to_be_played(people.stranger, tmp_path)
    refused, _ = door.knock(stranger, typed="a guess\n")
    assert refused.returncode != 0
    assert "Password" in refused.stderr
    helped, took = door.knock(stranger, typed=f"{PASSWORD}\n")
    assert helped.returncode == 0
    assert "Password" in helped.stderr
    assert took < DEADLINE + 2.0

    # Nobody speaks, or only the rain does.
    for sound in (None, *([] if people.noise is None else [to_be_played(people.noise, tmp_path)])):
        waited, took = door.knock(sound, typed=f"{PASSWORD}\n")
        assert waited.returncode == 0
        assert "Password" in waited.stderr
        assert took < DEADLINE + 2.0

    # Silence and noise were no guesses: the owner's voice is not locked.
    assert door.knock(owner)[0].returncode == 0

    # From afar nobody listens at all.
    remote, took = door.knock(None, typed=f"{PASSWORD}\n", rhost="198.51.100.7")
    assert remote.returncode == 0
    assert "Password" in remote.stderr
    assert "Speak now" not in remote.stdout

    # Too many failures lock the voice, the owner's own included; the password is as good as ever.
    for _ in range(2 * LOCKED_AFTER):  # on a busy machine not every one is heard well enough to count
        assert door.knock(stranger, typed="a guess\n")[0].returncode != 0
        if door.box.ask("ShowProfile", name=OWNER)["profile"]["locked_for"]:
            break
    locked, took = door.knock(None, typed=f"{PASSWORD}\n")
    assert locked.returncode == 0
    assert "Password" in locked.stderr
    assert "locked" in locked.stdout
    assert took < DEADLINE
    door.box.ask("Unlock", name=OWNER)
    assert door.knock(owner)[0].returncode == 0


def test_a_machine_without_a_daemon_asks_for_the_password_at_once(pam_room: PamRoom) -> None:  # noqa: F811
    pam_room.account(OWNER, UID, PASSWORD)
    line = f"{HELPER} --socket /run/voiceauthd-that-is-not-there/socket"
    pam_room.service("door", f"auth sufficient pam_exec.so quiet stdout seteuid {line}\n{PASSWORDS}")
    began = time.monotonic()
    ended = pam_room.authenticate("door", OWNER, f"{PASSWORD}\n")
    assert ended.returncode == 0
    assert "Password" in ended.stderr
    assert ended.stdout.count("\n") == 1, "nobody without a daemon is to be bothered"
    assert time.monotonic() - began < 2.0
    assert pam_room.authenticate("door", OWNER, "a guess\n").returncode != 0


def test_a_helper_that_is_not_there_asks_for_the_password(pam_room: PamRoom) -> None:  # noqa: F811
    pam_room.account(OWNER, UID, PASSWORD)
    pam_room.service("door", f"auth sufficient pam_exec.so quiet stdout seteuid {HELPER}-gone\n{PASSWORDS}")
    assert pam_room.authenticate("door", OWNER, f"{PASSWORD}\n").returncode == 0
    assert pam_room.authenticate("door", OWNER, "a guess\n").returncode != 0
    assert os.geteuid() == 0  # this test means nothing where PAM could not have let anybody in
