"""A socket that another user may have created is not used; a result counts once."""

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
from voiceauthd.client.verify_result import read_verify_result
from voiceauthd.errors import DeniedError, NotRunningError, UsageError

OURSELVES = frozenset({os.geteuid()})

IMPOSTOR = """
import socket, sys
listening = socket.socket(fileno=0)
listening.listen()
print("listening", flush=True)
try:
    connection, _ = listening.accept()
    print("request" if connection.recv(1) else "left", flush=True)
except OSError:
    pass
"""


def willing(request):
    return [accept(request)]


def bound(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made


@pytest.fixture
def place(fixed):
    """A folder in one that no other user can write to."""
    folder = fixed / "place"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def world_writable(place):
    """A folder like /tmp."""
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
    def test_a_socket_that_only_root_or_the_daemons_user_can_have_created_is_trusted(self, place):
        with bound(place / "socket"):
            assert trusted_path(f"{place}/socket", OURSELVES) == f"{place}/socket"
            (place / "link").symlink_to("socket")
            assert trusted_path(f"{place}/link", OURSELVES) == f"{place}/socket"

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
    def test_a_folder_that_others_can_write_to_is_refused_sticky_or_not(self, place, mode):
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

    def test_a_socket_or_folder_of_another_user_is_refused(self, place, others):
        inner = place / "inner"
        inner.mkdir()
        with bound(inner / "socket"):
            for owned in (place, inner, inner / "socket"):
                os.chown(owned, others.pw_uid, -1)
                with pytest.raises(DeniedError):
                    trusted_path(f"{inner}/socket", OURSELVES)
                assert trusted_path(f"{inner}/socket", frozenset({others.pw_uid}))
                os.chown(owned, 0, -1)

    def test_the_target_of_a_link_is_checked(self, place, world_writable):
        with bound(world_writable / "socket"):
            (place / "link").symlink_to(world_writable / "socket")
            with pytest.raises(DeniedError, match="write to"):
                trusted_path(f"{place}/link", OURSELVES)

    def test_a_path_that_is_not_a_socket_is_refused(self, place):
        (place / "file").touch()
        for path in (f"{place}/file", str(place), "socket", "", "\0abstract", "@abstract"):
            with pytest.raises(DeniedError):
                trusted_path(path, OURSELVES)
        for path in (f"{place}/nothing", f"{place}/file/socket"):
            with pytest.raises(OSError, match=r"No such file|Not a directory"):
                trusted_path(path, OURSELVES)

    def test_user_names_become_uids(self):
        assert user_ids(["root", USER]) == {0, pwd.getpwnam(USER).pw_uid}
        with pytest.raises(UsageError, match="no user 'no-such-user'"):
            user_ids(["root", "no-such-user"])


class TestTheListener:
    def test_a_client_without_owners_accepts_any_listener(self, path):
        with Scripted(path, reply(parameters={"changed": []})), Client(path) as client:
            assert client.call("Reload") == {"changed": []}

    def test_a_client_with_owners_accepts_them(self, place):
        with Scripted(place / "socket", reply(parameters={"changed": []})):
            assert Client(place / "socket", owners=OURSELVES).call("Reload") == {"changed": []}
        with pytest.raises(NotRunningError):
            Client(place / "socket", owners=OURSELVES).call("Reload")

    def test_nothing_is_sent_to_an_impostor(self, place, others):
        """The socket belongs to root, in root's folder, but another user listens on it."""
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
            with pytest.raises(DeniedError, match=f"opened by uid {others.pw_uid}") as caught:
                Client(place / "socket", owners=OURSELVES).call("Info")
            assert caught.value.reason == "impostor"
            assert process.stdout.readline() == "left\n"
        finally:
            process.kill()
            process.communicate()
            made.close()

    @pytest.mark.usefixtures("local")
    def test_the_executable_does_not_ask_an_impostor(self, place, others):
        with Daemon(place / "socket", willing) as daemon:
            assert run(daemon.path).code == 0
            for owned in (place, place / "socket"):
                os.chown(owned, others.pw_uid, others.pw_gid)
                ended = run(daemon.path)
                assert (ended.code, ended.lines, len(daemon.calls)) == (1, [], 1)
                os.chown(owned, 0, 0)
            os.chown(place, others.pw_uid, others.pw_gid)
            assert run(daemon.path, "--daemon-user", USER).code == 0
            assert run(daemon.path, "--daemon-user", "daemon").code == 1
            assert run(daemon.path, "--daemon-user", "no-such-user").code == 1
            assert run(daemon.path, "--daemon-user", "daemon", "--daemon-user", USER).code == 0

    @pytest.mark.usefixtures("local")
    def test_the_executable_does_not_ask_in_a_world_writable_folder(self, world_writable):
        with Daemon(world_writable / "socket", willing) as daemon:
            assert run(daemon.path).code == 1
            assert daemon.calls == []


class TestOneUse:
    def test_a_result_counts_once(self):
        result = read_verify_result(decision(), "ann", "n")
        copy = result._replace(reason="copied")
        assert [result.redeem(), result.redeem(), copy.redeem()] == [True, False, False]
        assert result.accepted

    def test_a_rejection_or_an_expired_result_never_counts(self):
        for result in (
            read_verify_result(decision(outcome="reject"), "ann", "n"),
            read_verify_result(decision(), "ann", "n")._replace(deadline=time.monotonic() - 1),
            read_verify_result(decision(), "ann", "n")._replace(deadline=float("nan")),
        ):
            assert [result.redeem(), result.redeem()] == [False, False]


class TestReplyTimeout:
    def test_a_stream_without_further_replies_ends(self, path):
        first = reply(parameters={"event": {}}, continues=True)
        with Scripted(path, first + first, hang=True), Client(path) as client:
            stream = client.stream("Monitor", reply_timeout=0.2)
            began = time.monotonic()
            assert [next(stream), next(stream)] == [{"event": {}}] * 2
            with pytest.raises(NoAnswerError, match="in time"):
                next(stream)
            assert 0.15 < time.monotonic() - began < DEADLINE
