"""The store: profiles are kept, private, under unique names; and no invalid file affects the others."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest
from profile_parts import MODEL, names, open_store, profile, profile_files, refused

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import NotEnrolledError, UsageError
from voiceauthd.profiles.document import encode_profile, export_document, import_document
from voiceauthd.profiles.keys import Keys, new_key
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.sealed import seal_profile
from voiceauthd.profiles.store import ProfileStore

OTHER_MODEL = ModelId("microsoft/wavlm-base-sv", "0a23162ffc49adcf42bdf836a00cb2eb45af3601", "ab" * 32, "1", 512)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")


def test_an_added_profile_is_stored_and_private(store: ProfileStore, where: Path) -> None:
    original = profile("Jürgen 100%")
    store.add(original)
    again = open_store(where)
    assert encode_profile(again.get("jürgen 100%")) == encode_profile(original)
    assert profile_files(where) == ["J%C3%BCrgen%20100%25.profile"]
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    for entry in os.listdir(where):
        assert stat.S_IMODE((where / entry).stat().st_mode) == 0o600


def test_files_are_private_with_any_umask(where: Path) -> None:
    before = os.umask(0)
    try:
        open_store(where).add(profile())
    finally:
        os.umask(before)
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert stat.S_IMODE((where / "anna.profile").stat().st_mode) == 0o600


def test_names_that_differ_only_in_case_are_one_name(store: ProfileStore) -> None:
    store.add(profile("Anna"))
    with refused("already_enrolled"):
        store.add(profile("anna"))
    assert names(store) == ["Anna"]


def test_the_same_profile_cannot_have_two_names(store: ProfileStore) -> None:
    anna = store.add(profile("anna"))
    copy = import_document(export_document(anna))
    with refused("already_enrolled") as caught:
        store.add(dataclasses.replace(copy, name="berta", generation=9))
    assert "'anna'" in str(caught.value)
    store.refresh()
    assert names(store) == ["anna"]


def test_replacing_keeps_the_name_and_increments_the_generation(store: ProfileStore) -> None:
    store.add(profile("Anna"))
    second = store.replace(profile("anna", seed=1))
    assert (second.name, second.generation) == ("Anna", 2)
    third = store.replace(dataclasses.replace(second, generation=2))
    assert third.generation == 3
    assert [each.generation for each in store.all()] == [3]


def test_put_adds_or_replaces(store: ProfileStore) -> None:
    assert store.put(profile("Anna")).generation == 1
    again = store.put(profile("anna", seed=1))
    assert (again.name, again.generation) == ("Anna", 2)
    assert names(store) == ["Anna"]
    with refused("already_enrolled"):
        store.put(dataclasses.replace(again, name="berta"))


def test_an_older_export_can_be_restored(store: ProfileStore) -> None:
    old = export_document(store.add(profile("anna")))
    store.replace(profile("anna", seed=1))
    restored = store.put(import_document(old))
    assert restored.generation == 3
    assert store.get("anna").uid == import_document(old).uid


def test_unknown_names_are_reported(store: ProfileStore) -> None:
    for act in (
        lambda: store.replace(profile("anna")),
        lambda: store.rename("anna", "berta"),
        lambda: store.delete("anna"),
        lambda: store.get("anna"),
    ):
        with pytest.raises(NotEnrolledError, match="'anna'"):
            act()
    assert store.all() == ()


@pytest.mark.parametrize("name", ["", "../x", "x" * 65])
def test_an_invalid_name_is_refused_everywhere(store: ProfileStore, where: Path, name: str) -> None:
    store.add(profile())
    for act in (
        lambda: store.add(profile(name)),
        lambda: store.replace(profile(name)),
        lambda: store.rename("anna", name),
        lambda: store.rename(name, "berta"),
        lambda: store.delete(name),
        lambda: store.get(name),
    ):
        with pytest.raises(UsageError) as caught:
            act()
        assert caught.value.reason == "invalid_name"
    assert profile_files(where) == ["anna.profile"]
    assert sorted(os.listdir(where.parent)) == ["profiles", "profiles.key"]


def test_a_renamed_profile_is_the_same_profile(store: ProfileStore, where: Path) -> None:
    before = store.add(profile("anna"))
    after = store.rename("ANNA", "Ольга")
    assert (after.uid, after.generation) == (before.uid, 2)
    assert names(open_store(where)) == names(store) == ["Ольга"]
    assert len(profile_files(where)) == 1


def test_a_rename_may_change_case_but_not_replace_a_profile(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    store.add(profile("berta"))
    assert store.rename("anna", "Anna").name == "Anna"
    assert store.rename("Anna", "Anna").generation == 2
    with refused("already_enrolled"):
        store.rename("Anna", "BERTA")
    assert profile_files(where) == ["Anna.profile", "berta.profile"]


def test_a_deleted_profile_is_gone(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    store.add(profile("berta"))
    store.delete("Anna")
    assert names(store) == names(open_store(where)) == ["berta"]


def test_a_profile_of_another_model_is_not_added(store: ProfileStore, where: Path) -> None:
    with refused("wrong_model"):
        store.add(profile(model=OTHER_MODEL))
    assert profile_files(where) == []


# Invalid files


def test_a_damaged_file_is_refused_by_name_and_the_others_work(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    store.add(profile("berta"))
    original = (where / "anna.profile").read_bytes()
    (where / "anna.profile").write_bytes(original[: len(original) // 2])
    store.refresh()
    assert names(store) == ["berta"]
    assert list(store.refused) == ["anna"]
    with refused("torn") as caught:
        store.get("Anna")
    assert "'anna'" in str(caught.value)
    with refused("torn"):
        store.rename("anna", "clara")
    with refused("already_enrolled"):
        store.add(profile("anna"))


def test_a_refused_profile_can_be_replaced_or_deleted(store: ProfileStore, where: Path) -> None:
    for name in ("anna", "berta"):
        (where / file_name(name)).write_bytes(b"voiceauthd-pro")
    store.refresh()
    assert list(store.refused) == ["anna", "berta"]
    store.replace(profile("Anna"))
    store.delete("BERTA")
    assert (names(store), dict(store.refused)) == (["anna"], {})


def test_a_profile_of_another_model_is_refused_with_the_command_to_enrol(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    open_store(where, OTHER_MODEL).add(profile("berta", OTHER_MODEL))
    store.refresh()
    assert names(store) == ["anna"]
    assert store.refused["berta"].reason == "wrong_model"
    assert "voiceauth enroll berta --replace" in str(store.refused["berta"])
    assert names(open_store(where, OTHER_MODEL)) == ["berta"]


def test_a_copied_file_is_refused(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    (where / "berta.profile").write_bytes((where / "anna.profile").read_bytes())
    store.refresh()
    assert names(store) == ["anna"]
    assert store.refused["berta"].reason == "wrong_name"


def test_two_files_for_one_name_are_both_refused(store: ProfileStore, where: Path) -> None:
    for name in ("anna", "Anna"):
        (where / file_name(name)).write_bytes(seal_profile(profile(name), store.keys.current))
    store.refresh()
    assert store.all() == ()
    assert {name: error.reason for name, error in store.refused.items()} == {"Anna": "duplicate", "anna": "duplicate"}
    store.delete("Anna")
    assert names(store) == ["anna"]


def test_links_are_not_followed(store: ProfileStore, where: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.profile"
    outside.write_bytes(seal_profile(profile("anna"), store.keys.current))
    (where / "anna.profile").symlink_to(outside)
    store.refresh()
    assert store.refused["anna"].reason == "not_a_file"
    store.replace(profile("anna", seed=1))
    assert not (where / "anna.profile").is_symlink()
    assert outside.read_bytes().startswith(b"voiceauthd-profile")
    (where / "berta.profile").symlink_to(outside)
    store.delete("berta")
    assert outside.exists()


def test_pipes_folders_large_and_writable_files_are_refused(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    os.mkfifo(where / "pipe.profile")
    (where / "folder.profile").mkdir()
    with open(where / "large.profile", "wb") as large:
        large.truncate((1 << 20) + 1)
    (where / "open.profile").write_bytes(seal_profile(profile("open"), store.keys.current))
    (where / "open.profile").chmod(0o666)
    store.refresh()
    assert names(store) == ["anna"]
    assert {name: error.reason for name, error in store.refused.items()} == {
        "folder": "not_a_file",
        "large": "too_large",
        "open": "unsafe_permissions",
        "pipe": "not_a_file",
    }


@needs_root
def test_a_file_of_another_user_is_refused(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    os.chown(where / "anna.profile", 65534, 65534)
    store.refresh()
    assert store.refused["anna"].reason == "unsafe_permissions"


def test_foreign_files_are_left_alone(store: ProfileStore, where: Path) -> None:
    foreign = ["README.md", ".hidden", "notes.txt", "anna.profile~", ".other.tmp", "%61.profile"]
    for entry in foreign:
        (where / entry).write_text("mine")
    store.add(profile("anna"))
    store.refresh()
    assert names(store) == ["anna"]
    assert not store.refused
    assert all((where / entry).read_text() == "mine" for entry in foreign)


# The folder


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_writable_by_others_is_refused(where: Path, mode: int) -> None:
    where.mkdir(parents=True)
    where.chmod(mode)
    with refused("unsafe_folder") as caught:
        open_store(where)
    assert f"chmod 0700 {where}" in str(caught.value)


@needs_root
def test_a_folder_of_another_user_is_refused(where: Path) -> None:
    where.mkdir(parents=True, mode=0o700)
    os.chown(where, 65534, 65534)
    with refused("unsafe_folder") as caught:
        open_store(where)
    assert "65534" in str(caught.value)


def test_an_impossible_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for impossible in (tmp_path / "file", tmp_path / "file" / "profiles"):
        with refused("unreadable"):
            ProfileStore(impossible, MODEL, Keys(new_key()))


def test_if_the_folder_becomes_unsafe_the_last_snapshot_stays(store: ProfileStore, where: Path) -> None:
    store.add(profile("anna"))
    where.chmod(0o777)
    with refused("unsafe_folder"):
        store.refresh()
    with refused("unsafe_folder"):
        store.delete("anna")
    assert names(store) == ["anna"]


def test_an_exemplar_is_dropped_by_its_number(store: ProfileStore, where: Path) -> None:
    anna = store.add(profile("Anna", count=3))
    left = store.drop_exemplar("anna", 2, anna.generation)
    assert [one.vector.tobytes() for one in left.exemplars] == [anna.exemplars[at].vector.tobytes() for at in (0, 2)]
    assert (left.name, left.uid, left.generation) == ("Anna", anna.uid, anna.generation + 1)
    assert encode_profile(open_store(where).get("Anna")) == encode_profile(left)


def test_a_number_from_before_a_change_drops_nothing(store: ProfileStore) -> None:
    anna = store.add(profile("anna", count=3))
    left = store.drop_exemplar("anna", 1, anna.generation)
    with refused("changed"):
        store.drop_exemplar("anna", 1, anna.generation)
    for number in (0, -1, 3):
        with refused("no_such_exemplar"):
            store.drop_exemplar("anna", number, left.generation)
    assert encode_profile(store.get("anna")) == encode_profile(left)


def test_the_last_exemplar_stays(store: ProfileStore) -> None:
    anna = store.add(profile("anna", count=1))
    with refused("last_exemplar"):
        store.drop_exemplar("anna", 1, anna.generation)
    assert len(store.get("anna").exemplars) == 1


def test_a_profile_made_from_an_older_one_does_not_replace_a_newer_one(store: ProfileStore) -> None:
    anna = store.add(profile("anna", count=3))
    left = store.drop_exemplar("anna", 1, anna.generation)
    with refused("changed"):
        store.replace(dataclasses.replace(anna, generation=2), generation=anna.generation)
    assert encode_profile(store.get("anna")) == encode_profile(left)
    assert store.replace(dataclasses.replace(left, generation=3), generation=left.generation).generation == 3
