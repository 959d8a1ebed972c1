"""Trials made of a plain folder of speech: who enrols with which recordings, and who is tested with which.

Hearing takes the time, so recordings are few; trials cost little, so there are many. What a policy's promise rests on
is pairs of people: two tests of the same two people tell little more than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voiceauthd.errors import UsageError
from voiceauthd.evaluation.folders import LEAST_SOUND, USABLE, Voices, pick, seconds, sessions, speakers_in, usable
from voiceauthd.evaluation.trials import Enrolment, Trial, TrialList

ENROLMENTS = (10.0, 20.0, 30.0)
"""Seconds of sound that people enrol with, by turns: a calibration weighs how much is behind an enrolment, which it can
only learn where that differs. The daemon asks for 20 s."""

BRIEF = 5.0
"""Seconds of sound below which an enrolment is hardly one."""

PEOPLE = 300
"""Who are heard at most. Their 44,850 pairs are more than the 30,000 without an error that support one false accept in
10,000 (3/N), the rate of the policy `auth`."""

TESTS = 600
"""Tests in all, where that leaves each speaker between `FEWEST` and `MOST`."""

FEWEST, MOST = 2, 6

ENOUGH = 32_000
"""Non-target trials after which no two people meet again."""

MEETINGS = 4
"""Non-target trials of two people: each tested against the other, twice."""


@dataclass(frozen=True, slots=True)
class _Parted:
    """Recordings of one speaker to enrol with and to test with. Who has none of the former is only tested.

    apart  whether they are from different sessions
    """

    enrolled: tuple[Path, ...]
    tests: tuple[Path, ...]
    apart: bool


def trials_of(folder: Path, seed: int, people: int = PEOPLE) -> TrialList:
    """Trials among the speakers of a folder, as `folders.speakers_in` finds them. No file tells of them: line 0.

    Speakers with two recordings or more enrol, and are tested with others, from other sessions where there are any; the
    rest are only tested. Every two people meet once before any meet twice.

    people  who are heard at most; of more, they are drawn

    Raises `UsageError`, reasons `no_speakers` and `one_kind`, and `AudioError` for a recording that is no audio.
    """
    warnings: list[str] = []
    generator = np.random.default_rng(seed)
    voices: Voices = speakers_in(folder, warnings)
    if len(voices) > people:
        warnings.append(f"{folder}: {people} of {len(voices)} speakers are heard, drawn with the seed {seed}")
        voices = _drawn(voices, people, generator)
    tests = min(max(TESTS // len(voices), FEWEST), MOST)
    parted = {
        name: _part(recordings, ENROLMENTS[index % len(ENROLMENTS)], tests, generator)
        for index, (name, recordings) in enumerate(voices.items())
    }
    idle = [name for name, each in parted.items() if not each.tests]
    if idle:
        warnings.append(f"{folder}: {len(idle)} speakers have no recording {USABLE}: left out, such as {idle[0]}")
    trials = (*_targets(folder, parted), *_nontargets(folder, parted, generator))
    kinds = {trial.target for trial in trials}
    if True not in kinds:
        least = f"{LEAST_SOUND:g} s or more"
        raise UsageError(f"{folder}: no speaker has two recordings of {least}: one to enrol, one to test", "one_kind")
    if False not in kinds:
        raise UsageError(f"{folder}: one speaker with usable recordings: trials need others as well", "one_kind")
    enrolments = {
        name: Enrolment(name, name, "", tuple(_within(folder, path) for path in each.enrolled), 0)
        for name, each in parted.items()
        if each.enrolled
    }
    return TrialList(folder, enrolments, trials, 0, tuple(warnings))


def brief_enrolments(listed: TrialList) -> list[str]:
    """A warning if enrolments have so little sound that nobody would enrol like that. Reads lengths only.

    Raises `AudioError` for a recording that is no audio.
    """
    lengths = {
        name: sum(seconds(listed.folder / file) for file in enrolment.files)
        for name, enrolment in listed.enrolments.items()
    }
    brief = [name for name, length in lengths.items() if not length >= BRIEF]
    if not brief:
        return []
    return [
        f"{len(brief)} of {len(lengths)} enrolments have less than {BRIEF:g} s of sound, such as {brief[0]} with "
        f"{lengths[brief[0]]:.1f} s: what is fitted will be right for such enrolments only"
    ]


def _drawn(voices: Voices, people: int, generator: np.random.Generator) -> Voices:
    chosen = set(generator.permutation(len(voices))[:people].tolist())
    return {name: recordings for index, (name, recordings) in enumerate(voices.items()) if index in chosen}


def _part(recordings: Sequence[Path], enrol: float, tests: int, generator: np.random.Generator) -> _Parted:
    """The first recordings enrol, up to so many seconds, but no more than half of the sessions; of one, of its
    recordings."""
    found = sessions(recordings)
    apart = len(found) > 1
    units = found if apart else [[path] for path in recordings]
    enrolled: list[Path] = []
    length, used = 0.0, 0
    for unit in units[: len(units) // 2]:
        if length >= enrol:
            break
        used += 1
        for path in unit:
            if length < enrol and usable(more := seconds(path)):
                enrolled.append(path)
                length += more
    chosen = pick([path for unit in units[used:] for path in unit], tests, generator)
    if not chosen:  # who cannot be tested may still be tested against others
        return _Parted((), tuple(enrolled[:tests]), apart)
    return _Parted(tuple(enrolled), tuple(chosen), apart)


def _targets(folder: Path, parted: Mapping[str, _Parted]) -> Iterator[Trial]:
    for name, each in parted.items():
        if each.enrolled:
            condition = "another_session" if each.apart else "same_session"
            yield from (_trial(folder, name, name, path, condition) for path in each.tests)


def _nontargets(folder: Path, parted: Mapping[str, _Parted], generator: np.random.Generator) -> Iterator[Trial]:
    """Every two people once, in an order and a direction that are drawn; then again, the other way round."""
    names = [name for name, each in parted.items() if each.tests]
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    turned = generator.random(len(pairs)) < 0.5
    shift = generator.integers(MOST, size=len(pairs)).tolist()
    order = generator.permutation(len(pairs)).tolist()
    seen: set[tuple[str, Path]] = set()
    for meeting in range(MEETINGS):
        for index in order:
            if meeting > 0 and len(seen) >= ENOUGH:
                return
            one, other = pairs[index]
            enrolled, tested = (one, other) if turned[index] == (meeting % 2 == 0) else (other, one)
            if not parted[enrolled].enrolled:
                enrolled, tested = tested, enrolled
            tests = parted[tested].tests if parted[enrolled].enrolled else ()
            turn = (tests[(shift[index] + step) % len(tests)] for step in range(len(tests)))
            path = next((path for path in turn if (enrolled, path) not in seen), None)
            if path is not None:
                seen.add((enrolled, path))
                yield _trial(folder, enrolled, tested, path, "another_voice")


def _trial(folder: Path, enrolled: str, tested: str, path: Path, condition: str) -> Trial:
    return Trial("", enrolled, _within(folder, path), enrolled == tested, enrolled, tested, condition, "", "", 0)


def _within(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder))
