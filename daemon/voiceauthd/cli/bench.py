"""`voiceauth bench`: the speed, the delays and the appetite of the daemon on this machine."""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path
from typing import NoReturn

from voiceauthd.cli.arguments import Parser, add_json, count
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.output import Output

SECTIONS = ("forward", "delay", "silence", "realtime", "memory", "start", "client")

RUNS = 10
QUICK_RUNS = 3

_EXAMPLES = """
voiceauth bench                                     everything, in about eight minutes
voiceauth bench --quick --only forward start        less often, and only this
voiceauth bench --model wavlm-base-random --only delay
voiceauth bench --json > figures.json
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth bench`."""
    parser.explain(
        "Measure on this machine, with the real daemon as a child process, on synthetic voices:\n"
        "  forward   one window through the model, 1.5 s and 3 s long, one thread; CAM++ and WavLM base in turn\n"
        "  delay     from the end of a window to its event at a client, beyond the forward, in real time\n"
        "  silence   share of a core while an open microphone hears nothing, and while it hears faint noise\n"
        "  realtime  speech from a file, as fast as it goes: seconds of work for a second of speech; windows dropped\n"
        "  memory    resident, after the model is loaded and at the peak\n"
        "  start     until the socket answers, and until the daemon is ready\n"
        "  client    the whole process of `voiceauth status`, and the import of the client\n"
        "Figures are medians, with the number of runs. A busy machine makes them worse: the load is printed beside\n"
        "them. No network, no sound hardware; whatever cannot be measured here is called so. Ends with 0 when all was\n"
        "measured, whether the targets were met or not.",
        _EXAMPLES,
        (ExitCode.NO_MICROPHONE, ExitCode.NOT_RUNNING, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE),
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="what the daemon runs: a cached model, a folder, or wavlm-base-random or wavlm-tiny-random, which are\n"
        "made on the spot with random weights (default: campplus if it is cached, else wavlm-tiny-random)",
    )
    parser.add_argument("--runs", metavar="N", type=count, help=f"how often (default: {RUNS}); 12 N windows for delay")
    parser.add_argument("--quick", action="store_true", help=f"--runs {QUICK_RUNS}")
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=SECTIONS, help="measure only these of the above")
    add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measures in a temporary folder, and prints the figures of each part when it is done."""
    from voiceauthd.bench.run import run_bench

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # what ends the measurement must end its daemons first
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    with tempfile.TemporaryDirectory(prefix="voiceauth-bench-") as folder:
        return run_bench(arguments.only or SECTIONS, arguments.model, runs, Path(folder), output)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
