"""Doctor's checks of the daemon's other state: the key that seals the profiles, and the audit log."""

from __future__ import annotations

import shlex
import stat

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import DeniedError, ExitCode, VoiceauthError


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
