"""The audit log after crashes and disk failures: acknowledged lines are there, and the chain is intact."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from audit_parts import ACCEPT, SIZE, assert_whole, copied, files_of, log_of, seqs

from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify
from voiceauthd.errors import StorageError

forking = multiprocessing.get_context("fork")


def require_continues(folder: Path, size: int = SIZE) -> None:
    """The next writer can add two lines, and the log is intact."""
    log_of(folder, 2, size=size)
    assert_whole(folder)


# Truncated lines


@pytest.mark.parametrize("lines", [0, 1, 3])  # a file has three lines: the fourth begins another
def test_a_line_truncated_at_any_byte_counts_as_a_crash_and_not_as_tampering(tmp_path: Path, lines: int) -> None:
    folder = log_of(tmp_path / "audit", lines)
    head = (folder / "head").read_bytes()
    log_of(folder, 1)
    last = files_of(folder)[-1]
    raw = last.read_bytes()
    start = raw[:-1].rfind(b"\n") + 1
    for end in [*range(start, start + 40), *range(start + 40, len(raw), 17), len(raw) - 1, len(raw)]:
        torn = copied(folder, tmp_path / "torn")
        (torn / last.name).write_bytes(raw[:end])
        (torn / "head").write_bytes(head)
        before = assert_whole(torn)
        require_continues(torn)
        after = verify(torn)
        whole = end >= len(raw) - 1
        assert after.last == lines + whole + 2 + (start < end and not whole)
        assert len(after.torn) == (start < end and not whole)
        assert len(before.torn) == len(after.torn)
        assert (torn / last.name).read_bytes().startswith(raw[:end])


def test_changing_a_truncated_line_is_detected(tmp_path: Path) -> None:
    folder = log_of(tmp_path / "audit", 1)
    (file,) = files_of(folder)
    with file.open("ab") as stream:
        stream.write(b'{"seq":2,"time":"20')
    require_continues(folder)
    assert [line.entry.event for line in read(folder)] == ["Verify", "torn", "Verify", "Verify"]
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b'{"seq":2,"time":"20\n', b'{"seq":2,"time":"21\n'))
    assert [damage.kind for damage in verify(folder).damage] == ["changed"]
    file.write_bytes(raw.replace(b'{"seq":2,"time":"20\n', b""))
    assert [damage.kind for damage in verify(folder).damage] == ["removed"]


def test_a_head_that_is_one_line_behind_counts_as_a_crash(tmp_path: Path) -> None:
    folder = log_of(tmp_path / "audit", 4)
    head = (folder / "head").read_bytes()
    log_of(folder, 1)
    (folder / "head").write_bytes(head)
    assert_whole(folder)
    require_continues(folder)
    assert seqs(folder) == list(range(1, 8))


# Killed processes


def write_until_killed(folder: Path, acknowledged: Connection) -> None:
    log = AuditLog(folder, SIZE, 5)
    number = 0
    while True:
        number += 1
        log.write(Entry("Verify", "accept", pid=number))
        acknowledged.send(number)


def kill_while_writing(folder: Path, rng: random.Random) -> int:
    """Kill a writer at a random moment; return the last line that it had acknowledged."""
    receiver, sender = forking.Pipe(duplex=False)
    writer = forking.Process(target=write_until_killed, args=(folder, sender))
    writer.start()
    sender.close()
    last = receiver.recv()
    time.sleep(rng.uniform(0.0, 0.02))
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    try:
        while True:
            last = receiver.recv()
    except EOFError:
        return last


@pytest.mark.parametrize("rounds", [25, pytest.param(1500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_writer_killed_at_any_moment_leaves_an_intact_log(tmp_path: Path, rounds: int) -> None:
    folder, rng = tmp_path / "audit", random.Random(4)
    lines = 0
    for _ in range(rounds):
        acknowledged = kill_while_writing(folder, rng)
        verdict = assert_whole(folder)
        assert verdict.last is not None
        # The last line may have been written without being acknowledged.
        assert verdict.last - lines in (acknowledged, acknowledged + 1)
        lines = verdict.last
    assert lines > rounds


# Full disks


def write_with_limit(folder: Path, limit: int, results: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    log = AuditLog(folder, 65536, 5)
    outcomes = []
    for _ in range(6):
        try:
            log.write(ACCEPT)
            outcomes.append("written")
        except StorageError as problem:
            outcomes.append(problem.reason)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.write(ACCEPT)
    results.send(outcomes)


@pytest.mark.parametrize("limit", [700, 1000])
def test_a_disk_that_fills_up_within_a_line_does_not_break_the_chain(tmp_path: Path, limit: int) -> None:
    receiver, sender = forking.Pipe(duplex=False)
    writer = forking.Process(target=write_with_limit, args=(tmp_path / "audit", limit, sender))
    writer.start()
    outcomes = receiver.recv()
    writer.join()
    written = outcomes.index("disk_full")
    assert 0 < written < 6
    assert outcomes == ["written"] * written + ["disk_full"] * (6 - written)
    verdict = assert_whole(tmp_path / "audit")
    assert len(verdict.torn) == 1  # part of the line had been written
    assert verdict.last == written + 2  # including the line that records it
    require_continues(tmp_path / "audit", 65536)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_log_and_free_space_lets_it_continue(small_disk: Path) -> None:
    folder = small_disk / "audit"
    log = AuditLog(folder, 1024 * 1024, 4)

    def fill() -> int:
        """Write up to 1,000 lines, and return how many fitted."""
        return sum(_written(log, ACCEPT) for _ in range(1000))

    written = fill()
    assert 10 < written < 1000
    with pytest.raises(StorageError) as full:
        log.write(ACCEPT)
    assert full.value.reason == "disk_full"
    assert_whole(folder)
    assert len([line for line in read(folder) if line.entry == ACCEPT]) == written
    log.close()
    log.open()  # a daemon that starts now can still find the end of the log
    subprocess.run(["mount", "-o", "remount,size=256k", str(small_disk)], check=True)
    for _ in range(3):
        log.write(ACCEPT)
    log.close()
    assert_whole(folder)
    assert len([line for line in read(folder) if line.entry == ACCEPT]) == written + 3


# Failing system calls


class FailingCall:
    """Replaces a system call: the n-th call fails, with `half` after part of the data was written."""

    def __init__(self, call: Callable[..., object], at: int, number: int, *, half: bool = False) -> None:
        self._call, self._at, self._number, self._half = call, at, number, half
        self.calls = 0

    def __call__(self, *arguments: object, **named: object) -> object:
        self.calls += 1
        if self.calls == self._at:
            if self._half:
                file, data = arguments
                self._call(file, data[: len(data) // 2])  # type: ignore[index, arg-type]
            raise OSError(self._number, os.strerror(self._number))
        return self._call(*arguments, **named)


@pytest.mark.parametrize(
    ("call", "number", "half"),
    [
        ("write", errno.ENOSPC, False),
        ("write", errno.ENOSPC, True),
        ("fsync", errno.EIO, False),
        ("rename", errno.EIO, False),
        ("open", errno.ENOSPC, False),
        ("unlink", errno.EPERM, False),
    ],
)
def test_a_system_call_that_fails_once_anywhere_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, half: bool, number: int
) -> None:
    real = getattr(os, call)
    for at in range(1, 100):
        folder = tmp_path / f"audit-{at}"
        failing = FailingCall(real, at, number, half=half)
        log = AuditLog(folder, SIZE, 2)
        monkeypatch.setattr(os, call, failing)
        written = [_written(log, Entry("Verify", "accept", pid=pid)) for pid in range(1, 8)]
        monkeypatch.setattr(os, call, real)
        log.close()
        assert written.count(False) <= 1
        verdict = assert_whole(folder)
        found = [line.entry.pid for line in read(folder) if line.entry.event == "Verify"]
        assert found == sorted(found)
        first = found[0]  # earlier lines were in a file that has been removed
        assert [pid for pid in range(first, 8) if written[pid - 1] and pid not in found] == []
        assert verdict.files <= 3
        require_continues(folder)
        if failing.calls < at:
            return
    raise AssertionError("more calls than expected")


def _written(log: AuditLog, entry: Entry) -> bool:
    try:
        log.write(entry)
    except StorageError:
        return False
    return True
