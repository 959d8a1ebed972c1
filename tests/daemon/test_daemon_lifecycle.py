"""Starting and stopping the daemon, and its messages if it cannot start."""

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
from daemon_audio import takes, voice
from daemon_caller import RefusedError
from daemon_manager import Manager
from daemon_process import DaemonProcess, answers, with_model, without_service
from waiting import DEADLINE, wait_until

from voiceauthd.errors import ExitCode

HERE = Path(__file__).parent

STOP_LIMIT = 2.0
"""Seconds in which the daemon promises to stop."""


def stop(daemon: DaemonProcess, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
    """Stop the daemon; return its exit code and the seconds that it took."""
    began = time.monotonic()
    daemon.signal(number)
    return daemon.wait(), time.monotonic() - began


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `voiceauthd` until it ends."""
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
def stub(stub_at) -> DaemonProcess:
    return stub_at()


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    with Manager(folder / "notify") as made:
        yield made


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_in_time_and_removes_the_socket(stub: DaemonProcess, number: signal.Signals) -> None:
    code, seconds = stop(stub, number)
    assert (code, stub.socket.exists()) == (ExitCode.OK, False)
    assert seconds < STOP_LIMIT
    assert stub.logged("stopped")
    assert not stub.logged("Traceback")


def test_a_signal_stops_the_daemon_while_the_real_model_loads(folder: Path) -> None:
    with DaemonProcess(folder, environment=with_model()) as daemon:
        daemon.await_socket()
        assert daemon.ask("Status")["state"] == "starting"
        assert daemon.ask("Status")["ready"] is False
        code, seconds = stop(daemon)
    assert (code, daemon.socket.exists()) == (ExitCode.OK, False)
    assert seconds < STOP_LIMIT


def test_a_call_that_waits_for_the_model_is_cancelled_when_the_daemon_stops(stub_at) -> None:
    daemon = stub_at(hold="hold-load")
    with daemon.caller() as caller:
        caller.send("Verify", name="Ralph")
        assert caller.silent(0.2)
        assert daemon.ask("Info")["model"] is None
        code, seconds = stop(daemon)
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, code) == ("Cancelled", ExitCode.OK)
    assert seconds < STOP_LIMIT


def test_a_call_that_waits_for_the_model_is_answered_once_it_is_loaded(stub_at) -> None:
    daemon = stub_at(hold="hold-load")
    with daemon.caller() as caller:
        caller.send("ListProfiles", more=False)
        assert caller.silent(0.2)
        (daemon.folder / "hold-load").unlink()
        assert caller.reply().parameters == {"profiles": []}


def test_a_running_verification_is_cancelled_when_the_daemon_stops(stub: DaemonProcess) -> None:
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


def test_a_running_enrolment_is_cancelled_and_leaves_nothing(stub: DaemonProcess) -> None:
    with stub.caller() as caller:
        stub.begin_recordings(caller, name="Ralph")
        code, _ = stop(stub)
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert (refused.value.error, code) == ("Cancelled", ExitCode.OK)
    assert not list(stub.profiles.glob("*.profile"))


@pytest.mark.parametrize("thread", ["hold-worker", "hold-capture"])
def test_a_thread_that_hangs_does_not_delay_the_exit(stub: DaemonProcess, thread: str) -> None:
    assert stub.feed is not None
    (stub.folder / thread).touch()
    stub.feed.play(voice("ralph-1"))
    wait_until("a window is in the worker", lambda: thread == "hold-capture" or stub.ask("Status")["windows"]["cut"])
    code, seconds = stop(stub)
    assert (code, stub.socket.exists()) == (ExitCode.OK, False)
    assert seconds < STOP_LIMIT


def test_a_recording_that_is_being_judged_does_not_delay_the_exit(stub: DaemonProcess) -> None:
    with stub.caller() as caller:
        claim = stub.begin_recordings(caller, name="Ralph")
        (stub.folder / "hold-worker").touch()
        stub.send_recordings(claim, [voice("ralph-1")])
        assert caller.silent(0.3)
        code, seconds = stop(stub)
    assert code == ExitCode.OK
    assert seconds < STOP_LIMIT


def test_a_slow_reload_does_not_delay_the_exit(stub: DaemonProcess) -> None:
    (stub.folder / "hold-load").touch()
    stub.configure({"model": {"name": "campplus", "device": "cpu", "threads": 2}})
    with stub.caller() as caller:
        caller.send("Reload", more=False)
        assert caller.silent(0.3)
        code, seconds = stop(stub)
    assert code == ExitCode.OK
    assert seconds < STOP_LIMIT


# Starting


def test_a_second_daemon_does_not_start_and_the_first_continues(stub: DaemonProcess) -> None:
    ended = run(stub.folder)
    assert ended.returncode == ExitCode.ALREADY_RUNNING
    assert len(ended.stderr.splitlines()) == 1
    assert str(stub.socket) in ended.stderr
    assert stub.ask("Status")["ready"]


def test_a_stale_socket_is_replaced(stub_at) -> None:
    daemon = stub_at()
    daemon.process.kill()
    daemon.wait()
    assert daemon.socket.exists()
    assert not answers(daemon.socket)
    again = stub_at()
    assert again.ask("Status")["ready"]


def test_a_file_that_is_not_a_socket_is_not_replaced(folder: Path) -> None:
    (folder / "socket").write_text("precious")
    assert run(folder).returncode == ExitCode.CONFIG
    assert (folder / "socket").read_text() == "precious"


def test_an_unusable_profile_folder_is_named(stub_at, folder: Path) -> None:
    (folder / "profiles").write_text("a file")
    daemon = stub_at(await_ready=False)
    assert daemon.wait() == ExitCode.STORAGE
    assert daemon.logged(str(folder / "profiles"))


def test_a_mistake_in_the_configuration_is_reported_with_file_and_line(folder: Path) -> None:
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
def test_an_invalid_command_line_is_refused(folder: Path, arguments: list[str], code: int) -> None:
    ended = run(folder, *arguments)
    assert ended.returncode == code
    assert ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_help_lists_options_signals_and_exit_codes(folder: Path) -> None:
    ended = run(folder, "--help")
    assert ended.returncode == 0
    assert all(word in ended.stdout for word in ("--config", "--set", "SIGHUP", "exit codes"))
    assert run(folder, "--version").stdout.startswith("voiceauthd ")


# A recording as the source


def test_a_missing_recording_ends_run_with_its_own_exit_code(stub_at) -> None:
    daemon = stub_at({"audio": {"source": "missing.wav"}}, program="voiceauth run", with_audio=False, await_ready=False)
    assert daemon.wait() == ExitCode.AUDIO
    assert daemon.logged("missing.wav: no such file")


def test_a_missing_recording_leaves_the_daemon_running_and_is_shown_in_its_status(stub_at) -> None:
    daemon = stub_at({"audio": {"source": "missing.wav"}}, with_audio=False)
    with daemon.caller() as caller:
        caller.send("Monitor")
        events = caller.events()
    assert events[-1]["kind"] == "source"
    assert "missing.wav" in events[-1]["detail"]
    status = daemon.ask("Status")
    assert (status["state"], status["source"]["state"]) == ("degraded", "ended")
    assert "missing.wav" in status["problem"]
    refused = daemon.refusal("Identify")
    assert refused.error == "NoSource"
    assert "missing.wav" in refused.parameters["detail"]


# Under a service manager


def test_the_service_manager_gets_the_state_of_the_daemon(stub_at, manager: Manager) -> None:
    daemon = stub_at(environment={"NOTIFY_SOCKET": str(manager.path)}, hold="hold-load")
    assert manager.within("STATUS=loading", DEADLINE)
    assert not manager.within("READY=1", 0.3)
    (daemon.folder / "hold-load").unlink()
    assert manager.within("READY=1", DEADLINE)
    assert "STATUS=spectrum, 0 enrolled" in manager.messages[-1]
    daemon.configure({"decision": {"threshold": 0.7}})
    daemon.signal(signal.SIGHUP)
    assert manager.within("STATUS=", DEADLINE)
    assert not any("WATCHDOG" in message for message in manager.messages)
    assert stop(daemon)[0] == ExitCode.OK
    assert manager.within("STOPPING=1", DEADLINE)


@pytest.mark.parametrize("thread", ["hold-worker", "hold-capture"])
def test_the_watchdog_is_pinged_only_while_capture_and_worker_make_progress(
    stub_at, manager: Manager, thread: str
) -> None:
    period = 1.2
    daemon = stub_at(
        environment={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(round(period * 1e6))},
    )
    for _ in range(2):
        assert manager.within("WATCHDOG=1", period)
    (daemon.folder / thread).touch()
    daemon.feed.play(voice("ralph-1"))
    wait_until("a window is in the worker", lambda: thread == "hold-capture" or daemon.ask("Status")["windows"]["cut"])
    # A few pings still follow: they are sent every half period while the last sign of progress is as recent.
    assert not all(manager.within("WATCHDOG=1", period) for _ in range(4))
    assert not manager.within("WATCHDOG=1", period)
    (daemon.folder / thread).unlink()
    assert manager.within("WATCHDOG=1", 2 * period)


def test_an_activated_socket_is_used_and_not_removed(stub_at, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as passed:
        passed.bind(str(folder / "passed"))
        passed.listen()
        activate = [sys.executable, str(HERE / "daemon_manager.py"), str(passed.fileno())]
        # The caller connects before the daemon has started.
        early = DaemonProcess.caller_of(folder / "passed")
        early.send("Info", more=False)
        daemon = stub_at(activate=activate, descriptors=[passed.fileno()], await_ready=False)
        daemon.socket = folder / "passed"
        assert early.reply().parameters["protocol"] == 1
        early.close()
        daemon.await_ready()
        assert not (folder / "socket").exists()
        assert stop(daemon)[0] == ExitCode.OK
    assert (folder / "passed").exists()
