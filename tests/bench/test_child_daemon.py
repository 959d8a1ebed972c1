"""A daemon as a child process: it starts without a model, dies with a reason, and is always stopped."""

from __future__ import annotations

import os
import signal
import time

import pytest

from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.errors import ExitCode, ModelError, VoiceauthError


def settings_without_model(folder):
    return {"model": {"name": str(folder / "nothing"), "device": "cpu"}, "audio": {"source": "-"}}


def test_it_is_reached_on_its_own_socket_and_stopped_in_order(tmp_path):
    environment = {**os.environ, "VOICEAUTHD_SOCKET__PATH": "/nonexistent/socket", "LISTEN_FDS": "1"}
    with ChildDaemon(tmp_path, settings_without_model(tmp_path), environment=environment) as daemon:
        assert daemon.wait_socket() > 0.0
        assert os.path.exists(daemon.socket)
        assert daemon.stop() == ExitCode.OK
        assert daemon.stop() == ExitCode.OK
    assert not os.path.exists(daemon.socket)


@pytest.mark.parametrize("progress", [None, [].append])
def test_a_missing_model_is_an_error_of_the_model(tmp_path, progress):
    with (
        ChildDaemon(tmp_path, settings_without_model(tmp_path)) as daemon,
        pytest.raises(ModelError, match="does not exist"),
    ):
        daemon.wait_ready(progress)


@pytest.mark.parametrize("progress", [None, [].append])
def test_a_daemon_that_dies_is_reported_with_its_exit_code_and_the_end_of_its_log(tmp_path, progress):
    with ChildDaemon(tmp_path, {"audio": {"source": 5}}) as daemon, pytest.raises(VoiceauthError) as caught:
        daemon.wait_ready(progress)
    assert caught.value.exit_code == ExitCode.CONFIG
    assert caught.value.reason == "daemon_ended"
    assert "audio.source" in str(caught.value)
    assert "audio.source" in daemon.log_tail(1)


def test_a_daemon_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("voiceauthd.bench.child_daemon.STOP_LIMIT", 0.2)
    with ChildDaemon(tmp_path, settings_without_model(tmp_path)) as daemon:
        daemon.wait_socket()
        os.kill(daemon.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert daemon.stop() == -signal.SIGKILL
        assert time.monotonic() - began < 5.0
