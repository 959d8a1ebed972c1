"""A progress bar for work whose size is known."""

from __future__ import annotations

import sys
import time

from voiceauthd.terminal.output import Output

WIDTH = 30
"""Characters."""

STEP_PERCENT = 10
"""Between two lines of progress, where the line cannot be rewritten."""

MIN_ELAPSED = 2.0
"""Seconds of work before the remaining time is estimated."""


class ProgressBar:
    """Shows progress: a bar on a terminal, elsewhere a line every `STEP_PERCENT`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live = sys.stderr.isatty()
        self._task = ""
        self._started = 0.0
        self._done_at_start = 0

    def __call__(self, task: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `task` are finished."""
        if task != self._task:
            self._task, self._started, self._done_at_start = task, time.monotonic(), done
        share = done / total if total else 1.0
        if not self._live:
            self._output.progress(f"{task}: {int(100.0 * share) // STEP_PERCENT * STEP_PERCENT} %")
            return
        full = int(share * WIDTH)
        bar = "#" * full + "." * (WIDTH - full)
        self._output.progress(f"{task} [{bar}] {done}/{total}{self._remaining(done, total)}")

    def _remaining(self, done: int, total: int) -> str:
        """Estimate the remaining time from the steps done since the start; earlier ones took no time."""
        elapsed = time.monotonic() - self._started
        if done <= self._done_at_start or elapsed < MIN_ELAPSED:
            return ""
        left = round(elapsed / (done - self._done_at_start) * (total - done))
        return f"  {left // 60}:{left % 60:02d} left"
