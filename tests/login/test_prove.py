"""The proof service with a real PAM: only the right password of the caller's own account gives a proof."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pam_room import PamRoom, pam_room  # noqa: F401  a fixture is used by its name
from proof_room import (  # noqa: F401  a fixture is used by its name
    ANN,
    ANNS,
    BOB,
    BOBS,
    CALLER,
    PYTHON,
    QUICK,
    STRANGER,
    FakeDaemon,
    ProofService,
    as_user,
    furnish,
    sockets,
    what_is_missing,
)

from voiceauthd.client.owner_proof import prove as prove_to
from voiceauthd.errors import DeniedError, NotRunningError
from voiceauthd.login import prove
from voiceauthd.protocol.wire import Decoder

WRONG = {"error": "org.voiceauthd.proof.WrongPassword", "parameters": {}}
REFUSED = "org.voiceauthd.proof.Refused"
UNAVAILABLE = "org.voiceauthd.proof.Unavailable"


@pytest.fixture
def room(pam_room: PamRoom) -> PamRoom:  # noqa: F811
    """A private PAM in which Ann and Bob have passwords."""
    if missing := what_is_missing():
        pytest.skip(missing)
    furnish(pam_room)
    return pam_room


@pytest.fixture
def daemon(room: PamRoom, sockets: Path) -> Iterator[FakeDaemon]:  # noqa: F811
    daemon = FakeDaemon(sockets / "socket")
    yield daemon
    daemon.close()


@pytest.fixture
def start(room: PamRoom, daemon: FakeDaemon) -> Iterator[Callable[..., ProofService]]:
    """Start the service; at most once per test."""
    started: list[ProofService] = []

    def start(before: str = "") -> ProofService:
        started.append(ProofService(room, daemon.path, daemon.path.with_name("proof"), before))
        return started[0]

    yield start
    for service in started:
        service.close()


@pytest.fixture
def service(start: Callable[..., ProofService]) -> ProofService:
    return start()


def test_for_the_right_password_root_vouches_and_returns_the_proof(service, daemon):
    assert service.ask(ANN, ANNS) == {"parameters": {"proof": "the daemon's proof", "expires": 60.0}}
    assert daemon.requests == [{"method": "org.voiceauthd.Vouch", "parameters": {"uid": ANN}}]
    assert daemon.callers == [0]


@pytest.mark.parametrize(
    "password",
    ["wrong", ANNS + "\0x", BOBS, "", "x" * 512, ANNS.upper()],
    ids=["wrong", "nul and more", "another's", "empty", "too long", "case"],
)
def test_another_password_gives_no_proof(service, daemon, password):
    assert service.ask(ANN, password) == WRONG
    assert daemon.requests == []


def test_the_account_comes_from_the_kernel_and_not_from_the_caller(service, daemon):
    answer = service.ask(BOB, ANNS, user="ann")
    assert answer == {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "user"}}
    assert service.ask(BOB, ANNS) == WRONG
    assert daemon.requests == []


@pytest.mark.parametrize("uid", [0, STRANGER, 65_534], ids=["root", "no account", "overflow"])
def test_a_user_without_a_password_is_refused(service, daemon, uid):
    assert service.ask(uid, ANNS)["error"] == REFUSED
    assert daemon.requests == []


def test_an_account_with_another_users_name_is_refused(room, service, daemon):
    with (room.folder / "passwd").open("a") as file:
        file.write(f"ann:x:{STRANGER}:{STRANGER}::/nonexistent:/bin/sh\n")
    for password in (ANNS, "wrong"):  # the answers are the same: that account cannot guess Ann's password
        assert service.ask(STRANGER, password)["error"] == REFUSED
    assert daemon.requests == []


@pytest.mark.parametrize(
    "stack",
    ["auth required pam_permit.so\n", "auth sufficient pam_rootok.so\nauth required pam_unix.so nodelay\n"],
    ids=["permit", "rootok"],
)
def test_a_stack_that_grants_access_without_the_password_gives_no_proof(room, service, daemon, stack):
    room.service("voiceauthd", stack + "account required pam_permit.so\n")
    answer = service.ask(ANN, ANNS)
    assert (answer["error"], "without the password" in answer["parameters"]["detail"]) == (UNAVAILABLE, True)
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("20000:0:99999:7::1:", REFUSED),  # expired in 1970
        ("0:0:99999:7:::", REFUSED),  # must be changed before it is used
    ],
    ids=["account expired", "password expired"],
)
def test_an_unusable_account_is_refused_even_with_the_right_password(room, service, daemon, fields, error):
    rewrite_shadow(room, lambda hashed: f"{hashed}:{fields}")
    assert service.ask(ANN, ANNS)["error"] == error
    assert service.ask(ANN, "wrong") == WRONG
    assert daemon.requests == []


@pytest.mark.parametrize("change", [lambda _: "", lambda hashed: f"!{hashed}", lambda _: "*"], ids=["", "locked", "*"])
def test_for_an_account_without_a_password_every_password_is_wrong(room, service, daemon, change):
    room.service("voiceauthd", QUICK.replace("nodelay", "nodelay nullok"))
    rewrite_shadow(room, lambda hashed: f"{change(hashed)}:20000:0:99999:7:::")
    for password in (ANNS, "x"):
        assert service.ask(ANN, password) == WRONG
    assert daemon.requests == []


@pytest.mark.parametrize(
    "stack",
    [
        None,
        "",
        "auth required /nonexistent.so\naccount required pam_permit.so\n",
        "auth required pam_unix.so nodelay\n",
        "auth required pam_unix.so nodelay\naccount required pam_deny.so\n",
    ],
    ids=["no file", "empty", "no such module", "no account", "account denied"],
)
def test_a_broken_stack_gives_no_proof(room, service, daemon, stack):
    if stack is None:
        (room.folder / "pam.d" / "voiceauthd").unlink()
    else:
        room.service("voiceauthd", stack)
    assert "error" in service.ask(ANN, ANNS)
    assert daemon.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{]\0",
        b'{"parameters":{"proof":"x"}}\0',
        b'{"parameters":{"proof":1,"expires":60.0}}\0',
        b'{"parameters":{"proof":"x","expires":60.0},"error":"org.varlink.service.PermissionDenied"}\0',
        b"x" * 2_000_000,
    ],
    ids=["no answer", "garbage", "incomplete", "number", "error", "oversized"],
)
def test_without_a_valid_answer_of_the_daemon_there_is_no_proof(service, daemon, answer):
    daemon.answer = lambda _: answer
    assert service.ask(ANN, ANNS)["error"] == UNAVAILABLE
    assert len(daemon.requests) == 1


def test_without_a_daemon_there_is_no_proof(service, daemon):
    daemon.path.unlink()
    assert service.ask(ANN, ANNS)["error"] == UNAVAILABLE


IMPOSTOR = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
s.listen()
print("ready", flush=True)
s.settimeout(30)
c, _ = s.accept()
print("received", c.recv(65536), flush=True)
"""


