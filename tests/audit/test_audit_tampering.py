"""Every kind of tampering with the audit log is found and named."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_parts import ACCEPT, SIZE, assert_whole, copied, files_of, kinds, log_of
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.audit.line import NO_HASH, encode_line
from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.verify import Anchor, verify

LINES = 20


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 20 lines in seven files."""
    folder = log_of(tmp_path / "audit", LINES)
    assert len(files_of(folder)) >= 6
    return folder


def edit(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a file, which include their newlines."""
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


def test_a_changed_line(log: Path) -> None:
    edit(files_of(log)[2], lambda lines: [lines[0], lines[1].replace(b"reject", b"accept"), *lines[2:]])
    (damage,) = verify(log).damage
    assert (damage.kind, damage.file, damage.line) == ("changed", files_of(log)[2].name, 2)


def test_a_changed_line_with_a_new_hash(log: Path) -> None:
    def forge(lines: list[bytes]) -> list[bytes]:
        old = json.loads(lines[1])
        return [lines[0], encode_line(old["seq"], Entry("Verify", "accept", "match"), old["prev"])[0], *lines[2:]]

    edit(files_of(log)[2], forge)
    (damage,) = verify(log).damage
    assert (damage.kind, damage.line) == ("unchained", 3)


def test_a_removed_line(log: Path) -> None:
    edit(files_of(log)[2], lambda lines: [lines[0], *lines[2:]])
    (damage,) = verify(log).damage
    assert (damage.kind, damage.line) == ("removed", 2)
    assert "line 8 is missing" in damage.text


def test_a_truncated_file_in_the_middle(log: Path) -> None:
    edit(files_of(log)[2], lambda lines: lines[:-1])
    (damage,) = verify(log).damage
    assert (damage.kind, damage.file) == ("missing_file", files_of(log)[3].name)
    assert files_of(log)[2].name in damage.text


def test_a_missing_file_in_the_middle_and_at_the_beginning(log: Path) -> None:
    first, _, third, *_ = files_of(log)
    third.unlink()
    (damage,) = verify(log).damage
    assert (damage.kind, damage.text.endswith("lines 7 to 9 are missing")) == ("missing_file", True)
    first.unlink()
    assert [damage.kind for damage in verify(log).damage] == ["missing_file"] * 2


def test_reordered_lines(log: Path) -> None:
    edit(files_of(log)[2], lambda lines: [lines[1], lines[0], *lines[2:]])
    assert kinds(verify(log)) == {"reordered"}


def test_reordered_files(log: Path) -> None:
    one, other = files_of(log)[1:3]
    aside = log / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    assert not verify(log).whole


def test_an_inserted_line(log: Path) -> None:
    edit(files_of(log)[2], lambda lines: [*lines[:2], lines[0], *lines[2:]])
    assert kinds(verify(log)) == {"inserted"}
    edit(files_of(log)[4], lambda lines: [lines[0], b'{"outcome":"accept"}\n', *lines[1:]])
    assert kinds(verify(log)) == {"inserted", "changed"}


def test_a_truncated_end(log: Path) -> None:
    edit(files_of(log)[-1], lambda lines: lines[:-1])
    assert kinds(verify(log)) == {"cut"}
    files_of(log)[-1].unlink(missing_ok=True)
    files_of(log)[-1].unlink()
    (damage,) = verify(log).damage
    assert damage.kind == "cut"
    assert f"to {LINES} are missing" in damage.text


def test_everything_removed_except_the_head(log: Path) -> None:
    for file in files_of(log):
        file.unlink()
    (damage,) = verify(log).damage
    assert (damage.kind, damage.file) == ("cut", "head")
    assert f"lines 1 to {LINES} are missing" in damage.text


def test_a_head_that_is_missing_changed_ahead_or_behind(log: Path, tmp_path: Path) -> None:
    early = log_of(tmp_path / "early", 5)
    head = json.loads((log / "head").read_text())
    (log / "head").unlink()
    assert kinds(verify(log)) == {"head_missing"}
    (log / "head").write_text("{}")
    assert kinds(verify(log)) == {"head_changed"}
    encoded = json.dumps(head | {"seq": LINES + 2}, separators=(",", ":")) + "\n"
    (log / "head").write_text(encoded)
    assert kinds(verify(log)) == {"cut"}
    (log / "head").write_bytes((early / "head").read_bytes())
    assert kinds(verify(log)) == {"head_behind", "unchained"}


def test_a_completely_new_log_is_found_by_the_old_head_and_by_an_anchor(log: Path, tmp_path: Path) -> None:
    other = log_of(tmp_path / "other", LINES)
    anchor = Anchor(LINES, verify(log).hash)
    assert verify(log, anchor).whole
    for file in files_of(log):
        file.write_bytes((other / file.name).read_bytes())
    assert kinds(verify(log)) == {"unchained"}
    (log / "head").write_bytes((other / "head").read_bytes())
    assert verify(log).whole  # nothing in the folder can reveal it
    assert kinds(verify(log, anchor)) == {"anchor"}
    assert kinds(verify(log, Anchor(LINES + 1, NO_HASH))) == {"anchor"}


def test_continuing_after_tampering_hides_nothing(log: Path) -> None:
    edit(files_of(log)[-1], lambda lines: lines[:-1])
    found = verify(log).damage
    log_of(log, 30)
    verdict = verify(log)
    assert kinds(verdict) >= {"removed", "found"}
    assert next(damage for damage in verdict.damage if damage.kind == "found").text.endswith("damaged: cut")
    assert verdict.last == LINES + 31  # including the line that records the damage
    assert found


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lambda folder: (folder / "head").unlink(), "head_missing"),
        (lambda folder: (folder / "head").write_text("no"), "head_changed"),
        (lambda folder: [file.unlink() for file in files_of(folder)], "cut"),
        (lambda folder: files_of(folder)[-1].write_bytes(files_of(folder)[-1].read_bytes()[:-1]), "cut"),
        (lambda folder: edit(files_of(folder)[-1], lambda lines: [*lines[:-1], b"x" * 300]), "cut"),
    ],
)
def test_damage_found_by_the_daemon_is_recorded_in_the_log(
    log: Path, tamper: Callable[[Path], object], reason: str
) -> None:
    tamper(log)
    audit = AuditLog(log, SIZE, 1000)
    assert audit.end()[2] == reason
    audit.write(ACCEPT)
    assert audit.end()[2] is None
    audit.write(ACCEPT)
    audit.close()
    verdict = verify(log)
    assert "found" in kinds(verdict)
    assert any(reason in damage.text for damage in verdict.damage)
    assert verdict.last == LINES + 3


def test_the_verdict_about_random_bytes_is_bounded(log: Path) -> None:
    noise = random.Random(1).randbytes(200_000)
    for file in files_of(log)[1:]:
        file.write_bytes(noise)
    verdict = verify(log)
    assert len(verdict.damage) == 100
    assert verdict.more > 0


# Arbitrary changes


@pytest.fixture(scope="module")
def original(workshop: Path) -> Path:
    return log_of(workshop / "original", LINES)


@st.composite
def changes(draw: st.DrawFn) -> Callable[[list[bytes]], list[bytes]]:
    """A change of the log's lines. It may change nothing."""
    kind = draw(st.sampled_from(["flip", "delete", "swap", "duplicate", "cut", "move", "insert"]))
    one, other = (draw(st.integers(0, LINES - 1)) for _ in range(2))
    if kind == "flip":
        place, bit = draw(st.integers(0, 10_000)), draw(st.integers(0, 7))

        def flip(lines: list[bytes]) -> list[bytes]:
            line = bytearray(lines[one])
            line[place % len(line)] ^= 1 << bit
            return [*lines[:one], bytes(line), *lines[one + 1 :]]

        return flip
    if kind == "delete":
        low, high = sorted((one, other))
        return lambda lines: [*lines[:low], *lines[high + 1 :]]
    if kind == "swap":
        return lambda lines: [lines[{one: other, other: one}.get(index, index)] for index in range(len(lines))]
    if kind == "duplicate":
        return lambda lines: [*lines[:other], lines[one], *lines[other:]]
    if kind == "move":

        def move(lines: list[bytes]) -> list[bytes]:
            rest = lines[:one] + lines[one + 1 :]
            return [*rest[:other], lines[one], *rest[other:]]

        return move
    if kind == "insert":
        junk = draw(st.binary(min_size=1, max_size=30)) + b"\n"
        return lambda lines: [*lines[:one], junk, *lines[one:]]
    cut = draw(st.integers(1, 400 * LINES))
    return lambda lines: b"".join(lines)[:-cut].splitlines(keepends=True)


@given(changes=st.lists(changes(), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_change_of_the_files_is_found(
    original: Path, workshop: Path, changes: list[Callable[[list[bytes]], list[bytes]]]
) -> None:
    folder = copied(original, workshop / "changed")
    lengths = [(file, len(file.read_bytes().splitlines())) for file in files_of(folder)]
    whole = [line for file, _ in lengths for line in file.read_bytes().splitlines(keepends=True)]
    lines = list(whole)
    for change in changes:
        if len(lines) < LINES:
            break
        lines = change(lines)
    rest = list(lines)
    for file, length in lengths:  # each file keeps its number of lines; the last one gets the rest
        part, rest = (rest, []) if file == lengths[-1][0] else (rest[:length], rest[length:])
        file.write_bytes(b"".join(part))
        if not part and not lines:
            file.unlink()
    verdict = verify(folder)
    assert verdict.whole is (lines == whole)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_missing_file_is_found(original: Path, workshop: Path, data: st.DataObject) -> None:
    folder = copied(original, workshop / "missing")
    names = ["head", *(file.name for file in files_of(folder))]
    gone = data.draw(st.sets(st.sampled_from(names), min_size=1))
    for name in gone:
        (folder / name).unlink()
    if gone == set(names):
        assert verify(folder).lines == 0
    else:
        assert not verify(folder).whole


@given(lines=st.integers(1, 40), size=st.integers(1, 4000), files=st.integers(2, 6), rounds=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_rotated_log_can_be_verified(workshop: Path, lines: int, size: int, files: int, rounds: int) -> None:
    folder = workshop / "rotated"
    shutil.rmtree(folder, ignore_errors=True)
    for _ in range(rounds):
        log_of(folder, lines, size=size, files=files)
    verdict = assert_whole(folder)
    assert verdict.last == lines * rounds
    assert verdict.files <= files
