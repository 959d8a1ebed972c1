"""The sound side of the daemon, put together from a configuration: model, store, recogniser, capture and worker."""

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
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.events import PipelineEvent
from voiceauthd.pipeline.live import Live
from voiceauthd.pipeline.recogniser import Recogniser
from voiceauthd.profiles.enrolment import WITHIN_ONE_VOICE
from voiceauthd.profiles.keys import KEY_FILE, load_keys
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.scoring.backend import Backend, load_backend
from voiceauthd.scoring.policy import MONITOR, Policy, make_policies
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter

log = logging.getLogger(__name__)

WARM_UP_LEVEL = 0.1
"""Of the noise that the model is warmed with, as a share of full scale: about the level of speech."""


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """Everything that hears. Replaced piece by piece on reload, never changed in place."""

    config: Config
    embedder: Embedder
    backend: Backend
    policies: Mapping[str, Policy]
    store: ProfileStore
    recogniser: Recogniser
    live: Live

    def refresh(self) -> None:
        """From now on it is compared with what the store holds now, as configured now. Does not touch the disk.

        Raises `ModelError` for profiles that cannot be compared with, and then knows nobody, those of before included.
        """
        self.recogniser.gate = self.config.gate
        self.recogniser.rule = self.policies[MONITOR].rule
        try:
            self.recogniser.gallery = make_gallery(self.store.all(), self.embedder.model, self.backend)
        except BaseException:
            self.recogniser.gallery = make_gallery((), self.embedder.model, self.backend)
            raise


def build_engine(config: Config, publish: Callable[[PipelineEvent], None], old: Engine | None = None) -> Engine:
    """A new engine; `live` is not started. What `old` has and the configuration leaves as it was is used again, and
    changes only with `refresh`.

    Takes seconds: to be called outside of the event loop. Raises `ModelError`, `StorageError`, `SourceError` or
    `AudioError`; `old` goes on working then.
    """
    embedder = old.embedder if old is not None and old.config.model == config.model else _warm(config)
    backend = load_backend(scoring_folder(config), embedder.model)
    policies = make_policies(config, embedder.threshold, backend)
    folder = profiles_folder(config)
    if old is not None and old.embedder is embedder and profiles_folder(old.config) == folder:
        store = old.store
    else:
        store = ProfileStore(folder, embedder.model, load_keys(state_folder(config) / KEY_FILE))
    store.refresh()
    _tell_refused(store)
    if old is not None and old.embedder is embedder:
        recogniser = old.recogniser  # one recogniser a model: it serialises the calls of the model
    else:
        gallery = make_gallery(store.all(), embedder.model, backend)
        recogniser = Recogniser(embedder, gallery, policies[MONITOR].rule, config.gate)
    if old is not None and not _hears_differently(old.config, config):
        return replace(
            old,
            config=config,
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
    return Engine(config, embedder, backend, policies, store, recogniser, live)


def least_agreement(engine: Engine) -> float:
    """The cosine that takes of one enrolment must have: the threshold less what takes of one voice may fall short."""
    own = engine.config.decision.threshold
    return (engine.embedder.threshold if own is None else own) - WITHIN_ONE_VOICE


def _tell_refused(store: ProfileStore) -> None:
    for name, problem in store.refused.items():
        log.warning("profile %r is not used: %s", name, problem)
    lost = sum(problem.reason == "wrong_key" for problem in store.refused.values())
    if lost:
        log.error("the key of %d profiles is not in %s: nobody is recognised by them", lost, store.keys.source)


def _hears_differently(old: Config, new: Config) -> bool:
    return (old.audio, old.speech, old.queue) != (new.audio, new.speech, new.queue)


def _warm(config: Config) -> Embedder:
    """Loads the model and runs it once at each length that it will see, so that the first person does not wait."""
    began = time.monotonic()
    embedder = load_embedder(config.model)
    noise = np.random.default_rng(0).standard_normal(round(config.speech.window * RATE)).astype(np.float32)
    noise *= WARM_UP_LEVEL
    for seconds in (config.speech.first, config.speech.window):
        if len(embedder.embed([noise[: round(seconds * RATE)]])) != 1:
            raise ModelError(f"{embedder.model} failed its first inference")
    log.info("model %s ready after %.1f s", embedder.model, time.monotonic() - began)
    return embedder
