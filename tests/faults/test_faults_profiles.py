"""Profiles and keys that were changed, by an attacker or by a failing disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from daemon_caller import RefusedError
from faulty_daemon import OTHER, OWNER, OWNER_UID, FaultyDaemon, end, slow_except, start, start_faulty
from pam_room import PamRoom

from voiceauthd.errors import ExitCode
from voiceauthd.profiles.envelope import header_of, seal, unseal, unwrap
from voiceauthd.profiles.keys import Keys, load_keys, new_key
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.sealed import MAGIC, VERSION, open_profile, seal_profile

FILE, OTHER_FILE = file_name(OWNER), file_name(OTHER)
MEBIBYTE = 1 << 20

# Changes of a file


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def rehashed(data: bytes) -> bytes:
    """Return the data with the hash in its first line corrected, as an attacker would do."""
    first, _, rest = data.partition(b"\n")
    return b"%s %s\n%s" % (first.rsplit(b" ", 1)[0], hashlib.sha256(rest).hexdigest().encode(), rest)


def header_at(data: bytes) -> int:
    return data.index(b"\n") + 1


def body_at(data: bytes) -> int:
    return data.index(b"\n", header_at(data)) + 1


def with_header(field: str, value: str) -> Callable[[bytes], bytes]:
    """Return a change that replaces a text field in the header."""
    return lambda data: rehashed(re.sub(rf'"{field}":"[^"]*"'.encode(), f'"{field}":"{value}"'.encode(), data, count=1))


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "torn in the first line": lambda data: data[:10],
    "torn after the first line": lambda data: data[: header_at(data)],
    "torn in the header": lambda data: data[: header_at(data) + 20],
    "torn after the header": lambda data: data[: body_at(data)],
    "torn in the middle": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "a byte short, with a new hash": lambda data: rehashed(data[:-1]),
    "a byte long": lambda data: data + b"\0",
    "a byte long, with a new hash": lambda data: rehashed(data + b"\0"),
    "twice": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "too large": lambda data: data + bytes(2 * MEBIBYTE),
    "a bit of the version": lambda data: flipped(data, len(MAGIC) + 1),
    "a bit of the hash": lambda data: flipped(data, header_at(data) - 2),
    "a bit of the header": lambda data: flipped(data, header_at(data) + 30),
    "a bit of the header, with a new hash": lambda data: rehashed(flipped(data, header_at(data) + 30)),
    "a bit of the voice": lambda data: flipped(data, body_at(data) + 100),
    "a bit of the voice, with a new hash": lambda data: rehashed(flipped(data, body_at(data) + 100)),
    "a bit of the tag, with a new hash": lambda data: rehashed(flipped(data, len(data) - 1)),
    "another name in the header": with_header("name", OTHER),
    "another cipher": with_header("cipher", "none"),
    "another nonce": with_header("nonce", "AAAAAAAAAAAAAAAA"),
    "downgraded to version 1": lambda data: data.replace(b" 2 ", b" 1 ", 1),
    "of a later version": lambda data: data.replace(b" 2 ", b" 3 ", 1),
    "of no version": lambda data: data.replace(b" 2 ", b" ", 1),
}

QUICK = {
    "empty",
    "torn in the middle",
    "a byte short",
    "a bit of the voice",
    "a bit of the voice, with a new hash",
    "downgraded to version 1",
}


@pytest.fixture
def profile(faulty: FaultyDaemon) -> Iterator[Path]:
    """The owner's file. After the test both profiles are restored."""
    folder = faulty.daemon.profiles
    before = {name: (folder / name).read_bytes() for name in (FILE, OTHER_FILE)}
    yield folder / FILE
    for name, data in before.items():
        remove(folder / name)
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    faulty.reload()


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def refused(faulty: FaultyDaemon, fault: str, *errors: str) -> None:
    """Assert that nobody is accepted after a reload, and that each attempt gets one of these errors."""
    faulty.reload()
    found = faulty.accepts_nobody(fault)
    assert all(any(error in one.message for error in errors) for one in found if one.way != "PAM"), found


