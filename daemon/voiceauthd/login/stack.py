"""Where the voice goes in a stack of PAM's: right before the password is asked for. And what it would upset there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from voiceauthd.errors import StorageError
from voiceauthd.login.block import is_ours
from voiceauthd.login.pamfile import Entry, refusal

MAX_DEPTH = 16
"""Files that include one another. Linux-PAM's own bound is 32."""

ASK_PASSWORD = frozenset(
    {
        "pam_himmelblau",
        "pam_krb5",
        "pam_ldap",
        "pam_ldapd",
        "pam_mysql",
        "pam_pgsql",
        "pam_pwdb",
        "pam_radius_auth",
        "pam_sss",
        "pam_systemd_home",
        "pam_tcb",
        "pam_unix",
        "pam_unix2",
        "pam_unix_auth",
        "pam_unix_ng",
        "pam_userdb",
        "pam_winbind",
    }
)

KEEP_NOBODY_OUT = frozenset(
    {
        "pam_afs_session",
        "pam_cap",
        "pam_deny",  # what follows a password that was wrong
        "pam_echo",
        "pam_ecryptfs",
        "pam_env",
        "pam_faildelay",
        "pam_faillock",  # counts wrong passwords
        "pam_fscrypt",
        "pam_gnome_keyring",
        "pam_group",
        "pam_issue",
        "pam_keyinit",
        "pam_kwallet",
        "pam_kwallet5",
        "pam_mount",
        "pam_permit",
        "pam_tally2",
        "pam_umask",
        "pam_warn",
        "pam_zfs_key",
    }
)
"""An accept may skip these, required or not: they judge passwords, or prepare a session."""

Read = Callable[[str, int], list[Entry]]
"""The entries of a file that is included: its name, and how deep. Raises `StorageError` if it cannot be had."""


class Place(NamedTuple):
    """Where the block goes: before line `at`, an index. skipped: the names of what an accept passes over."""

    at: int
    skipped: tuple[str, ...]


class Step(NamedTuple):
    """A module that is run, wherever it is written: `file` and `line` (from 1)."""

    entry: Entry
    file: str
    line: int


def steps(entries: Iterable[Entry], name: str, read: Read, depth: int = 0) -> Iterator[Step]:
    """The modules that ask who somebody is, with those of all files that are included."""
    for entry in entries:
        if entry.type not in {"auth", ""}:
            continue
        if entry.includes:
            if depth >= MAX_DEPTH:
                raise refusal(name, entry.first + 1, f"includes files more than {MAX_DEPTH} deep")
            yield from steps(read(entry.includes, depth), entry.includes, read, depth + 1)
        else:
            yield Step(entry, name, entry.first + 1)


def find_place(entries: list[Entry], name: str, read: Read, may_skip: frozenset[str]) -> Place:
    """Where the voice goes in file `name`: right above the first line that asks for the password.

    may_skip  modules (bare names) that somebody has said may be skipped by an accept

    Raises `StorageError` if no password is asked for there, if a line above would jump over the block, if a voice is
    asked for already, or if an accept would skip a check that is no password.
    """
    asking = [entry for entry in entries if entry.type in {"auth", ""}]
    inside = [list(steps([entry], name, read)) for entry in asking]
    for step in (step for group in inside for step in group):
        if is_ours(step.entry):
            raise refusal(step.file, step.line, "asks for a voice already")
    place = next(
        (at for at, group in enumerate(inside) if any(step.entry.bare in ASK_PASSWORD for step in group)), None
    )
    if place is None:
        raise StorageError(f"{name} asks for no password that a voice could stand for; nothing was changed", "no_place")
    jumper = jump_over(inside, asking, place)
    if jumper is not None:
        what = f"jumps over {jumper.entry.jumps} lines, and would land elsewhere with a line more below it"
        raise refusal(jumper.file, jumper.line, what)
    tail = [step for group in inside[place:] for step in group]
    _refuse_skipped(tail, may_skip)
    return Place(asking[place].first, tuple(dict.fromkeys(step.entry.bare for step in tail)))


def jump_over(inside: list[list[Step]], asking: list[Entry], place: int) -> Step | None:
    """A line before line `place` of `asking` whose jump may reach beyond the point above that line.

    inside  the modules that each line of `asking` stands for

    Between the two, an included file counts as no module: it may have none tomorrow.
    """
    for at, group in enumerate(inside[:place]):
        between = sum(not entry.includes for entry in asking[at + 1 : place])
        for position, step in enumerate(group):
            if step.entry.jumps > len(group) - position - 1 + between:
                return step
    return None


def _refuse_skipped(tail: list[Step], may_skip: frozenset[str]) -> None:
    passed = False  # a right password does not get as far as what comes now
    for step in tail:
        bare = step.entry.bare
        if bare in ASK_PASSWORD:
            success = step.entry.actions.get("success", step.entry.actions["default"])
            passed = passed or success == "done" or success.isdigit()
            continue
        harmless = bare in KEEP_NOBODY_OUT and (passed or bare != "pam_deny")
        if step.entry.may_deny and not harmless and bare not in may_skip:
            what = f"checks by {bare}, which an accepted voice would skip (--may-skip {bare} says that it may)"
            raise refusal(step.file, step.line, what)
