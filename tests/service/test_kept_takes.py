"""Takes that are kept for the next try of an enrolment: whose they are, and when they are forgotten."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from inprocess_daemon import CALIBRATED, MALLORY, MODEL, RALPH, ROOT, InProcessDaemon, window

from voiceauthd.config.schema import Config, EnrollConfig
from voiceauthd.profiles.names import name_key
from voiceauthd.profiles.profile import Exemplar, timestamp
from voiceauthd.service import kept_takes
from voiceauthd.service.enrolment_time import EXTENSION, UTTERANCE_GRACE, EnrolmentTime
from voiceauthd.service.kept_takes import MAX_KEPT, Attempt, KeptTakes

TAKES = (Exemplar(np.eye(6, dtype=np.float32)[0], 4.0, 20.0, "default", timestamp()),)


def attempt(**changes: object) -> Attempt:
    made = Attempt(1000, name_key("Ann"), "new", "default", 1000, MODEL, None)
    return made._replace(**changes)


def test_kept_takes_are_given_once_to_the_same_attempt() -> None:
    kept = KeptTakes()
    kept.keep(attempt(), TAKES)
    assert kept.take(attempt()) == TAKES
    assert kept.take(attempt()) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"uid": 1001},
        {"key": name_key("Bob")},
        {"mode": "replace"},
        {"condition": "headset"},
        {"owner": None},
        {"model": dataclasses.replace(MODEL, digest="cd" * 32)},
        {"base": ("ab", 3)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_other_attempt_gets_them(change: dict) -> None:
    kept = KeptTakes()
    kept.keep(attempt(), TAKES)
    assert kept.take(attempt(**change)) == ()
    assert kept.take(attempt()) == TAKES


def test_they_are_forgotten_after_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_takes.time, "monotonic", lambda: now)
    kept = KeptTakes()
    kept.keep(attempt(), TAKES)
    now += 900.0
    assert kept.take(attempt()) == ()


def test_a_change_of_the_profile_forgets_them_for_every_caller() -> None:
    kept = KeptTakes()
    kept.keep(attempt(), TAKES)
    kept.keep(attempt(uid=0), TAKES)
    kept.forget("ANN")
    assert kept.take(attempt()) == kept.take(attempt(uid=0)) == ()


def test_a_later_try_replaces_an_earlier_one_and_nothing_replaces_it_by_nothing() -> None:
    kept = KeptTakes()
    kept.keep(attempt(), TAKES)
    kept.keep(attempt(condition="headset"), TAKES * 2)
    assert kept.take(attempt()) == ()
    assert kept.take(attempt(condition="headset")) == TAKES * 2
    kept.keep(attempt(), ())
    assert kept.take(attempt()) == ()


def test_only_so_many_are_kept() -> None:
    kept = KeptTakes()
    for uid in range(MAX_KEPT + 1):
        kept.keep(attempt(uid=uid), TAKES)
    assert kept.take(attempt(uid=0)) == ()
    assert all(kept.take(attempt(uid=uid)) for uid in range(1, MAX_KEPT + 1))


# Through the real methods


def enrolment(tmp_path: Path) -> InProcessDaemon:
    """A daemon that hears one take at each enrolment, which is not enough."""
    config = Config(enroll=EnrollConfig(speech=6.0, exemplars=3, timeout=0.3, refuse_duplicates=False))
    return InProcessDaemon(tmp_path, CALIBRATED, [window(1.0)], config)


async def continued(daemon: InProcessDaemon, peer: object, **parameters: object) -> float | None:
    """Enrol, and return the seconds of speech that an earlier try contributed. The try itself is not enough."""
    replies = await daemon.ask("Enroll", peer, **parameters)
    assert replies[-1].error == "org.voiceauthd.EnrolmentIncomplete", replies[-1]
    return replies[0].parameters.get("continued")


def test_a_user_never_gets_what_another_user_has_said(tmp_path: Path) -> None:
    async def life() -> None:
        daemon = enrolment(tmp_path)
        assert await continued(daemon, ROOT, name="newcomer") is None
        before = dict(daemon.state.kept_takes._kept)
        replies = await daemon.ask("Enroll", MALLORY, name="newcomer")
        assert replies[-1].error == "org.varlink.service.PermissionDenied"
        assert daemon.state.kept_takes._kept == before
        assert await continued(daemon, ROOT, name="newcomer") == 2.0

    asyncio.run(life())


def test_the_owner_and_root_each_go_on_from_their_own_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def account(name: str) -> int | None:
        return RALPH.uid if name == "Ralph" else None

    monkeypatch.setattr("voiceauthd.service.methods.account", account)
    monkeypatch.setattr("voiceauthd.service.context.account", account)

    async def life() -> None:
        daemon = enrolment(tmp_path)
        asked = {"name": "Ralph", "mode": "replace"}
        assert await continued(daemon, ROOT, **asked) is None
        for expected in (None, 2.0):
            proof, _ = daemon.state.proofs.issue(RALPH.uid)
            assert await continued(daemon, RALPH, proof=proof, **asked) == expected
        assert await continued(daemon, ROOT, **asked) == 2.0

    asyncio.run(life())


def test_a_dead_worker_neither_writes_a_profile_nor_loses_what_is_kept(tmp_path: Path) -> None:
    async def life() -> None:
        daemon = enrolment(tmp_path)
        assert await continued(daemon, ROOT, name="newcomer") is None
        daemon.live.alive = False
        replies = await daemon.ask("Enroll", ROOT, name="newcomer")
        assert replies[-1].error == "org.voiceauthd.NotReady"
        daemon.live.alive = True
        assert await continued(daemon, ROOT, name="newcomer") == 2.0

    asyncio.run(life())


def test_a_reload_during_the_enrolment_keeps_nothing(tmp_path: Path) -> None:
    async def life() -> None:
        daemon = enrolment(tmp_path)
        call = asyncio.create_task(daemon.ask("Enroll", ROOT, name="newcomer"))
        await asyncio.sleep(0.1)
        daemon.state.use(daemon.state.config, daemon.state.access, dataclasses.replace(daemon.state.engine))
        replies = await call
        assert replies[-1].error == "org.voiceauthd.EnrolmentIncomplete"
        assert "kept" not in replies[-1].parameters["detail"]
        assert await continued(daemon, ROOT, name="newcomer") is None

    asyncio.run(life())


# The time


def test_an_accepted_take_leaves_time_for_the_next_one() -> None:
    time = EnrolmentTime(60.0, 100.0)
    time.accepted(110.0)
    assert time.remaining(110.0) == 50.0, "there is more than that left anyway"
    time.accepted(159.0)
    assert time.remaining(159.0) == EXTENSION
    assert not time.is_over(178.0, speaking=False)
    assert time.is_over(179.0, speaking=False)


def test_the_time_ends_for_good_at_three_times_what_was_asked_for() -> None:
    time = EnrolmentTime(10.0, 0.0)
    for now in range(40):
        time.accepted(float(now))
        time.worked(100.0)
    assert time.deadline == 30.0
    assert time.is_over(30.0, speaking=False)


def test_an_utterance_may_end_but_not_go_on_for_ever() -> None:
    time = EnrolmentTime(10.0, 0.0)
    assert not time.is_over(10.0 + UTTERANCE_GRACE - 0.1, speaking=True)
    assert time.is_over(10.0 + UTTERANCE_GRACE, speaking=True)
    assert time.remaining(12.0) == 0.0


def test_a_time_that_is_no_number_is_over() -> None:
    assert EnrolmentTime(float("nan"), 0.0).is_over(0.0, speaking=True)
