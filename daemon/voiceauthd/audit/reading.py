"""Read the log, also while a daemon is writing it. Needs no lock and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from voiceauthd.audit.files import first_of, list_files, open_file, open_to_read, storage_error
from voiceauthd.audit.line import MAX_LINE, Line, parse_line


class Piece(NamedTuple):
    """The content of one line of a file.

    number  the line's number in the file, from 1
    raw     its bytes, with the newline if it is there
    line    None if it is not a line of the log
    """

    file: str
    number: int
    raw: bytes
    line: Line | None


def read(folder: Path, first: int = 1) -> Iterator[Line]:
    """Yield the lines from number `first` on, in file order. Anything that is not a line of the log is skipped. Only
    each line's own hash is checked; `verify` checks the rest.

    Raises `StorageError`, and `DeniedError` if this user may not read it.
    """
    descriptor = open_to_read(folder)
    try:
        names = list_files(descriptor)
        for place, name in enumerate(names, 1):
            if place < len(names) and (first_of(names[place]) or 0) <= first:
                continue  # all its lines come before `first`
            try:
                file = os.fdopen(open_file(descriptor, name), "rb")
            except FileNotFoundError:  # the oldest file has just been removed by rotation
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
    """Yield every line of a file. One that is longer than any line of the log is split into pieces of one number."""
    number = 1
    while raw := file.readline(MAX_LINE + 1):
        yield Piece(name, number, raw, parse_line(raw.removesuffix(b"\n")))
        number += raw.endswith(b"\n")
