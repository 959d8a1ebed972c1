"""The man pages: they name everything that `--help` names, and man and mandoc have nothing to complain about."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from manual_parts import all_parsers

from voiceauthd.cli.manual import COMMANDS
from voiceauthd.cli.write_manuals import man_pages, write_manuals
from voiceauthd.manuals import roff
from voiceauthd.manuals.arguments import arguments_of
from voiceauthd.manuals.man_pages import Edition
from voiceauthd.service.command_line import ENDINGS
from voiceauthd.terminal.exit_meanings import EXIT_MEANINGS

EDITION = Edition("2026-01-31", "0.1.0")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The source of each page by its name, such as "voiceauth-verify.1"."""
    return {Path(path).name: text for path, text in man_pages(EDITION)}


def read(source: str) -> str:
    """What a person reads: the source without the marks of roff and backticks, and in one line."""
    text = re.sub(r"\\f[BIR]", "", source)
    for char, escaped in roff._ESCAPES.items():
        text = text.replace(escaped, char)
    text = text.replace("`", "")  # in bold, or as it is where lines keep their form
    return " ".join(" ".join(line.removeprefix("\\&") for line in text.splitlines()).split())


def test_there_is_a_page_for_each_command_and_for_the_daemon(pages) -> None:
    assert set(pages) == {"voiceauth.1", "voiceauthd.8", *(f"voiceauth-{command.name}.1" for command in COMMANDS)}
    for command in COMMANDS:
        summary = command.summary.replace("`", "")
        assert f"voiceauth-{command.name}(1) {summary}" in read(pages["voiceauth.1"])
        assert f".SH NAME voiceauth-{command.name} - {summary}" in read(pages[f"voiceauth-{command.name}.1"])


def test_every_argument_is_explained_as_in_help(pages) -> None:
    for line, parser in all_parsers():
        text = read(pages["voiceauthd.8" if line == ("voiceauthd",) else f"voiceauth-{line[1]}.1"])
        for argument in arguments_of(parser):
            term = ", ".join(argument.names)
            shown = f"{term} {argument.placeholder}".strip()
            explained = " ".join(argument.help.replace("`", "").split())
            assert f".TP {shown} {explained}".strip() in text, (line, shown)
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        assert usage in text


def test_descriptions_examples_and_exit_codes_are_those_of_help(pages) -> None:
    for line, parser in all_parsers():
        if line == ("voiceauthd",):
            continue
        text = read(pages[f"voiceauth-{line[1]}.1"])
        first = " ".join((parser.description or "").split("\n\n")[0].replace("`", "").split())
        assert first in text
        assert all(" ".join(example.replace("`", "").split()) in text for example in parser.examples.splitlines())
        assert all(f".TP {code.value} {EXIT_MEANINGS[code]}" in text for code in parser.endings)
    assert all(f".TP {code.value} {meaning}" in read(pages["voiceauthd.8"]) for code, meaning in ENDINGS.items())


def test_the_overview_names_files_environment_and_every_exit_code(pages) -> None:
    text = read(pages["voiceauth.1"])
    assert ".TP /run/voiceauthd/socket the daemon's socket" in text
    assert ".TP VOICEAUTHD_CONFIG the configuration file; --config overrides it" in text
    assert all(f".TP {code.value} {meaning}" in text for code, meaning in EXIT_MEANINGS.items())


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("--yes", r"\-\-yes"),
        (r"a\nb", r"a\enb"),
        (".SH at the start", r"\&.SH at the start"),
        ("'quoted'", r"\(aqquoted\(aq"),
        ("~/x ^ `", r"\(ti/x \(ha \(ga"),
        ("one\n.two", "one\n\\&.two"),
    ],
)
def test_text_is_never_taken_for_a_command(text, source) -> None:
    assert roff.escape(text) == source


def test_what_was_written_is_the_same_each_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("first", "second"):
        write_manuals(tmp_path / name)
    files = {path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()}
    assert len(files) > len(COMMANDS)
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    page = gzip.decompress((tmp_path / "first/man/man8/voiceauthd.8.gz").read_bytes()).decode()
    assert page.startswith(".TH VOICEAUTHD 8 2023-11-14 ")


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_mandoc_finds_no_mistake(pages, tmp_path) -> None:
    for name, text in pages.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["mandoc", "-Tlint", "-Wwarning", *sorted(str(path) for path in tmp_path.iterdir())]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_groff_warns_of_nothing(pages) -> None:
    source = "\n".join(pages.values())
    command = ["groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-rLL=78n"]
    printed = subprocess.run(command, input=source.encode(), capture_output=True, check=True)
    assert printed.stderr == b""
    assert b"VOICEAUTH-VERIFY(1)" in printed.stdout
