"""Doctor's checks of the daemon, its socket and its profile folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from fake_daemon import FakeDaemon, done, refusal

from voiceauthd.config.schema import Config
from voiceauthd.doctor import check_daemon, check_sound
from voiceauthd.doctor.check import Machine
from voiceauthd.doctor.check_machine import check_profiles_folder
from voiceauthd.errors import ExitCode


def machine(path, **changes):
    return Machine(changes.pop("config", Config()), Path("x"), str(path))._replace(**changes)


STATUS = {
    "ready": True,
    "state": "ready",
    "uptime": 3.0,
    "memory_mib": 300.0,
    "model": {"name": "campplus"},
    "source": {"description": "microphone 'x'", "state": "open"},
}


def test_the_owner_of_the_socket_and_the_daemon_s_answers_are_checked(tmp_path):
    profile = {"name": "bob", "usable": False, "problem": "torn"}

    def answer(request):
        if request["method"].endswith("Status"):
            return [done(**STATUS)]
        return [done(profiles=[profile])]

    with FakeDaemon(tmp_path / "s", answer):
        seen = check_daemon.ask_daemon(machine(tmp_path / "s"))
        assert (seen.daemon_uid, seen.daemon_pid) == (os.geteuid(), os.getpid())
        assert check_daemon.check_running(seen).state == "ok"
        assert check_daemon.check_ready(seen).state == "ok"
        assert check_daemon.check_owner(seen).state == "ok"
        assert check_daemon.check_owner(seen._replace(daemon_uid=4_000_000)).code == ExitCode.DENIED
        assert "microphone 'x'" in check_sound.check_flows(seen).found


def test_a_daemon_that_answers_badly_fails(tmp_path):
    for index, reply in enumerate(([refusal("Internal", detail="x")], [b"garbage\0"])):
        with FakeDaemon(tmp_path / f"s{index}", lambda _, reply=reply: reply):
            seen = check_daemon.ask_daemon(machine(tmp_path / f"s{index}"))
            assert check_daemon.check_running(seen).code == ExitCode.NOT_RUNNING


def test_a_model_that_did_not_load_fails_with_the_reason(tmp_path):
    status = {**STATUS, "ready": False, "state": "degraded", "problem": "no weights"}
    check = check_daemon.check_ready(machine(tmp_path, status=status))
    assert (check.state, check.code) == ("fail", ExitCode.MODEL)
    assert "no weights" in check.found


def test_a_stale_socket_differs_from_a_file_in_its_place(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "stale"))
    stale = check_daemon.ask_daemon(machine(tmp_path / "stale"))
    assert check_daemon.check_socket(stale).state == "ok"
    assert check_daemon.check_running(stale).state == "fail"
    (tmp_path / "file").write_text("")
    assert check_daemon.check_socket(machine(tmp_path / "file")).state == "fail"


def test_a_profile_folder_that_others_may_read_fails(tmp_path):
    folder = tmp_path / "profiles"
    folder.mkdir(mode=0o700)
    assert check_profiles_folder(machine(tmp_path, config=Config(profiles=folder))).state == "ok"
    folder.chmod(0o755)
    check = check_profiles_folder(machine(tmp_path, config=Config(profiles=folder)))
    assert (check.state, check.code, check.fix) == ("fail", ExitCode.STORAGE, f"chmod 700 {folder}")
