"""A trial list: a folder with `enroll.csv` and `trials.csv`, checked whole before anything is heard.

`enroll.csv` has a row for each enrolled voice, `trials.csv` a row for each comparison of a test recording with one of
them. Paths are relative to the folder. `docs/evaluation.md` explains the columns.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voiceauthd.errors import AudioError, ExitCode, VoiceauthError

ENROLL = "enroll.csv"
TRIALS = "trials.csv"

NEEDED = {ENROLL: ("enroll_id", "files"), TRIALS: ("enroll_id", "test_path", "label")}

KNOWN = {
    ENROLL: {"enroll_id", "files", "speaker", "source"},
    TRIALS: {
        "trial_id",
        "enroll_id",
        "test_path",
        "label",
        "condition",
        "enroll_source",
        "test_source",
        "test_speaker",
        "label_doubt",
    },
}
"""Columns that are read."""

FOR_PEOPLE = {
    ENROLL: {"sex", "session", "date", "n_files", "total_s", "notes"},
    TRIALS: {"same_sex", "test_s", "enroll_s", "notes"},
}
"""Columns that lists have for their readers, and that change nothing here. Any other is warned of."""

LABELS = {"target": True, "nontarget": False}


class TrialListError(VoiceauthError):
    """A trial list that cannot be used; the message names the file and the line."""

    exit_code = ExitCode.STORAGE
    reason = "bad_trials"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A voice that is enrolled. `files` relative to the folder; `line` in `enroll.csv`, 0 without such a table."""

    enroll_id: str
    speaker: str
    source: str
    files: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A test recording held against an enrolled voice.

    target         whether it is the enrolled person who speaks
    speaker        who is enrolled
    test_speaker   who speaks
    condition, enroll_source, test_source  as in the list; empty where it does not tell
    line           in `trials.csv`; 0 without such a table
    """

    trial_id: str
    enroll_id: str
    test_path: str
    target: bool
    speaker: str
    test_speaker: str
    condition: str
    enroll_source: str
    test_source: str
    line: int


@dataclass(frozen=True, slots=True)
class TrialList:
    """What is to be compared.

    enrolments  those that a trial needs, by `enroll_id`
    doubtful    trials that were left out because their label is in doubt
    warnings    what is odd about the list, a sentence each
    """

    folder: Path
    enrolments: Mapping[str, Enrolment]
    trials: tuple[Trial, ...]
    doubtful: int
    warnings: tuple[str, ...]

    def places(self) -> Mapping[str, str]:
        """Where each recording is first named, such as "trials.csv, line 7", by path; empty where no table names it."""
        found: dict[str, str] = {}
        for enrolment in self.enrolments.values():
            for file in enrolment.files:
                found.setdefault(file, f"{ENROLL}, line {enrolment.line}" if enrolment.line else "")
        for trial in self.trials:
            found.setdefault(trial.test_path, f"{TRIALS}, line {trial.line}" if trial.line else "")
        return found


Row = Mapping[str, str]


def load_trials(folder: Path, *, include_doubtful: bool = False) -> TrialList:
    """The trial list in `folder`.

    Raises `TrialListError` for a list that is missing, malformed or contradicts itself, and `AudioError` for
    recordings that are not there.
    """
    if not folder.is_dir():
        raise TrialListError(f"{folder}: no such folder: give one with {ENROLL} and {TRIALS}")
    warnings: list[str] = []
    enrolments = _enrolments(_read(folder, ENROLL, warnings))
    rows = _read(folder, TRIALS, warnings)
    kept = [(line, row) for line, row in rows if include_doubtful or not _doubtful(line, row)]
    trials = _trials(kept, enrolments, warnings)
    used = {trial.enroll_id for trial in trials}
    idle = len(enrolments) - len(used)
    if idle:
        warnings.append(f"{ENROLL}: {idle} of {len(enrolments)} enrolments are in no trial and were not heard")
    found = TrialList(
        folder,
        {name: enrolment for name, enrolment in enrolments.items() if name in used},
        tuple(trials),
        len(rows) - len(kept),
        tuple(warnings),
    )
    _check_both_kinds(found)
    _check_recordings(found)
    own = sum(trial.test_path in enrolments[trial.enroll_id].files for trial in trials)
    if own:
        told = f"{TRIALS}: {own} trials test a recording that is also in their enrolment: their scores are too good"
        found = replace(found, warnings=(*found.warnings, told))
    return found


def _read(folder: Path, name: str, warnings: list[str]) -> list[tuple[int, Row]]:
    """The rows of a table, each with the line it begins on, stripped."""
    try:
        with (folder / name).open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(folder, name, csv.reader(file, strict=True), warnings))
    except OSError as error:
        raise TrialListError(f"{folder / name}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrialListError(f"{folder / name}: not a table in UTF-8 with commas ({error})") from error
    if not rows:
        raise TrialListError(f"{folder / name}: no rows")
    return rows


def _rows(folder: Path, name: str, lines: Iterator[Sequence[str]], warnings: list[str]) -> Iterator[tuple[int, Row]]:
    columns = [column.strip() for column in next(lines, [])]
    lacking = [column for column in NEEDED[name] if column not in columns]
    if lacking:
        raise TrialListError(f"{folder / name}, line 1: no column {' and no column '.join(map(repr, lacking))}")
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise TrialListError(f"{folder / name}, line 1: the column {twice[0]!r} is there twice")
    unknown = [column for column in columns if column not in KNOWN[name] | FOR_PEOPLE[name]]
    if unknown:
        warnings.append(f"{name}: unknown columns are ignored: {', '.join(map(repr, unknown))}")
    for line, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(columns):
            raise TrialListError(f"{name}, line {line}: {len(cells)} cells under {len(columns)} columns")
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        for column in NEEDED[name]:
            if not row[column]:
                raise TrialListError(f"{name}, line {line}: no {column}")
        yield line, row


def _enrolments(rows: Sequence[tuple[int, Row]]) -> dict[str, Enrolment]:
    found: dict[str, Enrolment] = {}
    for line, row in rows:
        where = f"{ENROLL}, line {line}"
        name = row["enroll_id"]
        if name in found:
            raise TrialListError(f"{where}: {name!r} is enrolled already in line {found[name].line}")
        files = tuple(_inside(file.strip(), where) for file in row["files"].split(";") if file.strip())
        if not files:
            raise TrialListError(f"{where}: no files for {name!r}")
        if len(set(files)) < len(files):
            raise TrialListError(f"{where}: a recording is there twice")
        found[name] = Enrolment(name, row.get("speaker") or name, row.get("source", ""), files, line)
    return found


def _trials(rows: Sequence[tuple[int, Row]], enrolments: Mapping[str, Enrolment], warnings: list[str]) -> list[Trial]:
    found: list[Trial] = []
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        where = f"{TRIALS}, line {line}"
        if row["enroll_id"] not in enrolments:
            raise TrialListError(f"{where}: nobody is enrolled as {row['enroll_id']!r} in {ENROLL}")
        if row["label"] not in LABELS:
            raise TrialListError(f"{where}: the label is {row['label']!r}: it must be target or nontarget")
        path = _inside(row["test_path"], where)
        before = seen.setdefault((row["enroll_id"], path), line)
        if before != line:
            raise TrialListError(f"{where}: the same trial as in line {before}")
        found.append(_trial(line, row, path, enrolments[row["enroll_id"]]))
    return _name_speakers(found, warnings)


def _trial(line: int, row: Row, path: str, enrolment: Enrolment) -> Trial:
    target = LABELS[row["label"]]
    tested = row.get("test_speaker", "")
    if tested and (tested == enrolment.speaker) is not target:
        who = "is not the" if target else "is the"
        raise TrialListError(
            f"{TRIALS}, line {line}: the label is {row['label']}, but test_speaker {tested!r} {who} enrolled speaker "
            f"{enrolment.speaker!r}"
        )
    return Trial(
        trial_id=row.get("trial_id", ""),
        enroll_id=enrolment.enroll_id,
        test_path=path,
        target=target,
        speaker=enrolment.speaker,
        test_speaker=enrolment.speaker if target else tested,
        condition=row.get("condition", ""),
        enroll_source=row.get("enroll_source") or enrolment.source,
        test_source=row.get("test_source", ""),
        line=line,
    )


def _name_speakers(trials: Sequence[Trial], warnings: list[str]) -> list[Trial]:
    """Gives a speaker to those tests that have none: whoever else is said to speak there, else one of its own."""
    known = {trial.test_path: trial.test_speaker for trial in trials if trial.test_speaker}
    unknown = {trial.test_path for trial in trials if trial.test_path not in known}
    if unknown:
        warnings.append(
            f"{TRIALS}: nobody tells who speaks in {len(unknown)} recordings (column 'test_speaker'): each counts as a "
            "person of its own, so the intervals are too narrow if people recur"
        )
    named = []
    for trial in trials:
        speaker = known.get(trial.test_path, f"file:{trial.test_path}")
        if (speaker == trial.speaker) is not trial.target:
            raise TrialListError(
                f"{TRIALS}, line {trial.line}: {trial.test_path} is a target trial of {speaker!r} elsewhere, which "
                f"contradicts the label here"
            )
        named.append(trial if trial.test_speaker else replace(trial, test_speaker=speaker))
    return named


def _doubtful(line: int, row: Row) -> bool:
    told = row.get("label_doubt", "")
    if told not in {"", "0", "1"}:
        raise TrialListError(f"{TRIALS}, line {line}: label_doubt is {told!r}: it must be 0 or 1")
    return told == "1"


def _inside(path: str, where: str) -> str:
    """The path in its plain form. Raises `TrialListError` if it leads out of the folder."""
    plain = os.path.normpath(path)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir or "\0" in plain:
        raise TrialListError(f"{where}: {path!r} lies outside of the folder: paths are relative to it")
    return plain


def _check_both_kinds(found: TrialList) -> None:
    targets = sum(trial.target for trial in found.trials)
    if 0 < targets < len(found.trials):
        return
    kind = "target" if targets else "nontarget"
    left_out = f" ({found.doubtful} with label_doubt left out)" if found.doubtful else ""
    if not found.trials:
        raise TrialListError(f"{found.folder / TRIALS}: no trials{left_out}")
    raise TrialListError(
        f"{found.folder / TRIALS}: all {len(found.trials)} trials are {kind}{left_out}: error rates need both kinds"
    )


def _check_recordings(found: TrialList) -> None:
    missing = [(path, place) for path, place in found.places().items() if not (found.folder / path).is_file()]
    if missing:
        path, place = missing[0]
        more = f" (and {len(missing) - 1} more recordings)" if len(missing) > 1 else ""
        raise AudioError(f"{place}: {found.folder / path} is not there{more}")
