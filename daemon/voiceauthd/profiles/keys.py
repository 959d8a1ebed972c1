"""The keys that profiles are sealed with: where they come from, and how they are stored.

    voiceauthd-key-1 BASE64-OF-32-BYTES ID

One key per line. The first one seals; the others open what was sealed earlier. The id is a hash of the key, so it is
not secret; it also detects a mistyped key. It may be omitted from a line written by hand.

The keys are a systemd credential if there is one, otherwise a file that is made at the first start. Never both: if the
file were used beside a credential, an attacker who can write to the disk could add a key and profiles sealed with it.
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
from voiceauthd.profiles.folder import STATE, folder_to_read, locked_folder, write_file

log = logging.getLogger(__name__)

KEY_FILE = "profiles.key"
"""Name of the file in the state folder, and of the credential."""

KEY_WORD = "voiceauthd-key-1"
"""First word of each line."""

ID_DIGITS = 16
"""Hexadecimal digits, 64 bits of the hash."""

MAX_BYTES = 64 * 1024
"""Maximum size of a key file. A key takes 79 bytes, and there are more than two only after a failed rekey."""

ACCESSIBLE_TO_OTHERS = stat.S_IRWXO

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Only the id is ever printed."""

    secret: bytes = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        object.__setattr__(self, "id", _id_of(self.secret))


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where keys are stored. A credential is never written."""

    path: Path
    credential: bool = False

    def __str__(self) -> str:
        return f"the credential {self.path}" if self.credential else str(self.path)


@dataclass(frozen=True, slots=True)
class Keys:
    """The available keys.

    current  seals and opens
    others   only open what was sealed with them
    source   where they were read; None for keys in memory only
    made     whether the file did not exist and was made by this call
    """

    current: Key
    others: tuple[Key, ...] = ()
    source: KeySource | None = None
    made: bool = field(default=False, compare=False)

    def all(self) -> tuple[Key, ...]:
        """Return all keys, the current one first."""
        return (self.current, *self.others)

    def find(self, key_id: str) -> Key | None:
        """Return the key with this id."""
        return next((key for key in self.all() if key.id == key_id), None)

    def reload(self) -> Keys:
        """Read the keys again. Raises `StorageError` as `load_keys` does, and `no_key` if the file is missing: no new
        one is made, because this process still knows the keys."""
        if self.source is None:
            return self
        found = _read(self.source)
        if found is None:
            raise StorageError(
                f"{self.source} is missing, and profiles would be lost without it: restore it, or run "
                "`voiceauth profiles rekey` to write a new one while the daemon still knows the old keys",
                "no_key",
            )
        return found

    def with_current(self, key: Key) -> Keys:
        """Return these keys with `key` as the current one."""
        return dataclasses.replace(self, current=key, others=tuple(each for each in self.all() if each != key))

    def only(self, ids: Iterable[str]) -> Keys:
        """Return the current key, and those of the others that have one of these ids."""
        wanted = set(ids)
        return dataclasses.replace(self, others=tuple(key for key in self.others if key.id in wanted))

    def write(self) -> None:
        """Replace the stored keys atomically.

        Raises `StorageError`: `disk_full`, `write_failed`, `not_durable`, `unsafe_folder`.
        """
        if self.source is None:
            return
        if self.source.credential:
            raise StorageError(f"{self.source} is not written: change the credential itself", "read_only")
        with locked_folder(self.source.path.parent, STATE) as folder:
            write_file(folder, self.source.path.name, encode_keys(self), STATE)


def new_key() -> Key:
    """Return a key from the system's random source."""
    return Key(secrets.token_bytes(KEY_BYTES))


def load_keys(file: Path, environment: Mapping[str, str] | None = None) -> Keys:
    """Return the keys of this machine: those in the credential `profiles.key` if systemd provides it, otherwise those
    in `file`, which is made if it does not exist. An unusable file is never overwritten.

    Raises `StorageError`: `bad_key` (damaged, or not a key file), `unsafe_key` (others can read or change it),
    `unreadable`, `unsafe_folder`, and as `write_file` does.
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
        write_file(folder, file.name, encode_keys(made), STATE)
    log.warning("made the key %s in %s: keep a copy; no profile can be read without it", made.current.id, source)
    return made


def read_keys(file: Path, environment: Mapping[str, str] | None = None) -> Keys | None:
    """Return the keys as `load_keys` does, but make none: None if there are none. Root may read any user's.

    Raises `StorageError` as `load_keys` does.
    """
    environment = os.environ if environment is None else environment
    if given := environment.get("CREDENTIALS_DIRECTORY"):
        # Where systemd cannot set an access control list, it gives the credential to the service's user.
        user = file.parent.stat().st_uid if os.geteuid() == 0 and file.parent.exists() else None
        found = _read(KeySource(Path(given) / KEY_FILE, credential=True), user)
        if found is not None:
            return found
    if not file.parent.exists():
        return None
    with folder_to_read(file.parent, STATE) as (_, owner):
        return _read(KeySource(file), owner)


def _id_of(secret: bytes) -> str:
    return hashlib.sha256(b"voiceauthd key id\n" + secret).hexdigest()[:ID_DIGITS]


def encode_keys(keys: Keys) -> bytes:
    """Return the content of a key file."""
    lines = (f"{KEY_WORD} {base64.b64encode(key.secret).decode()} {key.id}\n" for key in keys.all())
    return "".join(lines).encode()


def _decode(data: bytes, source: KeySource) -> Keys:
    keys: list[Key] = []
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        if not line.strip():
            continue
        key = _parse_key(line.split())
        if key is None:
            raise _unusable(f"is damaged or is not a key file (line {number})", source)
        if key not in keys:
            keys.append(key)
    if not keys:
        raise _unusable("is empty", source)
    return Keys(keys[0], tuple(keys[1:]), source)


def _parse_key(words: list[str]) -> Key | None:
    if not 2 <= len(words) <= 3 or words[0] != KEY_WORD:
        return None
    try:
        key = Key(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        return None
    return key if len(words) == 2 or words[2] == key.id else None


def _unusable(problem: str, source: KeySource) -> StorageError:
    otherwise = "" if source.credential else ", or move it away (a new one is made) and import or enrol everybody again"
    return StorageError(f"{source} {problem}: restore it from a copy{otherwise}", "bad_key")


def _read(source: KeySource, owner: int | None = None) -> Keys | None:
    """Return the stored keys; None if the file does not exist. `owner`: see `_check`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(source.path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(source, error) from error
    try:
        _check(os.fstat(file), source, os.geteuid() if owner is None else owner)
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


def _check(status: os.stat_result, source: KeySource, owner: int) -> None:
    """Check type, owner and mode. `owner`: the uid that a key file must belong to.

    A credential may belong to root and be readable for the service's user through an access control list, which appears
    as the group's right to read.
    """
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{source} is not a file: put the key file itself there", "unsafe_key")
    owners = {owner, 0} if source.credential else {owner}
    if status.st_uid not in owners:
        raise StorageError(
            f"{source} belongs to user {status.st_uid}, so it is not trusted: give it to user {owner} if the "
            "keys in it are yours",
            "unsafe_key",
        )
    forbidden = WRITABLE_BY_OTHERS | ACCESSIBLE_TO_OTHERS | (0 if source.credential else stat.S_IRWXG)
    if status.st_mode & forbidden:
        raise StorageError(
            f"{source} can be read or changed by others (mode {stat.S_IMODE(status.st_mode):04o}): run "
            f"`chmod 0600 {shlex.quote(str(source.path))}`, and then `voiceauth profiles rekey`: the key may be known",
            "unsafe_key",
        )
