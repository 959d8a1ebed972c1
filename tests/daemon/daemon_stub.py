"""`voiceauthd`, or `voiceauth run`, with a model without weights, which loads at once and can be made to hang.

    python daemon_stub.py FOLDER voiceauthd --config FILE

Everything else is the real daemon. It hangs while a file of one of these names is in FOLDER: `hold-load` in loading the
model, `hold-worker` in a forward pass, `hold-capture` before reading audio. While it hangs there is a file
`at-hold-load` and so on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voiceauthd.audio.block import Block, Samples, Source
from voiceauthd.config.schema import AudioConfig, ModelConfig
from voiceauthd.embed.embedding import Embedding, ModelId, check_clip, unit_embedding
from voiceauthd.service import engine

BANDS = 64


def wait_while(file: Path) -> None:
    """Return when `file` does not exist."""
    if file.exists():
        file.with_name(f"at-{file.name}").touch()
    while file.exists():
        time.sleep(0.005)


class Spectrum:
    """The long-term spectrum as an embedding, which is equal for equal recordings."""

    model = ModelId("spectrum", "1", "0" * 64, "1", BANDS)
    threshold = 0.5

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def embed(self, clips: Sequence[Samples]) -> list[Embedding]:
        wait_while(self._folder / "hold-worker")
        return [self._one(clip) for clip in clips]

    def _one(self, clip: Samples) -> Embedding:
        check_clip(clip)
        power = np.abs(np.fft.rfft(clip)[1 : len(clip) // 2 // BANDS * BANDS + 1]) ** 2
        bands = np.log(power.reshape(BANDS, -1).mean(axis=1) + 1e-9)
        return unit_embedding((bands - bands.mean()).astype(np.float32), self.model)


def install(folder: Path) -> None:
    """Replace the model and the source by ones that obey the files in `folder`."""

    def load(_config: ModelConfig) -> Spectrum:
        wait_while(folder / "hold-load")
        return Spectrum(folder)

    make = engine.make_source

    def make_source(audio: AudioConfig) -> Source:
        source = make(audio)
        read = source.read

        def hold_and_read(timeout: float, at_least: float = 0.0) -> Block | None:
            wait_while(folder / "hold-capture")
            return read(timeout, at_least)

        source.read = hold_and_read  # type: ignore[method-assign]
        return source

    engine.load_embedder, engine.make_source = load, make_source


def run(program: str) -> None:
    """Run the program with the remaining arguments in `sys.argv`. Does not return."""
    if program == "voiceauthd":
        from voiceauthd.service.main import script

        script()
    else:
        from voiceauthd.cli.main import main as cli

        sys.exit(cli([program.removeprefix("voiceauth "), *sys.argv[1:]]))


def main() -> None:
    folder, program = Path(sys.argv[1]), sys.argv[2]
    del sys.argv[1:3]
    install(folder)
    run(program)


if __name__ == "__main__":
    main()
