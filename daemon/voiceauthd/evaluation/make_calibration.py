"""Making a calibration from a folder of speech, for a model and the daemon's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder
from voiceauthd.evaluation import scoring_files
from voiceauthd.evaluation.calibration_warnings import calibration_warnings
from voiceauthd.evaluation.describe_scoring import Description, describe_scoring
from voiceauthd.evaluation.embed_speakers import make_workers
from voiceauthd.evaluation.evaluate import StepProgress
from voiceauthd.evaluation.fit_calibration import calibrate
from voiceauthd.evaluation.output_paths import require_writable_folder
from voiceauthd.evaluation.scoring_options import ScoringOptions
from voiceauthd.evaluation.speech_folder import naming
from voiceauthd.evaluation.trials import TrialList
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.calibration import Calibration
from voiceauthd.scoring.cohort import Cohort, read_cohort


class MadeCalibration(NamedTuple):
    """A calibration and its cohort, not written yet. folder: where they belong."""

    embedder: Embedder
    cohort: Cohort
    calibration: Calibration
    folder: Path
    warnings: list[str]

    def describe(self, config: Config) -> Description:
        """See `describe_scoring`."""
        return describe_scoring(config, self.embedder, Backend(self.cohort, self.calibration))

    def install(self) -> list[Path]:
        """Write both and return the files. Raises `StorageError`."""
        return scoring_files.install(self.folder, self.cohort, self.calibration)


def make_calibration(
    config: Config,
    listed: TrialList,
    cohort: Path | None,
    options: ScoringOptions,
    progress: StepProgress,
) -> MadeCalibration:
    """Fit a calibration to the trials in `listed`, which were made from its folder.

    cohort: a file; None: made of the same speakers. `options.output` is a folder.

    Raises what `calibrate` raises, naming the folder; before the work, `UsageError` or `StorageError` if the result
    could not be written.
    """
    embedder = load_embedder(config.model)
    folder = options.output or scoring_files.own_folder(config, embedder.model)
    given = read_cohort(cohort, embedder.model) if cohort is not None else None
    scoring_files.require_replaceable(folder, given, embedder.model, force=options.force)
    require_writable_folder(folder)
    workers = make_workers(config, embedder, use_cache=options.use_cache)
    with naming(listed.folder):
        used, calibration = calibrate(listed, workers, embedder.model, given, (options.source,), progress)
    return MadeCalibration(embedder, used, calibration, folder, calibration_warnings(listed, calibration))
