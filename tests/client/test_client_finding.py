"""The client finds the daemon's socket, or says why not; and importing it is cheap."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.protocol.paths import SYSTEM_SOCKET, default_socket, find_socket


class TestFindingTheDaemon:
    @pytest.fixture(autouse=True)
    def _clean(self, monkeypatch, tmp_path):
        for variable in ("VOICEAUTHD_SOCKET", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "RUNTIME_DIRECTORY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def test_the_order_is_the_variable_then_the_users_own_then_the_systems(self, monkeypatch, tmp_path):
        assert find_socket() == SYSTEM_SOCKET
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert find_socket() == SYSTEM_SOCKET
        own = tmp_path / "voiceauthd" / "socket"
        own.parent.mkdir()
        own.touch()
        assert find_socket() == str(own)
        monkeypatch.setenv("VOICEAUTHD_SOCKET", "/elsewhere")
        assert find_socket() == "/elsewhere"
        assert Client().path == "/elsewhere"
        assert Client("/named").path == "/named"

    def test_a_client_looks_where_a_daemon_listens_by_default(self, monkeypatch, tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        for runtime in (None, str(tmp_path / "run")):
            if runtime:
                monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
            place = Path(default_socket())
            place.parent.mkdir(parents=True)
            place.touch()
            assert find_socket() == str(place)

    def test_a_daemon_listens_where_the_service_manager_says(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert default_socket() == SYSTEM_SOCKET
        monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/voiceauthd:/run/other")
        assert default_socket() == "/run/voiceauthd/socket"

    def test_a_relative_runtime_folder_is_not_trusted(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setenv("XDG_RUNTIME_DIR", "run")
        assert default_socket().startswith(os.environ["HOME"])

    def test_without_a_daemon_the_error_says_what_to_do(self, path):
        with pytest.raises(NotRunningError, match="voiceauth service start") as caught:
            Client(path).call("Info")
        assert caught.value.exit_code == ExitCode.NOT_RUNNING

    def test_a_daemon_that_died_is_not_running(self, path):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        with pytest.raises(NotRunningError, match="gone"):
            Client(path).call("Info")

    def test_a_path_that_is_too_long_is_a_clear_error(self):
        with pytest.raises(NotRunningError, match="too long"):
            Client("/" + "x" * 200).call("Info")


def test_importing_the_client_loads_nothing_heavy():
    code = (
        "import sys, voiceauthd.client\n"
        "heavy = {'torch', 'numpy', 'asyncio', 'msgspec', 'yaml', 'dataclasses', 'importlib.resources', 'logging'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(sorted(name for name in sys.modules if name.startswith('voiceauthd.')))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, ours = run.stdout.splitlines()
    assert heavy == "[]"
    assert "service" not in ours


def test_importing_the_client_takes_little_more_time_than_its_standard_library_modules():
    """30 ms on an idle machine; measured as a ratio, so that it also works on a busy one."""
    code = (
        "import time\n"
        "began = time.process_time()\n"
        "import json, socket, typing\n"
        "between = time.process_time()\n"
        "import voiceauthd.client\n"
        "print(between - began, time.process_time() - between)\n"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(7)]
    standard, ours = (min(times) for times in zip(*(map(float, run.stdout.split()) for run in runs), strict=True))
    assert ours < 1.5 * standard
