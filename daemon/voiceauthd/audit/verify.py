"""Is the log whole? Every kind of damage, with its place.

What a crash leaves behind is told apart from what somebody did: a crash cuts off the last line, or leaves the head one
line behind; it never changes, removes or reorders what was written.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from voiceauthd.audit.files import HEAD, Head, first_of, list_files, open_file, open_to_read, read_head, storage_error
from voiceauthd.audit.files import unsafe as _unsafe
from voiceauthd.audit.follow import Damage, Follower
from voiceauthd.audit.reading import pieces
from voiceauthd.errors import StorageError

TRIES = 20
"""Looks at the folder, when its oldest files vanish meanwhile because a daemon has begun a new one."""

MOST = 100
"""Damages that are told one by one."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line whose hash was kept elsewhere."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    lines        that are whole
    first, last  number of the first line that is kept, and of the last; None for none
    hash         of the last line; zeros for none
    files        how many
    damage       what somebody did, or a disk; at most `MOST`, in the order of the files
    more         damages beyond those
    torn         "file:line" of what crashes have cut off
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
        """Nothing is damaged."""
        return not self.damage


def verify(folder: Path, anchor: Anchor | None = None) -> Verdict:
    """Reads the whole log. A daemon may be writing it. `anchor`: must be in it, too.

    Raises `StorageError` if there is no log, and `DeniedError` if this user may not read it.
    """
    descriptor = open_to_read(folder)
    try:
        for _ in range(TRIES):
            try:
                return _verify(descriptor, anchor)
            except FileNotFoundError:
                continue
        raise StorageError(f"the files of the audit log {folder} come and go: try again", "audit")
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        os.close(descriptor)


def _verify(folder: int, anchor: Anchor | None) -> Verdict:
    before, problem = _head(folder)  # lines that come after this look are none that are missing
    names = list_files(folder)
    found = [] if problem is None else [problem]
    if before is None and problem is None and names:
        found.append(Damage("head_missing", HEAD, 0, "the head is missing: lines at the end may be, too"))
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(folder, name)) for name in names]
        kept, _ = _head(folder)  # a daemon that removes files says before that it does not keep them
        if before is not None and kept is not None:
            before = replace(before, first=kept.first)
        follower = Follower(before, None if anchor is None else (anchor.seq, anchor.hash))
        found += _unsafe_modes(folder, names, files)
        for name, file in zip(names, files, strict=True):
            follower.begin(name, first_of(name) or 0)
            for piece in pieces(name, file):
                follower.take(piece)
    follower.end()
    after, _ = _head(folder)
    found += follower.damage
    if after is not None and before is not None and follower.last_seq > after.seq + 1:
        text = f"the head tells of line {after.seq}, and there are lines up to {follower.last_seq}"
        found.append(Damage("head_behind", HEAD, 0, text))
    found.sort(key=lambda damage: (damage.file == HEAD, damage.file, damage.line))
    return Verdict(
        follower.lines,
        follower.first_seq,
        follower.last_seq or None,
        follower.last_hash,
        len(names),
        tuple(found[:MOST]),
        max(0, len(found) - MOST),
        tuple(follower.torn),
    )


def _opened(folder: int, name: str) -> BinaryIO:
    return os.fdopen(open_file(folder, name), "rb")


def _head(folder: int) -> tuple[Head | None, Damage | None]:
    try:
        return read_head(folder), None
    except ValueError as error:
        return None, Damage("head_changed", HEAD, 0, f"the head is not what was written: {error}")


def _unsafe_modes(folder: int, names: list[str], files: list[BinaryIO]) -> list[Damage]:
    """What others may write is no evidence."""
    status = os.fstat(folder)
    places = [(".", status), *((name, os.fstat(file.fileno())) for name, file in zip(names, files, strict=True))]
    found = [(name, _unsafe(one, status.st_uid)) for name, one in places]
    return [Damage("unsafe", name, 0, f"{name} {problem}") for name, problem in found if problem is not None]
