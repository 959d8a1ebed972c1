"""Machines for the tests of this folder: two folders with the state of a daemon each, and what is in them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from backends import made_up_calibration, made_up_cohort
from score_parts import profile as profile_of
from score_parts import unit

from voiceauthd.backup.collect import collect
from voiceauthd.backup.contents import Contents
from voiceauthd.backup.places import Places
from voiceauthd.embed.embedding import ModelId
from voiceauthd.profiles.keys import load_keys
from voiceauthd.profiles.profile import Profile
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.scoring.backend import CALIBRATION, COHORT, folder_name
from voiceauthd.scoring.calibration import encode_calibration
from voiceauthd.scoring.cohort import encode_cohort

MODEL = ModelId("tiny", "1", "ab" * 32, "1", 6)

PASSPHRASE = "four words that rhyme"

CONFIG = "# of machine A\nlog:\n  level: debug\n"


def machine(folder: Path) -> Places:
    """Return the places of a machine whose state is in `folder`; nothing is there yet."""
    state = folder / "state"
    return Places(folder / "config.yaml", state, state / "profiles", state / "scoring", folder / "models")


def profile(name: str, seed: int = 0, owner_uid: int | None = None) -> Profile:
    vectors = [unit(row) for row in np.random.default_rng(seed).standard_normal((3, MODEL.dimension))]
    return dataclasses.replace(profile_of(name, vectors, MODEL), owner_uid=owner_uid)


def store(places: Places) -> ProfileStore:
    return ProfileStore(places.profiles, MODEL, load_keys(places.key_file, {}))


def calibrate(places: Places, seed: int = 0) -> None:
    """Make a cohort and its calibration, as `voiceauth calibrate` would."""
    folder = places.scoring / folder_name(MODEL)
    folder.mkdir(0o700, parents=True, exist_ok=True)
    places.scoring.chmod(0o700)
    cohort = made_up_cohort(MODEL, seed)
    for name, data in ((COHORT, encode_cohort(cohort)), (CALIBRATION, encode_calibration(made_up_calibration(cohort)))):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)


def configure(places: Places, text: str = CONFIG) -> None:
    assert places.config is not None
    places.config.write_text(text)


def used_machine(folder: Path, *names: str, seed: int = 0) -> Places:
    """Return a machine with these people, a calibration and a configuration."""
    folder.mkdir(exist_ok=True)
    places = machine(folder)
    people = store(places)
    for number, name in enumerate(names):
        people.add(profile(name, seed + number))
    calibrate(places, seed)
    configure(places, f"{CONFIG}# seed {seed}\n")
    return places


def saved(places: Places) -> Contents:
    return collect(places).contents


def voices(places: Places) -> dict[str, tuple[str, str]]:
    """Return uid and digest of the vectors of each usable profile; none may be refused."""
    people = store(places)
    assert not people.refused
    return {each.name: (each.uid, _digest(each)) for each in people.all()}


def scoring_files(places: Places) -> dict[str, bytes]:
    files = (path for path in places.scoring.rglob("*") if path.is_file())
    return {str(path.relative_to(places.scoring)): path.read_bytes() for path in files}


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return every file and folder below `folder`, with the content of files. Locks are left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def _digest(one: Profile) -> str:
    return hashlib.sha256(np.concatenate([each.vector for each in one.exemplars]).tobytes()).hexdigest()[:16]
