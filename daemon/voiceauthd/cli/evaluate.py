"""Measure how well voices are told apart, on the recordings in FOLDER. It has
enroll.csv, a row for each enrolled voice (columns enroll_id, and files,
separated by ;), and trials.csv, a row for each comparison (enroll_id,
test_path, and label: target or nontarget). Paths are relative to FOLDER: FLAC,
WAV or OGG. More columns (speaker; condition, test_source, test_speaker,
label_doubt) split the results and correct the intervals. Every recording goes
through the daemon's own processing, from samples to score, as configured, with
its cohort and calibration. Prints error rates and costs with 95 % intervals
over speakers, pooled and by group, also for tests cut to 1 to 5 s of speech;
and what each policy accepts over whole sessions. A test without enough speech
counts as a reject. Needs no daemon; nobody is enrolled. Embeddings, not audio,
are kept in ~/.cache/voiceauthd/evaluation, which makes the next run quick.

examples:
  voiceauth evaluate recordings/                    the table
  voiceauth evaluate recordings/ --json | jq .pooled.eer
  voiceauth evaluate recordings/ --plots plots/ --scores scores.csv
  voiceauth evaluate recordings/ --noise noise/ --rir rooms/
  voiceauth evaluate recordings/ --cross-validate   if it was calibrated on them
"""

from __future__ import annotations

import argparse
from pathlib import Path

from voiceauthd.cli.arguments import RECORDING_CODES, add_recordings, add_seed
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.argument_types import whole
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.progress_bar import ProgressBar
from voiceauthd.terminal.scoring_lines import warn

RESAMPLES = 1000


def configure(parser: Parser) -> None:
    parser.explain_command(__doc__, RECORDING_CODES)
    add_recordings(parser, "the folder with enroll.csv and trials.csv")
    add = parser.add_argument
    add("--plots", metavar="DIR", type=Path, help="plot DET curve, histograms and calibration as PNG and SVG")
    add("--scores", metavar="FILE", type=Path, help="write the score of each trial, as CSV")
    add("--noise", metavar="DIR", type=Path, help="repeat with this noise, at 20, 10, 5 and 0 dB")
    add("--rir", metavar="DIR", type=Path, help="repeat in rooms with these impulse responses")
    resamples = f"resamples of the speakers (default: {RESAMPLES}; 0: no intervals)"
    add("--bootstrap", metavar="N", type=whole, default=RESAMPLES, help=resamples)
    add_seed(parser)
    how = parser.add_mutually_exclusive_group()
    cross_validate = "with calibrations fitted on these trials, without each trial's own speakers"
    how.add_argument("--cross-validate", action="store_true", help=cross_validate)
    how.add_argument("--raw", action="store_true", help="by raw cosine, without cohort and calibration")
    add("--include-doubtful", action="store_true", help="also the trials with label_doubt 1")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Evaluate, print the results, and write the files that were asked for."""
    from voiceauthd.evaluation.configuration import configuration
    from voiceauthd.evaluation.output_paths import require_folders, require_outputs
    from voiceauthd.evaluation.trials import load_trials

    config = configuration(arguments.model)
    listed = load_trials(arguments.folder, include_doubtful=arguments.include_doubtful)
    require_folders(arguments.noise, arguments.rir)
    require_outputs(arguments.scores, arguments.plots)
    output.progress("loading the model")

    from voiceauthd.embed.load import load_embedder
    from voiceauthd.evaluation import report
    from voiceauthd.evaluation.cache import default_cache
    from voiceauthd.evaluation.evaluate import EvaluationOptions, evaluate
    from voiceauthd.evaluation.evaluation_outputs import choose_scoring, write_outputs

    embedder = load_embedder(config.model)
    cache = None if arguments.no_cache else default_cache()
    scoring = choose_scoring(config, embedder.model, raw=arguments.raw, cross_validate=arguments.cross_validate)
    options = EvaluationOptions(arguments.bootstrap, arguments.seed, cache, arguments.noise, arguments.rir)
    found = evaluate(listed, config, embedder, scoring, options, ProgressBar(output))
    output.clear()
    write_outputs(found, arguments.scores, arguments.plots)
    if output.as_json:
        warn(found.warnings, output)
    output.object(report.as_object(found))
    for line in report.as_lines(found):
        output.line(plain(line))
    return ExitCode.OK
