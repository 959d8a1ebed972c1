"""Keys: made once, private, never overwritten, and read from a credential if there is one."""

from __future__ import annotations

import base64
import logging
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_parts import keys_beside, names, open_store, profile, profile_files, refused

from voiceauthd.errors import StorageError
from voiceauthd.profiles.document import encode_profile
from voiceauthd.profiles.keys import KEY_FILE, Key, Keys, KeySource, encode_keys, load_keys, new_key
from voiceauthd.profiles.keys import _decode as decode_keys
from voiceauthd.profiles.store import ProfileStore

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / KEY_FILE


def line(key: Key, *, with_id: bool = True) -> str:
    return " ".join(["voiceauthd-key-1", base64.b64encode(key.secret).decode(), *([key.id] if with_id else [])]) + "\n"


def test_the_first_start_makes_a_private_key_and_logs_it(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = os.umask(0)
    try:
        made = load_keys(file, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == [KEY_FILE]
    assert made.made
    assert made.current.id in caplog.text
    again = load_keys(file, {})
    assert (again, again.made) == (made, False)
    assert len(made.current.secret) == 32


def test_new_keys_differ() -> None:
    assert len({new_key().secret for _ in range(100)}) == 100
    assert len({new_key().id for _ in range(100)}) == 100


def test_the_secret_is_never_printed(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = load_keys(file, {})
    secret = keys.current.secret
    shown = f"{keys!r} {keys} {keys.current!r} {caplog.text}"
    assert keys.current.id in shown
    for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
        assert form not in shown


def test_processes_that_start_simultaneously_agree_on_one_key(file: Path) -> None:
    gate, opener = os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os.close(opener)
            os.read(gate, 1)  # ends for all of them when the parent closes the pipe
            key = load_keys(file, {}).current.id
            os._exit(0 if load_keys(file, {}).current.id == key else 1)
        children.append(child)
    os.close(opener)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    os.close(gate)
    assert not load_keys(file, {}).made
    assert os.listdir(file.parent) == [KEY_FILE]


def test_a_credential_has_precedence_and_neither_is_written(file: Path, tmp_path: Path) -> None:
    own = load_keys(file, {})
    folder = tmp_path / "credentials"
    folder.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert load_keys(file, environment) == own, "there is no credential with that name"
    keys = [new_key(), new_key()]
    credential = folder / KEY_FILE
    credential.write_text("".join(line(key, with_id=False) for key in keys))
    credential.chmod(0o440)
    given = load_keys(file, environment)
    assert given.all() == tuple(keys)
    assert given.find(own.current.id) is None, "an attacker who can write to the disk could add a key"
    with refused("read_only"):
        given.with_current(new_key()).write()
    credential.chmod(0o600)
    credential.write_text("torn")
    for act in (lambda: load_keys(file, environment), given.reload):
        with refused("bad_key") as caught:
            act()
        assert "the credential" in str(caught.value)
        assert "import" not in str(caught.value)
    assert credential.read_text() == "torn"
    assert load_keys(file, {}) == own


GOOD = line(Key(bytes(range(32))))


@pytest.mark.parametrize(
    "content",
    [
        "",
        GOOD[:30],
        GOOD.replace("key-1", "key-2"),
        GOOD.replace("A", "B", 1),
        GOOD + line(new_key())[:-30],
        GOOD.strip() + " more\n",
        "voiceauthd-key-1 " + base64.b64encode(bytes(16)).decode(),
        "\xff" * 40,
        GOOD * 1000,
    ],
)
def test_a_damaged_key_file_is_named_and_never_overwritten(file: Path, content: str) -> None:
    load_keys(file, {})
    file.write_text(content)
    with refused("bad_key") as caught:
        load_keys(file, {})
    assert str(file) in str(caught.value)
    assert "restore it from a copy" in str(caught.value)
    assert file.read_text() == content


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_key_file_gives_its_own_keys_or_none(data: st.DataObject) -> None:
    """A damaged line must never become another key, which would seal profiles and then be lost."""
    source = KeySource(Path(KEY_FILE))
    keys = Keys(new_key(), (new_key(),), source)
    content = bytearray(encode_keys(keys))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    else:
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    try:
        found = decode_keys(bytes(content), source)
    except StorageError:
        return
    assert set(found.all()) <= set(keys.all())
    assert found.current == keys.current


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_accessible_to_others_is_refused(file: Path, mode: int) -> None:
    load_keys(file, {})
    file.chmod(mode)
    with refused("unsafe_key") as caught:
        load_keys(file, {})
    assert f"chmod 0600 {file}" in str(caught.value)


@needs_root
def test_a_key_file_of_another_user_is_refused(file: Path) -> None:
    load_keys(file, {})
    os.chown(file, 65534, 65534)
    with refused("unsafe_key"):
        load_keys(file, {})


def test_a_link_a_pipe_or_a_folder_is_not_a_key_file(file: Path, tmp_path: Path) -> None:
    load_keys(tmp_path / "elsewhere", {})
    file.parent.mkdir(mode=0o700)
    file.symlink_to(tmp_path / "elsewhere")
    with refused("unreadable"):
        load_keys(file, {})
    file.unlink()
    os.mkfifo(file)
    with refused("unsafe_key"):
        load_keys(file, {})
    file.unlink()
    file.mkdir()
    with refused("unsafe_key"):
        load_keys(file, {})


@pytest.mark.parametrize("mode", [0o770, 0o1777])
def test_a_state_folder_writable_by_others_is_refused(file: Path, mode: int) -> None:
    file.parent.mkdir()
    file.parent.chmod(mode)
    with refused("unsafe_folder") as caught:
        load_keys(file, {})
    assert "`state`" in str(caught.value) or "chmod" in str(caught.value)
    assert not file.exists()


# The store and its keys


def test_without_the_old_key_old_profiles_are_refused_and_new_ones_work(where: Path, file: Path) -> None:
    store = open_store(where)
    anna, _ = store.add(profile("anna")), store.add(profile("berta"))
    old = file.read_text()
    file.unlink()
    store = open_store(where)
    assert {name: problem.reason for name, problem in store.refused.items()} == {
        "anna": "wrong_key",
        "berta": "wrong_key",
    }
    with refused("wrong_key"):
        store.rename("anna", "clara")
    store.add(profile("clara"))
    store.replace(profile("berta", seed=1))
    assert names(store) == ["berta", "clara"]
    # Restore the old key as another line.
    with file.open("a") as keys:
        keys.write(old)
    store.refresh()
    assert names(store) == ["anna", "berta", "clara"]
    assert encode_profile(store.get("anna")) == encode_profile(anna)
    assert open_store(where).keys.find(old.split()[2]) is not None
    store.delete("anna")
    assert names(store) == ["berta", "clara"]


def test_a_profile_with_another_key_does_not_affect_the_others(where: Path) -> None:
    store = open_store(where)
    store.add(profile("anna"))
    elsewhere = ProfileStore(where, store.model, Keys(new_key()))
    elsewhere.add(profile("berta"))
    store.refresh()
    assert names(store) == ["anna"]
    assert store.refused["berta"].reason == "wrong_key"
    assert names(elsewhere) == ["berta"]
    assert elsewhere.refused["anna"].reason == "wrong_key"


def test_if_the_key_file_disappears_nothing_is_written_until_a_rekey(where: Path, file: Path) -> None:
    store = open_store(where)
    store.add(profile("anna"))
    file.unlink()
    for act in (store.refresh, lambda: store.add(profile("berta"))):
        with refused("no_key") as caught:
            act()
        assert "voiceauth profiles rekey" in str(caught.value)
    assert names(store) == ["anna"], "profiles that were read before stay usable"
    assert not file.exists()
    store.rekey()
    assert names(open_store(where)) == ["anna"]


def test_a_key_file_damaged_at_run_time_blocks_changes(where: Path, file: Path) -> None:
    store = open_store(where)
    store.add(profile("anna"))
    content = file.read_bytes()
    file.write_bytes(content[:-20])
    for act in (store.refresh, store.rekey, lambda: store.add(profile("berta")), lambda: store.delete("anna")):
        with refused("bad_key"):
            act()
    assert names(store) == ["anna"]
    assert profile_files(where) == ["anna.profile"]
    file.write_bytes(content)
    store.refresh()
    assert names(store) == ["anna"]


def test_an_old_unencrypted_profile_is_refused_until_imported(where: Path) -> None:
    store = open_store(where)
    anna = profile("anna")
    store.add(profile("berta"))
    (where / "anna.profile").write_bytes(encode_profile(anna))
    (where / "anna.profile").chmod(0o600)
    store.refresh()
    assert names(store) == ["berta"]
    with refused("wrong_version") as caught:
        store.get("anna")
    assert f"voiceauth profiles import {where / 'anna.profile'} --replace" in str(caught.value)
    store.put(anna)
    assert names(store) == ["anna", "berta"]
    assert (where / "anna.profile").read_bytes().startswith(b"voiceauthd-profile 2 ")
    assert keys_beside(where) == store.keys
