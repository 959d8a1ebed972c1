"""Makes the virtual microphone a fixture of this folder."""

from __future__ import annotations

from virtual_mic import virtual_mic  # noqa: F401  a fixture is used by its name
