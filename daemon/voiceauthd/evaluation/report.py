"""What an evaluation found: as a table for a person, as an object for programs, and score by score."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from voiceauthd.evaluation.error_rates import CONFIDENCE, NAMES, ErrorRates, Estimate
from voiceauthd.evaluation.evaluate import Evaluation
from voiceauthd.evaluation.scorer import Scorer
from voiceauthd.evaluation.sessions import TRIES, PolicySessions, Share

PERCENT = {"eer", "frr_at_far_1e-2", "frr_at_far_1e-3"}
"""ErrorRates that a person reads in per cent."""

HEADS = {
    "eer": ("EER", "%"),
    "mindcf_0.01": ("minDCF", "0.01"),
    "mindcf_0.001": ("minDCF", "0.001"),
    "frr_at_far_1e-2": ("FRR %", "FAR 1e-2"),
    "frr_at_far_1e-3": ("FRR %", "FAR 1e-3"),
    "cllr": ("Cllr", "bit"),
    "mincllr": ("minCllr", "bit"),
}

TITLES = {
    "by_source": "by source of the test",
    "by_condition": "by condition",
    "by_net_speech": "by net speech, s at most",
    "by_noise": "in noise, dB SNR",
    "by_room": "in rooms",
}

GATES = {"tests": "tests", "enrolments": "enrolments", "takes": "recordings that were enrolled with"}

SCORE_COLUMNS = (
    "trial_id",
    "enroll_id",
    "test_path",
    "label",
    "condition",
    "enroll_source",
    "test_source",
    "speaker",
    "test_speaker",
    "score",
    "net_speech",
    "windows",
)

WIDTH = 12
"""Of a column with a figure: "0.123–0.456" and a blank."""


def as_object(evaluation: Evaluation) -> dict[str, Any]:
    """Everything, for programs. A figure that the trials do not give is null."""
    wishes, listed, model = evaluation.wishes, evaluation.listed, evaluation.model
    return {
        "pooled": _group(evaluation.pooled),
        **{table: {name: _group(each) for name, each in groups.items()} for table, groups in evaluation.tables.items()},
        "model": {"name": model.name, "revision": model.revision, "digest": model.digest},
        "scoring": _scoring(evaluation.scorer),
        "bootstrap": {"resamples": wishes.resamples, "seed": wishes.seed, "confidence": CONFIDENCE},
        "policies": {each.name: _policy(each) for each in evaluation.sessions},
        "shorter": dict(evaluation.shorter),
        "gates": {name: asdict(counts) for name, counts in evaluation.gates.items()},
        "doubtful_left_out": listed.doubtful,
        "notes": {place: list(each.notes) for place, each in _places(evaluation) if each.notes},
        "warnings": list(evaluation.warnings),
    }


def as_lines(evaluation: Evaluation) -> Iterator[str]:
    """Everything, for a person."""
    listed, wishes = evaluation.listed, evaluation.wishes
    yield f"{listed.folder}: {len(listed.trials)} trials, {len(evaluation.tests)} test recordings, " + (
        f"{len(listed.enrolments)} enrolments"
    )
    yield f"model {evaluation.model}; scores: {evaluation.scorer.name}"
    yield from _backend(evaluation.scorer)
    yield from _table(evaluation)
    yield from _sessions(evaluation)
    yield ""
    if wishes.resamples:
        yield f"below each figure: its {CONFIDENCE:.0%} interval, over {wishes.resamples} resamples of the speakers"
    yield from _beside(evaluation)


def as_csv(evaluation: Evaluation) -> str:
    """The scores, one row a trial in the order of the list; an empty score is a reject."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    for trial, score in zip(evaluation.listed.trials, evaluation.scored.scores.tolist(), strict=True):
        take = evaluation.tests[trial.test_path]
        writer.writerow(
            (
                trial.trial_id,
                trial.enroll_id,
                trial.test_path,
                "target" if trial.target else "nontarget",
                trial.condition,
                trial.enroll_source,
                trial.test_source,
                trial.speaker,
                trial.test_speaker,
                "" if math.isnan(score) else f"{score:.6f}",
                f"{take.net_speech:.2f}",
                len(take.windows),
            )
        )
    return text.getvalue()


def _scoring(scorer: Scorer) -> dict[str, Any]:
    cohort, calibration = scorer.backend.cohort, scorer.backend.calibration
    return {
        "name": scorer.name,
        "llr": scorer.llr,
        "cohort": None if cohort is None else {"speakers": len(cohort.speakers), "digest": cohort.digest},
        "calibration": None if calibration is None else {"created": calibration.created, "pairs": calibration.pairs},
    }


def _backend(scorer: Scorer) -> Iterator[str]:
    """What stands behind the scores, in a line; nothing behind raw cosines."""
    cohort, calibration = scorer.backend.cohort, scorer.backend.calibration
    parts = []
    if cohort is not None:
        parts.append(f"cohort of {len(cohort.speakers)} speakers ({cohort.digest[:12]})")
    if calibration is not None:
        parts.append(f"calibration of {calibration.created}, {calibration.pairs:,} pairs of people")
    if parts:
        yield "; ".join(parts)


def _places(evaluation: Evaluation) -> Iterator[tuple[str, ErrorRates]]:
    """Every group of figures with its place in the object, such as "by_source.voxforge"."""
    yield "pooled", evaluation.pooled
    for table, groups in evaluation.tables.items():
        for name, figures in groups.items():
            yield f"{table}.{name}", figures


def _group(figures: ErrorRates) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: {"value": figure.value, "low": figure.low, "high": figure.high} for name, figure in figures.values.items()
    }
    found["trials"] = {"target": figures.target, "nontarget": figures.nontarget, "speakers": figures.speakers}
    found["rejected"] = {"target": figures.rejected_target, "nontarget": figures.rejected_nontarget}
    return found


