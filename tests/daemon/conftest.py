"""Fixtures of the tests of the whole daemon. A start takes seconds, so one daemon serves all tests that leave it as it
was.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from daemon_box import ENOUGH, Box, Settings, merged, with_model
from daemon_room import PEOPLE, takes
from virtual_mic import virtual_mic  # noqa: F401  a fixture is used by its name


@pytest.fixture(scope="session")
def shared() -> Iterator[Box]:
    """The daemon that all share: Ralph and Susan are enrolled, and it hears what is played in its room."""
    environment = with_model()
    # Not below pytest's own folder, into which other users may not look: some tests call as other users.
    folder = Path(tempfile.mkdtemp(prefix="voiceauthd-"))
    folder.chmod(0o755)
    try:
        with Box(folder, ENOUGH, environment=environment) as box:
            box.await_ready()
            for person in PEOPLE:
                box.enroll(person, takes(person))
            yield box
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    """The shared daemon. After each test it must be free again; whom the test has enrolled is deleted."""
    yield shared
    assert shared.room is not None
    shared.room.hush()
    shared.await_idle()
    for name in shared.names():
        if name not in PEOPLE:
            shared.ask("DeleteProfile", name=name)
    assert shared.names() == list(PEOPLE)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path of the test's own, for a socket's path must be short."""
    made = Path(tempfile.mkdtemp(prefix="voiceauthd-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def stub_at(folder: Path) -> Iterator[Callable[..., Box]]:
    """Starts daemons of the test's own, with a model that loads at once and hangs when told to (`daemon_stub`)."""
    boxes: list[Box] = []

    def start(
        settings: Settings | None = None,
        *,
        program: str = "voiceauthd",
        activate: Sequence[str] = (),
        hold: str | None = None,
        await_ready: bool = True,
        **others: object,
    ) -> Box:
        if hold is not None:
            (folder / hold).touch()
        stub = Path(__file__).with_name("daemon_stub.py")
        command = [*activate, sys.executable, str(stub), str(folder), program]
        whole = merged(ENOUGH | {"speech": {"confirm": False}}, settings or {})
        box = Box(folder, whole, command=command, **others)
        boxes.append(box)
        if hold is not None:
            box.await_socket()
        elif await_ready:
            box.await_ready()
        return box

    yield start
    for box in boxes:
        box.end()
