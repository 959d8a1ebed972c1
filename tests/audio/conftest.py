"""Makes the virtual microphone a fixture for the tests of `audio/`."""

from __future__ import annotations

from virtual_mic import virtual_mic  # noqa: F401  pytest finds a fixture by its name
