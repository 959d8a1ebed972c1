"""How long a daemon takes to be there, and a client to have its answer."""

from __future__ import annotations

import subprocess
import sys
import time

from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.bench.models import WAVLM_BASE
from voiceauthd.bench.report import Figure, median
from voiceauthd.bench.setting import Setting
from voiceauthd.errors import VoiceauthError

CALL_LIMIT = 60.0
"""Seconds for one command."""

_IMPORT = "import time; t = time.perf_counter(); import voiceauthd.client; print(time.perf_counter() - t)"


def measure_start(setting: Setting) -> list[Figure]:
    """From the making of the process. What was read from the disk before is in memory still."""
    figures: list[Figure] = []
    chosen, wavlm = setting.models.chosen(), setting.models.named(WAVLM_BASE)
    for model in [chosen] if chosen.name == wavlm.name else [chosen, wavlm]:
        accepting, ready = [], []
        for number in range(setting.effort.starts):
            setting.say(f"start: {model.label}, {number + 1} of {setting.effort.starts}")
            with ChildDaemon(setting.folder, model, {"source": "-"}) as child:
                accepting.append(child.wait_socket())
                ready.append(child.wait_ready())
        note = "warm disk cache" + (f"; {model.note}" if model.note else "")
        figures.append(median(f"{model.label}, until the socket accepts", accepting, "s", note=note))
        figures.append(median(f"{model.label}, until it is ready", ready, "s", note=note))
    return figures


def measure_client(setting: Setting) -> list[Figure]:
    """Whole processes, beside Python itself in the same run."""
    status, bare, imports = [], [], []
    with ChildDaemon(setting.folder, setting.models.chosen(), {"source": "-"}) as child:
        child.wait_ready()
        for number in range(setting.effort.calls):
            setting.say(f"client: {number + 1} of {setting.effort.calls}")
            bare.append(_run("-c", "pass")[0])
            status.append(_run("-m", "voiceauthd.cli.main", "status", "--socket", child.socket)[0])
            imports.append(1000.0 * float(_run("-c", _IMPORT)[1]))
    extra = [whole - python for whole, python in zip(status, bare, strict=True)]
    return [
        median("voiceauth status, whole process", status, "ms", note="python -m voiceauthd.cli.main status"),
        median("python -c pass, for comparison", bare, "ms"),
        median("voiceauth status beyond that", extra, "ms", note="pairs of the same run"),
        median("import voiceauthd.client", imports, "ms"),
    ]


def _run(*words: str) -> tuple[float, str]:
    """Milliseconds that a fresh interpreter takes, and what it prints."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=CALL_LIMIT,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    took = 1000.0 * (time.perf_counter() - began)
    if done.returncode != 0:
        raise VoiceauthError(f"python {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return took, done.stdout
