"""Fixtures of the fault injection: daemons in which parts can be broken, and a PAM that asks them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "daemon"))

from faulty_daemon import HELPER, FaultyDaemon, Tally, new_folder, start_faulty
from pam_room import PamRoom, what_is_missing


@pytest.fixture(scope="session")
def own_pam() -> Iterator[PamRoom]:
    """The private PAM that all tests use."""
    missing = what_is_missing("pamtester")
    if missing is None and not HELPER.exists():
        missing = f"the helper {HELPER.name} is not installed"
    if missing is not None:
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="pam-room-"))
    yield PamRoom(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_faulty(own_pam: PamRoom) -> Iterator[FaultyDaemon]:
    """The daemon of all tests that leave it unchanged."""
    with start_faulty(pam=own_pam) as faulty:
        yield faulty


@pytest.fixture
def faulty(shared_faulty: FaultyDaemon) -> Iterator[FaultyDaemon]:
    """The shared daemon, to which the owner speaks all the time. After the test it must accept the owner again."""
    with shared_faulty.speaking():
        yield shared_faulty
        shared_faulty.accepts_the_owner(pam=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one test with a short path, because the path of a socket must be short."""
    made = new_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a summary of all attempts."""
    if Tally.attempts:
        terminalreporter.write_line(
            f"fault injection: {len(Tally.faults)} faults, {Tally.attempts} attempts with the owner's own voice, "
            f"{Tally.accepts} accepts; without the fault {Tally.controls} of {Tally.controls} accepted"
        )
