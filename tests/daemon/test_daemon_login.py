"""Login by voice, end to end: pamtester, PAM, pam_exec, `voiceauth-pam`, the socket, the daemon, and a microphone."""

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
from daemon_process import QUICK_ENROLMENT, DaemonProcess, with_model
from pam_room import PASSWORDS, PamRoom, pam_room  # noqa: F401  a fixture is used by its name
from virtual_mic import VirtualMic
from voices import Cast, cast, samples, write_playable
from waiting import wait_until

pytestmark = pytest.mark.timeout(300)

HELPER = Path(sys.executable).with_name("voiceauth-pam")
OWNER, UID, PASSWORD = "anna", 4711, "correct horse"
HELPER_TIMEOUT, SHORT_HELPER_TIMEOUT = 6.0, 3.0
"""Seconds that the helper listens; the short time is for attempts without speech."""

LOCKED_AFTER = 2
"""Failures after which the voice is locked."""

Result = tuple[subprocess.CompletedProcess[str], float]


class Login:
    """PAM services that ask for the voice first, and then for the password: "login", and "quick" with less time."""

    def __init__(self, pam: PamRoom, daemon: DaemonProcess, mic: VirtualMic) -> None:
        self.pam, self.daemon, self.mic = pam, daemon, mic
        pam.account(OWNER, UID, PASSWORD)
        for service, timeout in (("login", HELPER_TIMEOUT), ("quick", SHORT_HELPER_TIMEOUT)):
            line = f"{HELPER} --socket {daemon.socket} --timeout {timeout:g}"
            pam.service(service, f"auth sufficient pam_exec.so quiet stdout seteuid {line}\n{PASSWORDS}")

    def attempt(self, recording: Path | None, typed: str = "", service: str = "login", **items: str) -> Result:
        """Log in as the owner while `recording` is played. Returns how it ended, and after how many seconds."""
        options = [word for name, value in items.items() for word in ("-I", f"{name}={value}")]
        began = time.monotonic()
        tester = subprocess.Popen(
            self.pam.command("pamtester", *options, service, OWNER, "authenticate", "acct_mgmt"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        player = None
        if recording is not None:
            wait_until("the daemon listens", lambda: self.daemon.ask("Status")["claim"] == "Verify")
            player = self.mic.play_async(recording)
        out, err = tester.communicate(typed, timeout=60)
        took = time.monotonic() - began
        if player is not None:
            player.terminate()
            player.wait()
        self.daemon.await_idle()
        return subprocess.CompletedProcess(tester.args, tester.returncode, out, err), took


@pytest.fixture
def people() -> Cast:
    return cast()


@pytest.fixture
def login(pam_room: PamRoom, virtual_mic: VirtualMic, people: Cast) -> Iterator[Login]:  # noqa: F811  the fixture
    """The owner is enrolled. The socket is in a folder of root's, because the helper checks that."""
    assert HELPER.exists(), "voiceauth-pam is not installed next to this Python"
    folder = Path(tempfile.mkdtemp(prefix="voiceauthd-", dir="/run"))
    settings = QUICK_ENROLMENT | {
        "audio": {"source": "microphone", "device": "vmic"},
        "lockout": {"failures": LOCKED_AFTER, "within": 300, "lasts": 300},
    }
    environment = virtual_mic.env | with_model()
    try:
        with DaemonProcess(folder, settings, environment=environment, with_audio=False) as daemon:
            daemon.await_ready()
            daemon.enroll(OWNER, [samples(take) for take in people.enrolment])
            yield Login(pam_room, daemon, virtual_mic)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_owner_is_accepted_by_voice_and_everybody_else_is_asked_for_the_password(
    login: Login, people: Cast, tmp_path: Path
) -> None:
    owner = write_playable(people.owner, tmp_path)

    entered, _ = login.attempt(owner)
    assert entered.returncode == 0, entered
    assert "Speak now" in entered.stdout
    assert "Password" not in entered.stderr

    # Another voice is asked for the password, and the right one is accepted.
    stranger = write_playable(people.stranger, tmp_path)
    helped, took = login.attempt(stranger, typed=f"{PASSWORD}\n")
    assert helped.returncode == 0
    assert "Password" in helped.stderr
    assert took < HELPER_TIMEOUT + 2.0

    # Nobody speaks, or there is only noise.
    for recording in (None, *([] if people.noise is None else [write_playable(people.noise, tmp_path)])):
        waited, took = login.attempt(recording, typed=f"{PASSWORD}\n", service="quick")
        assert waited.returncode == 0
        assert "Password" in waited.stderr
        assert took < SHORT_HELPER_TIMEOUT + 2.0

    # Silence and noise do not count as failures: the owner's voice is not locked.
    assert login.attempt(owner)[0].returncode == 0

    # For a remote login the daemon does not listen at all.
    remote, took = login.attempt(None, typed=f"{PASSWORD}\n", rhost="198.51.100.7")
    assert remote.returncode == 0
    assert "Password" in remote.stderr
    assert "Speak now" not in remote.stdout

    # A wrong password is refused. Too many failures lock the voice, even for the owner; the password still works.
    for _ in range(2 * LOCKED_AFTER):  # on a busy machine not every recording is good enough to count
        refused, _ = login.attempt(stranger, typed="a guess\n")
        assert refused.returncode != 0
        assert "Password" in refused.stderr
        if login.daemon.ask("ShowProfile", name=OWNER)["profile"]["locked_for"]:
            break
    locked, took = login.attempt(None, typed=f"{PASSWORD}\n")
    assert locked.returncode == 0
    assert "Password" in locked.stderr
    assert "locked" in locked.stdout
    assert took < HELPER_TIMEOUT
    login.daemon.ask("Unlock", name=OWNER)
    assert login.attempt(owner)[0].returncode == 0


def test_without_a_daemon_the_password_is_asked_for_at_once(pam_room: PamRoom) -> None:  # noqa: F811
    pam_room.account(OWNER, UID, PASSWORD)
    line = f"{HELPER} --socket /run/voiceauthd-that-is-not-there/socket"
    pam_room.service("login", f"auth sufficient pam_exec.so quiet stdout seteuid {line}\n{PASSWORDS}")
    began = time.monotonic()
    ended = pam_room.authenticate("login", OWNER, f"{PASSWORD}\n")
    assert ended.returncode == 0
    assert "Password" in ended.stderr
    assert ended.stdout.count("\n") == 1, "without a daemon there is no message about the voice"
    assert time.monotonic() - began < 2.0
    assert pam_room.authenticate("login", OWNER, "a guess\n").returncode != 0


def test_a_missing_helper_leads_to_the_password(pam_room: PamRoom) -> None:  # noqa: F811
    pam_room.account(OWNER, UID, PASSWORD)
    pam_room.service("login", f"auth sufficient pam_exec.so quiet stdout seteuid {HELPER}-gone\n{PASSWORDS}")
    assert pam_room.authenticate("login", OWNER, f"{PASSWORD}\n").returncode == 0
    assert pam_room.authenticate("login", OWNER, "a guess\n").returncode != 0
    assert os.geteuid() == 0  # otherwise PAM could not have granted access to anybody, and this test means nothing
