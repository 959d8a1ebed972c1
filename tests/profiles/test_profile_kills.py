"""A process that enrols, replaces, renames, deletes and rekeys is killed at random, again and again.

It tells through a pipe what it is about to do, and that it was done; what it told survives it. So after each kill it is
known what the store must hold: what was done, and of what was under way all or nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from profile_parts import MODEL, keys_beside, open_store, profile, profile_files

from voiceauthd.profiles.document import encode_profile
from voiceauthd.profiles.keys import KEY_FILE
from voiceauthd.profiles.names import file_name
from voiceauthd.profiles.profile import Profile, new_uid
from voiceauthd.profiles.sealed import key_of
from voiceauthd.profiles.store import ProfileStore

LONGEST = 0.012
"""Seconds until a kill. An operation takes one to five milliseconds."""

NAMES = ("anna", "Berta", "clärchen", "dora")
MOST = 4
VOICES = [profile(count=count, seed=count) for count in (1, 2, 5, 20)]

Held = dict[str, tuple[str, str]]
"""Who is there: uid, and a digest of the vectors."""

Deed = tuple[str, ...]


def digest(one: Profile) -> str:
    return hashlib.sha256(np.concatenate([each.vector for each in one.exemplars]).tobytes()).hexdigest()[:16]


def after(held: Held, deed: Deed) -> Held:
    """What the store holds when the deed is done."""
    kind, *words = deed
    left = dict(held)
    if kind == "put":
        left[words[0]] = (words[1], words[2])
    elif kind == "rename":
        left[words[1]] = left.pop(words[0])
    elif kind == "delete":
        del left[words[0]]
    return left


def choose(held: Held, chance: random.Random) -> Deed:
    kind = chance.choice(("put", "put", "rename", "delete", "rekey")) if held else "put"
    if kind == "put":
        return "put", chance.choice(NAMES), new_uid(), str(chance.randrange(len(VOICES)))
    if kind == "rekey":
        return ("rekey",)
    here = chance.choice(sorted(held))
    if kind == "delete":
        return "delete", here
    free = [name for name in NAMES if name not in held]
    return ("rename", here, chance.choice(free)) if free else ("delete", here)


def do(store: ProfileStore, deed: Deed) -> None:
    kind, *words = deed
    if kind == "put":
        store.put(dataclasses.replace(VOICES[int(words[2])], name=words[0], uid=words[1]))
    elif kind == "rename":
        store.rename(words[0], words[1])
    elif kind == "delete":
        store.delete(words[0])
    else:
        store.rekey()


def told(deed: Deed) -> Deed:
    """With the digest of the voice in the place of its number."""
    return (*deed[:3], digest(VOICES[int(deed[3])])) if deed[0] == "put" else deed


def work(where: Path, held: Held, pipe: int, chance: random.Random) -> None:
    store = open_store(where)
    os.write(pipe, b"[]\n")
    while True:
        deed = choose(held, chance)
        os.write(pipe, json.dumps(told(deed)).encode() + b"\n")
        do(store, deed)
        held = after(held, told(deed))
        os.write(pipe, b"[]\n")


def killed_child(where: Path, held: Held, chance: random.Random) -> tuple[Held, Deed | None]:
    """What was done when it was killed, and what was under way."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(where, held, writing, chance)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.readline() == b"[]\n", "the child did not begin"
        time.sleep(chance.uniform(0, LONGEST))  # the moment of a crash is not an event that could be waited for
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), "the child failed by itself"
        lines = [line for line in pipe.read().split(b"\n") if line]
    doing: Deed | None = None
    for line in lines:
        if words := tuple(json.loads(line)):
            doing = words
        elif doing is not None:
            held, doing = after(held, doing), None
    return held, doing


def held_by(store: ProfileStore) -> Held:
    return {each.name: (each.uid, digest(each)) for each in store.all()}


def kill_often(where: Path, times: int, seed: int) -> dict[str, int]:
    """How often each kind of deed was under way when the kill came."""
    chance = random.Random(seed)
    held: Held = {}
    interrupted: dict[str, int] = {}
    for _ in range(times):
        done, doing = killed_child(where, held, chance)
        store = open_store(where)
        now = held_by(store)
        assert now in ([done] if doing is None else [done, after(done, doing)])
        assert not store.refused
        assert profile_files(where) == sorted(file_name(name) for name in now), "and nothing else"
        assert profile_files(where.parent) == ["profiles", KEY_FILE]
        asked = {key_of((where / entry).read_bytes()) for entry in profile_files(where)}
        assert asked <= {key.id for key in keys_beside(where).all()}
        if doing is not None:
            interrupted[doing[0]] = interrupted.get(doing[0], 0) + 1
        held = now
    return interrupted


def test_after_40_kills_each_profile_is_the_old_or_the_new_one_whole(tmp_path: Path) -> None:
    interrupted = kill_often(tmp_path / "state" / "profiles", 40, seed=1)
    assert sum(interrupted.values()) >= 10, "the kills came too early or too late to show anything"


@pytest.mark.slow
def test_after_1000_kills_each_profile_is_the_old_or_the_new_one_whole(tmp_path: Path) -> None:
    interrupted = kill_often(tmp_path / "state" / "profiles", 1000, seed=2)
    assert set(interrupted) == {"put", "rename", "delete", "rekey"}
    assert sum(interrupted.values()) >= 250


def test_the_account_of_what_was_done_would_notice_a_lost_profile(tmp_path: Path) -> None:
    """The test of the test: a child that reports a deed and does not do it is found out."""
    where = tmp_path / "state" / "profiles"
    store = open_store(where)
    store.add(dataclasses.replace(VOICES[0], name="anna", model=MODEL))
    held = held_by(store)
    assert encode_profile(store.get("anna"))
    assert after(held, ("delete", "anna")) == {} != held_by(open_store(where))
    assert after(held, ("rename", "anna", "dora")) != held
    assert after(held, ("put", "anna", held["anna"][0], digest(VOICES[1]))) != held
