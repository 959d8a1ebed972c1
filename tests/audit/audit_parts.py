"""Audit logs for tests to read and tamper with."""

from __future__ import annotations

import shutil
from pathlib import Path

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import Verdict, verify

SIZE = 1024
"""Maximum bytes of a file: three lines."""

ACCEPT = Entry("Verify", "accept", "match", 1000, "alice", 77, "alice", detail="unlock")


def log_of(folder: Path, lines: int, *, size: int = SIZE, files: int = 1000) -> Path:
    """Write a log with this many lines, and close it."""
    log = AuditLog(folder, size, files)
    log.open()
    for number in range(lines):
        log.write(Entry("Verify", "reject", "no_match", 1000 + number, f"user-{number}", number, "alice"))
    log.close()
    return folder


def files_of(folder: Path) -> list[Path]:
    """Return the files of the log, oldest first."""
    return sorted(folder.glob("audit-*.jsonl"))


def seqs(folder: Path) -> list[int]:
    return [line.seq for line in read(folder)]


def kinds(verdict: Verdict) -> set[str]:
    return {damage.kind for damage in verdict.damage}


def copied(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


def assert_whole(folder: Path) -> Verdict:
    verdict = verify(folder)
    assert verdict.damage == ()
    return verdict