@pytest.mark.parametrize("what", slow_except(BYTES, QUICK))
def test_a_changed_file_accepts_nobody(faulty: FaultyDaemon, profile: Path, what: str) -> None:
    data = profile.read_bytes()
    profile.write_bytes(BYTES[what](data))
    assert profile.read_bytes() != data
    refused(faulty, f"the profile's file: {what}", "ProfileUnusable", "profile_unusable", "StorageError")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_change_of_any_single_byte_accepts_nobody(faulty: FaultyDaemon, profile: Path) -> None:
    data = profile.read_bytes()
    for place in range(len(data)):
        for changed in (flipped(data, place, place % 8), rehashed(flipped(data, place, place % 8))):
            if changed == data:  # the changed hash was corrected
                continue
            profile.write_bytes(changed)
            faulty.reload()
            faulty.accepts_nobody("one bit of the profile's file", found=[faulty.by_socket()])


def forged(data: bytes, keys: Keys, change: Callable[[dict], None]) -> bytes:
    """Return a file with a valid tag and wrong content, which only somebody with the key can make."""
    wrapped = unwrap(data, MAGIC, "", "")
    header = msgspec.json.decode(header_of(wrapped))
    nonce = msgspec.json.decode(msgspec.json.encode(header["nonce"]), type=bytes)
    record = msgspec.json.decode(unseal(wrapped, keys.current.secret, nonce))
    change(record)
    body = msgspec.json.encode(record) + b"\n"
    return seal(MAGIC, VERSION, header_of(wrapped), body, keys.current.secret, nonce)


def vectors(value: float) -> Callable[[dict], None]:
    def change(record: dict) -> None:
        for one in record["exemplars"]:
            vector = np.full(record["model"]["dimension"], value, "<f4").tobytes()
            one["vector"] = msgspec.json.decode(msgspec.json.encode(vector))

    return change


FORGED: dict[str, Callable[[dict], None]] = {
    "nothing": lambda record: None,
    "no exemplars": lambda record: record["exemplars"].clear(),
    "exemplars of NaN": vectors(float("nan")),
    "exemplars of zeros": vectors(0.0),
    "exemplars of infinity": vectors(float("inf")),
    "exemplars of the wrong length": vectors(1e6),
    "another name in the record": lambda record: record.update(name=OTHER),
    "another model in the record": lambda record: record["model"].update(digest="f" * 64),
    "another dimension": lambda record: record["model"].update(dimension=32),
}


@pytest.mark.parametrize("what", slow_except(FORGED, {"nothing", "no exemplars"}))
def test_an_authentic_file_with_invalid_content_accepts_nobody(faulty: FaultyDaemon, profile: Path, what: str) -> None:
    keys = load_keys(faulty.daemon.folder / "profiles.key", {})
    profile.write_bytes(forged(profile.read_bytes(), keys, FORGED[what]))
    if what == "nothing":  # the control: a file forged without a change is accepted
        faulty.reload()
        faulty.accepts_the_owner()
    else:
        refused(faulty, f"the profile's record: {what}", "ProfileUnusable", "StorageError")


def test_another_persons_file_under_this_name_accepts_nobody(faulty: FaultyDaemon, profile: Path) -> None:
    """The owner's file replaces the other person's: the owner's voice must not unlock the other account."""
    other = profile.with_name(OTHER_FILE)
    other.unlink()
    profile.rename(other)
    faulty.reload()
    found = faulty.accepts_nobody("another person's file", name=OTHER) + faulty.accepts_nobody("the file has moved")
    assert all("Unusable" in one.message or "StorageError" in one.message for one in found[:2]), found


def test_two_exchanged_files_accept_nobody(faulty: FaultyDaemon, profile: Path) -> None:
    other = profile.with_name(OTHER_FILE)
    mine, theirs = profile.read_bytes(), other.read_bytes()
    profile.write_bytes(theirs)
    other.write_bytes(mine)
    faulty.reload()
    faulty.accepts_nobody("exchanged files")
    faulty.accepts_nobody("exchanged files", name=OTHER)


def test_an_unencrypted_profile_accepts_nobody(faulty: FaultyDaemon, profile: Path) -> None:
    """Somebody who can write to the folder could make one of their own voice without the key."""
    profile.write_text(faulty.daemon.ask("ExportProfile", name=OWNER)["document"])
    refused(faulty, "a profile of version 1", "ProfileUnusable", "StorageError")


def test_a_profile_encrypted_with_another_key_accepts_nobody(faulty: FaultyDaemon, profile: Path) -> None:
    keys = load_keys(faulty.daemon.folder / "profiles.key", {})
    mine = open_profile(profile.read_bytes(), keys)
    profile.write_bytes(seal_profile(mine, new_key()))
    refused(faulty, "a profile under another key", "ProfileUnusable", "StorageError")


