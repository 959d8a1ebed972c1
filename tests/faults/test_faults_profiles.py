"""Somebody, or a disk that fails, has been at the owner's profile, or at the key."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from daemon_caller import RefusedError
from fault_parts import OTHER, OWNER, OWNER_UID, House, end, new_house, some, start
from pam_room import PamRoom

from voiceauthd.errors import ExitCode
from voiceauthd.profiles.envelope import header_of, seal, unseal, unwrap
from voiceauthd.profiles.keys import Keys, load_keys, new_key
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.sealed import MAGIC, VERSION, open_profile, seal_profile

FILE, OTHER_FILE = file_name(OWNER), file_name(OTHER)
MEBIBYTE = 1 << 20

# What happens to bytes


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def rehashed(data: bytes) -> bytes:
    """With the hash of the first line set right, as whoever changes a file on purpose would do."""
    import hashlib

    first, _, rest = data.partition(b"\n")
    return b"%s %s\n%s" % (first.rsplit(b" ", 1)[0], hashlib.sha256(rest).hexdigest().encode(), rest)


def header_at(data: bytes) -> int:
    return data.index(b"\n") + 1


def body_at(data: bytes) -> int:
    return data.index(b"\n", header_at(data)) + 1


def with_header(field: str, value: str) -> Callable[[bytes], bytes]:
    """Another value of a text field in the header."""
    return lambda data: rehashed(re.sub(rf'"{field}":"[^"]*"'.encode(), f'"{field}":"{value}"'.encode(), data, count=1))


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "torn in the first line": lambda data: data[:10],
    "torn after the first line": lambda data: data[: header_at(data)],
    "torn in the header": lambda data: data[: header_at(data) + 20],
    "torn after the header": lambda data: data[: body_at(data)],
    "torn in the middle": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "a byte short, and hashed anew": lambda data: rehashed(data[:-1]),
    "a byte long": lambda data: data + b"\0",
    "a byte long, and hashed anew": lambda data: rehashed(data + b"\0"),
    "twice": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "too large": lambda data: data + bytes(2 * MEBIBYTE),
    "a bit of the version": lambda data: flipped(data, len(MAGIC) + 1),
    "a bit of the hash": lambda data: flipped(data, header_at(data) - 2),
    "a bit of the header": lambda data: flipped(data, header_at(data) + 30),
    "a bit of the header, and hashed anew": lambda data: rehashed(flipped(data, header_at(data) + 30)),
    "a bit of the voice": lambda data: flipped(data, body_at(data) + 100),
    "a bit of the voice, and hashed anew": lambda data: rehashed(flipped(data, body_at(data) + 100)),
    "a bit of the tag, and hashed anew": lambda data: rehashed(flipped(data, len(data) - 1)),
    "another name outside": with_header("name", OTHER),
    "another cipher": with_header("cipher", "none"),
    "another nonce": with_header("nonce", "AAAAAAAAAAAAAAAA"),
    "downgraded to version 1": lambda data: data.replace(b" 2 ", b" 1 ", 1),
    "of a version to come": lambda data: data.replace(b" 2 ", b" 3 ", 1),
    "of no version": lambda data: data.replace(b" 2 ", b" ", 1),
}

OFTEN = {
    "empty",
    "torn in the middle",
    "a byte short",
    "a bit of the voice",
    "a bit of the voice, and hashed anew",
    "downgraded to version 1",
}


@pytest.fixture
def profile(house: House) -> Iterator[Path]:
    """The owner's file, which is put back, together with whatever else is in the folder."""
    folder = house.box.profiles
    before = {name: (folder / name).read_bytes() for name in (FILE, OTHER_FILE)}
    yield folder / FILE
    for name, data in before.items():
        put_away(folder / name)
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    house.reload()


def put_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def refused(house: House, fault: str, *said: str) -> None:
    """Nobody is let in, and the socket says one of this, before anything is heard."""
    house.reload()
    found = house.lets_nobody_in(fault)
    assert all(any(word in one.said for word in said) for one in found if one.way != "PAM"), found


@pytest.mark.parametrize("what", some(BYTES, OFTEN))
def test_a_file_that_was_changed_lets_nobody_in(house: House, profile: Path, what: str) -> None:
    data = profile.read_bytes()
    profile.write_bytes(BYTES[what](data))
    assert profile.read_bytes() != data
    refused(house, f"the profile's file: {what}", "ProfileUnusable", "profile_unusable", "StorageError")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_single_bit_can_be_changed(house: House, profile: Path) -> None:
    data = profile.read_bytes()
    for place in range(len(data)):
        for changed in (flipped(data, place, place % 8), rehashed(flipped(data, place, place % 8))):
            if changed == data:  # a bit of the hash that was set right
                continue
            profile.write_bytes(changed)
            house.reload()
            house.lets_nobody_in("one bit of the profile's file", found=[house.by_socket()])


def forged(data: bytes, keys: Keys, change: Callable[[dict], None]) -> bytes:
    """What only somebody with the key can make: authentic, and wrong."""
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
    "exemplars that are too long": vectors(1e6),
    "another name inside": lambda record: record.update(name=OTHER),
    "another model inside": lambda record: record["model"].update(digest="f" * 64),
    "another dimension": lambda record: record["model"].update(dimension=32),
}


