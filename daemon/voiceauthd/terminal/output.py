"""Where a command prints: answers on standard output, progress and errors on standard error.

Colour, and a progress line that rewrites itself, only on a terminal; in a pipe, progress is one line per change. With
`--json`, standard output carries JSON objects, one a line, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from shutil import get_terminal_size
from typing import Any, TextIO

from voiceauthd.errors import StorageError, VoiceauthError

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}

WIDTH = 80
"""Columns of the narrowest terminal that people use."""

_STYLING = re.compile(r"\x1b\[[0-9;]*m")

_CLEAR = "\r\x1b[K"


def plain(text: object) -> str:
    """Return `text` without control characters: names from files or the daemon must not control the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


def wrapped_lines(text: str, indent: int = 0, width: int = WIDTH) -> list[str]:
    """Return `text` in lines of at most `width` columns, divided at spaces; a longer word stays whole.

    Colour takes no column. indent: spaces before all lines but the first
    """
    lines: list[str] = []
    line, taken = "", 0
    for spaces, word in re.findall(r"( *)([^ ]+)", text):
        columns = len(_STYLING.sub("", word))
        if taken and taken + len(spaces) + columns > width:
            lines.append(line)
            line, taken = " " * indent + word, indent + columns
        else:
            line, taken = line + spaces + word, taken + len(spaces) + columns
    return [*lines, line]


class Output:
    """The two streams of a command.

    as_json  answers are objects; text is kept off standard output
    closed   the reader of standard output has gone (`| head`); later output is dropped without an error
    width    columns of the terminal; in a pipe those of the narrowest usual one
    """

    def __init__(self, as_json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.as_json = as_json
        self.closed = False
        self._stdout = stdout
        self._stderr = stderr
        self._live = stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._progress = ""
        self._progress_shown = False
        self.width = get_terminal_size((WIDTH, 24)).columns if stdout.isatty() else WIDTH
        self._error_width = get_terminal_size((WIDTH, 24)).columns if stderr.isatty() else None

    @property
    def live(self) -> bool:
        """Whether a person watches the progress: on a terminal, its line rewrites itself."""
        return self._live

    def line(self, text: str = "") -> None:
        """Print one line of the answer for a person; nothing with `--json`."""
        if not self.as_json:
            self._write(f"{text}\n")

    def wrapped(self, text: str, *, indent: int = 0) -> None:
        """Print `text` as `line` does, in lines that fit the terminal; all but the first are indented."""
        for line in wrapped_lines(text, indent, self.width):
            self.line(line)

    def record(self, text: str, *, indent: int = 0) -> None:
        """Print `text` as `wrapped` does on a terminal; in a pipe, as one line for `grep`."""
        if self._stdout.isatty():
            self.wrapped(text, indent=indent)
        else:
            self.line(text)

    def object(self, value: Mapping[str, Any]) -> None:
        """Print one object of the answer for a program; nothing without `--json`."""
        if self.as_json:
            self._write(json.dumps(value, ensure_ascii=False) + "\n")

    def raw(self, text: str) -> None:
        """Print `text` as it is, whatever the mode: a document that was asked for on standard output."""
        self._write(text)

    def note(self, text: str) -> None:
        """Print one line for a person on standard error, whatever the mode."""
        self.clear()
        self._write_error(f"{text}\n")

    def progress(self, text: str) -> None:
        """Show what is currently going on: rewrites its line on a terminal, else a line on standard error per change.

        With `--json` only on a terminal, where it is cleared before the answer.
        """
        if text == self._progress and (self._progress_shown or not self._live):
            return
        if self._live:
            self._write_error(_CLEAR + text)
            self._progress_shown = True
        elif not self.as_json:
            self._write_error(f"{text}\n")
        self._progress = text

    def clear(self) -> None:
        """Clear the progress line, if one is shown."""
        if self._progress_shown:
            self._write_error(_CLEAR)
            self._progress_shown = False

    def style(self, text: str, *names: str) -> str:
        """Return `text` in colour where that is possible: bold, dim, red, green, yellow."""
        if not self._colour or not names:
            return text
        return f"\x1b[{';'.join(_STYLES[name] for name in names)}m{text}\x1b[0m"

    def failure(self, error: VoiceauthError) -> None:
        """Print each line of the error on standard error (a refused configuration has many), wrapped on a terminal;
        with `--json` also an object on standard output."""
        for line in str(error).splitlines() or ["no details"]:
            text = f"voiceauth: {plain(line)}"
            for part in wrapped_lines(text, 2, self._error_width) if self._error_width else [text]:
                self.note(part)
        self.object({"error": {"reason": error.reason, "message": str(error)}})

    def _write(self, text: str) -> None:
        self.clear()
        if self.closed:
            return
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except BrokenPipeError:
            self.closed = True
            redirect_to_null(self._stdout)
        except (OSError, UnicodeEncodeError) as problem:
            self.closed = True
            redirect_to_null(self._stdout)
            raise StorageError(f"cannot write the answer to standard output: {problem}") from problem

    def _write_error(self, text: str) -> None:
        try:
            self._stderr.write(text)
            self._stderr.flush()
        except (OSError, ValueError):  # there is no other place to report this
            pass


def redirect_to_null(stream: TextIO) -> None:
    """Redirect `stream` to /dev/null, so that the flush at the end of the process finds no broken pipe."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def standard_output(as_json: bool) -> Output:
    """Return the output of this process."""
    return Output(as_json, sys.stdout, sys.stderr)
