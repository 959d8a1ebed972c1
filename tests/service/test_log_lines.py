"""What the daemon's log looks like: for a person, and for systemd's journal."""

from __future__ import annotations

import io
import logging
import os
import socket
from collections.abc import Iterator

import pytest

from voiceauthd.service.log_lines import JOURNAL_ONLY, configure_logging

log = logging.getLogger("voiceauthd.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("voiceauthd")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], root.level, ours.level = before


def write_some() -> None:
    log.info("ready")
    log.info("the last hash", extra=JOURNAL_ONLY)
    log.debug("too detailed")
    try:
        int("broken")
    except ValueError:
        log.exception("a defect")


def test_a_person_reads_levels_in_words_and_no_lines_for_the_journal() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    write_some()
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["voiceauthd: INFO: ready", "voiceauthd: ERROR: a defect"]
    assert "the last hash" not in stream.getvalue()


def test_the_journal_gets_a_syslog_level_before_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, journal = socket.socketpair()
    with ours, journal, ours.makefile("w") as stream:
        found = os.fstat(ours.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure_logging("info", stream)
        write_some()
        lines = journal.recv(1 << 16).decode().splitlines()
    assert lines[:3] == ["<6>ready", "<7>the last hash", "<3>a defect"]
    assert lines[-1] == "<3>ValueError: invalid literal for int() with base 10: 'broken'"
    assert all(line.startswith("<3>") for line in lines[2:])


def test_another_programs_journal_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with open(os.devnull, "w", encoding="utf-8") as stream:
        configure_logging("info", stream)
        handler = logging.getLogger().handlers[0]
        assert handler.format(logging.makeLogRecord({"msg": "x", "levelname": "INFO"})) == "voiceauthd: INFO: x"
