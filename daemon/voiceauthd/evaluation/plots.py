"""Plots of an evaluation, each as PNG and SVG: detection error trade-off, score histograms, calibration."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from voiceauthd.errors import UsageError
from voiceauthd.evaluation.error_rates import ScoredTrials
from voiceauthd.evaluation.evaluate import Evaluation, by_source
from voiceauthd.evaluation.metrics import accept, best_ratios, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DET_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Error rates labelled on the axes of a DET curve."""

DET_MIN, DET_MAX = 0.0005, 0.5

HISTOGRAM_BINS = 60

FORMATS = ("png", "svg")


def require_matplotlib() -> None:
    """Raises `UsageError`, reason `no_matplotlib`, if it is not installed; to be called before the work."""
    try:
        import matplotlib.figure  # noqa: F401 - only checks that it can be imported
    except ImportError as error:
        raise UsageError(
            f"plots need matplotlib ({error}): pip install 'voiceauthd[plots]'", "no_matplotlib"
        ) from error


def draw(evaluation: Evaluation) -> Mapping[str, bytes]:
    """Return the plots as files, by name, such as "det.svg". Raises `UsageError` as `require_matplotlib` does."""
    require_matplotlib()
    figures = {"det": _det(evaluation), "scores": _histograms(evaluation.scored)}
    if evaluation.scored.llr:
        figures["calibration"] = _calibration(evaluation.scored)
    return {f"{name}.{kind}": _render(figure, kind) for name, figure in figures.items() for kind in FORMATS}


def _figure(title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    # Not pyplot, which keeps all figures alive and looks for a display: a bare Figure draws with Agg.
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _det(evaluation: Evaluation) -> Figure:
    """Both error rates on normal deviate axes (Martin et al. 1997, "The DET curve in assessment of detection task
    performance"), on which normally distributed scores give a straight line."""
    figure, axes = _figure("Detection error trade-off")
    parts = {"pooled": evaluation.scored}
    parts |= {name: evaluation.scored.part(chosen) for name, chosen in by_source(evaluation.listed.trials).items()}
    for name, scored in parts.items():
        if scored.target.any() and not scored.target.all():
            curve = accept(rank(scored.scores, scored.target))
            miss, false_alarm = (np.clip(rate[0], DET_MIN / 2, 0.999) for rate in (curve.miss, curve.false_alarm))
            label = f"{name} ({np.sum(scored.target)}/{np.sum(~scored.target)})"
            axes.plot(_deviate(false_alarm), _deviate(miss), label=label, linewidth=2.5 if name == "pooled" else 1.0)
    ticks = [float(tick) for tick in _deviate(np.array(DET_TICKS))]
    names = [f"{100.0 * tick:g}" for tick in DET_TICKS]
    low, high = (float(limit) for limit in _deviate(np.array([DET_MIN, DET_MAX])))
    axes.plot([low, high], [low, high], color="grey", linewidth=0.5)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="false accepts, %", ylabel="false rejects, %")
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.legend(title="targets/non-targets", fontsize="small")
    return figure


def _histograms(scored: ScoredTrials) -> Figure:
    figure, axes = _figure("Scores")
    finite = np.isfinite(scored.scores)
    bins = (
        np.histogram_bin_edges(scored.scores[finite], HISTOGRAM_BINS)
        if finite.any()
        else np.linspace(0.0, 1.0, HISTOGRAM_BINS)
    )
    for kind, name in ((~scored.target, "non-targets"), (scored.target, "targets")):
        unscored = int(np.sum(kind & ~finite))
        label = f"{np.sum(kind)} {name}" + (f", {unscored} without a score" if unscored else "")
        if np.any(kind & finite):
            axes.hist(scored.scores[kind & finite], list(bins), density=True, alpha=0.6, label=label)
    axes.set(xlabel="log-likelihood ratio" if scored.llr else "score", ylabel="density")
    axes.legend()
    return figure


def _calibration(scored: ScoredTrials) -> Figure:
    """The optimal ratios, by pool-adjacent-violators on the same trials, over the given ones."""
    figure, axes = _figure("Calibration")
    ranking = rank(scored.scores, scored.target, missing=0.0)
    ratios = best_ratios(ranking, accept(ranking))
    drawn = np.isfinite(ratios) & np.isfinite(ranking.thresholds)
    axes.step(ranking.thresholds[drawn], ratios[drawn], where="mid", label="these trials")
    limits = (
        float(np.min(ranking.thresholds[drawn], initial=-1.0)),
        float(np.max(ranking.thresholds[drawn], initial=1.0)),
    )
    axes.plot(limits, limits, color="grey", linewidth=0.5, label="perfect")
    axes.set(xlabel="log-likelihood ratio, as given", ylabel="log-likelihood ratio, optimal for these trials")
    axes.legend()
    return figure


def _deviate(
    rates: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    from scipy.special import ndtri

    return np.asarray(ndtri(rates), np.float64)


def _render(figure: Figure, kind: str) -> bytes:
    import matplotlib

    data = io.BytesIO()
    # The same evaluation gives the same bytes: no date, no random ids.
    with matplotlib.rc_context({"svg.hashsalt": "voiceauthd"}):
        figure.savefig(data, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return data.getvalue()
