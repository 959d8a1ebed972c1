"""The profiles through the socket, and what happens to them when a file or the disk is bad."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_box import Box
from daemon_caller import RefusedError
from daemon_room import PEOPLE, takes, voice

from voiceauthd.profiles.document import encode_profile, import_document
from voiceauthd.profiles.keys import KEY_FILE, load_keys
from voiceauthd.profiles.profile import new_uid
from voiceauthd.profiles.sealed import seal_profile


def accepted(box: Box, name: str, sound: str) -> bool:
    with box.caller() as caller:
        caller.send("Verify", name=name)
        caller.until("listening")
        box.room.play(voice(sound))
        return caller.until("decided")["outcome"] == "accept"


def test_all_who_are_enrolled_are_listed(box: Box) -> None:
    profiles = box.ask("ListProfiles")["profiles"]
    assert [profile["name"] for profile in profiles] == list(PEOPLE)
    assert all(profile["usable"] and profile["problem"] is None for profile in profiles)
    shown = [box.ask("ShowProfile", name=name)["profile"] for name in PEOPLE]
    assert [profile | {"rating": None} for profile in shown] == profiles, "a list does not rate"
    model = box.ask("Info")["model"]
    assert all(model["digest"][:12] in profile["model"] for profile in profiles)
    assert box.ask("Status")["profiles"] == {"usable": 2, "refused": 0}


@pytest.mark.parametrize("method", ["ShowProfile", "DeleteProfile", "ExportProfile", "Verify"])
@pytest.mark.parametrize(("name", "error"), [("Nobody", "NotEnrolled"), ("..", "InvalidName"), ("a/b", "InvalidName")])
def test_who_is_not_there_cannot_be_named(box: Box, method: str, name: str, error: str) -> None:
    refused = box.refusal(method, name=name)
    assert (refused.error, refused.parameters["name"]) == (error, name)


def test_a_renamed_profile_is_known_under_the_new_name_alone(box: Box) -> None:
    before = box.ask("ShowProfile", name="Ralph")["profile"]
    after = box.ask("RenameProfile", name="Ralph", new_name="Rolf")["profile"]
    try:
        assert (after["name"], after["created"], after["exemplars"]) == ("Rolf", before["created"], before["exemplars"])
        assert box.names() == ["Rolf", "Susan"]
        assert box.refusal("Verify", name="Ralph").error == "NotEnrolled"
        assert accepted(box, "Rolf", "verify-ralph")
    finally:
        box.ask("RenameProfile", name="Rolf", new_name="Ralph")
    assert box.names() == list(PEOPLE)


@pytest.mark.parametrize(("new_name", "error"), [("Susan", "AlreadyEnrolled"), ("../x", "InvalidName")])
def test_a_name_that_cannot_be_had_is_refused_and_told(box: Box, new_name: str, error: str) -> None:
    refused = box.refusal("RenameProfile", name="Ralph", new_name=new_name)
    assert (refused.error, refused.parameters["name"]) == (error, new_name)
    assert box.names() == list(PEOPLE)


def test_a_deleted_profile_is_gone_from_the_disk_and_from_what_is_compared(box: Box) -> None:
    box.copy("Ralph", "Newcomer")
    assert (box.profiles / "Newcomer.profile").exists()
    box.ask("DeleteProfile", name="Newcomer")
    assert not (box.profiles / "Newcomer.profile").exists()
    assert box.refusal("ShowProfile", name="Newcomer").error == "NotEnrolled"
    # With a second voice like Ralph's still in the comparison this would be ambiguous.
    assert accepted(box, "Ralph", "verify-ralph")


def test_an_exported_profile_can_be_imported_and_recognises_as_before(box: Box) -> None:
    document = box.ask("ExportProfile", name="Ralph")["document"]
    box.ask("DeleteProfile", name="Ralph")
    try:
        assert box.refusal("Verify", name="Ralph").error == "NotEnrolled"
    finally:
        profile = box.ask("ImportProfile", document=document)["profile"]
    assert profile["name"] == "Ralph"
    assert box.ask("ExportProfile", name="Ralph")["document"] == document
    assert accepted(box, "Ralph", "verify-ralph")


def test_an_import_does_not_overwrite_unless_it_is_told_to(box: Box) -> None:
    document = box.ask("ExportProfile", name="Ralph")["document"]
    refused = box.refusal("ImportProfile", document=document)
    assert (refused.error, refused.parameters["name"]) == ("AlreadyEnrolled", "Ralph")
    assert box.ask("ImportProfile", document=document, replace=True)["profile"]["name"] == "Ralph"
    assert box.names() == list(PEOPLE)


def test_one_voice_cannot_be_imported_under_two_names(box: Box) -> None:
    """The very same profile, that is: two names that mean one person would be ambiguous for ever."""
    document = box.ask("ExportProfile", name="Ralph")["document"]
    assert box.refusal("ImportProfile", document=document, name="Newcomer").error == "AlreadyEnrolled"


@pytest.mark.parametrize("spoil", [lambda text: text[:-100], lambda text: text.replace("Ralph", "Rolph"), lambda _: ""])
def test_a_document_that_was_changed_is_refused(box: Box, spoil) -> None:
    document = box.ask("ExportProfile", name="Ralph")["document"]
    assert box.refusal("ImportProfile", document=spoil(document), name="Newcomer").error == "ProfileUnusable"
    assert box.names() == list(PEOPLE)


def test_a_torn_file_is_listed_by_name_and_the_others_work(box: Box) -> None:
    whole = (box.profiles / "Ralph.profile").read_bytes()
    torn = box.profiles / "Newcomer.profile"
    torn.write_bytes(whole[: len(whole) // 2])
    torn.chmod(0o600)
    box.ask("Reload")
    profiles = {profile["name"]: profile for profile in box.ask("ListProfiles")["profiles"]}
    assert [profiles[name]["usable"] for name in ("Newcomer", *PEOPLE)] == [False, True, True]
    assert "torn" in profiles["Newcomer"]["problem"]
    assert box.ask("ShowProfile", name="Newcomer")["profile"] == profiles["Newcomer"]
    assert box.refusal("Verify", name="Newcomer").error == "ProfileUnusable"
    status = box.ask("Status")
    assert (status["state"], status["profiles"]) == ("degraded", {"usable": 2, "refused": 1})
    assert accepted(box, "Ralph", "verify-ralph")
    box.ask("DeleteProfile", name="Newcomer")
    assert box.ask("Status")["state"] == "ready"


def test_a_profile_of_another_model_is_listed_and_the_others_work(box: Box) -> None:
    profile = import_document(box.ask("ExportProfile", name="Ralph")["document"])
    other = dataclasses.replace(profile.model, digest="ab" * 32)
    foreign = dataclasses.replace(profile, name="Newcomer", uid=new_uid(), model=other)
    file = box.profiles / "Newcomer.profile"
    file.write_bytes(seal_profile(foreign, load_keys(box.folder / KEY_FILE, {}).current))
    file.chmod(0o600)
    box.ask("Reload")
    shown = box.ask("ShowProfile", name="Newcomer")["profile"]
    assert (shown["usable"], "enrol again" in shown["problem"]) == (False, True)
    assert box.refusal("Verify", name="Newcomer").error == "ProfileUnusable"
    assert accepted(box, "Susan", "turn-08-susan")
    replies = box.enroll("Newcomer", takes("Ralph"), mode="replace")
    assert replies[-1]["profile"]["usable"] is True
    refused = box.refusal("ImportProfile", document=encode_profile(foreign).decode(), replace=True)
    assert refused.error == "ProfileUnusable"


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    disk = folder / "disk"
    disk.mkdir(0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_told_and_the_old_profile_stays(stub_at, small_disk: Path, folder: Path) -> None:
    box = stub_at({"profiles": str(small_disk / "profiles"), "state": str(folder)})
    before = box.enroll("Ralph", takes("Ralph"))[-1]["profile"]
    file = small_disk / "profiles" / "Ralph.profile"
    content = file.read_bytes()
    fill(small_disk / "filler")
    for name, mode in (("Ralph", "replace"), ("Newcomer", "new")):
        with pytest.raises(RefusedError) as refused:
            box.enroll(name, takes("Ralph"), mode=mode)
        assert refused.value.error == "StorageFailed"
        assert "disk is full" in refused.value.parameters["detail"]
    assert box.refusal("RenameProfile", name="Ralph", new_name="Rolf").error == "StorageFailed"
    assert file.read_bytes() == content
    assert box.ask("ListProfiles")["profiles"] == [before | {"rating": None}]
    assert accepted(box, "Ralph", "ralph-1")
    (small_disk / "filler").unlink()
    assert box.enroll("Ralph", takes("Ralph"), mode="replace")[-1]["state"] == "done"


def fill(file: Path) -> None:
    """Writes until nothing more fits."""
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1024))
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise


def test_a_folder_that_vanished_is_told_and_made_anew(stub_at) -> None:
    box = stub_at()
    box.enroll("Ralph", takes("Ralph"))
    shutil.rmtree(box.profiles)
    assert box.ask("Reload")["changed"] == []
    assert box.names() == []
    assert box.enroll("Ralph", takes("Ralph"))[-1]["state"] == "done"
