"""The end of the log, open to be written: found again after whatever happened, and made longer line by line.

Nothing that was written is ever changed. A line that a crash or a full disk has cut off stays as it is; the next line
tells of it, with the hash of what is left of it. A log that somebody has tampered with is gone on with, after a line
that says so: no line of it, and no trace of what is missing, is lost by going on.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.audit.files import (
    Head,
    discard_head,
    file_name,
    first_of,
    list_files,
    lock,
    open_file,
    open_to_append,
    open_to_write,
    prepare_head,
    publish_head,
    read_head,
    write_all,
)
from voiceauthd.audit.line import NO_HASH, Entry, Line, encode_line, parse_line

TAIL = 1024 * 1024
"""Bytes of a file's end in which its last line is looked for first. A line has 16 KiB at most."""


@dataclass(frozen=True, slots=True)
class End:
    """How a file ends.

    last   the last line that is whole; None for none
    whole  its newline is there
    rest   what stands after it
    """

    last: Line | None
    whole: bool
    rest: bytes


class Chain:
    """Belongs to one thread at a time, and to one process: it holds the lock. After an error it is to be closed."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` and `StorageError`."""
        self.seq, self.hash = 0, NO_HASH
        self.damage: str | None = None
        self._descriptors: list[int] = []
        self._file: int | None = None
        self._size = 0
        self._head: Head | None = None
        try:
            self._folder = self._held(open_to_write(folder))
            self._held(lock(self._folder, folder))
            discard_head(self._folder)
            self._find_the_end()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the lock back."""
        for descriptor in reversed(self._descriptors):
            with suppress(OSError):
                os.close(descriptor)
        self._descriptors.clear()
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def append(self, entry: Entry, size: int, files: int) -> None:
        """Adds a line, and what has to be said before it. Raises `OSError` and `StorageError`; a part of it may then be
        written, which the next `Chain` finds."""
        self._settle_head()
        if self.damage is not None:
            self._add(Entry("damage", "failed", self.damage))
            self.damage, self._rest = None, b""
        elif self._rest:
            self._add(Entry("torn", "failed", "crash"), _digest(self._rest))
            self._rest = b""
        self._add(entry, bounds=(size, files))

    def _held(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    # Where the log ends

    def _find_the_end(self) -> None:
        self._files = list_files(self._folder)
        end, last, whole = self._ends()
        self._rest = end.rest
        self._whole = end.rest.endswith(b"\n") if end.rest else end.whole
        if last is not None:
            self.seq, self.hash = last.seq, last.hash
        try:
            self._head = read_head(self._folder)
        except ValueError:
            self.damage = "head_changed"
        if self._head is not None:
            self.damage = _against_head(self._head, last, whole=whole)
            if self._head.seq > self.seq:  # what is missing shall be seen to be missing
                self.seq, self.hash = self._head.seq, self._head.hash
        elif self._files and self.damage is None:
            self.damage = "head_missing"
        oldest = first_of(self._files[0]) if self._files else None
        self._first = self._head.first if self._head is not None else oldest or 1
        if self._head is None:
            self._settle_head()
        if self._files:
            self._file = open_to_append(self._folder, self._files[-1], new=False)
            self._size = os.fstat(self._file).st_size

    def _ends(self) -> tuple[End, Line | None, bool]:
        """How the last file ends; the last line, and whether its newline is there. The last file has no whole line if
        a crash came between its first one and its beginning."""
        newest = End(None, whole=True, rest=b"")
        for place, name in enumerate(reversed(self._files)):
            found = _end_of(self._folder, name)
            if place == 0:
                newest = found
            if found.last is not None:
                return newest, found.last, found.whole
        return newest, None, True

    # Another line

    def _add(self, entry: Entry, torn: str | None = None, bounds: tuple[int, int] | None = None) -> None:
        """bounds: size and number of files; None to stay in this file."""
        line, digest = encode_line(self.seq + 1, entry, self.hash, torn)
        gone: list[str] = []
        first = self._first
        full = bounds is not None and self._whole and self._size > 0 and self._size + len(line) > bounds[0]
        new = full or self._file is None
        if new:
            files = [*self._files, file_name(self.seq + 1)]
            if bounds is not None and len(files) > bounds[1]:
                gone = files[: -bounds[1]]
                first = max(first, first_of(files[len(gone)]) or 1)
        head = Head(self.seq + 1, digest, first)
        prepare_head(self._folder, head)  # first: if the disk is full, the line is not written either
        if new:
            self._begin(file_name(self.seq + 1))
        assert self._file is not None
        data = line if self._whole else b"\n" + line
        write_all(self._file, data)
        os.fsync(self._file)
        publish_head(self._folder)
        self._head, self._first, self._whole = head, first, True
        self.seq, self.hash = head.seq, head.hash
        self._size += len(data)
        self._remove(gone)

    def _begin(self, name: str) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._file = open_to_append(self._folder, name, new=True)
        os.fsync(self._folder)  # on the disk before the head tells of a line in it
        self._files.append(name)
        self._size = 0

    def _remove(self, names: list[str]) -> None:
        """What cannot be removed now is one file too many at the next change of files."""
        for name in names:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
                self._files.remove(name)

    def _settle_head(self) -> None:
        """A head that a crash has left one line behind must not fall another one behind."""
        head = Head(self.seq, self.hash, self._first)
        if self.damage is None and head != self._head:
            prepare_head(self._folder, head)
            publish_head(self._folder)
            self._head = head


def _end_of(folder: int, name: str) -> End:
    descriptor = open_file(folder, name)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        for start in (max(0, size - TAIL), 0):
            file.seek(start)
            end = _end_in(file.read())
            if end.last is not None or start == 0:
                break
    return end


def _end_in(data: bytes) -> End:
    pieces = data.split(b"\n")
    for index in range(len(pieces) - 1, -1, -1):
        line = parse_line(pieces[index])
        if line is not None:
            return End(line, index < len(pieces) - 1, b"\n".join(pieces[index + 1 :]))
    return End(None, whole=True, rest=data)


def _digest(rest: bytes) -> str:
    """Of what stands between two lines, with the newline that comes after it."""
    return hashlib.sha256(rest if rest.endswith(b"\n") else rest + b"\n").hexdigest()


def _against_head(head: Head, last: Line | None, *, whole: bool) -> str | None:
    """What was done to the log, if it cannot have been a crash."""
    seq = last.seq if last is not None else 0
    if seq < head.seq:
        return "cut"
    if last is None:
        return None
    if seq == head.seq:
        return "rewritten" if last.hash != head.hash else None if whole else "cut"
    if seq == head.seq + 1:
        return None if last.prev == head.hash else "rewritten"
    return "head_behind"
