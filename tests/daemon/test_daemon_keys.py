"""Encryption at rest in the whole daemon: a new key, a lost key, and a downgraded file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from daemon_audio import takes, voice
from daemon_process import DaemonProcess

from voiceauthd.errors import ExitCode
from voiceauthd.profiles.keys import KEY_FILE, load_keys
from voiceauthd.profiles.sealed import key_id_in

VERSION_2 = b"voiceauthd-profile 2 "


def accepted(daemon: DaemonProcess) -> bool:
    return bool(daemon.verify("Ralph", voice("ralph-1"))["outcome"] == "accept")


def key_file(daemon: DaemonProcess) -> Path:
    return daemon.folder / KEY_FILE


def test_the_key_is_made_at_the_first_start_and_profiles_are_encrypted_with_it(stub_at) -> None:
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


def test_rekey_encrypts_all_profiles_while_the_daemon_runs(stub_at) -> None:
    stub = stub_at()
    stub.enroll("Ralph", takes("Ralph"))
    old = key_id_in((stub.profiles / "Ralph.profile").read_bytes())
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        reply = stub.ask("Rekey")
        stub.feed.play(voice("ralph-1"))
        assert caller.until("decided")["outcome"] == "accept"
    assert reply["profiles"] == 1
    assert key_id_in((stub.profiles / "Ralph.profile").read_bytes()) == reply["key"] != old
    assert [key.id for key in load_keys(key_file(stub), {}).all()] == [reply["key"]]
    assert accepted(stub)


def test_without_the_key_nobody_is_accepted_and_the_missing_key_is_named(stub_at) -> None:
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


def test_a_reload_with_a_damaged_key_file_is_refused_and_the_old_key_stays_in_use(stub_at) -> None:
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


def test_the_daemon_does_not_start_with_a_damaged_key_file(stub_at, folder: Path) -> None:
    (folder / KEY_FILE).write_text("torn")
    (folder / KEY_FILE).chmod(0o600)
    daemon = stub_at(await_ready=False)
    assert daemon.process.wait(60) == ExitCode.STORAGE
    assert daemon.logged(str(folder / KEY_FILE))
    assert (folder / KEY_FILE).read_text() == "torn"


def test_an_encrypted_profile_that_is_replaced_by_a_plain_one_is_refused(stub_at) -> None:
    """A downgrade, by somebody who can write to the folder but has no key."""
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


def test_a_systemd_credential_is_used_and_no_key_file_is_made(stub_at, folder: Path) -> None:
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    key = load_keys(credentials / KEY_FILE, {}).current
    (credentials / KEY_FILE).chmod(0o400)
    stub = stub_at(environment={"CREDENTIALS_DIRECTORY": str(credentials)})
    stub.enroll("Ralph", takes("Ralph"))
    assert key_id_in((stub.profiles / "Ralph.profile").read_bytes()) == key.id
    assert stub.ask("Rekey") == {"key": key.id, "profiles": 1}
    assert KEY_FILE not in os.listdir(folder)
    assert accepted(stub)
