"""What `voiceauth doctor` finds of the key and of the audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.config.schema import Config
from voiceauthd.doctor.check import Check, Machine
from voiceauthd.doctor.check_state import check_audit, check_key
from voiceauthd.errors import ExitCode
from voiceauthd.profiles.keys import load_keys


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    tmp_path.chmod(0o700)
    return Machine(Config(state=tmp_path), None, str(tmp_path / "socket"))


def outcome(check: Check) -> tuple[str, ExitCode]:
    return check.state, check.code


def test_a_machine_before_its_first_start_has_neither(machine: Machine) -> None:
    assert outcome(check_key(machine)) == outcome(check_audit(machine)) == ("ok", ExitCode.OK)


def test_a_key_that_others_may_read_is_told_and_never_shown(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "profiles.key"
    load_keys(file, {})
    assert outcome(check_key(machine)) == ("ok", ExitCode.OK)
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        check = check_key(machine)
        assert outcome(check) == ("fail", ExitCode.STORAGE)
        assert "rekey" in check.fix
        assert file.read_text().split()[1] not in str(check)


def test_a_link_in_the_place_of_the_key_is_told(machine: Machine, tmp_path: Path) -> None:
    load_keys(tmp_path / "elsewhere.key", {})
    (tmp_path / "profiles.key").symlink_to(tmp_path / "elsewhere.key")
    assert outcome(check_key(machine)) == ("fail", ExitCode.STORAGE)


def test_an_audit_log_that_was_changed_is_told(machine: Machine, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 65536, 4)
    log.open()
    for outcome_of in ("reject", "accept"):
        log.write(Entry("Verify", outcome_of, name="alice"))
    log.close()
    assert outcome(check_audit(machine)) == ("ok", ExitCode.OK)
    (file,) = (tmp_path / "audit").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"reject"', b'"accept"'))
    assert outcome(check_audit(machine)) == ("fail", ExitCode.STORAGE)
