"""How the daemon starts, stops, and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_box import DEADLINE, Box, answers, wait_until, with_model, without_service
from daemon_caller import RefusedError
from daemon_manager import Manager
from daemon_room import takes, voice

from voiceauthd.errors import ExitCode

HERE = Path(__file__).parent

STOP_LIMIT = 2.0
"""Seconds in which the daemon promises to stop."""


def stop(box: Box, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
    """The exit code, and how long it took."""
    began = time.monotonic()
    box.signal(number)
    return box.wait(), time.monotonic() - began


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `voiceauthd` to its end."""
    home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "VOICEAUTHD_SOCKET": str(folder / "socket")}
    return subprocess.run(
        [sys.executable, "-m", "voiceauthd.service.main", "--set", f"socket.path={folder / 'socket'}", *arguments],
        env=without_service(os.environ) | home | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


@pytest.fixture
def stub(stub_at) -> Box:
    return stub_at()


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    with Manager(folder / "notify") as made:
        yield made


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_and_removes_the_socket(stub: Box, number: signal.Signals) -> None:
    code, seconds = stop(stub, number)
    assert (code, stub.socket.exists()) == (ExitCode.OK, False)
    assert seconds < STOP_LIMIT
    assert stub.logged("stopped")
    assert not stub.logged("Traceback")


def test_a_signal_ends_it_while_the_real_model_loads(folder: Path) -> None:
    with Box(folder, environment=with_model()) as box:
        box.await_socket()
        assert box.ask("Status")["state"] == "starting"
        assert box.ask("Status")["ready"] is False
        code, seconds = stop(box)
    assert (code, box.socket.exists()) == (ExitCode.OK, False)
    assert seconds < STOP_LIMIT


def test_a_call_that_waits_for_the_model_is_told_that_the_daemon_stops(stub_at) -> None:
    box = stub_at(hold="hold-load")
    with box.caller() as caller:
        caller.send("Verify", name="Ralph")
        assert caller.silent(0.2)
        assert box.ask("Info")["model"] is None
        code, seconds = stop(box)
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, code) == ("Cancelled", ExitCode.OK)
    assert seconds < STOP_LIMIT


def test_a_call_that_waits_for_the_model_is_answered_when_it_has_loaded(stub_at) -> None:
    box = stub_at(hold="hold-load")
    with box.caller() as caller:
        caller.send("ListProfiles", more=False)
        assert caller.silent(0.2)
        (box.folder / "hold-load").unlink()
        assert caller.reply().parameters == {"profiles": []}


def test_a_verification_that_runs_gets_an_error_when_the_daemon_stops(stub: Box) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    with stub.caller() as verify, stub.caller() as single, stub.caller() as monitor:
        monitor.send("Monitor")
        monitor.events("started")
        verify.send("Verify", name="Ralph")
        verify.until("listening")
        single.send("Status", more=False)
        single.reply()
        code, seconds = stop(stub)
        with pytest.raises(RefusedError) as refused:
            verify.rest()
        assert (refused.value.error, refused.value.parameters) == ("Cancelled", {"detail": "the daemon is stopping"})
        with pytest.raises(RefusedError) as refused:
            monitor.events()
        assert refused.value.error == "Cancelled"
    assert code == ExitCode.OK
    assert seconds < STOP_LIMIT


def test_an_enrolment_that_runs_gets_an_error_and_leaves_nothing(stub: Box) -> None:
    with stub.caller() as caller:
        stub.begin_recordings(caller, name="Ralph")
        code, _ = stop(stub)
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, code) == ("Cancelled", ExitCode.OK)
    assert not list(stub.profiles.glob("*.profile"))


