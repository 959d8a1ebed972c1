"""A voice for a service of PAM's: put in, taken out, looked at."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from voiceauthd.client.pam_services import GIVES_ROOT, NEVER, REMOTE
from voiceauthd.errors import StorageError, UsageError, VoiceauthError
from voiceauthd.login.block import BEGIN, HELPER, Block, find, with_block, without
from voiceauthd.login.files import PamFolder, keep
from voiceauthd.login.pamfile import Entry, decode, parse
from voiceauthd.login.stack import ASK_PASSWORD, KEEP_NOBODY_OUT, Place, find_place, jump_over, steps
from voiceauthd.login.trust import why_not

SHARED = frozenset(
    {
        "base-auth",
        "common-auth",
        "common-auth-pc",
        "fingerprint-auth",
        "password-auth",
        "postlogin",
        "smartcard-auth",
        "system-auth",
        "system-local-login",
        "system-login",
        "system-remote-login",
        "system-services",
    }
)
"""Stacks that many services include, remote ones among them; most are written by a tool of the system's."""

MANAGED = re.compile(r"^#.*\b(pam-auth-update|authselect|authconfig|pam-config)\b", re.MULTILINE | re.IGNORECASE)
_MADE = re.compile(r"managed|generated|overwrit|destroyed|do not (modify|edit)", re.IGNORECASE)

_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,63}\Z")

PROVES_NOTHING = frozenset(
    {
        "pam_access",
        "pam_canonicalize_user",
        "pam_chroot",
        "pam_cracklib",
        "pam_debug",
        "pam_deny",
        "pam_echo",
        "pam_env",
        "pam_exec",
        "pam_filter",
        "pam_ftp",
        "pam_lastlog",
        "pam_lastlog2",
        "pam_limits",
        "pam_listfile",
        "pam_localuser",
        "pam_loginuid",
        "pam_mail",
        "pam_mkhomedir",
        "pam_motd",
        "pam_namespace",
        "pam_nologin",
        "pam_passwdqc",
        "pam_pwhistory",
        "pam_pwquality",
        "pam_permit",
        "pam_rhosts",
        "pam_rootok",
        "pam_rps",
        "pam_securetty",
        "pam_selinux",
        "pam_sepermit",
        "pam_setquota",
        "pam_shells",
        "pam_stress",
        "pam_succeed_if",
        "pam_systemd",
        "pam_time",
        "pam_timestamp",
        "pam_tty_audit",
        "pam_usertype",
        "pam_wheel",
        "pam_xauth",
    }
    | KEEP_NOBODY_OUT
)
"""Modules that say nothing about who is there: beside a voice they would leave it alone."""


