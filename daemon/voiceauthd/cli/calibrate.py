"""Fit the calibration that turns a score into a log-likelihood ratio, on the
speech in FOLDER: how much more likely is this score if the speaker is the
claimed person? FOLDER has a sub-folder for each speaker (LibriSpeech and
VoxCeleb have), and the trials are made from it; or it has enroll.csv and
trials.csv, as for `voiceauth evaluate`. Recordings are WAV, FLAC, MP3, M4A,
or others, of at least 20 speakers; the more there are, the stricter the
policies that the result supports. The cohort is made of the same speakers
unless one is given.
Prints what the result supports, measured on speakers who were left out of the
fit. Needs no daemon; a running one loads the result on `voiceauth reload`. For
the system's daemon, run this as root.

examples:
  voiceauth calibrate LibriSpeech/dev-clean --source "LibriSpeech (CC BY 4.0)"
  voiceauth calibrate speech/ --model microsoft/wavlm-base-sv
  voiceauth calibrate recordings/ --cohort cohort.safetensors --output made/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voiceauthd.cli.arguments import (
    RECORDING_CODES,
    add_recordings,
    add_scoring_output,
    add_seed,
    scoring_options,
)
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.progress_bar import ProgressBar


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, RECORDING_CODES)
    add_recordings(parser, "the folder of speech")
    parser.add_argument("--cohort", metavar="FILE", type=Path, help="of other people, from `voiceauth cohort build`")
    add_scoring_output(parser, "DIR", "replace the existing cohort and calibration")
    add_seed(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Calibrate, print what that supports, and write it."""
    from voiceauthd.evaluation.configuration import configuration
    from voiceauthd.evaluation.speech_folder import trials_in
    from voiceauthd.terminal.scoring_lines import show_files, show_scoring, warn

    config = configuration(arguments.model)
    listed, warnings = trials_in(arguments.folder, arguments.seed)
    warn(warnings, output)
    output.progress("loading the model")

    from voiceauthd.evaluation.make_calibration import make_calibration

    made = make_calibration(config, listed, arguments.cohort, scoring_options(arguments), ProgressBar(output))
    output.clear()
    warn(made.warnings, output)
    files, about = made.install(), made.describe(config)
    output.object({**about, "files": [str(path) for path in files]})
    show_scoring(made.embedder.model, about, config, output)
    show_files(files, output, in_use=arguments.output is None)
    return ExitCode.OK
