"""The access table, row by row: who may do what, and that everything else is refused."""

from __future__ import annotations

import grp
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.config.schema import AccessConfig
from voiceauthd.errors import ConfigError
from voiceauthd.protocol.interface import VOICEAUTHD, load
from voiceauthd.server.peer import OVERFLOW_UID, Peer, user_name
from voiceauthd.service.access import TABLE, Access, Role, owner_of

DAEMON, MONITOR_GROUP = 990, 991
ACCESS = Access(DAEMON, MONITOR_GROUP)

ROOT = Peer(0, 0, 1, "root")
OPERATOR = Peer(DAEMON, DAEMON, 1, "voiceauthd")
ANN = Peer(1000, 1000, 1, "ann")
BOB = Peer(1001, 1001, 1, "bob")
LISTENER = Peer(1002, MONITOR_GROUP, 1, "carl")
MEMBER = Peer(1003, 1003, 1, "dora", frozenset({27, MONITOR_GROUP}))
NAMELESS = Peer(1004, 1004, 1, None)

EVERYBODY = {"root", "operator", "ann", "bob", "listener", "member", "nameless"}
PEERS = {
    "root": ROOT, "operator": OPERATOR, "ann": ANN, "bob": BOB, "listener": LISTENER, "member": MEMBER,
    "nameless": NAMELESS,
}  # fmt: skip

ABOUT_ANN = {
    "Info": EVERYBODY,
    "Status": EVERYBODY,
    "ListProfiles": EVERYBODY,
    "Verify": {"root", "operator", "ann"},
    "Enroll": {"root", "operator"},
    "ShowProfile": {"root", "operator", "ann"},
    "DeleteProfile": {"root", "operator"},
    "ExportProfile": {"root", "operator"},
    "Identify": {"root", "operator", "listener", "member"},
    "Monitor": {"root", "operator", "listener", "member"},
    "RenameProfile": {"root", "operator"},
    "ImportProfile": {"root", "operator"},
    "Unlock": {"root", "operator"},
    "Rekey": {"root", "operator"},
    "Reload": {"root", "operator"},
    "Vouch": {"root"},
    "SendAudio": {"ann"},
}
"""Who may do what to Ann's profile, or with her claim. Written out again: a slip in the table must show here."""

WITH_HER_PASSWORD = {"Enroll", "DeleteProfile", "ExportProfile"}
"""What Ann may do besides, once she has given it."""

users = st.sampled_from([0, DAEMON, 1000, 1001, OVERFLOW_UID])
peers = st.builds(
    Peer,
    uid=users,
    gid=st.sampled_from([0, 1000, MONITOR_GROUP]),
    pid=st.just(1),
    user=st.sampled_from([None, "root", "ann", "bob", ""]),
    groups=st.frozensets(st.sampled_from([27, MONITOR_GROUP])),
)
names = st.sampled_from(["ann", "bob", "", "Ann"])
owners = st.none() | users


@pytest.mark.parametrize(("method", "who"), list(itertools.product(sorted(ABOUT_ANN), sorted(EVERYBODY))))
def test_the_table_says_what_is_written_here(method, who):
    owner, holder = (None, ANN.uid) if method == "SendAudio" else (ANN.uid, None)
    assert ACCESS.allowed(PEERS[who], method, owner, holder=holder) is (who in ABOUT_ANN[method])


@pytest.mark.parametrize(("method", "who"), list(itertools.product(sorted(ABOUT_ANN), sorted(EVERYBODY))))
def test_a_password_opens_these_to_the_owner_and_nothing_to_others(method, who):
    owner, holder = (None, ANN.uid) if method == "SendAudio" else (ANN.uid, None)
    more = who == "ann" and method in WITH_HER_PASSWORD
    assert ACCESS.allowed(PEERS[who], method, owner, holder=holder, proven=True) is (who in ABOUT_ANN[method] or more)


def test_every_method_of_the_interface_has_a_row_and_no_row_is_left_over():
    assert set(TABLE) == set(load(VOICEAUTHD).methods) == set(ABOUT_ANN)


def test_the_methods_that_take_a_proof_are_those_that_need_one():
    taking = {name for name, method in load(VOICEAUTHD).methods.items() if "proof" in method.parameters.fields}
    assert taking == {method for method, roles in TABLE.items() if Role.PROVEN in roles and Role.OWNER not in roles}


@given(peers, st.text(max_size=12).filter(lambda text: text not in TABLE), owners, owners, st.booleans())
def test_without_a_row_nobody_may(peer, method, owner, holder, proven):
    assert ACCESS.allowed(peer, method, owner, holder=holder, proven=proven) is False


@pytest.mark.parametrize("method", ["verify", "org.voiceauthd.Info", "GetInfo", ""])
def test_only_the_exact_name_is_a_row(method):
    assert not ACCESS.allowed(ROOT, method)


