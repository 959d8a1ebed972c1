"""Doctor's checks of the key and of the audit log."""

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


def test_before_the_first_start_both_may_be_missing(machine: Machine) -> None:
    assert outcome(check_key(machine)) == outcome(check_audit(machine)) == ("ok", ExitCode.OK)


def test_a_key_that_others_may_read_fails_and_is_never_shown(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "profiles.key"
    load_keys(file, {})
    assert outcome(check_key(machine)) == ("ok", ExitCode.OK)
    for mode in (0o640, 0o602):
        file.chmod(mode)
        check = check_key(machine)
        assert outcome(check) == ("fail", ExitCode.STORAGE)
        assert "rekey" in check.fix
        assert file.read_text().split()[1] not in str(check)


def test_a_link_instead_of_the_key_fails(machine: Machine, tmp_path: Path) -> None:
    load_keys(tmp_path / "elsewhere.key", {})
    (tmp_path / "profiles.key").symlink_to(tmp_path / "elsewhere.key")
    assert outcome(check_key(machine)) == ("fail", ExitCode.STORAGE)


def test_a_changed_audit_log_fails(machine: Machine, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 65536, 4)
    log.open()
    for outcome_of in ("reject", "accept"):
        log.write(Entry("Verify", outcome_of, name="alice"))
    log.close()
    assert outcome(check_audit(machine)) == ("ok", ExitCode.OK)
    (file,) = (tmp_path / "audit").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"reject"', b'"accept"'))
    assert outcome(check_audit(machine)) == ("fail", ExitCode.STORAGE)
