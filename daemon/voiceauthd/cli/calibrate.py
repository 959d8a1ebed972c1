"""`voiceauth calibrate`: scores that stand for error rates, for any model, from recordings of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.cli.arguments import Parser, add_json, add_model, add_no_cache, add_seed
from voiceauthd.cli.offline import Bar, configuration
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.embed.embedding import ModelId
    from voiceauthd.evaluation.trials import TrialList
    from voiceauthd.scoring.calibration import Calibration
    from voiceauthd.scoring.cohort import Cohort

POOR = 0.5
"""Cllr, in bits, from which people are warned: 1 says nothing, and a model that can be used stays below 0.1."""

_EXAMPLES = """
voiceauth calibrate LibriSpeech/dev-clean --source "LibriSpeech (CC BY 4.0)"
voiceauth calibrate speech/ --model microsoft/wavlm-base-sv
voiceauth calibrate recordings/ --cohort cohort.safetensors --output calibrated/
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth calibrate`."""
    parser.explain(
        "Fit what turns a score into a log-likelihood ratio, on the speech in FOLDER: how much more likely is this,\n"
        "if it is who it should be? FOLDER has a sub-folder for each speaker (LibriSpeech and VoxCeleb do as they\n"
        "come), and the trials are made of it; or it has enroll.csv and trials.csv, as for `voiceauth evaluate`.\n"
        "Recordings are FLAC, WAV, OGG or MP3, of at least 20 speakers; the more there are, the stricter are the\n"
        "policies that the result supports. The cohort is made of the same speakers unless one is given. Printed is\n"
        "what the result bears out, measured on speakers who were left out of the fit. No daemon is needed; one that\n"
        "runs takes the result with `voiceauth reload`. For the daemon of the system, run this as root.",
        _EXAMPLES,
        (ExitCode.CONFIG, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE),
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder of speech")
    add_model(parser)
    parser.add_argument("--cohort", metavar="FILE", type=Path, help="of other people, from `voiceauth cohort build`")
    parser.add_argument("--output", metavar="DIR", type=Path, help="write it here, and not where the daemon looks")
    parser.add_argument(
        "--source", metavar="TEXT", help="where the speech is from, with its licence (default: FOLDER's name)"
    )
    add_seed(parser)
    parser.add_argument("--force", action="store_true", help="replace the cohort and the calibration that are there")
    add_no_cache(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Calibrates, prints what that bears out, and writes it."""
    from voiceauthd.cli import backend as kept
    from voiceauthd.cli.cohort import naming, source_of

    config = configuration(arguments)
    listed = _trials(arguments, output)
    output.progress("loading the model")

    from voiceauthd.embed.load import load_embedder
    from voiceauthd.evaluation.cache import Cache, default_cache
    from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
    from voiceauthd.evaluation.fit_calibration import calibrate
    from voiceauthd.scoring.backend import Backend

    embedder = load_embedder(config.model)
    in_use = arguments.output is None
    folder = kept.own_folder(config, embedder.model) if in_use else arguments.output
    given = _cohort(arguments.cohort, embedder.model)
    _refuse_to_lose(folder, given, embedder.model, force=arguments.force)
    kept.prepare(folder)
    cache = None if arguments.no_cache else Cache(default_cache(), embedder.model, config.speech)
    workers = EmbeddingWorkers(config.model, config.speech, embedder, cache)
    sources = (source_of(arguments.folder, arguments.source),)
    with naming(arguments.folder):
        cohort, calibration = calibrate(listed, workers, embedder.model, given, sources, Bar(output))
    output.clear()
    kept.warn(_doubts(listed, calibration), output)
    files = kept.install(folder, cohort, calibration)
    backend = Backend(cohort, calibration)
    output.object({**kept.backend_object(config, embedder, backend), "files": [str(path) for path in files]})
    output.line(f"model        {plain(embedder.model)}")
    kept.tell_cohort(cohort, output)
    kept.tell_calibration(config, embedder, backend, output)
    kept.tell_files(files, output, in_use=in_use)
    return ExitCode.OK


def _trials(arguments: argparse.Namespace, output: Output) -> TrialList:
    """The trial list in the folder, else one that is made of its speakers. Refuses one with too few people."""
    from voiceauthd.cli import backend as kept
    from voiceauthd.cli.cohort import require_cohort_size
    from voiceauthd.evaluation.trial_design import brief_enrolments, trials_of
    from voiceauthd.evaluation.trials import ENROLL, TRIALS, load_trials

    folder: Path = arguments.folder
    is_list = (folder / ENROLL).is_file() or (folder / TRIALS).is_file()
    listed = load_trials(folder) if is_list else trials_of(folder, arguments.seed)
    people = {name for trial in listed.trials for name in (trial.speaker, trial.test_speaker)}
    require_cohort_size(len(people), folder)
    kept.warn([*listed.warnings, *brief_enrolments(listed)], output)
    return listed


def _doubts(listed: TrialList, calibration: Calibration) -> list[str]:
    """What a person should know before the result is relied on."""
    found = []
    silent = len(listed.trials) - calibration.target - calibration.nontarget
    if silent:
        found.append(
            f"{silent} of {len(listed.trials)} trials have no window of speech on one side: they count for nothing"
        )
    if not calibration.cllr < POOR:
        found.append(
            f"Cllr is {calibration.cllr:.2f}, where 1 says nothing: this model hardly tells these speakers apart, or "
            "the sub-folders are not speakers"
        )
    return found


def _cohort(file: Path | None, model: ModelId) -> Cohort | None:
    from voiceauthd.scoring.cohort import read_cohort

    return read_cohort(file, model) if file is not None else None


def _refuse_to_lose(folder: Path, given: Cohort | None, model: ModelId, *, force: bool) -> None:
    """A cohort that is used again is not lost."""
    from voiceauthd.cli import backend as kept
    from voiceauthd.errors import StorageError
    from voiceauthd.scoring.backend import CALIBRATION, COHORT
    from voiceauthd.scoring.cohort import read_cohort

    lost = [folder / CALIBRATION]
    try:
        stays = given is not None and read_cohort(folder / COHORT, model).digest == given.digest
    except StorageError:
        stays = False
    if not stays:
        lost.insert(0, folder / COHORT)
    kept.refuse_to_lose(lost, force=force)
