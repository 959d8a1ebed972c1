"""Doctor's checks of the daemon's other state: the key that seals the profiles, and the audit log."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import ConfigError, DeniedError, ExitCode, VoiceauthError
from voiceauthd.service.own_folders import service_uid
from voiceauthd.users import user_name


def check_owner(machine: Machine) -> Check:
    """Everything in the daemon's folders belongs to the daemon's user, who could not start with it otherwise."""
    from voiceauthd.config.resolve import SYSTEM_STATE, profiles_folder, scoring_folder, state_folder

    name = "state.owner"
    try:
        state = state_folder(machine.config)
        folders = dict.fromkeys((state, profiles_folder(machine.config), scoring_folder(machine.config)))
    except ConfigError as problem:
        return failed(name, problem, "set `state` to a folder that belongs to the daemon", ExitCode.STORAGE)
    owner = machine.runs_as
    if owner is None:
        owner = service_uid() if state == SYSTEM_STATE else os.geteuid()
    if owner is None or not state.exists():
        return Check(name, OK, f"{state} does not exist yet; the daemon makes it")
    try:
        strange = [path for folder in folders for path in _of_others(folder, owner)]
    except PermissionError:
        return Check(name, OK, f"{state} is not readable by this user, which is right; root can see more")
    if not strange:
        return Check(name, OK, f"{state} belongs to {user_name(owner)}")
    found = f"{strange[0]} belongs to {user_name(strange[0].lstat().st_uid)}, not to {user_name(owner)}"
    more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
    places = " ".join(shlex.quote(str(folder)) for folder in folders if folder.exists())
    fix = f"sudo chown -R {user_name(owner)}: {places}, if nobody else has changed them; then start the daemon"
    return failed(name, found + more, fix, ExitCode.STORAGE)


def _of_others(folder: Path, owner: int) -> list[Path]:
    """Return the folder, and what is in it and its folders, as far as it does not belong to `owner`."""
    if not folder.exists():
        return []
    inside = [folder, *folder.iterdir()]
    inside += [path for each in inside[1:] if each.is_dir() and not each.is_symlink() for path in each.iterdir()]
    return [path for path in inside if path.lstat().st_uid != owner]


def check_key(machine: Machine) -> Check:
    """The key file is readable and writable by the daemon alone."""
    from voiceauthd.config.resolve import state_folder
    from voiceauthd.profiles.keys import KEY_FILE

    name = "profiles.key"
    try:
        file = state_folder(machine.config) / KEY_FILE
        status = file.lstat()
        owner = file.parent.stat().st_uid
    except FileNotFoundError:
        return Check(name, OK, "no key file: the daemon makes it at its first start, unless systemd passes a key")
    except PermissionError:
        return Check(name, OK, "not readable by this user, which is right; root can see more")
    except (VoiceauthError, OSError) as problem:
        return failed(name, problem, "set `state` to a folder that belongs to the daemon", ExitCode.STORAGE)
    found = f"{file}, mode {stat.S_IMODE(status.st_mode):04o}, owner uid {status.st_uid}"
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in {owner, 0}:
        fix = f"put the key file itself there, owned by uid {owner}"
        return failed(name, f"{found}: not the daemon's own file", fix, ExitCode.STORAGE)
    if status.st_mode & 0o077:
        fix = f"chmod 600 {shlex.quote(str(file))}, and `voiceauth profiles rekey`: others may know the key"
        return failed(name, f"{found}: others may read or change it", fix, ExitCode.STORAGE)
    return Check(name, OK, f"{found}; keep a copy elsewhere")


def check_audit(machine: Machine) -> Check:
    """The audit log's chain is whole."""
    from voiceauthd.audit.verify import verify
    from voiceauthd.config.resolve import state_folder

    name, look = "audit.chain", "`voiceauth audit --verify` shows where; docs/audit.md explains it"
    try:
        folder = state_folder(machine.config) / "audit"
        if not folder.is_dir():
            return Check(name, OK, f"{folder} does not exist yet; the daemon makes it")
        verdict = verify(folder)
    except (DeniedError, PermissionError):
        return Check(name, OK, "not readable by this user, which is right; root can see more")
    except (VoiceauthError, OSError) as problem:
        return Check(name, WARN, str(problem), look)
    if verdict.whole:
        return Check(name, OK, f"{verdict.lines} lines, whole")
    return failed(name, f"{folder}: {verdict.damage[0].text}", look, ExitCode.STORAGE)