@pytest.mark.parametrize("thread", ["hold-worker", "hold-capture"])
def test_a_thread_that_hangs_does_not_hold_the_exit_up(stub: Box, thread: str) -> None:
    assert stub.room is not None
    (stub.folder / thread).touch()
    stub.room.play(voice("ralph-1"))
    wait_until("a window is in the worker", lambda: thread == "hold-capture" or stub.ask("Status")["windows"]["cut"])
    code, seconds = stop(stub)
    assert (code, stub.socket.exists()) == (ExitCode.OK, False)
    assert seconds < STOP_LIMIT


def test_a_recording_that_is_judged_does_not_hold_the_exit_up(stub: Box) -> None:
    with stub.caller() as caller:
        claim = stub.begin_recordings(caller, name="Ralph")
        (stub.folder / "hold-worker").touch()
        stub.send_recordings(claim, [voice("ralph-1")])
        assert caller.silent(0.3)
        code, seconds = stop(stub)
    assert code == ExitCode.OK
    assert seconds < STOP_LIMIT


def test_a_reload_that_takes_long_does_not_hold_the_exit_up(stub: Box) -> None:
    (stub.folder / "hold-load").touch()
    stub.configure({"model": {"name": "campplus", "device": "cpu", "threads": 2}})
    with stub.caller() as caller:
        caller.send("Reload", more=False)
        assert caller.silent(0.3)
        code, seconds = stop(stub)
    assert code == ExitCode.OK
    assert seconds < STOP_LIMIT


# Starting


def test_a_second_daemon_does_not_start_and_the_first_goes_on(stub: Box) -> None:
    ended = run(stub.folder)
    assert ended.returncode == ExitCode.ALREADY_RUNNING
    assert len(ended.stderr.splitlines()) == 1
    assert str(stub.socket) in ended.stderr
    assert stub.ask("Status")["ready"]


def test_a_stale_socket_is_replaced(stub_at) -> None:
    box = stub_at()
    box.process.kill()
    box.wait()
    assert box.socket.exists()
    assert not answers(box.socket)
    again = stub_at()
    assert again.ask("Status")["ready"]


def test_what_is_no_socket_is_not_replaced(folder: Path) -> None:
    (folder / "socket").write_text("precious")
    assert run(folder).returncode == ExitCode.CONFIG
    assert (folder / "socket").read_text() == "precious"


def test_a_model_that_cannot_be_had_says_what_to_do(folder: Path) -> None:
    began = time.monotonic()
    ended = run(
        folder, "--set", "model.name=microsoft/wavlm-base-sv", "--set", f"model.cache={folder}", HF_HUB_OFFLINE="1"
    )
    assert ended.returncode == ExitCode.MODEL
    assert time.monotonic() - began < 20.0
    errors = [line for line in ended.stderr.splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert "voiceauth model fetch microsoft/wavlm-base-sv" in errors[0]
    assert "campplus" in errors[0]
    assert not (folder / "socket").exists()


def test_a_profile_folder_that_cannot_be_used_says_so(stub_at, folder: Path) -> None:
    (folder / "profiles").write_text("a file")
    box = stub_at(await_ready=False)
    assert box.wait() == ExitCode.STORAGE
    assert box.logged(str(folder / "profiles"))


def test_a_mistake_in_the_configuration_is_told_with_file_and_line(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text("audio:\n  source: microphone\n  devise: 3\nverify:\n  timeout: -1\n")
    ended = run(folder, "--config", str(config))
    assert ended.returncode == ExitCode.CONFIG
    assert f"{config}:3: " in ended.stderr
    assert "device" in ended.stderr
    assert f"{config}:5: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--config", "nowhere.yaml"], ExitCode.CONFIG),
        (["--set", "audio.sauce=1"], ExitCode.CONFIG),
        (["--set", "access.monitor_group=no-such-group"], ExitCode.CONFIG),
        (["--set", "audio.source"], ExitCode.CONFIG),
        (["--loud"], ExitCode.USAGE),
    ],
)
def test_what_makes_no_sense_on_the_command_line_is_refused(folder: Path, arguments: list[str], code: int) -> None:
    ended = run(folder, *arguments)
    assert ended.returncode == code
    assert ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_help_tells_options_signals_and_exit_codes(folder: Path) -> None:
    ended = run(folder, "--help")
    assert ended.returncode == 0
    assert all(word in ended.stdout for word in ("--config", "--set", "SIGHUP", "exit codes"))
    assert run(folder, "--version").stdout.startswith("voiceauthd ")


