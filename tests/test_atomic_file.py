"""Files are old or new, never half, whatever fails and whenever the process is killed."""

from __future__ import annotations

import errno
import os
import signal
import stat
from functools import partial
from pathlib import Path

import pytest

from voiceauthd.atomic_file import (
    NotDurableError,
    give_to_owner_of,
    make_folder,
    remove_file,
    remove_temporaries,
    temporary_name,
    write_file,
)

OLD, NEW = b"old\n", b"new" * 1000

SYSTEM_CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "close")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_made_and_replaced_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"", OLD, NEW):
        write_file(path, data)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_failure_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_file(file, NEW)
    monkeypatch.undo()
    assert file.read_bytes() == OLD
    assert os.listdir(file.parent) == ["file"]


def test_a_folder_that_cannot_be_flushed_is_reported_with_the_new_file_in_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda each: fail() if stat.S_ISDIR(os.fstat(each).st_mode) else fsync(each))
    with pytest.raises(NotDurableError, match="No space left"):
        write_file(file, NEW)
    assert file.read_bytes() == NEW
    with pytest.raises(NotDurableError):
        remove_file(file)
    assert os.listdir(file.parent) == []


def test_a_disk_that_takes_part_of_a_write_gets_the_rest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda each, data: write(each, bytes(data[:100])))
    write_file(file, NEW)
    assert file.read_bytes() == NEW


@pytest.mark.parametrize("overwrite", [True, False])
def test_killed_before_any_system_call_the_file_is_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    path = tmp_path / "file"
    before = OLD if overwrite else None
    for step in range(50):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        child = os.fork()
        if child == 0:
            kill_before(step, monkeypatch)
            write_file(path, NEW, overwrite=overwrite)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert (path.read_bytes() if path.exists() else None) in (before, NEW)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert status == 0, "never finished"
    assert path.read_bytes() == NEW
    assert step >= 8, "these system calls do not go through os"


def kill_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill this process before system call number `step`, in the middle of it if it is a write."""
    calls = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            if calls == step:
                if name == "write":
                    real(arguments[0], NEW[:100])
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, call)

    for name in SYSTEM_CALLS:
        wrap(name)


@pytest.mark.parametrize("kind", ["file", "link to nothing", "appears during the call"])
def test_without_overwrite_nothing_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "file":
        path.write_bytes(OLD)
    elif kind == "link to nothing":
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(FileExistsError):
        write_file(path, NEW, overwrite=False, check=lambda _: path.write_bytes(OLD) if kind[0] == "a" else None)
    assert path.is_symlink() if kind[0] == "l" else path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_a_symbolic_link_is_replaced_and_not_followed(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    write_file(link, NEW)
    assert file.read_bytes() == OLD
    assert not link.is_symlink()
    remove_file(link)
    remove_file(link)
    assert os.listdir(file.parent) == ["file"]


def test_a_check_that_fails_cancels_the_write(file: Path) -> None:
    seen = []

    def check(temporary: Path) -> None:
        seen.append(temporary.read_bytes())
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o640
        raise ValueError("not valid")

    with pytest.raises(ValueError, match="not valid"):
        write_file(file, NEW, prepare=lambda each: os.fchmod(each, 0o640), check=check)
    assert seen == [NEW]
    assert file.read_bytes() == OLD
    assert os.listdir(file.parent) == ["file"]


def test_a_folder_is_made_with_those_above_it_and_closed_to_others(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b")
        make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(mask)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o700, 0o700]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 5678)
    make_folder(tmp_path / "a" / "b")
    write_file(tmp_path / "a" / "b" / "c", NEW, prepare=partial(give_to_owner_of, tmp_path / "a" / "b"))
    owners = [(tmp_path / name).stat() for name in ("a", "a/b", "a/b/c")]
    assert [(each.st_uid, each.st_gid) for each in owners] == [(1234, 5678)] * 3


def test_only_temporary_files_with_the_prefix_are_removed(file: Path) -> None:
    others = ["file", ".mine-0123.tmp", f".mine-{'0' * 32}", temporary_name(".other-")]
    for name in (*others, temporary_name(".mine-")):
        file.with_name(name).write_bytes(OLD)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        remove_temporaries(folder, ".mine-")
    finally:
        os.close(folder)
    assert sorted(os.listdir(file.parent)) == sorted(others)
