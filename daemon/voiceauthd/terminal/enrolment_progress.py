"""An enrolment as a person sees it: the sentences to read aloud, each take's verdict, and the progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.terminal.event_lines import number, snr
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.rating_text import advice, grade

Reply = Mapping[str, Any]

_BAR_WIDTH = 24
_QUIET_DB, _SOME_NOISE_DB = 20, 10
"""SNR of a quiet room, and of one with a fan or street noise."""
_FAINT_DBFS, _LOUD_DBFS = -42, -10
"""Speech levels: most microphones give -35 to -15 when somebody speaks into them."""
_DISTORTED_SHARE = 0.001
"""Share of samples at full scale from which clipping is audible as crackle."""
_STATES = {"listening": "  speak now", "speech": "  hearing you"}

SENTENCES = (
    "The quiet river bends twice before it goes under the old stone bridge.",
    "Please measure five yellow jugs of water, and then hand me the thick green book.",
    "Every Thursday my neighbour bakes fresh ginger bread for the whole street.",
    "A cold wind blew through the valley, but nobody thought of going home.",
    "Tell me which of these four paths leads up to the lighthouse.",
    "She found a bright blue feather under the chair, and put it into her pocket.",
    "How far is it from the market square to the railway yard?",
)
"""Each takes about four seconds to read aloud; together they contain every common sound of English."""


def follow(
    replies: Iterable[Reply], output: Output, labels: list[str] | None = None, sentences: tuple[str, ...] = ()
) -> int:
    """Show the replies of an enrolment as they arrive. Return OK only if the last one says the profile is written.

    labels     names for the takes, in order: file names
    sentences  to read aloud, one per take, over and over
    """
    takes = 0
    last: Reply = {}
    for reply in replies:
        last = reply
        output.object({key: value for key, value in reply.items() if key != "claim"})  # its holder may send audio
        state = reply.get("state")
        if state == "take":
            label = f" {labels[takes]}" if labels and takes < len(labels) else ""
            takes += 1
            output.line(f"take {takes}{plain(label)}: {take_verdict(reply, output)}")
            if reply.get("accepted") is True and reply.get("advice"):
                output.line(f"  {plain(reply['advice'])}")
        if sentences and (state == "take" or (state == "listening" and takes == 0)) and progress_share(reply) < 1.0:
            if state == "listening":
                output.line("Read aloud, one sentence at a time, with a short pause after each, until the bar is full.")
            output.line(f"  {output.style(sentences[takes % len(sentences)], 'bold')}")
        if state != "done":
            output.progress(bar(reply) + (_STATES.get(str(state), "") if sentences else ""))
    output.clear()
    profile = last.get("profile")
    if last.get("state") != "done" or not isinstance(profile, Mapping):
        raise NotRunningError("the daemon ended the enrolment without a profile: nothing is enrolled", "no_answer")
    _show_profile(profile, output)
    return ExitCode.OK


def _show_profile(profile: Reply, output: Output) -> None:
    output.line(
        f"{output.style('enrolled', 'bold', 'green')} {plain(profile.get('name'))}: "
        f"{number(profile.get('exemplars'), 'd')} exemplars, {number(profile.get('net_speech'), '.1f')} s of speech"
    )
    if profile.get("rating"):
        output.line(f"the profile is {grade(profile, output)}")
    for sentence in advice(profile):
        output.line(f"  {sentence}")


def take_verdict(reply: Reply, output: Output) -> str:
    """Return one line: whether a take was accepted, why not, and what to do."""
    quality = quality_text(reply.get("quality") or {})
    if reply.get("accepted") is True:
        return f"{output.style('accepted', 'green')}  {quality}; so far {progress_text(reply)}"
    what_to_do = f": {plain(reply['advice'])}" if reply.get("advice") else ""
    return f"{output.style('refused', 'yellow')}  {plain(reply.get('reason'))}{what_to_do}  ({quality})"


def quality_text(quality: Reply) -> str:
    """Describe a take's audio (type Quality) in words: how much speech, how much noise, how loud."""
    if not quality:
        return "no speech"
    words = [f"{number(quality.get('net_speech'), '.1f')} s of speech"]
    noise, level, clipping = (quality.get(key) for key in ("snr_db", "level_dbfs", "clipping"))
    if isinstance(noise, int | float):
        background = "quiet background" if noise >= _QUIET_DB else "some noise" if noise >= _SOME_NOISE_DB else "noisy"
        words.append(f"{background} ({snr(quality)})")
    if isinstance(level, int | float):
        words.append("very faint" if level < _FAINT_DBFS else "very loud" if level > _LOUD_DBFS else "good level")
    if isinstance(clipping, int | float) and clipping > _DISTORTED_SHARE:
        words.append("distorted")
    return ", ".join(words)


def progress_share(reply: Reply) -> float:
    """Return the enrolment's progress, 0 to 1, towards both enough seconds of speech and enough exemplars."""
    pairs = (("net_speech", "net_speech_needed"), ("exemplars", "exemplars_needed"))
    parts = [float(reply.get(have) or 0) / float(reply[need]) for have, need in pairs if reply.get(need)]
    return min(1.0, *parts) if parts else 1.0


def bar(reply: Reply) -> str:
    """Return `progress_share` as a bar, followed by `progress_text`."""
    full = int(progress_share(reply) * _BAR_WIDTH)
    return f"[{'#' * full}{'-' * (_BAR_WIDTH - full)}] {progress_text(reply)}"


def progress_text(reply: Reply) -> str:
    """Return the progress towards both goals, in numbers."""
    speech = f"{number(reply.get('net_speech'), '.1f')} of {number(reply.get('net_speech_needed'), '.0f')} s"
    takes = f"{number(reply.get('exemplars'), 'd')} of {number(reply.get('exemplars_needed'), 'd')} exemplars"
    return f"{speech}, {takes}"
