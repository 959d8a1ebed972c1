"""The password of an account, through a real PAM: what makes a proof, and that nothing else does."""

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
    """Ann and Bob have passwords."""
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
    """Starts the service; at most one a test."""
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


def test_the_right_password_is_vouched_for_by_root_and_gives_the_proof(service, daemon):
    assert service.ask(ANN, ANNS) == {"parameters": {"proof": "what the daemon made", "expires": 60.0}}
    assert daemon.requests == [{"method": "org.voiceauthd.Vouch", "parameters": {"uid": ANN}}]
    assert daemon.callers == [0]


@pytest.mark.parametrize(
    "password",
    ["wrong", ANNS + "x", ANNS[:-1], ANNS + "\0", ANNS + "\0x", BOBS, "", "\0", "x" * 512, ANNS.upper()],
    ids=["wrong", "longer", "shorter", "nul", "nul and more", "another's", "empty", "only nul", "too long", "case"],
)
def test_another_password_gives_nothing(service, daemon, password):
    assert service.ask(ANN, password) == WRONG
    assert daemon.requests == []


def test_whose_password_it_is_the_kernel_says_and_not_the_caller(service, daemon):
    answer = service.ask(BOB, ANNS, user="ann")
    assert answer == {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "user"}}
    assert service.ask(BOB, ANNS) == WRONG
    assert daemon.requests == []


@pytest.mark.parametrize("uid", [0, STRANGER, 65_534], ids=["root", "no account", "overflow"])
def test_who_has_no_password_is_refused(service, daemon, uid):
    assert service.ask(uid, ANNS)["error"] == REFUSED
    assert daemon.requests == []


def test_an_account_whose_name_is_another_users_is_refused(room, service, daemon):
    with (room.folder / "passwd").open("a") as file:
        file.write(f"ann:x:{STRANGER}:{STRANGER}::/nonexistent:/bin/sh\n")
    for password in (ANNS, "wrong"):  # nor can Ann's password be guessed from there
        assert service.ask(STRANGER, password)["error"] == REFUSED
    assert daemon.requests == []


@pytest.mark.parametrize(
    "stack",
    ["auth required pam_permit.so\n", "auth sufficient pam_rootok.so\nauth required pam_unix.so nodelay\n"],
    ids=["permit", "rootok"],
)
def test_a_stack_that_lets_in_without_the_password_proves_nothing(room, service, daemon, stack):
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
def test_an_account_that_may_not_be_used_is_refused_with_the_right_password(room, service, daemon, fields, error):
    rewrite_shadow(room, lambda hashed: f"{hashed}:{fields}")
    assert service.ask(ANN, ANNS)["error"] == error
    assert service.ask(ANN, "wrong") == WRONG
    assert daemon.requests == []


