"""An exported profile encrypted with a passphrase: text that can be mailed, printed and stored anywhere.

    -----BEGIN VOICEAUTHD BACKUP-----
    BASE64 OF:
        voiceauthd-backup 1 SHA256-OF-THE-REST
        {"cipher":"AES-256-GCM","kdf":"scrypt","n":…,"r":…,"p":…,"salt":…,"nonce":…}
        THE SEALED DOCUMENT
    -----END VOICEAUTHD BACKUP-----

Text around it and line breaks are ignored. The hash distinguishes a damaged backup from a wrong passphrase. Does not
import what a profile is, so that a command can use it without loading the model's packages.
"""

from __future__ import annotations

import base64
import binascii

from voiceauthd.errors import StorageError
from voiceauthd.profiles import passphrase_envelope
from voiceauthd.profiles.passphrase_envelope import REMEDY, Sealed

BEGIN = "-----BEGIN VOICEAUTHD BACKUP-----"

END = "-----END VOICEAUTHD BACKUP-----"

MAGIC = b"voiceauthd-backup"

VERSION = 1

MAX_BYTES = 128 * 1024
"""Of the text. A document of 60 KiB, the largest that can be exported, becomes 82 KiB of it."""

LINE_LENGTH = 64
"""Characters; no mail program wraps lines of this length."""

WHAT = "the backup"


def is_backup(text: str) -> bool:
    """Return whether the text contains the first line of a backup."""
    return BEGIN in text


def seal_backup(document: str, passphrase: str) -> str:
    """Return the document encrypted with the passphrase, ending with a line feed. Takes some tenths of a second.

    Raises `UsageError`, reason `weak_passphrase`.
    """
    data = passphrase_envelope.seal(MAGIC, VERSION, document.encode(), passphrase)
    code = base64.b64encode(data).decode()
    return "\n".join((BEGIN, *(code[at : at + LINE_LENGTH] for at in range(0, len(code), LINE_LENGTH)), END, ""))


def check_backup(text: str) -> None:
    """Check a backup before the user is asked for its passphrase. Raises `StorageError`: `too_large`, `torn`,
    `wrong_format`, `wrong_version`."""
    _parse(text)


def open_backup(text: str, passphrase: str) -> str:
    """Return the document. Raises `StorageError` as `check_backup` does, and `wrong_passphrase`."""
    try:
        return passphrase_envelope.unseal(_parse(text), passphrase).decode()
    except UnicodeDecodeError:
        raise StorageError(f"{WHAT} does not contain text: {REMEDY}", "wrong_format") from None


def _parse(text: str) -> Sealed:
    if len(text) > MAX_BYTES:
        raise StorageError(f"{WHAT} is larger than {MAX_BYTES} bytes, the maximum", "too_large")
    _, begin, rest = text.partition(BEGIN)
    code, end, _ = rest.partition(END)
    if not begin or not end:
        raise StorageError(f"{WHAT} is truncated (its last line is missing): {REMEDY}", "torn")
    try:
        data = base64.b64decode("".join(code.split()), validate=True)
    except (binascii.Error, ValueError):
        raise StorageError(f"{WHAT} is damaged or was changed (it is not base64): {REMEDY}", "torn") from None
    return passphrase_envelope.parse(data, MAGIC, VERSION, WHAT)
