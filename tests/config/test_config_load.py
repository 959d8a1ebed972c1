"""What the configuration accepts, what it refuses, and whether the error message says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from config_files import NOWHERE, refusal, written

from voiceauthd.config.keys import keys, value_of
from voiceauthd.config.load import load_config
from voiceauthd.config.resolve import changed_keys
from voiceauthd.config.schema import Config
from voiceauthd.config.yamlfile import MAX_BYTES


def test_without_a_file_the_defaults_are_used() -> None:
    assert load_config(None, environment=NOWHERE) == Config()


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "---\n", "audio:\n", "audio: {}\n", "audio:\n  # device: x\n"]
)
def test_a_file_that_sets_nothing_gives_the_defaults(tmp_path: Path, text: str) -> None:
    config = load_config(written(tmp_path, text), environment=NOWHERE)
    assert changed_keys(Config(), config) == []
    assert config.file == tmp_path / "config.yaml"


VALUES = [
    ("audio: {always_on: yes}", "audio.always_on", True),
    ("speech: {confirm: off}", "speech.confirm", False),
    ("audio: {device: 2}", "audio.device", 2),
    ('audio: {device: "2"}', "audio.device", "2"),
    ("audio: {device: 'no'}", "audio.device", "no"),
    ("audio: {stall: 2}", "audio.stall", 2.0),
    ("audio: {stall: 1e1}", "audio.stall", 10.0),
    ('audio: {source: "-"}', "audio.source", "-"),
    ("decision: {threshold: -.5}", "decision.threshold", -0.5),
    ("model: {name: microsoft/wavlm-base-plus-sv}", "model.name", "microsoft/wavlm-base-plus-sv"),
    ("model: {name: campplus}", "model.name", "campplus"),
    ("model: {revision: 2024-01-01}", "model.revision", "2024-01-01"),
    ("socket: {mode: 0660}", "socket.mode", 0o660),
    ("socket: {mode: 0o660}", "socket.mode", 0o660),
    ('socket: {mode: "0660"}', "socket.mode", 0o660),
    ("\ufeffqueue: {windows: 3}", "queue.windows", 3),
]
"""Content of the file, the key that it sets, and the value."""


def test_a_value_is_read_as_the_type_of_its_key(tmp_path: Path) -> None:
    for text, path, value in VALUES:
        config = load_config(written(tmp_path, text), environment=NOWHERE)
        found = value_of(config, keys()[path])
        assert (found, type(found)) == (value, type(value)), text
        assert changed_keys(Config(), config) == [path], text


MISTAKES: dict[str, list[tuple[str | bytes, int, str]]] = {
    "keys": [
        ("audio:\n  devise: 1", 2, "audio.devise: unknown key \"devise\"; did you mean `device`?"),
        ("adio:\n  device: 1", 1, "did you mean `audio`?"),
        ("threads: 2", 1, "`threads` belongs under `model:`"),
        ("audio.device: x", 1, "`device` belongs under `audio:`"),
        ("audio:\n  threshold: 1", 2, "`threshold` belongs under `decision:`"),
        ("model: campplus", 1, "model: is a section: write `model:`, and its keys indented below it, such as `name:"),
        ("audio:\n  stall: 1\n\n  stall: 2", 4, "audio.stall: found twice; first in line 2"),
        ("audio: {}\naudio: {}", 2, "audio: found twice; first in line 1"),
        ("audio:\n  ? [a, b]\n  : 1", 2, "a key must be a plain word"),
        ("audio:\n  <<: {stall: 1}", 2, 'unknown key "<<"'),
    ],
    "types": [
        ("audio:\n  device: no", 2, "found no; allowed: text, a whole number from 0 to 1023, null; put it in quotes"),
        ("log:\n  level: off", 2, "allowed: debug, info, warning, error; put it in quotes"),
        ("model:\n  revision: 123456", 2, "put it in quotes"),
        ("model:\n  name: 5", 2, "found 5; allowed: auto, campplus, a hub id"),
        ("audio:\n  stall: '2'", 2, 'found "2"; allowed: a number from 0.2 to 60 (s); write it without quotes'),
        ("audio:\n  stall: fast", 2, "found fast; allowed: a number"),
        ("audio:\n  stall: true", 2, "found true; allowed: a number"),
        ("audio:\n  stall: .nan", 2, "found .nan; allowed: a number"),
        ("audio:\n  stall: -.inf", 2, "found -.inf; allowed: a number"),
        ("audio:\n  stall: 1e999", 2, "found 1e999; allowed: a number"),
        ("audio:\n  stall: 1:30", 2, "write a decimal number"),
        ("audio:\n  stall:", 2, "found nothing; allowed: a number from 0.2 to 60 (s); leave the key out"),
        ("audio:\n  stall: [1]", 2, "found a list; allowed: one value"),
        ("audio:\n  stall: {a: 1}", 2, "found a group of keys; allowed: one value"),
        ("queue:\n  windows: true", 2, "found true; allowed: a whole number from 1 to 1024 (windows)"),
        ("queue:\n  windows: 4.0", 2, "write a decimal number without a fraction"),
        ("queue:\n  windows: 0x10", 2, "write a decimal number without a fraction"),
        ("queue:\n  windows: 010", 2, "write a decimal number without a fraction"),
        ("queue:\n  windows: 1_0", 2, "write a decimal number without a fraction"),
        ("speech:\n  confirm: 'yes'", 2, 'found "yes"; allowed: true or false; write it without quotes'),
        ("speech:\n  confirm: ture", 2, "found ture; allowed: true or false; did you mean `true`?"),
        ("speech:\n  confirm: 1", 2, "found 1; allowed: true or false"),
        ("socket:\n  mode: 666", 2, "found 666; allowed: 0600 to 0777 (octal); write 0666"),
        ("socket:\n  mode: 438", 2, "found 438; allowed: 0600 to 0777 (octal)"),
        ("socket:\n  mode: 0x1b6", 2, "allowed: 0600 to 0777 (octal)"),
        ("socket:\n  mode: 0066", 2, "found 0066; allowed: 0600 to 0777 (octal)"),
    ],
    "values": [
        ("audio:\n  stall: 0.1", 2, "found 0.1; allowed: a number from 0.2 to 60 (s)"),
        ("queue:\n  windows: 0", 2, "found 0; allowed"),
        ("queue:\n  windows: " + "9" * 5000, 2, "found 9999"),
        ("speech:\n  frame_ms: 25", 2, "found 25; allowed: 20, 30 (ms)"),
        ("audio:\n  pace: fats", 2, "found fats; allowed: realtime, fast; did you mean `fast`?"),
        ("log:\n  level: INFO", 2, "did you mean `info`?"),
        ("audio:\n  source: microfone", 2, "did you mean `microphone`?"),
        ("audio:\n  source: speech", 2, 'write "./speech" for a file'),
        ("model:\n  name: camplus", 2, "did you mean `campplus`?"),
        ("model:\n  name: mymodel", 2, "a folder's name starts with ./"),
        ('audio:\n  device: ""', 2, "found an empty text"),
        ('audio:\n  device: "a\\nb"', 2, "control characters"),
        ('audio:\n  device: "a\\0b"', 2, "control characters"),
        ('audio:\n  device: "\\ud800"', 2, "broken Unicode"),
        ("audio:\n  device: " + "x" * 5000, 2, "found a text of 5000 characters; allowed: at most 4096"),
        ("profiles: ~nobody-of-that-name/x", 1, "no such home folder is known"),
        ("socket:\n  path: /" + "x" * 107, 2, "found a path of 108 bytes; allowed: at most 107"),
    ],
    "contradictions": [
        ("speech:\n  first: 4", 2, "found 4.0; allowed: at most speech.window, which is 3.0 (the default)"),
        ("speech:\n  window: 1", 2, "speech.window: found 1.0; allowed: at least speech.first, which is 1.5"),
        ("speech:\n  hop: 4", 2, "allowed: at most speech.window"),
        ("speech:\n  min_speech: 2", 2, "allowed: at most speech.first"),
        ("speech:\n  onset: 0.02\n  frame_ms: 30", 2, "shorter than one frame (30 ms)"),
        ("audio:\n  backoff: 20", 2, "allowed: at most audio.backoff_limit"),
        ("verify:\n  max_speech: 1.5", 2, "allowed: at least verify.speech"),
        ("verify:\n  timeout: 1.5", 2, "allowed: at least verify.speech"),
        ("decision:\n  min_speech: 3", 2, "allowed: at most verify.speech"),
        ("enroll:\n  timeout: 10", 2, "allowed: at least enroll.speech"),
        ("enroll:\n  timeout: 5\n  speech: 2\n  exemplars: 6", 2, "6 takes of 1 s do not fit into"),
        ("enroll:\n  exemplars: 21", 2, "found 21; allowed: a whole number from 1 to 20 (exemplars)"),
        ("socket:\n  connections: 4", 2, "allowed: at least socket.connections_per_user, which is 8"),
    ],
    "YAML": [
        ("audio:\n\tdevice: 1", 2, "indent with spaces, not with tabs"),
        ("audio:\n  device: a: b", 2, 'put text with ": " in it in quotes'),
        ("audio:\n  source: -", 2, 'write "-" in quotes'),
        ("audio: [1", 1, "not valid YAML"),
        ('audio:\n  device: "\\UFFFFFFFF"', 2, "not valid YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\n", 1, "not valid YAML"),
        ("audio: &a\n  stall: 1", 1, "anchors (&) and aliases (*) are not allowed"),
        ("audio:\n  device: *a", 2, "anchors (&) and aliases (*) are not allowed"),
        ("audio:\n  device: !!python/name:os.system", 2, "tags (!) are not allowed"),
        ("audio:\n  stall: 1\n---\naudio:\n  stall: 2", 3, "a second document starts here"),
        ("- audio", 1, "the top level must be sections"),
        ("audio", 1, "the top level must be sections"),
        (b"audio:\n  device: caf\xe9", 2, "is not UTF-8; save it as UTF-8"),
        ("audio:\n".encode("utf-16"), 1, "is not UTF-8; it looks like UTF-16"),
        (b"audio:\n  device: \x07", 2, "a control character (U+0007) is not allowed"),
    ],
}  # fmt: skip
"""Content of the file, line of the mistake, and a part of the message."""


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_refused_with_file_line_and_what_is_allowed(tmp_path: Path, kind: str) -> None:
    for text, line, part in MISTAKES[kind]:
        lines = refusal(written(tmp_path, text))
        assert [one for one in lines if one.startswith(f"config.yaml:{line}:") and part in one], (text, lines)
        assert all(one.startswith("config.yaml:") for one in lines), (text, lines)


def test_all_mistakes_are_reported_at_once_with_one_line_each(tmp_path: Path) -> None:
    lines = refusal(written(tmp_path, "audio:\n  stall: x\n  devise: 1\nlog:\n  level: loud\n"))
    assert [line.split(":")[1] for line in lines] == ["2", "3", "5"]


def test_a_mistake_in_one_key_is_not_reported_again_as_a_contradiction(tmp_path: Path) -> None:
    lines = refusal(written(tmp_path, "speech:\n  window: 0.5\n  first: 2.5\n"))
    assert len(lines) == 1
    assert "speech.window: found 0.5" in lines[0]


def test_a_mistake_in_the_file_is_reported_even_if_the_command_line_overrides_it(tmp_path: Path) -> None:
    lines = refusal(written(tmp_path, "audio:\n  stall: 0\n"), "audio.stall=1")
    assert len(lines) == 1
    assert lines[0].startswith("config.yaml:2: audio.stall")


@pytest.mark.parametrize("text", ["[" * 200_000, "audio: " + "{a: " * 50_000, "- " * 100_000, "a: [" + "x, " * 60_000])
def test_a_hostile_file_is_refused_quickly(tmp_path: Path, text: str) -> None:
    lines = refusal(written(tmp_path, text))  # within the time limit of every test
    assert lines[-1] == "config.yaml: the rest of the file was not read"
    assert len(lines) < 5


def test_aliases_cannot_multiply(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    lines = refusal(written(tmp_path, bomb))
    assert any("unknown section or key" in line for line in lines)
    assert len(lines) <= 51


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert "is over 256 KiB" in refusal(written(tmp_path, "#" * (MAX_BYTES + 1)))[0]
    assert load_config(written(tmp_path, "#" * MAX_BYTES), environment=NOWHERE) is not None


def test_the_number_of_reported_mistakes_is_bounded(tmp_path: Path) -> None:
    assert len(refusal(written(tmp_path, "".join(f"key{n}: 1\n" for n in range(500))))) <= 51


def test_a_path_that_is_not_a_readable_file_is_refused_by_name(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.yaml")[0]
    assert refusal(tmp_path / "")[0].endswith("is a folder; name the file in it")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(pipe) == ["pipe: is not a regular file"]
    assert "cannot be read" in refusal(Path("a\0b"))[0]
    assert "cannot be read" in refusal(written(tmp_path, "") / "below")[0]


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    file.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read every file
        os.seteuid(65534)
    try:
        said = f"may not be read by this user (uid {os.geteuid()})"
        lines = refusal(file)
    finally:
        os.seteuid(user)
    assert said in lines[0]


def test_loading_imports_nothing_heavy() -> None:
    code = "import sys, voiceauthd.config.document, voiceauthd.config.load; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "yaml" in loaded
    assert not {"numpy", "torch"} & set(loaded)
