"""Makes the helpers in tests/ importable, and the virtual microphone a fixture of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from virtual_mic import virtual_mic  # noqa: F401  after the path is set; a fixture is used by its name