# A recording as the source


def test_a_missing_recording_ends_run_with_its_own_code(stub_at) -> None:
    box = stub_at({"audio": {"source": "missing.wav"}}, program="voiceauth run", hears=False, await_ready=False)
    assert box.wait() == ExitCode.AUDIO
    assert box.logged("missing.wav: no such file")


def test_a_missing_recording_leaves_the_daemon_running_and_shows_in_its_status(stub_at) -> None:
    box = stub_at({"audio": {"source": "missing.wav"}}, hears=False)
    with box.caller() as caller:
        caller.send("Monitor")
        events = caller.events()
    assert events[-1]["kind"] == "source"
    assert "missing.wav" in events[-1]["detail"]
    status = box.ask("Status")
    assert (status["state"], status["source"]["state"]) == ("degraded", "ended")
    assert "missing.wav" in status["problem"]
    refused = box.refusal("Identify")
    assert refused.error == "NoSource"
    assert "missing.wav" in refused.parameters["detail"]


# Under a service manager


def test_the_service_manager_is_told_how_it_is(stub_at, manager: Manager) -> None:
    box = stub_at(environment={"NOTIFY_SOCKET": str(manager.path)}, hold="hold-load")
    assert manager.within("STATUS=loading", DEADLINE)
    assert not manager.within("READY=1", 0.3)
    (box.folder / "hold-load").unlink()
    assert manager.within("READY=1", DEADLINE)
    assert "STATUS=spectrum, 0 enrolled" in manager.messages[-1]
    box.configure({"decision": {"threshold": 0.7}})
    box.signal(signal.SIGHUP)
    assert manager.within("STATUS=", DEADLINE)
    assert not any("WATCHDOG" in message for message in manager.messages)
    assert stop(box)[0] == ExitCode.OK
    assert manager.within("STOPPING=1", DEADLINE)


@pytest.mark.parametrize("thread", ["hold-worker", "hold-capture"])
def test_the_watchdog_is_pinged_only_while_capture_and_worker_move(stub_at, manager: Manager, thread: str) -> None:
    period = 1.2
    box = stub_at(
        environment={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(round(period * 1e6))},
    )
    for _ in range(2):
        assert manager.within("WATCHDOG=1", period)
    (box.folder / thread).touch()
    box.room.play(voice("ralph-1"))
    wait_until("a window is in the worker", lambda: thread == "hold-capture" or box.ask("Status")["windows"]["cut"])
    # What is on its way still comes: the last sign of life is good for half a period, and pings come as often.
    assert not all(manager.within("WATCHDOG=1", period) for _ in range(4))
    assert not manager.within("WATCHDOG=1", period)
    (box.folder / thread).unlink()
    assert manager.within("WATCHDOG=1", 2 * period)


def test_a_socket_that_was_passed_is_used_and_left_in_place(stub_at, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as passed:
        passed.bind(str(folder / "passed"))
        passed.listen()
        activate = [sys.executable, str(HERE / "daemon_manager.py"), str(passed.fileno())]
        # The caller is there before the daemon.
        early = Box.caller_of(folder / "passed")
        early.send("Info", more=False)
        box = stub_at(activate=activate, descriptors=[passed.fileno()], await_ready=False)
        box.socket = folder / "passed"
        assert early.reply().parameters["protocol"] == 1
        early.close()
        box.await_ready()
        assert not (folder / "socket").exists()
        assert stop(box)[0] == ExitCode.OK
    assert (folder / "passed").exists()
