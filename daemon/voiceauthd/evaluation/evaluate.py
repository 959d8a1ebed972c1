"""A trial list, heard, scored and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder, ModelId
from voiceauthd.evaluation.cache import Cache
from voiceauthd.evaluation.degrade import LEVELS_DB, Library, noises, open_library, rooms
from voiceauthd.evaluation.embed_recording import Change, Job
from voiceauthd.evaluation.embedded_recording import EmbeddedRecording, EmbeddedSpeech
from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
from voiceauthd.evaluation.error_rates import ErrorRates, ScoredTrials, measure
from voiceauthd.evaluation.metrics import Bools, Floats
from voiceauthd.evaluation.refusals import Refusals, refusals
from voiceauthd.evaluation.scorer import Enrolments, Scorer, Tests
from voiceauthd.evaluation.sessions import PolicySessions, simulate
from voiceauthd.evaluation.trials import Trial, TrialList

CUTS = (1.0, 1.5, 2.0, 3.0, 5.0)
"""Seconds of net speech that tests are cut to."""

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

Scoring = Callable[[Sequence[Trial], Enrolments, Sequence[Tests]], Scorer]
"""Makes the scorer of trials, enrolments, and the tests cut to `CUTS` and whole, once they were heard."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What is asked of an evaluation.

    resamples    of the speakers, for the intervals; 0: none
    seed         of the resamples, and of which noise and which room each test meets
    cache        folder for what was heard; None: nothing is kept
    noise, rir   folders of noise and of impulse responses; None: not asked for
    """

    resamples: int = 1000
    seed: int = 0
    cache: Path | None = None
    noise: Path | None = None
    rir: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What came of it.

    scored   the trials with their scores, of whole tests, in the order of the list
    pooled   their figures
    tables   figures by table (by_source, by_condition, by_net_speech, by_noise, by_room) and name
    tests    as they were heard, whole
    shorter  tests with less net speech than each cut; they count as they are
    sessions what each policy lets in
    gates    what the daemon would have refused, of "tests", "enrolments", and the "takes" of those
    """

    listed: TrialList
    model: ModelId
    scorer: Scorer
    wishes: EvaluationOptions
    scored: ScoredTrials
    pooled: ErrorRates
    tables: Mapping[str, Mapping[str, ErrorRates]]
    tests: Tests
    shorter: Mapping[str, int]
    sessions: Sequence[PolicySessions]
    gates: Mapping[str, Refusals]
    warnings: tuple[str, ...]


def evaluate(
    listed: TrialList, config: Config, embedder: Embedder, scoring: Scoring, wishes: EvaluationOptions, tell: Tell
) -> Evaluation:
    """Hears every recording of the list, scores every trial, and measures.

    Raises `AudioError` for a recording that cannot be read, `UsageError` for a folder of noise without any, and
    `ModelError` as `scoring` and its scorer do.
    """
    noise = open_library(wishes.noise) if wishes.noise is not None else None
    rir = open_library(wishes.rir) if wishes.rir is not None else None
    cache = Cache(wishes.cache, embedder.model, config.speech) if wishes.cache is not None else None
    workers = EmbeddingWorkers(config.model, config.speech, embedder, cache)
    enrolments, tests, cut = hear(listed, workers, CUTS, tell)
    scorer = scoring(listed.trials, enrolments, [*cut, tests])
    sets = {
        "by_net_speech": {f"{seconds:g}": each for seconds, each in zip(CUTS, cut, strict=True)},
        "by_noise": _in_noise(listed, workers, tests, noise, wishes.seed, tell) if noise is not None else {},
        "by_room": _in_rooms(listed, workers, tests, rir, wishes.seed, tell) if rir is not None else {},
    }
    tell("scoring", 0, 1)
    whole, changed = _score(listed.trials, enrolments, tests, sets, scorer)
    parts = {
        "by_source": {name: whole.part(chosen) for name, chosen in by_source(listed.trials).items()},
        "by_condition": {name: whole.part(chosen) for name, chosen in by_condition(listed.trials).items()},
    }
    pooled, tables = _measure(whole, parts | changed, wishes, tell)
    return Evaluation(
        listed=listed,
        model=embedder.model,
        scorer=scorer,
        wishes=wishes,
        scored=whole,
        pooled=pooled,
        tables=tables,
        tests=tests,
        shorter={f"{cut:g}": sum(take.net_speech < cut for take in tests.values()) for cut in CUTS},
        sessions=simulate(listed.trials, enrolments, tests, scorer, config, embedder.model, embedder.threshold),
        gates=refusals(tests.values(), enrolments.values(), config, embedder),
        warnings=(
            *listed.warnings,
            *_left_out("noise", noise),
            *_left_out("impulse responses", rir),
            *doubts(listed.trials, scorer, config),
        ),
    )


def doubts(trials: Sequence[Trial], scorer: Scorer, config: Config) -> Iterator[str]:
    """What makes the scores of these trials say less than they seem to, or other than the daemon's."""
    people = {name for trial in trials for name in (trial.speaker, trial.test_speaker)}
    cohort, calibration = scorer.backend.cohort, scorer.backend.calibration
    if calibration is not None:
        fitted = people.intersection(calibration.speakers)
        if fitted:
            yield (
                f"{len(fitted)} of the {len(people)} speakers had a part in fitting the calibration: what it says of "
                "them is too good; --cross-validate leaves a trial's own speakers out"
            )
    if cohort is not None:
        strangers = people.intersection(cohort.speakers)
        if strangers:
            yield (
                f"{len(strangers)} of the {len(people)} speakers are in the cohort of {len(cohort.speakers)}: each "
                "trial is scored without its own"
            )
    if cohort is not None and not scorer.llr:
        yield "there is a cohort and no calibration: the daemon decides by raw cosine; see `voiceauth calibrate`"
    if scorer.llr and config.decision.threshold is not None:
        yield "decision.threshold is set: the daemon decides by cosine, and not by these ratios"


