"""A socket that somebody else may have made is not spoken to; a result counts once."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from client_parts import Scripted, decision, reply
from pam_parts import DEADLINE, USER, Daemon, accept, run

from voiceauthd.client import Client, NoAnswerError
from voiceauthd.client.socket_owner import trusted_path, user_ids
from voiceauthd.client.verify_result import read_verified
from voiceauthd.errors import DeniedError, NotRunningError, UsageError

OURSELVES = frozenset({os.geteuid()})

IMPOSTOR = """
import socket, sys
listening = socket.socket(fileno=0)
listening.listen()
print("listening", flush=True)
try:
    connection, _ = listening.accept()
    print("asked" if connection.recv(1) else "left", flush=True)
except OSError:
    pass
"""


def willing(asked):
    return [accept(asked)]


def bound(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made


@pytest.fixture
def place(fixed):
    """A folder of its own in one that nobody else can write to."""
    folder = fixed / "place"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def anybodys(place):
    """A folder as /tmp is."""
    folder = place / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def others():
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv (util-linux), to be somebody else")
    return pwd.getpwnam(USER)


class TestThePath:
    def test_a_socket_that_only_root_or_the_daemons_user_can_have_made(self, place):
        with bound(place / "socket"):
            assert trusted_path(f"{place}/socket", OURSELVES) == f"{place}/socket"
            (place / "link").symlink_to("socket")
            assert trusted_path(f"{place}/link", OURSELVES) == f"{place}/socket"

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777, 0o757, 0o773])
    def test_a_folder_that_others_write_to_is_refused_sticky_or_not(self, place, mode):
        inner = place / "inner"
        inner.mkdir()
        with bound(inner / "socket"):
            for folder in (place, inner):
                folder.chmod(mode)
                with pytest.raises(DeniedError, match=f"write to {folder}") as caught:
                    trusted_path(f"{inner}/socket", OURSELVES)
                assert caught.value.reason == "impostor"
                folder.chmod(0o755)
            assert trusted_path(f"{inner}/socket", OURSELVES)

    def test_what_others_own_is_refused(self, place, others):
        inner = place / "inner"
        inner.mkdir()
        with bound(inner / "socket"):
            for owned in (place, inner, inner / "socket"):
                os.chown(owned, others.pw_uid, -1)
                with pytest.raises(DeniedError):
                    trusted_path(f"{inner}/socket", OURSELVES)
                assert trusted_path(f"{inner}/socket", frozenset({others.pw_uid}))
                os.chown(owned, 0, -1)

    def test_a_link_is_looked_at_where_it_leads(self, place, anybodys):
        with bound(anybodys / "socket"):
            (place / "link").symlink_to(anybodys / "socket")
            with pytest.raises(DeniedError, match="write to"):
                trusted_path(f"{place}/link", OURSELVES)

    def test_what_is_no_socket_or_no_path_is_refused(self, place):
        (place / "file").touch()
        for path in (f"{place}/file", str(place), "socket", "", "\0abstract", "@abstract"):
            with pytest.raises(DeniedError):
                trusted_path(path, OURSELVES)
        for path in (f"{place}/nothing", f"{place}/file/socket"):
            with pytest.raises(OSError, match=r"No such file|Not a directory"):
                trusted_path(path, OURSELVES)

    def test_users_are_known_by_name(self):
        assert user_ids(["root", USER]) == {0, pwd.getpwnam(USER).pw_uid}
        with pytest.raises(UsageError, match="no user 'no-such-user'"):
            user_ids(["root", "no-such-user"])


class TestTheListener:
    def test_a_client_without_owners_speaks_to_anybody(self, path):
        with Scripted(path, reply(parameters={"changed": []})), Client(path) as client:
            assert client.call("Reload") == {"changed": []}

    def test_a_client_with_owners_speaks_to_them(self, place):
        with Scripted(place / "socket", reply(parameters={"changed": []})):
            assert Client(place / "socket", owners=OURSELVES).call("Reload") == {"changed": []}
        with pytest.raises(NotRunningError):
            Client(place / "socket", owners=OURSELVES).call("Reload")

    def test_an_impostor_is_told_nothing(self, place, others):
        """The socket is root's, in root's folder; who listens on it is somebody else."""
        made = bound(place / "socket")
        become = [f"--reuid={others.pw_uid}", f"--regid={others.pw_gid}", "--clear-groups"]
        process = subprocess.Popen(
            ["setpriv", *become, "/usr/bin/python3", "-I", "-c", IMPOSTOR],
            stdin=made.fileno(),
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            with pytest.raises(DeniedError, match=f"made by the user {others.pw_uid}") as caught:
                Client(place / "socket", owners=OURSELVES).call("Info")
            assert caught.value.reason == "impostor"
            assert process.stdout.readline() == "left\n"
        finally:
            process.kill()
            process.communicate()
            made.close()

    @pytest.mark.usefixtures("local")
    def test_the_executable_asks_no_impostor(self, place, others):
        with Daemon(place / "socket", willing) as daemon:
            assert run(daemon.path).code == 0
            for owned in (place, place / "socket"):
                os.chown(owned, others.pw_uid, others.pw_gid)
                ended = run(daemon.path)
                assert (ended.code, ended.lines, len(daemon.asked)) == (1, [], 1)
                os.chown(owned, 0, 0)
            os.chown(place, others.pw_uid, others.pw_gid)
            assert run(daemon.path, "--daemon-user", USER).code == 0
            assert run(daemon.path, "--daemon-user", "daemon").code == 1
            assert run(daemon.path, "--daemon-user", "no-such-user").code == 1
            assert run(daemon.path, "--daemon-user", "daemon", "--daemon-user", USER).code == 0

    @pytest.mark.usefixtures("local")
    def test_the_executable_asks_nobody_in_a_folder_where_everybody_writes(self, anybodys):
        with Daemon(anybodys / "socket", willing) as daemon:
            assert run(daemon.path).code == 1
            assert daemon.asked == []


class TestOneUse:
    def test_a_result_counts_once(self):
        verified = read_verified(decision(), "ann", "n")
        copy = verified._replace(reason="copied")
        assert [verified.redeem(), verified.redeem(), copy.redeem()] == [True, False, False]
        assert verified.accepted

    def test_a_result_that_accepts_nobody_or_has_expired_counts_never(self):
        for verified in (
            read_verified(decision(outcome="reject"), "ann", "n"),
            read_verified(decision(), "ann", "n")._replace(deadline=time.monotonic() - 1),
            read_verified(decision(), "ann", "n")._replace(deadline=float("nan")),
        ):
            assert [verified.redeem(), verified.redeem()] == [False, False]


class TestPatience:
    def test_a_stream_that_falls_silent_ends(self, path):
        first = reply(parameters={"event": {}}, continues=True)
        with Scripted(path, first + first, hang=True), Client(path) as client:
            stream = client.stream("Monitor", patience=0.2)
            began = time.monotonic()
            assert [next(stream), next(stream)] == [{"event": {}}] * 2
            with pytest.raises(NoAnswerError, match="in time"):
                next(stream)
            assert 0.15 < time.monotonic() - began < DEADLINE
