"""Check the hash chain line by line, and name every kind of damage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from voiceauthd.audit.files import HEAD, Head
from voiceauthd.audit.line import NO_HASH, Line
from voiceauthd.audit.reading import Piece


@dataclass(frozen=True, slots=True)
class Damage:
    """One instance of damage.

    kind  changed, removed, reordered, inserted, unchained, missing_file, cut, head_missing, head_changed, head_behind,
          found, unsafe, anchor
    file  the file's name; "head" for the head
    line  the line's number in the file, from 1; 0 for the file as a whole
    """

    kind: str
    file: str
    line: int
    text: str


class ChainChecker:
    """Checks a log that it receives in order: `begin` for every file, `take` for every line, then `end`.

    The head and the anchor are lines whose hashes are known.
    """

    def __init__(self, head: Head | None, anchor: tuple[int, str] | None) -> None:
        self.lines = 0
        self.first_seq: int | None = None
        self.last_seq = 0
        self.last_hash = NO_HASH
        self.damage: list[Damage] = []
        self.torn: list[str] = []
        self._head = head
        self._anchor = anchor
        self._known_lines = {*((head.seq,) if head is not None else ()), *((anchor[0],) if anchor is not None else ())}
        self._seen: dict[int, str] = {}
        self._file = ""
        self._number = 0
        self._next = 0
        self._prev: str | None = None
        self._gaps: list[tuple[int, int, Damage]] = []
        self._rest: list[Piece] = []
        self._loose = 0
        self._whole = True

    def begin(self, name: str, number: int) -> None:
        """Begin a file. number: the number of its first line, from its name."""
        self._close_file()
        before = self._file
        self._file, self._number = name, 0
        if self._next == 0:
            kept = self._head.first if self._head is not None else number
            self._next = max(1, min(number, kept))
            self._prev = NO_HASH if self._next == 1 else None
        if number > self._next:
            where = f"a file between {before} and {name}, or the end of {before}" if before else f"a file before {name}"
            self._gap("missing_file", number - 1, f"{where}, is missing: ")

    def take(self, piece: Piece) -> None:
        """Check the next line of the file."""
        self._number = piece.number
        if piece.line is None:
            self._rest.append(piece)
            return
        self._whole = piece.raw.endswith(b"\n")
        self._check_rest(piece.line)
        self._check_line(piece.line)

    def end(self) -> None:
        """Finish after the last file: compare with the head and the anchor."""
        if self._head is not None:
            self._compare_with_head(self._head)
        self.torn += [_place(piece) for piece in self._rest]  # left by a crash, unless the head knows later lines
        if self._anchor is not None:
            self._compare_with_anchor(*self._anchor)
        self.damage += [gap for _, _, gap in self._gaps]

    # Lines

    def _check_line(self, line: Line) -> None:
        loose, self._loose = self._loose, 0
        if line.seq < self._next:
            self._find_gap(line)
            return
        if line.seq > self._next:
            if line.seq - self._next > loose:
                self._gap("removed", line.seq - 1, "")
        elif self._prev is not None and line.prev != self._prev and not loose:
            self._add("unchained", f"line {line.seq} does not follow the one before it: one of them was rewritten")
        if self.first_seq is None:
            self.first_seq = line.seq
        self.lines += 1
        self._next, self._prev = line.seq + 1, line.hash
        self.last_seq, self.last_hash = line.seq, line.hash
        if line.seq in self._known_lines:
            self._seen[line.seq] = line.hash
        if line.entry.event == "damage":
            self._add("found", f"line {line.seq}: the daemon found the log damaged: {line.entry.reason}")

    def _find_gap(self, line: Line) -> None:
        for index, (start, end, damage) in enumerate(self._gaps):
            if start <= line.seq <= end:
                parts = [(start, line.seq - 1), (line.seq + 1, end)]
                self._gaps[index : index + 1] = [(low, high, damage) for low, high in parts if low <= high]
                self._add("reordered", f"line {line.seq} comes after later ones")
                self.lines += 1
                return
        self._add("inserted", f"line {line.seq} does not belong here: there is an earlier line of that number")

    def _gap(self, kind: str, last: int, why: str) -> None:
        which = f"line {last} is" if last == self._next else f"lines {self._next} to {last} are"
        text = f"{why}{which} missing" if why else f"{which} missing before this one"
        self._gaps.append((self._next, last, Damage(kind, self._file, self._number, text)))
        self._next, self._prev = last + 1, None

    # Bytes that are not a line of the log

    def _check_rest(self, line: Line) -> None:
        if line.torn is None:
            self._report_rest_as_changed()
            return
        digest = hashlib.sha256(b"".join(piece.raw for piece in self._rest)).hexdigest()
        if digest == line.torn:
            self.torn += [_place(piece) for piece in self._rest]
            self._rest = []
            return
        if not self._rest:
            self._add("removed", f"line {line.seq} records part of a truncated line before it, which is missing")
        self._report_rest_as_changed()

    def _report_rest_as_changed(self) -> None:
        for piece in self._rest:
            text = "was changed or inserted: it does not match its hash, or is not a line of the log"
            self.damage.append(Damage("changed", piece.file, piece.number, text))
        self._loose += len(self._rest)
        self._rest = []

    def _close_file(self) -> None:
        """End a file that another one follows: it was complete when that one was begun."""
        self._report_rest_as_changed()
        if not self._whole:
            self._add("changed", "the end of the last line is missing")
            self._whole = True

    # The end

    def _compare_with_head(self, head: Head) -> None:
        last = max(self.last_seq, self._next - 1)
        if last < head.seq:
            damaged = len(self._rest)
            self._report_rest_as_changed()
            low = last + 1 if last else head.first
            if head.seq - low + 1 > damaged:
                which = f"line {low} is" if low == head.seq else f"lines {low} to {head.seq} are"
                where = self._file or HEAD
                self.damage.append(Damage("cut", where, self._number, f"the end is cut off: {which} missing"))
        elif head.seq in self._seen and self._seen[head.seq] != head.hash:
            text = f"line {head.seq} differs from the one recorded in the head: the log was rewritten"
            self.damage.append(Damage("unchained", HEAD, 0, text))
        elif head.seq == self.last_seq and not self._whole:
            self._add("cut", "the end of the last line is missing")

    def _compare_with_anchor(self, seq: int, digest: str) -> None:
        if self.first_seq is not None and seq < self.first_seq:
            self._add("anchor", f"line {seq} is no longer kept: the log begins with line {self.first_seq}")
        elif seq not in self._seen:
            self._add("anchor", f"there is no line {seq}")
        elif self._seen[seq] != digest:
            self._add("anchor", f"line {seq} has a different hash than before: the log was rewritten")

    def _add(self, kind: str, text: str) -> None:
        self.damage.append(Damage(kind, self._file, self._number, text))


def _place(piece: Piece) -> str:
    return f"{piece.file}:{piece.number}"
