"""The daemon's current state in one place: the active configuration, the engine, and its users."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from voiceauthd.config.schema import Config
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.live import Live
from voiceauthd.scoring.decide import Rule
from voiceauthd.server.rate_limits import RateLimits
from voiceauthd.service.access import Access
from voiceauthd.service.auditing import Auditor
from voiceauthd.service.claims import Claims
from voiceauthd.service.engine import Engine
from voiceauthd.service.kept_takes import KeptTakes
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.nonces import Nonces
from voiceauthd.service.proofs import Proofs

LOADING = 60.0
"""Seconds that a call waits for the model. A daemon that this call started needs several."""

STUCK = 10.0
"""Seconds without progress of a thread, after which the daemon reports itself as degraded. A batch of the largest
windows takes WavLM a few seconds on one core."""

MUTED = 10.0
"""Seconds of digital silence after which a microphone is reported as probably muted."""


class State:
    """Belongs to the event loop's thread.

    model_problem  why no model could be loaded; None while one loads and once it has loaded
    """

    def __init__(self, config: Config, access: Access, lockout: Lockout, auditor: Auditor) -> None:
        self.config = config
        self.access = access
        self.lockout = lockout
        self.auditor = auditor
        self.claims = Claims()
        self.nonces = Nonces()
        self.proofs = Proofs()
        self.kept_takes = KeptTakes()
        self.rates = RateLimits()
        self.monitors = 0
        self.connections: Callable[[], int] = lambda: 0
        self.stopping = False
        self.started = time.monotonic()
        self.model_problem: ModelError | None = None
        self._engine: Engine | None = None
        self._settled = asyncio.Event()

    def clock(self) -> float:
        """Seconds since 1970, as clients see them."""
        return round(time.time(), 4)

    @property
    def engine_now(self) -> Engine | None:
        """The engine; None until it has loaded."""
        return self._engine

    async def settled(self) -> None:
        """Wait while the model loads, until it has loaded or has failed to.

        Raises `ModelError`, reason `not_ready`, if that takes too long.
        """
        try:
            async with asyncio.timeout(LOADING):
                await self._settled.wait()
        except TimeoutError:
            raise ModelError("the model is still loading; try again in a minute", "not_ready") from None

    async def ready(self) -> Engine:
        """The engine; waits while it loads. Raises `ModelError`, reason `not_ready`, if there is none."""
        await self.settled()
        return self.engine

    @property
    def engine(self) -> Engine:
        """The engine. Raises `ModelError`, reason `not_ready`, if there is none."""
        if self._engine is None:
            raise ModelError(str(self.model_problem or "the model is still loading"), "not_ready")
        return self._engine

    def loading(self) -> None:
        """A model is being loaded: calls wait for it."""
        self.model_problem = None
        self._settled.clear()

    def without_model(self, problem: ModelError) -> None:
        """No model could be loaded: calls are answered with the reason."""
        self.model_problem = problem
        self._settled.set()

    @property
    def live(self) -> Live:
        """Capture and worker, once they run."""
        return self.engine.live

    @property
    def rule(self) -> Rule:
        """The rule that decisions follow."""
        return self.engine.recogniser.rule

    def use(self, config: Config, access: Access, engine: Engine) -> None:
        """Swap everything at once, between two steps of any call."""
        self.config, self.access, self._engine = config, access, engine
        self.kept_takes.clear()
        self.lockout.config = config.lockout
        self.auditor.configure(config.audit)
        self.model_problem = None
        self._settled.set()

    def progressing(self, within: float) -> bool:
        """Whether capture and worker have both made progress in the last `within` seconds."""
        if self._engine is None:
            return True
        live = self._engine.live
        oldest = min(live.capture_alive, live.worker_alive)
        return live.alive and time.monotonic() - oldest <= within
