"""Made-up cohorts and calibrations for tests."""

from __future__ import annotations

import msgspec
import numpy as np

from voiceauthd.embed.embedding import ModelId
from voiceauthd.scoring.calibration import FORMAT, INPUTS, Calibration, Range, model_record
from voiceauthd.scoring.cohort import Cohort, make_cohort

SOURCES = ("made up, CC0",)


def made_up_cohort(model: ModelId, seed: int = 0) -> Cohort:
    """Return 25 strangers in random directions."""
    rows = np.random.default_rng(seed).standard_normal((25, model.dimension))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return make_cohort(model, [(f"stranger {index}", row) for index, row in enumerate(rows)], SOURCES)


def made_up_calibration(cohort: Cohort, /, **changes: object) -> Calibration:
    """Return a calibration for the cohort: its LLR is 0 at a normalised score of 0.5 and depends on nothing else."""
    plain = Calibration(
        format=FORMAT,
        model=model_record(cohort.model),
        cohort=cohort.digest,
        offset=-10.0,
        weights=(20.0, *(0.0,) * (len(INPUTS) - 1)),
        net_speech=Range(1.0, 20.0),
        exemplars=Range(1.0, 10.0),
        snr_db=Range(0.0, 40.0),
        snr_unknown=25.0,
        target=500,
        nontarget=4000,
        speakers=("one", "two"),
        pairs=3000,
        alarms=(),
        cllr=0.03,
        mincllr=0.02,
        sources=SOURCES,
        created="2026-01-01T00:00:00Z",
    )
    return msgspec.structs.replace(plain, **changes)
