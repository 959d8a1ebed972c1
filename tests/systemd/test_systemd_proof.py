"""Proofs on a whole machine: users with passwords enrol and delete their own voices; the model is a stub."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from container import Container
from installed import PYTHON, SECONDS_TO_READY, SOCKET, STUB, Caller, boot, call, call_as
from pam_room import hashed
from waiting import wait_until

DAEMON, PROOF = "/run/voiceauthd/socket", "/run/voiceauthd/proof"

ANN, BOB, NOBODYS = 1001, 1002, 1009
ANNS, BOBS = "correct horse", "staple, battery"

VOICES = "/opt/checkout/daemon/voiceauthd/demo/voices"
CONFIG = f"model: {{name: campplus}}\naudio: {{source: {VOICES}/ralph-1.flac}}\n"

UNIX = """\
auth [success=1 default=ignore] pam_unix.so nullok nodelay
auth requisite pam_deny.so
auth required pam_permit.so
"""
"""As in Debian, without the delay after a wrong password."""

FAILLOCK = """\
auth required pam_faillock.so preauth silent deny=1 unlock_time=600
auth sufficient pam_unix.so nodelay
auth [default=die] pam_faillock.so authfail deny=1 unlock_time=600
"""

ACCOUNT = "account required pam_unix.so\n"

ON_A_TERMINAL = """
import os, pty, select, sys
asked, *words = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(words[0], words)
said = b""
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    if b"assword of" in more:
        os.write(terminal, asked.encode() + b"\\n")
    said += more
