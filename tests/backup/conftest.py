"""Machine A, with people and a calibration; and a passphrase that is cheap to check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine_parts import used_machine

from voiceauthd.backup.places import Places
from voiceauthd.profiles import passphrase_envelope


@pytest.fixture(autouse=True)
def _cheap_passphrases() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passphrase_envelope, "SCRYPT_N", 2**4)
        yield


@pytest.fixture
def here(tmp_path: Path) -> Places:
    """Machine A."""
    return used_machine(tmp_path / "a", "Anna", "ben")