def _policy(sessions: PolicySessions) -> dict[str, Any]:
    def share(found: Share) -> dict[str, Any]:
        return {"value": found.value, "low": found.low, "high": found.high, "accepted": found.count, "of": found.of}

    return {
        "false_accepts": sessions.false_accepts,
        "calibrated": sessions.calibrated,
        "first_try": {"target": share(sessions.first_target), "nontarget": share(sessions.first_nontarget)},
        "session": {"target": share(sessions.target), "nontarget": share(sessions.nontarget)},
        "too_short": sessions.too_short,
        "net_speech": sessions.net_speech,
    }


def _sessions(evaluation: Evaluation) -> Iterator[str]:
    """The policies, a line each."""
    first = evaluation.sessions[0]
    if not (first.target.of or first.nontarget.of):
        return
    yield ""
    yield (
        f"whole sessions, {TRIES} tries each, of {first.target.of} targets and {first.nontarget.of} non-targets: "
        "accepted, %"
    )
    heads = (("aims at", 9), ("targets", 10), ("1st try", 10), ("non-targets", 24), ("1st try", 10), ("speech, s", 11))
    yield f"{'policy':<10}" + "".join(f"{head:>{width}}" for head, width in heads)
    for each in evaluation.sessions:
        interval = f"{_percent(each.nontarget.value)} ({_percent(each.nontarget.low)}–{_percent(each.nontarget.high)})"
        aim = f"{100.0 * each.false_accepts:g}" if each.calibrated else "uncal."
        speech = "-" if each.net_speech is None else f"{each.net_speech:.1f}"
        yield (
            f"{each.name:<10}{aim:>9}{_percent(each.target.value):>10}{_percent(each.first_target.value):>10}"
            f"{interval:>24}{_percent(each.first_nontarget.value):>10}{speech:>11}"
        )
    if first.too_short:
        yield f"{first.too_short} of the targets never spoke as long as a decision takes, and count as not accepted"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.2f}"


def _table(evaluation: Evaluation) -> Iterator[str]:
    names = [name for _, groups in evaluation.tables.items() for name in groups]
    width = max(len(name) for name in ("pooled", *TITLES.values(), *names)) + 1
    shown = [name for name in NAMES if name != "cllr" or evaluation.scored.llr]
    yield ""
    for part, counts in enumerate((("target /", "without", "speak-"), ("non-target", "a score", "ers"))):
        heads = "".join(f"{HEADS[name][part]:>{WIDTH}}" for name in shown)
        yield f"{'':<{width}}{_columns(*counts)}{heads}"
    yield from _rows("pooled", evaluation.pooled, width, shown)
    for table, groups in evaluation.tables.items():
        if groups:
            yield ""
            yield TITLES[table]
        for name, figures in groups.items():
            yield from _rows(name, figures, width, shown)


def _rows(name: str, figures: ErrorRates, width: int, shown: Sequence[str]) -> Iterator[str]:
    counts = _columns(
        f"{figures.target}/{figures.nontarget}",
        f"{figures.rejected_target}/{figures.rejected_nontarget}",
        f"{figures.speakers}",
    )
    values = [(each, figures.values[each]) for each in shown]
    yield f"{name:<{width}}{counts}" + "".join(f"{_value(each, figure):>{WIDTH}}" for each, figure in values)
    if any(figure.low is not None for _, figure in values):
        yield " " * (width + len(counts)) + "".join(f"{_interval(each, figure):>{WIDTH}}" for each, figure in values)


def _columns(trials: str, rejected: str, speakers: str) -> str:
    return f"{trials:>11}{rejected:>9}{speakers:>7}"


def _value(name: str, figure: Estimate) -> str:
    return "-" if figure.value is None else _number(name, figure.value)


def _interval(name: str, figure: Estimate) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{_number(name, figure.low)}–{_number(name, figure.high)}"


def _number(name: str, value: float) -> str:
    return f"{100.0 * value:.2f}" if name in PERCENT else f"{value:.3f}"


def _beside(evaluation: Evaluation) -> Iterator[str]:
    """What must be read with the figures."""
    pooled = evaluation.pooled
    yield (
        f"trials without a score, counted as rejects: {pooled.rejected_target} target, "
        f"{pooled.rejected_nontarget} non-target"
    )
    if evaluation.listed.doubtful:
        yield f"trials left out because their label is in doubt: {evaluation.listed.doubtful}"
    for what, counts in evaluation.gates.items():
        yield f"the daemon would refuse {counts.refused} of {counts.heard} {GATES[what]}{_codes(counts.reasons)}"
        if counts.flags:
            yield f"of those {counts.heard}, no reason to refuse, but worth knowing:{_codes(counts.flags)}"
    shorter = ", ".join(f"{count} under {name} s" for name, count in evaluation.shorter.items() if count)
    if shorter:
        yield f"tests with less net speech than a cut count as they are: {shorter}"
    yield from (f"note: {note}" for note in pooled.notes)
    apart = [figures for _, figures in _places(evaluation) if figures is not pooled]
    if any(figures.notes for figures in apart):
        yield (
            "note: - stands where there are too few trials: a false-accept rate of 0.01 needs 100 non-target trials, "
            "0.001 needs 1,000"
        )
    rough = [place for place, figures in _places(evaluation) if any("rough" in note for note in figures.notes)]
    if rough:
        yield f"note: so few speakers that the intervals are rough: {', '.join(rough)}"
    if any(figures.values["eer"].value == 0.0 for figures in apart):
        yield "note: no errors in N trials prove only a rate below 3/N, whatever the interval says"
    for warning in evaluation.warnings:
        yield f"warning: {warning}"


def _codes(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{count} {code}' for code, count in counts.items())})" if counts else ""
