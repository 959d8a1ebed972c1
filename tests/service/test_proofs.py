"""A proof is good once, for a minute, and for one user."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from voiceauthd.protocol.interface import MismatchError
from voiceauthd.server.peer import OVERFLOW_UID
from voiceauthd.service import proofs
from voiceauthd.service.proofs import LIFETIME, MOST, Proofs, require_provable

ANN, BOB = 1000, 1001


class Clock:
    """In the place of the module's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(proofs, "time", clock)
    return clock


def test_a_proof_is_good_once():
    given = Proofs()
    proof, expires = given.give(ANN)
    assert (given.spend(proof, ANN), expires) == (True, LIFETIME)
    assert not given.spend(proof, ANN)


def test_a_proof_of_another_user_never_works_and_is_spent_by_trying():
    given = Proofs()
    proof, _ = given.give(ANN)
    assert not given.spend(proof, BOB)
    assert not given.spend(proof, ANN)


def test_a_proof_dies_after_its_time(clock):
    given = Proofs()
    first, _ = given.give(ANN)
    clock.now += LIFETIME - 0.001
    second, _ = given.give(BOB)
    clock.now += 0.001
    assert not given.spend(first, ANN)
    assert given.spend(second, BOB)


def test_a_newer_proof_replaces_the_older_one_of_its_user():
    given = Proofs()
    old, _ = given.give(ANN)
    new, _ = given.give(ANN)
    assert not given.spend(old, ANN)
    assert given.spend(new, ANN)


def test_one_user_cannot_push_out_the_proof_of_another():
    given = Proofs()
    proof, _ = given.give(ANN)
    for _ in range(10 * MOST):
        given.give(BOB)
    assert given.spend(proof, ANN)


def test_what_is_kept_is_bounded():
    given = Proofs()
    first, _ = given.give(ANN)
    made = [given.give(2000 + index)[0] for index in range(MOST)]
    assert not given.spend(first, ANN)
    assert all(given.spend(proof, 2000 + index) for index, proof in enumerate(made))


@pytest.mark.parametrize("wrong", [None, "", " ", "x", "\ud800", "ä" * 1000, "\0"])
def test_what_is_no_proof_opens_nothing_and_spends_nothing(wrong):
    given = Proofs()
    proof, _ = given.give(ANN)
    assert not given.spend(wrong, ANN)
    assert not given.spend(proof[:-1], ANN)
    assert not given.spend(proof + " ", ANN)
    assert given.spend(proof, ANN)


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, 2**32, OVERFLOW_UID, 2**63 - 1])
def test_for_what_is_no_user_there_is_no_proof(uid):
    with pytest.raises(MismatchError):
        require_provable(uid)


@pytest.mark.parametrize("uid", [0, 1, 1000, 2**32 - 2])
def test_for_a_user_there_is_one(uid):
    require_provable(uid)
    given = Proofs()
    assert given.spend(given.give(uid)[0], uid)


class Spending(RuleBasedStateMachine):
    """Against a model that only remembers what was given last to whom, and when."""

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
        proof, _ = self.proofs.give(uid)
        self.valid[uid] = (proof, self.clock.now + LIFETIME)
        return proof, uid

    @rule(seconds=st.sampled_from([0.0, 1.0, LIFETIME / 2, LIFETIME, 1e6]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(one=given, uid=st.sampled_from([0, ANN, BOB]))
    def spend(self, one: tuple[str, int], uid: int) -> None:
        proof, owner = one
        kept = self.valid.get(owner)
        good = kept is not None and kept[0] == proof and self.clock.now < kept[1]
        assert self.proofs.spend(proof, uid) is (good and uid == owner)
        if good:
            del self.valid[owner]

    @invariant()
    def no_guess_works(self) -> None:
        assert not self.proofs.spend("guess", ANN)


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
