"""What somebody may be called, and that no name leads out of the folder or looks like another one."""

from __future__ import annotations

import unicodedata
from pathlib import PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.profiles.names import check_condition, check_name, file_name, name_key, name_of_file


@pytest.mark.parametrize(
    "name",
    [
        "anna",
        "Anna-Lena O'Neil",
        "Jürgen",
        "Ольга",
        "山田 太郎",
        "أحمد",
        "x",
        "a.b_c~d",
        "100%",
        "a" * 64,
        "é" * 40,
        "👩",
    ],
)
def test_names_of_any_script_are_welcome(name: str) -> None:
    assert check_name(name) == name
    assert name_of_file(file_name(name)) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        (" ", "space"),
        (" anna", "space"),
        ("anna ", "space"),
        ("anna  b", "two in a row"),
        ("../x", "has a /"),
        ("a/b", "has a /"),
        ("a\\b", "has a \\"),
        (".", "begins with ."),
        ("..", "begins with ."),
        (".hidden", "begins with ."),
        ("-rf", "begins with -"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x1b[31mb", "control"),
        ("a\u202eb", "format"),
        ("a\u200bb", "format"),
        ("a\ud800b", "surrogate"),
        ("a\ue000b", "private-use"),
        ("a\u0378b", "does not know"),
        ("a\u2028b", "line separator"),
        ("a\u00a0b", "space other"),
        ("ann\ufe0fa", "invisible"),
        ("ann\u3164a", "invisible"),
        ("a" * 65, "too long"),
        ("é" * 41, "82 bytes"),
        ("a" * 100_000, "too long"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line_that_says_why(name: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name)
    message = str(caught.value)
    assert caught.value.reason == "invalid_name"
    assert caught.value.exit_code == ExitCode.USAGE
    assert problem in message
    assert "1 to 64 characters" in message
    assert message.isprintable()
    assert len(message) < 400


def test_a_decomposed_name_comes_back_composed() -> None:
    assert check_name("Ju\u0308rgen") == "Jürgen"
    assert check_name("e\u0301" * 40) == "é" * 40


@pytest.mark.parametrize(
    ("one", "other"),
    [("Anna", "anna"), ("STRASSE", "straße"), ("Ｊｏｅ", "joe"), ("ﬁona", "Fiona"), ("Ju\u0308rgen", "JÜRGEN")],
)
def test_names_that_differ_in_case_or_form_only_are_one(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


def test_different_names_have_different_keys() -> None:
    assert len({name_key(name) for name in ("anna", "ana", "anna b", "änna", "аnna")}) == 5


@pytest.mark.parametrize(
    "entry",
    [
        "README.md",
        ".lock",
        "anna",
        ".profile",
        "..profile",
        "%2e%2e.profile",
        "%61nna.profile",
        "j%c3%bcrgen.profile",
        "jürgen.profile",
        "ju%CC%88rgen.profile",
        "%FF.profile",
        "a%2Fb.profile",
        "anna.profile.bak",
        "%.profile",
    ],
)
def test_a_file_that_the_store_would_not_have_written_is_nobodys(entry: str) -> None:
    assert name_of_file(entry) is None


@settings(deadline=None)
@given(st.text(max_size=70))
def test_whatever_is_allowed_is_one_plain_file_name_that_leads_back(name: str) -> None:
    try:
        checked = check_name(name)
    except UsageError:
        return
    entry = file_name(checked)
    assert name_of_file(entry) == checked
    assert PurePath(entry).name == entry
    assert entry.isascii()
    assert len(entry) <= 255
    assert not entry.startswith((".", "-"))
    assert check_name(checked) == checked == unicodedata.normalize("NFC", name)


@settings(deadline=None)
@given(st.text(max_size=70))
def test_a_key_is_its_own_key(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(name)


def test_a_condition_is_short_and_follows_the_rules_of_names() -> None:
    assert check_condition("far-field") == "far-field"
    for condition in ("", "a/b", "x" * 33, "é" * 17, "a\nb"):
        with pytest.raises(UsageError) as caught:
            check_condition(condition)
        assert caught.value.reason == "invalid_condition"
