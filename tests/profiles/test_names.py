"""Valid names, and that no name leads out of the folder or looks like another one."""

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
        "Anna-Lena O'Neil",
        "山田 太郎",
        "أحمد",
        "a.b_c~d",
        "100%",
        "a" * 64,
        "é" * 40,
        "👩",
    ],
)
def test_names_in_any_script_are_valid(name: str) -> None:
    assert check_name(name) == name
    assert name_of_file(file_name(name)) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        (" anna", "space"),
        ("anna ", "space"),
        ("anna  b", "two in a row"),
        ("../x", "has a /"),
        ("a\\b", "has a \\"),
        ("..", "begins with ."),
        ("-rf", "begins with -"),
        ("a\0b", "control"),
        ("a\x1b[31mb", "control"),
        ("a\u202eb", "format"),
        ("a\ud800b", "surrogate"),
        ("a\ue000b", "private-use"),
        ("a\u0378b", "not assigned"),
        ("a\u2028b", "line separator"),
        ("a\u00a0b", "a space other"),
        ("ann\ufe0fa", "invisible"),
        ("ann\u3164a", "invisible"),
        ("a" * 65, "too long"),
        ("é" * 41, "82 bytes"),
        ("a" * 100_000, "too long"),
    ],
)
def test_an_invalid_name_is_refused_in_one_line_with_the_reason(name: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name)
    message = str(caught.value)
    assert caught.value.reason == "invalid_name"
    assert caught.value.exit_code == ExitCode.USAGE
    assert problem in message
    assert "1 to 64 characters" in message
    assert message.isprintable()
    assert len(message) < 400


def test_a_decomposed_name_is_returned_composed() -> None:
    assert check_name("Ju\u0308rgen") == "Jürgen"
    assert check_name("e\u0301" * 40) == "é" * 40


@pytest.mark.parametrize(
    ("one", "other"),
    [("Anna", "anna"), ("STRASSE", "straße"), ("Ｊｏｅ", "joe"), ("ﬁona", "Fiona"), ("Ju\u0308rgen", "JÜRGEN")],
)
def test_names_that_differ_only_in_case_or_form_are_the_same(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


def test_different_names_have_different_keys() -> None:
    assert len({name_key(name) for name in ("anna", "ana", "anna b", "änna", "аnna")}) == 5


@pytest.mark.parametrize(
    "entry",
    [
        "anna",
        ".profile",
        "%2e%2e.profile",
        "%61nna.profile",
        "j%c3%bcrgen.profile",
        "jürgen.profile",
        "ju%CC%88rgen.profile",
        "%FF.profile",
        "a%2Fb.profile",
        "anna.profile.bak",
    ],
)
def test_a_file_name_that_the_store_would_not_write_is_not_a_profile(entry: str) -> None:
    assert name_of_file(entry) is None


@settings(deadline=None)
@given(st.text(max_size=70))
def test_every_valid_name_has_a_plain_reversible_file_name(name: str) -> None:
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
def test_name_keys_are_idempotent(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(name)


def test_a_condition_follows_the_rules_of_names_and_is_shorter() -> None:
    assert check_condition("far-field") == "far-field"
    for condition in ("", "a/b", "x" * 33, "é" * 17):
        with pytest.raises(UsageError) as caught:
            check_condition(condition)
        assert caught.value.reason == "invalid_condition"
