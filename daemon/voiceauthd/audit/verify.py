"""Verify the whole log: report every kind of damage with its place.

Traces of a crash are distinguished from tampering: a crash truncates the last line, or leaves the head one line behind;
it never changes, removes or reorders lines.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from voiceauthd.audit.check_chain import ChainChecker, Damage
from voiceauthd.audit.files import HEAD, Head, first_of, list_files, open_file, open_to_read, read_head, storage_error
from voiceauthd.audit.files import unsafe as _unsafe
from voiceauthd.audit.reading import pieces
from voiceauthd.errors import StorageError

MAX_ATTEMPTS = 20
"""Attempts to read the log, in case its oldest files are removed in the meantime by rotation."""

MAX_DAMAGE_LISTED = 100
"""Maximum number of items in the list of damage."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line whose hash was kept elsewhere."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification.

    lines        number of intact lines
    first, last  number of the first kept line, and of the last line; None if there are none
    hash         hash of the last line; zeros if there are none
    files        number of files
    damage       damage by tampering or a disk; at most `MAX_DAMAGE_LISTED`, in file order
    more         number of further items of damage
    torn         "file:line" of lines truncated by crashes
    """

    lines: int
    first: int | None
    last: int | None
    hash: str
    files: int
    damage: tuple[Damage, ...]
    more: int
    torn: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damage


def verify(folder: Path, anchor: Anchor | None = None) -> Verdict:
    """Verify the whole log, also while a daemon is writing it. `anchor`: a line that must be in it.

    Raises `StorageError` if there is no log, and `DeniedError` if this user may not read it.
    """
    descriptor = open_to_read(folder)
    try:
        for _ in range(MAX_ATTEMPTS):
            try:
                return _verify(descriptor, anchor)
            except FileNotFoundError:
                continue
        raise StorageError(f"the files of the audit log {folder} keep changing: try again", "audit")
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        os.close(descriptor)


def _verify(folder: int, anchor: Anchor | None) -> Verdict:
    before, problem = _head(folder)  # read first: lines written after this are not counted as missing
    names = list_files(folder)
    found = [] if problem is None else [problem]
    if before is None and problem is None and names:
        found.append(Damage("head_missing", HEAD, 0, "the head is missing: lines at the end may be missing, too"))
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(folder, name)) for name in names]
        kept, _ = _head(folder)  # a daemon records the new first line before it removes files
        if before is not None and kept is not None:
            before = replace(before, first=kept.first)
        checker = ChainChecker(before, None if anchor is None else (anchor.seq, anchor.hash))
        found += _unsafe_modes(folder, names, files)
        for name, file in zip(names, files, strict=True):
            checker.begin(name, first_of(name) or 0)
            for piece in pieces(name, file):
                checker.take(piece)
    checker.end()
    after, _ = _head(folder)
    found += checker.damage
    if after is not None and before is not None and checker.last_seq > after.seq + 1:
        text = f"the head records line {after.seq}, but there are lines up to {checker.last_seq}"
        found.append(Damage("head_behind", HEAD, 0, text))
    found.sort(key=lambda damage: (damage.file == HEAD, damage.file, damage.line))
    return Verdict(
        checker.lines,
        checker.first_seq,
        checker.last_seq or None,
        checker.last_hash,
        len(names),
        tuple(found[:MAX_DAMAGE_LISTED]),
        max(0, len(found) - MAX_DAMAGE_LISTED),
        tuple(checker.torn),
    )


def _opened(folder: int, name: str) -> BinaryIO:
    return os.fdopen(open_file(folder, name), "rb")


def _head(folder: int) -> tuple[Head | None, Damage | None]:
    try:
        return read_head(folder), None
    except ValueError as error:
        return None, Damage("head_changed", HEAD, 0, f"the head was changed: {error}")


def _unsafe_modes(folder: int, names: list[str], files: list[BinaryIO]) -> list[Damage]:
    """Report files that others can write: their content is not evidence."""
    status = os.fstat(folder)
    places = [(".", status), *((name, os.fstat(file.fileno())) for name, file in zip(names, files, strict=True))]
    found = [(name, _unsafe(one, status.st_uid)) for name, one in places]
    return [Damage("unsafe", name, 0, f"{name} {problem}") for name, problem in found if problem is not None]
