"""Making a cohort from a folder of speech, for a model and the daemon's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import ModelId
from voiceauthd.embed.load import load_embedder
from voiceauthd.evaluation import scoring_files
from voiceauthd.evaluation.embed_speakers import embed_speakers, make_workers, missing_speakers
from voiceauthd.evaluation.evaluate import StepProgress
from voiceauthd.evaluation.find_speakers import Speakers
from voiceauthd.evaluation.fit_calibration import build_cohort
from voiceauthd.evaluation.output_paths import require_writable_folder
from voiceauthd.evaluation.scoring_options import ScoringOptions
from voiceauthd.evaluation.speech_folder import naming
from voiceauthd.scoring.cohort import Cohort


class MadeCohort(NamedTuple):
    """A cohort, not written yet. file: where it goes, None for the daemon's own `folder`."""

    model: ModelId
    cohort: Cohort
    folder: Path
    file: Path | None
    warnings: list[str]

    def install(self) -> list[Path]:
        """Write it and return the files. Raises `StorageError`."""
        if self.file is not None:
            return scoring_files.write_cohort(self.file, self.cohort)
        return scoring_files.install(self.folder, self.cohort, None)


def make_cohort(
    config: Config,
    folder: Path,
    voices: Speakers,
    recordings: int,
    options: ScoringOptions,
    progress: StepProgress,
) -> MadeCohort:
    """Make a cohort of the speakers in `folder`, from this number of recordings of each.

    `options.output` is a file. With `options.force` a calibrated model becomes uncalibrated.

    Raises what `build_cohort` raises, naming the folder; before the work, `UsageError` or `StorageError` if the result
    could not be written.
    """
    embedder = load_embedder(config.model)
    own = scoring_files.own_folder(config, embedder.model)
    if options.output is None:
        scoring_files.require_uncalibrated(config, embedder.model, force=options.force)
        require_writable_folder(own)
    takes = embed_speakers(voices, recordings, make_workers(config, embedder, use_cache=options.use_cache), progress)
    with naming(folder):
        cohort = build_cohort(takes, embedder.model, (options.source,))
    return MadeCohort(embedder.model, cohort, own, options.output, missing_speakers(takes, cohort))
