"""Measure on this machine, with the real daemon as a child process, on synthetic
voices:
  forward   one window through the model, 1.5 s and 3 s long, one thread; CAM++
            and WavLM base in turn
  delay     from the end of a window to its event at a client, without the
            forward, in real time
  silence   share of a core while an open microphone receives silence, and while
            it receives faint noise
  realtime  speech from a file, as fast as possible: seconds of work for one
            second of speech; windows dropped
  memory    resident, after the model is loaded and at the peak
  start     until the socket answers, and until the daemon is ready
  client    the whole process of `voiceauth status`; importing the client
Results are medians, with the number of runs. A busy machine makes them worse:
the load is printed beside them. Needs no network and no sound hardware; what
cannot be measured here is marked. Ends with 0 when everything was measured,
whether the targets were met or not.

examples:
  voiceauth bench                                  everything, about 8 minutes
  voiceauth bench --quick --only forward start     fewer runs, and only these
  voiceauth bench --model wavlm-base-random --only delay
  voiceauth bench --json > results.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.argument_types import count
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.signals import exit_on_signals

SECTIONS = ("forward", "delay", "silence", "realtime", "memory", "start", "client")

RUNS = 10
QUICK_RUNS = 3


def configure(parser: Parser) -> None:
    codes = (ExitCode.NO_MICROPHONE, ExitCode.NOT_RUNNING, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE)
    parser.explain_command(__doc__, codes)
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the daemon's model: a cached one, a folder, or wavlm-base-random or wavlm-tiny-random, which are made "
        "with random weights (default: campplus if it is cached, else wavlm-tiny-random)",
    )
    parser.add_argument("--runs", metavar="N", type=count, help=f"how often (default: {RUNS}); 12 N windows for delay")
    parser.add_argument("--quick", action="store_true", help=f"--runs {QUICK_RUNS}")
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=SECTIONS, help="measure only these of the above")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure in a temporary folder, and print the results of each section when it is done."""
    from voiceauthd.bench.run import run_bench

    exit_on_signals()
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    with tempfile.TemporaryDirectory(prefix="voiceauth-bench-") as folder:
        return run_bench(arguments.only or SECTIONS, arguments.model, runs, Path(folder), output)
