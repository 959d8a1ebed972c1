"""The access table, row by row, and that everything else is denied."""

from __future__ import annotations

import grp
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.config.schema import AccessConfig
from voiceauthd.errors import ConfigError
from voiceauthd.protocol.credentials import OVERFLOW_UID
from voiceauthd.protocol.interface import VOICEAUTHD, load
from voiceauthd.server.peer import Peer, user_name
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
    "DropExemplar": {"root", "operator"},
    "ExportProfile": {"root", "operator"},
    "Identify": {"root", "operator", "listener", "member"},
    "Monitor": {"root", "operator", "listener", "member"},
    "VerifyRecording": {"root", "operator"},
    "IdentifyRecording": {"root", "operator"},
    "RenameProfile": {"root", "operator"},
    "ImportProfile": {"root", "operator"},
    "Unlock": {"root", "operator"},
    "Rekey": {"root", "operator"},
    "Reload": {"root", "operator"},
    "Vouch": {"root"},
    "SendAudio": {"ann"},
}
"""Who may call each method about Ann's profile, or with her claim. Written out again, so that a mistake in the table
shows here."""

WITH_HER_PASSWORD = {"Enroll", "DeleteProfile", "DropExemplar", "ExportProfile"}
"""What Ann may call in addition, once she has given her password."""

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


def allowed_about_ann(*, proven):
    """Who may call each method, as in `ABOUT_ANN`."""
    found = {}
    for method in ABOUT_ANN:
        owner, holder = (None, ANN.uid) if method == "SendAudio" else (ANN.uid, None)
        found[method] = {
            who for who, peer in PEERS.items() if ACCESS.allowed(peer, method, owner, holder=holder, proven=proven)
        }
    return found


def test_each_method_is_allowed_to_exactly_the_callers_written_here():
    assert allowed_about_ann(proven=False) == ABOUT_ANN


def test_a_password_allows_the_owner_four_more_methods_and_others_nothing():
    more = {method: ABOUT_ANN[method] | {"ann"} for method in WITH_HER_PASSWORD}
    assert allowed_about_ann(proven=True) == ABOUT_ANN | more


def test_the_table_has_exactly_the_methods_of_the_interface():
    assert set(TABLE) == set(load(VOICEAUTHD).methods) == set(ABOUT_ANN)


def test_exactly_the_methods_that_need_a_proof_take_one():
    taking = {name for name, method in load(VOICEAUTHD).methods.items() if "proof" in method.parameters.fields}
    assert taking == {method for method, roles in TABLE.items() if Role.PROVEN in roles and Role.OWNER not in roles}


@given(peers, st.text(max_size=12).filter(lambda text: text not in TABLE), owners, owners, st.booleans())
def test_a_method_without_a_row_is_denied_to_everybody(peer, method, owner, holder, proven):
    assert ACCESS.allowed(peer, method, owner, holder=holder, proven=proven) is False


def test_a_method_must_be_given_by_its_exact_name():
    assert not any(ACCESS.allowed(ROOT, method) for method in ("verify", "org.voiceauthd.Info", "GetInfo", ""))


@given(st.none() | users, st.none() | users)
def test_a_voice_has_one_owner_or_none(account, noted):
    """If account and profile name two users, neither may use the profile."""
    owner = owner_of(account, noted)
    if owner is None:
        assert account is None is noted or account != noted
    else:
        assert {account, noted} <= {owner, None}
    assert owner == owner_of(noted, account)


def test_a_call_about_a_profile_without_an_owner_has_no_owner():
    for method, who in ABOUT_ANN.items():
        assert ACCESS.allowed(ANN, method, proven=True) is (who is EVERYBODY)
        assert ACCESS.allowed(NAMELESS, method, proven=True) is (who is EVERYBODY)


def test_a_claim_belongs_to_its_holder_whoever_owns_the_voice():
    assert ACCESS.allowed(BOB, "SendAudio", ANN.uid, holder=BOB.uid)
    for peer in (ROOT, OPERATOR, ANN):
        assert not ACCESS.allowed(peer, "SendAudio", ANN.uid, holder=BOB.uid, proven=True)


def test_only_root_vouches_even_if_another_user_runs_the_daemon():
    assert ACCESS.allowed(ROOT, "Vouch")
    assert not ACCESS.allowed(OPERATOR, "Vouch", OPERATOR.uid, proven=True)
    assert Access(0).allowed(ROOT, "Vouch")


@given(st.sampled_from(sorted(TABLE)), owners)
def test_without_a_configured_group_membership_allows_nothing(method, owner):
    closed = Access(DAEMON, None)
    outsider = Peer(MEMBER.uid, MEMBER.gid, 1, MEMBER.user)
    assert closed.allowed(MEMBER, method, owner) is ACCESS.allowed(outsider, method, owner)
    assert not closed.sees_scores(MEMBER)


@given(peers, st.sampled_from(sorted(TABLE)), names, owners)
def test_other_users_may_call_only_what_everybody_may(peer, method, name, owner):
    """A caller who is not root, operator, owner, holder or in the group has only the rights of everybody."""
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


def test_users_see_only_their_own_profiles_and_administrators_see_all():
    assert ACCESS.sees_profile(ANN, "ann", None)
    assert ACCESS.sees_profile(ANN, "the boss", ANN.uid)
    assert not ACCESS.sees_profile(ANN, "bob", BOB.uid)
    assert not ACCESS.sees_profile(LISTENER, "ann", ANN.uid)
    assert ACCESS.sees_profile(ROOT, "ann", ANN.uid)
    assert ACCESS.sees_profile(OPERATOR, "ann", ANN.uid)


def test_a_profile_with_the_callers_name_but_another_owner_is_not_seen():
    assert not ACCESS.sees_profile(ANN, "ann", BOB.uid)
    for name in ("Ann", "ann ", "ann\0", "\u0430nn", "\uff41nn", "a\u0301nn"):
        assert not ACCESS.sees_profile(ANN, name, None)


def test_the_overflow_uid_of_foreign_user_namespaces_is_never_an_owner():
    foreign = Peer(OVERFLOW_UID, OVERFLOW_UID, 1, user_name(OVERFLOW_UID))
    for access in (ACCESS, Access(OVERFLOW_UID)):
        found = {
            method
            for method in TABLE
            if access.allowed(foreign, method, OVERFLOW_UID, holder=OVERFLOW_UID, proven=True)
        }
        assert found == {method for method, who in ABOUT_ANN.items() if who is EVERYBODY}
    assert not ACCESS.sees_profile(foreign, "nobody", OVERFLOW_UID)


def test_the_configured_group_is_looked_up():
    group = grp.getgrall()[-1]
    access = Access.from_config(AccessConfig(monitor_group=group.gr_name))
    assert access == Access(os.geteuid(), group.gr_gid)
    assert Access.from_config(AccessConfig()).monitor_gid is None


def test_a_group_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ConfigError, match="no-such-group"):
        Access.from_config(AccessConfig(monitor_group="no-such-group"))


def test_a_denied_monitor_names_the_setting_and_the_group_that_would_allow_it() -> None:
    nobody_yet = Access(0).who_may("Monitor", "ann")
    assert "access.monitor_group" in nobody_yet
    group = grp.getgrgid(os.getgid())
    named = Access(0, group.gr_gid).who_may("Identify", "ann")
    assert f"usermod -aG {group.gr_name} ann" in named
    assert "access.monitor_group" in named
    assert "owner of the voice" in Access(0).who_may("Verify", "ann")
    assert Access(0).who_may("IdentifyRecording", "ann") == "only root may do it"
