"""Exported profiles: read and written under a passphrase, or in clear if the user asks for that."""

from __future__ import annotations

from pathlib import Path

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.owner_proof import call_with_proof
from voiceauthd.terminal.passphrase import passphrase_of
from voiceauthd.terminal.secret_file import read_text, write_secret

MAX_DOCUMENT = 60 * 1024
"""Bytes of a profile's text: it must fit in one message of 64 KiB with everything around it."""

BACKUP_MARK = "-----BEGIN VOICEAUTHD BACKUP-----"
"""What `profiles.backup.is_backup` looks for. Repeated here because that module is loaded only when it is needed."""


def export_profile(
    socket: str | None,
    name: str,
    file: str | None,
    output: Output,
    *,
    passphrase_file: str | None,
    in_clear: bool,
    replace: bool,
) -> None:
    """Write the daemon's profile of `name` to a file, under a passphrase unless `in_clear`.

    file             - is standard output; None: a file named after the profile
    passphrase_file  its first line is the passphrase; None: it is asked for
    replace          a file that exists
    """
    target = file or f"{name}{'.profile.json' if in_clear else '.backup'}"
    if file is None and Path(target).name != target:
        raise UsageError(f"{plain(name)!r} cannot be used as a file name: give FILE")
    passphrase = None if in_clear else _new_passphrase(name, passphrase_file)
    reply = call_with_proof(socket, output, ("profiles", "export", name), "ExportProfile", name=name)
    document = str(reply["document"])
    if passphrase is not None:
        from voiceauthd.profiles.backup import seal_backup

        document = seal_backup(document, passphrase)
    if target == "-":
        output.object({"name": name, "document": document})
        if not output.as_json:
            output.raw(document if document.endswith("\n") else document + "\n")
        return
    write_secret(Path(target), document, replace=replace)
    output.object({"name": name, "file": target, "sealed": not in_clear})
    note = "biometric data in clear: keep it safe" if in_clear else "it cannot be read without the passphrase"
    output.line(f"wrote {plain(target)} ({note})")


def read_document(file: str, passphrase_file: str | None) -> str:
    """Return the profile's text in `file` (- is standard input), opened with its passphrase if it has one."""
    text = read_text(file)
    if BACKUP_MARK in text:
        from voiceauthd.profiles.backup import check_backup, open_backup

        check_backup(text)
        text = open_backup(text, passphrase_of(passphrase_file, f"of {plain(file)}", twice=False))
    if len(text.encode("utf-8", "replace")) > MAX_DOCUMENT:
        raise StorageError(f"{file} is not an exported profile: over {MAX_DOCUMENT // 1024} KiB")
    return text


def _new_passphrase(name: str, file: str | None) -> str:
    """Return a passphrase for the backup of `name`. Raises `UsageError` if it is too weak."""
    passphrase = passphrase_of(file, f"for {plain(name)}", twice=True)
    from voiceauthd.profiles.passphrase_envelope import check_passphrase

    check_passphrase(passphrase)
    return passphrase
