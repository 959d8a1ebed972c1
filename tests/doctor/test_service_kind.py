"""Which service suits a machine, and what doctor says about the one that runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from voiceauthd.config.schema import Config
from voiceauthd.doctor import check_service as module
from voiceauthd.doctor.check import Machine
from voiceauthd.doctor.check_service import check_service
from voiceauthd.doctor.service_kind import SoundAccess, sound_access, suited

DESKTOP = SoundAccess(1000, "PipeWire", {}, None, True)
SERVER = SoundAccess(1000, None, {}, None, True)
SYSTEM_WIDE = SoundAccess(1000, "PulseAudio", {}, "PulseAudio", True)
SUDO_ON_A_DESKTOP = SoundAccess(0, None, {1000: "PipeWire"}, None, True)
EMPTY = SoundAccess(1000, None, {}, None, False)

USES_A_MICROPHONE = {"source": {"description": "the default microphone"}}


@pytest.mark.parametrize(
    ("access", "kind"),
    [
        (DESKTOP, "user"),
        (SERVER, "system"),
        (SYSTEM_WIDE, "system"),
        (SUDO_ON_A_DESKTOP, "user"),
        (EMPTY, "user"),
        (SoundAccess(0, None, {}, None, False), "system"),
    ],
)
def test_the_service_suits_whom_the_sound_belongs_to(access: SoundAccess, kind: str) -> None:
    assert suited(access).kind == kind
    assert suited(access).reason


def test_with_sudo_on_a_desktop_it_names_the_user_who_has_to_run_it() -> None:
    assert suited(SUDO_ON_A_DESKTOP).owner is not None
    assert suited(DESKTOP).owner is None


@pytest.mark.parametrize(
    ("access", "daemon_uid", "state", "fix"),
    [
        (DESKTOP, 1000, "ok", ""),
        (DESKTOP, 990, "warn", "voiceauth service start"),
        (SERVER, 990, "ok", ""),
        (SERVER, 1000, "warn", "make install"),
        (SUDO_ON_A_DESKTOP, 1000, "ok", ""),
        (SUDO_ON_A_DESKTOP, 990, "warn", "systemctl disable"),
        (DESKTOP, None, "ok", ""),
    ],
)
def test_doctor_recognises_the_wrong_service(
    monkeypatch: pytest.MonkeyPatch, access: SoundAccess, daemon_uid: int | None, state: str, fix: str
) -> None:
    monkeypatch.setattr(module, "sound_access", lambda: access)
    check = check_service(Machine(Config(), None, "/socket", daemon_uid, 1, USES_A_MICROPHONE))
    assert (check.id, check.state) == ("service.kind", state)
    assert fix in check.fix


def test_a_daemon_that_reads_a_file_is_the_right_one_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sound_access", lambda: DESKTOP)
    status = {"source": {"description": "standard input"}}
    assert check_service(Machine(Config(), None, "/socket", 990, 1, status)).state == "ok"


def test_it_finds_sound_servers_and_cards_where_they_are(tmp_path: Path) -> None:
    for place in ("run/user/1234/pulse", "run/user/77", "run/pulse", "proc/asound"):
        (tmp_path / place).mkdir(parents=True)
    empty = sound_access({"XDG_RUNTIME_DIR": str(tmp_path / "none")}, tmp_path)
    assert empty == SoundAccess(os.geteuid(), None, {}, None, False)
    (tmp_path / "run/user/1234/pulse/native").touch()
    (tmp_path / "run/user/77/pipewire-0").touch()
    (tmp_path / "run/pulse/native").touch()
    (tmp_path / "proc/asound/cards").write_text(" 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n")
    full = sound_access({"XDG_RUNTIME_DIR": str(tmp_path / "run/user/77")}, tmp_path)
    assert full == SoundAccess(os.geteuid(), "PipeWire", {77: "PipeWire", 1234: "PulseAudio"}, "PulseAudio", True)
    assert sound_access({"PULSE_SERVER": "unix:/x"}, tmp_path / "none").own_server == "PulseAudio"
    (tmp_path / "proc/asound/cards").write_text("--- no soundcards ---\n")
    assert not sound_access({}, tmp_path).cards
