"""Encryption at rest through the whole daemon: a new key, a lost one, and an old file put in the place of a new one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from daemon_box import Box
from daemon_room import takes, voice

from voiceauthd.errors import ExitCode
from voiceauthd.profiles.keys import KEY_FILE, load_keys
from voiceauthd.profiles.sealed import key_of

VERSION_2 = b"voiceauthd-profile 2 "


def accepted(box: Box) -> bool:
    assert box.room is not None
    with box.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        box.room.play(voice("ralph-1"))
        return bool(caller.until("decided")["outcome"] == "accept")


def key_file(box: Box) -> Path:
    return box.folder / KEY_FILE


def test_the_key_is_made_at_the_first_start_and_what_is_written_is_sealed(stub_at) -> None:
    stub = stub_at()
    assert key_file(stub).stat().st_mode & 0o777 == 0o600
    assert stub.logged("keep a copy")
    stub.enroll("Ralph", takes("Ralph"))
    data = (stub.profiles / "Ralph.profile").read_bytes()
    assert data.startswith(VERSION_2)
    uid = json.loads(stub.ask("ExportProfile", name="Ralph")["document"].splitlines()[1])["uid"]
    assert uid.encode() not in data
    secret = key_file(stub).read_text().split()[1]
    assert secret not in stub.log.read_text()


def test_a_new_key_is_taken_while_the_daemon_runs(stub_at) -> None:
    stub = stub_at()
    stub.enroll("Ralph", takes("Ralph"))
    old = key_of((stub.profiles / "Ralph.profile").read_bytes())
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        reply = stub.ask("Rekey")
        stub.room.play(voice("ralph-1"))
        assert caller.until("decided")["outcome"] == "accept"
    assert reply["profiles"] == 1
    assert key_of((stub.profiles / "Ralph.profile").read_bytes()) == reply["key"] != old
    assert [key.id for key in load_keys(key_file(stub), {}).all()] == [reply["key"]]
    assert accepted(stub)


def test_with_the_key_lost_nobody_is_let_in_and_what_remains_is_told(stub_at) -> None:
    stub = stub_at()
    stub.enroll("Ralph", takes("Ralph"))
    document = stub.ask("ExportProfile", name="Ralph")["document"]
    kept = key_file(stub).read_text()
    stub.end()
    key_file(stub).unlink()
    stub = stub_at()
    assert stub.logged("the key of 1 profiles is not in")
    shown = stub.ask("ShowProfile", name="Ralph")["profile"]
    assert shown["usable"] is False
    assert kept.split()[2] in shown["problem"]
    assert stub.refusal("Verify", name="Ralph").error == "ProfileUnusable"
    with key_file(stub).open("a") as keys:
        keys.write(kept)
    stub.ask("Reload")
    assert accepted(stub)
    (stub.profiles / "Ralph.profile").write_bytes(b"")
    assert stub.ask("ImportProfile", document=document, replace=True)["profile"]["usable"] is True
    assert accepted(stub)


def test_a_key_that_is_spoilt_meanwhile_refuses_the_reload_and_the_old_one_serves_on(stub_at) -> None:
    stub = stub_at()
    stub.enroll("Ralph", takes("Ralph"))
    whole = key_file(stub).read_bytes()
    key_file(stub).write_bytes(whole[:40])
    refused = stub.refusal("Reload")
    assert refused.error == "StorageFailed"
    assert str(key_file(stub)) in refused.parameters["detail"]
    assert accepted(stub)
    key_file(stub).write_bytes(whole)
    assert stub.ask("Reload")["changed"] == []


def test_with_a_key_that_cannot_be_trusted_the_daemon_does_not_start(stub_at, folder: Path) -> None:
    (folder / KEY_FILE).write_text("torn")
    (folder / KEY_FILE).chmod(0o600)
    box = stub_at(await_ready=False)
    assert box.process.wait(60) == ExitCode.STORAGE
    assert box.logged(str(folder / KEY_FILE))
    assert (folder / KEY_FILE).read_text() == "torn"


def test_a_plain_profile_put_in_the_place_of_a_sealed_one_is_refused(stub_at) -> None:
    """A downgrade: whoever can write the folder, and has no key."""
    stub = stub_at()
    stub.enroll("Ralph", takes("Ralph"))
    document = stub.ask("ExportProfile", name="Ralph")["document"]
    file = stub.profiles / "Ralph.profile"
    file.write_text(document)
    stub.ask("Reload")
    assert "import" in stub.ask("ShowProfile", name="Ralph")["profile"]["problem"]
    assert stub.refusal("Verify", name="Ralph").error == "ProfileUnusable"
    assert stub.ask("ImportProfile", document=document, replace=True)["profile"]["usable"] is True
    assert file.read_bytes().startswith(VERSION_2)
    assert accepted(stub)


def test_a_credential_of_systemds_is_used_and_no_key_file_is_made(stub_at, folder: Path) -> None:
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    key = load_keys(credentials / KEY_FILE, {}).current
    (credentials / KEY_FILE).chmod(0o400)
    stub = stub_at(environment={"CREDENTIALS_DIRECTORY": str(credentials)})
    stub.enroll("Ralph", takes("Ralph"))
    assert key_of((stub.profiles / "Ralph.profile").read_bytes()) == key.id
    assert stub.ask("Rekey") == {"key": key.id, "profiles": 1}
    assert KEY_FILE not in os.listdir(folder)
    assert accepted(stub)
