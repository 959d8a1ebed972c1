"""A backup restored on another machine: everything is there, nothing is replaced unasked, and owners are right."""

from __future__ import annotations

import dataclasses
import os
import pwd
import stat
import threading
from pathlib import Path

import pytest
from machine_parts import (
    MODEL,
    everything,
    machine,
    profile,
    saved,
    scoring_files,
    store,
    used_machine,
    voices,
)
from waiting import wait_until

from voiceauthd.audit.log import AuditLog
from voiceauthd.backup import places as places_module
from voiceauthd.backup.collect import Collected, collect
from voiceauthd.backup.contents import Contents
from voiceauthd.backup.places import CREDENTIALS, Places, credential_setting
from voiceauthd.backup.restore import Restored, restore
from voiceauthd.errors import AlreadyRunningError, StorageError, UsageError
from voiceauthd.profiles import folder as folder_module
from voiceauthd.profiles.folder import locked_folder
from voiceauthd.profiles.keys import KEY_FILE, Keys, encode_keys, load_keys, new_key
from voiceauthd.profiles.sealed import key_id_in
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.scoring.backend import load_backend
from voiceauthd.service import own_folders

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def restored(contents: Contents, places: Places, *, replace: bool = False) -> Restored:
    return restore(contents, places, replace=replace, config=places.config)


def credential(folder: Path, *, keys: Keys) -> dict[str, str]:
    folder.mkdir()
    (folder / KEY_FILE).write_bytes(encode_keys(keys))
    (folder / KEY_FILE).chmod(0o400)
    return {CREDENTIALS: str(folder)}


def test_another_machine_continues_with_the_same_people_key_and_calibration(here: Places, tmp_path: Path) -> None:
    there = machine(tmp_path / "b")
    done = restored(saved(here), there)
    assert voices(there) == voices(here) != {}
    assert scoring_files(there) == scoring_files(here) != {}
    assert load_backend(there.scoring, MODEL).calibration is not None
    assert there.config is not None
    assert here.config is not None
    assert there.config.read_text() == here.config.read_text()
    assert load_keys(there.key_file, {}).current == load_keys(here.key_file, {}).current
    assert [each.name for each in done.profiles] == ["Anna", "ben"]
    assert list(done.missing.values()) == ["run `voiceauth model fetch tiny --revision 1`"]
    assert done.kept == []
    assert sorted(os.listdir(there.state)) == ["profiles", KEY_FILE, "scoring"]


def test_what_is_restored_can_be_read_by_its_owner_alone(here: Places, tmp_path: Path) -> None:
    there = machine(tmp_path / "b")
    mask = os.umask(0)
    try:
        restored(saved(here), there)
    finally:
        os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (there.state, *there.state.rglob("*"))}
    assert len(modes) >= 8
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert there.config is not None
    assert stat.S_IMODE(there.config.stat().st_mode) == 0o644


@pytest.mark.parametrize("there_is", ["profiles", "a cohort"])
def test_nothing_is_replaced_unasked(here: Places, tmp_path: Path, there_is: str) -> None:
    there = used_machine(tmp_path / "b", "carl", seed=7)
    if there_is == "a cohort":
        store(there).delete("carl")
    before = everything(tmp_path / "b")
    with pytest.raises(UsageError, match="--replace") as refusal:
        restored(saved(here), there)
    assert refusal.value.reason == "exists"
    assert there_is.removesuffix("s") in str(refusal.value)
    assert everything(tmp_path / "b") == before


def test_asked_to_replace_it_leaves_only_the_backup_and_loses_no_key(here: Places, tmp_path: Path) -> None:
    there = used_machine(tmp_path / "b", "carl", "Anna", seed=7)
    old = load_keys(there.key_file, {}).current
    restored(saved(here), there, replace=True)
    assert voices(there) == voices(here)
    assert scoring_files(there) == scoring_files(here)
    assert load_keys(there.key_file, {}).all() == (load_keys(here.key_file, {}).current, old)
    assert sorted(os.listdir(tmp_path / "b")) == ["config.yaml", "state"]
    assert sorted(os.listdir(there.state)) == ["profiles", KEY_FILE, "scoring"]
    store(there).rekey()
    assert len(load_keys(there.key_file, {}).all()) == 1, "a key that no profile needs goes with the next rekey"
    assert voices(there) == voices(here)


