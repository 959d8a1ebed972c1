"""Reading the keys and values of a configuration file, each with its line.

The file has only two levels, sections and keys, so it is read from the events of the YAML parser without building
nested objects. Whatever the schema does not know is reported and skipped, so a hostile file costs no more than a wrong
one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml.reader import ReaderError

from voiceauthd.config.keys import keys, sections
from voiceauthd.config.values import Raw, shown, suggestion
from voiceauthd.errors import ConfigError

MAX_BYTES = 256 * 1024
"""Size of the file: about twenty times the commented default."""

MAX_DEPTH = 16
"""Nesting of skipped values. Only two levels are valid; the scanner's work grows with the square of the depth."""

MAX_EVENTS = 5000
"""Events of the YAML parser: about forty times those of a file with every key."""

MAX_PROBLEMS = 50
"""Problems reported for one file. A file with more is probably not a configuration."""


class TooMuch(Exception):  # noqa: N818  ends the reading of a file whose problems are already reported
    """The rest of the file is not read."""


def read_file(file: Path, problems: list[str], text: str | None = None) -> dict[str, Raw]:
    """Return the values in `file` by the path of their key. Problems are added to `problems`, one line each.

    text  its content, if it is not to be read

    Raises `ConfigError` if the file cannot be read at all: it is missing, a folder, not UTF-8, or too long.
    """
    text = read_text(file) if text is None else text
    reader = _Reader(text, file, problems)
    try:
        reader.read()
    except TooMuch:
        problems.append(f"{file}: the rest of the file was not read")
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(f"{file}:{line}: a control character (U+{ord(text[error.position]):04X}) is not allowed")
    except yaml.MarkedYAMLError as error:
        problems.append(f"{file}:{_syntax(error)}")
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: the scanner converts numbers in escapes and directives without looking at their size.
        problems.append(f"{file}:{reader.line}: not valid YAML here or below: {' '.join(str(error).split())}")
    return reader.values


def scalar_of(text: str) -> str:
    """Return the text of one quoted YAML scalar. Raises `ValueError` if `text` is anything else."""
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(text) from error
    scalars = [event for event in events if isinstance(event, yaml.ScalarEvent)]
    # The start and the end of the stream and of the document are the four others.
    if len(events) != 5 or len(scalars) != 1 or scalars[0].style not in ("'", '"'):
        raise ValueError(text)
    return scalars[0].value


