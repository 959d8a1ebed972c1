"""The file of a backup: its contents, sealed with a passphrase.

    voiceauthd-machine-backup 1 SHA256-OF-THE-REST
    {"cipher":"AES-256-GCM","kdf":"scrypt","n":…,"r":…,"p":…,"salt":…,"nonce":…}
    THE SEALED CONTENTS

`docs/backup.md` describes the format for other readers.
"""

from __future__ import annotations

import sys

from voiceauthd.backup.contents import MAX_BYTES, Contents, decode_contents, encode_contents
from voiceauthd.errors import StorageError
from voiceauthd.profiles import passphrase_envelope
from voiceauthd.profiles.backup import is_backup
from voiceauthd.profiles.passphrase_envelope import Sealed

MAGIC = b"voiceauthd-machine-backup"

VERSION = 1

WHAT = "the backup"

MAX_FILE_BYTES = MAX_BYTES + 4096
"""The contents, and what is around them."""


def seal_contents(contents: Contents, passphrase: str) -> bytes:
    """Return the content of the file. Takes some tenths of a second.

    Raises `UsageError`, reason `weak_passphrase`; `StorageError` for contents that could not be restored.
    """
    return passphrase_envelope.seal(MAGIC, VERSION, encode_contents(contents), passphrase)


def parse_file(data: bytes) -> Sealed:
    """Check a file before the user is asked for its passphrase.

    Raises `StorageError`: `too_large`, `torn`, `wrong_format`, `wrong_version`.
    """
    if len(data) > MAX_FILE_BYTES:
        raise StorageError(f"{WHAT} is larger than {MAX_FILE_BYTES} bytes, the maximum", "too_large")
    if is_backup(data[:4096].decode("ascii", "replace")):
        raise StorageError(
            "this is the backup of one profile: `voiceauth profiles import` reads it, while the daemon runs",
            "wrong_format",
        )
    return passphrase_envelope.parse(data, MAGIC, VERSION, WHAT)


def open_file(sealed: Sealed, passphrase: str) -> Contents:
    """Return the contents. Raises `StorageError`: `wrong_passphrase`, and as `decode_contents` does."""
    return decode_contents(passphrase_envelope.unseal(sealed, passphrase))


def read_bytes(file: str) -> bytes:
    """Return the content of `file`; - is standard input. Reads one byte more than the maximum at most.

    Raises `StorageError` if it cannot be read.
    """
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        with open(file, "rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise StorageError(f"cannot read {file}: {problem.strerror or problem}") from problem
