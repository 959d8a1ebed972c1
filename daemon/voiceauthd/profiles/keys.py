"""The keys that profiles are sealed with: where they come from, and how they are kept.

    voiceauthd-key-1 BASE64-OF-32-BYTES ID

A line a key. The first one seals; the others are there to read what was sealed before. The id is a hash of the key, so
it may be told to anybody; it also finds a key that was mistyped. It may be left out of a line that is made by hand.

The keys are a systemd credential if there is one, else a file that is made at the first start. Never both: if the file
counted beside a credential, whoever can write the disk could bring a key along with the profiles sealed with it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import logging
import os
import secrets
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voiceauthd.errors import StorageError
from voiceauthd.profiles.envelope import KEY_BYTES
from voiceauthd.profiles.folder import STATE, locked_folder, write_file

log = logging.getLogger(__name__)

KEY_FILE = "profiles.key"
"""In the state folder; and the name of the credential."""

WORD = "voiceauthd-key-1"

ID_DIGITS = 16
"""Hexadecimal: 64 bits of a hash tell any number of keys apart that a machine will ever have."""

MAX_BYTES = 64 * 1024
"""Of a key file. A key takes 79 bytes, and there are more than two only after rekeying has failed."""

SEEN_BY_OTHERS = stat.S_IRWXO

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Key:
    """One key. What is printed of it is the id, never the secret."""

    secret: bytes = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        object.__setattr__(self, "id", _id_of(self.secret))


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where keys are kept. A credential is never written."""

    path: Path
    credential: bool = False

    def __str__(self) -> str:
        return f"the credential {self.path}" if self.credential else str(self.path)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys at hand.

    current  seals
    others   only read what was sealed with them
    source   where they were read; None for keys that are in memory alone
    made     the file was not there, and was made just now
    """

    current: Key
    others: tuple[Key, ...] = ()
    source: KeySource | None = None
    made: bool = field(default=False, compare=False)

    def all(self) -> tuple[Key, ...]:
        """The current one first."""
        return (self.current, *self.others)

    def find(self, key_id: str) -> Key | None:
        """The key of that id."""
        return next((key for key in self.all() if key.id == key_id), None)

    def again(self) -> Keys:
        """As they are now where they are kept. Raises `StorageError` as `load_keys` does, and `no_key` if the file has
        gone: none is made in its place, as this process still knows the keys."""
        if self.source is None:
            return self
        found = _read(self.source)
        if found is None:
            raise StorageError(
                f"{self.source} has gone, and profiles would be lost with it: put it back, or let "
                "`voiceauth profiles rekey` write a new one while the daemon still knows the old keys",
                "no_key",
            )
        return found

    def with_current(self, key: Key) -> Keys:
        """These, and before them `key`."""
        return dataclasses.replace(self, current=key, others=tuple(each for each in self.all() if each != key))

    def only(self, ids: Iterable[str]) -> Keys:
        """The current one, and of the others those of these ids."""
        wanted = set(ids)
        return dataclasses.replace(self, others=tuple(key for key in self.others if key.id in wanted))

    def write(self) -> None:
        """Puts them where they are kept, in the place of what is there, whole or not at all.

        Raises `StorageError`: `disk_full`, `write_failed`, `not_durable`, `unsafe_folder`.
        """
        if self.source is None:
            return
        if self.source.credential:
            raise StorageError(f"{self.source} is not written: change the credential itself", "read_only")
        with locked_folder(self.source.path.parent, STATE) as folder:
            write_file(folder, self.source.path.name, _encode(self), STATE)


def new_key() -> Key:
    """From the system's random source."""
    return Key(secrets.token_bytes(KEY_BYTES))


def load_keys(file: Path, environment: Mapping[str, str] | None = None) -> Keys:
    """The keys of this machine: the credential `profiles.key`, if systemd gives one, else `file`, which is made if it
    is not there. A file that cannot be used is never overwritten.

    Raises `StorageError`: `bad_key` (torn, or no key file), `unsafe_key` (others may see or change it), `unreadable`,
    `unsafe_folder`, and as `write_file` does.
    """
    environment = os.environ if environment is None else environment
    if given := environment.get("CREDENTIALS_DIRECTORY"):
        found = _read(KeySource(Path(given) / KEY_FILE, credential=True))
        if found is not None:
            return found
    source = KeySource(file)
    with locked_folder(file.parent, STATE) as folder:
        found = _read(source)
        if found is not None:
            return found
        made = Keys(new_key(), source=source, made=True)
        write_file(folder, file.name, _encode(made), STATE)
    log.warning("made the key %s in %s: keep a copy, no profile can be read without it", made.current.id, source)
    return made


def _id_of(secret: bytes) -> str:
    return hashlib.sha256(b"voiceauthd key id\n" + secret).hexdigest()[:ID_DIGITS]


def _encode(keys: Keys) -> bytes:
    lines = (f"{WORD} {base64.b64encode(key.secret).decode()} {key.id}\n" for key in keys.all())
    return "".join(lines).encode()


def _decode(data: bytes, source: KeySource) -> Keys:
    keys: list[Key] = []
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        if not line.strip():
            continue
        key = _key_of(line.split())
        if key is None:
            raise _unusable(f"is torn or no key file (line {number})", source)
        if key not in keys:
            keys.append(key)
    if not keys:
        raise _unusable("is empty", source)
    return Keys(keys[0], tuple(keys[1:]), source)


def _key_of(words: list[str]) -> Key | None:
    if not 2 <= len(words) <= 3 or words[0] != WORD:
        return None
    try:
        key = Key(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        return None
    return key if len(words) == 2 or words[2] == key.id else None


def _unusable(problem: str, source: KeySource) -> StorageError:
    way_out = "" if source.credential else ", or move it away, and import or enrol everybody again: a new one is made"
    return StorageError(f"{source} {problem}: put it back from a copy{way_out}", "bad_key")


def _read(source: KeySource) -> Keys | None:
    """None if there is nothing of that name."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(source.path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(source, error) from error
    try:
        _check(os.fstat(file), source)
        data = os.read(file, MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(source, error) from error
    finally:
        os.close(file)
    if len(data) > MAX_BYTES:
        raise _unusable(f"is larger than {MAX_BYTES} bytes", source)
    return _decode(data, source)


def _unreadable(source: KeySource, error: OSError) -> StorageError:
    return StorageError(
        f"{source} cannot be read ({error.strerror}): it must be a file that the daemon's user owns", "unreadable"
    )


def _check(status: os.stat_result, source: KeySource) -> None:
    """A credential may belong to root, and be lent to the service's user by an access list, which shows as the group's
    right to read."""
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{source} is not a file: put the key file itself there", "unsafe_key")
    owners = {os.geteuid(), 0} if source.credential else {os.geteuid()}
    if status.st_uid not in owners:
        raise StorageError(
            f"{source} belongs to user {status.st_uid}, so it is not trusted: give it to user {os.geteuid()} if the "
            "keys in it are yours",
            "unsafe_key",
        )
    forbidden = WRITABLE_BY_OTHERS | SEEN_BY_OTHERS | (0 if source.credential else stat.S_IRWXG)
    if status.st_mode & forbidden:
        raise StorageError(
            f"{source} can be seen or changed by others (mode {stat.S_IMODE(status.st_mode):04o}): run "
            f"`chmod 0600 {shlex.quote(str(source.path))}`, and then `voiceauth profiles rekey`: the key may be known",
            "unsafe_key",
        )
