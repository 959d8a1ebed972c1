"""A machine with users who have passwords: with the own one they may enrol and delete their voice, with another not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from box import Box, wait_until
from installed import PYTHON, SECONDS_TO_READY, SOCKET, Caller, boot, call, call_as
from pam_room import hashed

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
"""As Debian has it, less the wait after a wrong password."""

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
"""Runs a command on a terminal, and types the password whenever it is asked for."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A booted box with the users ann and bob."""
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
    box = boot(tmp_path_factory.mktemp("proof"), CONFIG, files=files)
    try:
        box.run("chmod", "0", "/etc/shadow")  # as Fedora has it: not even root may read it by its mode
        box.run("chown", "-R", "voiceauthd:", "/var/lib/voiceauthd/models")
        yield box
    finally:
        box.close()


def ask_proof(box: Box, uid: int, password: str) -> dict[str, Any]:
    return call_as(box, uid, PROOF, "proof.Prove", password=password)


def enroll(box: Box, uid: int, name: str, **parameters: object) -> str | None:
    """The error of an enrolment to which no sound comes."""
    parameters |= {"name": name, "source": "recordings", "timeout": 0.2}
    return call_as(box, uid, DAEMON, "Enroll", **parameters).get("error")


def voiceauth(box: Box, uid: int, password: str, *words: str) -> str:
    """What the command printed on a terminal, on which this password is typed, and its exit code."""
    environment = [
        "PYTHONPATH=/opt/checkout/daemon:/opt/packages",
        "LD_LIBRARY_PATH=/opt/python/lib",
        "HOME=/nonexistent",
        "TERM=dumb",
    ]
    command = [PYTHON, "-c", ON_A_TERMINAL, password, PYTHON, "-m", "voiceauthd.cli.main", *words]
    return box.run("env", *environment, *command, uid=uid, check=False)


def ready(box: Box) -> None:
    answers = lambda: (call(box, DAEMON, "Status") or {}).get("parameters", {}).get("ready")  # noqa: E731
    wait_until("the daemon is ready", answers, SECONDS_TO_READY)


def journal(box: Box) -> str:
    return box.run("journalctl", "--no-pager", "--output=cat")


def test_the_socket_is_there_and_is_roots(box):
    assert box.path(PROOF).is_socket()
    assert (box.path(PROOF).stat().st_uid, box.path(PROOF).stat().st_mode & 0o777) == (0, 0o666)


def test_only_the_own_password_makes_a_proof(box):
    ready(box)
    given = ask_proof(box, ANN, ANNS)
    assert (len(given["parameters"]["proof"]) >= 32, given["parameters"]["expires"]) == (True, 60.0)
    for uid, password in ((ANN, BOBS), (ANN, "guess"), (BOB, ANNS)):
        assert ask_proof(box, uid, password) == {"error": "org.voiceauthd.proof.WrongPassword", "parameters": {}}
    for uid in (0, NOBODYS):
        assert ask_proof(box, uid, ANNS)["error"] == "org.voiceauthd.proof.Refused"


def test_a_proof_opens_the_own_voice_once_and_no_other(box):
    ready(box)
    needed = "org.voiceauthd.ProofNeeded"
    assert enroll(box, ANN, "ann") == needed
    assert enroll(box, ANN, "ann", proof="guess") == needed
    proof = ask_proof(box, ANN, ANNS)["parameters"]["proof"]
    assert enroll(box, BOB, "bob", proof=proof) == needed  # and it is spent
    assert enroll(box, ANN, "ann", proof=proof) == needed
    proof = ask_proof(box, ANN, ANNS)["parameters"]["proof"]
    assert enroll(box, ANN, "bob", proof=proof) == "org.varlink.service.PermissionDenied"
    assert enroll(box, ANN, "ann", proof=proof) == "org.voiceauthd.EnrolmentIncomplete"  # it listened
    assert enroll(box, ANN, "ann", proof=proof) == needed


def test_the_command_asks_for_the_password_enrols_and_deletes(box):
    ready(box)
    recordings = [f"{VOICES}/susan-{index}.flac" for index in range(1, 6)]
    denied = voiceauth(box, ANN, "guess", "enroll", "ann", *recordings)
    assert denied.count("Password of ann") == 3
    assert "wrong password, 3 times" in denied
    enrolled = voiceauth(box, ANN, ANNS, "enroll", "ann", *recordings)
    assert "enrolled ann" in enrolled, enrolled
    assert call(box, DAEMON, "ShowProfile", name="ann")["parameters"]["profile"]["owner_uid"] == ANN
    assert "may not" in voiceauth(box, BOB, BOBS, "profiles", "delete", "ann", "--yes")
    assert "deleted ann" in voiceauth(box, ANN, ANNS, "profiles", "delete", "ann", "--yes")


def test_neither_password_nor_proof_is_in_the_log(box):
    proof = ask_proof(box, ANN, ANNS)["parameters"]["proof"]
    ask_proof(box, ANN, "guess-4711")
    log = journal(box) + "".join(
        file.read_text(errors="replace")
        for file in box.path("/var/lib/voiceauthd").rglob("*")
        if file.is_file() and file.suffix not in {".safetensors", ".profile"}
    )
    assert "gave a proof to ann" in log
    assert not any(secret in log for secret in (ANNS, "guess-4711", proof))


def test_what_is_given_a_password_has_few_of_roots_privileges(box):
    held = Caller(box, PROOF)
    try:
        unit = wait_until("it waits for the call", lambda: instances(box) or None, 10)[0]
        pid = wait_until("its process runs", lambda: int(box.show(unit, "MainPID")) or None, 10)
        process = box.path(f"/proc/{pid}")
        wait_until("it is confined", lambda: b"voiceauthd.login.prove" in (process / "cmdline").read_bytes(), 10)
        status = (process / "status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(facts["Uid"].split()) == {"0"}
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
        chown_and_dac_override = 0b11
        assert {int(facts[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd")} == {chown_and_dac_override}
        assert not list((process / "root" / "home").iterdir())
    finally:
        held.close()
    wait_until("it has gone", lambda: not instances(box), 10)


def instances(box: Box) -> list[str]:
    """The units of the connections that are open now."""
    listed = box.run("systemctl", "list-units", "--plain", "--no-legend", "voiceauthd-proof@*")
    return [line.split()[0] for line in listed.splitlines()]


def test_guesses_are_counted_by_pam_where_it_does_so(box):
    ready(box)
    box.write("/etc/pam.d/common-auth", FAILLOCK)
    try:
        assert "parameters" in ask_proof(box, BOB, BOBS)
        for password in ("guess", BOBS):  # the right one comes too late
            assert ask_proof(box, BOB, password)["error"] == "org.voiceauthd.proof.WrongPassword"
        assert box.path("/run/faillock/bob").stat().st_uid == BOB
    finally:
        box.write("/etc/pam.d/common-auth", UNIX)


def test_no_more_than_a_few_wait_at_a_time(box):
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
    # 2, or 4 where systemd counts those of a user; one more for each that has waited its 10 s on a busy machine.
    assert 2 <= int(box.run(PYTHON, "-c", holders, PROOF, uid=ANN)) < 6
    wait_until("they have gone", lambda: not instances(box), 10)


def test_with_the_daemons_socket_it_goes(box):
    box.run("systemctl", "stop", SOCKET)
    assert not box.path(PROOF).exists()
    box.run("systemctl", "start", SOCKET)
    assert box.path(PROOF).is_socket()
    assert ask_proof(box, ANN, "guess")["error"] == "org.voiceauthd.proof.WrongPassword"
