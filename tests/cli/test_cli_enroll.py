"""Enrolment as a person follows it: what moves on a terminal, what a pipe gets, and which reason ends it."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from fake_daemon import FakeDaemon, done, going, refusal, voiceauth_here

from voiceauthd.errors import ExitCode
from voiceauthd.service.enrolling import MAX_RECORDING_SECONDS
from voiceauthd.terminal.enrol import enrol_at_microphone
from voiceauthd.terminal.enrolment_progress import follow, live_line, meter
from voiceauthd.terminal.long_recording import MAX_TAKE_SECONDS, PART_SECONDS, LongRecording, quietest, read_takes
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.sentences import SENTENCES, language_of, sentences_to_read

RATE = 16_000
QUALITY = {"net_speech": 4.1, "snr_db": 24.0, "clipping": 0.0, "level_dbfs": -26.0}
PROFILE = {
    "name": "alice", "usable": True, "exemplars": 2, "net_speech": 8.2, "conditions": ["default"],
    "rating": {"grade": "good", "advice": []}, "generation": 4,
    "exemplar_list": [
        {
            "net_speech": 4.1, "snr_db": 24.0, "condition": "default", "recorded": "2026-01-01T00:00:00Z",
            "agreement": 0.71,
        },
        {"net_speech": 12.25, "condition": "headset", "recorded": "2026-01-02T00:00:00Z"},
    ],
}  # fmt: skip


def enrolling(state: str, **more: object) -> dict:
    return {"state": state, "exemplars": 0, "exemplars_needed": 2, "net_speech": 0.0, "net_speech_needed": 8.0, **more}


PROGRESS = enrolling("progress", heard=2.0, level_dbfs=-24.0, remaining=57.6)
TAKE = enrolling("take", accepted=True, quality=QUALITY, exemplars=1, net_speech=4.1)
DONE = enrolling("done", exemplars=2, net_speech=8.2, profile=PROFILE)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> list[str]:
        """What was written between two rewrites of the line."""
        return self.getvalue().replace("\r", "").split("\x1b[K")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_on_a_terminal_one_line_shows_bar_level_and_time(terminal: Terminal) -> None:
    output = Output(False, io.StringIO(), terminal)
    replies = [enrolling("listening"), enrolling("speech"), PROGRESS, {**PROGRESS, "heard": 3.0}, TAKE, DONE]
    assert follow(replies, output, sentences=SENTENCES["en"]) == ExitCode.OK
    shown = terminal.shown
    assert "[=====---------------] 2.0 of 8 s  mic ||||||....  58 s left  hearing you" in shown
    assert "[=======-------------] 3.0 of 8 s  mic ||||||....  58 s left  hearing you" in shown
    assert "[##########----------] 4.1 of 8 s  mic ||||||....  58 s left  speak now" in shown
    assert "\n" not in terminal.getvalue()


def test_in_a_pipe_only_changes_that_matter_are_lines(tmp_path) -> None:
    replies = [going(**enrolling("listening")), *[going(**{**PROGRESS, "heard": 0.1 * n}) for n in range(40)]]
    with FakeDaemon(tmp_path / "s", lambda _: [*replies, going(**TAKE), done(**DONE)]) as daemon:
        text = voiceauth_here("enroll", "alice", socket=daemon.path)
        as_json = voiceauth_here("enroll", "alice", "--json", socket=daemon.path)
    assert text.stderr.splitlines() == [
        "[------------------------] 0.0 of 8 s, 0 of 2 exemplars  speak now",
        "[############------------] 4.1 of 8 s, 1 of 2 exemplars",
    ]
    assert [json.loads(line)["state"] for line in as_json.stdout.splitlines()] == ["listening", "take", "done"]
    assert {request["method"] for request in daemon.requests} == {"org.voiceauthd.Enroll"}, "no trial without a person"


def test_the_live_line_fits_into_a_terminal_and_survives_missing_numbers() -> None:
    largest = {
        "state": "progress", "exemplars": 19, "exemplars_needed": 20, "net_speech": 279.9, "net_speech_needed": 300.0,
        "heard": 9.9, "level_dbfs": 0.0, "remaining": 3600.0,
    }  # fmt: skip
    assert len(live_line(largest, hearing=True)) <= 79
    assert len(live_line({**largest, "net_speech": 300.0}, hearing=True)) <= 79
    assert live_line({}, hearing=False).endswith("speak now")
    assert [meter(level) for level in (None, -90.0, -60.0, -30.0, 3.0)] == [
        "..........", "..........", "..........", "|||||.....", "||||||||||",
    ]  # fmt: skip


def test_a_try_that_goes_on_says_so_and_reads_on(terminal: Terminal) -> None:
    out = io.StringIO()
    going_on = enrolling("listening", exemplars=1, net_speech=4.1, continued=4.1)
    follow([going_on, TAKE, DONE], Output(False, out, terminal), sentences=SENTENCES["en"])
    lines = out.getvalue().splitlines()
    assert lines[0] == "going on with 4.1 s of speech from the last try (--fresh starts over)"
    assert f"  {SENTENCES['en'][1]}" in lines
    assert f"  {SENTENCES['en'][0]}" not in lines


def test_an_interrupted_enrolment_says_what_is_kept(terminal: Terminal) -> None:
    def interrupted(*replies: dict):
        yield from replies
        raise KeyboardInterrupt

    for replies, kept in (([enrolling("listening")], False), ([enrolling("listening"), TAKE], True)):
        errors = io.StringIO()
        with pytest.raises(KeyboardInterrupt):
            follow(interrupted(*replies), Output(False, io.StringIO(), errors), sentences=SENTENCES["en"])
        assert ("the same command goes on from there" in errors.getvalue()) is kept


def test_fresh_is_passed_to_the_daemon_and_only_for_the_microphone(tmp_path, talk) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: [going(**enrolling("listening")), done(**DONE)]) as daemon:
        assert voiceauth_here("enroll", "alice", "--fresh", socket=daemon.path).returncode == 0
        assert daemon.requests[0]["parameters"]["fresh"] is True
        assert voiceauth_here("enroll", "alice", str(talk), "--fresh", socket=daemon.path).returncode == ExitCode.USAGE


def test_a_condition_that_is_not_valid_is_refused_with_the_reason(tmp_path) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: []) as daemon:
        result = voiceauth_here("enroll", "alice", "--condition", "a\tb", socket=daemon.path)
    assert (result.returncode, daemon.requests) == (ExitCode.USAGE, [])
    assert "control character" in result.stderr


# The sentences


def test_the_sentences_follow_the_locale() -> None:
    assert language_of({"LANG": "de_AT.UTF-8"}) == "de"
    assert language_of({"LC_ALL": "fr", "LANG": "de_DE.UTF-8"}) == "fr"
    assert language_of({"LC_ALL": "", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "de_DE"}) == "zh"
    assert [language_of({"LANG": lang}) for lang in ("C.UTF-8", "POSIX", "tlh", "", "sr@latin")] == ["en"] * 5
    assert language_of({}) == "en"


@pytest.mark.parametrize("language", SENTENCES)
def test_each_language_has_seven_different_sentences_that_a_terminal_can_show(language: str) -> None:
    sentences = sentences_to_read(language, "utf-8")
    assert len(set(sentences)) == 7
    assert all(sentence.isprintable() and 15 <= len(sentence) <= 84 for sentence in sentences)
    assert sentences_to_read(language, "ascii") in (SENTENCES["en"], sentences)
    assert sentences_to_read(language, None)[0].isascii()


def test_the_sentences_can_be_chosen(tmp_path) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: [going(**enrolling("listening")), done(**DONE)]) as daemon:
        chosen = voiceauth_here("enroll", "alice", "--language", "nl", socket=daemon.path)
        refused = voiceauth_here("enroll", "alice", "--language", "xx", socket=daemon.path)
    assert SENTENCES["nl"][0] in chosen.stdout
    assert refused.returncode == ExitCode.USAGE


# The trial at the end


def trial(tmp_path, terminal: Terminal, *answers: dict) -> tuple[int, str, str]:
    def answer(request: dict) -> list:
        if request["method"].endswith("Enroll"):
            return [going(**enrolling("listening")), done(**DONE)]
        asked = request["parameters"]
        return [
            {**each, "parameters": {"nonce": asked["nonce"], "name": asked["name"], **each["parameters"]}}
            if "error" not in each
            else each
            for each in answers
        ]

    out = io.StringIO()
    with FakeDaemon(tmp_path / "s", answer) as daemon:
        code = enrol_at_microphone(
            daemon.path,
            {"name": "alice", "mode": "new"},
            Output(False, out, terminal),
            SENTENCES["en"],
            trial=True,
        )
    return code, out.getvalue(), terminal.getvalue()


def decided(outcome: str, **more: object) -> dict:
    common = {"state": "decided", "outcome": outcome, "net_speech": 3.0, "net_speech_needed": 2.0}
    return done(**common, policy="unlock", expires=10.0, **more)


LISTENING = going(state="listening", net_speech=0.0, net_speech_needed=2.0)


def test_the_new_voice_is_tried_once_and_the_result_is_shown(tmp_path, terminal: Terminal) -> None:
    code, out, _ = trial(tmp_path, terminal, LISTENING, decided("accept", reason="match"))
    assert code == ExitCode.OK
    assert "As a trial, say one more sentence:" in out
    assert "accepted      alice: match" in out


def test_a_failed_trial_does_not_change_the_exit_code_and_says_what_to_do(tmp_path, terminal: Terminal) -> None:
    code, out, _ = trial(tmp_path, terminal, LISTENING, decided("reject", reason="no_match", advice="Speak as before."))
    assert code == ExitCode.OK
    assert "rejected" in out
    assert "  Speak as before.\n" in out
    assert "    voiceauth enroll alice --add\n" in out


def test_a_trial_that_is_not_allowed_or_not_possible_leaves_the_enrolment_as_it_is(tmp_path, terminal) -> None:
    denied = {"error": "org.varlink.service.PermissionDenied", "parameters": {}}
    (tmp_path / "a").mkdir()
    code, out, errors = trial(tmp_path / "a", terminal, denied)
    assert (code, "trial" in out, "tried" in errors) == (ExitCode.OK, False, False)
    (tmp_path / "b").mkdir()
    code, out, errors = trial(tmp_path / "b", terminal, refusal("Locked", name="alice", seconds=20.0))
    assert (code, "trial" in out) == (ExitCode.OK, False)
    assert "could not be tried: the voice of 'alice' is locked" in errors


# Recordings


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory):
    """A recording of 320 s: noise, with a pause of half a second every ten seconds."""
    samples = np.random.default_rng(1).normal(0.0, 0.1, 320 * RATE).astype(np.float32)
    for second in range(10, 320, 10):
        samples[second * RATE : second * RATE + RATE // 2] = 0.0
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


def test_a_long_recording_is_cut_at_pauses_and_nothing_is_lost(talk) -> None:
    (recording,) = read_takes([str(talk)])
    assert isinstance(recording, LongRecording)
    parts = [np.frombuffer(part, "<i2") for part in recording.parts()]
    original = soundfile.read(talk, dtype="int16")[0]
    assert np.array_equal(np.concatenate(parts), original[: sum(map(len, parts))])
    assert sum(map(len, parts)) > len(original) - 2 * RATE
    longest, shortest = PART_SECONDS
    assert all(shortest * RATE <= len(part) <= longest * RATE for part in parts[:-1])
    ends = np.cumsum([len(part) for part in parts])[:-1]
    assert not original[ends].any(), "each cut is in a pause"
    assert MAX_TAKE_SECONDS == MAX_RECORDING_SECONDS


def test_the_quietest_place_is_the_middle_of_the_pause() -> None:
    samples = np.ones(RATE, np.float32)
    samples[8_000:12_800] = 0.1
    assert abs(quietest(samples, 0, RATE) - 10_400) <= 1


def enrolling_daemon(
    accepts: Callable[[int], bool], needed: int
) -> tuple[Callable[[dict], object], list[tuple[int, str]]]:
    """A daemon that judges each take when it has ended. Returns its answers, and the length and end of each take."""
    takes: list[tuple[int, str]] = []
    changed = threading.Condition()
    length = 0

    def answer(request: dict):
        nonlocal length
        if request["method"].endswith("SendAudio"):
            length += len(base64.b64decode(request["parameters"]["pcm"])) // 2
            if end := request["parameters"].get("end"):
                with changed:
                    takes.append((length, end))
                    changed.notify_all()
                length = 0
            yield done()
            return
        yield going(**enrolling("listening", claim="token-1", exemplars_needed=needed))
        accepted = 0
        for index in range(1000):
            with changed:
                if not changed.wait_for(lambda index=index: len(takes) > index, 20):
                    return
            samples, end = takes[index]
            if samples:
                accepted += accepts(index)
                progress = {"exemplars": accepted, "exemplars_needed": needed, "net_speech": 8.0}
                yield going(**enrolling("take", accepted=accepts(index), quality=QUALITY, **progress))
            if end == "all":
                break
        yield done(**{**DONE, "exemplars": accepted})

    return answer, takes


def test_of_a_long_recording_only_as_much_is_sent_as_is_needed(tmp_path, talk) -> None:
    answer, takes = enrolling_daemon(lambda index: index != 1, needed=3)
    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("enroll", "alice", str(talk), socket=daemon.path)
    assert result.returncode == 0, result.stderr
    assert [end for _, end in takes] == ["take"] * 4 + ["all"]
    assert takes[-1][0] == 0
    assert all(length <= 30 * RATE for length, _ in takes)
    for part in (1, 2, 3, 4):
        assert f"take {part} {talk} part {part}: " in result.stdout.replace("\n  ", " ")


def test_a_long_recording_that_is_damaged_later_is_named(tmp_path, talk) -> None:
    flac = tmp_path / "damaged.flac"
    samples, _ = soundfile.read(talk, dtype="int16")
    soundfile.write(flac, samples, RATE)
    data = bytearray(flac.read_bytes())
    for at in range(int(len(data) * 0.98), len(data)):
        data[at] ^= 0x5A
    flac.write_bytes(data)
    answer, takes = enrolling_daemon(lambda _: False, needed=3)
    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("enroll", "alice", str(flac), socket=daemon.path)
    assert result.returncode == ExitCode.AUDIO
    assert "damaged.flac: damaged after 3" in result.stderr
    assert len(takes) > 5


def test_the_reason_of_the_daemon_arrives_once_even_behind_other_replies(tmp_path, talk) -> None:
    ended = threading.Event()

    def answer(request: dict):
        if request["method"].endswith("SendAudio"):
            ended.set()
            yield {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "claim"}}
            return
        yield going(**enrolling("listening", claim="token-1"))
        assert ended.wait(20)
        yield going(**enrolling("take", accepted=False, reason="noisy", advice="Be quiet."))
        yield refusal("EnrolmentIncomplete", reason="timeout", detail="the recordings did not arrive in time")

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("enroll", "alice", str(talk), socket=daemon.path)
    assert result.returncode == ExitCode.AUDIO
    assert "voiceauth: the recordings did not arrive in time" in result.stderr.splitlines()
    assert result.stderr.count("did not arrive") == 1
    assert "claim" not in result.stderr


# Exemplars


def test_show_lists_the_exemplars(tmp_path) -> None:
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=PROFILE)]) as daemon:
        lines = voiceauth_here("profiles", "show", "alice", socket=daemon.path).stdout.splitlines()
    assert lines[-3:] == [
        "exemplar  speech    SNR  agrees  recorded              condition",
        "       1   4.1 s  24 dB    0.71  2026-01-01T00:00:00Z  default",
        "       2  12.2 s   - dB       -  2026-01-02T00:00:00Z  headset",
    ]
    assert all(len(line) <= 80 for line in lines)


def test_drop_names_the_generation_that_it_has_seen(tmp_path) -> None:
    left = {**PROFILE, "exemplars": 1, "net_speech": 4.1, "generation": 5}

    def answer(request: dict) -> list:
        return [done(profile=left if request["method"].endswith("DropExemplar") else PROFILE)]

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        asked = voiceauth_here("profiles", "drop", "alice", "2", socket=daemon.path)
        too_high = voiceauth_here("profiles", "drop", "alice", "3", "--yes", socket=daemon.path)
        assert [request["method"] for request in daemon.requests] == ["org.voiceauthd.ShowProfile"] * 2
        dropped = voiceauth_here("profiles", "drop", "alice", "2", "--yes", socket=daemon.path)
    assert (asked.returncode, too_high.returncode) == (ExitCode.USAGE, ExitCode.USAGE)
    assert "has no exemplar 3: they are numbered from 1 to 2" in too_high.stderr
    assert daemon.requests[-1]["parameters"] == {"name": "alice", "exemplar": 2, "generation": 4}
    assert dropped.stdout == "dropped exemplar 2 of alice: 1 exemplar left, 4.1 s of speech\n"


def test_drop_tells_why_the_daemon_has_refused(tmp_path) -> None:
    detail = "the profile of 'alice' was changed meanwhile, and its exemplars are numbered anew: look at it again"

    def answer(request: dict) -> list:
        return [refusal("StorageFailed", detail=detail) if "Drop" in request["method"] else done(profile=PROFILE)]

    with FakeDaemon(tmp_path / "s", answer) as daemon:
        result = voiceauth_here("profiles", "drop", "alice", "1", "--yes", socket=daemon.path)
    assert (result.returncode, result.stderr) == (ExitCode.STORAGE, f"voiceauth: {detail}\n")
