"""Proofs: each is valid once, for a minute, and for one user."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from voiceauthd.protocol.credentials import OVERFLOW_UID
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.service import proofs
from voiceauthd.service.proofs import LIFETIME, MAX_PROOFS, Proofs, require_provable

ANN, BOB = 1000, 1001


class Clock:
    """Replaces the module's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(proofs, "time", clock)
    return clock


def test_a_proof_is_valid_once():
    kept = Proofs()
    proof, expires = kept.issue(ANN)
    assert (kept.spend(proof, ANN), expires) == (True, LIFETIME)
    assert not kept.spend(proof, ANN)


def test_a_proof_of_another_user_never_works_and_is_spent_by_trying():
    kept = Proofs()
    proof, _ = kept.issue(ANN)
    assert not kept.spend(proof, BOB)
    assert not kept.spend(proof, ANN)


def test_a_proof_expires(clock):
    kept = Proofs()
    first, _ = kept.issue(ANN)
    clock.now += LIFETIME - 0.001
    second, _ = kept.issue(BOB)
    clock.now += 0.001
    assert not kept.spend(first, ANN)
    assert kept.spend(second, BOB)


def test_a_newer_proof_replaces_the_older_one_of_its_user():
    kept = Proofs()
    old, _ = kept.issue(ANN)
    new, _ = kept.issue(ANN)
    assert not kept.spend(old, ANN)
    assert kept.spend(new, ANN)


def test_one_user_cannot_push_out_the_proof_of_another():
    kept = Proofs()
    proof, _ = kept.issue(ANN)
    for _ in range(10 * MAX_PROOFS):
        kept.issue(BOB)
    assert kept.spend(proof, ANN)


def test_the_number_of_proofs_kept_is_bounded():
    kept = Proofs()
    first, _ = kept.issue(ANN)
    made = [kept.issue(2000 + index)[0] for index in range(MAX_PROOFS)]
    assert not kept.spend(first, ANN)
    assert all(kept.spend(proof, 2000 + index) for index, proof in enumerate(made))


@pytest.mark.parametrize("wrong", [None, "", " ", "x", "\ud800", "ä" * 1000, "\0"])
def test_an_invalid_proof_is_refused_and_spends_nothing(wrong):
    kept = Proofs()
    proof, _ = kept.issue(ANN)
    assert not kept.spend(wrong, ANN)
    assert not kept.spend(proof[:-1], ANN)
    assert not kept.spend(proof + " ", ANN)
    assert kept.spend(proof, ANN)


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, 2**32, OVERFLOW_UID, 2**63 - 1])
def test_a_uid_that_cannot_be_a_user_is_refused(uid):
    with pytest.raises(MismatchError):
        require_provable(uid)


@pytest.mark.parametrize("uid", [0, 1, 1000, 2**32 - 2])
def test_a_proof_can_be_issued_for_every_user(uid):
    require_provable(uid)
    kept = Proofs()
    assert kept.spend(kept.issue(uid)[0], uid)


class Spending(RuleBasedStateMachine):
    """Compares `Proofs` with a model that remembers only the last proof of each user and its expiry."""

    given = Bundle("given")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.real, proofs.time = proofs.time, self.clock
        self.proofs = Proofs()
        self.valid: dict[int, tuple[str, float]] = {}

    def teardown(self) -> None:
        proofs.time = self.real

    @rule(target=given, uid=st.sampled_from([0, ANN, BOB]))
    def give(self, uid: int) -> tuple[str, int]:
        proof, _ = self.proofs.issue(uid)
        self.valid[uid] = (proof, self.clock.now + LIFETIME)
        return proof, uid

    @rule(seconds=st.sampled_from([0.0, 1.0, LIFETIME / 2, LIFETIME, 1e6]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(one=given, uid=st.sampled_from([0, ANN, BOB]))
    def spend(self, one: tuple[str, int], uid: int) -> None:
        proof, owner = one
        kept = self.valid.get(owner)
        valid = kept is not None and kept[0] == proof and self.clock.now < kept[1]
        assert self.proofs.spend(proof, uid) is (valid and uid == owner)
        if valid:
            del self.valid[owner]

    @invariant()
    def no_guess_works(self) -> None:
        assert not self.proofs.spend("guess", ANN)


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
