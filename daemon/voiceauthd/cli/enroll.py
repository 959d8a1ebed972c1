"""`voiceauth enroll`: learn a voice, from the microphone or from recordings.

The daemon judges every take and keeps the old profile until the new one is whole; this command shows what it says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from voiceauthd.cli.arguments import Parser, add_json, add_socket, seconds
from voiceauthd.client import Client
from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.terminal.event_lines import number, snr
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.owner_proof import begun, with_proof
from voiceauthd.terminal.rating_text import advice, grade

_BAR_WIDTH = 24
_QUIET_DB, _SOME_NOISE_DB = 20, 10
"""SNR of a quiet room, and of one in which a fan or the street is heard."""
_FAINT_DBFS, _LOUD_DBFS = -42, -10
"""Level of speech: most microphones give -35 to -15 when one speaks into them."""
_DISTORTED = 0.001
"""Share of samples at full scale that can be heard as a crackle."""
_STATES = {"listening": "  speak now", "speech": "  hearing you"}

_SENTENCES = (
    "The quiet river bends twice before it goes under the old stone bridge.",
    "Please measure five yellow jugs of water, and then hand me the thick green book.",
    "Every Thursday my neighbour bakes fresh ginger bread for the whole street.",
    "A cold wind blew through the valley, but nobody thought of going home.",
    "Tell me which of these four paths leads up to the lighthouse.",
    "She found a bright blue feather under the chair, and put it into her pocket.",
    "How far is it from the market square to the railway yard?",
)
"""Read aloud, each takes about four seconds, and together they hold every common sound of English."""

_EXAMPLES = """
voiceauth enroll alice                          read aloud what is shown, until the bar is full
voiceauth enroll alice one.wav two.flac three.mp3
voiceauth enroll alice --add --condition headset
voiceauth enroll alice --replace --timeout 180
"""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth enroll`."""
    parser.explain(
        "Learn the voice of NAME. Without FILES, speak into the daemon's microphone until the bar is full; each take\n"
        "is accepted, or refused with the reason and what to do. With FILES (WAV, FLAC, OGG, MP3), each file is one\n"
        "take, of one utterance or many. Nothing is kept of the sound itself; an enrolment that is not finished\n"
        "changes nothing, and a voice that is enrolled under another name is refused. At the end it says how good the\n"
        "profile is, and what would make it better. Whose voice it is must give the password; root need not.",
        _EXAMPLES,
        (
            ExitCode.BUSY,
            ExitCode.NO_MICROPHONE,
            ExitCode.MODEL,
            ExitCode.AUDIO,
            ExitCode.STORAGE,
            ExitCode.NOT_ENROLLED,
            ExitCode.INCONCLUSIVE,
        ),
        client=True,
    )
    parser.add_argument("name", metavar="NAME", help="who it is")
    parser.add_argument("files", metavar="FILES", nargs="*", help="recordings of this person and nobody else")
    parser.add_argument("--condition", metavar="C", help='how it sounds: "headset", "far-field", "whisper"')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--add", action="store_true", help="add to what is enrolled under this name")
    mode.add_argument("--replace", action="store_true", help="start over; the old profile stays until the new is whole")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up after S seconds (default: the daemon's)")
    add_json(parser, "print the daemon's replies, one a line; the last has state done and the profile")
    add_socket(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Enrols, and raises what the daemon says if it could not."""
    parameters: dict[str, Any] = {
        "name": arguments.name,
        "mode": "add" if arguments.add else "replace" if arguments.replace else "new",
        "source": "recordings" if arguments.files else "microphone",
    }
    if arguments.condition is not None:
        parameters["condition"] = arguments.condition
    if arguments.timeout is not None:
        parameters["timeout"] = arguments.timeout
    mode = () if parameters["mode"] == "new" else (f"--{parameters['mode']}",)
    command = ("enroll", arguments.name, *mode, *arguments.files)
    if arguments.files:
        from voiceauthd.terminal.recordings import enroll_recordings, read_pcm

        takes = [read_pcm(file) for file in arguments.files]

        def send(**proof: str) -> Iterator[Mapping[str, Any]]:
            return begun(enroll_recordings(arguments.socket, parameters | proof, takes))

        return follow(with_proof(send, arguments.socket, output, command), output, labels=list(arguments.files))
    with Client(arguments.socket) as client:

        def speak(**proof: str) -> Iterator[Mapping[str, Any]]:
            return begun(client.stream("Enroll", **(parameters | proof)))

        return follow(with_proof(speak, arguments.socket, output, command), output, sentences=_SENTENCES)


def follow(
    replies: Iterable[Mapping[str, Any]],
    output: Output,
    labels: list[str] | None = None,
    sentences: tuple[str, ...] = (),
) -> int:
    """Shows the replies of an enrolment as they come. OK only if the last one has the profile written.

    labels     what the takes are called, in order: file names
    sentences  what to read aloud, one a take, over and over
    """
    takes = 0
    last: Mapping[str, Any] = {}
    for reply in replies:
        last = reply
        output.object({key: value for key, value in reply.items() if key != "claim"})  # whoever has it may send sound
        state = reply.get("state")
        if state == "take":
            label = f" {labels[takes]}" if labels and takes < len(labels) else ""
            takes += 1
            output.line(f"take {takes}{plain(label)}: {verdict(reply, output)}")
            if reply.get("accepted") is True and reply.get("advice"):
                output.line(f"  {plain(reply['advice'])}")
        if sentences and (state == "take" or (state == "listening" and takes == 0)) and share(reply) < 1.0:
            if state == "listening":
                output.line("Read aloud, a sentence at a time, with a short pause after each, until the bar is full.")
            output.line(f"  {output.style(sentences[takes % len(sentences)], 'bold')}")
        if state != "done":
            output.progress(bar(reply) + (_STATES.get(str(state), "") if sentences else ""))
    output.clear()
    profile = last.get("profile")
    if last.get("state") != "done" or not isinstance(profile, Mapping):
        raise NotRunningError("the daemon ended the enrolment without a profile: nothing is enrolled", "no_answer")
    output.line(
        f"{output.style('enrolled', 'bold', 'green')} {plain(profile.get('name'))}: "
        f"{number(profile.get('exemplars'), 'd')} exemplars, {number(profile.get('net_speech'), '.1f')} s of speech"
    )
    if profile.get("rating"):
        output.line(f"the profile is {grade(profile, output)}")
    for sentence in advice(profile):
        output.line(f"  {sentence}")
    return ExitCode.OK


def verdict(reply: Mapping[str, Any], output: Output) -> str:
    """Why a take was accepted or refused, and what to do, on one line."""
    heard = sound(reply.get("quality") or {})
    if reply.get("accepted") is True:
        return f"{output.style('accepted', 'green')}  {heard}; so far {progress(reply)}"
    what_to_do = f": {plain(reply['advice'])}" if reply.get("advice") else ""
    return f"{output.style('refused', 'yellow')}  {plain(reply.get('reason'))}{what_to_do}  ({heard})"


def sound(quality: Mapping[str, Any]) -> str:
    """How a take sounds (type Quality), in words: how much speech, how much noise, how loud."""
    if not quality:
        return "no speech"
    words = [f"{number(quality.get('net_speech'), '.1f')} s of speech"]
    noise, level, clipping = (quality.get(key) for key in ("snr_db", "level_dbfs", "clipping"))
    if isinstance(noise, int | float):
        around = "quiet around" if noise >= _QUIET_DB else "some noise" if noise >= _SOME_NOISE_DB else "noisy"
        words.append(f"{around} ({snr(quality)})")
    if isinstance(level, int | float):
        loud = "very faint" if level < _FAINT_DBFS else "very loud" if level > _LOUD_DBFS else "good level"
        words.append(loud)
    if isinstance(clipping, int | float) and clipping > _DISTORTED:
        words.append("distorted")
    return ", ".join(words)


def share(reply: Mapping[str, Any]) -> float:
    """How far the enrolment is, 0 to 1, towards both enough seconds of speech and enough exemplars."""
    pairs = (("net_speech", "net_speech_needed"), ("exemplars", "exemplars_needed"))
    parts = [float(reply.get(have) or 0) / float(reply[need]) for have, need in pairs if reply.get(need)]
    return min(1.0, *parts) if parts else 1.0


def bar(reply: Mapping[str, Any]) -> str:
    """`share` as a bar, with both numbers."""
    full = int(share(reply) * _BAR_WIDTH)
    drawn = "#" * full + "-" * (_BAR_WIDTH - full)
    return f"[{drawn}] {progress(reply)}"


def progress(reply: Mapping[str, Any]) -> str:
    """How far the enrolment is towards both of its goals."""
    speech = f"{number(reply.get('net_speech'), '.1f')} of {number(reply.get('net_speech_needed'), '.0f')} s"
    takes = f"{number(reply.get('exemplars'), 'd')} of {number(reply.get('exemplars_needed'), 'd')} exemplars"
    return f"{speech}, {takes}"
