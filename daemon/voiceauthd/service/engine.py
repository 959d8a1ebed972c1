"""The audio side of the daemon, built from a configuration: model, store, recogniser, capture and worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.audio.sources import make_source
from voiceauthd.config.resolve import profiles_folder, scoring_folder, state_folder
from voiceauthd.config.schema import Config
from voiceauthd.embed.choose import AUTO, ModelChoice
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.events import PipelineEvent
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.recogniser import Recogniser
from voiceauthd.profiles.enrolment import TAKE_AGREEMENT_MARGIN
from voiceauthd.profiles.keys import KEY_FILE, Keys, load_keys, new_key, read_keys
from voiceauthd.profiles.model_choice import choose_for
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.scoring.backend import Backend, load_backend
from voiceauthd.scoring.policy import MONITOR, Policy, make_policies
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter

log = logging.getLogger(__name__)

WARM_UP_LEVEL = 0.1
"""Standard deviation of the warm-up noise, full scale 1: about the level of speech."""


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """Everything between the microphone and a score. A reload replaces it; nothing changes it in place.

    choice  which model this is, and why
    """

    config: Config
    choice: ModelChoice
    embedder: Embedder
    backend: Backend
    policies: Mapping[str, Policy]
    store: ProfileStore
    recogniser: Recogniser
    live: Live

    def refresh(self) -> None:
        """Compare from now on with the profiles in the store, as configured. Does not touch the disk.

        Raises `ModelError` for profiles that cannot be compared, and then recognises nobody, not even who was known
        before.
        """
        self.recogniser.gate = self.config.gate
        self.recogniser.rule = self.policies[MONITOR].rule
        try:
            self.recogniser.gallery = make_gallery(self.store.all(), self.embedder.model, self.backend)
        except BaseException:
            self.recogniser.gallery = make_gallery((), self.embedder.model, self.backend)
            raise


def build_engine(
    config: Config, publish: Callable[[PipelineEvent], None], old: Engine | None = None, *, read_only: bool = False
) -> Engine:
    """Build an engine; its `live` is not started. Reuses the parts of `old` that the configuration leaves as they were;
    those change only with `refresh`.

    read_only  create and change nothing on the disk, also where a daemon uses the same profiles

    Takes seconds: do not call it in the event loop. Raises `ModelError`, `StorageError`, `SourceError` or `AudioError`;
    `old` goes on working then.
    """
    choice = choose_for(config)
    embedder = old.embedder if old is not None and _keeps_model(old, config, choice) else _warm(config, choice)
    backend = load_backend(scoring_folder(config), embedder.model)
    policies = make_policies(config, embedder.threshold, backend)
    folder = profiles_folder(config)
    if old is not None and old.embedder is embedder and profiles_folder(old.config) == folder:
        store = old.store
    else:
        key_file = state_folder(config) / KEY_FILE
        keys = (read_keys(key_file) or Keys(new_key())) if read_only else load_keys(key_file)
        store = ProfileStore(folder, embedder.model, keys, read_only=read_only)
    store.refresh()
    _log_refused(store)
    if old is not None and old.embedder is embedder:
        recogniser = old.recogniser  # one recogniser for each model: it serialises calls of the model
    else:
        gallery = make_gallery(store.all(), embedder.model, backend)
        recogniser = Recogniser(embedder, gallery, policies[MONITOR].rule, config.gate)
    if old is not None and not _captures_differently(old.config, config):
        return replace(
            old,
            config=config,
            choice=choice,
            embedder=embedder,
            backend=backend,
            policies=policies,
            store=store,
            recogniser=recogniser,
        )
    source = old.live.source if old is not None and old.config.audio == config.audio else make_source(config.audio)
    live = Live(
        source=source,
        segmenter=Segmenter(config.speech),
        recogniser=recogniser,
        audio=config.audio,
        queue=config.queue,
        publish=publish,
    )
    return Engine(config, choice, embedder, backend, policies, store, recogniser, live)


def least_agreement(engine: Engine) -> float:
    """The cosine that takes of one enrolment must reach: the threshold, less the spread within one voice."""
    own = engine.config.decision.threshold
    return (engine.embedder.threshold if own is None else own) - TAKE_AGREEMENT_MARGIN


def _log_refused(store: ProfileStore) -> None:
    for name, problem in store.refused.items():
        log.warning("profile %r is not used: %s", name, problem)
    lost = sum(problem.reason == "wrong_key" for problem in store.refused.values())
    if lost:
        log.error("the key of %d profiles is not in %s: those profiles recognise nobody", lost, store.keys.source)


def _captures_differently(old: Config, new: Config) -> bool:
    return (old.audio, old.speech, old.queue) != (new.audio, new.speech, new.queue)


def _keeps_model(old: Engine, config: Config, choice: ModelChoice) -> bool:
    """Whether the loaded model is the chosen one, on the configured device."""
    if old.config.model == config.model and config.model.name != AUTO:
        return True
    model = old.embedder.model
    place = [(each.device, each.threads, each.cache) for each in (old.config.model, config.model)]
    same = choice.config.name == model.name and model.revision.startswith(choice.config.revision or "")
    return same and place[0] == place[1]


def _warm(config: Config, choice: ModelChoice) -> Embedder:
    """Load the model and run it once at each length that it will see, so that the first caller does not wait."""
    began = time.monotonic()
    log.info("loading the model %s: %s", choice.config.name, choice.reason)
    embedder = load_embedder(choice.config)
    noise = np.random.default_rng(0).standard_normal(round(config.speech.window * RATE)).astype(np.float32)
    noise *= WARM_UP_LEVEL
    for seconds in (config.speech.first, config.speech.window):
        if len(embedder.embed([noise[: round(seconds * RATE)]])) != 1:
            raise ModelError(f"{embedder.model} failed its first inference")
    log.info("model %s ready after %.1f s", embedder.model, time.monotonic() - began)
    return embedder
