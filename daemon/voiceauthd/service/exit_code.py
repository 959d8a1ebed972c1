"""From a run of the daemon, or of a part of it, to the exit code of its process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from voiceauthd.errors import ExitCode, VoiceauthError

log = logging.getLogger(__name__)


def run_to_exit_code(life: Coroutine[object, object, None]) -> int:
    """Run `life` in an event loop of its own, and return the exit code. Errors are logged, none is raised."""
    try:
        asyncio.run(life)
    except VoiceauthError as failure:
        log.error("%s", failure)
        return failure.exit_code
    except Exception:
        log.exception("a defect of voiceauthd")
        return ExitCode.INTERNAL
    return ExitCode.OK
