"""A trial list: a folder with `enroll.csv` and `trials.csv`, checked completely before any recording is processed.

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

REQUIRED_COLUMNS = {ENROLL: ("enroll_id", "files"), TRIALS: ("enroll_id", "test_path", "label")}

COLUMNS = {
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

IGNORED_COLUMNS = {
    ENROLL: {"sex", "session", "date", "n_files", "total_s", "notes"},
    TRIALS: {"same_sex", "test_s", "enroll_s", "notes"},
}
"""Columns that are there for people only. Any other column gives a warning."""

LABELS = {"target": True, "nontarget": False}


class TrialListError(VoiceauthError):
    """A trial list that cannot be used; the message names the file and the line."""

    exit_code = ExitCode.STORAGE
    reason = "bad_trials"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An enrolled voice. `files`: relative to the folder. `line`: in `enroll.csv`; 0 if there is no such table."""

    enroll_id: str
    speaker: str
    source: str
    files: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A test recording that is compared with an enrolled voice.

    target         whether the enrolled person speaks in the test recording
    speaker        the enrolled person
    test_speaker   the person who speaks in the test recording
    condition, enroll_source, test_source  as in the list; empty if not given
    line           in `trials.csv`; 0 if there is no such table
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
    """Trials and the enrolments they need.

    enrolments  by `enroll_id`
    doubtful    number of trials left out because their label is in doubt
    warnings    oddities of the list, a sentence each
    """

    folder: Path
    enrolments: Mapping[str, Enrolment]
    trials: tuple[Trial, ...]
    doubtful: int
    warnings: tuple[str, ...]

    def references(self) -> Mapping[str, str]:
        """Where each recording is first named, such as "trials.csv, line 7", by path; empty if no table names it."""
        found: dict[str, str] = {}
        for enrolment in self.enrolments.values():
            for file in enrolment.files:
                found.setdefault(file, f"{ENROLL}, line {enrolment.line}" if enrolment.line else "")
        for trial in self.trials:
            found.setdefault(trial.test_path, f"{TRIALS}, line {trial.line}" if trial.line else "")
        return found


Row = Mapping[str, str]


def load_trials(folder: Path, *, include_doubtful: bool = False) -> TrialList:
    """Read the trial list in `folder`.

    Raises `TrialListError` for a list that is missing, malformed or contradicts itself, and `AudioError` for missing
    recordings.
    """
    if not folder.is_dir():
        raise TrialListError(f"{folder}: no such folder; it must contain {ENROLL} and {TRIALS}")
    warnings: list[str] = []
    enrolments = _enrolments(_read(folder, ENROLL, warnings))
    rows = _read(folder, TRIALS, warnings)
    kept = [(line, row) for line, row in rows if include_doubtful or not _doubtful(line, row)]
    trials = _trials(kept, enrolments, warnings)
    used = {trial.enroll_id for trial in trials}
    unused = len(enrolments) - len(used)
    if unused:
        warnings.append(f"{ENROLL}: {unused} of {len(enrolments)} enrolments are in no trial and were ignored")
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
        warning = f"{TRIALS}: {own} trials test a recording that is also in their enrolment: their scores are too good"
        found = replace(found, warnings=(*found.warnings, warning))
    return found


