"""The methods about profiles, through the socket, also with damaged files and a full disk."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_audio import PEOPLE, takes, voice
from daemon_caller import RefusedError
from daemon_process import DaemonProcess
from small_disk import fill, small_disk

from voiceauthd.profiles.document import encode_profile, import_document
from voiceauthd.profiles.keys import KEY_FILE, load_keys
from voiceauthd.profiles.profile import new_uid
from voiceauthd.profiles.sealed import seal_profile

DETAILS = dict.fromkeys(("rating", "generation", "exemplar_list"))
"""What a list of profiles leaves out."""


def accepted(daemon: DaemonProcess, name: str, recording: str) -> bool:
    return bool(daemon.verify(name, voice(recording))["outcome"] == "accept")


def test_all_profiles_are_listed(daemon: DaemonProcess) -> None:
    profiles = daemon.ask("ListProfiles")["profiles"]
    assert [profile["name"] for profile in profiles] == list(PEOPLE)
    assert all(profile["usable"] and profile["problem"] is None for profile in profiles)
    shown = [daemon.ask("ShowProfile", name=name)["profile"] for name in PEOPLE]
    assert [profile | DETAILS for profile in shown] == profiles, "the list has no details"
    model = daemon.ask("Info")["model"]
    assert all(model["digest"][:12] in profile["model"] for profile in profiles)
    assert daemon.ask("Status")["profiles"] == {"usable": 2, "refused": 0}


@pytest.mark.parametrize("method", ["ShowProfile", "DeleteProfile", "ExportProfile", "Verify"])
def test_an_unknown_or_invalid_name_is_refused(daemon: DaemonProcess, method: str) -> None:
    for name, error in (("Nobody", "NotEnrolled"), ("..", "InvalidName"), ("../Ralph", "InvalidName")):
        refused = daemon.refusal(method, name=name)
        assert (refused.error, refused.parameters["name"]) == (error, name)


def test_a_renamed_profile_is_known_only_under_the_new_name(daemon: DaemonProcess) -> None:
    before = daemon.ask("ShowProfile", name="Ralph")["profile"]
    after = daemon.ask("RenameProfile", name="Ralph", new_name="Rolf")["profile"]
    try:
        assert (after["name"], after["created"], after["exemplars"]) == ("Rolf", before["created"], before["exemplars"])
        assert daemon.names() == ["Rolf", "Susan"]
        assert daemon.refusal("Verify", name="Ralph").error == "NotEnrolled"
        assert accepted(daemon, "Rolf", "verify-ralph")
    finally:
        daemon.ask("RenameProfile", name="Rolf", new_name="Ralph")
    assert daemon.names() == list(PEOPLE)


@pytest.mark.parametrize(("new_name", "error"), [("Susan", "AlreadyEnrolled"), ("../x", "InvalidName")])
def test_renaming_to_a_taken_or_invalid_name_is_refused_with_that_name(
    daemon: DaemonProcess, new_name: str, error: str
) -> None:
    refused = daemon.refusal("RenameProfile", name="Ralph", new_name=new_name)
    assert (refused.error, refused.parameters["name"]) == (error, new_name)
    assert daemon.names() == list(PEOPLE)


def test_a_deleted_profile_is_removed_from_the_disk_and_from_the_comparison(daemon: DaemonProcess) -> None:
    daemon.copy("Ralph", "Newcomer")
    assert (daemon.profiles / "Newcomer.profile").exists()
    daemon.ask("DeleteProfile", name="Newcomer")
    assert not (daemon.profiles / "Newcomer.profile").exists()
    assert daemon.refusal("ShowProfile", name="Newcomer").error == "NotEnrolled"
    # With a copy of Ralph's voice still in the comparison this would be ambiguous.
    assert accepted(daemon, "Ralph", "verify-ralph")


def test_an_exported_profile_can_be_imported_and_still_recognises_its_owner(daemon: DaemonProcess) -> None:
    document = daemon.ask("ExportProfile", name="Ralph")["document"]
    daemon.ask("DeleteProfile", name="Ralph")
    try:
        assert daemon.refusal("Verify", name="Ralph").error == "NotEnrolled"
    finally:
        profile = daemon.ask("ImportProfile", document=document)["profile"]
    assert profile["name"] == "Ralph"
    assert daemon.ask("ExportProfile", name="Ralph")["document"] == document
    assert accepted(daemon, "Ralph", "verify-ralph")


def test_an_import_does_not_overwrite_without_replace(daemon: DaemonProcess) -> None:
    document = daemon.ask("ExportProfile", name="Ralph")["document"]
    refused = daemon.refusal("ImportProfile", document=document)
    assert (refused.error, refused.parameters["name"]) == ("AlreadyEnrolled", "Ralph")
    assert daemon.ask("ImportProfile", document=document, replace=True)["profile"]["name"] == "Ralph"
    assert daemon.names() == list(PEOPLE)


def test_one_profile_cannot_be_imported_under_two_names(daemon: DaemonProcess) -> None:
    """Two names for one person would always be ambiguous."""
    document = daemon.ask("ExportProfile", name="Ralph")["document"]
    assert daemon.refusal("ImportProfile", document=document, name="Newcomer").error == "AlreadyEnrolled"


@pytest.mark.parametrize("spoil", [lambda text: text[:-100], lambda text: text.replace("Ralph", "Rolph"), lambda _: ""])
def test_a_document_that_was_changed_is_refused(daemon: DaemonProcess, spoil) -> None:
    document = daemon.ask("ExportProfile", name="Ralph")["document"]
    assert daemon.refusal("ImportProfile", document=spoil(document), name="Newcomer").error == "ProfileUnusable"
    assert daemon.names() == list(PEOPLE)


def test_a_torn_file_is_listed_as_unusable_and_the_others_work(daemon: DaemonProcess) -> None:
    whole = (daemon.profiles / "Ralph.profile").read_bytes()
    torn = daemon.profiles / "Newcomer.profile"
    torn.write_bytes(whole[: len(whole) // 2])
    torn.chmod(0o600)
    daemon.ask("Reload")
    profiles = {profile["name"]: profile for profile in daemon.ask("ListProfiles")["profiles"]}
    assert [profiles[name]["usable"] for name in ("Newcomer", *PEOPLE)] == [False, True, True]
    assert "damaged" in profiles["Newcomer"]["problem"]
    assert daemon.ask("ShowProfile", name="Newcomer")["profile"] == profiles["Newcomer"]
    assert daemon.refusal("Verify", name="Newcomer").error == "ProfileUnusable"
    status = daemon.ask("Status")
    assert (status["state"], status["profiles"]) == ("degraded", {"usable": 2, "refused": 1})
    assert accepted(daemon, "Ralph", "verify-ralph")
    daemon.ask("DeleteProfile", name="Newcomer")
    assert daemon.ask("Status")["state"] == "ready"


def test_a_profile_of_another_model_is_listed_as_unusable_and_the_others_work(daemon: DaemonProcess) -> None:
    profile = import_document(daemon.ask("ExportProfile", name="Ralph")["document"])
    other = dataclasses.replace(profile.model, digest="ab" * 32)
    foreign = dataclasses.replace(profile, name="Newcomer", uid=new_uid(), model=other)
    file = daemon.profiles / "Newcomer.profile"
    file.write_bytes(seal_profile(foreign, load_keys(daemon.folder / KEY_FILE, {}).current))
    file.chmod(0o600)
    daemon.ask("Reload")
    shown = daemon.ask("ShowProfile", name="Newcomer")["profile"]
    assert (shown["usable"], "enrol again" in shown["problem"]) == (False, True)
    assert daemon.refusal("Verify", name="Newcomer").error == "ProfileUnusable"
    assert accepted(daemon, "Susan", "turn-08-susan")
    replies = daemon.enroll("Newcomer", takes("Ralph"), mode="replace")
    assert replies[-1]["profile"]["usable"] is True
    refused = daemon.refusal("ImportProfile", document=encode_profile(foreign).decode(), replace=True)
    assert refused.error == "ProfileUnusable"


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    with small_disk(folder / "disk") as mounted:
        yield mounted


def test_a_full_disk_is_reported_and_the_old_profile_stays(stub_at, disk: Path, folder: Path) -> None:
    daemon = stub_at({"profiles": str(disk / "profiles"), "state": str(folder)})
    before = daemon.enroll("Ralph", takes("Ralph"))[-1]["profile"]
    file = disk / "profiles" / "Ralph.profile"
    content = file.read_bytes()
    fill(disk / "filler")
    for name, mode in (("Ralph", "replace"), ("Newcomer", "new")):
        with pytest.raises(RefusedError) as refused:
            daemon.enroll(name, takes("Ralph"), mode=mode)
        assert refused.value.error == "StorageFailed"
        assert "disk is full" in refused.value.parameters["detail"]
    assert daemon.refusal("RenameProfile", name="Ralph", new_name="Rolf").error == "StorageFailed"
    assert file.read_bytes() == content
    assert daemon.ask("ListProfiles")["profiles"] == [before | DETAILS]
    assert accepted(daemon, "Ralph", "ralph-1")
    (disk / "filler").unlink()
    assert daemon.enroll("Ralph", takes("Ralph"), mode="replace")[-1]["state"] == "done"


def test_a_deleted_profile_folder_is_made_again(stub_at) -> None:
    daemon = stub_at()
    daemon.enroll("Ralph", takes("Ralph"))
    shutil.rmtree(daemon.profiles)
    assert daemon.ask("Reload")["changed"] == []
    assert daemon.names() == []
    assert daemon.enroll("Ralph", takes("Ralph"))[-1]["state"] == "done"
