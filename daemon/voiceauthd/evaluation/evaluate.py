"""Evaluates a trial list: embeds its recordings, scores its trials, and computes error rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder, ModelId
from voiceauthd.evaluation.cache import Cache
from voiceauthd.evaluation.degrade import SNRS_DB, Library, noises, open_library, rooms
from voiceauthd.evaluation.embed_recording import Degradation, Job
from voiceauthd.evaluation.embedded_recording import EmbeddedRecording, EmbeddedSpeech
from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
from voiceauthd.evaluation.error_rates import ErrorRates, ScoredTrials, measure
from voiceauthd.evaluation.metrics import Bools, Floats
from voiceauthd.evaluation.refusals import Refusals, count_refusals
from voiceauthd.evaluation.scorer import Enrolments, Scorer, Tests
from voiceauthd.evaluation.sessions import PolicySessions, simulate
from voiceauthd.evaluation.trials import Trial, TrialList

CUTS = (1.0, 1.5, 2.0, 3.0, 5.0)
"""Seconds of net speech after which tests are cut off."""

StepProgress = Callable[[str, int, int], None]
"""Called with the current step, how much of it is done, and its total."""

Scoring = Callable[[Sequence[Trial], Enrolments, Sequence[Tests]], Scorer]
"""Makes a scorer from the trials, the embedded enrolments, and the embedded tests, cut to `CUTS` and whole."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What to evaluate besides the trials, and how.

    resamples    of the speakers, for the intervals; 0: no intervals
    seed         of the resamples, and of the noise and the room of each test
    cache        folder for embedded recordings; None: no cache
    noise, rir   folders of noise and of room impulse responses; None: no such tests
    """

    resamples: int = 1000
    seed: int = 0
    cache: Path | None = None
    noise: Path | None = None
    rir: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The results of an evaluation.

    scored    all trials with the scores of whole tests, in the order of the list
    pooled    the error rates of `scored`
    tables    error rates by table (by_source, by_condition, by_net_speech, by_noise, by_room) and name
    tests     the embedded tests, whole
    shorter   number of tests with less net speech than each cut; they are not cut
    sessions  simulated sessions under each policy
    refusals  what the daemon would have refused of "tests", of "enrolments", and of their "takes"
    """

    listed: TrialList
    model: ModelId
    scorer: Scorer
    options: EvaluationOptions
    scored: ScoredTrials
    pooled: ErrorRates
    tables: Mapping[str, Mapping[str, ErrorRates]]
    tests: Tests
    shorter: Mapping[str, int]
    sessions: Sequence[PolicySessions]
    refusals: Mapping[str, Refusals]
    warnings: tuple[str, ...]


def evaluate(
    listed: TrialList,
    config: Config,
    embedder: Embedder,
    scoring: Scoring,
    options: EvaluationOptions,
    progress: StepProgress,
) -> Evaluation:
    """Embed every recording of the list, score every trial, and compute error rates.

    Raises `AudioError` for a recording that cannot be read, `UsageError` for a folder of noise without recordings, and
    `ModelError` as `scoring` and its scorer do.
    """
    noise = open_library(options.noise) if options.noise is not None else None
    rir = open_library(options.rir) if options.rir is not None else None
    cache = Cache(options.cache, embedder.model, config.speech) if options.cache is not None else None
    workers = EmbeddingWorkers(config.model, config.speech, embedder, cache)
    enrolments, tests, cut = embed_trials(listed, workers, CUTS, progress)
    scorer = scoring(listed.trials, enrolments, [*cut, tests])
    sets = {
        "by_net_speech": {f"{seconds:g}": each for seconds, each in zip(CUTS, cut, strict=True)},
        "by_noise": _with_noise(listed, workers, tests, noise, options.seed, progress) if noise is not None else {},
        "by_room": _with_rooms(listed, workers, tests, rir, options.seed, progress) if rir is not None else {},
    }
    progress("scoring", 0, 1)
    whole, others = _score(listed.trials, enrolments, tests, sets, scorer)
    parts = {
        "by_source": {name: whole.part(chosen) for name, chosen in by_source(listed.trials).items()},
        "by_condition": {name: whole.part(chosen) for name, chosen in by_condition(listed.trials).items()},
    }
    pooled, tables = _measure(whole, parts | others, options, progress)
    return Evaluation(
        listed=listed,
        model=embedder.model,
        scorer=scorer,
        options=options,
        scored=whole,
        pooled=pooled,
        tables=tables,
        tests=tests,
        shorter={f"{cut:g}": sum(test.net_speech < cut for test in tests.values()) for cut in CUTS},
        sessions=simulate(listed.trials, enrolments, tests, scorer, config, embedder.model, embedder.threshold),
        refusals=count_refusals(tests.values(), enrolments.values(), config, embedder),
        warnings=(
            *listed.warnings,
            *_left_out("noise", noise),
            *_left_out("impulse responses", rir),
            *scoring_warnings(listed.trials, scorer, config),
        ),
    )


