"""The demo's script (who says what), and the judgement of the daemon's decisions about it.

A turn is right if every decided window wholly inside it names the person who speaks, or is `unknown` for a stranger,
and at least one window was decided. The silence before and after a turn belongs to it. A window that was left
`undecided` (too little speech for a decision) counts neither way. A window belongs to the turn that contains its end,
or to the turn before if it ends in silence; a window that began in an earlier turn contains two turns and is not
judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceauthd.bench.synthetic_audio import VOICES
from voiceauthd.errors import StorageError


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation. `speaker`: None for a stranger. `pause`: seconds of silence before it."""

    file: Path
    speaker: str | None
    pause: float
    text: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One verification, in which `speaker` (None: a stranger) claims to be `claim`; `outcome` is the right one."""

    file: Path
    speaker: str | None
    claim: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Script:
    """What the demo plays. `people`: the recordings to enrol by name, one take each."""

    people: dict[str, tuple[Path, ...]]
    conversation: tuple[Turn, ...]
    verifications: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a turn.

    identities  of each decided window, in order
    undecided   number of other windows
    """

    expected: str
    identities: tuple[str, ...]
    undecided: int

    @property
    def right(self) -> bool:
        """Whether there was a decided window, and every one names the expected identity."""
        return len(self.identities) > 0 and all(name == self.expected for name in self.identities)


def load_script(folder: Path = VOICES) -> Script:
    """Read `script.json` in `folder`. Raises `StorageError` if it is not valid."""
    path = folder / "script.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Script(
            {name: tuple(folder / file for file in files) for name, files in raw["people"].items()},
            tuple(
                Turn(folder / turn["file"], turn["speaker"], float(turn["pause"]), turn["text"])
                for turn in raw["conversation"]
            ),
            tuple(
                Trial(folder / trial["file"], trial["speaker"], trial["claim"], trial["outcome"])
                for trial in raw["verifications"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise StorageError(f"the demo's script {path} cannot be used: {problem!r}") from problem


def judge(speaker: str | None, quiet: float, start: float, end: float, events: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge a turn of `speaker` by the window events.

    quiet  end of the turn before, where the silence began
    start  of the turn
    end    of the silence after it, where the next turn starts
    All in seconds of audio since the source was first opened, as in the events.
    """
    identities: list[str] = []
    undecided = 0
    for event in events:
        if event.get("kind") != "window" or event.get("start") is None or event.get("duration") is None:
            continue
        if not start < event["start"] + event["duration"] <= end:
            continue
        if event["start"] < quiet or event.get("decision") not in {"known", "unknown"}:
            undecided += 1
        else:
            identities.append(str(event["identity"]) if event["decision"] == "known" else "unknown")
    return Verdict(speaker or "unknown", tuple(identities), undecided)