@given(st.none() | users, st.none() | users)
def test_a_voice_has_one_owner_or_none(account, noted):
    """Where account and profile name two users, neither may use it."""
    owner = owner_of(account, noted)
    if owner is None:
        assert account is None is noted or account != noted
    else:
        assert {account, noted} <= {owner, None}
    assert owner == owner_of(noted, account)


def test_a_call_about_nobody_belongs_to_nobody():
    for method, who in ABOUT_ANN.items():
        assert ACCESS.allowed(ANN, method, proven=True) is (who is EVERYBODY)
        assert ACCESS.allowed(NAMELESS, method, proven=True) is (who is EVERYBODY)


def test_a_claim_is_its_holders_whoever_owns_the_voice():
    assert ACCESS.allowed(BOB, "SendAudio", ANN.uid, holder=BOB.uid)
    for peer in (ROOT, OPERATOR, ANN):
        assert not ACCESS.allowed(peer, "SendAudio", ANN.uid, holder=BOB.uid, proven=True)


def test_vouching_is_for_root_alone_also_where_another_runs_the_daemon():
    assert ACCESS.allowed(ROOT, "Vouch")
    assert not ACCESS.allowed(OPERATOR, "Vouch", OPERATOR.uid, proven=True)
    assert Access(0).allowed(ROOT, "Vouch")


@given(st.sampled_from(sorted(TABLE)), owners)
def test_without_a_group_membership_gives_nothing(method, owner):
    closed = Access(DAEMON, None)
    outsider = Peer(MEMBER.uid, MEMBER.gid, 1, MEMBER.user)
    assert closed.allowed(MEMBER, method, owner) is ACCESS.allowed(outsider, method, owner)
    assert not closed.sees_scores(MEMBER)


@given(peers, st.sampled_from(sorted(TABLE)), names, owners)
def test_a_stranger_may_only_what_everybody_may(peer, method, name, owner):
    """Whoever is neither root, operator, owner, holder nor in the group has the same rights as anybody."""
    special = peer.uid in (0, DAEMON, owner) or peer.gid == MONITOR_GROUP or MONITOR_GROUP in peer.groups
    if not special:
        assert ACCESS.allowed(peer, method, owner, holder=owner, proven=True) is (ABOUT_ANN[method] is EVERYBODY)
        assert not ACCESS.sees_scores(peer)
        assert (owner is None and name == peer.user) or not ACCESS.sees_profile(peer, name, owner)


@given(peers, owners)
def test_scores_go_to_administrators_and_the_group_only(peer, owner):
    entitled = peer.uid in (0, DAEMON) or peer.gid == MONITOR_GROUP or MONITOR_GROUP in peer.groups
    assert ACCESS.sees_scores(peer) is entitled
    assert ACCESS.sees_scores(peer) is ACCESS.allowed(peer, "Monitor", owner)


def test_owning_a_profile_does_not_show_scores():
    assert not ACCESS.sees_scores(ANN)


def test_others_see_only_their_own_profiles():
    assert ACCESS.sees_profile(ANN, "ann", None)
    assert ACCESS.sees_profile(ANN, "the boss", ANN.uid)
    assert not ACCESS.sees_profile(ANN, "bob", BOB.uid)
    assert not ACCESS.sees_profile(LISTENER, "ann", ANN.uid)
    assert ACCESS.sees_profile(ROOT, "ann", ANN.uid)
    assert ACCESS.sees_profile(OPERATOR, "ann", ANN.uid)


def test_a_profile_that_bears_ones_name_and_notes_another_is_not_seen():
    assert not ACCESS.sees_profile(ANN, "ann", BOB.uid)
    for name in ("Ann", "ann ", "ann\0", "\u0430nn", "\uff41nn", "a\u0301nn"):
        assert not ACCESS.sees_profile(ANN, name, None)


@pytest.mark.parametrize("method", sorted(TABLE))
def test_the_uid_that_stands_for_all_foreign_users_is_nobody(method):
    foreign = Peer(OVERFLOW_UID, OVERFLOW_UID, 1, user_name(OVERFLOW_UID))
    everybody = ABOUT_ANN[method] is EVERYBODY
    for access in (ACCESS, Access(OVERFLOW_UID)):
        assert access.allowed(foreign, method, OVERFLOW_UID, holder=OVERFLOW_UID, proven=True) is everybody
    assert not ACCESS.sees_profile(foreign, "nobody", OVERFLOW_UID)


def test_the_configured_group_is_looked_up():
    group = grp.getgrall()[-1]
    access = Access.from_config(AccessConfig(monitor_group=group.gr_name))
    assert access == Access(os.geteuid(), group.gr_gid)
    assert Access.from_config(AccessConfig()).monitor_gid is None


def test_a_group_that_does_not_exist_is_refused_in_words():
    with pytest.raises(ConfigError, match="no-such-group"):
        Access.from_config(AccessConfig(monitor_group="no-such-group"))