@pytest.mark.parametrize("change", [lambda _: "", lambda hashed: f"!{hashed}", lambda _: "*"], ids=["", "locked", "*"])
def test_an_account_without_a_password_has_none_that_is_right(room, service, daemon, change):
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
        "auth required pam_deny.so\n",
        "auth required /nonexistent.so\naccount required pam_permit.so\n",
        "auth required pam_unix.so nodelay\n",
        "auth required pam_unix.so nodelay\naccount required pam_deny.so\n",
    ],
    ids=["no file", "empty", "deny", "no such module", "no account", "account denied"],
)
def test_a_stack_that_is_broken_proves_nothing(room, service, daemon, stack):
    if stack is None:
        (room.folder / "pam.d" / "voiceauthd").unlink()
    else:
        room.service("voiceauthd", stack)
    assert "error" in service.ask(ANN, ANNS)
    assert daemon.requests == []


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}\0",
        b"{]\0",
        b'{"parameters":{"proof":"x"}}\0',
        b'{"parameters":{"proof":1,"expires":60.0}}\0',
        b'{"parameters":{"proof":"x","expires":60.0,"more":1}}\0',
        b'{"parameters":{"proof":"x","expires":60.0},"error":"org.varlink.service.PermissionDenied"}\0',
        b'{"error":"org.voiceauthd.StorageFailed","parameters":{"detail":"the disk is full"}}\0',
        b"x" * 2_000_000,
    ],
    ids=["silence", "nothing", "garbage", "half", "number", "unknown", "denied", "failed", "endless"],
)
def test_without_a_proof_by_the_daemon_there_is_none(service, daemon, said):
    daemon.answer = lambda _: said
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
print("heard", c.recv(65536), flush=True)
"""


@pytest.fixture
def impostor(room: PamRoom, sockets: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:  # noqa: F811
    """Bob listens on a socket of his own."""
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


def heard(process: subprocess.Popen[bytes]) -> bytes:
    """All that an impostor heard until now."""
    process.terminate()
    return process.communicate(timeout=10)[0]


def test_an_impostor_of_the_daemon_is_told_nothing(room, sockets, impostor):  # noqa: F811
    path, process = impostor
    service = ProofService(room, path, sockets / "proof")
    try:
        answer = service.ask(ANN, ANNS)
    finally:
        service.close()
    assert answer["error"] == UNAVAILABLE
    assert heard(process) == b""


def test_the_password_is_sent_to_roots_service_only(impostor):
    path, process = impostor
    with pytest.raises(DeniedError) as caught:
        prove_to(ANNS, str(path))
    assert caught.value.reason == "impostor"
    assert heard(process) == b""


def test_the_client_says_what_is_wrong(service):
    """This process is root, who needs none."""
    with pytest.raises(DeniedError, match="root needs no proof"):
        prove_to(ANNS, str(service.path))
    with pytest.raises(NotRunningError):
        prove_to(ANNS, str(service.path.with_name("not-there")))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"garbage\n", "org.voiceauthd.MalformedMessage"),
        (b"\xff\n", "org.voiceauthd.MalformedMessage"),
        (b"[]\0", "org.voiceauthd.MalformedMessage"),
        (b"{}\n", "org.voiceauthd.MalformedMessage"),
        (b" " * 5000 + b'{"method":"' + b"x" * 5000, "org.voiceauthd.MalformedMessage"),
        (b'{"method":"org.voiceauthd.Vouch","parameters":{"uid":0}}\n', "org.varlink.service.MethodNotFound"),
        (b'{"method":"org.voiceauthd.proof.Nothing"}\n', "org.varlink.service.MethodNotFound"),
        (b'{"method":"Prove"}\n', "org.varlink.service.MethodNotFound"),
        (b'{"method":"org.voiceauthd.proof.Prove"}\n', "org.varlink.service.InvalidParameter"),
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
def test_what_is_no_call_is_answered_with_an_error(service, daemon, message, error):
    answer = service.send(ANN, message)
    assert json.loads(answer.strip(b"\0\n"))["error"] == error
    assert daemon.requests == []


def test_a_caller_who_says_nothing_is_answered_nothing(service, daemon):
    assert service.send(ANN, b"") == b""
    assert daemon.requests == []


def test_a_connection_is_good_for_one_try(service, daemon):
    calls = [{"method": "org.voiceauthd.proof.Prove", "parameters": {"password": word}} for word in ("x", ANNS)]
    answer = service.send(ANN, b"".join(json.dumps(call).encode() + b"\n" for call in calls))
    assert json.loads(answer) == WRONG
    assert daemon.requests == []


def test_a_caller_who_keeps_still_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(prove, "READ_SECONDS", 0.1)
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b'{"method":')
        with pytest.raises(TimeoutError):
            prove.answer(here, Decoder(prove.MAX_MESSAGE), "/nonexistent")


def test_whatever_is_raised_gives_no_proof(start, daemon):
    service = start("def boom(*_): raise RuntimeError(str(_))\nprove.ask_pam = boom")
    assert service.ask(ANN, ANNS)["error"] == UNAVAILABLE
    assert daemon.requests == []
    assert "RuntimeError" in service.log
    assert ANNS not in service.log


def test_pam_that_hangs_is_ended_and_gives_no_proof(room, start, daemon):
    room.service("voiceauthd", "auth required pam_exec.so /bin/sleep 20\n" + QUICK)
    service = start("prove.LIFE_SECONDS = 1")
    began = time.monotonic()
    call = json.dumps({"method": "org.voiceauthd.proof.Prove", "parameters": {"password": ANNS}}).encode()
    assert service.send(ANN, call + b"\n") == b""
    assert time.monotonic() - began < 10
    assert daemon.requests == []


def test_a_wrong_password_waits_as_long_as_pam_makes_it_wait(room, service):
    room.service("voiceauthd", QUICK.replace("nodelay", ""))
    began = time.monotonic()
    assert service.ask(ANN, "wrong") == WRONG
    assert time.monotonic() - began > 1.0


def test_the_log_has_neither_password_nor_proof(service):
    service.ask(ANN, ANNS)
    service.ask(ANN, "guess-4711")
    service.send(ANN, b'{"method":"org.voiceauthd.proof.Prove","parameters":{"guess-4711":"guess-4711"}}\n')
    log = service.log
    assert "gave a proof to ann" in log
    assert "wrong password for ann" in log
    assert not any(secret in log for secret in (ANNS, "guess-4711", "what the daemon made"))


def test_what_pam_starts_does_not_get_the_connection(room, service):
    """It would keep it open, and could answer."""
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
    """`entry` makes the rest of Ann's line from her hash."""
    file = room.folder / "shadow"
    lines = file.read_text().splitlines()
    file.write_text(
        "".join(f"ann:{entry(line.split(':')[1])}\n" if line.startswith("ann:") else f"{line}\n" for line in lines)
    )


def test_a_caller_sees_only_the_answer(service):
    """Nothing else of the service's own comes over the connection."""
    done = as_user(ANN, str(PYTHON), "-I", "-c", CALLER, str(service.path), given=b"garbage\n")
    assert done.stdout.count(b"\n") == 1
