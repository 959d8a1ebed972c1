"""The parser of PAM files: it understands every line completely, or refuses the file.

Two parsers of Linux-PAM are in use, an old one (up to 1.6) and a new one. Lines that they read differently are refused,
as are lines that neither understands: PAM would fail on such a line, and the effect of a change would be unknown. The
text itself is never regenerated: an `Entry` only refers to its lines.

Source: pam.d(5), and the parsers of libpam.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from voiceauthd.errors import StorageError

MAX_LINE = 1000
"""Maximum bytes of a line with its continuations. PAM up to 1.6 reads 1023 and then rejects the whole file."""

TYPES = ("auth", "account", "password", "session")

KEYWORDS: dict[str, dict[str, str]] = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
"""The actions of each keyword, from pam.d(5)."""

RESULTS = frozenset(
    [
        "success",
        "open_err",
        "symbol_err",
        "service_err",
        "system_err",
        "buf_err",
        "perm_denied",
        "auth_err",
        "cred_insufficient",
        "authinfo_unavail",
        "user_unknown",
        "maxtries",
        "new_authtok_reqd",
        "acct_expired",
        "session_err",
        "cred_unavail",
        "cred_expired",
        "cred_err",
        "no_module_data",
        "conv_err",
        "authtok_err",
        "authtok_recover_err",
        "authtok_lock_busy",
        "authtok_disable_aging",
        "try_again",
        "ignore",
        "abort",
        "authtok_expired",
        "module_unknown",
        "bad_item",
        "conv_again",
        "incomplete",
        "default",
    ]
)

_ACTION = re.compile(r"(ignore|bad|die|ok|done|reset|[1-9][0-9]{0,3})\Z")
_NAME = re.compile(r"[A-Za-z0-9_.+@/$-]+\Z")
_INCLUDING = "include", "substack"


class Entry(NamedTuple):
    """One line that PAM acts on, with its continuations.

    first, last  indices of its first and last line in the text
    type         auth, account, password or session; "" for @include, which covers all four
    actions      the action for each result of the module; empty if the line includes another file
    includes     the included file; "" if there is none
    module       the module's name or path as written; "" if the line includes a file
    """

    first: int
    last: int
    type: str
    actions: dict[str, str]
    includes: str
    module: str
    arguments: tuple[str, ...]

    @property
    def bare(self) -> str:
        """The module's name without its folder and suffix: "pam_unix"."""
        return self.module.rpartition("/")[2].removesuffix(".so")

    @property
    def jumps(self) -> int:
        """The maximum number of modules that it may jump over; 0 for none."""
        return max((int(action) for action in self.actions.values() if action.isdigit()), default=0)

    @property
    def may_deny(self) -> bool:
        """Whether a failure of this module denies access, whatever follows it."""
        return not self.includes and any(action in {"bad", "die"} for action in self.actions.values())


def decode(data: bytes, name: str) -> str:
    """Decode a file. Raises `StorageError` for content that is not text or that PAM's two parsers read differently."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise refusal(name, line, "is not UTF-8") from None
    for number, line_text in enumerate(lines_of(text), 1):
        control = next((char for char in line_text.rstrip("\n") if char != "\t" and not " " <= char != "\x7f"), "")
        if control == "\r":
            raise refusal(name, number, "contains a carriage return, which PAM takes for part of a word")
        if control:
            raise refusal(name, number, f"contains a control character (0x{ord(control):02x})")
    return text


def lines_of(text: str) -> list[str]:
    """Return the lines, each with its newline; joined they give the text again."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [last for last in (text.rpartition("\n")[2],) if last]


def parse(text: str, name: str) -> list[Entry]:
    """Parse the text of file `name`. Raises `StorageError` that names the first line that cannot be parsed."""
    entries = []
    lines = lines_of(text)
    index = 0
    while index < len(lines):
        stripped = lines[index].strip(" \t\n")
        if not stripped or stripped.startswith("#"):
            if stripped.endswith("\\"):
                raise refusal(
                    name, index + 1, "is a comment that ends with a backslash, which PAM versions read differently"
                )
            index += 1
            continue
        content, last = _assemble(lines, index, name)
        entries.append(_entry(_tokens(content, name, index + 1), index, last, name))
        index = last + 1
    return entries


