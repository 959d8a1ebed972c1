"""The daemon's life: the socket, the model, READY; reload; and an orderly stop within two seconds.

A daemon without a model stays up: it says what to fetch, and loads the model once it is there.

signals, calls ──> event loop (this thread) ──> clients
capture thread, worker thread ──> EventBus ──┘
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from voiceauthd.audit.log import AuditLog
from voiceauthd.config.load import load_config
from voiceauthd.config.resolve import RESTART_KEYS, changed_keys, state_folder
from voiceauthd.config.schema import Config
from voiceauthd.embed.cache import default_folder, snapshot
from voiceauthd.embed.choose import AUTO
from voiceauthd.errors import ConfigError, ModelError, VoiceauthError, WithdrawnError
from voiceauthd.protocol.paths import default_socket
from voiceauthd.server import sd_notify
from voiceauthd.server.listener import Listener, adopt, listen
from voiceauthd.server.server import Server
from voiceauthd.server.socket_activation import inherited_socket
from voiceauthd.service.access import Access
from voiceauthd.service.auditing import Auditor
from voiceauthd.service.engine import Engine, build_engine
from voiceauthd.service.event_bus import EventBus
from voiceauthd.service.exit_code import run_to_exit_code
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.log_lines import configure_logging
from voiceauthd.service.methods import Methods
from voiceauthd.service.monitoring import events
from voiceauthd.service.own_folders import require_own_folders
from voiceauthd.service.replies import Reply
from voiceauthd.service.state import State
from voiceauthd.service.status import status_line
from voiceauthd.service.threads import in_thread
from voiceauthd.speech.vad import VAD_UNAVAILABLE

log = logging.getLogger(__name__)

STOP_TIME = 1.5
"""Seconds for an orderly stop. The documents promise two."""

CHANGE_TIME = 0.1
"""Seconds for a running change of a profile, whose line in the audit log must not be lost."""

AUDIT_TIME = 0.4
"""Seconds for the last lines of the audit log, after everything else has stopped."""

STATUS_PERIOD = 5.0
"""Most seconds between two updates of the status line."""

MODEL_POLL = 1.0
"""Seconds between two looks at the model cache while there is no model."""

OnEvent = Callable[[Reply], None]


class Daemon:
    """One run of the daemon."""

    def __init__(self, config: Config, reread: Callable[[], Config], on_event: OnEvent | None = None) -> None:
        """
        reread    reads the configuration again, for a reload; raises `ConfigError`
        on_event  called with every event; the daemon then ends with a finite source, and without a model
        """
        self._config = config
        self._reread = reread
        self._on_event = on_event
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._bus = EventBus(self._loop, config.socket.events_queued)
        folder = state_folder(config)
        audit = AuditLog(folder / "audit", config.audit.size * 1024, config.audit.files)
        lockout = Lockout(folder / "lockout.json", config.lockout)
        self._state = State(config, Access.from_config(config.access), lockout, Auditor(audit))
        self._methods = Methods(self._state, self._bus, self.reload)
        self._server = Server(config.socket, self._methods.handle)
        self._state.connections = lambda: self._server.connections

    async def run(self) -> None:
        """Return when told to stop, or when the followed source has ended. Raises `VoiceauthError`."""
        self._catch_signals()
        listener = self._listener()
        try:
            await self._state.auditor.open()
        except BaseException:
            listener.close()
            raise
        await self._server.start(listener)
        self._state.auditor.note("start", "done", "", None)
        watch = self._loop.create_task(self._until_stopped(self._watch()))
        try:
            if await self._load():
                await self._serve()
        finally:
            watch.cancel()
            await self._shut_down()
        if watch.done() and not watch.cancelled() and (problem := watch.exception()) is not None:
            raise problem

    async def reload(self) -> list[str]:
        """Read the configuration again and use all of it, or keep the old one and raise `VoiceauthError`.

        Returns the keys that changed. Finishes even if the caller has gone.
        """
        return await asyncio.shield(self._begin(self._reload()))

    def _begin(self, work: Coroutine[Any, Any, list[str]]) -> asyncio.Task[list[str]]:
        task = self._loop.create_task(work)
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
        return task

    async def _reload(self) -> list[str]:
        await self._state.settled()
        async with self._reloading:
            old = self._state.engine_now
            sd_notify.reloading()
            try:
                return await (self._replace(old) if old is not None else self._reload_without_model())
            finally:
                if not self._state.stopping:
                    sd_notify.ready(status_line(self._state))

    def _read_again(self, old: Config) -> tuple[Config, list[str]]:
        """The new configuration and the keys that differ from `old`. Raises `ConfigError`."""
        config = self._reread()
        changed = changed_keys(old, config)
        fixed = [key for key in changed if key in RESTART_KEYS]
        if fixed:
            raise ConfigError(f"{', '.join(fixed)} cannot change while the daemon runs; restart it")
        return config, changed

    async def _reload_without_model(self) -> list[str]:
        config, changed = self._read_again(self._config)
        access = Access.from_config(config.access)
        engine = await in_thread(build_engine, config, self._bus.publish)
        self._require_running()
        self._config = config
        self._start(config, access, engine)
        return changed

    def _require_running(self) -> None:
        if self._state.stopping:
            raise WithdrawnError("the daemon is stopping")

    async def _replace(self, old: Engine) -> list[str]:
        config, changed = self._read_again(old.config)
        access = Access.from_config(config.access)
        engine = await in_thread(build_engine, config, self._bus.publish, old)
        other_model = config.model.name == AUTO and engine.choice.config.name != old.choice.config.name
        if other_model and engine.store.folder == old.store.folder and old.store.all():
            # Chosen while nobody was enrolled; since then somebody has been.
            raise WithdrawnError("a voice was enrolled during the reload; reload again")
        # Both may listen to the same source, so the old one must have closed it.
        if engine.live is not old.live and not await in_thread(old.live.stop, STOP_TIME):
            log.warning("the old capture or worker thread did not stop in time")
        self._require_running()
        if engine.embedder.model != old.embedder.model and not any(key.startswith("model.") for key in changed):
            changed.append("model.name")  # the key is the same; `auto` means another model now
        rescored = engine.embedder is old.embedder and not engine.backend.is_equivalent_to(old.backend)
        if rescored and "scoring" not in changed:
            changed.append("scoring")  # the key is the same; the files in its folder are not
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
        self._use(config, access, engine)
        engine.refresh()

    def _start(self, config: Config, access: Access, engine: Engine) -> None:
        engine.live.start()
        self._use(config, access, engine)
        log.info(
            "ready: socket %s, %s, model %s (%s), %d enrolled",
            self._server.address,
            engine.live.source.description,
            engine.embedder.model,
            engine.choice.reason,
            len(engine.store.all()),
        )

    def _use(self, config: Config, access: Access, engine: Engine) -> None:
        self._state.use(config, access, engine)
        self._bus.limit = config.socket.events_queued
        self._server.configure(config.socket)
        logging.getLogger("voiceauthd").setLevel(config.log.level.upper())

    # Starting

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def _on_hangup(self) -> None:
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

    async def _load(self) -> bool:
        """Whether the model has loaded; False if the daemon was told to stop first. Raises what prevents loading.

        A missing or unusable model does not end the daemon, unless it only runs to follow a source: calls are answered
        with the reason, and loading is tried again when the model cache changes. A missing voice activity detector
        ends it: no fetched model would help.
        """
        while True:
            before = await in_thread(self._cached_models)
            try:
                if not await self._unless_stopped(self._build()):
                    return False
            except ModelError as problem:
                if self._on_event is not None or problem.reason == VAD_UNAVAILABLE:
                    raise
                if str(problem) != str(self._state.model_problem):
                    log.error("%s", problem)
                self._state.without_model(problem)
                sd_notify.ready(status_line(self._state))
                if not await self._unless_stopped(self._await_other_models(before)):
                    return False
            if self._state.engine_now is not None:
                return True

    async def _build(self) -> None:
        async with self._reloading:
            if self._state.engine_now is None:  # else a reload was faster
                self._state.loading()
                engine = await in_thread(build_engine, self._config, self._bus.publish)
                self._start(self._config, self._state.access, engine)

    async def _await_other_models(self, before: frozenset[tuple[str, int, int]]) -> None:
        """Return when the cached models differ from `before`, or when a reload has loaded a model."""
        while self._state.engine_now is None and await in_thread(self._cached_models) == before:
            await asyncio.sleep(MODEL_POLL)

    def _cached_models(self) -> frozenset[tuple[str, int, int]]:
        model = self._config.model
        return snapshot(model.cache or default_folder(), Path(model.name).expanduser())

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether `work` was done; False, without waiting for it, if the daemon is told to stop first.

        Importing and loading cannot be interrupted, and SIGTERM must not wait for them.
        """
        done = self._loop.create_task(work)
        stopped = self._loop.create_task(self._stop.wait())
        await asyncio.wait((done, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not done.done():
            done.cancel()
            return False
        done.result()
        return True

    # Serving

    async def _serve(self) -> None:
        sd_notify.ready(status_line(self._state))
        following = None
        if self._on_event is not None:
            following = self._loop.create_task(self._until_stopped(self._follow(self._on_event)))
        try:
            await self._stop.wait()
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait((following,))
        if following is not None and not following.cancelled() and (problem := following.exception()) is not None:
            raise problem
        if self._on_event is not None and self._state.live.failure is not None:
            raise self._state.live.failure

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Stop the daemon when background work ends or fails."""
        try:
            await work
        finally:
            self._stop.set()

    async def _follow(self, on_event: OnEvent) -> None:
        """Report every event, until a finite source ends."""
        with self._bus.subscribe() as inbox:
            self._state.live.need()
            async for event, _ in events(inbox, self._state):
                on_event(event)

    async def _watch(self) -> None:
        """Ping the watchdog while both threads make progress, and keep the line of `systemctl status` current."""
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
        # Concurrently: one after the other they could take twice as long.
        ends = None if engine is None else self._loop.create_task(in_thread(engine.live.stop, STOP_TIME))
        await self._server.stop(STOP_TIME)
        if ends is not None and not await ends:
            log.warning("the capture or the worker thread did not stop in time")
        await self._methods.settle(CHANGE_TIME)
        await self._state.auditor.close(AUDIT_TIME)
        log.info("stopped")


def run(config: Config, on_event: OnEvent | None = None, overrides: Sequence[str] = ()) -> int:
    """Run the daemon in this thread until it is told to stop. Returns the exit code; errors are logged.

    on_event   called with each event, type Event of the interface; the daemon then ends with a finite source
    overrides  settings of the command line, which a reload keeps
    """
    configure_logging(config.log.level)

    def reread() -> Config:
        return load_config(config.file, overrides)

    async def life() -> None:
        require_own_folders(config)
        await Daemon(config, reread, on_event).run()

    return run_to_exit_code(life())
