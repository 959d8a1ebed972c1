"""Doctor's check of the cohort and the calibration of the configured model."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import ConfigError, ExitCode, ModelError, StorageError

if TYPE_CHECKING:
    from voiceauthd.embed.embedding import ModelId
    from voiceauthd.scoring.backend import Backend

CALIBRATE = "`voiceauth calibrate FOLDER`, with a folder of speech that has a subfolder for each speaker"


def check_scoring(machine: Machine) -> Check:
    """Cohort and calibration exist, are intact, and belong to the configured model."""
    from voiceauthd.config.resolve import scoring_folder
    from voiceauthd.embed.embedding import ModelId
    from voiceauthd.embed.load import locate
    from voiceauthd.profiles.model_choice import choose_for
    from voiceauthd.scoring.backend import COHORT, folder_name, load_backend

    try:
        _, manifest = locate(choose_for(machine.config).config)
        folder = scoring_folder(machine.config)
    except ModelError:
        return Check("scoring", WARN, "unknown: the model is not here", "see model.cached")
    except ConfigError as problem:
        return failed("scoring", problem, "set `scoring` to a folder that belongs to the daemon", ExitCode.STORAGE)
    model = ModelId(manifest.name, manifest.revision, manifest.digest, "", 0)
    own = folder / folder_name(model)
    try:
        here = (own / COHORT).is_file()
        file = own / COHORT if here else resources.files("voiceauthd.scoring") / "shipped" / own.name / COHORT
        if file.is_file():
            model = _completed(model, file.read_bytes())
        backend = load_backend(folder, model)
    except PermissionError:
        return _closed(machine, str(own))
    except (StorageError, OSError) as problem:
        fix = f"remove {own}, or make its files again: {CALIBRATE}"
        return failed("scoring", problem, fix, ExitCode.STORAGE)
    return _judged(machine, backend, f"in {own}" if here else "that came with voiceauthd")


def _completed(model: ModelId, cohort: bytes) -> ModelId:
    """Complete `model` with its front end and dimension, which only a loaded model knows, from a cohort of its weights.

    For a cohort of other weights, return it unchanged; the cohort will then be refused.
    """
    from voiceauthd.embed.embedding import ModelId

    try:
        header = json.loads(cohort[8 : 8 + int.from_bytes(cohort[:8], "little")])  # the header of a safetensors file
        named = ModelId(**json.loads(header["__metadata__"]["model"]))
    except (ValueError, KeyError, TypeError):
        return model
    same = replace(named, preprocessing=model.preprocessing, dimension=model.dimension) == model
    return named if same else model


def _judged(machine: Machine, backend: Backend, where: str) -> Check:
    if backend.cohort is None:
        return Check("scoring", WARN, "uncalibrated: no cohort and no calibration for this model", CALIBRATE)
    cohort = f"a cohort of {len(backend.cohort.speakers)} speakers"
    if backend.calibration is None:
        return Check("scoring", WARN, f"uncalibrated: only {cohort} {where}", CALIBRATE)
    found = f"{cohort} and a calibration from {backend.calibration.pairs:,} independent trials {where}"
    if machine.config.decision.threshold is not None:
        fix = "set decision.threshold to null"
        return Check("scoring", WARN, f"{found}; not used, because decision.threshold is set", fix)
    return Check("scoring", OK, found)


def _closed(machine: Machine, where: str) -> Check:
    """Only the daemon and root can see the files; what the daemon says about them is public."""
    model = (machine.status or {}).get("model")
    if model is None:
        return Check("scoring", OK, f"{where} is not readable by this user, which is right; root can see more")
    if model["calibrated"]:
        return Check("scoring", OK, f"{where} is not readable by this user; the daemon says that it is calibrated")
    return Check(
        "scoring", WARN, f"{where} is not readable by this user; the daemon says that it is uncalibrated", CALIBRATE
    )
