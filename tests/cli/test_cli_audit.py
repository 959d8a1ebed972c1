"""`voiceauth audit`: the log as lines and as objects, filtered, followed and verified."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_daemon import voiceauth_here

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.cli.main import main
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.audit_query import moment

ENTRIES = (
    Entry("start", "done"),
    Entry("Verify", "accept", "match", 1000, "alice", 11, "alice", detail="unlock"),
    Entry("Verify", "denied", "denied", 33, "www-data", 12, "alice", 7),
    Entry("RenameProfile", "done", "", 0, "root", 13, "bob", detail="rob"),
    Entry("Verify", "reject", "no_match", 1001, None, 14, "bob", detail="unlock"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "audit", 65536, 4)
    for entry in ENTRIES:
        log.write(entry)
    log.close()
    return tmp_path / "audit"


def shown(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> list[str]:
    assert main(["audit", "--folder", str(folder), *words]) == ExitCode.OK
    return capsys.readouterr().out.splitlines()


def chosen(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> list[int]:
    """The numbers of the lines shown."""
    return [json.loads(line)["seq"] for line in shown(capsys, folder, "--json", *words)]


def test_a_line_has_time_user_event_voice_outcome_and_reason(capsys, folder: Path) -> None:
    lines = shown(capsys, folder)
    today = datetime.now(UTC).strftime("%Y-%m-")
    assert all(line.startswith(today) for line in lines)
    words = [line.split()[2:] for line in lines]
    assert words == [
        ["the", "daemon", "start", "-", "done"],
        ["alice", "(1000)", "Verify", "alice", "accept", "match", "[unlock]"],
        ["www-data", "(33)", "Verify", "alice", "denied", "denied", "7", "times"],
        ["root", "(0)", "RenameProfile", "bob", "done", "[rob]"],
        ["?", "(1001)", "Verify", "bob", "reject", "no_match", "[unlock]"],
    ]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("--last", "2"), [4, 5]),
        (("--event", "verify"), [2, 3, 5]),
        (("--outcome", "denied"), [3]),
        (("--name", "BOB"), [4, 5]),
        (("--user", "www-data"), [3]),
        (("--user", "1001"), [5]),
        (("--since", "1h"), [1, 2, 3, 4, 5]),
        (("--since", "2020-01-01", "--until", "2020-01-02T03:04:05Z"), []),
    ],
)
def test_filters_select_lines(capsys, folder: Path, words: tuple[str, ...], numbers: list[int]) -> None:
    assert chosen(capsys, folder, *words) == numbers


def test_without_a_time_only_the_last_twenty_lines_are_shown(capsys, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 2048, 100)
    for _ in range(30):
        log.write(ENTRIES[0])
    log.close()
    assert chosen(capsys, tmp_path / "audit") == list(range(11, 31))
    assert chosen(capsys, tmp_path / "audit", "--since", "1d") == list(range(1, 31))


def test_an_object_is_the_line_as_written(capsys, folder: Path) -> None:
    (file,) = folder.glob("*.jsonl")
    assert [json.loads(line) for line in shown(capsys, folder, "--json")] == [
        json.loads(line) for line in file.read_text().splitlines()
    ]


def test_a_hostile_name_cannot_control_the_terminal(capsys, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 65536, 4)
    evil = "\x1b[2J\r\n\x9b31m\u202e\ud800"
    log.write(Entry(evil, evil, evil, 1, evil, 2, evil, detail=evil))
    log.close()
    for words in ((), ("--json",)):
        (line,) = shown(capsys, tmp_path / "audit", *words)
        assert line.isprintable()
    assert json.loads(line)["name"] == evil


def test_an_intact_log_is_reported_with_its_last_hash(capsys, folder: Path) -> None:
    last = list(read(folder))[-1]
    lines = shown(capsys, folder, "--verify")
    assert lines == ["whole: 5 lines, kept from line 1 on, in 1 file", f"the last: 5:{last.hash}"]
    (line,) = shown(capsys, folder, "--verify", "--json")
    verdict = json.loads(line)
    assert (verdict["whole"], verdict["lines"], verdict["first"], verdict["last"]) == (True, 5, 1, 5)
    assert (verdict["hash"], verdict["damage"], verdict["torn"]) == (last.hash, [], [])
    assert shown(capsys, folder, "--verify", "--anchor", f"5:{last.hash}") == lines


def test_damage_is_reported_with_its_kind_file_and_line(capsys, folder: Path) -> None:
    (file,) = folder.glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"denied"', b'"accept"'))
    assert main(["audit", "--folder", str(folder), "--verify"]) == ExitCode.STORAGE
    printed = capsys.readouterr().out
    assert f"{file}:3: changed: " in printed
    assert "damaged" in printed
    assert main(["audit", "--folder", str(folder), "--verify", "--json"]) == ExitCode.STORAGE
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["whole"] is False
    assert [(one["kind"], one["file"], one["line"]) for one in verdict["damage"]] == [("changed", file.name, 3)]


def test_an_anchor_detects_a_log_that_was_rewritten(capsys, folder: Path) -> None:
    words = ["audit", "--folder", str(folder), "--verify", "--anchor"]
    assert main([*words, f"3:{'0' * 64}"]) == ExitCode.STORAGE
    assert "anchor: line 3 has a different hash" in capsys.readouterr().out
    assert main([*words, f"77:{'0' * 64}"]) == ExitCode.STORAGE
    assert "there is no line 77" in capsys.readouterr().out


def test_a_torn_line_is_reported_and_is_not_damage(capsys, folder: Path) -> None:
    (file,) = folder.glob("*.jsonl")
    with file.open("ab") as stream:
        stream.write(b'{"seq":6,')
    lines = shown(capsys, folder, "--verify")
    assert lines[0] == f"{file}:6: torn by a crash or a full disk; no damage"
    assert lines[1].startswith("whole: 5 lines")


def test_an_empty_log_is_intact(capsys, tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit", 65536, 4).open()
    assert shown(capsys, tmp_path / "audit", "--verify") == ["nothing is recorded yet"]
    assert shown(capsys, tmp_path / "audit") == []


def test_the_default_folder_is_the_configured_one(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"state: {tmp_path}\n")
    environment = {"VOICEAUTHD_CONFIG": str(config)}
    result = voiceauth_here("audit", "--verify", environment=environment)
    assert (result.returncode, result.stdout.splitlines()[0][:5]) == (ExitCode.OK, "whole")
    config.write_text(f"profiles: {tmp_path}/profiles\n")
    assert voiceauth_here("audit", "--verify", environment=environment).returncode == ExitCode.OK
    config.write_text(f"state: {tmp_path}/elsewhere\n")
    result = voiceauth_here("audit", environment=environment)
    assert result.returncode == ExitCode.STORAGE
    assert f"there is no audit log at {tmp_path}/elsewhere/audit" in result.stderr


def test_follow_shows_lines_written_later(folder: Path) -> None:
    command = [sys.executable, "-m", "voiceauthd.cli.main", "audit", "--folder", str(folder), "--follow", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    try:
        assert [json.loads(process.stdout.readline())["seq"] for _ in ENTRIES] == [1, 2, 3, 4, 5]
        log = AuditLog(folder, 100, 9)  # starts the next file
        log.write(ENTRIES[1])
        assert json.loads(process.stdout.readline())["seq"] == 6
    finally:
        process.terminate()
        process.wait()
        log.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "yesterday"), "neither a time"),
        (("--anchor", "5:abc", "--verify"), "SEQ:HASH"),
        (("--anchor", f"5:{'0' * 64}"), "--verify"),
        (("--last", "0"), "whole number"),
    ],
)
def test_invalid_arguments_are_refused(words: tuple[str, ...], said: str) -> None:
    result = voiceauth_here("audit", *words)
    assert result.returncode == ExitCode.USAGE
    assert said in result.stderr


def test_a_moment_is_a_date_a_time_or_a_duration_ago() -> None:
    assert moment("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("2026-01-31T12:00+01:00") == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert moment("2026-01-31").astimezone().hour == 0
    for text, seconds in (("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800), ("1w", 604_800)):
        assert abs(moment(text) - datetime.fromtimestamp(time.time() - seconds, UTC)) < timedelta(seconds=5)
