"""Append to the audit log: find its end after any kind of shutdown or damage, and add lines to the hash chain.

Nothing that was written is ever changed. A line that a crash or a full disk has truncated stays as it is; the next line
records it, with the hash of the part that is there. A log that somebody has tampered with is continued after a line
that says so; continuing loses no line and hides no gap.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.atomic_file import write_all
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
)
from voiceauthd.audit.line import NO_HASH, Entry, Line, encode_line, parse_line

TAIL_SIZE = 1024 * 1024
"""Bytes at the end of a file that are searched first for its last line. A line has at most 16 KiB."""


@dataclass(frozen=True, slots=True)
class FileEnd:
    """How a file ends.

    last   the last complete line; None if there is none
    whole  whether its newline is there
    rest   the bytes after it
    """

    last: Line | None
    whole: bool
    rest: bytes


class Chain:
    """The log, open for appending. Holds the lock, so there is one per log. For one thread at a time; close it after an
    error."""

    def __init__(self, folder: Path) -> None:
        """Lock the log and find its end. Raises `OSError` and `StorageError`."""
        self.seq, self.hash = 0, NO_HASH
        self.damage: str | None = None
        self._descriptors: list[int] = []
        self._file: int | None = None
        self._size = 0
        self._head: Head | None = None
        try:
            self._folder = self._keep_open(open_to_write(folder))
            self._keep_open(lock(self._folder, folder))
            discard_head(self._folder)
            self._find_end()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock and close the files."""
        for descriptor in reversed(self._descriptors):
            with suppress(OSError):
                os.close(descriptor)
        self._descriptors.clear()
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def append(self, entry: Entry, size: int, files: int) -> None:
        """Append a line, after one that records damage or a truncated line if there is any.

        size, files  maximum bytes of a file, and number of files to keep

        Raises `OSError` and `StorageError`; part of the line may then be written, which the next `Chain` finds.
        """
        self._update_head()
        if self.damage is not None:
            self._add(Entry("damage", "failed", self.damage))
            self.damage, self._rest = None, b""
        elif self._rest:
            self._add(Entry("torn", "failed", "crash"), _digest(self._rest))
            self._rest = b""
        self._add(entry, bounds=(size, files))

    def _keep_open(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    # Finding the end

    def _find_end(self) -> None:
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
            self.damage = _damage_by_head(self._head, last, whole=whole)
            if self._head.seq > self.seq:  # continue after the missing lines, so that the gap stays visible
                self.seq, self.hash = self._head.seq, self._head.hash
        elif self._files and self.damage is None:
            self.damage = "head_missing"
        oldest = first_of(self._files[0]) if self._files else None
        self._first = self._head.first if self._head is not None else oldest or 1
        if self._head is None:
            self._update_head()
        if self._files:
            self._file = open_to_append(self._folder, self._files[-1], new=False)
            self._size = os.fstat(self._file).st_size

    def _ends(self) -> tuple[FileEnd, Line | None, bool]:
        """Return how the last file ends, the last line, and whether its newline is there. The last file has no complete
        line if a crash came after it was created and before its first line was written."""
        newest = FileEnd(None, whole=True, rest=b"")
        for age, name in enumerate(reversed(self._files)):
            found = _end_of(self._folder, name)
            if age == 0:
                newest = found
            if found.last is not None:
                return newest, found.last, found.whole
        return newest, None, True

    # Appending

    def _add(self, entry: Entry, torn: str | None = None, bounds: tuple[int, int] | None = None) -> None:
        """Append one line. bounds: maximum size and number of files; None stays in the current file."""
        line, digest = encode_line(self.seq + 1, entry, self.hash, torn)
        expired: list[str] = []
        first = self._first
        full = bounds is not None and self._whole and self._size > 0 and self._size + len(line) > bounds[0]
        new = full or self._file is None
        if new:
            files = [*self._files, file_name(self.seq + 1)]
            if bounds is not None and len(files) > bounds[1]:
                expired = files[: -bounds[1]]
                first = max(first, first_of(files[len(expired)]) or 1)
        head = Head(self.seq + 1, digest, first)
        prepare_head(self._folder, head)  # before the line: if the disk is full, the line is not written either
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
        self._remove(expired)

    def _begin(self, name: str) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._file = open_to_append(self._folder, name, new=True)
        os.fsync(self._folder)  # the file is on the disk before the head names a line in it
        self._files.append(name)
        self._size = 0

    def _remove(self, names: list[str]) -> None:
        """Remove files. One that cannot be removed now is tried again at the next rotation."""
        for name in names:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
                self._files.remove(name)

    def _update_head(self) -> None:
        """Bring the head up to date: a crash may have left it one line behind, and it must not fall behind further."""
        head = Head(self.seq, self.hash, self._first)
        if self.damage is None and head != self._head:
            prepare_head(self._folder, head)
            publish_head(self._folder)
            self._head = head


def _end_of(folder: int, name: str) -> FileEnd:
    descriptor = open_file(folder, name)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        for start in (max(0, size - TAIL_SIZE), 0):
            file.seek(start)
            end = _end_in(file.read())
            if end.last is not None or start == 0:
                break
    return end


def _end_in(data: bytes) -> FileEnd:
    pieces = data.split(b"\n")
    for index in range(len(pieces) - 1, -1, -1):
        line = parse_line(pieces[index])
        if line is not None:
            return FileEnd(line, index < len(pieces) - 1, b"\n".join(pieces[index + 1 :]))
    return FileEnd(None, whole=True, rest=data)


def _digest(rest: bytes) -> str:
    """Return the SHA-256 of the bytes between two lines, including the newline after them."""
    return hashlib.sha256(rest if rest.endswith(b"\n") else rest + b"\n").hexdigest()


def _damage_by_head(head: Head, last: Line | None, *, whole: bool) -> str | None:
    """Return the damage that the head reveals and that no crash can cause; None if there is none."""
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
