"""Fixtures of the fault injection: daemons that break when they are told to, and a PAM that asks them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "daemon"))

from fault_parts import HELPER, House, Tally, new_folder, new_house
from pam_room import PamRoom, what_is_missing


@pytest.fixture(scope="session")
def own_pam() -> Iterator[PamRoom]:
    """The PAM that all faults are tried through."""
    missing = what_is_missing("pamtester")
    if missing is None and not HELPER.exists():
        missing = f"no helper to ask: {HELPER.name} is not installed"
    if missing is not None:
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="pam-room-"))
    yield PamRoom(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_house(own_pam: PamRoom) -> Iterator[House]:
    """The daemon of all tests that leave it as it was."""
    with new_house(pam=own_pam) as house:
        yield house


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    """It hears the owner all the time; afterwards it must let the owner in again."""
    with shared_house.speaking():
        yield shared_house
        shared_house.lets_the_owner_in(pam=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path of the test's own, for a socket's path must be short."""
    made = new_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the issue asks for, in one line."""
    if Tally.tries:
        terminalreporter.write_line(
            f"fault injection: {len(Tally.faults)} faults, {Tally.tries} tries with the owner's own voice, "
            f"{Tally.accepts} accepts; without the fault {Tally.controls} of {Tally.controls} accepted"
        )
