"""Fixtures of the tests of the whole daemon. Starting it takes seconds, so most tests share one daemon."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from daemon_audio import PEOPLE, takes
from daemon_process import QUICK_ENROLMENT, DaemonProcess, Settings, start_stub, with_model
from virtual_mic import virtual_mic  # noqa: F401  a fixture is used by its name


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[DaemonProcess]:
    """The daemon that most tests share. Ralph and Susan are enrolled; audio comes from its `feed`."""
    environment = with_model()
    # Not below pytest's own folder, which other users may not read: some tests call as other users.
    folder = Path(tempfile.mkdtemp(prefix="voiceauthd-"))
    folder.chmod(0o755)
    try:
        with DaemonProcess(folder, QUICK_ENROLMENT, environment=environment) as daemon:
            daemon.await_ready()
            for person in PEOPLE:
                daemon.enroll(person, takes(person))
            yield daemon
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def daemon(shared_daemon: DaemonProcess) -> Iterator[DaemonProcess]:
    """The shared daemon. After each test it must be idle again; profiles made by the test are deleted."""
    yield shared_daemon
    assert shared_daemon.feed is not None
    shared_daemon.feed.stop_playing()
    shared_daemon.await_idle()
    for name in shared_daemon.names():
        if name not in PEOPLE:
            shared_daemon.ask("DeleteProfile", name=name)
    assert shared_daemon.names() == list(PEOPLE)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one test with a short path, because the path of a socket must be short."""
    made = Path(tempfile.mkdtemp(prefix="voiceauthd-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def stub_at(folder: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Starts daemons for one test, with a model that loads at once and can be made to hang (`daemon_stub`)."""
    daemons: list[DaemonProcess] = []

    def start(
        settings: Settings | None = None,
        *,
        program: str = "voiceauthd",
        activate: Sequence[str] = (),
        hold: str | None = None,
        await_ready: bool = True,
        **others: object,
    ) -> DaemonProcess:
        if hold is not None:
            (folder / hold).touch()
        daemon = start_stub(folder, settings, program=program, activate=activate, **others)
        daemons.append(daemon)
        if hold is not None:
            daemon.await_socket()
        elif await_ready:
            daemon.await_ready()
        return daemon

    yield start
    for daemon in daemons:
        daemon.end()