def refusal(name: str, line: int, what: str) -> StorageError:
    """Return the error for a line that cannot be parsed or accepted."""
    return StorageError(f"{name}, line {line}: {what}; nothing was changed", "not_understood")


def _assemble(lines: list[str], first: int, name: str) -> tuple[str, int]:
    """Return a line with its continuations, without its comment, and the index of its last line."""
    content, index = "", first
    while True:
        code, comment, _ = lines[index].rstrip("\n").partition("#")
        if index > first and not code.strip(" \t"):
            raise refusal(name, index + 1, "is empty or a comment in the middle of a continued line")
        if comment and (lines[index].rstrip(" \t\n").endswith("\\") or code.rstrip(" \t").endswith("\\")):
            raise refusal(name, index + 1, "has both a comment and a backslash, which PAM versions read differently")
        if code.endswith("\\"):
            content += code[:-1] + " "
        elif code.rstrip(" \t").endswith("\\"):
            raise refusal(name, index + 1, "has blanks after its backslash")
        else:
            content += code
        if len(content.encode()) > MAX_LINE:
            raise refusal(name, first + 1, f"is longer than {MAX_LINE} bytes")
        if not code.endswith("\\"):
            return content, index
        index += 1
        if index == len(lines):
            raise refusal(name, index, "ends with a backslash, and nothing follows")


def _tokens(content: str, name: str, line: int) -> list[str]:
    """Split a line into words; text in brackets is one word and keeps its brackets."""
    words = []
    rest = content.lstrip(" \t")
    while rest:
        if rest.startswith("["):
            found = re.match(r"\[(?:\\\]|[^\]])*\]", rest)
            if found is None:
                raise refusal(name, line, "has a [ without a ]")
        else:
            found = re.match(r"[^ \t]+", rest)
            assert found is not None
        words.append(found.group())
        after = rest[found.end() :]
        rest = after.lstrip(" \t")
        if rest and rest == after:
            raise refusal(name, line, "has text right after a ]")
    return words


def _entry(words: list[str], first: int, last: int, name: str) -> Entry:
    line = first + 1
    if words[0] == "@include":
        if len(words) != 2 or not _NAME.match(words[1]):
            raise refusal(name, line, "must @include exactly one file")
        return Entry(first, last, "", {}, words[1], "", ())
    kind = words[0].removeprefix("-").lower()
    if kind not in TYPES:
        raise refusal(name, line, f"begins with {words[0]!r}, not with auth, account, password, session or @include")
    if len(words) < 3:
        raise refusal(name, line, "is too short: it needs a type, a control and a module")
    control, module, arguments = words[1].lower(), words[2], tuple(words[3:])
    if not _NAME.match(module):
        raise refusal(name, line, f"has {module!r} where a module or a file belongs")
    if control in _INCLUDING:
        if arguments:
            raise refusal(name, line, "includes more than one file")
        return Entry(first, last, kind, {}, module, "", ())
    return Entry(first, last, kind, _actions(words[1], name, line), "", module, arguments)


def _actions(control: str, name: str, line: int) -> dict[str, str]:
    if control.lower() in KEYWORDS:
        return KEYWORDS[control.lower()]
    if not control.startswith("["):
        raise refusal(name, line, f"has the control {control!r}, which PAM does not know")
    actions = {}
    for pair in re.sub(r"[ \t]*=[ \t]*", "=", control[1:-1]).split():
        result, _, action = pair.partition("=")
        if result not in RESULTS or not _ACTION.match(action):
            raise refusal(name, line, f"has {pair!r} in its control, which PAM does not know")
        actions[result] = action
    if not actions:
        raise refusal(name, line, "has an empty control")
    actions.setdefault("default", "bad")
    return actions
