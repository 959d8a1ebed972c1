"""Kill a process that enrols, replaces, renames, deletes and rekeys at random moments.

It reports each operation through a pipe before it begins and after it finishes. So after each kill the expected content
of the store is known: all finished operations, and the interrupted one completely or not at all.
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
from voiceauthd.profiles.sealed import key_id_in
from voiceauthd.profiles.store import ProfileStore

MAX_DELAY = 0.012
"""Maximum seconds until a kill. An operation takes one to five milliseconds."""

NAMES = ("anna", "Berta", "clärchen", "dora")
VOICES = [profile(count=count, seed=count) for count in (1, 2, 5, 20)]

Content = dict[str, tuple[str, str]]
"""The profiles by name: uid, and a digest of the vectors."""

Operation = tuple[str, ...]


def digest(one: Profile) -> str:
    return hashlib.sha256(np.concatenate([each.vector for each in one.exemplars]).tobytes()).hexdigest()[:16]


def after(content: Content, operation: Operation) -> Content:
    """Return the content of the store after the operation."""
    kind, *words = operation
    left = dict(content)
    if kind == "put":
        left[words[0]] = (words[1], words[2])
    elif kind == "rename":
        left[words[1]] = left.pop(words[0])
    elif kind == "delete":
        del left[words[0]]
    return left


def choose(content: Content, chance: random.Random) -> Operation:
    kind = chance.choice(("put", "put", "rename", "delete", "rekey")) if content else "put"
    if kind == "put":
        return "put", chance.choice(NAMES), new_uid(), str(chance.randrange(len(VOICES)))
    if kind == "rekey":
        return ("rekey",)
    here = chance.choice(sorted(content))
    if kind == "delete":
        return "delete", here
    free = [name for name in NAMES if name not in content]
    return ("rename", here, chance.choice(free)) if free else ("delete", here)


def do(store: ProfileStore, operation: Operation) -> None:
    kind, *words = operation
    if kind == "put":
        store.put(dataclasses.replace(VOICES[int(words[2])], name=words[0], uid=words[1]))
    elif kind == "rename":
        store.rename(words[0], words[1])
    elif kind == "delete":
        store.delete(words[0])
    else:
        store.rekey()


def reported(operation: Operation) -> Operation:
    """Return the operation with the digest of the voice instead of its number."""
    return (*operation[:3], digest(VOICES[int(operation[3])])) if operation[0] == "put" else operation


def work(where: Path, content: Content, pipe: int, chance: random.Random) -> None:
    store = open_store(where)
    os.write(pipe, b"[]\n")
    while True:
        operation = choose(content, chance)
        os.write(pipe, json.dumps(reported(operation)).encode() + b"\n")
        do(store, operation)
        content = after(content, reported(operation))
        os.write(pipe, b"[]\n")


def killed_child(where: Path, content: Content, chance: random.Random) -> tuple[Content, Operation | None]:
    """Return the content after the finished operations, and the interrupted operation."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(where, content, writing, chance)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.readline() == b"[]\n", "the child did not begin"
        time.sleep(chance.uniform(0, MAX_DELAY))  # a crash may come at any moment
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), "the child failed on its own"
        lines = [line for line in pipe.read().split(b"\n") if line]
    interrupted_operation: Operation | None = None
    for line in lines:
        if words := tuple(json.loads(line)):
            interrupted_operation = words
        elif interrupted_operation is not None:
            content, interrupted_operation = after(content, interrupted_operation), None
    return content, interrupted_operation


def content_of(store: ProfileStore) -> Content:
    return {each.name: (each.uid, digest(each)) for each in store.all()}


def kill_often(where: Path, times: int, seed: int) -> dict[str, int]:
    """Return how often each kind of operation was interrupted by a kill."""
    chance = random.Random(seed)
    content: Content = {}
    interrupted: dict[str, int] = {}
    for _ in range(times):
        done, interrupted_operation = killed_child(where, content, chance)
        store = open_store(where)
        now = content_of(store)
        assert now in ([done] if interrupted_operation is None else [done, after(done, interrupted_operation)])
        assert not store.refused
        assert profile_files(where) == sorted(file_name(name) for name in now), "and nothing else"
        assert profile_files(where.parent) == ["profiles", KEY_FILE]
        needed = {key_id_in((where / entry).read_bytes()) for entry in profile_files(where)}
        assert needed <= {key.id for key in keys_beside(where).all()}
        if interrupted_operation is not None:
            interrupted[interrupted_operation[0]] = interrupted.get(interrupted_operation[0], 0) + 1
        content = now
    return interrupted


def test_after_40_kills_each_profile_is_the_complete_old_or_new_one(tmp_path: Path) -> None:
    interrupted = kill_often(tmp_path / "state" / "profiles", 40, seed=1)
    assert sum(interrupted.values()) >= 10, "too few operations were interrupted"


@pytest.mark.slow
def test_after_1000_kills_each_profile_is_the_complete_old_or_new_one(tmp_path: Path) -> None:
    interrupted = kill_often(tmp_path / "state" / "profiles", 1000, seed=2)
    assert set(interrupted) == {"put", "rename", "delete", "rekey"}
    assert sum(interrupted.values()) >= 250


def test_the_expected_content_differs_if_an_operation_is_lost(tmp_path: Path) -> None:
    """A test of the test: an operation that is reported but not done is detected."""
    where = tmp_path / "state" / "profiles"
    store = open_store(where)
    store.add(dataclasses.replace(VOICES[0], name="anna", model=MODEL))
    content = content_of(store)
    assert encode_profile(store.get("anna"))
    assert after(content, ("delete", "anna")) == {} != content_of(open_store(where))
    assert after(content, ("rename", "anna", "dora")) != content
    assert after(content, ("put", "anna", content["anna"][0], digest(VOICES[1]))) != content
