"""A cohort is at least 20 strangers. Both sides of every comparison are compared
with them too, because some voices and some microphones resemble everybody's.
`voiceauth calibrate` makes one as well.

examples:
  voiceauth cohort build LibriSpeech/dev-clean --source "LibriSpeech, CC BY"
  voiceauth cohort build speech/ --model campplus --output cohort.safetensors
  voiceauth cohort show
"""

from __future__ import annotations

import argparse

from voiceauthd.cli.arguments import RECORDING_CODES, add_model, add_recordings, add_scoring_output, scoring_options
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.argument_types import count
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.progress_bar import ProgressBar

FILES = 5
"""Recordings used of each speaker: about a minute of read speech, after which a voice's mean hardly changes."""

_BUILD = """
FOLDER has a sub-folder for each speaker (LibriSpeech and VoxCeleb have).
Recordings are WAV, FLAC, OGG, MP3, M4A. The cohort holds one embedding for each
speaker, no audio. Nobody in it should ever be enrolled here. With a new cohort
the model is uncalibrated, so without --force this refuses to replace a
calibration: `voiceauth calibrate` makes both at once. For the system's daemon,
run it as root."""

_SHOW = """
That is what was made on this machine, else what came with the package, else
none."""


def configure(parser: Parser) -> None:
    parser.explain_group(__doc__, RECORDING_CODES)
    example = "voiceauth cohort build LibriSpeech/dev-clean"
    build = parser.action(_build, "build", "Make a cohort from a folder of speech", example, more=_BUILD)
    add_recordings(build, "the folder of speech")
    files = f"recordings of each speaker (default: {FILES})"
    build.add_argument("--files", metavar="N", type=count, default=FILES, help=files)
    add_scoring_output(build, "FILE", "replace the existing cohort, and drop its calibration")
    summary = "Print the cohort and the calibration that the daemon uses with a model"
    add_model(parser.action(_show, "show", summary, "voiceauth cohort show --json", more=_SHOW))


def _build(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.evaluation.configuration import configuration
    from voiceauthd.evaluation.output_paths import require_new_file
    from voiceauthd.evaluation.speech_folder import cohort_speakers
    from voiceauthd.terminal.scoring_lines import show_cohort, warn

    config = configuration(arguments.model)
    voices, warnings = cohort_speakers(arguments.folder)
    warn(warnings, output)
    if arguments.output is not None:
        require_new_file(arguments.output, force=arguments.force)
    output.progress("loading the model")

    from voiceauthd.evaluation.describe_scoring import describe_cohort
    from voiceauthd.evaluation.make_cohort import make_cohort

    options = scoring_options(arguments)
    made = make_cohort(config, arguments.folder, voices, arguments.files, options, ProgressBar(output))
    output.clear()
    warn(made.warnings, output)
    files, about = made.install(), describe_cohort(made.cohort)
    output.object({"model": str(made.model), **about, "files": [str(path) for path in files]})
    show_cohort(about, files, output, in_use=arguments.output is None)
    return ExitCode.OK


def _show(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.evaluation.configuration import configuration
    from voiceauthd.terminal.scoring_lines import origin_text, show_scoring

    config = configuration(arguments.model)
    output.progress("loading the model")

    from voiceauthd.embed.load import load_embedder
    from voiceauthd.evaluation.describe_scoring import describe_scoring
    from voiceauthd.evaluation.scoring_files import find_backend

    embedder = load_embedder(config.model)
    backend, origin, folder = find_backend(config, embedder.model)
    output.clear()
    about = describe_scoring(config, embedder, backend)
    output.object({**about, "origin": origin, "folder": str(folder)})
    show_scoring(embedder.model, about, config, output, origin_text(origin, folder))
    return ExitCode.OK
