"""An enrolment as a person sees it: the sentences to read aloud, each take's verdict, and the progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

_LIVE_BAR_WIDTH = 20
_METER_WIDTH, _METER_FLOOR_DBFS = 10, -60.0
"""Characters of the level meter, and the level below which it is empty; it is full at full scale."""
_TAKE_SPEECH, _EXEMPLAR_SPEECH = 2.0, 4.5
"""Seconds of speech that surely make an exemplar of a take, and of each further one (profiles/take.py)."""

KEPT = "stopped; what was accepted is kept for 15 minutes: the same command goes on from there"


def follow(
    replies: Iterable[Reply], output: Output, labels: Sequence[str] | None = None, sentences: tuple[str, ...] = ()
) -> int:
    """Show the replies of an enrolment as they arrive. Return OK only if the last one says the profile is written.

    labels     names for the takes, in order: file names; may grow while the replies arrive
    sentences  to read aloud, one per take, over and over; none for recordings
    """
    shown = _Shown(output, labels, sentences)
    try:
        for reply in replies:
            shown.show(reply)
    except KeyboardInterrupt:
        if shown.collected:
            output.note(f"voiceauth: {KEPT}")
        raise
    output.clear()
    last = shown.last
    profile = last.get("profile")
    if last.get("state") != "done" or not isinstance(profile, Mapping):
        raise NotRunningError("the daemon ended the enrolment without a profile: nothing is enrolled", "no_answer")
    _show_profile(profile, output)
    return ExitCode.OK


class _Shown:
    """What was shown of one enrolment.

    last       the last reply
    collected  something from the microphone was accepted
    """

    def __init__(self, output: Output, labels: Sequence[str] | None, sentences: tuple[str, ...]) -> None:
        self.last: Reply = {}
        self.collected = False
        self._output = output
        self._labels = labels
        self._sentences = sentences
        self._takes = 0
        self._first_sentence = 0
        self._hearing = False
        self._live: dict[str, Any] = {}  # the newest value of each field, for the line that rewrites itself

    def show(self, reply: Reply) -> None:
        """Show the next reply."""
        self.last = reply
        state = reply.get("state")
        if state != "progress":  # which comes four times a second
            # The claim's holder may send audio.
            self._output.object({key: value for key, value in reply.items() if key != "claim"})
        if state == "take":
            self._verdict(reply)
        if self._sentences and (state == "take" or (state == "listening" and self._takes == 0)):
            self._next_sentence(reply)
        if state != "done":
            self._progress(reply)

    def _verdict(self, reply: Reply) -> None:
        known = self._labels and self._takes < len(self._labels)
        label = f" {self._labels[self._takes]}" if self._labels and known else ""
        self._takes += 1
        self._output.wrapped(f"take {self._takes}{plain(label)}: {take_verdict(reply, self._output)}", indent=2)
        if reply.get("accepted") is True:
            self.collected = bool(self._sentences)
            if reply.get("advice"):
                self._output.wrapped(f"  {plain(reply['advice'])}", indent=2)

    def _next_sentence(self, reply: Reply) -> None:
        if progress_share(reply) >= 1.0:
            return
        if reply.get("state") == "listening":
            if reply.get("continued"):
                self.collected = True
                self._first_sentence = int(reply.get("exemplars") or 0)
                speech = number(reply["continued"], ".1f")
                self._output.line(f"going on with {speech} s of speech from the last try (--fresh starts over)")
            how = "Read aloud, one sentence at a time, with a short pause after each, until the bar is full."
            self._output.wrapped(how)
        sentence = self._sentences[(self._first_sentence + self._takes) % len(self._sentences)]
        self._output.line(f"  {self._output.style(sentence, 'bold')}")

    def _progress(self, reply: Reply) -> None:
        state = str(reply.get("state"))
        if not (self._sentences and self._output.live):
            if state != "progress":
                self._output.progress(bar(reply) + (_STATES.get(state, "") if self._sentences else ""))
            return
        if state in ("speech", "take"):
            self._hearing = state == "speech"
        heard = {} if state == "progress" else {"heard": 0.0}
        self._live = {**self._live, **heard, **reply}
        self._output.progress(live_line(self._live, hearing=self._hearing))


def _show_profile(profile: Reply, output: Output) -> None:
    output.line(
        f"{output.style('enrolled', 'bold', 'green')} {plain(profile.get('name'))}: "
        f"{number(profile.get('exemplars'), 'd')} exemplars, {number(profile.get('net_speech'), '.1f')} s of speech"
    )
    if profile.get("rating"):
        output.line(f"the profile is {grade(profile, output)}")
    for sentence in advice(profile):
        output.wrapped(f"  {sentence}", indent=2)


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


def live_line(reply: Reply, *, hearing: bool) -> str:
    """Return the bar, in which `=` is speech that is heard but not judged yet, the level meter, and the time left. At
    most 79 characters."""
    heard = _number(reply.get("heard"))
    speech = _number(reply.get("net_speech"))
    needed = _number(reply.get("net_speech_needed"))
    certain = int(progress_share(reply) * _LIVE_BAR_WIDTH)
    expected = {**reply, "net_speech": speech + heard, "exemplars": _number(reply.get("exemplars")) + _more(heard)}
    full = max(certain, int(progress_share(expected) * _LIVE_BAR_WIDTH))
    line = f"[{'#' * certain}{'=' * (full - certain)}{'-' * (_LIVE_BAR_WIDTH - full)}] "
    if needed > 0 and speech >= needed:
        line += f"{number(reply.get('exemplars'), 'd')} of {number(reply.get('exemplars_needed'), 'd')} takes"
    else:
        line += f"{speech + heard:.1f} of {needed:.0f} s"
    line += f"  mic {meter(reply.get('level_dbfs'))}"
    if isinstance(reply.get("remaining"), int | float):
        line += f"  {reply['remaining']:.0f} s left"
    return line + ("  hearing you" if hearing or heard > 0 else "  speak now")


def meter(level_dbfs: object) -> str:
    """Return a level as a bar of `_METER_WIDTH` characters."""
    level = level_dbfs if isinstance(level_dbfs, int | float) else _METER_FLOOR_DBFS
    share = min(1.0, max(0.0, 1.0 - level / _METER_FLOOR_DBFS))
    full = round(share * _METER_WIDTH)
    return "|" * full + "." * (_METER_WIDTH - full)


def _more(heard: float) -> float:
    """Return how many exemplars to expect of so many seconds of speech."""
    return max(min(heard / _TAKE_SPEECH, 1.0), heard / _EXEMPLAR_SPEECH)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def progress_text(reply: Reply) -> str:
    """Return the progress towards both goals, in numbers."""
    speech = f"{number(reply.get('net_speech'), '.1f')} of {number(reply.get('net_speech_needed'), '.0f')} s"
    takes = f"{number(reply.get('exemplars'), 'd')} of {number(reply.get('exemplars_needed'), 'd')} exemplars"
    return f"{speech}, {takes}"
