"""What a person may be called, and the name of the file that holds their profile.

Names come from clients over the socket and from file names, end up in logs, on terminals and in paths, and are
compared by people's eyes. So: letters of any script, but nothing invisible, and nothing that steers a path or a
terminal.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote

from voiceauthd.errors import UsageError

MAX_CHARACTERS = 64

MAX_BYTES = 80
"""Of UTF-8. Percent-encoding triples it at most, so 240 bytes and `.profile` stay under the 255 that a file name may
have."""

MAX_CONDITION_BYTES = 32
"""Of UTF-8. Twenty exemplars must fit into one message with their conditions."""

SUFFIX = ".profile"

FORBIDDEN_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Cs": "half of a surrogate pair",
    "Co": "a private-use character",
    "Cn": "a character that Unicode does not know",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space other than the plain one",
}

INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
)
"""Letters and marks that are drawn as nothing (Unicode's Default_Ignorable_Code_Point, outside category Cf): two
names could differ by one and look the same."""

ALLOWED = (
    f"a name has 1 to {MAX_CHARACTERS} characters and at most {MAX_BYTES} bytes: letters of any script, digits, "
    "punctuation but / and \\, single spaces between, no dot or hyphen in front"
)


def check_name(name: str) -> str:
    """The name in Unicode's composed form (NFC), if somebody may be called that.

    Raises `UsageError`, reason `invalid_name`; the message says what is wrong and what is allowed.
    """
    composed, problem = _composed(name, MAX_CHARACTERS, MAX_BYTES)
    if problem is not None:
        raise UsageError(f"the name {_shown(name)} {problem}: {ALLOWED}", "invalid_name")
    return composed


def check_condition(condition: str) -> str:
    """The condition of an exemplar ("default", "headset") in composed form (NFC); the rules of a name, but shorter.

    Raises `UsageError`, reason `invalid_condition`.
    """
    composed, problem = _composed(condition, MAX_CONDITION_BYTES, MAX_CONDITION_BYTES)
    if problem is not None:
        raise UsageError(
            f"the condition {_shown(condition)} {problem}: a condition is a word or a few, such as default, headset, "
            f"far-field or whisper, of at most {MAX_CONDITION_BYTES} bytes",
            "invalid_condition",
        )
    return composed


def name_key(name: str) -> str:
    """What two names must differ in to be two names: without case and compatibility forms.

    Unicode's compatibility caseless matching (The Unicode Standard, section 3.13, D146), in composed form.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", name).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def file_name(name: str) -> str:
    """The file of `name`, which `check_name` has passed: percent-encoded UTF-8 (RFC 3986), ASCII only."""
    return quote(name, safe="") + SUFFIX


def name_of_file(entry: str) -> str | None:
    """The name whose file this is; None for a file that the store would not have written."""
    if not entry.endswith(SUFFIX):
        return None
    try:
        name = check_name(unquote(entry.removesuffix(SUFFIX), errors="strict"))
    except (UsageError, UnicodeError):
        return None
    return name if file_name(name) == entry else None


def _composed(text: str, characters: int, octets: int) -> tuple[str, str | None]:
    """The text in NFC, and what is wrong with it, if anything."""
    # A composed character has four decomposed ones at most; without this, normalising a long one costs its square.
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
    """For a message: escaped, and no longer than a line bears."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
