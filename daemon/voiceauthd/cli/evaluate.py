"""`voiceauth evaluate`: how well voices are told apart, on recordings of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.cli.arguments import Parser, add_json, add_model, add_no_cache, add_seed, whole
from voiceauthd.cli.offline import Bar, configuration
from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.config.schema import Config
    from voiceauthd.embed.embedding import ModelId
    from voiceauthd.evaluation.evaluate import Evaluation, Scoring

RESAMPLES = 1000

_EXAMPLES = """
voiceauth evaluate recordings/                        the table
voiceauth evaluate recordings/ --json | jq .pooled.eer
voiceauth evaluate recordings/ --plots figures/ --scores scores.csv
voiceauth evaluate recordings/ --noise noise/ --rir rooms/
voiceauth evaluate recordings/ --cross-validate       if a calibration was fitted on the same people
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth evaluate`."""
    parser.explain(
        "Measure how well voices are told apart, on the recordings in FOLDER. It has enroll.csv, a row for each\n"
        "enrolled voice (columns enroll_id, and files, separated by ;), and trials.csv, a row for each comparison\n"
        "(enroll_id, test_path, and label: target or nontarget). Paths are relative to FOLDER: FLAC, WAV or OGG.\n"
        "More columns (speaker; condition, test_source, test_speaker, label_doubt) part the figures and make the\n"
        "intervals right. Every recording goes the daemon's own way, from samples to score, as configured, with its\n"
        "cohort and calibration. Printed are error rates and costs with 95 % intervals over speakers, pooled and\n"
        "apart, also for tests cut to 1 to 5 s of speech; and what each policy lets in over whole sessions. A test\n"
        "without enough speech counts as a reject. No daemon is needed; nobody is enrolled. Embeddings, not sound,\n"
        "are kept in ~/.cache/voiceauthd/evaluation, so that the next run is quick.",
        _EXAMPLES,
        (ExitCode.CONFIG, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE),
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder with enroll.csv and trials.csv")
    add_model(parser)
    parser.add_argument("--plots", metavar="DIR", type=Path, help="draw DET curve, histograms, calibration as PNG, SVG")
    parser.add_argument("--scores", metavar="FILE", type=Path, help="write the score of each trial, as CSV")
    parser.add_argument("--noise", metavar="DIR", type=Path, help="again with this noise, at 20, 10, 5 and 0 dB")
    parser.add_argument("--rir", metavar="DIR", type=Path, help="again in rooms, by these impulse responses")
    parser.add_argument(
        "--bootstrap",
        metavar="N",
        type=whole,
        default=RESAMPLES,
        help=f"resamples of the speakers (default: {RESAMPLES}; 0: no intervals)",
    )
    add_seed(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--cross-validate",
        action="store_true",
        help="with calibrations fitted on these trials, a trial's speakers always left out",
    )
    how.add_argument("--raw", action="store_true", help="by raw cosine, without cohort and calibration")
    add_no_cache(parser)
    parser.add_argument("--include-doubtful", action="store_true", help="also the trials with label_doubt 1")
    add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Evaluates, prints, and writes what else was asked for."""
    from voiceauthd.evaluation.trials import load_trials

    config = configuration(arguments)
    listed = load_trials(arguments.folder, include_doubtful=arguments.include_doubtful)
    _prepare(arguments)
    output.progress("loading the model")

    from voiceauthd.embed.load import load_embedder
    from voiceauthd.evaluation import report
    from voiceauthd.evaluation.cache import default_cache
    from voiceauthd.evaluation.evaluate import EvaluationOptions, evaluate
    from voiceauthd.evaluation.files import write_whole

    embedder = load_embedder(config.model)
    cache = None if arguments.no_cache else default_cache()
    wishes = EvaluationOptions(arguments.bootstrap, arguments.seed, cache, arguments.noise, arguments.rir)
    found = evaluate(listed, config, embedder, _scoring(arguments, config, embedder.model), wishes, Bar(output))
    output.clear()
    if arguments.scores is not None:
        write_whole(arguments.scores, report.as_csv(found).encode())
    if arguments.plots is not None:
        _draw(arguments.plots, found)
    if output.as_json:
        for warning in found.warnings:
            output.note(f"voiceauth: warning: {plain(warning)}")
    output.object(report.as_object(found))
    for line in report.as_lines(found):
        output.line(plain(line))
    return ExitCode.OK


def _scoring(arguments: argparse.Namespace, config: Config, model: ModelId) -> Scoring:
    """As asked for; else as the daemon scores with this model, here and now.

    Raises `StorageError` for a cohort or a calibration that is torn, or does not belong.
    """
    from voiceauthd.config.resolve import scoring_folder
    from voiceauthd.evaluation.fit_calibration import cross_validated
    from voiceauthd.evaluation.scorer import BackendScorer
    from voiceauthd.scoring.backend import NO_BACKEND, load_backend

    backend = NO_BACKEND if arguments.raw else load_backend(scoring_folder(config), model)
    if arguments.cross_validate:
        return lambda trials, enrolments, sets: cross_validated(trials, enrolments, sets, model, backend.cohort)
    return lambda trials, enrolments, sets: BackendScorer(model, backend)


def _prepare(arguments: argparse.Namespace) -> None:
    """Finds out before the work whether its results can be kept. Raises `UsageError` or `StorageError`."""
    from voiceauthd.evaluation.files import make_folder
    from voiceauthd.evaluation.plots import require_matplotlib

    for folder in (arguments.noise, arguments.rir):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    if arguments.scores is not None and (arguments.scores.is_dir() or not arguments.scores.parent.is_dir()):
        raise UsageError(f"{arguments.scores}: not a file that can be made: its folder must be there")
    if arguments.plots is not None:
        require_matplotlib()
        make_folder(arguments.plots)


def _draw(folder: Path, found: Evaluation) -> None:
    from voiceauthd.evaluation.files import write_whole
    from voiceauthd.evaluation.plots import draw

    for name, data in draw(found).items():
        write_whole(folder / name, data)