@pytest.mark.parametrize("what", some(FORGED, {"nothing", "no exemplars"}))
def test_an_authentic_file_that_makes_no_sense_lets_nobody_in(house: House, profile: Path, what: str) -> None:
    keys = load_keys(house.box.folder / "profiles.key", {})
    profile.write_bytes(forged(profile.read_bytes(), keys, FORGED[what]))
    if what == "nothing":  # the control: a file that was forged well is taken
        house.reload()
        house.lets_the_owner_in()
    else:
        refused(house, f"the profile's record: {what}", "ProfileUnusable", "StorageError")


def test_another_persons_file_under_this_name_lets_nobody_in(house: House, profile: Path) -> None:
    """The owner's file takes the place of the other's: the owner's voice must not open the other's account."""
    other = profile.with_name(OTHER_FILE)
    other.unlink()
    profile.rename(other)
    house.reload()
    found = house.lets_nobody_in("another person's file", name=OTHER) + house.lets_nobody_in("the file has moved")
    assert all("Unusable" in one.said or "StorageError" in one.said for one in found[:2]), found


def test_files_that_have_changed_places_let_nobody_in(house: House, profile: Path) -> None:
    other = profile.with_name(OTHER_FILE)
    mine, theirs = profile.read_bytes(), other.read_bytes()
    profile.write_bytes(theirs)
    other.write_bytes(mine)
    house.reload()
    house.lets_nobody_in("files that have changed places")
    house.lets_nobody_in("files that have changed places", name=OTHER)


def test_a_profile_from_before_encryption_lets_nobody_in(house: House, profile: Path) -> None:
    """Whoever can write the folder could make one of their own voice; there is no key in it."""
    profile.write_text(house.box.ask("ExportProfile", name=OWNER)["document"])
    refused(house, "a profile of version 1", "ProfileUnusable", "StorageError")


def test_a_profile_that_was_sealed_elsewhere_lets_nobody_in(house: House, profile: Path) -> None:
    keys = load_keys(house.box.folder / "profiles.key", {})
    mine = open_profile(profile.read_bytes(), keys)
    profile.write_bytes(seal_profile(mine, new_key()))
    refused(house, "a profile under another key", "ProfileUnusable", "StorageError")


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
    "everybody's to write": lambda profile: profile.chmod(0o666),
    "another user's": lambda profile: os.chown(profile, OWNER_UID, OWNER_UID),
}


@pytest.mark.parametrize("what", some(PLACES, {"gone", "another user's"}))
def test_a_file_that_is_not_as_it_was_left_lets_nobody_in(house: House, profile: Path, what: str) -> None:
    PLACES[what](profile)
    refused(house, f"the profile's file is {what}", "ProfileUnusable", "StorageFailed", "StorageError", "NotEnrolled")
    profile.with_name("elsewhere").unlink(missing_ok=True)


def test_a_profile_that_is_torn_while_the_owner_speaks_lets_nobody_in(house: House, profile: Path) -> None:
    data = profile.read_bytes()

    def tear() -> None:
        profile.write_bytes(data[:-1])
        house.reload()

    def mend() -> None:
        profile.write_bytes(data)
        house.reload()

    found = house.midway(tear, before=mend)
    house.lets_nobody_in("the profile is torn while the owner speaks", found=found)
    assert [one.said for one in found[:2]] == ["not_enrolled"] * 2


# The key


@contextlib.contextmanager
def restarted(house: House, pam: PamRoom) -> Iterator[House]:
    """The same folder, another process."""
    house.box.end()
    again = House(start(house.box.folder), pam)
    try:
        again.box.await_ready()
        with again.speaking():
            yield again
    finally:
        end(again.box)


def another_key(key: Path) -> None:
    key.unlink()
    load_keys(key, {})


@pytest.mark.parametrize("what", some(["another", "gone"], {"another"}))
def test_the_wrong_key_lets_nobody_in(own_pam: PamRoom, what: str) -> None:
    with new_house(pam=own_pam) as house:
        with house.speaking():
            house.lets_the_owner_in()
        key = house.box.folder / "profiles.key"
        right = key.read_bytes()
        if what == "another":
            another_key(key)
            house.reload()
            with house.speaking():
                house.lets_nobody_in("another key")
        else:
            key.unlink()
        with restarted(house, own_pam) as again:
            assert key.read_bytes() != right
            found = again.lets_nobody_in(f"the key is {what} after a restart")
            assert all("ProfileUnusable" in one.said or "StorageError" in one.said for one in found[:2])
            again.falls_through_to_the_password()
            key.write_bytes(right)
            again.reload()
            again.lets_the_owner_in()


@pytest.mark.parametrize("what", some(["torn", "seen by others"], set()))
def test_a_key_that_cannot_be_trusted_keeps_the_daemon_from_starting(folder: Path, own_pam: PamRoom, what: str) -> None:
    with new_house(pam=own_pam, folder=folder):
        pass
    key = folder / "profiles.key"
    if what == "torn":
        key.write_bytes(key.read_bytes()[:-20])
    else:
        key.chmod(0o644)
    box = start(folder)
    assert box.wait() == ExitCode.STORAGE
    assert len([line for line in box.log.read_text().splitlines() if "ERROR" in line]) == 1
    dead = House(box, own_pam)
    dead.lets_nobody_in(f"the key is {what}")
    dead.falls_through_to_the_password()


def test_a_reload_without_the_key_keeps_what_was_known(house: House) -> None:
    """The profiles in memory are authentic: who deletes the key on the disk changes nothing of them."""
    key = house.box.folder / "profiles.key"
    kept = key.rename(key.with_name("kept"))
    with pytest.raises(RefusedError):
        house.reload()
    house.lets_the_owner_in(pam=False)
    kept.rename(key)
