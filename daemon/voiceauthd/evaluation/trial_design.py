"""Makes trials from a plain folder of speech: who enrols with which recordings, and who is tested with which.

Embedding is slow, so few recordings are used; trials are cheap, so there are many. The independent trials that a
policy's error rate rests on are pairs of people: a second test of the same two people adds little to the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voiceauthd.errors import UsageError
from voiceauthd.evaluation.find_speakers import (
    MIN_SECONDS,
    USABLE_LENGTHS,
    Speakers,
    draw_recordings,
    duration,
    is_usable,
    sessions_of,
    speakers_in,
)
from voiceauthd.evaluation.trials import Enrolment, Trial, TrialList

ENROLMENT_SECONDS = (10.0, 20.0, 30.0)
"""Audio that people enrol with, in turn: a calibration weighs the length of an enrolment, which it can learn only if
lengths differ. The daemon asks for 20 s."""

SHORT_ENROLMENT_SECONDS = 5.0
"""Audio below which an enrolment is unrealistically short."""

MAX_SPEAKERS = 300
"""Speakers that are used. Their 44,850 pairs are more than the 30,000 without an error that support one false accept in
10,000 (3/N), the rate of the policy `auth`."""

TOTAL_TESTS = 600
"""Test recordings in all, where that leaves each speaker between `MIN_TESTS` and `MAX_TESTS`."""

MIN_TESTS, MAX_TESTS = 2, 6

ENOUGH_NONTARGETS = 32_000
"""Number of non-target trials after which no pair of people is tested again."""

TRIALS_PER_PAIR = 4
"""Non-target trials of two people: each tested against the other, twice."""


@dataclass(frozen=True, slots=True)
class _Split:
    """The recordings of one speaker. Without enrolment recordings the speaker is only tested.

    other_sessions  whether the tests are from other sessions than the enrolment
    """

    enrolment: tuple[Path, ...]
    tests: tuple[Path, ...]
    other_sessions: bool


def make_trials(folder: Path, seed: int, max_speakers: int = MAX_SPEAKERS) -> TrialList:
    """Make trials among the speakers of a folder, as `speakers_in` finds them. Lines are 0: no table names them.

    Speakers with two or more recordings enrol, and are tested with others, from other sessions where there are any; the
    rest are only tested. Every pair of people is tested once before any pair is tested twice.

    max_speakers: of more, this many are drawn

    Raises `UsageError`, reasons `no_speakers` and `one_kind`, and `AudioError` for a recording that is not audio.
    """
    warnings: list[str] = []
    generator = np.random.default_rng(seed)
    speakers: Speakers = speakers_in(folder, warnings)
    if len(speakers) > max_speakers:
        warnings.append(f"{folder}: {max_speakers} of {len(speakers)} speakers are used, drawn with the seed {seed}")
        speakers = _draw_speakers(speakers, max_speakers, generator)
    tests = min(max(TOTAL_TESTS // len(speakers), MIN_TESTS), MAX_TESTS)
    splits = {
        name: _split(recordings, ENROLMENT_SECONDS[index % len(ENROLMENT_SECONDS)], tests, generator)
        for index, (name, recordings) in enumerate(speakers.items())
    }
    unusable = [name for name, split in splits.items() if not split.tests]
    if unusable:
        warnings.append(
            f"{folder}: {len(unusable)} speakers have no recording {USABLE_LENGTHS}: left out, such as {unusable[0]}"
        )
    trials = (*_targets(folder, splits), *_nontargets(folder, splits, generator))
    kinds = {trial.target for trial in trials}
    if True not in kinds:
        length = f"{MIN_SECONDS:g} s or more"
        raise UsageError(f"{folder}: no speaker has two recordings of {length}: one to enrol, one to test", "one_kind")
    if False not in kinds:
        raise UsageError(f"{folder}: only one speaker with usable recordings: trials need others as well", "one_kind")
    enrolments = {
        name: Enrolment(name, name, "", tuple(_relative(folder, path) for path in split.enrolment), 0)
        for name, split in splits.items()
        if split.enrolment
    }
    return TrialList(folder, enrolments, trials, 0, tuple(warnings))


def short_enrolments(listed: TrialList) -> list[str]:
    """A warning if there are enrolments that are unrealistically short. Reads only the lengths of recordings.

    Raises `AudioError` for a recording that is not audio.
    """
    lengths = {
        name: sum(duration(listed.folder / file) for file in enrolment.files)
        for name, enrolment in listed.enrolments.items()
    }
    short = [name for name, length in lengths.items() if not length >= SHORT_ENROLMENT_SECONDS]
    if not short:
        return []
    return [
        f"{len(short)} of {len(lengths)} enrolments have less than {SHORT_ENROLMENT_SECONDS:g} s of audio, such as "
        f"{short[0]} with {lengths[short[0]]:.1f} s: the calibration will be right only for enrolments as short as that"
    ]


def _draw_speakers(speakers: Speakers, count: int, generator: np.random.Generator) -> Speakers:
    chosen = set(generator.permutation(len(speakers))[:count].tolist())
    return {name: recordings for index, (name, recordings) in enumerate(speakers.items()) if index in chosen}


def _split(recordings: Sequence[Path], enrol: float, tests: int, generator: np.random.Generator) -> _Split:
    """Enrol with the first recordings, up to `enrol` seconds, but at most half of the sessions; if there is only one
    session, half of its recordings."""
    sessions = sessions_of(recordings)
    other_sessions = len(sessions) > 1
    units = sessions if other_sessions else [[path] for path in recordings]
    enrolment: list[Path] = []
    length, used = 0.0, 0
    for unit in units[: len(units) // 2]:
        if length >= enrol:
            break
        used += 1
        for path in unit:
            if length < enrol and is_usable(more := duration(path)):
                enrolment.append(path)
                length += more
    chosen = draw_recordings([path for unit in units[used:] for path in unit], tests, generator)
    if not chosen:  # nothing is left for tests: the enrolment recordings can still be tested against others
        return _Split((), tuple(enrolment[:tests]), other_sessions)
    return _Split(tuple(enrolment), tuple(chosen), other_sessions)


def _targets(folder: Path, splits: Mapping[str, _Split]) -> Iterator[Trial]:
    for name, split in splits.items():
        if split.enrolment:
            condition = "another_session" if split.other_sessions else "same_session"
            yield from (_trial(folder, name, name, path, condition) for path in split.tests)


def _nontargets(folder: Path, splits: Mapping[str, _Split], generator: np.random.Generator) -> Iterator[Trial]:
    """Test every pair of people once, in random order and direction; then again, the other way round."""
    names = [name for name, split in splits.items() if split.tests]
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    swapped = generator.random(len(pairs)) < 0.5
    shift = generator.integers(MAX_TESTS, size=len(pairs)).tolist()
    order = generator.permutation(len(pairs)).tolist()
    used: set[tuple[str, Path]] = set()
    for repetition in range(TRIALS_PER_PAIR):
        for index in order:
            if repetition > 0 and len(used) >= ENOUGH_NONTARGETS:
                return
            one, other = pairs[index]
            enrolled, tested = (one, other) if swapped[index] == (repetition % 2 == 0) else (other, one)
            if not splits[enrolled].enrolment:
                enrolled, tested = tested, enrolled
            tests = splits[tested].tests if splits[enrolled].enrolment else ()
            candidates = (tests[(shift[index] + step) % len(tests)] for step in range(len(tests)))
            path = next((path for path in candidates if (enrolled, path) not in used), None)
            if path is not None:
                used.add((enrolled, path))
                yield _trial(folder, enrolled, tested, path, "another_voice")


def _trial(folder: Path, enrolled: str, tested: str, path: Path, condition: str) -> Trial:
    return Trial("", enrolled, _relative(folder, path), enrolled == tested, enrolled, tested, condition, "", "", 0)


def _relative(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder))