def read_text(file: Path) -> str:
    """Return the text of a configuration file. Raises `ConfigError` if it cannot be one."""
    try:
        # Non-blocking, so that a named pipe cannot block the start.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as stream:  # closes the descriptor
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise ConfigError(f"{file}: is a folder; name the file in it")
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{file}: is not a regular file")
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file}: no such file; `voiceauth config default` prints one, and without a file the defaults are used"
        ) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{file}: is a folder; name the file in it") from error
    except PermissionError as error:
        raise ConfigError(f"{file}: may not be read by this user (uid {os.geteuid()})") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{shown(str(file), True)}: cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{file}: is over {MAX_BYTES // 1024} KiB, which is too large for a configuration")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise ConfigError(f"{file}:{line}: is not UTF-8{hint}; save it as UTF-8") from error


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Return place and problem of a syntax error, with advice for the three common mistakes."""
    mark = error.problem_mark or error.context_mark
    place = f"{mark.line + 1}:{mark.column + 1}: " if mark else " "
    problem = " ".join((error.problem or error.context or "").split())
    hint = ""
    if "'\\t'" in problem:
        hint = "; indent with spaces, not with tabs"
    elif "mapping values" in problem:
        hint = '; put text with ": " in it in quotes'
    elif "sequence entries" in problem:
        hint = '; write "-" in quotes'
    return f"{place}not valid YAML: {problem}{hint}"


class _Reader:
    """Processes the parser's events of one file. `line` is the line of the last event."""

    def __init__(self, text: str, file: Path, problems: list[str]) -> None:
        self.values: dict[str, Raw] = {}
        self.line = 1
        self._file = file
        self._folder = file.absolute().parent
        self._problems = problems
        self._events = self._counted(yaml.parse(text, Loader=yaml.SafeLoader))

    def read(self) -> None:
        """Fill `values`."""
        documents = 0
        for event in self._events:
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                self._refuse("", "a second document starts here; only one is allowed")
                raise TooMuch
            if isinstance(event, yaml.MappingStartEvent):
                self._check_plain(event)
                self._mapping("")
            elif isinstance(event, yaml.NodeEvent) and not _is_nothing(event):
                self._refuse("", "the top level must be sections with keys, as in `voiceauth config default`")
                self._skip(event)

    def _mapping(self, section: str) -> None:
        """Read to the end of a mapping that has just begun: the top level, or `section`."""
        seen: dict[str, int] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            line = self.line
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(section, "a key must be a plain word")
            if not isinstance(event, yaml.ScalarEvent) or not self._check_plain(event):
                self._skip(event)
                self._skip(next(self._events))
                continue
            name = event.value
            value = next(self._events)
            if name in seen:
                self._refuse(_path(section, name), f"found twice; first in line {seen[name]}", line)
                self._skip(value)
                continue
            seen[name] = line
            self._pair(section, name, line, value)

    def _pair(self, section: str, name: str, line: int, value: yaml.Event) -> None:
        path = _path(section, name)
        if not section and name in sections():
            self._section(name, value)
        elif path not in keys() or "." in name:
            self._refuse(path, unknown(section, name), line)
            self._skip(value)
        elif isinstance(value, yaml.ScalarEvent):
            if self._check_plain(value, path):
                where = f"{self._file}:{line}"
                self.values[path] = Raw(value.value, value.style is None, where, self._folder)
        else:
            if self._check_plain(value, path):
                found = "a list" if isinstance(value, yaml.SequenceStartEvent) else "a group of keys"
                self._refuse(path, f"found {found}; allowed: one value", line)
            self._skip(value)

    def _section(self, name: str, value: yaml.Event) -> None:
        if not self._check_plain(value, name):
            self._skip(value)
        elif isinstance(value, yaml.MappingStartEvent):
            self._mapping(name)
        elif not _is_nothing(value):
            first = next(key.name for key in keys().values() if key.section == name)
            self._refuse(name, f"is a section: write `{name}:`, and its keys indented below it, such as `{first}: …`")
            self._skip(value)

    def _check_plain(self, event: yaml.Event, path: str = "") -> bool:
        """Refuse anchors, aliases and tags, with which a value would depend on more than its own text."""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse(path, "anchors (&) and aliases (*) are not allowed; put the text in quotes if it starts so")
            return False
        if getattr(event, "tag", None) is not None:
            self._refuse(path, "tags (!) are not allowed; put the text in quotes if it starts so")
            return False
        return True

    def _skip(self, event: yaml.Event) -> None:
        """Read to the end of the value that `event` begins."""
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return
            if depth > MAX_DEPTH:
                self._refuse("", "nested too deeply")
                raise TooMuch
            event = next(self._events)

    def _refuse(self, path: str, what: str, line: int | None = None) -> None:
        self._problems.append(f"{self._file}:{line or self.line}: " + (f"{path}: {what}" if path else what))
        if len(self._problems) >= MAX_PROBLEMS:
            raise TooMuch

    def _counted(self, events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
        for count, event in enumerate(events):
            self.line = event.start_mark.line + 1 if event.start_mark else self.line
            if count >= MAX_EVENTS:
                self._refuse("", "far too many values")
                raise TooMuch
            yield event


def unknown(section: str, name: str) -> str:
    """Return the problem of a key that is not in the schema, with a suggestion or the section where it belongs."""
    here = [key.name for key in keys().values() if key.section == section]
    near = suggestion(name, here if section else [*sections(), *here])
    homes = [key for path, key in keys().items() if key.section and name in (path, key.name)]
    if homes and not near:
        near = f"`{homes[0].name}` belongs under " + " or ".join(f"`{home.section}:`" for home in homes)
    what = "key" if section else "section or key"
    return f"unknown {what} {shown(name, False)}" + (f"; {near}" if near else "")


def _path(section: str, name: str) -> str:
    # A key that is not in the schema may be any text, so it is shown only if it is printable and short.
    short = name if name.isprintable() and len(name) <= 60 else "…"
    return f"{section}.{short}" if section else short


def _is_nothing(event: yaml.Event) -> bool:
    """Return whether the value is empty, like a section whose keys are all commented out."""
    return isinstance(event, yaml.ScalarEvent) and event.style is None and event.value in ("", "~", "null")
