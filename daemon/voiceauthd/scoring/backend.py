"""The scoring backend of a model: its cohort, and the calibration that was fitted with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.scoring.calibration import Calibration, decode_calibration, read_calibration
from voiceauthd.scoring.cohort import Cohort, decode_cohort, read_cohort

COHORT, CALIBRATION = "cohort.safetensors", "calibration.json"
"""File names in the folder of a model."""


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """How cosines become scores: without a cohort they are not normalised, without a calibration they are not LLRs.

    There is no calibration without a cohort.
    """

    cohort: Cohort | None = None
    calibration: Calibration | None = None

    def without(self, speakers: Collection[str]) -> Backend:
        """Return the backend with these people removed from the cohort."""
        if self.cohort is None:
            return self
        smaller = self.cohort.without(speakers)
        return self if smaller is self.cohort else Backend(smaller, self.calibration)

    def is_equivalent_to(self, other: Backend) -> bool:
        """Return whether both give the same scores."""
        digests = [None if each.cohort is None else each.cohort.digest for each in (self, other)]
        return digests[0] == digests[1] and self.calibration == other.calibration


NO_BACKEND = Backend()


def load_backend(folder: Path, model: ModelId) -> Backend:
    """Load the backend built for this model on this machine, otherwise the one shipped with the package, otherwise an
    empty one.

    folder  where `voiceauth cohort build` and `voiceauth calibrate` write; it has a subfolder for each model

    Raises `StorageError` for files that are damaged, of another model, or do not belong together: scores must not get
    worse silently.
    """
    own = folder / folder_name(model)
    if _exists(own / COHORT):
        cohort = read_cohort(own / COHORT, model)
        if not _exists(own / CALIBRATION):
            return Backend(cohort)
        return Backend(cohort, read_calibration(own / CALIBRATION, model, cohort.digest))
    if _exists(own / CALIBRATION):
        raise StorageError(
            f"there is no {COHORT} beside {own / CALIBRATION}: fit it again with `voiceauth calibrate`", "no_cohort"
        )
    return shipped_backend(model)


def shipped_backend(model: ModelId) -> Backend:
    """Return the backend shipped with the package for exactly these weights; an empty one for any other model."""
    shipped = resources.files("voiceauthd.scoring") / "shipped" / folder_name(model)
    if not (shipped / COHORT).is_file():
        return NO_BACKEND
    try:
        numbers, document = (shipped / COHORT).read_bytes(), (shipped / CALIBRATION).read_bytes()
    except OSError as error:
        raise StorageError(f"the files shipped with the package are incomplete ({error}): install it again") from error
    cohort = decode_cohort(numbers, model, f"the shipped {COHORT}")
    return Backend(cohort, decode_calibration(document, model, cohort.digest, f"the shipped {CALIBRATION}"))


def _exists(path: Path) -> bool:
    """Whether anything exists at this path, also a broken link or a folder: these must be errors. Raises
    `StorageError`."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return True


def folder_name(model: ModelId) -> str:
    """Return the name of a model's folder: the end of its name, and enough of its digest to be unique."""
    plain = "".join(
        character if character.isascii() and (character.isalnum() or character in "-_.") else "-"
        for character in model.name
    )
    return f"{plain.strip('.-')[-60:] or 'model'}-{model.digest[:16]}"
