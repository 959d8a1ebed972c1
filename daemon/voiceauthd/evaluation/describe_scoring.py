"""A model's cohort, calibration and policies as an object for a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder
from voiceauthd.scoring.backend import Backend
from voiceauthd.scoring.calibration import Calibration
from voiceauthd.scoring.cohort import Cohort
from voiceauthd.scoring.policy import make_policies

Description = Mapping[str, object]


def describe_scoring(config: Config, embedder: Embedder, backend: Backend) -> Description:
    """Return model, cohort, calibration and policies; null for what does not exist."""
    policies = make_policies(config, embedder.threshold, backend).values()
    return {
        "model": asdict(embedder.model),
        "cohort": None if backend.cohort is None else describe_cohort(backend.cohort),
        "calibration": None if backend.calibration is None else _describe_calibration(backend.calibration),
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


def describe_cohort(cohort: Cohort) -> Description:
    """Return the cohort without the speakers' names: those are people."""
    return {"speakers": len(cohort.speakers), "sources": list(cohort.sources), "digest": cohort.digest}


def _describe_calibration(calibration: Calibration) -> Description:
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
