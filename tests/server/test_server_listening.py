"""Creating the daemon's socket without disturbing another daemon."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys

import pytest
from server_parts import DEADLINE, Daemon, export, plug, read

from voiceauthd.errors import AlreadyRunningError, ConfigError
from voiceauthd.server.listener import MAX_PATH, adopt, listen


class TestListening:
    def test_the_modes_of_the_socket_and_its_folder_do_not_depend_on_the_umask(self, tmp_path):
        before = os.umask(0o077)
        try:
            listener = listen(tmp_path / "a" / "b" / "socket", 0o660)
        finally:
            os.umask(before)
        assert stat.S_IMODE(listener.path.stat().st_mode) == 0o660
        expected = 0o755 if os.geteuid() == 0 else 0o700
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected
        listener.close()
        private = listen(tmp_path / "c" / "socket", 0o600)
        assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700
        private.close()

    def test_a_stale_socket_is_replaced(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()
        with Daemon(path) as daemon, plug(daemon) as client:
            client.sendall(export("ann"))
            assert read(client)[0]["parameters"] == {"document": "ann"}

    def test_a_running_daemon_is_left_alone(self, daemon):
        with pytest.raises(AlreadyRunningError):
            listen(daemon.path, 0o666)
        with plug(daemon) as client:
            client.sendall(export("ann"))
            read(client)

    def test_a_listening_socket_of_another_program_is_left_alone(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(0)
            with pytest.raises(AlreadyRunningError):
                listen(path, 0o666)
            with socket.socket(socket.AF_UNIX) as filler, socket.socket(socket.AF_UNIX) as more:
                for one in (filler, more):
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        one.connect(str(path))
                with pytest.raises(AlreadyRunningError):
                    listen(path, 0o666)
        assert path.exists()

    def test_a_datagram_socket_is_left_alone(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(path))
            with pytest.raises(AlreadyRunningError):
                listen(path, 0o666)
        assert path.exists()

    @pytest.mark.parametrize("kind", ["file", "folder", "link"])
    def test_anything_but_a_socket_is_never_removed(self, tmp_path, kind):
        path = tmp_path / "socket"
        if kind == "file":
            path.write_text("precious")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError, match="not a socket"):
            listen(path, 0o666)
        assert os.listdir(tmp_path) == ["socket"]

    def test_a_path_that_is_too_long_is_refused(self, tmp_path):
        path = tmp_path / ("x" * MAX_PATH)
        with pytest.raises(ConfigError, match=f"{MAX_PATH}"):
            listen(path, 0o666)
        assert os.listdir(tmp_path) == []

    def test_the_longest_path_works(self, tmp_path):
        path = tmp_path / ("x" * (MAX_PATH - len(os.fsencode(tmp_path)) - 1))
        listen(path, 0o666).close()

    def test_a_folder_that_cannot_be_created_is_an_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="Not a directory"):
            listen(tmp_path / "file" / "socket", 0o666)

    def test_an_adopted_socket_is_served_and_not_removed(self, tmp_path):
        path = tmp_path / "socket"
        passed = socket.socket(socket.AF_UNIX)
        passed.bind(str(path))
        passed.listen()
        with Daemon(path, listener=adopt(passed)) as daemon, plug(daemon) as client:
            client.sendall(export("ann"))
            assert read(client)[0]["parameters"] == {"document": "ann"}
        assert path.exists()

    def test_a_socket_that_does_not_listen_is_not_adopted(self):
        with socket.socket(socket.AF_UNIX) as idle, pytest.raises(ConfigError):
            adopt(idle)
        with socket.socket(socket.AF_INET) as other, pytest.raises(ConfigError):
            adopt(other)

    def test_of_daemons_that_start_at_once_exactly_one_continues(self, tmp_path):
        path = tmp_path / "socket"
        code = (
            "import sys\n"
            "from voiceauthd.errors import AlreadyRunningError\n"
            "from voiceauthd.server.listener import listen\n"
            "print('loaded', flush=True)\n"
            "sys.stdin.readline()\n"
            "try:\n"
            "    listener = listen(sys.argv[1], 0o666)\n"
            "    print('listening', flush=True)\n"
            "except AlreadyRunningError:\n"
            "    print('already', flush=True)\n"
            "sys.stdin.readline()\n"
        )
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        daemons = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        try:
            for one in daemons:
                assert one.stdout.readline() == "loaded\n"
            for one in daemons:
                one.stdin.write("\n")
                one.stdin.flush()
            ready = [one.stdout.readline().strip() for one in daemons]
            assert sorted(ready) == ["already"] * 3 + ["listening"]
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        finally:
            for one in daemons:
                one.communicate("\n", timeout=DEADLINE)

    def test_a_lock_file_that_nobody_holds_is_ignored(self, tmp_path):
        (tmp_path / "socket.lock").write_text("")
        listener = listen(tmp_path / "socket", 0o666)
        listener.close()
        assert os.listdir(tmp_path) == []