@pytest.fixture
def impostor(room: PamRoom, sockets: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:  # noqa: F811
    """A socket on which Bob listens."""
    folder = sockets / "bobs"
    folder.mkdir()
    folder.chmod(0o777)
    become = ["setpriv", f"--reuid={BOB}", f"--regid={BOB}", "--clear-groups"]
    with subprocess.Popen(
        [*become, str(PYTHON), "-I", "-c", IMPOSTOR, str(folder / "socket")], stdout=subprocess.PIPE, cwd="/"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield folder / "socket", process
        process.terminate()


def received(process: subprocess.Popen[bytes]) -> bytes:
    """Stop an impostor, and return what it received."""
    process.terminate()
    return process.communicate(timeout=10)[0]


def test_nothing_is_sent_to_an_impostor_of_the_daemon(room, sockets, impostor):  # noqa: F811
    path, process = impostor
    service = ProofService(room, path, sockets / "proof")
    try:
        answer = service.ask(ANN, ANNS)
    finally:
        service.close()
    assert answer["error"] == UNAVAILABLE
    assert received(process) == b""


def test_the_password_is_sent_only_to_a_service_of_root(impostor):
    path, process = impostor
    with pytest.raises(DeniedError) as caught:
        prove_to(ANNS, str(path))
    assert caught.value.reason == "impostor"
    assert received(process) == b""


def test_the_client_raises_the_services_errors(service):
    """This process is root, which needs no proof."""
    with pytest.raises(DeniedError, match="root needs no proof"):
        prove_to(ANNS, str(service.path))
    with pytest.raises(NotRunningError):
        prove_to(ANNS, str(service.path.with_name("not-there")))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"\xff\n", "org.voiceauthd.MalformedMessage"),
        (b"[]\0", "org.voiceauthd.MalformedMessage"),
        (b" " * 5000 + b'{"method":"' + b"x" * 5000, "org.voiceauthd.MalformedMessage"),
        (b'{"method":"org.voiceauthd.Vouch","parameters":{"uid":0}}\n', "org.varlink.service.MethodNotFound"),
        (b'{"method":"org.voiceauthd.proof.Nothing"}\n', "org.varlink.service.MethodNotFound"),
        (
            b'{"method":"org.voiceauthd.proof.Prove","parameters":{"password":1}}\n',
            "org.varlink.service.InvalidParameter",
        ),
        (
            b'{"method":"org.voiceauthd.proof.Prove","parameters":{"password":"x"},"oneway":true}\n',
            "org.varlink.service.InvalidParameter",
        ),
    ],
)
def test_an_invalid_call_is_answered_with_an_error(service, daemon, message, error):
    answer = service.send(ANN, message)
    assert json.loads(answer.strip(b"\0\n"))["error"] == error
    assert daemon.requests == []


