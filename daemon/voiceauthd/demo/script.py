"""The demo's script (who says what, and the truth about it), and the verdict on what the daemon made of it.

A turn is right when the identity of its windows is right: every decided window that lies wholly inside the turn
names the person who speaks, or is `unknown` for a stranger, and at least one window was decided. The silence before
and after a turn is inside it. A window that was left `undecided` (too little speech for a decision) counts neither
way. A window belongs to the turn that holds its end, or to the one before if it ends in silence; one that began in an
earlier turn heard two of them, no truth exists for it, and it is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceauthd.errors import StorageError

VOICES = Path(__file__).with_name("voices")


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that is said. `speaker` is None for somebody who is not enrolled; `pause` is seconds before it."""

    file: Path
    speaker: str | None
    pause: float
    text: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One verification: `speaker` says he is `claim`; `outcome` is what must come of it."""

    file: Path
    speaker: str | None
    claim: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Script:
    """What the demo plays. `people`: name to recordings, a take each."""

    people: dict[str, tuple[Path, ...]]
    conversation: tuple[Turn, ...]
    verifications: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was made of a turn. `heard`: the identity of each decided window, in order; `unjudged`: other windows."""

    expected: str
    heard: tuple[str, ...]
    unjudged: int

    @property
    def right(self) -> bool:
        """Every decided window names the expected identity, and there was one."""
        return len(self.heard) > 0 and all(name == self.expected for name in self.heard)


def load_script(folder: Path = VOICES) -> Script:
    """Reads `script.json` of `folder`. Raises `StorageError` if it cannot be used."""
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
    """What the window events say about a turn of `speaker`.

    quiet  end of the turn before, from which there was silence
    start  of the turn
    end    of the silence after it, where the next turn starts
    All in seconds of sound since the source was first opened, as the events count them.
    """
    heard: list[str] = []
    unjudged = 0
    for event in events:
        if event.get("kind") != "window" or event.get("start") is None or event.get("duration") is None:
            continue
        if not start < event["start"] + event["duration"] <= end:
            continue
        if event["start"] < quiet or event.get("decision") not in {"known", "unknown"}:
            unjudged += 1
        else:
            heard.append(str(event["identity"]) if event["decision"] == "known" else "unknown")
    return Verdict(speaker or "unknown", tuple(heard), unjudged)
