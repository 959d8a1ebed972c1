"""Makes the recordings of `voiceauth demo`: two people, two strangers, a conversation, two verifications.

    .venv/bin/python -m voiceauthd.demo.make_voices [FOLDER]

All voices are synthetic: flite (Debian package `flite`) speaks the sentences below, and the same version of it gives
the same samples every time. The result, 16 kHz mono 16-bit FLAC, is committed and ships with the package, so the demo
does not need flite; run this only to change the sentences.

`script.json`, next to the recordings, describes their use. Its file names are relative to it:

    people         name -> list of files to enrol, one take each
    conversation   list of turns in order: `file`; `speaker`, a name from `people` or null for a stranger; `pause`,
                   seconds of silence before the turn; `voice` and `text`, for information only
    verifications  list of trials: `file`; `claim`, the claimed name; `speaker` as above; `outcome`, the right one,
                   "accept" or "reject"
"""

# ruff: noqa: T201 (a script prints its results)

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voiceauthd.bench.synthetic_audio import VOICES

RATE = 16_000
"""Samples a second, of flite's voices as well as the daemon: nothing is resampled."""

LEVEL_DBFS = -26.0
"""Root mean square of every recording: a usual level of recorded speech, far from clipping."""

MAX_SILENCE = 0.001
"""Of full scale (-60 dBFS). flite is quieter than this only before the speech and after it."""

MARGIN = RATE // 10
"""Samples kept before and after the speech: 0.1 s, so that no onset is cut off."""

PEOPLE = {"Ralph": "rms", "Susan": "slt"}
"""Name to flite voice."""

TAKES = {
    "Ralph": (
        "Most mornings I open the workshop at seven, and look for the pencil I lost the day before.",
        "The blue boat in the harbour has not been sailed since its mast cracked in a storm.",
        "You can grow good tomatoes on a north balcony if you water them every evening.",
        "Half of the people at the meeting wanted a longer bridge, the others would keep the ferry.",
        "Please leave the parcel behind the green gate, nobody hears the bell while the saw is running.",
    ),
    "Susan": (
        "On Fridays the library stays open late, so I write my letters there and walk home along the canal.",
        "My grandmother kept bees on the roof, and her honey tasted of lime trees and a little smoke.",
        "If the train is early we could still catch the first act, though I would gladly skip the speeches.",
        "She painted the kitchen yellow in a weekend, and then spent a month choosing the right curtains.",
        "Nobody told the visitors that the short cut through the fields is under water until May.",
    ),
}

# Speaker (None: a stranger), voice, pause before the turn in seconds, text.
CONVERSATION = (
    ("Ralph", "rms", 0.9, "Good evening, Susan. Where did you put the piano?"),
    ("Susan", "slt", 0.9, "In the front room, but first the door had to come off its hinges."),
    (None, "awb", 0.9, "Good evening to you both, I think I am lost again."),
    ("Susan", "slt", 0.9, "The station is that way, on the other side of the market."),
    ("Ralph", "rms", 0.9, "But the last bus leaves in a quarter of an hour."),
    (None, "kal16", 0.9, "Thank you both very much. I had better start walking."),
    ("Ralph", "rms", 0.9, "So who is going to play this famous piano?"),
    ("Susan", "slt", 0.9, "My daughter begins on Monday, and I may try a few notes myself."),
)

VERIFICATION_TEXT = "It is me again. Open the workshop, and switch on the lamp above the bench."
# File, voice, claimed name, right outcome, text.
VERIFICATIONS = (
    ("verify-ralph.flac", "rms", "Ralph", "accept", VERIFICATION_TEXT),
    ("verify-stranger.flac", "kal16", "Ralph", "reject", VERIFICATION_TEXT),
)


def speak(voice: str, text: str) -> NDArray[np.float32]:
    """Speak `text` with flite, trimmed to `MARGIN`, at `LEVEL_DBFS`. Shape (n,), 16 kHz, full scale 1.0."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", file.name], check=True)
        samples, rate = soundfile.read(file.name, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise SystemExit(f"flite's voice {voice} gave {rate} Hz and shape {samples.shape}, not {RATE} Hz mono")
    loud = np.flatnonzero(np.abs(samples) > MAX_SILENCE)
    samples = samples[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]
    samples *= 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(samples**2))
    peak = float(np.abs(samples).max())
    if not peak < 1.0:
        raise SystemExit(f"flite's voice {voice} would clip at {LEVEL_DBFS} dBFS (peak {peak:.2f}): {text}")
    result: NDArray[np.float32] = samples
    return result


def write(path: Path, voice: str, text: str) -> float:
    """Write one recording. Return its length in seconds."""
    samples = speak(voice, text)
    # compression_level 1.0 is FLAC's level 8, the smallest.
    soundfile.write(path, samples, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return len(samples) / RATE


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else VOICES
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.flac"):
        old.unlink()
    script: dict[str, object] = {}
    enrolled: dict[str, list[str]] = {}
    for name, voice in PEOPLE.items():
        files = [f"{name.lower()}-{number}.flac" for number in range(1, len(TAKES[name]) + 1)]
        seconds = sum(write(folder / file, voice, text) for file, text in zip(files, TAKES[name], strict=True))
        print(f"{name}: {len(files)} takes, {seconds:.1f} s")
        enrolled[name] = files
    turns = []
    seconds = 0.0
    for number, (speaker, voice, pause, text) in enumerate(CONVERSATION, start=1):
        file = f"turn-{number:02}-{(speaker or 'stranger').lower()}.flac"
        seconds += pause + write(folder / file, voice, text)
        turns.append({"file": file, "speaker": speaker, "pause": pause, "voice": voice, "text": text})
    print(f"conversation: {len(turns)} turns, {seconds:.1f} s with pauses")
    trials = []
    speakers = {voice: name for name, voice in PEOPLE.items()}
    for file, voice, claim, outcome, text in VERIFICATIONS:
        print(f"{file}: {write(folder / file, voice, text):.1f} s")
        speaker = speakers.get(voice)
        trials.append(
            {"file": file, "claim": claim, "speaker": speaker, "outcome": outcome, "voice": voice, "text": text}
        )
    script["people"], script["conversation"], script["verifications"] = enrolled, turns, trials
    (folder / "script.json").write_text(json.dumps(script, indent=2) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{size / 1e6:.2f} MB in {folder}")


if __name__ == "__main__":
    main()
