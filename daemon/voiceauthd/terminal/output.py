"""Where a command prints: answers on standard output, progress and complaints on standard error.

Colour and a progress line that rewrites itself only on a terminal; in a pipe, one line a change. With `--json`,
standard output carries JSON objects, one a line, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from voiceauthd.errors import StorageError, VoiceauthError

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_CLEAR = "\r\x1b[K"


def plain(text: object) -> str:
    """`text` without control characters: what a file or the daemon names must not command the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text))


class Output:
    """The two streams of a command.

    as_json  answers are objects; text is kept off standard output
    closed   the reader of standard output has gone (`| head`); what is printed from now on is lost, and no error
    """

    def __init__(self, as_json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.as_json = as_json
        self.closed = False
        self._stdout = stdout
        self._stderr = stderr
        self._live = stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._progress = ""
        self._standing = False

    def line(self, text: str = "") -> None:
        """One line of the answer for a person; nothing with `--json`."""
        if not self.as_json:
            self._write(f"{text}\n")

    def object(self, value: Mapping[str, Any]) -> None:
        """One object of the answer for a program; nothing without `--json`."""
        if self.as_json:
            self._write(json.dumps(value, ensure_ascii=False) + "\n")

    def raw(self, text: str) -> None:
        """`text` as it is, whatever the mode: a document that was asked for on standard output."""
        self._write(text)

    def note(self, text: str) -> None:
        """One line for a person on standard error, whatever the mode."""
        self.clear()
        self._complain(f"{text}\n")

    def progress(self, text: str) -> None:
        """What goes on just now: rewrites its line on a terminal, else a line on standard error for each change.

        With `--json` only on a terminal, where it is wiped before the answer.
        """
        if text == self._progress and (self._standing or not self._live):
            return
        if self._live:
            self._complain(_CLEAR + text)
            self._standing = True
        elif not self.as_json:
            self._complain(f"{text}\n")
        self._progress = text

    def clear(self) -> None:
        """Wipes the progress line, if one stands."""
        if self._standing:
            self._complain(_CLEAR)
            self._standing = False

    def style(self, text: str, *names: str) -> str:
        """`text` in colour where there is any: bold, dim, red, green, yellow."""
        if not self._colour or not names:
            return text
        return f"\x1b[{';'.join(_STYLES[name] for name in names)}m{text}\x1b[0m"

    def failure(self, error: VoiceauthError) -> None:
        """One line on standard error for each line of the error (a refused configuration has many); with `--json` also
        an object on standard output."""
        for line in str(error).splitlines() or ["no details"]:
            self.note(f"voiceauth: {plain(line)}")
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
            silence(self._stdout)
        except (OSError, UnicodeEncodeError) as problem:
            self.closed = True
            silence(self._stdout)
            raise StorageError(f"cannot write the answer to standard output: {problem}") from problem

    def _complain(self, text: str) -> None:
        try:
            self._stderr.write(text)
            self._stderr.flush()
        except (OSError, ValueError):  # nobody can be told that nobody can be told
            pass


def silence(stream: TextIO) -> None:
    """Points `stream` at nothing, so that the flush at the interpreter's end finds no broken pipe."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def standard_output(as_json: bool) -> Output:
    """The output of this process."""
    return Output(as_json, sys.stdout, sys.stderr)
