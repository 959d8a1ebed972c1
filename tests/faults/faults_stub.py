"""The daemon of `daemon_stub.py`, in which more parts can be made to hang or break.

    python faults_stub.py FOLDER voiceauthd --config FILE

Files in FOLDER have an effect while they exist:

    hold-load, hold-worker, hold-capture   as in daemon_stub.py
    hold-lockout, hold-lockout-file        hangs before a decision is counted; before the lockout file is replaced
    hold-audit, hold-audit-line            hangs before a decision is audited; after half of its line is written
    hold-answer                            hangs after the line is written, before the answer
    hold-first                             hangs before the socket is made
    broken                                 the part named in the file is broken; `BROKEN` has the names
    offset                                 the number of seconds in the file is added to `time.time()`

While it hangs there is a file `at-hold-load` and so on.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "daemon"))

import daemon_stub

from voiceauthd.audio.block import Block, Samples, Source
from voiceauthd.audit import chain
from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.config.schema import AudioConfig, ModelConfig
from voiceauthd.embed.embedding import Embedding
from voiceauthd.errors import ModelError, SourceError, StorageError
from voiceauthd.profiles.profile import Profile
from voiceauthd.profiles.store import ProfileStore
from voiceauthd.scoring.decision import Score
from voiceauthd.service import engine
from voiceauthd.service.lockout import Lockout
from voiceauthd.speech.vad import FirstGate

LONG = np.float32(1e6)
NAN, INFINITY = np.float32("nan"), np.float32("inf")

Embeddings = list[Embedding]


def filled(value: float) -> Callable[[Embeddings], object]:
    """Set every number of every vector to `value`."""
    return lambda made: [replace(one, vector=np.full_like(one.vector, value)) for one in made]


def one_number(value: float) -> Callable[[Embeddings], object]:
    """Set the first number of every vector to `value`."""

    def spoil(made: Embeddings) -> Embeddings:
        vectors = [one.vector.copy() for one in made]
        for vector in vectors:
            vector[0] = value
        return [replace(one, vector=vector) for one, vector in zip(made, vectors, strict=True)]

    return spoil


def shaped(change: Callable[[np.ndarray], object]) -> Callable[[Embeddings], object]:
    """Replace every vector by `change(vector)`."""
    return lambda made: [replace(one, vector=change(one.vector)) for one in made]


def raising(problem: BaseException) -> Callable[[Embeddings], object]:
    def fail(_: Embeddings) -> object:
        raise problem

    return fail


MODEL: dict[str, Callable[[Embeddings], object]] = {
    "raises": raising(RuntimeError("the model broke")),
    "raises ModelError": raising(ModelError("the model broke")),
    "raises MemoryError": raising(MemoryError()),
    "raises KeyError": raising(KeyError("accept")),
    "raises StopIteration": raising(StopIteration()),
    "NaN": filled(NAN),
    "one NaN": one_number(NAN),
    "infinity": filled(INFINITY),
    "minus infinity": filled(-INFINITY),
    "one infinity": one_number(INFINITY),
    "zeros": filled(0.0),
    "too long": shaped(lambda vector: vector * LONG),
    "a bit too long": shaped(lambda vector: vector * np.float32(1.1)),
    "a dimension too few": shaped(lambda vector: vector[:-1]),
    "a dimension too many": shaped(lambda vector: np.append(vector, np.float32(0.0))),
    "a matrix": shaped(lambda vector: vector[np.newaxis]),
    "a column": shaped(lambda vector: vector[:, np.newaxis]),
    "a number": shaped(lambda vector: vector[0]),
    "no numbers": shaped(lambda vector: np.empty(0, np.float32)),
    "text": shaped(lambda vector: np.array(["accept"] * len(vector))),
    "complex": shaped(lambda vector: vector.astype(np.complex64)),
    "None for a vector": shaped(lambda vector: None),
    "no embedding": lambda made: [],
    "None": lambda made: None,
    "True": lambda made: True,
    "a list of None": lambda made: [None for _ in made],
    "one embedding too many": lambda made: [*made, *made],
    "another model's": lambda made: [replace(one, model=replace(one.model, digest="f" * 64)) for one in made],
}
"""Changes of the embeddings that the model returns."""

ENDS = {"the worker ends": SystemExit(0), "the worker is interrupted": KeyboardInterrupt()}
"""Exceptions that `except Exception` does not catch: they end the worker thread."""


def no_exemplars(profile: Profile) -> Profile:
    return replace(profile, exemplars=())


def nan_exemplars(profile: Profile) -> Profile:
    bad = [replace(one, vector=np.full_like(one.vector, NAN)) for one in profile.exemplars]
    return replace(profile, exemplars=tuple(bad))


PROFILES: dict[str, Callable[[Profile], Profile]] = {
    "an empty profile": no_exemplars,
    "a profile of NaN": nan_exemplars,
}
"""Changes of the profiles that the store returns from the next reload on, as if its own checks had failed."""

SCORES: dict[str, Callable[[list[Score]], object]] = {
    "NaN scores": lambda scores: [replace(one, cosine=float("nan"), normalised=float("nan")) for one in scores],
    "infinite scores": lambda scores: [replace(one, cosine=float("inf"), normalised=float("inf")) for one in scores],
    "the lowest scores": lambda scores: [replace(one, cosine=-1.0, normalised=-1.0) for one in scores],
    "no scores": lambda scores: [],
    "each score twice": lambda scores: [*scores, *scores],
    "somebody else's scores": lambda scores: [replace(one, name=f"not {one.name}") for one in scores],
    "None for scores": lambda scores: None,
}
"""Changes of the scores that the comparison returns."""

OTHERS = (
    "the detector breaks",
    "the microphone is lost",
    "the audit log is full",
    "the lockout fails",
    "the disk raises",
)

BROKEN = (*MODEL, *ENDS, *PROFILES, *SCORES, *OTHERS)


class Switches:
    """Reads the files in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, point: str) -> None:
        """Hang while this point is held."""
        daemon_stub.wait_while(self._folder / f"hold-{point}")

    def held(self, point: str) -> bool:
        """Return whether this point is held."""
        return (self._folder / f"hold-{point}").exists()

    @property
    def broken(self) -> str:
        """The part that is currently broken; "" for none."""
        try:
            return (self._folder / "broken").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    @property
    def offset(self) -> float:
        """The seconds by which the clock is wrong."""
        try:
            return float((self._folder / "offset").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0.0


class Breakable(daemon_stub.Spectrum):
    """The model, which can be broken."""

    def __init__(self, folder: Path, switches: Switches) -> None:
        super().__init__(folder)
        self._switches = switches

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        broken = self._switches.broken
        if broken in ENDS:
            raise ENDS[broken]
        made = super().embed(clips)
        return MODEL[broken](made) if broken in MODEL else made  # type: ignore[return-value]  # that is the fault


def make_model_breakable(folder: Path, switches: Switches) -> None:
    load = engine.load_embedder

    def load_breakable(config: ModelConfig) -> Breakable:
        load(config)
        return Breakable(folder, switches)

    engine.load_embedder = load_breakable


def make_audio_breakable(switches: Switches) -> None:
    make = engine.make_source

    def make_source(audio: AudioConfig) -> Source:
        source = make(audio)
        read = source.read

        def read_or_lose(timeout: float, at_least: float = 0.0) -> Block | None:
            if switches.broken == "the microphone is lost":
                raise SourceError("the microphone was pulled out")
            return read(timeout, at_least)

        source.read = read_or_lose  # type: ignore[method-assign]
        return source

    voiced = FirstGate.voiced

    def voiced_or_fail(gate: FirstGate, frame: Samples) -> bool:
        if switches.broken == "the detector breaks":
            raise RuntimeError("the detector broke")
        return voiced(gate, frame)

    engine.make_source = make_source
    FirstGate.voiced = voiced_or_fail  # type: ignore[method-assign]


def make_profiles_and_scores_breakable(switches: Switches) -> None:
    every, compare = ProfileStore.all, engine.Recogniser.compare

    def spoilt(store: ProfileStore) -> tuple[Profile, ...]:
        change = PROFILES.get(switches.broken)
        return tuple(change(one) for one in every(store)) if change else every(store)

    def compare_or_fail(recogniser: engine.Recogniser, voice: object) -> object:
        change = SCORES.get(switches.broken)
        scores = compare(recogniser, voice)  # type: ignore[arg-type]
        return change(scores) if change else scores

    ProfileStore.all = spoilt  # type: ignore[method-assign]
    engine.Recogniser.compare = compare_or_fail  # type: ignore[method-assign,assignment]


def make_records_breakable(switches: Switches) -> None:
    write, write_all, record_decision, rename = AuditLog.write, chain.write_all, Lockout.record_decision, os.rename

    def hold_and_write(audit: AuditLog, entry: Entry) -> None:
        if entry.event == "Verify":
            switches.hold("audit")
        if switches.broken == "the audit log is full":
            raise StorageError("no space left", "disk_full")
        if switches.broken == "the disk raises":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(audit, entry)
        if entry.event == "Verify":
            switches.hold("answer")

    def hold_and_write_all(descriptor: int, data: bytes) -> None:
        half = len(data) // 2 if b'"Verify"' in data and switches.held("audit-line") else 0
        if half:
            write_all(descriptor, data[:half])
            switches.hold("audit-line")
        write_all(descriptor, data[half:])

    def hold_and_record(lockout: Lockout, *about: object, **more: object) -> None:
        switches.hold("lockout")
        if switches.broken == "the lockout fails":
            raise StorageError("no space left", "disk_full")
        record_decision(lockout, *about, **more)  # type: ignore[arg-type]  # passed on unchanged

    def hold_and_rename(old: str, new: str, **folders: int) -> None:
        if str(new).endswith("lockout.json"):
            switches.hold("lockout-file")
        rename(old, new, **folders)

    chain.write_all = hold_and_write_all
    AuditLog.write = hold_and_write  # type: ignore[method-assign]
    Lockout.record_decision = hold_and_record  # type: ignore[method-assign]
    os.rename = os.replace = hold_and_rename  # type: ignore[assignment]


def make_clock_breakable(switches: Switches) -> None:
    now = time.time
    time.time = lambda: now() + switches.offset


def main() -> None:
    folder, program = Path(sys.argv[1]), sys.argv[2]
    del sys.argv[1:3]
    switches = Switches(folder)
    daemon_stub.install(folder)
    make_model_breakable(folder, switches)
    make_audio_breakable(switches)
    make_profiles_and_scores_breakable(switches)
    make_records_breakable(switches)
    make_clock_breakable(switches)
    switches.hold("first")
    daemon_stub.run(program)


if __name__ == "__main__":
    main()
