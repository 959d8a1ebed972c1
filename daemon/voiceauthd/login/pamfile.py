"""What one file of PAM's says: a line is understood whole, or the file is refused.

Linux-PAM has two readers in use, an old one (to 1.6) and a new one. What they read differently is refused, too, as is
what neither understands: PAM would let such a line fail, and we would not know what we change. The text itself is never
written anew: an `Entry` only tells which of its lines it stands on.

Source: pam.d(5), and libpam's own reading of the file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from voiceauthd.errors import StorageError

MAX_LINE = 1000
"""Bytes of a line with its continuations. PAM up to 1.6 reads 1023 and then gives up on the whole file."""

TYPES = ("auth", "account", "password", "session")

KEYWORDS: dict[str, dict[str, str]] = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
"""What the words stand for, by pam.d(5)."""

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
_FOLLOWS = "include", "substack"


class Entry(NamedTuple):
    """One line that PAM acts on, with its continuations.

    first, last  where it stands: indices into the lines of the text
    type         auth, account, password or session; "" for @include, which stands for all four
    actions      what each result of the module leads to; empty if another file is included
    includes     the file that is included; "" if none is
    module       the module's name or path as it is written; "" if a file is included
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
        """The module's name without its folder and ending: "pam_unix"."""
        return self.module.rpartition("/")[2].removesuffix(".so")

    @property
    def jumps(self) -> int:
        """How many modules it may pass over, at most; 0 for none."""
        return max((int(action) for action in self.actions.values() if action.isdigit()), default=0)

    @property
    def may_deny(self) -> bool:
        """A failure of this module keeps people out, whatever comes after it."""
        return not self.includes and any(action in {"bad", "die"} for action in self.actions.values())


def decode(data: bytes, name: str) -> str:
    """The text of a file. Raises `StorageError` if it is none that both of PAM's readers take alike."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise refusal(name, line, "is no UTF-8") from None
    for number, line_text in enumerate(lines_of(text), 1):
        odd = next((char for char in line_text.rstrip("\n") if char != "\t" and not " " <= char != "\x7f"), "")
        if odd == "\r":
            raise refusal(name, number, "ends with a carriage return, which PAM takes for a part of the last word")
        if odd:
            raise refusal(name, number, f"has a control character (0x{ord(odd):02x})")
    return text


def lines_of(text: str) -> list[str]:
    """The lines, each with its end. Joined they are the text again."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [last for last in (text.rpartition("\n")[2],) if last]


def parse(text: str, name: str) -> list[Entry]:
    """What the text of file `name` says, in its order. Raises `StorageError` with the first line that is not
    understood."""
    entries = []
    lines = lines_of(text)
    at = 0
    while at < len(lines):
        stripped = lines[at].strip(" \t\n")
        if not stripped or stripped.startswith("#"):
            if stripped.endswith("\\"):
                raise refusal(name, at + 1, "is a comment that ends with a backslash, which versions of PAM differ on")
            at += 1
            continue
        content, last = _assemble(lines, at, name)
        entries.append(_entry(_tokens(content, name, at + 1), at, last, name))
        at = last + 1
    return entries


def refusal(name: str, line: int, what: str) -> StorageError:
    """The error for a line that is not understood."""
    return StorageError(f"{name}, line {line}: {what}; nothing was changed", "not_understood")


def _assemble(lines: list[str], first: int, name: str) -> tuple[str, int]:
    """A line with its continuations, without its comment, and the index of its last line."""
    content, at = "", first
    while True:
        code, comment, _ = lines[at].rstrip("\n").partition("#")
        if at > first and not code.strip(" \t"):
            raise refusal(name, at + 1, "is empty or a comment in the middle of a continued line")
        if comment and (lines[at].rstrip(" \t\n").endswith("\\") or code.rstrip(" \t").endswith("\\")):
            raise refusal(name, at + 1, "has both a comment and a backslash, which versions of PAM differ on")
        if code.endswith("\\"):
            content += code[:-1] + " "
        elif code.rstrip(" \t").endswith("\\"):
            raise refusal(name, at + 1, "has blanks after its backslash")
        else:
            content += code
        if len(content.encode()) > MAX_LINE:
            raise refusal(name, first + 1, f"is longer than {MAX_LINE} bytes")
        if not code.endswith("\\"):
            return content, at
        at += 1
        if at == len(lines):
            raise refusal(name, at, "ends with a backslash, and nothing follows")


def _tokens(content: str, name: str, line: int) -> list[str]:
    """The words; what stands in brackets is one word, and keeps its brackets."""
    words = []
    rest = content.lstrip(" \t")
    while rest:
        if rest.startswith("["):
            found = re.match(r"\[(?:\\\]|[^\]])*\]", rest)
            if found is None:
                raise refusal(name, line, "has a [ without its ]")
        else:
            found = re.match(r"[^ \t]+", rest)
            assert found is not None
        words.append(found.group())
        after = rest[found.end() :]
        rest = after.lstrip(" \t")
        if rest and rest == after:
            raise refusal(name, line, "has something right behind a ]")
    return words


def _entry(words: list[str], first: int, last: int, name: str) -> Entry:
    line = first + 1
    if words[0] == "@include":
        if len(words) != 2 or not _NAME.match(words[1]):
            raise refusal(name, line, "is an @include of not exactly one file")
        return Entry(first, last, "", {}, words[1], "", ())
    kind = words[0].removeprefix("-").lower()
    if kind not in TYPES:
        raise refusal(name, line, f"begins with {words[0]!r}, not with auth, account, password, session or @include")
    if len(words) < 3:
        raise refusal(name, line, "is too short: a type, a control and a module are needed")
    control, module, arguments = words[1].lower(), words[2], tuple(words[3:])
    if not _NAME.match(module):
        raise refusal(name, line, f"names {module!r} where a module or a file belongs")
    if control in _FOLLOWS:
        if arguments:
            raise refusal(name, line, "includes more than one file")
        return Entry(first, last, kind, {}, module, "", ())
    return Entry(first, last, kind, _actions(words[1], name, line), "", module, arguments)


def _actions(control: str, name: str, line: int) -> dict[str, str]:
    if control.lower() in KEYWORDS:
        return KEYWORDS[control.lower()]
    if not control.startswith("["):
        raise refusal(name, line, f"has the control {control!r}, which is none of PAM's")
    actions = {}
    for pair in re.sub(r"[ \t]*=[ \t]*", "=", control[1:-1]).split():
        result, _, action = pair.partition("=")
        if result not in RESULTS or not _ACTION.match(action):
            raise refusal(name, line, f"has {pair!r} in its control, which is none of PAM's")
        actions[result] = action
    if not actions:
        raise refusal(name, line, "has an empty control")
    actions.setdefault("default", "bad")
    return actions
