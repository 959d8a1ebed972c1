"""Fixtures for the tests of `embed/`."""

from __future__ import annotations

import numpy as np
import pytest
from embed_clips import bad_clips


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread, as the daemon does; on a busy machine several threads wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(params=bad_clips().values(), ids=bad_clips().keys())
def bad_clip(request: pytest.FixtureRequest) -> np.ndarray:
    """A clip that must not reach a model."""
    return request.param


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Block the network; the list contains every attempt to use it."""
    import socket

    attempts: list[str] = []

    def refuse(*arguments: object) -> None:
        attempts.append(repr(arguments))
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts
