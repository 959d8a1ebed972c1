"""Names of enrolled people: which are valid, when two are the same, and the file name of a profile.

Names come from clients over the socket and from file names, appear in logs, on terminals and in paths, and are compared
by people. So letters of any script are allowed, but nothing invisible, and nothing that could control a path or a
terminal.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote

from voiceauthd.errors import UsageError

MAX_CHARACTERS = 64

MAX_BYTES = 80
"""Of UTF-8. Percent-encoding at most triples it: 240 bytes and `.profile` are below the limit of 255 for file names."""

MAX_CONDITION_BYTES = 32
"""Of UTF-8. Twenty exemplars with their conditions must fit into one message."""

SUFFIX = ".profile"

FORBIDDEN_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Cs": "half of a surrogate pair",
    "Co": "a private-use character",
    "Cn": "a character that is not assigned in Unicode",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space other than U+0020",
}

INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
)
"""Letters and marks that are drawn as nothing (Unicode's Default_Ignorable_Code_Point outside category Cf): two names
could differ only in these and look the same."""

NAME_RULES = (
    f"a name has 1 to {MAX_CHARACTERS} characters and at most {MAX_BYTES} bytes: letters of any script, digits, "
    "punctuation except / and \\, single spaces inside; it does not begin with a dot or hyphen"
)


def check_name(name: str) -> str:
    """Return a valid name in Unicode's composed form (NFC).

    Raises `UsageError`, reason `invalid_name`; the message says what is wrong and what is allowed.
    """
    composed, problem = _composed(name, MAX_CHARACTERS, MAX_BYTES)
    if problem is not None:
        raise UsageError(f"the name {_shown(name)} {problem}: {NAME_RULES}", "invalid_name")
    return composed


def check_condition(condition: str) -> str:
    """Return a valid condition ("default", "headset") in composed form (NFC). The rules are those of a name, but the
    maximum length is smaller.

    Raises `UsageError`, reason `invalid_condition`.
    """
    composed, problem = _composed(condition, MAX_CONDITION_BYTES, MAX_CONDITION_BYTES)
    if problem is not None:
        raise UsageError(
            f"the condition {_shown(condition)} {problem}: a condition is one or a few words, such as default, "
            f"headset, far-field or whisper, of at most {MAX_CONDITION_BYTES} bytes",
            "invalid_condition",
        )
    return composed


def name_key(name: str) -> str:
    """Return the comparison key of a name: two names with the same key are the same name.

    Case and compatibility forms are ignored: Unicode's compatibility caseless matching (The Unicode Standard, section
    3.13, D146), in composed form.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", name).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def file_name(name: str) -> str:
    """Return the file name for a valid name: percent-encoded UTF-8 (RFC 3986), ASCII only."""
    return quote(name, safe="") + SUFFIX


def name_of_file(entry: str) -> str | None:
    """Return the name of the person in a file name; None for a file that the store would not have written."""
    if not entry.endswith(SUFFIX):
        return None
    try:
        name = check_name(unquote(entry.removesuffix(SUFFIX), errors="strict"))
    except (UsageError, UnicodeError):
        return None
    return name if file_name(name) == entry else None


def _composed(text: str, characters: int, octets: int) -> tuple[str, str | None]:
    """Return the text in NFC, and what is wrong with it; None if nothing is."""
    # A composed character has at most four decomposed ones. Normalising a long text takes quadratic time.
    if len(text) > 4 * characters:
        return text, "is too long"
    composed = unicodedata.normalize("NFC", text)
    problem = _wrong_character(composed) or _wrong_shape(composed)
    if problem is None and (len(composed) > characters or len(composed.encode()) > octets):
        problem = f"is too long ({len(composed)} characters, {len(composed.encode())} bytes)"
    return composed, problem


def _wrong_character(text: str) -> str | None:
    for character in text:
        category = unicodedata.category(character)
        if category in FORBIDDEN_CATEGORIES and character != " ":
            return f"has {FORBIDDEN_CATEGORIES[category]} (U+{ord(character):04X})"
        if ord(character) in INVISIBLE:
            return f"has an invisible character (U+{ord(character):04X})"
        if character in "/\\":
            return f"has a {character}"
    return None


def _wrong_shape(text: str) -> str | None:
    if not text:
        return "is empty"
    if text != text.strip(" ") or "  " in text:
        return "begins or ends with a space, or has two in a row"
    if text[0] in ".-":
        return f"begins with {text[0]}"
    return None


def _shown(text: str) -> str:
    """Return the text escaped and shortened for a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
