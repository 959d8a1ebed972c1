"""`Tracker`: properties that hold for any windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from score_parts import ANYTHING, BROKEN, RATIOS, RULE, scores
from tracking_parts import ANNA, BEN, CLEO, CONFIG, STRANGER, WindowStream, name_of

from voiceauthd.config.schema import MonitorConfig
from voiceauthd.scoring.decide import identify, open_set_bound
from voiceauthd.scoring.decision import Recognition
from voiceauthd.tracking.tracker import Label, holding_bound


@dataclass(frozen=True)
class Step:
    """A window, and perhaps a pause before it. values: cosines; None if the window was refused or failed."""

    values: tuple[float, ...] | None
    seconds: float = 1.5
    pause: float | None = None


SPEECH = st.floats(0.05, 3.0).map(lambda seconds: round(seconds, 2))
VALUES = st.lists(st.sampled_from([0.0, 0.2, 0.35, 0.42, 0.5, 0.55, 0.7, 0.9]), min_size=3, max_size=3).map(tuple)
WINDOWS = st.builds(Step, VALUES | st.none(), SPEECH)
STEPS = st.builds(Step, VALUES | st.none(), SPEECH, st.none() | st.sampled_from([0.1, 0.6, 1.2, 2.0]))
CONFIGS = st.builds(MonitorConfig, st.floats(0.0, 1.0), st.sampled_from([0.0, 0.7, 1.5, 4.0]))


def play(steps: Sequence[Step], config: MonitorConfig) -> tuple[WindowStream, list[Label | None]]:
    """Return the stream, and for each step the label that its window led to, if any."""
    stream = WindowStream(config)
    stream.begin()
    found = []
    for step in steps:
        if step.pause is not None:
            stream.pause(step.pause)
        found.append(stream.unscored(step.seconds) if step.values is None else stream.say(step.values, step.seconds))
    return stream, found


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30), CONFIGS)
def test_a_label_names_only_the_identity_of_its_window(steps: list[Step], config: MonitorConfig) -> None:
    _, found = play(steps, config)
    for step, label in zip(steps, found, strict=True):
        if label is not None and label.recognition is Recognition.KNOWN:
            assert step.values is not None
            assert identify(scores(step.values), 1.5, 1.0, RULE).identity == label.identity


@settings(deadline=None)
@given(st.lists(WINDOWS, max_size=30), CONFIGS)
def test_during_speech_the_label_never_changes_twice_within_the_dwell(steps: list[Step], config: MonitorConfig) -> None:
    _, found = play(steps, config)
    speech, stands = 0.0, False
    for step, label in zip(steps, found, strict=True):
        speech += step.seconds
        if label is not None:
            assert not stands or speech > config.dwell
            speech, stands = 0.0, label.recognition is not Recognition.UNDECIDED


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30), CONFIGS)
def test_across_pauses_every_label_lasts_for_the_dwell_unless_silence_ends_it(
    steps: list[Step], config: MonitorConfig
) -> None:
    """Counted from the beginning of the window that led to it."""
    _, found = play(steps, config)
    speech, current = 0.0, "nobody"
    for step, label in zip(steps, found, strict=True):
        if step.pause is not None and step.pause >= config.dwell:
            current = "nobody"
        speech += step.seconds
        if label is not None:
            assert current == "nobody" or speech > config.dwell
            speech, current = step.seconds, name_of(label)


@settings(deadline=None)
@given(st.lists(st.sampled_from([ANNA, BEN, CLEO, STRANGER]), min_size=2, max_size=30), CONFIGS)
def test_the_label_does_not_flicker_if_voices_alternate_with_every_window(
    others: list[list[float]], config: MonitorConfig
) -> None:
    """Without pauses: people who take turns with pauses between them are named in turn."""
    assume(config.dwell > 1.0)
    stream = WindowStream(config)
    stream.begin()
    for other in others:
        stream.say(ANNA, 1.0)
        stream.say(other, 1.0)
    assert stream.names == ["anna"]


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30), CONFIGS)
def test_the_same_windows_give_the_same_labels(steps: list[Step], config: MonitorConfig) -> None:
    assert play(steps, config)[0].labels == play(steps, config)[0].labels


@settings(deadline=None)
@given(st.lists(st.lists(ANYTHING, min_size=3, max_size=3), max_size=12), st.sampled_from(BROKEN), st.integers(0, 2))
def test_a_score_that_is_not_finite_names_nobody(windows: list[list[float]], broken: float, place: int) -> None:
    stream = WindowStream()
    stream.begin()
    for values in windows:
        stream.say([*values[:place], broken, *values[place + 1 :]])
    assert stream.names == []


@settings(deadline=None)
@given(st.lists(STEPS, max_size=12), st.sampled_from(BROKEN), st.integers(0, 2))
def test_a_score_that_is_not_finite_does_not_keep_a_label(steps: list[Step], broken: float, place: int) -> None:
    stream, _ = play(steps, CONFIG)
    before = len(stream.labels)
    values = list(CLEO)
    values[place] = broken
    for _ in range(3):
        stream.say(values)
    assert stream.label == "nobody"
    assert [name_of(label) for label in stream.labels[before:]] in ([], ["nobody"])


@given(accept=st.floats(0.0, 14.0), below=st.floats(0.0, 14.0), share=st.floats(0.0, 1.0), count=st.integers(1, 99))
def test_the_holding_bound_is_between_the_reject_bound_and_the_open_set_bound(
    accept: float, below: float, share: float, count: int
) -> None:
    for rule in (RULE, RATIOS):
        bounds = replace(rule, accept=accept, reject=accept - below)
        assert bounds.reject - 1e-9 <= holding_bound(bounds, count, share) <= open_set_bound(bounds, count) + 1e-9