def by_source(trials: Sequence[Trial]) -> dict[str, Bools]:
    """The trials whose test comes from each source, by its name; shape (trials,) each."""
    names = np.array([trial.test_source for trial in trials])
    return {str(name): names == name for name in dict.fromkeys(names.tolist()) if name}


def by_condition(trials: Sequence[Trial]) -> dict[str, Bools]:
    """The trials of each condition, by its name; shape (trials,) each.

    What separates enrolment from test often makes sense for one kind of trial only (another day; another source). A
    condition that has only targets, or only non-targets, is held against all trials of the other kind whose tests are
    from the same sources.
    """
    names = np.array([trial.condition for trial in trials])
    sources = np.array([trial.test_source for trial in trials])
    target = np.array([trial.target for trial in trials])
    found = {}
    for name in dict.fromkeys(names.tolist()):
        chosen = names == name
        if not name:
            continue
        kinds = set(target[chosen].tolist())
        if len(kinds) == 1:
            chosen = chosen | ((target != kinds.pop()) & np.isin(sources, sources[chosen]))
        found[str(name)] = chosen
    return found


def hear(
    listed: TrialList, workers: EmbeddingWorkers, cuts: Sequence[float], tell: Tell
) -> tuple[dict[str, list[EmbeddedSpeech]], Tests, list[Tests]]:
    """The takes of each enrolment, the tests, and the tests for each cut, seconds of net speech.

    Raises `AudioError` for a recording that cannot be read.
    """
    places = listed.places()
    paths = list(dict.fromkeys(trial.test_path for trial in listed.trials))
    files = list(dict.fromkeys(file for enrolment in listed.enrolments.values() for file in enrolment.files))
    jobs = [Job(listed.folder / path, places[path], tuple(cuts)) for path in paths]
    jobs += [Job(listed.folder / file, places[file]) for file in files]
    heard = workers.hear(jobs, lambda done, of: tell("hearing", done, of))
    tests = dict(zip(paths, heard[: len(paths)], strict=True))
    takes = {file: hearing.whole for file, hearing in zip(files, heard[len(paths) :], strict=True)}
    enrolments = {name: [takes[file] for file in each.files] for name, each in listed.enrolments.items()}
    cut = [_takes(tests, index) for index in range(len(cuts))]
    return enrolments, {path: hearing.whole for path, hearing in tests.items()}, cut


def _takes(tests: Mapping[str, EmbeddedRecording], cut: int) -> Tests:
    return {path: hearing.cuts[cut] for path, hearing in tests.items()}


def _in_noise(
    listed: TrialList, workers: EmbeddingWorkers, tests: Tests, library: Library, seed: int, tell: Tell
) -> dict[str, Tests]:
    return {
        f"{level:g}": _changed(listed, workers, noises(tests, library, level, seed), f"noise at {level:g} dB", tell)
        for level in LEVELS_DB
    }


def _in_rooms(
    listed: TrialList, workers: EmbeddingWorkers, tests: Tests, library: Library, seed: int, tell: Tell
) -> dict[str, Tests]:
    return {"rooms": _changed(listed, workers, rooms(list(tests), library, seed), "rooms", tell)}


def _changed(
    listed: TrialList, workers: EmbeddingWorkers, changes: Mapping[str, Change], what: str, tell: Tell
) -> Tests:
    places = listed.places()
    jobs = [Job(listed.folder / path, places[path], change=change) for path, change in changes.items()]
    heard = workers.hear(jobs, lambda done, of: tell(what, done, of))
    return {path: hearing.whole for path, hearing in zip(changes, heard, strict=True)}


def _score(
    trials: Sequence[Trial],
    enrolments: Enrolments,
    tests: Tests,
    sets: Mapping[str, Mapping[str, Tests]],
    scorer: Scorer,
) -> tuple[ScoredTrials, dict[str, dict[str, ScoredTrials]]]:
    """The trials with the scores of the tests; and with those of each set of tests, by table and name."""
    others = [each for table in sets.values() for each in table.values()]
    scores = iter(scorer(trials, enrolments, [tests, *others]))
    whole = _scored(trials, next(scores), llr=scorer.llr)
    return whole, {
        table: {name: _scored(trials, next(scores), llr=scorer.llr) for name in named} for table, named in sets.items()
    }


def _scored(trials: Sequence[Trial], scores: Floats, *, llr: bool) -> ScoredTrials:
    people: dict[str, int] = {}
    enrolled = [people.setdefault(trial.speaker, len(people)) for trial in trials]
    tested = [people.setdefault(trial.test_speaker, len(people)) for trial in trials]
    target = np.array([trial.target for trial in trials])
    return ScoredTrials(scores, target, np.array(enrolled), np.array(tested), llr)


def _measure(
    whole: ScoredTrials, sets: Mapping[str, Mapping[str, ScoredTrials]], wishes: EvaluationOptions, tell: Tell
) -> tuple[ErrorRates, dict[str, dict[str, ErrorRates]]]:
    total = 1 + sum(len(table) for table in sets.values())
    done = 0

    def figures(scored: ScoredTrials) -> ErrorRates:
        nonlocal done
        tell("measuring", done, total)
        done += 1
        return measure(scored, wishes.resamples, wishes.seed)

    pooled = figures(whole)
    return pooled, {table: {name: figures(scored) for name, scored in parts.items()} for table, parts in sets.items()}


def _left_out(what: str, library: Library | None) -> tuple[str, ...]:
    if library is None or library.left_out == 0:
        return ()
    return (f"{what}: {library.left_out} recordings left out because of what the manifest says of them",)