def scoring_warnings(trials: Sequence[Trial], scorer: Scorer, config: Config) -> Iterator[str]:
    """Reasons why the scores of these trials are too good, or differ from what the daemon decides by."""
    people = {name for trial in trials for name in (trial.speaker, trial.test_speaker)}
    cohort, calibration = scorer.backend.cohort, scorer.backend.calibration
    if calibration is not None:
        fitted = people.intersection(calibration.speakers)
        if fitted:
            yield (
                f"{len(fitted)} of the {len(people)} speakers were used to fit the calibration: the results are too "
                "good; --cross-validate leaves a trial's own speakers out"
            )
    if cohort is not None:
        in_cohort = people.intersection(cohort.speakers)
        if in_cohort:
            yield (
                f"{len(in_cohort)} of the {len(people)} speakers are in the cohort of {len(cohort.speakers)}: each "
                "trial is scored without its own speakers"
            )
    if cohort is not None and not scorer.llr:
        yield "there is a cohort but no calibration: the daemon decides by raw cosine; see `voiceauth calibrate`"
    if scorer.llr and config.decision.threshold is not None:
        yield "decision.threshold is set: the daemon decides by cosine, not by these ratios"


def by_source(trials: Sequence[Trial]) -> dict[str, Bools]:
    """Which trials have a test from each source, by its name; shape (trials,) each."""
    names = np.array([trial.test_source for trial in trials])
    return {str(name): names == name for name in dict.fromkeys(names.tolist()) if name}


def by_condition(trials: Sequence[Trial]) -> dict[str, Bools]:
    """Which trials belong to each condition, by its name; shape (trials,) each.

    A condition between enrolment and test often applies to one kind of trial only (another day; another source). A
    condition with only targets, or only non-targets, gets all trials of the other kind whose tests are from the same
    sources.
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


def embed_trials(
    listed: TrialList, workers: EmbeddingWorkers, cuts: Sequence[float], progress: StepProgress
) -> tuple[dict[str, list[EmbeddedSpeech]], Tests, list[Tests]]:
    """Embed the takes of each enrolment, the whole tests, and the tests for each cut (seconds of net speech).

    Raises `AudioError` for a recording that cannot be read.
    """
    references = listed.references()
    paths = list(dict.fromkeys(trial.test_path for trial in listed.trials))
    files = list(dict.fromkeys(file for enrolment in listed.enrolments.values() for file in enrolment.files))
    jobs = [Job(listed.folder / path, references[path], tuple(cuts)) for path in paths]
    jobs += [Job(listed.folder / file, references[file]) for file in files]
    recordings = workers.embed(jobs, lambda done, of: progress("embedding", done, of))
    tests = dict(zip(paths, recordings[: len(paths)], strict=True))
    takes = {file: recording.whole for file, recording in zip(files, recordings[len(paths) :], strict=True)}
    enrolments = {name: [takes[file] for file in each.files] for name, each in listed.enrolments.items()}
    cut = [_tests_cut(tests, index) for index in range(len(cuts))]
    return enrolments, {path: recording.whole for path, recording in tests.items()}, cut


def _tests_cut(tests: Mapping[str, EmbeddedRecording], cut: int) -> Tests:
    return {path: recording.cuts[cut] for path, recording in tests.items()}


def _with_noise(
    listed: TrialList, workers: EmbeddingWorkers, tests: Tests, library: Library, seed: int, progress: StepProgress
) -> dict[str, Tests]:
    return {
        f"{level:g}": _degraded(
            listed, workers, noises(tests, library, level, seed), f"noise at {level:g} dB", progress
        )
        for level in SNRS_DB
    }


def _with_rooms(
    listed: TrialList, workers: EmbeddingWorkers, tests: Tests, library: Library, seed: int, progress: StepProgress
) -> dict[str, Tests]:
    return {"rooms": _degraded(listed, workers, rooms(list(tests), library, seed), "rooms", progress)}


def _degraded(
    listed: TrialList,
    workers: EmbeddingWorkers,
    degradations: Mapping[str, Degradation],
    step: str,
    progress: StepProgress,
) -> Tests:
    references = listed.references()
    jobs = [
        Job(listed.folder / path, references[path], degradation=degradation)
        for path, degradation in degradations.items()
    ]
    recordings = workers.embed(jobs, lambda done, of: progress(step, done, of))
    return {path: recording.whole for path, recording in zip(degradations, recordings, strict=True)}


def _score(
    trials: Sequence[Trial],
    enrolments: Enrolments,
    tests: Tests,
    sets: Mapping[str, Mapping[str, Tests]],
    scorer: Scorer,
) -> tuple[ScoredTrials, dict[str, dict[str, ScoredTrials]]]:
    """The trials scored with the whole tests, and with each other set of tests, by table and name."""
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
    whole: ScoredTrials,
    sets: Mapping[str, Mapping[str, ScoredTrials]],
    options: EvaluationOptions,
    progress: StepProgress,
) -> tuple[ErrorRates, dict[str, dict[str, ErrorRates]]]:
    total = 1 + sum(len(table) for table in sets.values())
    done = 0

    def error_rates(scored: ScoredTrials) -> ErrorRates:
        nonlocal done
        progress("measuring", done, total)
        done += 1
        return measure(scored, options.resamples, options.seed)

    pooled = error_rates(whole)
    return pooled, {
        table: {name: error_rates(scored) for name, scored in parts.items()} for table, parts in sets.items()
    }


def _left_out(kind: str, library: Library | None) -> tuple[str, ...]:
    if library is None or library.left_out == 0:
        return ()
    return (f"{kind}: {library.left_out} recordings left out because of their entries in the manifest",)