def test_a_machine_whose_daemon_has_run_but_knows_nobody_counts_as_empty(here: Places, tmp_path: Path) -> None:
    there = machine(tmp_path / "b")
    old = store(there).keys.current
    restored(saved(here), there)
    assert voices(there) == voices(here)
    assert old in load_keys(there.key_file, {}).all()


def test_a_damaged_key_file_is_replaced_only_when_asked(here: Places, tmp_path: Path) -> None:
    there = machine(tmp_path / "b")
    store(there)
    there.key_file.write_text("nonsense\n")
    with pytest.raises(StorageError) as refusal:
        restored(saved(here), there)
    assert refusal.value.reason == "bad_key"
    assert there.key_file.read_text() == "nonsense\n"
    restored(saved(here), there, replace=True)
    assert voices(there) == voices(here)


def test_files_that_are_not_ours_survive_a_replacement_and_are_named(here: Places, tmp_path: Path) -> None:
    there = used_machine(tmp_path / "b", "carl", seed=7)
    (there.scoring / "notes.txt").write_text("mine")
    done = restored(saved(here), there, replace=True)
    assert [everything(path) for path in done.kept] == [{"notes.txt": b"mine"}]
    assert voices(there) == voices(here)


@pytest.mark.parametrize("folder", ["profiles", "scoring"])
def test_a_link_in_place_of_a_folder_is_not_followed(here: Places, tmp_path: Path, folder: str) -> None:
    there = machine(tmp_path / "b")
    there.state.mkdir(0o700, parents=True)
    other = tmp_path / "other"
    other.mkdir(0o700)
    (there.state / folder).symlink_to(other)
    with pytest.raises(StorageError, match="symbolic link"):
        restored(saved(here), there, replace=True)
    assert os.listdir(other) == []


def test_a_state_in_use_by_a_daemon_is_refused(here: Places, tmp_path: Path) -> None:
    there = used_machine(tmp_path / "b", "carl", seed=7)
    log = AuditLog(there.state / "audit", 10_000, 2)
    log.open()
    before = everything(tmp_path / "b")
    with pytest.raises(AlreadyRunningError, match="voiceauth service stop"):
        restored(saved(here), there, replace=True)
    assert everything(tmp_path / "b") == before
    log.close()
    restored(saved(here), there, replace=True)
    assert voices(there) == voices(here)
    log.open()
    log.close()


def test_owners_are_users_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = used_machine(tmp_path / "a"), machine(tmp_path / "b")
    uids = {"anna": 4001, "ben": 4002, "carl": 4003}
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: fake_user({uid: name for name, uid in uids.items()}[uid], uid))
    for name, uid in (*uids.items(), ("dora", 4999), ("emil", None)):
        store(here).add(profile(name, seed=len(name) + (uid or 0), owner_uid=uid))
    found = collect(here)
    assert found.nameless == {"dora": 4999}
    # On the other machine anna has another uid, ben's uid is carl's, and there is no ben.
    others = {"anna": 5001, "carl": 4002}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: fake_user(name, others[name]))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: fake_user("somebody", uid))
    done = restored(found.contents, there)
    assert {each.name: each.owner_uid for each in store(there).all()} == {
        "anna": 5001,
        "ben": None,
        "carl": 4002,
        "dora": None,
        "emil": None,
    }
    assert {each.name: (each.owner, each.lost_owner) for each in done.profiles} == {
        "anna": ("anna", None),
        "ben": (None, "ben"),
        "carl": ("carl", None),
        "dora": (None, None),
        "emil": (None, None),
    }


def fake_user(name: str, uid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, 100, "", "/", "/bin/sh"))