sys.stdout.write(said.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""A program that runs a command on a terminal, and types the password whenever it is asked for."""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A booted container with the users ann and bob."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make passwords")
    people = (("ann", ANN, ANNS), ("bob", BOB, BOBS))
    days = "20000:0:99999:7:::"
    files = {
        "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
        + "".join(f"{name}:x:{uid}:{uid}::/nonexistent:/bin/sh\n" for name, uid, _ in people),
        "/etc/group": "root:x:0:\n" + "".join(f"{name}:x:{uid}:\n" for name, uid, _ in people),
        "/etc/shadow": f"root:*:{days}\n" + "".join(f"{name}:{hashed(word)}:{days}\n" for name, _, word in people),
        "/etc/pam.d/common-auth": UNIX,
        "/etc/pam.d/common-account": ACCOUNT,
    }
    container = boot(tmp_path_factory.mktemp("proof"), CONFIG, STUB, files)
    try:
        container.run("chmod", "0", "/etc/shadow")  # as in Fedora: even root needs a capability to read it
        yield container
    finally:
        container.close()


def ask_proof(container: Container, uid: int, password: str) -> dict[str, Any]:
    return call_as(container, uid, PROOF, "proof.Prove", password=password)


def enroll(container: Container, uid: int, name: str, **parameters: object) -> str | None:
    """The error of an enrolment that gets no audio."""
    parameters |= {"name": name, "source": "recordings", "timeout": 0.2}
    return call_as(container, uid, DAEMON, "Enroll", **parameters).get("error")


def voiceauth(container: Container, uid: int, password: str, *words: str) -> str:
    """The output of a command on a terminal, on which this password is typed."""
    environment = [
        "PYTHONPATH=/opt/checkout/daemon:/opt/packages",
        "LD_LIBRARY_PATH=/opt/python/lib",
        "HOME=/nonexistent",
        "TERM=dumb",
    ]
    command = [PYTHON, "-c", ON_A_TERMINAL, password, PYTHON, "-m", "voiceauthd.cli.main", *words]
    return container.run("env", *environment, *command, uid=uid, check=False)


def ready(container: Container) -> None:
    answers = lambda: (call(container, DAEMON, "Status") or {}).get("parameters", {}).get("ready")  # noqa: E731
    wait_until("the daemon is ready", answers, SECONDS_TO_READY)


def journal(container: Container) -> str:
    return container.run("journalctl", "--no-pager", "--output=cat")


def test_the_proof_socket_exists_and_is_roots(container):
    assert container.path(PROOF).is_socket()
    assert (container.path(PROOF).stat().st_uid, container.path(PROOF).stat().st_mode & 0o777) == (0, 0o666)


def test_only_the_callers_own_password_gives_a_proof(container):
    ready(container)
    given = ask_proof(container, ANN, ANNS)
    assert (len(given["parameters"]["proof"]) >= 32, given["parameters"]["expires"]) == (True, 60.0)
    for uid, password in ((ANN, BOBS), (ANN, "guess"), (BOB, ANNS)):
        assert ask_proof(container, uid, password) == {"error": "org.voiceauthd.proof.WrongPassword", "parameters": {}}
    for uid in (0, NOBODYS):
        assert ask_proof(container, uid, ANNS)["error"] == "org.voiceauthd.proof.Refused"


def test_a_proof_allows_one_enrolment_of_the_own_voice(container):
    ready(container)
    needed = "org.voiceauthd.ProofNeeded"
    assert enroll(container, ANN, "ann") == needed
    assert enroll(container, ANN, "ann", proof="guess") == needed
    proof = ask_proof(container, ANN, ANNS)["parameters"]["proof"]
    assert enroll(container, BOB, "bob", proof=proof) == needed  # this spends it
    assert enroll(container, ANN, "ann", proof=proof) == needed
    proof = ask_proof(container, ANN, ANNS)["parameters"]["proof"]
    assert enroll(container, ANN, "bob", proof=proof) == "org.varlink.service.PermissionDenied"
    assert enroll(container, ANN, "ann", proof=proof) == "org.voiceauthd.EnrolmentIncomplete"  # it was allowed
    assert enroll(container, ANN, "ann", proof=proof) == needed


def test_the_command_asks_for_the_password_enrols_and_deletes(container):
    ready(container)
    recordings = [f"{VOICES}/susan-{index}.flac" for index in range(1, 6)]
    denied = voiceauth(container, ANN, "guess", "enroll", "ann", *recordings)
    assert denied.count("Password of ann") == 3
    assert "wrong password, 3 times" in denied
    enrolled = voiceauth(container, ANN, ANNS, "enroll", "ann", *recordings)
    assert "enrolled ann" in enrolled, enrolled
    assert call(container, DAEMON, "ShowProfile", name="ann")["parameters"]["profile"]["owner_uid"] == ANN
    assert "may not" in voiceauth(container, BOB, BOBS, "profiles", "delete", "ann", "--yes")
    assert "deleted ann" in voiceauth(container, ANN, ANNS, "profiles", "delete", "ann", "--yes")


def test_neither_password_nor_proof_is_logged(container):
    proof = ask_proof(container, ANN, ANNS)["parameters"]["proof"]
    ask_proof(container, ANN, "guess-4711")
    log = journal(container) + "".join(
        file.read_text(errors="replace")
        for file in container.path("/var/lib/voiceauthd").rglob("*")
        if file.is_file() and file.suffix not in {".safetensors", ".profile"}
    )
    assert "gave a proof to ann" in log
    assert not any(secret in log for secret in (ANNS, "guess-4711", proof))


def test_the_process_that_checks_a_password_has_few_privileges(container):
    held = Caller(container, PROOF)
    try:
        unit = wait_until("the unit of the connection exists", lambda: instances(container) or None, 10)[0]
        pid = wait_until("its process runs", lambda: int(container.show(unit, "MainPID")) or None, 10)
        process = container.path(f"/proc/{pid}")
        wait_until("it has been executed", lambda: b"voiceauthd.login.prove" in (process / "cmdline").read_bytes(), 10)
        status = (process / "status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(facts["Uid"].split()) == {"0"}
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
        chown_and_dac_override = 0b11
        assert {int(facts[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd")} == {chown_and_dac_override}
        assert not list((process / "root" / "home").iterdir())
    finally:
        held.close()
    wait_until("it has ended", lambda: not instances(container), 10)


def instances(container: Container) -> list[str]:
    """The units of the open connections."""
    listed = container.run("systemctl", "list-units", "--plain", "--no-legend", "voiceauthd-proof@*")
    return [line.split()[0] for line in listed.splitlines()]


def test_guesses_are_counted_by_pam_if_it_is_configured_to(container):
    ready(container)
    container.write("/etc/pam.d/common-auth", FAILLOCK)
    try:
        assert "parameters" in ask_proof(container, BOB, BOBS)
        for password in ("guess", BOBS):  # after the guess, the right password is refused too
            assert ask_proof(container, BOB, password)["error"] == "org.voiceauthd.proof.WrongPassword"
        assert container.path("/run/faillock/bob").stat().st_uid == BOB
    finally:
        container.write("/etc/pam.d/common-auth", UNIX)


def test_the_number_of_waiting_connections_is_limited(container):
    holders = """
import select, socket, sys
held = []
for _ in range(6):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    held.append(s)
while len(select.select(held, [], [], 1)[0]) < 2:
    pass
print(len(select.select(held, [], [], 1)[0]))
"""
    # 2, or 4 if systemd limits those of a user; one more for each that has timed out after 10 s on a busy machine.
    assert 2 <= int(container.run(PYTHON, "-c", holders, PROOF, uid=ANN)) < 6
    wait_until("they have ended", lambda: not instances(container), 10)


def test_stopping_the_daemons_socket_removes_the_proof_socket(container):
    container.run("systemctl", "stop", SOCKET)
    assert not container.path(PROOF).exists()
    container.run("systemctl", "start", SOCKET)
    assert container.path(PROOF).is_socket()
    assert ask_proof(container, ANN, "guess")["error"] == "org.voiceauthd.proof.WrongPassword"