def as_link(profile: Path) -> None:
    elsewhere = profile.with_name("elsewhere")
    profile.rename(elsewhere)
    profile.symlink_to(elsewhere)


def as_folder(profile: Path) -> None:
    profile.unlink()
    profile.mkdir()


def as_pipe(profile: Path) -> None:
    profile.unlink()
    os.mkfifo(profile, 0o600)


PLACES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "a link": as_link,
    "a folder": as_folder,
    "a pipe": as_pipe,
    "writable by everybody": lambda profile: profile.chmod(0o666),
    "another user's": lambda profile: os.chown(profile, OWNER_UID, OWNER_UID),
}


@pytest.mark.parametrize("what", slow_except(PLACES, {"gone", "another user's"}))
def test_a_file_with_wrong_type_owner_or_mode_accepts_nobody(faulty: FaultyDaemon, profile: Path, what: str) -> None:
    PLACES[what](profile)
    refused(faulty, f"the profile's file is {what}", "ProfileUnusable", "StorageFailed", "StorageError", "NotEnrolled")
    profile.with_name("elsewhere").unlink(missing_ok=True)


def test_a_profile_that_is_torn_while_the_owner_speaks_accepts_nobody(faulty: FaultyDaemon, profile: Path) -> None:
    data = profile.read_bytes()

    def tear() -> None:
        profile.write_bytes(data[:-1])
        faulty.reload()

    def restore() -> None:
        profile.write_bytes(data)
        faulty.reload()

    found = faulty.midway(tear, before=restore)
    faulty.accepts_nobody("the profile is torn while the owner speaks", found=found)
    assert [one.message for one in found[:2]] == ["not_enrolled"] * 2


# The key


@contextlib.contextmanager
def restarted(faulty: FaultyDaemon, pam: PamRoom) -> Iterator[FaultyDaemon]:
    """Another daemon on the same folder."""
    faulty.daemon.end()
    again = FaultyDaemon(start(faulty.daemon.folder), pam)
    try:
        again.daemon.await_ready()
        with again.speaking():
            yield again
    finally:
        end(again.daemon)


def another_key(key: Path) -> None:
    key.unlink()
    load_keys(key, {})


@pytest.mark.parametrize("what", slow_except(["another", "gone"], {"another"}))
def test_the_wrong_key_accepts_nobody(own_pam: PamRoom, what: str) -> None:
    with start_faulty(pam=own_pam) as faulty:
        with faulty.speaking():
            faulty.accepts_the_owner()
        key = faulty.daemon.folder / "profiles.key"
        right = key.read_bytes()
        if what == "another":
            another_key(key)
            faulty.reload()
            with faulty.speaking():
                faulty.accepts_nobody("another key")
        else:
            key.unlink()
        with restarted(faulty, own_pam) as again:
            assert key.read_bytes() != right
            found = again.accepts_nobody(f"the key is {what} after a restart")
            assert all("ProfileUnusable" in one.message or "StorageError" in one.message for one in found[:2])
            again.falls_through_to_the_password()
            key.write_bytes(right)
            again.reload()
            again.accepts_the_owner()


@pytest.mark.parametrize("what", slow_except(["torn", "seen by others"], set()))
def test_the_daemon_does_not_start_with_a_key_that_cannot_be_trusted(folder: Path, own_pam: PamRoom, what: str) -> None:
    with start_faulty(pam=own_pam, folder=folder):
        pass
    key = folder / "profiles.key"
    if what == "torn":
        key.write_bytes(key.read_bytes()[:-20])
    else:
        key.chmod(0o644)
    daemon = start(folder)
    assert daemon.wait() == ExitCode.STORAGE
    assert len([line for line in daemon.log.read_text().splitlines() if "ERROR" in line]) == 1
    dead = FaultyDaemon(daemon, own_pam)
    dead.accepts_nobody(f"the key is {what}")
    dead.falls_through_to_the_password()


def test_a_reload_without_the_key_file_is_refused_and_the_profiles_stay_in_use(faulty: FaultyDaemon) -> None:
    """The profiles in memory are authentic, so deleting the key file does not affect them."""
    key = faulty.daemon.folder / "profiles.key"
    kept = key.rename(key.with_name("kept"))
    with pytest.raises(RefusedError):
        faulty.reload()
    faulty.accepts_the_owner(pam=False)
    kept.rename(key)
