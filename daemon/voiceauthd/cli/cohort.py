"""`voiceauth cohort …`: strangers whom every voice is compared with, for any model."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.cli.arguments import Parser, add_json, add_model, add_no_cache, count
from voiceauthd.cli.offline import Bar, configuration
from voiceauthd.errors import ExitCode, ModelError, StorageError, UsageError
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.config.schema import Config
    from voiceauthd.embed.embedding import Embedder
    from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech
    from voiceauthd.scoring.cohort import Cohort

FILES = 5
"""Recordings of each speaker that are heard: about a minute of read speech, after which a voice's mean hardly moves."""

_EXAMPLES = """
voiceauth cohort build LibriSpeech/train-clean-100 --source "LibriSpeech (CC BY 4.0)"
voiceauth cohort build speech/ --model microsoft/wavlm-base-sv --output cohort.safetensors
voiceauth cohort show
"""

_CODES = (ExitCode.CONFIG, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE)


def configure(parser: Parser) -> None:
    """Adds the sub-commands of `voiceauth cohort`."""
    parser.explain(
        "A cohort is strangers, at least 20, whom both sides of every comparison are held against: some voices and\n"
        "some microphones come close to everybody. `voiceauth calibrate` makes one as well.",
        _EXAMPLES,
        _CODES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build: Parser = actions.add_parser("build", help="make a cohort from a folder of speech")
    build.explain(
        "Make a cohort from FOLDER, which has a sub-folder for each speaker (LibriSpeech and VoxCeleb do as they\n"
        "come). Recordings are FLAC, WAV, OGG or MP3. Kept is one embedding a speaker, no sound. Nobody in it should\n"
        "ever be enrolled here. With a new cohort the model is uncalibrated, so this refuses, without --force, to\n"
        "take the place of a calibration: `voiceauth calibrate` makes both at once. For the daemon of the system, run\n"
        "it as root.",
        "voiceauth cohort build LibriSpeech/dev-clean",
        _CODES,
    )
    build.add_argument("folder", metavar="FOLDER", type=Path, help="the folder of speech")
    add_model(build)
    build.add_argument(
        "--files", metavar="N", type=count, default=FILES, help=f"recordings a speaker (default: {FILES})"
    )
    build.add_argument("--output", metavar="FILE", type=Path, help="write it here, and not where the daemon looks")
    build.add_argument(
        "--source", metavar="TEXT", help="where the speech is from, with its licence (default: FOLDER's name)"
    )
    build.add_argument(
        "--force", action="store_true", help="replace the cohort that is there, and drop its calibration"
    )
    add_no_cache(build)
    add_json(build)
    show: Parser = actions.add_parser("show", help="print which cohort and calibration are in use")
    show.explain(
        "Print which cohort and calibration the daemon uses with this model: what was made on this machine, else what\n"
        "came with the package, else none.",
        "voiceauth cohort show --json",
        _CODES,
    )
    add_model(show)
    add_json(show)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Does what `arguments.action` says."""
    return {"build": _build, "show": _show}[arguments.action](arguments, output)


def require_cohort_size(people: int, folder: Path) -> None:
    """Raises `UsageError`, reason `cohort_too_small`, before anything is heard."""
    from voiceauthd.scoring.cohort import LEAST

    if people < LEAST:
        few = "1 speaker" if people == 1 else f"{people} speakers"
        raise UsageError(
            f"{folder}: {few}; at least {LEAST} are needed, each with a sub-folder of its own", "cohort_too_small"
        )


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Says of which folder it is that a cohort or a calibration cannot be made of it."""
    try:
        yield
    except ModelError as error:
        if error.reason == "cohort_too_small":
            raise ModelError(f"{folder}: too few speakers with speech that was found: {error}", error.reason) from error
        if error.reason == "not_calibrated":
            raise ModelError(f"{folder}: {error}", error.reason) from error
        raise


def source_of(folder: Path, given: str | None) -> str:
    """What the speech is called in the files that are made of it."""
    return plain(given if given is not None else folder.resolve().name)


def _build(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.cli import backend as kept
    from voiceauthd.evaluation.folders import speakers_in

    config = configuration(arguments)
    warnings: list[str] = []
    voices = speakers_in(arguments.folder, warnings)
    require_cohort_size(len(voices), arguments.folder)
    kept.warn(warnings, output)
    if arguments.output is not None:
        _require_writable(arguments.output, force=arguments.force)
    output.progress("loading the model")

    from voiceauthd.embed.load import load_embedder
    from voiceauthd.evaluation.fit_calibration import build_cohort

    embedder = load_embedder(config.model)
    if arguments.output is None:
        _require_uncalibrated(config, embedder, force=arguments.force)
        kept.prepare(kept.own_folder(config, embedder.model))
    heard = _hear(voices, config, embedder, arguments, output)
    output.clear()
    with naming(arguments.folder):
        cohort = build_cohort(heard, embedder.model, (source_of(arguments.folder, arguments.source),))
    _warn_of_missing(heard, cohort, output)
    files = _keep(cohort, config, embedder, arguments.output)
    output.object({"model": str(embedder.model), **kept.cohort_object(cohort), "files": [str(path) for path in files]})
    kept.tell_cohort(cohort, output)
    kept.tell_files(files, output, in_use=arguments.output is None)
    if arguments.output is None:
        output.line(f"Uncalibrated until `voiceauth calibrate FOLDER --cohort {plain(files[0])}`.")
    return ExitCode.OK


def _show(arguments: argparse.Namespace, output: Output) -> int:
    from voiceauthd.cli import backend as kept
    from voiceauthd.config.resolve import scoring_folder

    config = configuration(arguments)
    output.progress("loading the model")

    from voiceauthd.embed.load import load_embedder
    from voiceauthd.scoring.backend import COHORT, load_backend

    embedder = load_embedder(config.model)
    own = kept.own_folder(config, embedder.model)
    try:
        made_here = (own / COHORT).is_file()
        backend = load_backend(scoring_folder(config), embedder.model)
    except OSError as problem:
        raise StorageError(f"{own}: cannot be read: {problem.strerror or problem}") from problem
    output.clear()
    origin = "own" if made_here else "none" if backend.cohort is None else "shipped"
    about = kept.backend_object(config, embedder, backend)
    output.object({**about, "origin": origin, "folder": str(own)})
    output.line(f"model        {plain(embedder.model)}")
    told = {"own": f"made on this machine: {plain(own)}", "shipped": "came with voiceauthd"}
    output.line(f"origin       {told.get(origin, f'nothing in {plain(own)}, and nothing came with voiceauthd')}")
    kept.tell_cohort(backend.cohort, output)
    kept.tell_calibration(config, embedder, backend, output)
    return ExitCode.OK


def _hear(
    voices: dict[str, list[Path]], config: Config, embedder: Embedder, arguments: argparse.Namespace, output: Output
) -> dict[str, list[EmbeddedSpeech]]:
    """Some recordings of each speaker, as the daemon hears them."""
    import numpy as np

    from voiceauthd.evaluation.cache import Cache, default_cache
    from voiceauthd.evaluation.embed_recording import Job
    from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
    from voiceauthd.evaluation.folders import pick

    generator = np.random.default_rng(0)
    chosen = {name: pick(recordings, arguments.files, generator) for name, recordings in voices.items()}
    bar = Bar(output)
    cache = None if arguments.no_cache else Cache(default_cache(), embedder.model, config.speech)
    workers = EmbeddingWorkers(config.model, config.speech, embedder, cache)
    jobs = [Job(path) for recordings in chosen.values() for path in recordings]
    heard = iter(workers.hear(jobs, lambda done, of: bar("hearing", done, of)))
    return {name: [next(heard).whole for _ in recordings] for name, recordings in chosen.items()}


def _warn_of_missing(heard: Iterable[str], cohort: Cohort, output: Output) -> None:
    from voiceauthd.cli import backend as kept

    missing = sorted(set(heard) - set(cohort.speakers))
    if missing:
        kept.warn([f"no speech was found of {len(missing)} speakers, such as {missing[0]}: left out"], output)


def _require_writable(path: Path, *, force: bool) -> None:
    """Finds out before the work whether its result can be kept."""
    from voiceauthd.cli import backend as kept

    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path}: not a file that can be made: its folder must be there")
    kept.refuse_to_lose([path], force=force)


def _require_uncalibrated(config: Config, embedder: Embedder, *, force: bool) -> None:
    """A model must not become uncalibrated by the way. Raises `UsageError`, reasons `exists` and `calibrated`."""
    from voiceauthd.cli import backend as kept
    from voiceauthd.scoring.backend import CALIBRATION, COHORT, shipped_backend

    own = kept.own_folder(config, embedder.model)
    kept.refuse_to_lose([own / COHORT, own / CALIBRATION], force=force)
    if not force and shipped_backend(embedder.model).calibration is not None:
        raise UsageError(
            f"{embedder.model} came calibrated, and would not be with a new cohort: make both with `voiceauth "
            "calibrate`, or say --force",
            "calibrated",
        )


def _keep(cohort: Cohort, config: Config, embedder: Embedder, output: Path | None) -> list[Path]:
    from voiceauthd.cli import backend as kept
    from voiceauthd.evaluation.files import write_whole
    from voiceauthd.scoring.cohort import encode_cohort

    if output is None:
        return kept.install(kept.own_folder(config, embedder.model), cohort, None)
    write_whole(output, encode_cohort(cohort))
    return [output]
