"""What the commands share that hear recordings themselves, without a daemon: evaluate, cohort, calibrate."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from voiceauthd.terminal.output import Output

if TYPE_CHECKING:
    from voiceauthd.config.schema import Config

BAR = 30
"""Characters."""

STEP = 10
"""Per cent between two lines of progress where it cannot rewrite itself."""


def configuration(arguments: argparse.Namespace) -> Config:
    """As configured, but for the model that was named."""
    from dataclasses import replace

    from voiceauthd.config.load import find_config, load_config

    config = load_config(find_config(None, os.environ))
    if arguments.model is None:
        return config
    # The revision of the configuration belongs to the model of the configuration.
    return replace(config, model=replace(config.model, name=arguments.model, revision=None))


class Bar:
    """Shows how far it is: a bar on a terminal, else a line every `STEP` per cent."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live = sys.stderr.isatty()
        self._what = ""
        self._began = 0.0
        self._before = 0

    def __call__(self, what: str, done: int, of: int) -> None:
        """Done so many of so many."""
        if what != self._what:
            self._what, self._began, self._before = what, time.monotonic(), done
        share = done / of if of else 1.0
        if not self._live:
            self._output.progress(f"{what}: {int(100.0 * share) // STEP * STEP} %")
            return
        full = int(share * BAR)
        self._output.progress(f"{what} [{'#' * full}{'.' * (BAR - full)}] {done}/{of}{self._left(done, of)}")

    def _left(self, done: int, of: int) -> str:
        """How long it will take, from how long it took; what was there already took none."""
        passed = time.monotonic() - self._began
        if done <= self._before or passed < 2.0:
            return ""
        left = round(passed / (done - self._before) * (of - done))
        return f"  {left // 60}:{left % 60:02d} left"
