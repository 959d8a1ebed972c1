"""Doctor's checks of what the daemon keeps beside the profiles: the key that seals them, and the audit log."""

from __future__ import annotations

import shlex
import stat

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import DeniedError, ExitCode, VoiceauthError


def check_key(machine: Machine) -> Check:
    """The key file is the daemon's alone."""
    from voiceauthd.config.resolve import state_folder
    from voiceauthd.profiles.keys import KEY_FILE

    name = "profiles.key"
    try:
        file = state_folder(machine.config) / KEY_FILE
        status = file.lstat()
        owner = file.parent.stat().st_uid
    except FileNotFoundError:
        return Check(name, OK, "no key file: the daemon makes it at its first start, unless systemd hands a key over")
    except PermissionError:
        return Check(name, OK, "closed to this user, as it should be; root can see more")
    except (VoiceauthError, OSError) as problem:
        return failed(name, problem, "set `state` to a folder of the daemon's", ExitCode.STORAGE)
    found = f"{file}, mode {stat.S_IMODE(status.st_mode):04o}, owner uid {status.st_uid}"
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in {owner, 0}:
        fix = f"put the key file itself there, and give it to the user with uid {owner}"
        return failed(name, f"{found}: not the daemon's own file", fix, ExitCode.STORAGE)
    if status.st_mode & 0o077:
        fix = f"chmod 600 {shlex.quote(str(file))}, and `voiceauth profiles rekey`: the key may be known"
        return failed(name, f"{found}: others may read or change it", fix, ExitCode.STORAGE)
    return Check(name, OK, f"{found}; keep a copy elsewhere")


def check_audit(machine: Machine) -> Check:
    """The audit log's chain is whole."""
    from voiceauthd.audit.verify import verify
    from voiceauthd.config.resolve import state_folder

    name, look = "audit.chain", "`voiceauth audit --verify` tells where; docs/audit.md tells what it means"
    try:
        folder = state_folder(machine.config) / "audit"
        if not folder.is_dir():
            return Check(name, OK, f"{folder} is not there yet; the daemon makes it")
        verdict = verify(folder)
    except (DeniedError, PermissionError):
        return Check(name, OK, "closed to this user, as it should be; root can see more")
    except (VoiceauthError, OSError) as problem:
        return Check(name, WARN, str(problem), look)
    if verdict.whole:
        return Check(name, OK, f"{verdict.lines} lines, whole")
    return failed(name, f"{folder}: {verdict.damage[0].text}", look, ExitCode.STORAGE)
