"""Reading the log while a daemon may be writing it. Needs no lock, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from voiceauthd.audit.files import first_of, list_files, open_file, open_to_read, storage_error
from voiceauthd.audit.line import MAX_LINE, Line, parse_line


class Piece(NamedTuple):
    """What stands in one line of a file.

    number  of the line in the file, from 1
    raw     with the newline, if it is there
    line    None if it is no line of the log
    """

    file: str
    number: int
    raw: bytes
    line: Line | None


def read(folder: Path, first: int = 1) -> Iterator[Line]:
    """The lines from number `first` on, in the order in which they stand. What is no line of the log is left out, and
    nothing is checked beyond a line's own hash: that is for `verify`.

    Raises `StorageError`, and `DeniedError` if this user may not read it.
    """
    descriptor = open_to_read(folder)
    try:
        names = list_files(descriptor)
        for place, name in enumerate(names, 1):
            if place < len(names) and (first_of(names[place]) or 0) <= first:
                continue  # all of it is before
            try:
                file = os.fdopen(open_file(descriptor, name), "rb")
            except FileNotFoundError:  # it was the oldest, and has just been removed
                continue
            with file:
                for piece in pieces(name, file):
                    if piece.line is not None and piece.line.seq >= first:
                        yield piece.line
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        os.close(descriptor)


def pieces(name: str, file: BinaryIO) -> Iterator[Piece]:
    """Every line of a file. One that is longer than any line of the log comes in several, of one number."""
    number = 1
    while raw := file.readline(MAX_LINE + 1):
        yield Piece(name, number, raw, parse_line(raw.removesuffix(b"\n")))
        number += raw.endswith(b"\n")
