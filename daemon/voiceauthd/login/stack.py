"""Find where the voice goes in a PAM stack: right before the password. Refuse stacks that a block would break."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from voiceauthd.errors import StorageError
from voiceauthd.login.block import runs_helper
from voiceauthd.login.pamfile import Entry, refusal

MAX_DEPTH = 16
"""Maximum depth of nested includes. Linux-PAM's own limit is 32."""

PASSWORD_MODULES = frozenset(
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

SKIPPABLE_MODULES = frozenset(
    {
        "pam_afs_session",
        "pam_cap",
        "pam_deny",  # reached after a wrong password
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
"""Modules that may be skipped after an accepted voice, required or not: they judge passwords, or prepare a session."""

Read = Callable[[str, int], list[Entry]]
"""Returns the entries of an included file, given its name and depth. Raises `StorageError` if it cannot be read."""


class InsertionPoint(NamedTuple):
    """Where the block goes: before the line with index `at`. skipped: modules skipped after an accepted voice."""

    at: int
    skipped: tuple[str, ...]


class Step(NamedTuple):
    """A module that PAM runs, and the `file` and `line` (from 1) that name it."""

    entry: Entry
    file: str
    line: int


def steps(entries: Iterable[Entry], name: str, read: Read, depth: int = 0) -> Iterator[Step]:
    """Yield the modules of the auth stack, with those of all included files."""
    for entry in entries:
        if entry.type not in {"auth", ""}:
            continue
        if entry.includes:
            if depth >= MAX_DEPTH:
                raise refusal(name, entry.first + 1, f"includes files more than {MAX_DEPTH} deep")
            yield from steps(read(entry.includes, depth), entry.includes, read, depth + 1)
        else:
            yield Step(entry, name, entry.first + 1)


def find_insertion_point(entries: list[Entry], name: str, read: Read, may_skip: frozenset[str]) -> InsertionPoint:
    """Find where the voice goes in file `name`: right above the first line that asks for the password.

    may_skip  modules (bare names) that the administrator allows to be skipped after an accepted voice

    Raises `StorageError` if the stack asks for no password, if a line above could jump over the block, if the stack
    already asks for a voice, or if an accepted voice would skip a check other than the password.
    """
    auth_entries = [entry for entry in entries if entry.type in {"auth", ""}]
    groups = [list(steps([entry], name, read)) for entry in auth_entries]
    for step in (step for group in groups for step in group):
        if runs_helper(step.entry):
            raise refusal(step.file, step.line, "already asks for a voice")
    place = next(
        (index for index, group in enumerate(groups) if any(step.entry.bare in PASSWORD_MODULES for step in group)),
        None,
    )
    if place is None:
        raise StorageError(f"{name} asks for no password that a voice could replace; nothing was changed", "no_place")
    jumper = jump_over(groups, auth_entries, place)
    if jumper is not None:
        what = f"jumps over {jumper.entry.jumps} lines, and would land elsewhere with another line below it"
        raise refusal(jumper.file, jumper.line, what)
    tail = [step for group in groups[place:] for step in group]
    _refuse_skipped(tail, may_skip)
    return InsertionPoint(auth_entries[place].first, tuple(dict.fromkeys(step.entry.bare for step in tail)))


def jump_over(groups: list[list[Step]], auth_entries: list[Entry], place: int) -> Step | None:
    """Return a step above entry `place` whose jump may reach past the point above that entry; None if there is none.

    groups  the modules that each of `auth_entries` stands for

    An included file between the two counts as no module, because its content may change later.
    """
    for index, group in enumerate(groups[:place]):
        between = sum(not entry.includes for entry in auth_entries[index + 1 : place])
        for position, step in enumerate(group):
            if step.entry.jumps > len(group) - position - 1 + between:
                return step
    return None


def _refuse_skipped(tail: list[Step], may_skip: frozenset[str]) -> None:
    passed = False  # whether a right password ends the stack, or jumps, before this point
    for step in tail:
        bare = step.entry.bare
        if bare in PASSWORD_MODULES:
            success = step.entry.actions.get("success", step.entry.actions["default"])
            passed = passed or success == "done" or success.isdigit()
            continue
        harmless = bare in SKIPPABLE_MODULES and (passed or bare != "pam_deny")
        if step.entry.may_deny and not harmless and bare not in may_skip:
            what = f"runs the check {bare}, which an accepted voice would skip (--may-skip {bare} allows that)"
            raise refusal(step.file, step.line, what)
