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
from voiceauthd.service.access import TABLE, Access
from voiceauthd.service.peer import OVERFLOW_UID, Peer, user_name

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
    "Enroll": {"root", "operator", "ann"},
    "ShowProfile": {"root", "operator", "ann"},
    "DeleteProfile": {"root", "operator", "ann"},
    "ExportProfile": {"root", "operator", "ann"},
    "Identify": {"root", "operator", "listener", "member"},
    "Monitor": {"root", "operator", "listener", "member"},
    "RenameProfile": {"root", "operator"},
    "ImportProfile": {"root", "operator"},
    "Reload": {"root", "operator"},
    "SendAudio": {"ann"},
}
"""Who may do what to Ann's profile, or with her claim. Written out again: a slip in the table must show here."""

peers = st.builds(
    Peer,
    uid=st.sampled_from([0, DAEMON, 1000, 1001, OVERFLOW_UID]),
    gid=st.sampled_from([0, 1000, MONITOR_GROUP]),
    pid=st.just(1),
    user=st.sampled_from([None, "root", "ann", "bob", ""]),
    groups=st.frozensets(st.sampled_from([27, MONITOR_GROUP])),
)
names = st.sampled_from([None, "ann", "bob", ""])
owners = st.sampled_from([None, 0, 1000, 1001, OVERFLOW_UID])


@pytest.mark.parametrize(("method", "who"), list(itertools.product(sorted(ABOUT_ANN), sorted(EVERYBODY))))
def test_the_table_says_what_is_written_here(method, who):
    owner = ANN.uid if method == "SendAudio" else None
    name = None if method == "SendAudio" else "ann"
    assert ACCESS.allowed(PEERS[who], method, name, owner) is (who in ABOUT_ANN[method])


def test_every_method_of_the_interface_has_a_row_and_no_row_is_left_over():
    assert set(TABLE) == set(load(VOICEAUTHD).methods) == set(ABOUT_ANN)


@given(peers, st.text(max_size=12).filter(lambda text: text not in TABLE), names, owners)
def test_without_a_row_nobody_may(peer, method, name, owner):
    assert ACCESS.allowed(peer, method, name, owner) is False


@pytest.mark.parametrize("method", ["verify", "org.voiceauthd.Info", "GetInfo", ""])
def test_only_the_exact_name_is_a_row(method):
    assert not ACCESS.allowed(ROOT, method)


def test_a_profile_belongs_to_its_owner_whatever_its_name():
    assert ACCESS.allowed(BOB, "Verify", "the boss", BOB.uid)
    assert not ACCESS.allowed(ANN, "Verify", "the boss", BOB.uid)


def test_a_call_about_no_profile_belongs_to_nobody():
    assert not ACCESS.allowed(ANN, "Verify")
    assert not ACCESS.allowed(NAMELESS, "Verify")
    assert not ACCESS.allowed(NAMELESS, "Verify", "")


def test_a_name_is_ones_own_only_letter_by_letter():
    for name in ("Ann", "ann ", "ann\0", "\u0430nn"):
        assert not ACCESS.allowed(ANN, "Verify", name)


@given(st.sampled_from(sorted(TABLE)), names, owners)
def test_without_a_group_membership_gives_nothing(method, name, owner):
    closed = Access(DAEMON, None)
    outsider = Peer(MEMBER.uid, MEMBER.gid, 1, MEMBER.user)
    assert closed.allowed(MEMBER, method, name, owner) is ACCESS.allowed(outsider, method, name, owner)
    assert not closed.sees_scores(MEMBER)


@given(peers, st.sampled_from(sorted(TABLE)), names, owners)
def test_a_stranger_may_only_what_everybody_may(peer, method, name, owner):
    """Whoever is neither root, operator, owner, holder nor in the group has the same rights as anybody."""
    mine = peer.uid == owner or (peer.user is not None and peer.user == name)
    special = peer.uid in (0, DAEMON) or peer.gid == MONITOR_GROUP or MONITOR_GROUP in peer.groups or mine
    if not special:
        assert ACCESS.allowed(peer, method, name, owner) is (ABOUT_ANN[method] is EVERYBODY)
        assert not ACCESS.sees_scores(peer)
        assert not ACCESS.sees_profile(peer, name or "x", owner)


@given(peers, names, owners)
def test_scores_go_to_administrators_and_the_group_only(peer, name, owner):
    entitled = peer.uid in (0, DAEMON) or peer.gid == MONITOR_GROUP or MONITOR_GROUP in peer.groups
    assert ACCESS.sees_scores(peer) is entitled
    assert ACCESS.sees_scores(peer) is ACCESS.allowed(peer, "Monitor", name, owner)


def test_owning_a_profile_does_not_show_scores():
    assert not ACCESS.sees_scores(ANN)


def test_others_see_only_their_own_profiles():
    assert ACCESS.sees_profile(ANN, "ann", None)
    assert ACCESS.sees_profile(ANN, "the boss", ANN.uid)
    assert not ACCESS.sees_profile(ANN, "bob", BOB.uid)
    assert not ACCESS.sees_profile(LISTENER, "ann", ANN.uid)
    assert ACCESS.sees_profile(ROOT, "ann", ANN.uid)
    assert ACCESS.sees_profile(OPERATOR, "ann", ANN.uid)


@given(st.sampled_from(sorted(TABLE)), names)
def test_the_uid_that_stands_for_all_foreign_users_is_nobody(method, name):
    foreign = Peer(OVERFLOW_UID, OVERFLOW_UID, 1, user_name(OVERFLOW_UID))
    everybody = ABOUT_ANN[method] is EVERYBODY
    assert ACCESS.allowed(foreign, method, name, OVERFLOW_UID) is everybody
    assert Access(OVERFLOW_UID).allowed(foreign, method, name, OVERFLOW_UID) is everybody


def test_the_configured_group_is_looked_up():
    group = grp.getgrall()[-1]
    access = Access.from_config(AccessConfig(monitor_group=group.gr_name))
    assert access == Access(os.geteuid(), group.gr_gid)
    assert Access.from_config(AccessConfig()).monitor_gid is None


def test_a_group_that_does_not_exist_is_refused_in_words():
    with pytest.raises(ConfigError, match="no-such-group"):
        Access.from_config(AccessConfig(monitor_group="no-such-group"))
