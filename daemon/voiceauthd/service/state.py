"""What the daemon is just now, in one place: the configuration in force, the engine, and who uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from voiceauthd.config.schema import Config
from voiceauthd.errors import ModelError
from voiceauthd.pipeline.live import Live
from voiceauthd.scoring.decide import Rule
from voiceauthd.server.rate_limits import Rates
from voiceauthd.service.access import Access
from voiceauthd.service.auditing import Auditor
from voiceauthd.service.claims import Claims
from voiceauthd.service.engine import Engine
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.nonces import Nonces
from voiceauthd.service.proofs import Proofs

LOADING = 60.0
"""Seconds that a call waits for the model. A daemon that was started by this call needs several."""

STUCK = 10.0
"""Seconds without a sign of life from a thread, after which the daemon calls itself degraded. A batch of the largest
windows takes WavLM a few seconds on one core."""

MUTED = 10.0
"""Seconds of digital silence from a microphone, after which it is probably muted."""


class State:
    """Belongs to the event loop's thread."""

    def __init__(self, config: Config, access: Access, lockout: Lockout, auditor: Auditor) -> None:
        self.config = config
        self.access = access
        self.lockout = lockout
        self.auditor = auditor
        self.claims = Claims()
        self.nonces = Nonces()
        self.proofs = Proofs()
        self.rates = Rates()
        self.monitors = 0
        self.connections: Callable[[], int] = lambda: 0
        self.stopping = False
        self.started = time.monotonic()
        self._engine: Engine | None = None
        self._loaded = asyncio.Event()

    def clock(self) -> float:
        """Seconds since 1970, for what clients are told."""
        return round(time.time(), 4)

    @property
    def engine_now(self) -> Engine | None:
        """The engine; None while it loads."""
        return self._engine

    async def ready(self) -> Engine:
        """The engine; waits while it loads. Raises `ModelError`, reason `not_ready`, if that takes too long."""
        try:
            async with asyncio.timeout(LOADING):
                await self._loaded.wait()
        except TimeoutError:
            raise ModelError("the model is still loading; try again in a minute", "not_ready") from None
        return self.engine

    @property
    def engine(self) -> Engine:
        """The engine, once it has loaded."""
        if self._engine is None:
            raise ModelError("the model is still loading", "not_ready")
        return self._engine

    @property
    def live(self) -> Live:
        """Capture and worker, once they run."""
        return self.engine.live

    @property
    def rule(self) -> Rule:
        """What decisions are held against."""
        return self.engine.recogniser.rule

    def use(self, config: Config, access: Access, engine: Engine) -> None:
        """Swaps everything at once, between two calls' steps."""
        self.config, self.access, self._engine = config, access, engine
        self.lockout.config = config.lockout
        self.auditor.configure(config.audit)
        self._loaded.set()

    def progressing(self, within: float) -> bool:
        """Whether capture and worker have both shown signs of life in the last `within` seconds."""
        if self._engine is None:
            return True
        live = self._engine.live
        oldest = min(live.capture_alive, live.worker_alive)
        return live.alive and time.monotonic() - oldest <= within
