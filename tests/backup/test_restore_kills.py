"""A restore that is killed, or fails, at any system call: the old people are there or the new ones, and all usable."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from machine_parts import MODEL, everything, machine, saved, scoring_files, used_machine, voices

from voiceauthd.backup import swap
from voiceauthd.backup.contents import Contents
from voiceauthd.backup.places import Places
from voiceauthd.backup.restore import restore
from voiceauthd.errors import StorageError
from voiceauthd.scoring.backend import load_backend

SYSTEM_CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "rmdir", "mkdir", "close", "fchmod")

MAX_STEPS = 1000


def count_calls(monkeypatch: pytest.MonkeyPatch, at: Callable[[int, str], None]) -> None:
    """Call `at` with the number and the name of each system call before it is made."""
    count = 0

    def wrap(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            at(count - 1, name)
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, call)

    for name in SYSTEM_CALLS:
        wrap(os, name)
    wrap(fcntl, "flock")
    wrap(swap, "exchange")


def killed_at(step: int, contents: Contents, there: Places, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Restore in a child that is killed before system call number `step`. Return whether it was."""

    def kill(number: int, _name: str) -> None:
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            count_calls(monkeypatch, kill)
            restore(contents, there, replace=True, config=there.config)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize(("kind", "stride"), [("over another state", 1), ("onto an empty machine", 4)])
def test_killed_at_any_system_call_the_state_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stride: int
) -> None:
    here = used_machine(tmp_path / "a", "Anna", "ben")
    contents, new = saved(here), voices(here)
    start = tmp_path / "start"
    start.mkdir()
    old = voices(used_machine(start, "Anna", "carl", seed=7)) if kind[1] == "v" else {}
    seen = []
    for step in range(0, MAX_STEPS, stride):
        there = machine(tmp_path / f"b{step}")
        shutil.copytree(start, tmp_path / f"b{step}")
        shutil.copystat(start, tmp_path / f"b{step}")
        killed = killed_at(step, contents, there, monkeypatch)
        assert there.key_file.exists() or not old, "the key is never missing"
        now = voices(there)
        assert now in (old, new)
        load_backend(there.scoring, MODEL)
        if there.config is not None and there.config.exists() and now == old != {}:
            assert "seed 7" in there.config.read_text(), "the configuration changes after the profiles"
        seen.append(now == new)
        restore(contents, there, replace=True, config=there.config)
        assert voices(there) == new
        assert scoring_files(there) == scoring_files(here)
        assert not [path for path in everything(tmp_path / f"b{step}") if ".tmp" in path], "nothing is left behind"
        shutil.rmtree(tmp_path / f"b{step}")
        if not killed:
            break
    else:
        pytest.fail("it never finished")
    assert seen == sorted(seen), "from one step on the new state is there"
    assert seen.count(False) * stride > 50
    assert seen.count(True) * stride > 10


@pytest.mark.parametrize("replaces", [True, False])
def test_a_full_disk_at_any_system_call_leaves_the_state_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    here = used_machine(tmp_path / "a", "Anna", "ben")
    contents = saved(here)
    there = used_machine(tmp_path / "b", "carl", seed=7) if replaces else machine(tmp_path / "b")
    there.state.mkdir(0o700, parents=True, exist_ok=True)
    before = everything(tmp_path / "b")
    failed: set[str] = set()
    for step in range(MAX_STEPS):
        full = FullDisk(step)
        with monkeypatch.context() as patch:
            count_calls(patch, full.fail)
            problem = failure_of(contents, there)
        if full.failed is None:
            break
        assert problem is not None, full.failed
        assert problem.reason == "disk_full"
        assert "nothing was changed" in str(problem)
        assert everything(tmp_path / "b") == before, full.failed
        failed.add(full.failed)
    else:
        pytest.fail("it never finished")
    assert problem is None
    assert failed >= {"write", "fsync", "rename", "mkdir"} | ({"exchange"} if replaces else set())
    assert voices(there) == voices(here)


def failure_of(contents: Contents, there: Places) -> StorageError | None:
    try:
        restore(contents, there, replace=True, config=there.config)
    except StorageError as problem:
        return problem
    return None


class FullDisk:
    """Fails at one of the system calls that need space, once. `failed`: its name."""

    def __init__(self, step: int) -> None:
        self.failed: str | None = None
        self._left = step

    def fail(self, _number: int, name: str) -> None:
        if name not in {"write", "fsync", "rename", "link", "mkdir", "exchange"}:
            return
        self._left -= 1
        if self._left == -1:
            self.failed = name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_system_that_cannot_exchange_folders_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = saved(used_machine(tmp_path / "a", "Anna"))
    there = used_machine(tmp_path / "b", "carl", seed=7)
    before = everything(tmp_path / "b")
    real = swap.exchange

    def exchange(one: Path, other: Path) -> None:
        if other == there.scoring:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(one, other)

    monkeypatch.setattr(swap, "exchange", exchange)
    with pytest.raises(StorageError, match="move it away") as refusal:
        restore(contents, there, replace=True, config=there.config)
    assert str(there.scoring) in str(refusal.value)
    assert everything(tmp_path / "b") == before, "what had been swapped before is put back"
