"""What an evaluation needs besides the trials: its scorer, and the files that it writes."""

from __future__ import annotations

from pathlib import Path

from voiceauthd.config.resolve import scoring_folder
from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import ModelId
from voiceauthd.evaluation.evaluate import Evaluation, Scoring
from voiceauthd.evaluation.files import write_whole
from voiceauthd.evaluation.fit_calibration import cross_validated
from voiceauthd.evaluation.plots import draw
from voiceauthd.evaluation.report import as_csv
from voiceauthd.evaluation.scorer import BackendScorer
from voiceauthd.scoring.backend import NO_BACKEND, load_backend


def choose_scoring(config: Config, model: ModelId, *, raw: bool, cross_validate: bool) -> Scoring:
    """Return how to score: as the daemon does with this model on this machine, unless asked for otherwise.

    raw             by cosine, without cohort and calibration
    cross_validate  by calibrations fitted on the trials, leaving out each trial's speakers
    Raises `StorageError` for a torn cohort or calibration, or one that does not belong to the model.
    """
    backend = NO_BACKEND if raw else load_backend(scoring_folder(config), model)
    if cross_validate:
        return lambda trials, enrolments, sets: cross_validated(trials, enrolments, sets, model, backend.cohort)
    return lambda trials, enrolments, sets: BackendScorer(model, backend)


def write_outputs(found: Evaluation, scores: Path | None, plots: Path | None) -> None:
    """Write the scores and the plots that were asked for. Raises `StorageError`."""
    if scores is not None:
        write_whole(scores, as_csv(found).encode())
    if plots is not None:
        for name, data in draw(found).items():
            write_whole(plots / name, data)
