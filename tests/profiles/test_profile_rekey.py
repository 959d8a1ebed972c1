"""Rekeying: every profile stays readable, whatever fails in between."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from profile_parts import MODEL, keys_beside, names, open_store, profile, profile_files, refused

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.profiles.document import encode_profile
from voiceauthd.profiles.keys import KEY_FILE, Keys, KeySource, load_keys, new_key
from voiceauthd.profiles.sealed import key_id_in, seal_profile
from voiceauthd.profiles.store import ProfileStore

OTHER_MODEL = ModelId("microsoft/wavlm-base-sv", "0a23162f", "ab" * 32, "1", 16)
PEOPLE = ("anna", "berta", "clara")
SYSTEM_CALLS = ("open", "write", "fsync", "rename", "unlink", "close")


@pytest.fixture
def store(store: ProfileStore) -> ProfileStore:
    for seed, name in enumerate(PEOPLE):
        store.add(profile(name, count=2, seed=seed))
    return store


def content(store: ProfileStore) -> list[bytes]:
    return [encode_profile(each) for each in store.all()]


def needed_keys(where: Path) -> set[str | None]:
    return {key_id_in((where / entry).read_bytes()) for entry in profile_files(where)}


def test_every_profile_gets_the_new_key_and_the_old_key_is_removed(store: ProfileStore, where: Path) -> None:
    before, old = content(store), store.keys.current
    key, count = store.rekey()
    assert (count, store.keys.all()) == (3, keys_beside(where).all())
    assert [each.id for each in store.keys.all()] == [key] != [old.id]
    assert needed_keys(where) == {key}
    assert content(store) == content(open_store(where)) == before
    assert [each.generation for each in store.all()] == [1, 1, 1]
    assert profile_files(where.parent) == ["profiles", KEY_FILE]
    store.add(profile("dora"))
    assert needed_keys(where) == {key}


def test_an_empty_store_gets_a_new_key_too(where: Path) -> None:
    store = open_store(where)
    old = store.keys.current
    key, count = store.rekey()
    assert (count, key == old.id) == (0, False)
    assert keys_beside(where).all() == store.keys.all()


def test_a_store_in_another_process_uses_the_new_key(store: ProfileStore, where: Path) -> None:
    other = open_store(where)
    key, _ = store.rekey()
    other.add(profile("dora"))
    assert other.keys.current.id == key
    assert names(other) == names(open_store(where)) == [*PEOPLE, "dora"]


def test_an_unusable_profile_keeps_the_key_that_it_needs(store: ProfileStore, where: Path) -> None:
    """A damaged file and its key are kept, and so is a file whose key is unknown. Files of another model or with
    another name get the new key."""
    old = store.keys.current
    ProfileStore(where, OTHER_MODEL, keys_beside(where)).add(profile("dora", OTHER_MODEL))
    stranger = new_key()
    (where / "emil.profile").write_bytes(seal_profile(profile("emil"), stranger))
    shutil.copyfile(where / "berta.profile", where / "fritz.profile")
    damaged = (where / "anna.profile").read_bytes()[:-7]
    (where / "anna.profile").write_bytes(damaged)
    for entry in profile_files(where):
        (where / entry).chmod(0o600)
    key, count = store.rekey()
    assert count == 4
    assert [each.id for each in store.keys.all()] == [key, old.id]
    assert (where / "anna.profile").read_bytes() == damaged
    assert needed_keys(where) == {key, old.id, stranger.id}
    reasons = {name: problem.reason for name, problem in store.refused.items()}
    assert reasons == {"anna": "torn", "dora": "wrong_model", "emil": "wrong_key", "fritz": "wrong_name"}
    assert names(ProfileStore(where, OTHER_MODEL, keys_beside(where))) == ["dora"]
    store.delete("anna")
    again, _ = store.rekey()
    assert [each.id for each in keys_beside(where).all()] == [again]


def test_an_unreadable_file_keeps_all_keys(store: ProfileStore, where: Path) -> None:
    old = store.keys.current
    (where / "anna.profile").chmod(0o666)
    key, count = store.rekey()
    assert (count, [each.id for each in store.keys.all()]) == (2, [key, old.id])
    assert store.refused["anna"].reason == "unsafe_permissions"
    (where / "anna.profile").chmod(0o600)
    store.refresh()
    assert names(store) == list(PEOPLE)


def test_with_a_credential_its_first_key_is_used_and_it_is_not_written(where: Path, tmp_path: Path) -> None:
    old = open_store(where)
    for name in PEOPLE:
        old.add(profile(name))
    folder = tmp_path / "credentials"
    folder.mkdir()
    Keys(new_key(), old.keys.all(), KeySource(folder / KEY_FILE)).write()
    before = (folder / KEY_FILE).read_bytes()
    keys = load_keys(where.parent / KEY_FILE, {"CREDENTIALS_DIRECTORY": str(folder)})
    store = ProfileStore(where, MODEL, keys)
    assert names(store) == list(PEOPLE)
    assert store.rekey() == (keys.current.id, 3)
    assert needed_keys(where) == {keys.current.id}
    assert (folder / KEY_FILE).read_bytes() == before
    assert content(ProfileStore(where, MODEL, Keys(keys.current))) == content(store)


# Failures in between


def act_before_call(patch: pytest.MonkeyPatch, at: int, act: Callable[[str], None]) -> list[str]:
    """Call `act` before system call number `at`. Returns the list of calls, which grows."""
    calls: list[str] = []

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*words: object, **named: object) -> object:
            calls.append(name)
            if len(calls) == at + 1:
                if name == "write":  # a write may be interrupted in the middle
                    real(words[0], bytes(words[1])[: len(bytes(words[1])) // 2])  # type: ignore[call-overload]
                if name == "close":  # closes the file even if it reports an error
                    real(*words)
                act(name)
            return real(*words, **named)

        patch.setattr(os, name, call)

    for name in SYSTEM_CALLS:
        wrap(name)
    return calls


def test_killed_before_any_system_call_nothing_is_lost(
    store: ProfileStore, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(store)
    killed = 0
    for step in range(400):
        child = os.fork()
        if child == 0:
            act_before_call(monkeypatch, step, lambda _: os.kill(os.getpid(), signal.SIGKILL))
            store.rekey()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        again = open_store(where)
        assert not again.refused
        assert content(again) == before
        assert profile_files(where) == [f"{name}.profile" for name in PEOPLE]
        assert profile_files(where.parent) == ["profiles", KEY_FILE]
        assert len(again.keys.all()) <= 3
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
    assert status == 0, "never finished"
    assert killed > 40
    assert len(again.keys.all()) == 1


def test_with_an_error_at_any_system_call_nothing_is_lost(store: ProfileStore, where: Path) -> None:
    before = content(store)

    def fail(name: str) -> None:
        raise OSError(errno.ENOSPC if name in {"write", "fsync", "rename"} else errno.EIO, "injected")

    failed = 0
    for step in range(400):
        with pytest.MonkeyPatch.context() as patch:
            calls = act_before_call(patch, step, fail)
            try:
                store.rekey()
            except (StorageError, OSError):
                failed += 1
            reached = len(calls) > step
        store.refresh()
        for each in (store, open_store(where)):
            assert not each.refused
            assert content(each) == before
        if not reached:
            break
    assert not reached, "never finished"
    assert failed > 30
    store.rekey()
    assert len(store.keys.all()) == 1
    assert profile_files(where) == [f"{name}.profile" for name in PEOPLE]
    assert profile_files(where.parent) == ["profiles", KEY_FILE]


def test_with_a_full_disk_nothing_is_lost(store: ProfileStore, where: Path) -> None:
    before = content(store)
    with pytest.MonkeyPatch.context() as patch:
        real, written = os.write, [0]

        def write(file: int, data: bytes) -> int:
            written[0] += 1
            if written[0] > 3:  # the key file and two profiles
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(file, data)

        patch.setattr(os, "write", write)
        with refused("disk_full"):
            store.rekey()
    assert content(store) == content(open_store(where)) == before
    assert len(needed_keys(where)) == 2
    key, count = store.rekey()
    assert (count, needed_keys(where)) == (3, {key})
    assert [each.id for each in keys_beside(where).all()] == [key]
