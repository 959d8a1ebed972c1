"""The settings of the audio path, from the microphone to the embedding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from voiceauthd.config.setting import Form, Setting


@dataclass(frozen=True, slots=True)
class ModelConfig:
    name: Annotated[
        str,
        Setting(
            "The speaker model. `auto` uses the model of the enrolled profiles; while nobody is enrolled, `wavlm` if "
            "it is in the model cache, else `campplus` if that is. Or name one: `campplus` (works offline, about ten "
            "times cheaper on a processor), the hub id of a WavLM x-vector checkpoint, or a folder that holds one. A "
            "named model that is missing is never replaced by another. Profiles belong to one model: after a change "
            "everybody must be enrolled again.",
            form=Form.MODEL,
        ),
    ] = "auto"
    wavlm: Annotated[
        str,
        Setting(
            "The WavLM checkpoint that `auto` prefers: a hub id. It has no effect while `name` is another value.",
            form=Form.HUB_ID,
        ),
    ] = "microsoft/wavlm-base-sv"
    revision: Annotated[
        str | None,
        Setting(
            "The commit of a hub id, or its beginning; null takes the newest in the model cache. A pinned revision "
            "keeps the weights from changing under the profiles; another revision counts as another model."
        ),
    ] = None
    device: Annotated[
        str,
        Setting(
            "The device that the model runs on. `auto` uses a graphics processor if there is one; a named device that "
            "is missing is an error, so that nothing silently becomes slow.",
            choices=("auto", "cpu", "cuda", "mps"),
        ),
    ] = "auto"
    threads: Annotated[
        int,
        Setting(
            "Processor threads of one forward pass. More are faster while other cores are idle; on a busy machine two "
            "are often slower than one, because they wait for each other.",
            unit="threads",
            low=1,
            high=64,
        ),
    ] = 1
    cache: Annotated[
        Path | None,
        Setting(
            "Folder of the fetched models; null: $VOICEAUTHD_MODEL_CACHE, else the usual cache folder. Models are not "
            "moved when it changes: fetch or copy them again."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class AudioConfig:
    source: Annotated[
        str,
        Setting(
            "The audio source: `microphone`, an audio file, or `-` for mono 16-bit PCM at 16 kHz on standard input "
            "(in quotes in this file). A file or standard input ends; a microphone does not.",
            form=Form.SOURCE,
        ),
    ] = "microphone"
    device: Annotated[
        str | int | None,
        Setting(
            "The microphone by name or by index; null uses the system's default. Prefer the name: indices change "
            "when devices are plugged in, and then another microphone is used.",
            low=0,
            high=1023,
        ),
    ] = None
    block_ms: Annotated[
        int,
        Setting(
            "Length of one block of audio. Longer wakes the processor less often, but adds as much delay.",
            unit="ms",
            low=10,
            high=100,
        ),
    ] = 20
    pace: Annotated[
        str,
        Setting(
            "How a file is read: `realtime` at the speed of a microphone, `fast` as fast as the model can process it. "
            "Nothing is dropped either way.",
            choices=("realtime", "fast"),
        ),
    ] = "realtime"
    always_on: Annotated[
        bool,
        Setting(
            "Keep the microphone open even while no request needs it. True saves the time to open it at each request; "
            "false listens only during verification, enrolment and monitoring."
        ),
    ] = False
    stall: Annotated[
        float,
        Setting(
            "An open microphone that delivers no audio for this long counts as lost and is reopened. Lower notices a "
            "loss sooner; too low reopens a device that is only slow.",
            unit="s",
            low=0.2,
            high=60,
        ),
    ] = 1.0
    backoff: Annotated[
        float,
        Setting(
            "Delay before the first attempt to reopen a lost microphone; it doubles with each attempt. Lower recovers "
            "sooner; higher saves work while the microphone is missing.",
            unit="s",
            low=0.1,
            high=60,
        ),
    ] = 0.5
    backoff_limit: Annotated[
        float,
        Setting(
            "The longest delay between two attempts. Lower finds a microphone that is plugged in again sooner; higher "
            "tries less often.",
            unit="s",
            low=0.1,
            high=600,
        ),
    ] = 10.0


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    frame_ms: Annotated[
        int,
        Setting(
            "Frame length of the first voice activity detector. 30 is a little cheaper and steadier; 20 finds the "
            "edges of speech more exactly.",
            unit="ms",
            choices=(20, 30),
        ),
    ] = 20
    aggressiveness: Annotated[
        int,
        Setting(
            "How readily the first detector classifies audio as noise. Raise it in a noisy room; lower it if quiet "
            "speech is missed.",
            choices=(0, 1, 2, 3),
        ),
    ] = 2
    onset: Annotated[
        float,
        Setting(
            "Speech must last this long before an utterance begins. Higher ignores clicks and coughs; lower catches "
            "the shortest words.",
            unit="s",
            low=0.02,
            high=1,
        ),
    ] = 0.1
    hangover: Annotated[
        float,
        Setting(
            "A pause up to this long does not end an utterance. Higher joins hesitant speech, but also two people "
            "who speak in turn; lower splits speech into utterances that may be too short.",
            unit="s",
            low=0.1,
            high=3,
        ),
    ] = 0.5
    confirm: Annotated[
        bool,
        Setting(
            "Have a second, neural detector confirm what the first one classifies as speech. False saves a little "
            "work, but then noise, music and key clicks reach the model as speech."
        ),
    ] = True
    confirm_threshold: Annotated[
        float,
        Setting(
            "How sure the second detector must be. Higher lets less noise through; lower loses less quiet speech.",
            unit="probability",
            low=0.05,
            high=0.95,
        ),
    ] = 0.5
    window: Annotated[
        float,
        Setting(
            "Length of the window of speech that is embedded at once. Longer tells voices apart better and costs more "
            "per window; shorter follows a change of speaker sooner.",
            unit="s",
            low=1,
            high=10,
        ),
    ] = 3.0
    hop: Annotated[
        float,
        Setting(
            "From the start of one window to the start of the next. Shorter answers more often; halving it doubles "
            "the model's work.",
            unit="s",
            low=0.25,
            high=10,
        ),
    ] = 1.5
    first: Annotated[
        float,
        Setting(
            "Length of the first window of an utterance, which does not wait for a full window. Lower answers sooner "
            "and less reliably.",
            unit="s",
            low=1,
            high=10,
        ),
    ] = 1.5
    min_speech: Annotated[
        float,
        Setting(
            "Net speech that a window must contain to be embedded. Higher drops short and halting speech; lower "
            "embeds windows that say little about a voice.",
            unit="s",
            low=0.5,
            high=10,
        ),
    ] = 1.0


@dataclass(frozen=True, slots=True)
class QueueConfig:
    windows: Annotated[
        int,
        Setting(
            "Windows that may wait for the model. When the queue is full, the oldest window of a microphone is dropped "
            "and counted; a file waits instead. Higher survives longer bursts, with later answers; lower stays up to "
            "date.",
            unit="windows",
            low=1,
            high=1024,
        ),
    ] = 16
    batch: Annotated[
        int,
        Setting(
            "Waiting windows of equal length that are embedded in one forward pass. Higher catches up faster after a "
            "burst, and needs memory in proportion.",
            unit="windows",
            low=1,
            high=64,
        ),
    ] = 4