class Change(NamedTuple):
    """What was changed, or would be.

    block    what stands there now; None if it was taken out
    skipped  modules that an accept passes over
    also     services that include this one, and so ask for a voice, too
    backup   where the file of before is kept; None if nothing was changed
    """

    path: Path
    before: str
    after: str
    block: Block | None
    skipped: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    backup: Path | None = None

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def diff(self) -> str:
        """The change as a unified diff; "" if there is none."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            str(self.path),
            f"{self.path} (new)",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


class Asked(NamedTuple):
    """A service that asks for a voice, or has a block that cannot be read. problem: "" if all is well."""

    service: str
    block: Block | None
    problem: str


def make_block(service: str, block: Block) -> Block:
    """The block for a service, with what the service needs. Raises `UsageError` if this service must not have it."""
    name = service.lower()
    if not _SERVICE.match(service):
        raise UsageError(f"{service!r} is no name of a service of PAM's")
    if name in NEVER:
        raise UsageError(f"{service} never takes a voice: {_NEVER[name]}", "refused_service")
    if name in REMOTE:
        raise UsageError(f"{service} is for people who sit elsewhere; only this machine is heard", "refused_service")
    if name in SHARED:
        what = "is a stack that many services include, or that a tool writes: install into the services themselves"
        raise UsageError(f"{service} {what}", "refused_service")
    if block.module:
        _refuse_module(block.module)
        return block._replace(allow_root=block.allow_root or name in GIVES_ROOT)
    if name in GIVES_ROOT and not block.allow_root:
        what = "a voice alone does not open that: --with MODULE asks for something more, --allow-root takes the voice"
        raise UsageError(f"{service} gives root, and {what}", "gives_root")
    return block


_NEVER = {
    "other": "it stands for every service that has no file",
    "voiceauthd": "it proves by the password who may change a voice",
}


def _refuse_module(module: str) -> None:
    bare = module.split(" ", maxsplit=1)[0].rpartition("/")[2].removesuffix(".so")
    if bare in ASK_PASSWORD:
        raise UsageError(f"{bare} asks for the password, which is asked for anyway: name another module", "module")
    if bare in PROVES_NOTHING:
        raise UsageError(f"{bare} says nothing about who is there: the voice would be alone", "module")


def install(
    folder: PamFolder, service: str, block: Block, may_skip: frozenset[str], backups: Path, *, dry_run: bool
) -> Change:
    """Puts the block into the service's file, in the place of one that is there. Twice is the same as once.

    Raises `UsageError` for a service or a block that is refused, `StorageError` for a file that is not understood.
    """
    wanted = make_block(service, block)
    wanted.lines()

    def edit(text: str, path: Path) -> Change:
        _refuse_managed(text, path)
        found = find(text, str(path))
        plain = without(text, found) if found else text
        place = _place(folder, service, plain, may_skip)
        if found is not None and found.block == wanted and found.first == place.at:
            after = text
        else:
            after = with_block(plain, place.at, wanted, service)
        if (checked := find(after, str(path))) is None or without(after, checked) != plain:
            raise StorageError(f"{path}: the block would not come out again; nothing was changed")
        return Change(path, text, after, wanted, place.skipped, _included_by(folder, service))

    return _apply(folder, service, edit, backups, dry_run=dry_run)


def remove(folder: PamFolder, service: str, backups: Path, *, dry_run: bool) -> Change:
    """Takes the block out: the file then has the bytes that it would have without us. No block is no error."""
    if not _SERVICE.match(service):
        raise UsageError(f"{service!r} is no name of a service of PAM's")

    def edit(text: str, path: Path) -> Change:
        found = find(text, str(path))
        return Change(path, text, without(text, found) if found else text, None)

    return _apply(folder, service, edit, backups, dry_run=dry_run)


def status(folder: PamFolder) -> list[Asked]:
    """The services that have a voice. A file that cannot be read is passed over, unless a block is seen in it."""
    asked = []
    for name in folder.names():
        try:
            data = folder.included(name)
        except VoiceauthError:
            continue
        if BEGIN.encode() not in data and HELPER.encode() not in data:
            continue
        try:
            found = find(decode(data, name), name)
        except VoiceauthError as problem:
            asked.append(Asked(name, None, str(problem)))
            continue
        if found is None:
            asked.append(Asked(name, None, f"{HELPER} was put in by hand: `voiceauth pam` leaves it alone"))
        else:
            asked.append(Asked(name, found.block, why_not(found.block.helper)))
    return asked


def _apply(
    folder: PamFolder, service: str, edit: Callable[[str, Path], Change], backups: Path, *, dry_run: bool
) -> Change:
    path = folder.path / service
    if dry_run:
        return edit(decode(folder.read(service).data, str(path)), path)
    with folder.change():
        held = folder.read(service)
        change = edit(decode(held.data, str(path)), path)
        if not change.changed:
            return change
        backup = keep(backups, service, held.data)
        folder.replace(service, held, change.after.encode())
    return change._replace(backup=backup)


def _refuse_managed(text: str, path: Path) -> None:
    for found in MANAGED.finditer(text):
        near = text[found.start() : text.find("\n", found.end() + 200)]
        if _MADE.search(near):
            raise StorageError(f"{path} is written by {found[1]}, which would undo a change by hand", "managed")


def _reader(folder: PamFolder) -> Callable[[str, int], list[Entry]]:
    return lambda name, _depth: parse(decode(folder.included(name), name), name)


def _place(folder: PamFolder, service: str, text: str, may_skip: frozenset[str]) -> Place:
    """Where the block goes, as far as this file and those that include it and are included by it tell."""
    name = str(folder.path / service)
    place = find_place(parse(text, name), name, _reader(folder), may_skip)
    for other in _included_by(folder, service):
        entries = [entry for entry in _reader(folder)(other, 0) if entry.type in {"auth", ""}]
        at = next(at for at, entry in enumerate(entries) if _includes(entry, folder, service))
        if find(decode(folder.included(other), other), other) is not None:
            raise StorageError(
                f"{other} includes {service}, and asks for a voice already; nothing was changed", "twice"
            )
        inside = [list(steps([entry], other, lambda _name, _depth: [])) for entry in entries]
        if jump_over(inside, entries, at) is not None:
            raise StorageError(f"{other} includes {service}, and jumps over lines of it; nothing was changed", "jumps")
    return place


def _included_by(folder: PamFolder, service: str) -> tuple[str, ...]:
    """The other services that include this one when they ask who somebody is. What cannot be read includes nothing."""
    found = []
    for name in folder.names():
        try:
            data = folder.included(name)
            if name == service or service.encode() not in data:
                continue
            entries = parse(decode(data, name), name)
        except VoiceauthError:
            continue
        if any(_includes(entry, folder, service) for entry in entries):
            found.append(name)
    return tuple(found)


def _includes(entry: Entry, folder: PamFolder, service: str) -> bool:
    return entry.type in {"auth", ""} and entry.includes in {service, str(folder.path / service)}
