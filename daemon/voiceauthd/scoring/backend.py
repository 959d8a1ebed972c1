"""What stands behind a model's cosines: its cohort, and the calibration that was fitted with it."""

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
"""Names in the folder of a model."""


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """cohort None: scores are not normalised; calibration None: they are no ratios. There is none without a cohort."""

    cohort: Cohort | None = None
    calibration: Calibration | None = None

    def without(self, speakers: Collection[str]) -> Backend:
        """With a cohort that these people are not in."""
        if self.cohort is None:
            return self
        smaller = self.cohort.without(speakers)
        return self if smaller is self.cohort else Backend(smaller, self.calibration)

    def same(self, other: Backend) -> bool:
        """Whether both score alike."""
        digests = [None if each.cohort is None else each.cohort.digest for each in (self, other)]
        return digests[0] == digests[1] and self.calibration == other.calibration


NO_BACKEND = Backend()


def load_backend(folder: Path, model: ModelId) -> Backend:
    """What was built for this model on this machine, else what comes with the package, else nothing.

    folder  where `voiceauth cohort build` and `voiceauth calibrate` write; a folder in it for each model

    Raises `StorageError` for files that are torn, of another model, or do not belong together: scores must not silently
    become worse than they were.
    """
    own = folder / folder_name(model)
    if _is_there(own / COHORT):
        cohort = read_cohort(own / COHORT, model)
        if not _is_there(own / CALIBRATION):
            return Backend(cohort)
        return Backend(cohort, read_calibration(own / CALIBRATION, model, cohort.digest))
    if _is_there(own / CALIBRATION):
        raise StorageError(
            f"{own / CALIBRATION} has no {COHORT} beside it: fit it again with `voiceauth calibrate`", "no_cohort"
        )
    return shipped_backend(model)


def shipped_backend(model: ModelId) -> Backend:
    """What comes with the package for exactly these weights; nothing for any other model."""
    shipped = resources.files("voiceauthd.scoring") / "shipped" / folder_name(model)
    if not (shipped / COHORT).is_file():
        return NO_BACKEND
    try:
        numbers, document = (shipped / COHORT).read_bytes(), (shipped / CALIBRATION).read_bytes()
    except OSError as error:
        raise StorageError(f"what comes with the package is incomplete ({error}): install it again") from error
    cohort = decode_cohort(numbers, model, f"the shipped {COHORT}")
    return Backend(cohort, decode_calibration(document, model, cohort.digest, f"the shipped {CALIBRATION}"))


def _is_there(path: Path) -> bool:
    """Whatever it is: a link to nothing, or a folder, is no reason to do without. Raises `StorageError`."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return True


def folder_name(model: ModelId) -> str:
    """Of a model's folder: the end of its name, and enough of the digest of its weights to tell two apart."""
    plain = "".join(
        character if character.isascii() and (character.isalnum() or character in "-_.") else "-"
        for character in model.name
    )
    return f"{plain.strip('.-')[-60:] or 'model'}-{model.digest[:16]}"
