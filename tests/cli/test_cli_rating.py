"""How the quality of takes and profiles is shown to a person, against a fake daemon."""

from __future__ import annotations

import json

import pytest
from fake_daemon import FakeDaemon, done, going, refusal, voiceauth_here

from voiceauthd.errors import ExitCode
from voiceauthd.terminal.enrolment_progress import quality_text

PROFILE = {
    "name": "alice b",
    "usable": True,
    "created": "2026-01-01T00:00:00Z",
    "updated": "2026-01-02T00:00:00Z",
    "owner_uid": None,
    "model": "campplus@1 (92f2)",
    "exemplars": 4,
    "net_speech": 12.5,
    "conditions": ["default"],
    "rating": {
        "grade": "fair",
        "agreement": 0.713,
        "snr_db": 21.6,
        "advice": ["More speech makes it better: voiceauth enroll NAME --add.", "Something\x1b[31m else."],
    },
}

QUALITY = {"net_speech": 4.1, "snr_db": 24.0, "clipping": 0.0, "level_dbfs": -26.0}


def test_a_profile_shows_its_grade_and_commands_that_can_be_run(tmp_path):
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=PROFILE)]) as daemon:
        text = voiceauth_here("profiles", "show", "alice b", socket=daemon.path)
        as_json = voiceauth_here("profiles", "show", "alice b", "--json", socket=daemon.path)
    assert text.returncode == 0, text.stderr
    assert "quality    fair (exemplars agree by 0.71, SNR 22 dB)" in text.stdout
    assert "better     More speech makes it better: voiceauth enroll 'alice b' --add." in text.stdout
    assert "\x1b" not in text.stdout
    assert json.loads(as_json.stdout) == PROFILE


def test_a_caller_who_may_not_see_the_agreement_sees_the_rest(tmp_path):
    rating = {"grade": "good", "agreement": None, "snr_db": None, "advice": []}
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=PROFILE | {"rating": rating})]) as daemon:
        lines = voiceauth_here("profiles", "show", "alice", socket=daemon.path).stdout.splitlines()
    assert "quality    good" in lines
    assert not any(line.startswith("better") for line in lines)


def test_an_unusable_profile_has_no_grade(tmp_path):
    torn = {"name": "eve", "usable": False, "problem": "torn", "exemplars": 0, "net_speech": 0.0, "conditions": []}
    with FakeDaemon(tmp_path / "s", lambda _: [done(profile=torn)]) as daemon:
        result = voiceauth_here("profiles", "show", "eve", socket=daemon.path)
    assert "quality    -" in result.stdout
    assert "no: torn" in result.stdout


def test_an_enrolment_reports_each_take_and_then_the_profile(tmp_path):
    state = {"exemplars_needed": 5, "net_speech_needed": 20.0}
    replies = [
        going(state="listening", exemplars=0, net_speech=0.0, **state),
        going(state="take", accepted=True, quality=QUALITY, exemplars=1, net_speech=4.1, **state),
        going(
            state="take",
            accepted=True,
            advice="This sounds like a telephone headset.",
            quality=QUALITY | {"snr_db": 12.0, "level_dbfs": -45.0},
            exemplars=2,
            net_speech=8.2,
            **state,
        ),
        going(
            state="take", accepted=False, reason="too_short", advice="Say more.", exemplars=2, net_speech=8.2, **state
        ),
        done(state="done", exemplars=5, net_speech=20.5, profile=PROFILE, **state),
    ]
    with FakeDaemon(tmp_path / "s", lambda _: replies) as daemon:
        result = voiceauth_here("enroll", "alice", socket=daemon.path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    first = lines.index("take 1: accepted  4.1 s of speech, quiet background (SNR 24 dB), good level; so")
    assert lines[first + 1] == "  far 4.1 of 20 s, 1 of 5 exemplars"
    second = lines.index("take 2: accepted  4.1 s of speech, some noise (SNR 12 dB), very faint; so far")
    assert lines[second + 1] == "  8.2 of 20 s, 2 of 5 exemplars"
    assert lines[second + 2] == "  This sounds like a telephone headset."
    assert "take 3: refused  too_short: Say more.  (no speech)" in lines
    end = next(number for number, line in enumerate(lines) if line.startswith("enrolled alice b"))
    assert lines[end + 1] == "the profile is fair (exemplars agree by 0.71, SNR 22 dB)"
    assert lines[end + 2] == "  More speech makes it better: voiceauth enroll 'alice b' --add."


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        ({"net_speech": 3.0, "snr_db": None, "clipping": 0.0, "level_dbfs": -20.0}, "3.0 s of speech, good level"),
        (QUALITY | {"snr_db": 4.0}, "4.1 s of speech, noisy (SNR 4 dB), good level"),
        (
            QUALITY | {"level_dbfs": -5.0, "clipping": 0.02},
            "4.1 s of speech, quiet background (SNR 24 dB), very loud, distorted",
        ),
        ({}, "no speech"),
    ],
)
def test_audio_quality_is_described_in_words(quality, words):
    assert quality_text(quality) == words


def test_a_voice_that_has_another_name_is_refused_with_advice(tmp_path):
    detail = "this voice is already enrolled as 'bob': add to that profile, or delete it first"
    with FakeDaemon(tmp_path / "s", lambda _: [refusal("VoiceEnrolled", name="bob", detail=detail)]) as daemon:
        result = voiceauth_here("enroll", "alice", "--json", socket=daemon.path)
    assert result.returncode == ExitCode.STORAGE
    assert result.stderr == f"voiceauth: {detail}\n"
    assert json.loads(result.stdout.splitlines()[-1])["error"] == {"reason": "voice_enrolled", "message": detail}
