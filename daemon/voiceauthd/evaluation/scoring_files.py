"""A model's cohort and calibration on disk: where they belong, what must not be replaced, and how they are written.

The daemon loads either a cohort alone, or a cohort and the calibration that was fitted with it. It refuses anything
else and does not start, so files are changed in an order in which each step leaves one of the two.
"""

from __future__ import annotations

from pathlib import Path

from voiceauthd.config.resolve import scoring_folder
from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError, UsageError
from voiceauthd.evaluation import files
from voiceauthd.evaluation.output_paths import require_absent
from voiceauthd.scoring.backend import CALIBRATION, COHORT, Backend, folder_name, load_backend, shipped_backend
from voiceauthd.scoring.calibration import Calibration, encode_calibration
from voiceauthd.scoring.cohort import Cohort, encode_cohort, read_cohort


def own_folder(config: Config, model: ModelId) -> Path:
    """Return where the daemon looks for files made on this machine. Raises `ConfigError` if that is not known."""
    return scoring_folder(config) / folder_name(model)


def find_backend(config: Config, model: ModelId) -> tuple[Backend, str, Path]:
    """Return what the daemon uses with this model, its origin (own, shipped or none), and the folder for own files.

    Raises `StorageError`.
    """
    own = own_folder(config, model)
    try:
        made_here = (own / COHORT).is_file()
        backend = load_backend(scoring_folder(config), model)
    except OSError as problem:
        raise StorageError(f"{own}: cannot be read: {problem.strerror or problem}") from problem
    return backend, "own" if made_here else "none" if backend.cohort is None else "shipped", own


def require_uncalibrated(config: Config, model: ModelId, *, force: bool) -> None:
    """Refuse to let a new cohort make a model uncalibrated, except with `force`.

    Raises `UsageError`, reasons `exists` and `calibrated`.
    """
    own = own_folder(config, model)
    require_absent([own / COHORT, own / CALIBRATION], force=force)
    if not force and shipped_backend(model).calibration is not None:
        raise UsageError(
            f"{model} came calibrated, and would not be with a new cohort: make both with `voiceauth calibrate`, or "
            "pass --force",
            "calibrated",
        )


def require_replaceable(folder: Path, given: Cohort | None, model: ModelId, *, force: bool) -> None:
    """Refuse to replace the files in `folder`, except with `force`; a cohort that is used again is not lost."""
    lost = [folder / CALIBRATION]
    try:
        stays = given is not None and read_cohort(folder / COHORT, model).digest == given.digest
    except StorageError:
        stays = False
    if not stays:
        lost.insert(0, folder / COHORT)
    require_absent(lost, force=force)


def install(folder: Path, cohort: Cohort, calibration: Calibration | None) -> list[Path]:
    """Write a cohort, and the calibration that belongs to it, into the folder of their model, replacing others.

    Returns the files. Raises `StorageError`.
    """
    files.make_folder(folder)
    files.remove(folder / CALIBRATION)
    files.write_whole(folder / COHORT, encode_cohort(cohort))
    if calibration is None:
        return [folder / COHORT]
    files.write_whole(folder / CALIBRATION, encode_calibration(calibration))
    return [folder / COHORT, folder / CALIBRATION]


def write_cohort(path: Path, cohort: Cohort) -> list[Path]:
    """Write a cohort to a file of its own. Returns the files. Raises `StorageError`."""
    files.write_whole(path, encode_cohort(cohort))
    return [path]
