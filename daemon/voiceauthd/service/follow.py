"""Following a recording to its end: the pipeline of the daemon without a socket, an audit log or any other trace.

Works beside a running daemon, with the same profiles, because it only reads.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from voiceauthd.config.schema import Config
from voiceauthd.service.access import Access
from voiceauthd.service.auditing import Auditor
from voiceauthd.service.engine import build_engine
from voiceauthd.service.event_bus import EventBus
from voiceauthd.service.exit_code import run_to_exit_code
from voiceauthd.service.lockout import Lockout
from voiceauthd.service.log_lines import configure_logging
from voiceauthd.service.monitoring import events
from voiceauthd.service.replies import Reply
from voiceauthd.service.state import State
from voiceauthd.service.threads import in_thread

log = logging.getLogger(__name__)

STOP_TIME = 1.5
"""Seconds for the two threads to stop."""


def follow_recording(config: Config, on_event: Callable[[Reply], None]) -> int:
    """Play the configured recording through the pipeline, and call `on_event` with each event. Returns the exit code;
    errors are logged."""
    configure_logging(config.log.level)
    return run_to_exit_code(_follow(config, on_event))


async def _follow(config: Config, on_event: Callable[[Reply], None]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    work = loop.create_task(_report(config, on_event))
    stopped = loop.create_task(stop.wait())
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()


async def _report(config: Config, on_event: Callable[[Reply], None]) -> None:
    bus = EventBus(asyncio.get_running_loop(), config.socket.events_queued)
    engine = await in_thread(build_engine, config, bus.publish, read_only=True)
    if not engine.store.all():
        log.warning("nobody is enrolled in %s", engine.store.folder)
    state = State(config, Access.from_config(config.access), Lockout(None, config.lockout), Auditor(None))
    state.use(config, state.access, engine)
    engine.live.start()
    try:
        with bus.subscribe() as inbox:
            engine.live.need()
            async for event, _ in events(inbox, state):
                on_event(event)
    finally:
        await in_thread(engine.live.stop, STOP_TIME)
    if engine.live.failure is not None:
        raise engine.live.failure
