"""Proofs of the owner's password, from the proof socket to the daemon, with real users, passwords and PAM."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_audio import takes
from daemon_process import QUICK_ENROLMENT, DaemonProcess, merged
from pam_room import PamRoom, pam_room  # noqa: F401  a fixture is used by its name
from proof_room import (  # noqa: F401  a fixture is used by its name
    ANN,
    ANNS,
    BOB,
    BOBS,
    STRANGER,
    ProofService,
    call_as,
    furnish,
    sockets,
    what_is_missing,
)

DENIED = "org.varlink.service.PermissionDenied"
NEEDED = "org.voiceauthd.ProofNeeded"
LISTENED = "org.voiceauthd.EnrolmentIncomplete"


class Machine:
    """The daemon and the proof service, with the same accounts."""

    def __init__(self, daemon: DaemonProcess, service: ProofService) -> None:
        self.daemon, self.service = daemon, service

    def error(self, uid: int, method: str, /, **parameters: object) -> str | None:
        return call_as(uid, self.daemon.socket, method, **parameters).get("error")

    def enroll(self, uid: int, name: str, **parameters: object) -> str | None:
        """The error of an enrolment that gets no audio."""
        return self.error(uid, "Enroll", name=name, source="recordings", timeout=0.2, **parameters)


@pytest.fixture
def machine(pam_room: PamRoom, sockets: Path) -> Iterator[Machine]:  # noqa: F811  the fixtures
    """Ann and Bob have passwords, and nobody is enrolled."""
    if missing := what_is_missing():
        pytest.skip(missing)
    furnish(pam_room)
    stub = Path(__file__).with_name("daemon_stub.py")
    command = pam_room.command(sys.executable, str(stub), str(sockets), "voiceauthd")
    settings = merged(QUICK_ENROLMENT, {"speech": {"confirm": False}})
    with DaemonProcess(sockets, settings, command=command, with_audio=False) as daemon:
        daemon.await_ready()
        service = ProofService(pam_room, daemon.socket, sockets / "proof")
        yield Machine(daemon, service)
        service.close()


def test_a_password_allows_its_user_one_change_of_their_own_voice(machine: Machine) -> None:
    service = machine.service
    assert machine.enroll(ANN, "ann") == NEEDED
    assert machine.enroll(ANN, "ann", proof=service.proof(ANN, ANNS)) == LISTENED

    machine.daemon.enroll("ann", takes("Ralph"))
    assert machine.enroll(ANN, "ann", mode="replace") == NEEDED
    for method in ("ExportProfile", "DeleteProfile"):
        assert machine.error(ANN, method, name="ann") == NEEDED
        assert machine.error(ANN, method, name="ann", proof="guess") == NEEDED
        proof = service.proof(ANN, ANNS)
        assert machine.error(ANN, method, name="ann", proof=proof) is None
        assert machine.error(ANN, method, name="ann", proof=proof) == NEEDED
    assert machine.daemon.names() == []


def test_another_password_or_another_users_proof_is_refused(machine: Machine) -> None:
    service = machine.service
    machine.daemon.enroll("ann", takes("Ralph"))
    for uid, password in ((ANN, "guess"), (ANN, BOBS), (BOB, ANNS)):
        assert service.ask(uid, password) == {"error": "org.voiceauthd.proof.WrongPassword", "parameters": {}}

    anns, bobs = service.proof(ANN, ANNS), service.proof(BOB, BOBS)
    assert machine.error(BOB, "DeleteProfile", name="ann", proof=anns) == DENIED
    assert machine.error(BOB, "DeleteProfile", name="ann", proof=bobs) == DENIED
    assert machine.error(ANN, "DeleteProfile", name="ann", proof=bobs) == NEEDED
    assert machine.error(STRANGER, "DeleteProfile", name="ann", proof=anns) == DENIED
    assert machine.error(ANN, "DeleteProfile", name="ann", proof=anns) is None


def test_only_root_vouches(machine: Machine) -> None:
    for uid in (ANN, STRANGER):
        assert machine.error(uid, "Vouch", uid=ANN) == DENIED
    assert machine.enroll(ANN, "ann", proof=machine.daemon.ask("Vouch", uid=ANN)["proof"]) == LISTENED


def test_proofs_and_passwords_are_never_logged_but_who_got_one_is(machine: Machine) -> None:
    proof = machine.service.proof(ANN, ANNS)
    machine.service.ask(ANN, "guess-4711")
    assert machine.enroll(BOB, "ann", proof=proof) == DENIED
    assert machine.enroll(ANN, "ann", proof=proof) == LISTENED
    written = [file.read_text(encoding="utf-8") for file in (machine.daemon.folder / "audit").iterdir()]
    audit = "".join(written)
    assert '"Vouch"' in audit
    assert str(ANN) in audit
    for text in (audit, machine.daemon.log.read_text(), machine.service.log):
        assert not any(secret in text for secret in (proof, ANNS, "guess-4711"))
