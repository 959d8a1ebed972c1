"""What stands behind a model's scores, for `voiceauth cohort` and `voiceauth calibrate`: how it is told, and kept.

The daemon loads a cohort alone, or a cohort and the calibration that was fitted with it; anything else is refused, and
it does not start. So the files change in an order in which each step leaves one of the two.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from voiceauthd.cli.status import rate
from voiceauthd.errors import StorageError, UsageError
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.config.schema import Config
    from voiceauthd.embed.embedding import Embedder, ModelId
    from voiceauthd.scoring.backend import Backend
    from voiceauthd.scoring.calibration import Calibration
    from voiceauthd.scoring.cohort import Cohort

Object = Mapping[str, object]


def own_folder(config: Config, model: ModelId) -> Path:
    """Where the daemon looks for what was made on this machine. Raises `ConfigError` if nothing tells where."""
    from voiceauthd.config.resolve import scoring_folder
    from voiceauthd.scoring.backend import folder_name

    return scoring_folder(config) / folder_name(model)


def prepare(folder: Path) -> None:
    """Finds out before the work whether its results can be kept. Raises `StorageError`."""
    from voiceauthd.evaluation.files import make_folder

    make_folder(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StorageError(f"{folder}: this user may not write there")


def refuse_to_lose(files: Iterable[Path], *, force: bool) -> None:
    """Raises `UsageError`, reason `exists`, if one of the files is there and nobody says that it may go, and
    `StorageError` where that cannot be seen."""
    try:
        there = [path for path in files if path.is_symlink() or path.exists()]
    except OSError as problem:
        raise StorageError(f"{problem.filename}: {problem.strerror}: run this as root, or use --output") from problem
    if there and not force:
        also = f" (and {there[1].name})" if len(there) > 1 else ""
        raise UsageError(f"{there[0]}{also} would be replaced: --force does it, --output writes elsewhere", "exists")


def install(folder: Path, cohort: Cohort, calibration: Calibration | None) -> list[Path]:
    """Puts a cohort in the folder of its model, and the calibration that belongs to it; what was there goes.

    Returns the files. Raises `StorageError`.
    """
    from voiceauthd.evaluation.files import make_folder, remove, write_whole
    from voiceauthd.scoring.backend import CALIBRATION, COHORT
    from voiceauthd.scoring.calibration import encode_calibration
    from voiceauthd.scoring.cohort import encode_cohort

    make_folder(folder)
    remove(folder / CALIBRATION)
    write_whole(folder / COHORT, encode_cohort(cohort))
    if calibration is None:
        return [folder / COHORT]
    write_whole(folder / CALIBRATION, encode_calibration(calibration))
    return [folder / COHORT, folder / CALIBRATION]


def cohort_object(cohort: Cohort) -> Object:
    """For a program. Not who is in it: those are names of people."""
    return {"speakers": len(cohort.speakers), "sources": list(cohort.sources), "digest": cohort.digest}


def backend_object(config: Config, embedder: Embedder, backend: Backend) -> Object:
    """Model, cohort, calibration and policies for a program; null for what there is not."""
    from dataclasses import asdict

    from voiceauthd.scoring.policy import make_policies

    calibration = backend.calibration
    policies = make_policies(config, embedder.threshold, backend).values()
    return {
        "model": asdict(embedder.model),
        "cohort": None if backend.cohort is None else cohort_object(backend.cohort),
        "calibration": None if calibration is None else _calibration_object(calibration),
        "policies": [
            {
                "name": policy.name,
                "false_accepts": policy.false_accepts,
                "supported": policy.supported,
                "trials": policy.trials,
                "demonstrated": policy.demonstrated,
            }
            for policy in policies
        ],
    }


def tell_cohort(cohort: Cohort | None, output: Output) -> None:
    """In a line."""
    if cohort is None:
        output.line("cohort       none: scores are not normalised")
        return
    output.line(f"cohort       {len(cohort.speakers)} speakers{_from(cohort.sources)}")


def tell_calibration(config: Config, embedder: Embedder, backend: Backend, output: Output) -> None:
    """What was fitted, and which policies that bears out."""
    from voiceauthd.scoring.policy import make_policies

    calibration = backend.calibration
    if calibration is None:
        output.line("calibration  none: uncalibrated; scores stand for no error rate")
    else:
        same = backend.cohort is not None and backend.cohort.sources == calibration.sources
        output.line(
            f"calibration  {len(calibration.speakers)} speakers, {calibration.target:,} target and "
            f"{calibration.nontarget:,} non-target trials" + ("" if same else _from(calibration.sources))
        )
        output.line(f"             {calibration.pairs:,} pairs of people: the independent trials")
        output.line(
            f"             Cllr {calibration.cllr:.3f}, minCllr {calibration.mincllr:.3f} (bits; on people who were "
            "left out of the fit)"
        )
    for policy in make_policies(config, embedder.threshold, backend).values():
        aim = f"aims at {rate(policy.false_accepts)} false accepts"
        if policy.supported is None:
            shown = output.style("uncalibrated", "yellow")
        else:
            word, colour = ("demonstrated", "green") if policy.demonstrated else ("not demonstrated", "yellow")
            shown = f"{output.style(word, colour)}: {rate(policy.supported)}"
        output.line(f"policy       {policy.name:<8} {aim}; {shown}")
    if config.decision.threshold is not None:
        output.note("voiceauth: warning: decision.threshold is set, so decisions are by cosine: set it to null")


def tell_files(files: Iterable[Path], output: Output, *, in_use: bool) -> None:
    """Where they are, and what makes the daemon take them."""
    for path in files:
        output.line(f"wrote        {plain(path)}")
    if in_use:
        whose = "the daemon" if os.geteuid() == 0 else "a daemon of this user"
        output.line(f"`voiceauth reload` makes {whose} take it.")


def warn(warnings: Iterable[str], output: Output) -> None:
    """A line each on standard error, whatever the mode."""
    for warning in warnings:
        output.note(f"voiceauth: warning: {plain(warning)}")


def _from(sources: Iterable[str]) -> str:
    told = "; ".join(plain(source) for source in sources)
    return f": {told}" if told else ""


def _calibration_object(calibration: Calibration) -> Object:
    return {
        "speakers": len(calibration.speakers),
        "trials": {"target": calibration.target, "nontarget": calibration.nontarget, "pairs": calibration.pairs},
        "cllr": calibration.cllr,
        "mincllr": calibration.mincllr,
        "net_speech": [calibration.net_speech.low, calibration.net_speech.high],
        "exemplars": [calibration.exemplars.low, calibration.exemplars.high],
        "snr_db": [calibration.snr_db.low, calibration.snr_db.high],
        "sources": list(calibration.sources),
        "created": calibration.created,
    }
