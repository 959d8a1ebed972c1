"""Text as the source of a man page, in the macros that groff and mandoc both understand."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
"""Characters that man pages would print as typographic ones, or take for commands."""

_START = re.compile(r"^(?=[.])", re.MULTILINE)
"""Where a line of text would be taken for a command."""

_CODE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z][\w-]*)")
_PLACEHOLDER = re.compile(r"(?<![\w$-])([A-Z][A-Z.]*[A-Z]|[A-Z])(?![\w-])")


def escape(text: str) -> str:
    """Return `text` so that it is printed as it is."""
    return _START.sub(r"\\&", _characters(text))


def _characters(text: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in text)


def bold(text: str) -> str:
    """Return `text`, escaped, in bold."""
    return rf"\fB{escape(text)}\fR"


def italic(text: str) -> str:
    """Return `text`, escaped, in italics."""
    return rf"\fI{escape(text)}\fR"


def prose(text: str) -> str:
    """Return `text` escaped, with what stands between backticks in bold."""
    parts = _CODE.split(text)
    styled = [rf"\fB{_characters(part)}\fR" if index % 2 else _characters(part) for index, part in enumerate(parts)]
    return _START.sub(r"\\&", "".join(styled))


def synopsis(program: str, usage: str) -> str:
    """Return a command line: the program and options in bold, placeholders in italics."""
    marked = _OPTION.sub(r"<b>\1<r>", usage)
    marked = _PLACEHOLDER.sub(r"<i>\1<r>", marked)
    styled = escape(marked).replace("<b>", r"\fB").replace("<i>", r"\fI").replace("<r>", r"\fR")
    return f"{bold(program)} {styled}".rstrip()


def section(heading: str) -> str:
    """Return the line that begins a section."""
    return f".SH {escape(heading)}"


def subsection(heading: str) -> str:
    """Return the line that begins a part of a section."""
    return f'.SS "{escape(heading)}"'


def literal(text: str) -> list[str]:
    """Return lines that keep their divisions and spaces."""
    return [".PP", ".nf", *(escape(line) or r"\&" for line in text.splitlines()), ".fi"]


def paragraphs(text: str) -> list[str]:
    """Return paragraphs: filled, unless a line of one is indented."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if re.search(r"^\s", paragraph, re.MULTILINE):
            lines += literal(paragraph)
        else:
            lines += [".PP", *prose(paragraph).splitlines()]
    return lines


def entries(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a list of terms, which are roff already, each with its explanation, which is text."""
    lines: list[str] = []
    for term, explanation in pairs:
        lines += [".TP", term, *(prose(explanation).splitlines() or [r"\&"])]
    return lines


def title(name: str, number: int, date: str, version: str) -> str:
    """Return the first line of a page."""
    return f'.TH {escape(name.upper())} {number} {date} "voiceauthd {escape(version)}" "voiceauthd"'
