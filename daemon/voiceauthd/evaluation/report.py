"""The results of an evaluation: a table for people, an object for programs, and a CSV file of all scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from voiceauthd.evaluation.error_rates import CONFIDENCE, METRICS, ErrorRates, Estimate
from voiceauthd.evaluation.evaluate import Evaluation
from voiceauthd.evaluation.refusals import Refusals
from voiceauthd.evaluation.scorer import Scorer
from voiceauthd.evaluation.sessions import TRIES, PolicySessions, Share

PERCENT_METRICS = {"eer", "frr_at_far_1e-2", "frr_at_far_1e-3"}
"""Shown to people in per cent."""

COLUMN_HEADS = {
    "eer": ("EER", "%"),
    "mindcf_0.01": ("minDCF", "0.01"),
    "mindcf_0.001": ("minDCF", "0.001"),
    "frr_at_far_1e-2": ("FRR %", "FAR 1e-2"),
    "frr_at_far_1e-3": ("FRR %", "FAR 1e-3"),
    "cllr": ("Cllr", "bit"),
    "mincllr": ("minCllr", "bit"),
}

TABLE_TITLES = {
    "by_source": "by source of the test",
    "by_condition": "by condition",
    "by_net_speech": "by net speech, at most s",
    "by_noise": "in noise, dB SNR",
    "by_room": "in rooms",
}

REFUSED_ITEMS = {"tests": "tests", "enrolments": "enrolments", "takes": "enrolment recordings"}

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

METRIC_WIDTH = 12
"""Characters of a column: "0.123–0.456" and a space."""


def as_object(evaluation: Evaluation) -> dict[str, Any]:
    """All results for programs. A metric that cannot be computed from the trials is null."""
    options, listed, model = evaluation.options, evaluation.listed, evaluation.model
    return {
        "pooled": _error_rates(evaluation.pooled),
        **{
            table: {name: _error_rates(each) for name, each in groups.items()}
            for table, groups in evaluation.tables.items()
        },
        "model": {"name": model.name, "revision": model.revision, "digest": model.digest},
        "scoring": _scoring(evaluation.scorer),
        "bootstrap": {"resamples": options.resamples, "seed": options.seed, "confidence": CONFIDENCE},
        "policies": {each.name: _policy(each) for each in evaluation.sessions},
        "shorter": dict(evaluation.shorter),
        "gates": {name: _refusals(counts) for name, counts in evaluation.refusals.items()},
        "doubtful_left_out": listed.doubtful,
        "notes": {place: list(each.notes) for place, each in _all_error_rates(evaluation) if each.notes},
        "warnings": list(evaluation.warnings),
    }


def as_lines(evaluation: Evaluation) -> Iterator[str]:
    """All results for people."""
    listed, options = evaluation.listed, evaluation.options
    yield f"{listed.folder}: {len(listed.trials)} trials, {len(evaluation.tests)} test recordings, " + (
        f"{len(listed.enrolments)} enrolments"
    )
    yield f"model {evaluation.model}; scores: {evaluation.scorer.name}"
    yield from _backend(evaluation.scorer)
    yield from _table(evaluation)
    yield from _sessions(evaluation)
    yield ""
    if options.resamples:
        yield f"below each value: its {CONFIDENCE:.0%} interval, over {options.resamples} resamples of the speakers"
    yield from _notes(evaluation)


def as_csv(evaluation: Evaluation) -> str:
    """All scores, one row per trial in the order of the list. An empty score is a reject."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    for trial, score in zip(evaluation.listed.trials, evaluation.scored.scores.tolist(), strict=True):
        test = evaluation.tests[trial.test_path]
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
                f"{test.net_speech:.2f}",
                len(test.windows),
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
    """One line about cohort and calibration; none if there are neither."""
    cohort, calibration = scorer.backend.cohort, scorer.backend.calibration
    parts = []
    if cohort is not None:
        parts.append(f"cohort of {len(cohort.speakers)} speakers ({cohort.digest[:12]})")
    if calibration is not None:
        parts.append(f"calibration of {calibration.created}, {calibration.pairs:,} pairs of people")
    if parts:
        yield "; ".join(parts)


def _all_error_rates(evaluation: Evaluation) -> Iterator[tuple[str, ErrorRates]]:
    """All error rates with their place in the object, such as "by_source.voxforge"."""
    yield "pooled", evaluation.pooled
    for table, groups in evaluation.tables.items():
        for name, rates in groups.items():
            yield f"{table}.{name}", rates


def _error_rates(rates: ErrorRates) -> dict[str, Any]:
    estimates = {name: asdict(estimate) for name, estimate in rates.values.items()}
    return {
        **estimates,
        "trials": {"target": rates.target, "nontarget": rates.nontarget, "speakers": rates.speakers},
        "rejected": {"target": rates.rejected_target, "nontarget": rates.rejected_nontarget},
    }


def _refusals(counts: Refusals) -> dict[str, Any]:
    return {
        "heard": counts.total,
        "refused": counts.refused,
        "reasons": dict(counts.reasons),
        "flags": dict(counts.flags),
    }


