"""The daemon's life: the socket first, then the model, then READY; reload; and stopping in order, within two seconds.

signals, calls ──> event loop (this thread) ──> clients
capture thread, worker thread ──> EventBus ──┘
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from voiceauthd.audit.log import AuditLog
from voiceauthd.config.load import load_config
from voiceauthd.config.resolve import RESTART_KEYS, changed_keys, state_folder
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError, ExitCode, VoiceauthError, WithdrawnError
from voiceauthd.protocol.paths import default_socket
from voiceauthd.server import sd_notify
from voiceauthd.server.listener import Listener, adopt, listen
from voiceauthd.server.server import Server
from voiceauthd.server.socket_activation import inherited_socket
from voiceauthd.service.access import Access
from voiceauthd.service.auditing import Auditor
from voiceauthd.service.engine import Engine, build_engine
from voiceauthd.service.event_bus import EventBus
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.methods import Methods
from voiceauthd.service.monitoring import events
from voiceauthd.service.replies import Reply
from voiceauthd.service.state import State
from voiceauthd.service.status import status_line
from voiceauthd.service.threads import in_thread

log = logging.getLogger(__name__)

STOP_TIME = 1.5
"""Seconds for everything to end in order. A service manager, and a person, are promised two."""

CHANGE_TIME = 0.1
"""Seconds for a change of a profile that was under way, whose line is not to be lost."""

AUDIT_TIME = 0.4
"""Seconds for the last lines of the audit log, after everything else has ended."""

STATUS_PERIOD = 5.0
"""Seconds between two looks at how the daemon is, at most."""

OnEvent = Callable[[Reply], None]


class Daemon:
    """One run of the daemon."""

    def __init__(self, config: Config, reread: Callable[[], Config], on_event: OnEvent | None = None) -> None:
        """
        reread    gives the configuration as it would be now, for reload; raises `ConfigError`
        on_event  is told everything that is heard; the daemon then ends when a finite source has
        """
        self._config = config
        self._reread = reread
        self._on_event = on_event
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._hub = EventBus(self._loop, config.socket.events_queued)
        folder = state_folder(config)
        audit = AuditLog(folder / "audit", config.audit.size * 1024, config.audit.files)
        lockout = Lockout(folder / "lockout.json", config.lockout)
        self._state = State(config, Access.from_config(config.access), lockout, Auditor(audit))
        self._methods = Methods(self._state, self._hub, self.reload)
        self._server = Server(config.socket, self._methods.handle)
        self._state.connections = lambda: self._server.connections

    async def run(self) -> None:
        """Returns when it was told to stop, or when what it was to follow has ended. Raises `VoiceauthError`."""
        self._catch_signals()
        listener = self._listener()
        try:
            await self._state.auditor.open()
        except BaseException:
            listener.close()
            raise
        await self._server.start(listener)
        self._state.auditor.note("start", "done", "", None)
        sd_notify.status(status_line(self._state))
        try:
            engine = await self._load()
            if engine is not None:
                await self._serve(engine)
        finally:
            await self._shut_down()

    async def reload(self) -> list[str]:
        """Reads the configuration again and uses it whole, or keeps the old one and raises `VoiceauthError`.

        Returns the keys that changed. Comes to its end even if whoever asked for it has gone.
        """
        return await asyncio.shield(self._begin(self._reload()))

    def _begin(self, work: Coroutine[Any, Any, list[str]]) -> asyncio.Task[list[str]]:
        task = self._loop.create_task(work)
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
        return task

    async def _reload(self) -> list[str]:
        async with self._reloading:
            old = await self._state.ready()
            sd_notify.reloading()
            try:
                return await self._replace(old)
            finally:
                if not self._state.stopping:
                    sd_notify.ready(status_line(self._state))

    async def _replace(self, old: Engine) -> list[str]:
        config = self._reread()
        changed = changed_keys(old.config, config)
        fixed = [key for key in changed if key in RESTART_KEYS]
        if fixed:
            raise ConfigError(f"{', '.join(fixed)} cannot change while the daemon runs; restart it")
        access = Access.from_config(config.access)
        engine = await in_thread(build_engine, config, self._hub.publish, old)
        # Both may listen to the same source, so the old one must have let go of it.
        if engine.live is not old.live and not await in_thread(old.live.stop, STOP_TIME):
            log.warning("the old capture or worker thread did not end in time")
        if self._state.stopping:
            raise WithdrawnError("the daemon is stopping")
        if engine.embedder is old.embedder and not engine.backend.same(old.backend) and "scoring" not in changed:
            changed.append("scoring")  # the key is as it was; what lies in its folder is not
        self._swap(config, access, old, engine)
        log.info("reloaded: %s", ", ".join(changed) or "nothing changed")
        return changed

    def _swap(self, config: Config, access: Access, old: Engine, engine: Engine) -> None:
        if engine.embedder is not old.embedder or engine.store is not old.store or engine.live is not old.live:
            self._state.claims.cancel("the configuration was reloaded; try again")
        engine.live.use(engine.recogniser)
        if engine.live is not old.live:
            for _ in range(old.live.needs):
                engine.live.need()
            engine.live.start()
        self._state.use(config, access, engine)
        engine.refresh()
        self._hub.limit = config.socket.events_queued
        self._server.configure(config.socket)
        logging.getLogger("voiceauthd").setLevel(config.log.level.upper())

    # Starting

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        self._begin(self._try_reload())

    async def _try_reload(self) -> list[str]:
        outcome, reason = "done", ""
        try:
            return await self._reload()
        except VoiceauthError as failure:
            outcome, reason = "refused", failure.reason
            log.error("not reloaded, the old configuration stays: %s", failure)
        except Exception:
            outcome, reason = "failed", "internal"
            log.exception("not reloaded, the old configuration stays")
        finally:
            self._state.auditor.note("Reload", outcome, reason, None)
        return []

    def _listener(self) -> Listener:
        given = inherited_socket()
        if given is not None:
            return adopt(given)
        configured = self._config.socket
        return listen(configured.path if configured.path is not None else default_socket(), configured.mode)

    async def _load(self) -> Engine | None:
        """The engine; None if the daemon was told to stop meanwhile. Raises what stands in the way.

        In a thread that is not waited for: importing and loading cannot be interrupted, and SIGTERM must not wait.
        """
        loaded = self._loop.create_task(in_thread(build_engine, self._config, self._hub.publish))
        stopped = self._loop.create_task(self._stop.wait())
        await asyncio.wait((loaded, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not loaded.done():
            loaded.cancel()
            return None
        return loaded.result()

    # Serving

    async def _serve(self, engine: Engine) -> None:
        engine.live.start()
        self._state.use(self._config, self._state.access, engine)
        sd_notify.ready(status_line(self._state))
        log.info("ready")
        background: list[Awaitable[None]] = [self._watch()]
        if self._on_event is not None:
            background.append(self._follow(self._on_event))
        tasks = [self._loop.create_task(self._until_stopped(work)) for work in background]
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
        if self._on_event is not None and self._state.live.failure is not None:
            raise self._state.live.failure

    async def _until_stopped(self, work: Awaitable[None]) -> None:
        """Stops the daemon when background work ends, whether it was done or failed."""
        try:
            await work
        finally:
            self._stop.set()

    async def _follow(self, on_event: OnEvent) -> None:
        """Tells of everything that is heard, until a finite source ends."""
        with self._hub.subscribe() as inbox:
            self._state.live.need()
            async for event, _ in events(inbox, self._state):
                on_event(event)

    async def _watch(self) -> None:
        """Pings the watchdog while both threads make progress, and keeps the line of `systemctl status` true."""
        interval = sd_notify.watchdog_interval()
        period = min(interval, STATUS_PERIOD) if interval is not None else STATUS_PERIOD
        line = ""
        while True:
            if interval is not None and self._state.progressing(interval):
                sd_notify.watchdog()
            if (now := status_line(self._state)) != line:
                line = now
                sd_notify.status(line)
            await asyncio.sleep(period)

    # Stopping

    async def _shut_down(self) -> None:
        self._state.stopping = True
        sd_notify.stopping()
        self._state.claims.cancel("the daemon is stopping")
        engine = self._state.engine_now
        # At the same time: one after the other they could take twice as long.
        ends = None if engine is None else self._loop.create_task(in_thread(engine.live.stop, STOP_TIME))
        await self._server.stop(STOP_TIME)
        if ends is not None and not await ends:
            log.warning("the capture or the worker thread did not end in time")
        await self._methods.settle(CHANGE_TIME)
        await self._state.auditor.close(AUDIT_TIME)
        log.info("stopped")


def run(config: Config, on_event: OnEvent | None = None, overrides: Sequence[str] = ()) -> int:
    """Runs the daemon in this thread until it is told to stop. Returns the exit code; what is wrong is logged.

    on_event   is called with each event, type Event of the interface; the daemon then ends when a finite source has
    overrides  of the command line: they hold across a reload
    """
    logging.basicConfig(
        stream=sys.stderr, format="voiceauthd: %(levelname)s: %(message)s", level=logging.WARNING, force=True
    )
    logging.getLogger("voiceauthd").setLevel(config.log.level.upper())

    def reread() -> Config:
        return load_config(config.file, overrides)

    async def life() -> None:
        await Daemon(config, reread, on_event).run()

    try:
        asyncio.run(life())
    except VoiceauthError as failure:
        log.error("%s", failure)
        return failure.exit_code
    except Exception:
        log.exception("a defect of voiceauthd")
        return ExitCode.INTERNAL
    return ExitCode.OK
