"""The daemon's model: what `model.name` means, given the enrolled profiles."""

from __future__ import annotations

from pathlib import Path

from voiceauthd.config.resolve import profiles_folder
from voiceauthd.config.schema import Config
from voiceauthd.embed.choose import AUTO, EnrolledModel, ModelChoice, choose_model
from voiceauthd.profiles.names import SUFFIX
from voiceauthd.profiles.sealed import MAX_BYTES, model_in


def choose_for(config: Config) -> ModelChoice:
    """Return the model for the configuration and the enrolled profiles. Raises `ModelError` as `choose_model`."""
    enrolled = enrolled_models(profiles_folder(config)) if config.model.name == AUTO else []
    return choose_model(config.model, enrolled)


def enrolled_models(folder: Path) -> list[EnrolledModel]:
    """Return the model of each profile in `folder`, read from the unencrypted headers; needs no key.

    Files that cannot be read or understood are left out: the store reports them once it is open.
    """
    found = []
    try:
        files = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError:
        return []
    for file in files:
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError:
            continue
        if (model := model_in(data)) is not None:
            found.append(EnrolledModel(model.name, model.revision, model.digest))
    return found
