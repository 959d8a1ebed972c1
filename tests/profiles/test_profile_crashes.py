"""The store keeps what it was given: through full disks, crashes, and other processes and threads."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import random
import resource
import signal
import stat
import subprocess
import threading
import time
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


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "state" / "profiles"


@pytest.fixture
def store(where: Path) -> ProfileStore:
    return open_store(where)


# A disk that fails.


def fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("call", "number", "reason"),
    [
        ("write", errno.ENOSPC, "disk_full"),
        ("write", errno.EDQUOT, "disk_full"),
        ("write", errno.EIO, "write_failed"),
        ("fsync", errno.EIO, "write_failed"),
        ("fsync", errno.ENOSPC, "disk_full"),
        ("rename", errno.ENOSPC, "disk_full"),
    ],
)
def test_a_failing_disk_leaves_what_was_there(
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


def test_a_disk_that_takes_a_part_at_a_time_gets_it_all(
    store: ProfileStore, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(folder_module.os, "write", lambda file, data: write(file, bytes(data[:100])))
    whole = store.add(profile("anna"))
    assert encode_profile(open_store(where).get("anna")) == encode_profile(whole)


def test_a_folder_that_cannot_be_flushed_is_told(
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


def test_a_file_size_limit_leaves_the_old_profile_whole(store: ProfileStore, where: Path) -> None:
    """A real failure of the kernel's, no injected one, in a process of its own."""
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


def test_a_full_disk_leaves_all_profiles_whole(small_disk: Path) -> None:
    where = small_disk / "profiles"
    store = open_store(where)
    with refused("disk_full"):
        for number in range(20):
            store.add(profile(f"person {number}", count=8))
    held = names(store)
    assert held
    assert not store.refused
    with refused("disk_full"):
        store.replace(profile(held[0], count=20))
    again = open_store(where)
    assert names(again) == held
    assert not again.refused
    assert len(profile_files(where)) == len(held)
    store.delete(held[0])
    store.add(profile("last"))


# Crashes.


def _child(act: Callable[[Connection], None]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    mine, theirs = forking.Pipe()
    process = forking.Process(target=act, args=(theirs,))
    process.start()
    theirs.close()
    return process, mine


def _answer_of(act: Callable[[Connection], None]) -> object:
    process, answer = _child(act)
    try:
        assert answer.poll(20), "the child gave no answer in time"
        return answer.recv()
    finally:
        process.kill()
        process.join()


def _kill_in_the_middle(act: Callable[[ProfileStore], None], where: Path, chance: random.Random) -> None:
    """Lets a child repeat `act`, and kills it at some moment after it has begun."""

    def work(answer: Connection) -> None:
        store = open_store(where)
        answer.send("working")
        while True:
            act(store)

    process, answer = _child(work)
    try:
        assert answer.poll(20), "the child did not begin in time"
        time.sleep(chance.uniform(0, 0.02))  # the moment of a crash is not an event that could be waited for
        assert process.is_alive()
    finally:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join(20)
    assert process.exitcode == -signal.SIGKILL


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(store: ProfileStore, where: Path) -> None:
    choices = [profile("anna", count=count, seed=count) for count in (1, 20)]
    whole = {tuple(e.vector.tobytes() for e in each.exemplars) for each in choices}
    store.add(choices[0])
    store.add(profile("berta"))

    def write(child: ProfileStore) -> None:
        for choice in choices:
            child.replace(choice)

    chance = random.Random(1)
    seen = set()
    for _ in range(30):
        _kill_in_the_middle(write, where, chance)
        again = open_store(where)
        assert not again.refused
        assert names(again) == ["anna", "berta"]
        content = tuple(e.vector.tobytes() for e in again.get("anna").exemplars)
        assert content in whole
        seen.add(content)
        assert profile_files(where) == ["anna.profile", "berta.profile"]
    assert seen == whole


def test_a_rename_killed_at_any_moment_leaves_one_of_the_two_names(store: ProfileStore, where: Path) -> None:
    uid = store.add(profile("anna")).uid

    def rename(child: ProfileStore) -> None:
        here = child.all()[0].name
        child.rename(here, "berta" if here == "anna" else "anna")

    chance = random.Random(2)
    for _ in range(10):
        _kill_in_the_middle(rename, where, chance)
        again = open_store(where)
        assert not again.refused
        assert [each.uid for each in again.all()] == [uid]
        assert len(profile_files(where)) == 1


@pytest.mark.parametrize("new", ["berta", "Anna"])
def test_a_crash_between_the_steps_of_a_rename_keeps_the_newer_name(
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


def test_leftovers_of_a_crash_are_removed_when_the_store_opens(store: ProfileStore, where: Path) -> None:
    (where / f".voiceauthd-{'0' * 32}.tmp").write_bytes(b"half a pro")
    open_store(where)
    assert profile_files(where) == []


# Several at once.


def test_two_processes_lose_nothing_of_each_other(store: ProfileStore, where: Path) -> None:
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


def test_a_stuck_writer_is_told_of_not_waited_for(
    store: ProfileStore, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "LOCK_TIMEOUT", 0.1)
    with open(where / ".lock") as stuck:
        fcntl.flock(stuck, fcntl.LOCK_EX)
        with refused("locked"):
            store.add(profile("anna"))
    store.add(profile("anna"))


def test_readers_in_other_threads_never_see_half(store: ProfileStore) -> None:
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
        held = store.all()
        for number in range(20):
            store.replace(profile(names(store)[0], count=5 if number % 2 else 1))
            store.rename(names(store)[0], "anna" if number % 2 else "berta")
    finally:
        done.set()
        for reader in readers:
            reader.join(20)
    assert not wrong
    assert [each.name for each in held] == ["anna"]
    with pytest.raises(TypeError):
        store.refused["x"] = StorageError("x")  # type: ignore[index]