def _policy(sessions: PolicySessions) -> dict[str, Any]:
    def share(accepted: Share) -> dict[str, Any]:
        return {
            "value": accepted.value,
            "low": accepted.low,
            "high": accepted.high,
            "accepted": accepted.count,
            "of": accepted.of,
        }

    return {
        "false_accepts": sessions.false_accepts,
        "calibrated": sessions.calibrated,
        "first_try": {"target": share(sessions.first_target), "nontarget": share(sessions.first_nontarget)},
        "session": {"target": share(sessions.target), "nontarget": share(sessions.nontarget)},
        "too_short": sessions.too_short,
        "net_speech": sessions.net_speech,
    }


def _sessions(evaluation: Evaluation) -> Iterator[str]:
    """A table with one line per policy."""
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
        yield f"{first.too_short} of the targets never had enough speech for a decision, and count as not accepted"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.2f}"


def _table(evaluation: Evaluation) -> Iterator[str]:
    names = [name for _, groups in evaluation.tables.items() for name in groups]
    width = max(len(name) for name in ("pooled", *TABLE_TITLES.values(), *names)) + 1
    shown = [name for name in METRICS if name != "cllr" or evaluation.scored.llr]
    yield ""
    for part, counts in enumerate((("target /", "without", "speak-"), ("non-target", "a score", "ers"))):
        heads = "".join(f"{COLUMN_HEADS[name][part]:>{METRIC_WIDTH}}" for name in shown)
        yield f"{'':<{width}}{_columns(*counts)}{heads}"
    yield from _rows("pooled", evaluation.pooled, width, shown)
    for table, groups in evaluation.tables.items():
        if groups:
            yield ""
            yield TABLE_TITLES[table]
        for name, rates in groups.items():
            yield from _rows(name, rates, width, shown)


def _rows(name: str, rates: ErrorRates, width: int, shown: Sequence[str]) -> Iterator[str]:
    counts = _columns(
        f"{rates.target}/{rates.nontarget}",
        f"{rates.rejected_target}/{rates.rejected_nontarget}",
        f"{rates.speakers}",
    )
    values = [(metric, rates.values[metric]) for metric in shown]
    yield f"{name:<{width}}{counts}" + "".join(
        f"{_value(metric, estimate):>{METRIC_WIDTH}}" for metric, estimate in values
    )
    if any(estimate.low is not None for _, estimate in values):
        intervals = "".join(f"{_interval(metric, estimate):>{METRIC_WIDTH}}" for metric, estimate in values)
        yield " " * (width + len(counts)) + intervals


def _columns(trials: str, rejected: str, speakers: str) -> str:
    return f"{trials:>11}{rejected:>9}{speakers:>7}"


def _value(metric: str, estimate: Estimate) -> str:
    return "-" if estimate.value is None else _number(metric, estimate.value)


def _interval(metric: str, estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{_number(metric, estimate.low)}–{_number(metric, estimate.high)}"


def _number(metric: str, value: float) -> str:
    return f"{100.0 * value:.2f}" if metric in PERCENT_METRICS else f"{value:.3f}"


def _notes(evaluation: Evaluation) -> Iterator[str]:
    """What a reader of the table must know."""
    pooled = evaluation.pooled
    yield (
        f"trials without a score, counted as rejects: {pooled.rejected_target} target, "
        f"{pooled.rejected_nontarget} non-target"
    )
    if evaluation.listed.doubtful:
        yield f"trials left out because their label is in doubt: {evaluation.listed.doubtful}"
    for kind, counts in evaluation.refusals.items():
        refused = f"{counts.refused} of {counts.total} {REFUSED_ITEMS[kind]}"
        yield f"the daemon would refuse {refused}{_codes(counts.reasons)}"
        if counts.flags:
            yield f"of those {counts.total}, no reason to refuse, but worth knowing:{_codes(counts.flags)}"
    shorter = ", ".join(f"{count} under {name} s" for name, count in evaluation.shorter.items() if count)
    if shorter:
        yield f"tests with less net speech than a cut are used whole: {shorter}"
    yield from (f"note: {note}" for note in pooled.notes)
    others = [rates for _, rates in _all_error_rates(evaluation) if rates is not pooled]
    if any(rates.notes for rates in others):
        yield (
            "note: - means too few trials: a false-accept rate of 0.01 needs 100 non-target trials, 0.001 needs 1,000"
        )
    rough = [place for place, rates in _all_error_rates(evaluation) if any("rough" in note for note in rates.notes)]
    if rough:
        yield f"note: so few speakers that the intervals are rough: {', '.join(rough)}"
    if any(rates.values["eer"].value == 0.0 for rates in others):
        yield "note: no errors in N trials prove only a rate below 3/N, whatever the interval says"
    for warning in evaluation.warnings:
        yield f"warning: {warning}"


def _codes(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{count} {code}' for code, count in counts.items())})" if counts else ""
