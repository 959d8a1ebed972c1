"""A folder of speech that a cohort or a calibration is made of: its size, its trials, and errors that name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voiceauthd.errors import ModelError, UsageError
from voiceauthd.evaluation.find_speakers import Speakers, speakers_in
from voiceauthd.evaluation.trial_design import make_trials, short_enrolments
from voiceauthd.evaluation.trials import ENROLL, TRIALS, TrialList, load_trials
from voiceauthd.scoring.cohort import MIN_SPEAKERS


def trials_in(folder: Path, seed: int) -> tuple[TrialList, list[str]]:
    """Return the trial list in `folder`, else one made of its speakers, and warnings.

    Raises `UsageError`, reason `cohort_too_small`, if it has too few people.
    """
    is_list = (folder / ENROLL).is_file() or (folder / TRIALS).is_file()
    listed = load_trials(folder) if is_list else make_trials(folder, seed)
    people = {name for trial in listed.trials for name in (trial.speaker, trial.test_speaker)}
    require_cohort_size(len(people), folder)
    return listed, [*listed.warnings, *short_enrolments(listed)]


def cohort_speakers(folder: Path) -> tuple[Speakers, list[str]]:
    """Return the recordings of each speaker in `folder`, and warnings.

    Raises `UsageError`, reasons `no_speakers` and `cohort_too_small`.
    """
    warnings: list[str] = []
    speakers = speakers_in(folder, warnings)
    require_cohort_size(len(speakers), folder)
    return speakers, warnings


def require_cohort_size(people: int, folder: Path) -> None:
    """Raises `UsageError`, reason `cohort_too_small`, before any recording is processed."""
    if people < MIN_SPEAKERS:
        few = "1 speaker" if people == 1 else f"{people} speakers"
        raise UsageError(
            f"{folder}: {few}; at least {MIN_SPEAKERS} are needed, each with a sub-folder of its own",
            "cohort_too_small",
        )


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Name the folder in the error if a cohort or a calibration cannot be made of it."""
    try:
        yield
    except ModelError as error:
        if error.reason == "cohort_too_small":
            raise ModelError(f"{folder}: too few speakers with detected speech: {error}", error.reason) from error
        if error.reason == "not_calibrated":
            raise ModelError(f"{folder}: {error}", error.reason) from error
        raise
