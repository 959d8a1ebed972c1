"""The configuration of a command that processes recordings itself, without a daemon."""

from __future__ import annotations

import os
from dataclasses import replace

from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.schema import Config
from voiceauthd.profiles.model_choice import choose_for


def configuration(model: str | None) -> Config:
    """Return the active configuration, with `model` (a name or a folder) if one is given, else the daemon's model.

    Raises `ConfigError`, and `ModelError` if `model.name` is `auto` and no model is there.
    """
    config = load_config(find_config(None, os.environ))
    if model is None:
        return replace(config, model=choose_for(config).config)
    # The configured revision belongs to the configured model.
    return replace(config, model=replace(config.model, name=model, revision=None))
