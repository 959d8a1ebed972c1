"""Helpers for the tests of this folder: profiles, and the content of a store's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from voiceauthd.embed.embedding import ModelId, Vector
from voiceauthd.errors import StorageError
from voiceauthd.profiles.keys import KEY_FILE, Keys, load_keys
from voiceauthd.profiles.profile import Exemplar, Profile, new_uid, timestamp
from voiceauthd.profiles.store import ProfileStore

MODEL = ModelId("campplus", "1", "92f2" * 16, "1", 192)


def unit_vectors(count: int, dimension: int, seed: int = 0) -> list[Vector]:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension))
    return [(vector / np.linalg.norm(vector)).astype(np.float32) for vector in vectors]


def profile(name: str = "anna", model: ModelId = MODEL, count: int = 5, seed: int = 0) -> Profile:
    exemplars = tuple(
        Exemplar(vector, 4.125, None if number % 2 else 23.4, "default", timestamp())
        for number, vector in enumerate(unit_vectors(count, model.dimension, seed))
    )
    return Profile(name, new_uid(), 1, None, model, exemplars, timestamp(), timestamp())


def keys_beside(where: Path) -> Keys:
    """Return the keys of the store in `where`; they are made if there are none."""
    return load_keys(where.parent / KEY_FILE, {})


def open_store(where: Path, model: ModelId = MODEL) -> ProfileStore:
    return ProfileStore(where, model, keys_beside(where))


def names(store: ProfileStore) -> list[str]:
    return [each.name for each in store.all()]


def profile_files(where: Path) -> list[str]:
    return sorted(entry for entry in os.listdir(where) if entry != ".lock")


@contextmanager
def refused(reason: str) -> Iterator[pytest.ExceptionInfo[StorageError]]:
    """Assert that a `StorageError` with this reason is raised, and that its message is one line."""
    with pytest.raises(StorageError) as caught:
        yield caught
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
