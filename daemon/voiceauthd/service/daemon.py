"""The daemon's life: the socket first, then the model, then READY; reload; and stopping in order, within two seconds.

signals, calls ──> event loop (this thread) ──> clients
capture thread, worker thread ──> Hub ──┘
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence

from voiceauthd.config.load import load_config
from voiceauthd.config.resolve import RESTART_KEYS, changed_keys
from voiceauthd.config.schema import Config
from voiceauthd.errors import ConfigError, ExitCode, VoiceauthError
from voiceauthd.pipeline.happening import SourceChanged, SourceState
from voiceauthd.protocol.paths import default_socket
from voiceauthd.service import notify
from voiceauthd.service.access import Access
from voiceauthd.service.activation import inherited_socket
from voiceauthd.service.engine import Engine, build_engine
from voiceauthd.service.hub import Hub
from voiceauthd.service.listener import Listener, adopt, listen
from voiceauthd.service.methods import Methods
from voiceauthd.service.replies import Reply, event_reply
from voiceauthd.service.server import Server
from voiceauthd.service.state import State
from voiceauthd.service.status import status_line

log = logging.getLogger(__name__)

STOP_TIME = 1.5
"""Seconds for everything to end in order. A service manager, and a person, are promised two."""

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
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._hub = Hub(self._loop, config.socket.events_queued)
        self._state = State(config, Access.from_config(config.access))
        self._methods = Methods(self._state, self._hub, self.reload)
        self._server = Server(config.socket, self._methods.handle)
        self._state.connections = lambda: self._server.connections

    async def run(self) -> None:
        """Returns when it was told to stop, or when what it was to follow has ended. Raises `VoiceauthError`."""
        self._catch_signals()
        await self._server.start(self._listener())
        notify.status(status_line(self._state))
        try:
            engine = await self._load()
            if engine is not None:
                await self._serve(engine)
        finally:
            await self._shut_down()

    async def reload(self) -> list[str]:
        """Reads the configuration again and uses it whole, or keeps the old one and raises `VoiceauthError`."""
        async with self._reloading:
            old = await self._state.ready()
            config = self._reread()
            changed = changed_keys(old.config, config)
            fixed = [key for key in changed if key in RESTART_KEYS]
            if fixed:
                raise ConfigError(f"{', '.join(fixed)} cannot change while the daemon runs; restart it")
            access = Access.from_config(config.access)
            engine = await asyncio.to_thread(build_engine, config, self._hub.publish, old)
            self._swap(config, access, old, engine)
            log.info("reloaded: %s", ", ".join(changed) or "nothing changed")
            return changed

    def _swap(self, config: Config, access: Access, old: Engine, engine: Engine) -> None:
        if engine.embedder is not old.embedder or engine.live is not old.live:
            self._state.claims.cancel("the configuration was reloaded; try again")
        engine.live.use(engine.recogniser)
        if engine.live is not old.live:
            needs = old.live.needs
            old.live.stop(STOP_TIME)
            for _ in range(needs):
                engine.live.need()
            engine.live.start()
        self._state.use(config, access, engine)
        self._server.configure(config.socket)
        logging.getLogger("voiceauthd").setLevel(config.log.level.upper())
        notify.status(status_line(self._state))

    # Starting

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        self._reload_task = self._loop.create_task(self._try_reload())

    async def _try_reload(self) -> None:
        try:
            await self.reload()
        except VoiceauthError as failure:
            log.error("not reloaded, the old configuration stays: %s", failure)

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
        loaded: asyncio.Future[Engine] = self._loop.create_future()

        def settle(engine: Engine | None, failure: BaseException | None) -> None:
            if loaded.cancelled():
                return
            if engine is not None:
                loaded.set_result(engine)
            else:
                loaded.set_exception(failure or RuntimeError("no engine"))

        def work() -> None:
            engine: Engine | None = None
            failure: BaseException | None = None
            try:
                engine = build_engine(self._config, self._hub.publish)
            except BaseException as problem:  # noqa: BLE001 - whatever it is, the event loop raises it
                failure = problem
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(settle, engine, failure)

        threading.Thread(target=work, name="load", daemon=True).start()
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
        notify.ready(status_line(self._state))
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
            sequence = 0
            while (item := await inbox.get()) is not None:
                dropped, happening = item
                sequence += dropped + 1
                event = event_reply(happening, self._state.rule, sequence)
                if event is not None:
                    on_event(event)
                if isinstance(happening, SourceChanged) and happening.state is SourceState.ENDED:
                    return

    async def _watch(self) -> None:
        """Pings the watchdog while both threads make progress, and keeps the line of `systemctl status` true."""
        interval = notify.watchdog_interval()
        period = min(interval, STATUS_PERIOD) if interval is not None else STATUS_PERIOD
        line = ""
        while True:
            if interval is not None and self._state.progressing(interval):
                notify.watchdog()
            if (now := status_line(self._state)) != line:
                line = now
                notify.status(line)
            await asyncio.sleep(period)

    # Stopping

    async def _shut_down(self) -> None:
        self._state.stopping = True
        notify.stopping()
        self._state.claims.cancel("the daemon is stopping")
        await self._server.stop(STOP_TIME)
        engine = self._state.engine_now
        if engine is not None and not await asyncio.to_thread(engine.live.stop, STOP_TIME):
            log.warning("the capture or the worker thread did not end in time")
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
