"""Windows that the quality gate refuses: the caller gets reason and advice, and the windows count for nothing."""

from __future__ import annotations

import pytest
from inprocess_daemon import CALIBRATED, LISTENER, RALPH, ask, run_scenario, window

from voiceauthd.profiles.take_verdict import ADVICE as TAKE_ADVICE
from voiceauthd.scoring.advice import ADVICE
from voiceauthd.service.monitoring import events

BAD = {
    "too_quiet": {"level_dbfs": -80.0},
    "clipped": {"clipping": 0.2},
    "noisy": {"snr_db": -15.0},
}


def progress(replies):
    return [reply.parameters for reply in replies if reply.parameters["state"] == "progress"]


@pytest.mark.parametrize(("reason", "quality"), BAD.items())
@pytest.mark.parametrize("method", ["Verify", "Identify"])
def test_each_refused_window_is_reported_with_its_reason_and_none_is_decided_on(tmp_path, method, reason, quality):
    name = {"name": "Ralph"} if method == "Verify" else {}
    replies, _ = ask(tmp_path, CALIBRATED, [window(1.0, **quality)] * 3, method, timeout=0.2, **name)
    reported = progress(replies)
    assert [(reply["reason"], reply["advice"]) for reply in reported] == [(reason, ADVICE[reason])] * 3
    assert {reply["net_speech"] for reply in reported} == {0.0}
    last = replies[-1].parameters
    assert (last.get("outcome") or last["decision"], last["reason"]) in {
        ("inconclusive", reason),
        ("undecided", reason),
    }
    assert last["advice"] == ADVICE[reason]


def test_refused_windows_between_good_ones_are_left_out(tmp_path):
    bad = window(0.1, **BAD["noisy"])
    replies, _ = ask(
        tmp_path, CALIBRATED, [bad, window(1.0), bad, window(1.0)], "Verify", RALPH, name="Ralph", timeout=0.2
    )
    last = replies[-1].parameters
    assert (last["outcome"], last["reason"]) == ("accept", "match")
    assert last["net_speech"] == last["net_speech_needed"] == 2.0


@pytest.mark.parametrize(("reason", "quality"), BAD.items())
def test_a_take_without_a_usable_window_is_refused_with_its_reason(tmp_path, reason, quality):
    bad = [window(1.0, **quality)] * 2
    replies, _ = ask(tmp_path, CALIBRATED, bad, "Enroll", name="Newcomer", timeout=0.3)
    takes = [reply.parameters for reply in replies if reply.parameters.get("state") == "take"]
    assert [(take["accepted"], take["reason"], take["advice"]) for take in takes] == [
        (False, reason, TAKE_ADVICE[reason])
    ]
    assert takes[0]["quality"]["net_speech"] == 2.0
    assert (takes[0]["exemplars"], takes[0]["net_speech"]) == (0, 0.0)
    assert replies[-1].error == "org.voiceauthd.EnrolmentIncomplete"
    assert reason in replies[-1].parameters["detail"]


def test_the_good_windows_of_a_take_are_used(tmp_path):
    take = [window(0.1), window(0.1, **BAD["clipped"])]
    replies, _ = ask(tmp_path, CALIBRATED, take, "Enroll", name="Newcomer", timeout=0.3)
    takes = [reply.parameters for reply in replies if reply.parameters.get("state") == "take"]
    assert [take["accepted"] for take in takes] == [True]
    assert takes[0]["net_speech"] == 2.0


def test_a_monitor_gets_the_refused_window_with_its_reason(tmp_path):
    async def scenario(daemon):
        with daemon.bus.subscribe() as inbox:
            daemon.live.mark()
            async for event, _ in events(inbox, daemon.state):
                if event["kind"] == "window":
                    return event

    event = run_scenario(tmp_path, CALIBRATED, [window(1.0, **BAD["noisy"])], scenario)
    assert (event["decision"], event["reason"]) == ("undecided", "noisy")
    assert event["quality"]["snr_db"] == -15.0
    assert "score" not in event


def test_every_reason_of_the_gate_has_advice_for_decisions_and_for_enrolment():
    assert set(BAD) <= set(ADVICE) & set(TAKE_ADVICE)


def test_a_member_of_the_monitor_group_gets_the_reason_too(tmp_path):
    replies, _ = ask(tmp_path, CALIBRATED, [window(1.0, **BAD["clipped"])], "Identify", LISTENER, timeout=0.1)
    assert progress(replies)[0]["reason"] == "clipped"
