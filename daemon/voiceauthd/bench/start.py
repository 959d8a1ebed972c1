"""How long a daemon takes to start, and a client to get its answer."""

from __future__ import annotations

import subprocess
import sys
import time

from voiceauthd.bench.context import BenchContext
from voiceauthd.bench.models import WAVLM_BASE
from voiceauthd.bench.report import Measurement, median
from voiceauthd.errors import VoiceauthError

COMMAND_LIMIT = 60.0
"""Seconds for one command."""

_TIMED_IMPORT = "import time; t = time.perf_counter(); import voiceauthd.client; print(time.perf_counter() - t)"


def measure_start(context: BenchContext) -> list[Measurement]:
    """From the creation of the process. Files that were read before are in the page cache."""
    measurements: list[Measurement] = []
    chosen, wavlm = context.models.chosen(), context.models.named(WAVLM_BASE)
    for model in [chosen] if chosen.name == wavlm.name else [chosen, wavlm]:
        accepting, ready = [], []
        for number in range(context.effort.starts):
            context.progress(f"start: {model.label}, {number + 1} of {context.effort.starts}")
            with context.daemon(model, {"source": "-"}) as daemon:
                accepting.append(daemon.wait_socket())
                ready.append(daemon.wait_ready())
        note = "warm disk cache" + (f"; {model.note}" if model.note else "")
        measurements.append(median(f"{model.label}, until the socket accepts", accepting, "s", note=note))
        measurements.append(median(f"{model.label}, until it is ready", ready, "s", note=note))
    return measurements


def measure_client(context: BenchContext) -> list[Measurement]:
    """Whole processes, next to Python itself in the same run."""
    status, bare, imports = [], [], []
    with context.daemon(context.models.chosen(), {"source": "-"}) as daemon:
        daemon.wait_ready()
        for number in range(context.effort.calls):
            context.progress(f"client: {number + 1} of {context.effort.calls}")
            bare.append(_run_python("-c", "pass")[0])
            status.append(_run_python("-m", "voiceauthd.cli.main", "status", "--socket", daemon.socket)[0])
            imports.append(1000.0 * float(_run_python("-c", _TIMED_IMPORT)[1]))
    extra = [whole - python for whole, python in zip(status, bare, strict=True)]
    return [
        median("voiceauth status, whole process", status, "ms", note="python -m voiceauthd.cli.main status"),
        median("python -c pass, for comparison", bare, "ms"),
        median("voiceauth status beyond that", extra, "ms", note="pairs of the same run"),
        median("import voiceauthd.client", imports, "ms"),
    ]


def _run_python(*words: str) -> tuple[float, str]:
    """Run a fresh interpreter. Return the milliseconds it took, and its output."""
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    took = 1000.0 * (time.perf_counter() - began)
    if result.returncode != 0:
        ending = f"exit code {result.returncode}: {result.stderr.strip()[-200:]}"
        raise VoiceauthError(f"python {' '.join(words)} ended with {ending}")
    return took, result.stdout