def _read(folder: Path, name: str, warnings: list[str]) -> list[tuple[int, Row]]:
    """The rows of a table with their line numbers, cells stripped."""
    try:
        with (folder / name).open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(folder, name, csv.reader(file, strict=True), warnings))
    except OSError as error:
        raise TrialListError(f"{folder / name}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrialListError(f"{folder / name}: not a comma-separated table in UTF-8 ({error})") from error
    if not rows:
        raise TrialListError(f"{folder / name}: no rows")
    return rows


def _rows(folder: Path, name: str, lines: Iterator[Sequence[str]], warnings: list[str]) -> Iterator[tuple[int, Row]]:
    columns = [column.strip() for column in next(lines, [])]
    missing = [column for column in REQUIRED_COLUMNS[name] if column not in columns]
    if missing:
        raise TrialListError(f"{folder / name}, line 1: no column {' and no column '.join(map(repr, missing))}")
    duplicates = sorted({column for column in columns if columns.count(column) > 1})
    if duplicates:
        raise TrialListError(f"{folder / name}, line 1: duplicate column {duplicates[0]!r}")
    unknown = [column for column in columns if column not in COLUMNS[name] | IGNORED_COLUMNS[name]]
    if unknown:
        warnings.append(f"{name}: unknown columns are ignored: {', '.join(map(repr, unknown))}")
    for line, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(columns):
            raise TrialListError(f"{name}, line {line}: {len(cells)} cells under {len(columns)} columns")
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        for column in REQUIRED_COLUMNS[name]:
            if not row[column]:
                raise TrialListError(f"{name}, line {line}: no {column}")
        yield line, row


def _enrolments(rows: Sequence[tuple[int, Row]]) -> dict[str, Enrolment]:
    found: dict[str, Enrolment] = {}
    for line, row in rows:
        where = f"{ENROLL}, line {line}"
        name = row["enroll_id"]
        if name in found:
            raise TrialListError(f"{where}: {name!r} is already enrolled in line {found[name].line}")
        files = tuple(_relative_path(file.strip(), where) for file in row["files"].split(";") if file.strip())
        if not files:
            raise TrialListError(f"{where}: no files for {name!r}")
        if len(set(files)) < len(files):
            raise TrialListError(f"{where}: a recording is listed twice")
        found[name] = Enrolment(name, row.get("speaker") or name, row.get("source", ""), files, line)
    return found


def _trials(rows: Sequence[tuple[int, Row]], enrolments: Mapping[str, Enrolment], warnings: list[str]) -> list[Trial]:
    found: list[Trial] = []
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        where = f"{TRIALS}, line {line}"
        if row["enroll_id"] not in enrolments:
            raise TrialListError(f"{where}: {row['enroll_id']!r} is not enrolled in {ENROLL}")
        if row["label"] not in LABELS:
            raise TrialListError(f"{where}: the label is {row['label']!r}: it must be target or nontarget")
        path = _relative_path(row["test_path"], where)
        before = seen.setdefault((row["enroll_id"], path), line)
        if before != line:
            raise TrialListError(f"{where}: the same trial as in line {before}")
        found.append(_trial(line, row, path, enrolments[row["enroll_id"]]))
    return _with_test_speakers(found, warnings)


def _trial(line: int, row: Row, path: str, enrolment: Enrolment) -> Trial:
    target = LABELS[row["label"]]
    tested = row.get("test_speaker", "")
    if tested and (tested == enrolment.speaker) is not target:
        relation = "is not the" if target else "is the"
        raise TrialListError(
            f"{TRIALS}, line {line}: the label is {row['label']}, but test_speaker {tested!r} {relation} enrolled "
            f"speaker {enrolment.speaker!r}"
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


def _with_test_speakers(trials: Sequence[Trial], warnings: list[str]) -> list[Trial]:
    """Fill in missing test speakers: from another trial of the same recording, else a unique one."""
    known = {trial.test_path: trial.test_speaker for trial in trials if trial.test_speaker}
    unknown = {trial.test_path for trial in trials if trial.test_path not in known}
    if unknown:
        warnings.append(
            f"{TRIALS}: no test_speaker is given for {len(unknown)} recordings: each counts as a person of its own, so "
            "the intervals are too narrow if people recur"
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
    doubt = row.get("label_doubt", "")
    if doubt not in {"", "0", "1"}:
        raise TrialListError(f"{TRIALS}, line {line}: label_doubt is {doubt!r}: it must be 0 or 1")
    return doubt == "1"


def _relative_path(path: str, where: str) -> str:
    """The normalised path. Raises `TrialListError` if it leads out of the folder."""
    plain = os.path.normpath(path)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir or "\0" in plain:
        raise TrialListError(f"{where}: {path!r} is outside of the folder: paths are relative to it")
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
    references = found.references().items()
    missing = [(path, reference) for path, reference in references if not (found.folder / path).is_file()]
    if missing:
        path, reference = missing[0]
        more = f" (and {len(missing) - 1} more recordings)" if len(missing) > 1 else ""
        raise AudioError(f"{reference}: {found.folder / path} does not exist{more}")
