"""Runs the parts of the benchmark one after the other, and prints their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from voiceauthd.bench.context import BenchContext, Effort
from voiceauthd.bench.delay import measure_delay
from voiceauthd.bench.forward import measure_forward
from voiceauthd.bench.machine import describe_machine, load_average
from voiceauthd.bench.models import Models
from voiceauthd.bench.report import Measurement, NotMeasuredError, table
from voiceauthd.bench.silence import measure_silence
from voiceauthd.bench.start import measure_client, measure_start
from voiceauthd.bench.throughput import measure_memory, measure_realtime
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.terminal.output import Output


class Part(NamedTuple):
    """One part of the benchmark. `measure` runs it."""

    title: str
    measure: Callable[[BenchContext], list[Measurement]]


PARTS = {
    "forward": Part("forward pass of one window, including the front end, one thread, median", measure_forward),
    "delay": Part("end of a window to its event at a client, in real time; windows that end with a hop", measure_delay),
    "silence": Part("the daemon's share of one core while nobody speaks", measure_silence),
    "realtime": Part("a minute of speech from a file, as fast as possible, median", measure_realtime),
    "memory": Part("the daemon's resident memory", measure_memory),
    "start": Part("from the creation of the daemon's process, median", measure_start),
    "client": Part("a command-line client, median", measure_client),
}


def run_bench(names: Sequence[str], model: str | None, runs: int, folder: Path, output: Output) -> int:
    """Measure the parts `names` and print each when it is done. Return the exit code of the first that failed."""
    machine = describe_machine()
    for label, text in machine.items():
        output.line(f"{label:<10} {text}")
    context = BenchContext(folder, Effort.from_runs(runs), Models(model, folder, output.progress), output.progress)
    parts: dict[str, object] = {}
    code = int(ExitCode.OK)
    began = time.monotonic()
    for name, part in PARTS.items():
        if name not in names:
            continue
        before = load_average()
        try:
            measurements = part.measure(context)
        except VoiceauthError as problem:
            output.clear()
            measurements = [Measurement(name, None, "", 0, note=str(problem))]
            if not isinstance(problem, NotMeasuredError):
                code = code or int(problem.exit_code)
        load = [before, load_average()]
        output.clear()
        output.line(output.style(f"\n{name}: {part.title} (load {load[0]:.1f} to {load[1]:.1f})", "bold"))
        for line in table(measurements):
            output.line(f"  {line}")
        parts[name] = {"title": part.title, "load": load, "figures": [each.to_object() for each in measurements]}
    seconds = round(time.monotonic() - began, 1)
    output.line(f"\nmeasured in {seconds:.0f} s")
    output.object({"machine": machine, "parts": parts, "seconds": seconds})
    return code
