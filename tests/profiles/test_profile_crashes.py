"""The store loses nothing: with full disks, crashes, and other processes and threads."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from profile_parts import names, open_store, profile, profile_files, refused

from voiceauthd.errors import NotEnrolledError, StorageError
from voiceauthd.profiles import folder as folder_module
from voiceauthd.profiles.document import encode_profile
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.store import ProfileStore

forking = multiprocessing.get_context("fork")


# Disk errors


def fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("call", "number", "reason"),
    [
        ("write", errno.EDQUOT, "disk_full"),
        ("write", errno.EIO, "write_failed"),
        ("fsync", errno.ENOSPC, "disk_full"),
        ("rename", errno.ENOSPC, "disk_full"),
    ],
)
def test_a_disk_error_leaves_the_store_unchanged(
    store: ProfileStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int, reason: str
) -> None:
    where = store.folder
    old = store.add(profile("anna"))
    for act in (
        lambda: store.replace(profile("anna", seed=1)),
        lambda: store.add(profile("berta")),
        lambda: store.rename("anna", "clara"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(folder_module.os, call, fail_with(number))
            with refused(reason) as caught:
                act()
        assert "what was there before is unchanged" in str(caught.value)
        assert profile_files(where) == ["anna.profile"]
        assert [encode_profile(each) for each in store.all()] == [encode_profile(old)]
    store.add(profile("berta"))
    assert names(open_store(where)) == ["anna", "berta"]


def test_a_folder_that_cannot_be_flushed_is_reported(
    store: ProfileStore, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail_on_folders(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(file)

    monkeypatch.setattr(folder_module.os, "fsync", fail_on_folders)
    with refused("not_durable"):
        store.add(profile("anna"))
    assert names(store) == names(open_store(where)) == ["anna"]


def test_a_file_size_limit_leaves_the_old_profile_intact(store: ProfileStore, where: Path) -> None:
    """A real error from the kernel instead of an injected one, in a separate process."""
    old = store.add(profile("anna"))

    def limited(answer: Connection) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            open_store(where).replace(profile("anna", seed=1))
        except StorageError as error:
            answer.send(error.reason)

    assert _answer_of(limited) == "disk_full"
    store.refresh()
    assert [encode_profile(each) for each in store.all()] == [encode_profile(old)]
    assert profile_files(where) == ["anna.profile"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs", str(mounted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_leaves_all_profiles_intact(small_disk: Path) -> None:
    where = small_disk / "profiles"
    store = open_store(where)
    with refused("disk_full"):
        for number in range(20):
            store.add(profile(f"person {number}", count=8))
    stored = names(store)
    assert stored
    assert not store.refused
    with refused("disk_full"):
        store.replace(profile(stored[0], count=20))
    again = open_store(where)
    assert names(again) == stored
    assert not again.refused
    assert len(profile_files(where)) == len(stored)
    store.delete(stored[0])
    store.add(profile("last"))


# Crashes; test_profile_kills.py kills a writer at random


def _child(act: Callable[[Connection], None]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    mine, theirs = forking.Pipe()
    process = forking.Process(target=act, args=(theirs,))
    process.start()
    theirs.close()
    return process, mine


def _answer_of(act: Callable[[Connection], None]) -> object:
    process, answer = _child(act)
    try:
        assert answer.poll(20), "no answer from the child in time"
        return answer.recv()
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("new", ["berta", "Anna"])
def test_after_a_crash_within_a_rename_the_new_name_is_kept(
    store: ProfileStore, where: Path, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    store.add(profile("anna"))

    def crash(*_: object) -> None:
        os._exit(9)

    def work(_: Connection) -> None:
        monkeypatch.setattr("voiceauthd.profiles.store.remove_file", crash)
        store.rename("anna", new)

    process, _ = _child(work)
    process.join(20)
    assert process.exitcode == 9
    assert profile_files(where) == sorted(["anna.profile", file_name(new)])
    store.refresh()
    assert names(store) == [new]
    assert store.get(new).generation == 2
    assert not store.refused
    assert profile_files(where) == [file_name(new)]


def test_temporary_files_of_a_crash_are_removed_when_the_store_opens(store: ProfileStore, where: Path) -> None:
    (where / f".voiceauthd-{'0' * 32}.tmp").write_bytes(b"half a pro")
    open_store(where)
    assert profile_files(where) == []


# Concurrency


def test_two_writing_processes_lose_nothing(store: ProfileStore, where: Path) -> None:
    def writer(letter: str) -> Callable[[Connection], None]:
        def work(answer: Connection) -> None:
            mine = open_store(where)
            for number in range(12):
                mine.add(profile(f"{letter}{number}", count=1))
                mine.replace(profile(f"{letter}{number}", count=2))
            answer.send("done")

        return work

    children = [_child(writer(letter)) for letter in "ab"]
    for process, answer in children:
        assert answer.poll(30), "a writer did not finish in time"
        process.join(20)
    store.refresh()
    assert len(store.all()) == 24
    assert all(len(each.exemplars) == 2 for each in store.all())
    assert not store.refused


def test_only_one_of_two_processes_gets_a_name(where: Path, store: ProfileStore) -> None:
    start = forking.Barrier(2)

    def work(answer: Connection) -> None:
        mine = open_store(where)
        start.wait(20)
        try:
            mine.add(profile("anna"))
            answer.send("added")
        except StorageError as error:
            answer.send(error.reason)

    children = [_child(work) for _ in range(2)]
    answers = []
    for process, answer in children:
        assert answer.poll(30), "no answer in time"
        answers.append(answer.recv())
        process.join(20)
    assert sorted(answers) == ["added", "already_enrolled"]


def test_a_change_by_another_process_is_seen_after_refresh(store: ProfileStore, where: Path) -> None:
    other = open_store(where)
    other.add(profile("anna"))
    with pytest.raises(NotEnrolledError):
        store.get("anna")
    store.refresh()
    assert names(store) == ["anna"]


def test_a_stuck_writer_is_reported_after_a_timeout(
    store: ProfileStore, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "LOCK_TIMEOUT", 0.1)
    with open(where / ".lock") as stuck:
        fcntl.flock(stuck, fcntl.LOCK_EX)
        with refused("locked"):
            store.add(profile("anna"))
    store.add(profile("anna"))


def test_readers_in_other_threads_see_no_intermediate_state(store: ProfileStore) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # more thread switches in less time
    store.add(profile("anna", count=1))
    done = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not done.is_set():
            seen = store.all()
            if len(seen) != 1 or len(seen[0].exemplars) not in (1, 5) or store.refused:
                wrong.append(seen)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        snapshot = store.all()
        for number in range(20):
            store.replace(profile(names(store)[0], count=5 if number % 2 else 1))
            store.rename(names(store)[0], "anna" if number % 2 else "berta")
    finally:
        sys.setswitchinterval(interval)
        done.set()
        for reader in readers:
            reader.join(20)
    assert not wrong
    assert [each.name for each in snapshot] == ["anna"]
    with pytest.raises(TypeError):
        store.refused["x"] = StorageError("x")  # type: ignore[index]
