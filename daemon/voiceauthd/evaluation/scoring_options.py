"""What a person chooses when making a cohort or a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ScoringOptions(NamedTuple):
    """What both commands have in common.

    source     origin and licence of the speech
    output     where to write the result; None: where the daemon looks
    force      replace existing files
    use_cache  keep embeddings for the next run
    """

    source: str
    output: Path | None = None
    force: bool = False
    use_cache: bool = True