def test_a_caller_that_sends_nothing_gets_no_answer(service, daemon):
    assert service.send(ANN, b"") == b""
    assert daemon.requests == []


def test_a_connection_allows_one_try(service, daemon):
    calls = [{"method": "org.voiceauthd.proof.Prove", "parameters": {"password": word}} for word in ("x", ANNS)]
    answer = service.send(ANN, b"".join(json.dumps(call).encode() + b"\n" for call in calls))
    assert json.loads(answer) == WRONG
    assert daemon.requests == []


def test_a_caller_that_sends_half_a_message_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(prove, "READ_TIMEOUT", 0.1)
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b'{"method":')
        with pytest.raises(TimeoutError):
            prove.answer(here, Decoder(prove.MAX_MESSAGE), "/nonexistent")


def test_an_unexpected_exception_gives_no_proof_and_is_logged_without_details(start, daemon):
    service = start("def boom(*_): raise RuntimeError(str(_))\nprove.ask_pam = boom")
    assert service.ask(ANN, ANNS)["error"] == UNAVAILABLE
    assert daemon.requests == []
    assert "RuntimeError" in service.log
    assert ANNS not in service.log


def test_a_hanging_pam_stack_is_killed_and_gives_no_proof(room, start, daemon):
    room.service("voiceauthd", "auth required pam_exec.so /bin/sleep 20\n" + QUICK)
    service = start("prove.PROCESS_LIFETIME = 1")
    began = time.monotonic()
    call = json.dumps({"method": "org.voiceauthd.proof.Prove", "parameters": {"password": ANNS}}).encode()
    assert service.send(ANN, call + b"\n") == b""
    assert time.monotonic() - began < 10
    assert daemon.requests == []


def test_a_wrong_password_is_delayed_by_pam(room, service):
    room.service("voiceauthd", QUICK.replace("nodelay", ""))
    began = time.monotonic()
    assert service.ask(ANN, "wrong") == WRONG
    assert time.monotonic() - began > 1.0


def test_the_log_contains_neither_passwords_nor_proofs(service):
    service.ask(ANN, ANNS)
    service.ask(ANN, "guess-4711")
    service.send(ANN, b'{"method":"org.voiceauthd.proof.Prove","parameters":{"guess-4711":"guess-4711"}}\n')
    log = service.log
    assert "gave a proof to ann" in log
    assert "wrong password for ann" in log
    assert not any(secret in log for secret in (ANNS, "guess-4711", "the daemon's proof"))


def test_processes_started_by_pam_do_not_inherit_the_connection(room, service):
    """They would keep it open, and could answer."""
    spy = room.folder / "spy"
    spy.write_text(f"#!/bin/sh\nls -l /proc/self/fd > {room.folder}/fds\n")
    spy.chmod(0o755)
    room.service("voiceauthd", f"auth optional pam_exec.so {spy}\n" + QUICK)
    assert "parameters" in service.ask(ANN, ANNS)
    assert "socket:" not in (room.folder / "fds").read_text()


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, None], ids=["/dev/null", "closed"])
def test_without_a_connection_it_fails(stdin):
    close = [] if stdin else ["sh", "-c", 'exec "$@" <&-', "sh"]
    command = [*close, sys.executable, "-m", "voiceauthd.login.prove"]
    done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    assert done.stdout == b""


def rewrite_shadow(room: PamRoom, entry: Callable[[str], str]) -> None:
    """Replace Ann's line; `entry` makes the rest of it from her hash."""
    file = room.folder / "shadow"
    lines = file.read_text().splitlines()
    file.write_text(
        "".join(f"ann:{entry(line.split(':')[1])}\n" if line.startswith("ann:") else f"{line}\n" for line in lines)
    )


def test_nothing_but_the_answer_is_sent_to_the_caller(service):
    done = as_user(ANN, str(PYTHON), "-I", "-c", CALLER, str(service.path), given=b"garbage\n")
    assert done.stdout.count(b"\n") == 1