@needs_root
def test_root_restores_for_the_owner_of_the_state(here: Places, tmp_path: Path) -> None:
    there = machine(tmp_path / "b")
    (tmp_path / "b").mkdir(0o755)
    there.state.mkdir(0o700)
    os.chown(there.state, 1234, 1234)
    restored(saved(here), there)
    made = [there.state, *there.state.rglob("*")]
    assert {path.stat().st_uid for path in made} == {1234}
    assert len(made) >= 8
    assert there.config is not None
    assert there.config.stat().st_uid == 0
    again = machine(tmp_path / "c")
    restored(saved(there), again)
    assert voices(again) == voices(here), "and root can back up the state of any user"
    assert not (there.profiles / ".lock").exists(), "a lock of root's would keep the daemon out"


@needs_root
def test_root_makes_the_state_of_the_system_for_the_service(
    here: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, there = saved(here), machine(tmp_path / "b")
    monkeypatch.setattr(own_folders, "SYSTEM_STATE", there.state)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: fake_user(name, {own_folders.SERVICE_USER: 1234}[name]))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: fake_user(own_folders.SERVICE_USER, uid))
    restored(contents, there)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (there.state, *there.state.rglob("*"))} == {
        (1234, 100)
    }


@needs_root
def test_root_saves_the_credential_of_the_running_service(
    here: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(new_key(), store(here).keys.all())
    folder = Path(credential(tmp_path / "credentials", keys=keys)[CREDENTIALS])
    here.key_file.unlink()
    for path in (folder / KEY_FILE, here.state, *here.state.rglob("*")):
        os.chown(path, 1234, 1234)
    monkeypatch.setattr(places_module, "RUNNING_CREDENTIALS", folder)
    with pytest.raises(StorageError) as refusal:
        saved(here)
    assert refusal.value.reason == "no_key", "another daemon's state has nothing to do with that service"
    monkeypatch.setattr(places_module, "SYSTEM_STATE", here.state)
    assert [key.id for key in saved(here).all_keys()] == [key.id for key in keys.all()]


@needs_root
def test_another_user_is_told_whose_state_it_is(here: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, there = saved(here), machine(tmp_path / "b")
    there.state.mkdir(0o700, parents=True)
    os.chown(there.state, 4321, 4321)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(StorageError, match="belongs to uid 4321") as refusal:
        restored(contents, there)
    assert refusal.value.reason == "foreign_state"
    assert os.listdir(there.state) == []


@needs_root
def test_root_does_not_replace_a_folder_of_somebody_else(here: Places, tmp_path: Path) -> None:
    there = machine(tmp_path / "b")
    there.state.mkdir(0o700, parents=True)
    there.profiles.mkdir(0o700)
    os.chown(there.state, 1234, 1234)
    os.chown(there.profiles, 4321, 4321)
    with pytest.raises(StorageError, match="belongs to uid 4321"):
        restored(saved(here), there, replace=True)


def test_a_machine_with_its_key_in_a_credential_gets_profiles_sealed_with_it(
    here: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, keys = machine(tmp_path / "b"), Keys(new_key())
    environment = credential(tmp_path / "credentials", keys=keys)
    contents = saved(here)
    monkeypatch.setenv(CREDENTIALS, environment[CREDENTIALS])
    done = restored(contents, there)
    assert done.key == keys.current.id
    assert not there.key_file.exists(), "a key file beside a credential would not be used"
    assert {key_id_in(file.read_bytes()) for file in there.profiles.iterdir()} == {keys.current.id}


def test_a_backup_holds_the_key_of_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there, keys = used_machine(tmp_path / "a"), machine(tmp_path / "b"), Keys(new_key())
    monkeypatch.setenv(CREDENTIALS, credential(tmp_path / "credentials", keys=keys)[CREDENTIALS])
    ProfileStore(here.profiles, MODEL, load_keys(here.key_file)).add(profile("Anna"))
    contents = saved(here)
    assert [key.id for key in contents.all_keys()] == [keys.current.id]
    monkeypatch.delenv(CREDENTIALS)
    restored(contents, there)
    assert list(voices(there)) == ["Anna"]


def test_a_credential_that_cannot_be_read_stops_both_with_the_way_to_read_it(
    here: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = saved(here)
    setting = "LoadCredentialEncrypted=profiles.key:/etc/voiceauthd/profiles.key.cred"
    drop_in = tmp_path / "units" / "voiceauthd.service.d" / "key.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f"[Service]\n{setting}\n")
    monkeypatch.setattr(places_module, "UNIT_FOLDERS", (tmp_path / "units",))
    monkeypatch.setattr(places_module, "SYSTEM_STATE", here.state)
    before = everything(tmp_path / "a")
    for attempt in (lambda: saved(here), lambda: restored(contents, here, replace=True)):
        with pytest.raises(StorageError, match="systemd-run") as refusal:
            attempt()
        assert setting in str(refusal.value)
    assert everything(tmp_path / "a") == before
    drop_in.write_text("[Service]\n#LoadCredential=profiles.key:/x\nLoadCredential=other:/x\n")
    assert credential_setting() is None


def test_profiles_that_cannot_be_read_are_reported_and_left_out(here: Places) -> None:
    torn = here.profiles / "torn.profile"
    torn.write_bytes((here.profiles / "ben.profile").read_bytes()[:-1])
    torn.chmod(0o600)
    found = collect(here)
    assert {name: problem.reason for name, problem in found.unreadable.items()} == {"torn": "torn"}
    assert [each.name for each, _ in found.contents.all_profiles()] == ["Anna", "ben"]


def test_an_interrupted_rename_is_saved_as_one_profile(here: Places) -> None:
    left = (here.profiles / "ben.profile").read_bytes()
    store(here).rename("ben", "Benjamin")
    (here.profiles / "ben.profile").write_bytes(left)
    (here.profiles / "ben.profile").chmod(0o600)
    found = collect(here)
    assert [each.name for each, _ in found.contents.all_profiles()] == ["Anna", "Benjamin"]
    assert not found.unreadable


def test_a_backup_waits_for_whoever_changes_the_profiles(here: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "LOCK_TIMEOUT", 0.05)
    with locked_folder(here.profiles), pytest.raises(StorageError) as refusal:
        saved(here)
    assert refusal.value.reason == "locked"


def test_backups_are_whole_while_profiles_and_their_key_change(here: Places) -> None:
    people, done = store(here), threading.Event()

    def change() -> None:
        while not done.wait(0.01):
            people.rename("ben", "Benjamin")
            people.rekey()
            people.rename("Benjamin", "ben")

    found: list[Collected] = []

    def has_seen_other_keys() -> bool:
        found.append(collect(here))
        return len({each.contents.keys[0] for each in found}) > 3

    changing = threading.Thread(target=change)
    changing.start()
    try:
        wait_until("the key has changed a few times", has_seen_other_keys)
    finally:
        done.set()
        changing.join()
    assert not any(each.unreadable for each in found)
    names = [tuple(profile.name for profile, _ in each.contents.all_profiles()) for each in found]
    assert set(names) <= {("Anna", "ben"), ("Anna", "Benjamin")}


def test_a_machine_without_a_daemon_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refusal:
        saved(dataclasses.replace(machine(tmp_path), config=None))
    assert refusal.value.reason == "nothing"
    assert os.listdir(tmp_path) == [], "and nothing is made"


def test_a_calibration_that_the_daemon_would_refuse_is_not_saved(here: Places) -> None:
    other = used_machine(here.state.parent.parent / "other", seed=3)
    cohort = next(other.scoring.rglob("cohort.safetensors"))
    next(here.scoring.rglob("cohort.safetensors")).write_bytes(cohort.read_bytes())
    with pytest.raises(StorageError) as refusal:
        saved(here)
    assert refusal.value.reason == "wrong_cohort"
