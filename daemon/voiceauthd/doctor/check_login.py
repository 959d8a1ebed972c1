"""Doctor's check of the PAM services that ask for a voice."""

from __future__ import annotations

from voiceauthd.doctor.check import OK, WARN, Check, Machine, failed
from voiceauthd.errors import ExitCode, VoiceauthError


def check_pam(_machine: Machine) -> Check:
    """Each PAM service that asks for a voice has a helper that exists and that only root can change."""
    from voiceauthd.login.files import PamFolder
    from voiceauthd.login.services import status

    try:
        with PamFolder() as folder:
            asked = status(folder)
    except VoiceauthError as problem:
        return Check("pam.services", WARN, str(problem), "voice login needs Linux-PAM")
    if not asked:
        return Check("pam.services", OK, "none asks for a voice")
    broken = [service for service in asked if service.problem]
    if not broken:
        return Check("pam.services", OK, ", ".join(service.service for service in asked))
    first = broken[0]
    fix = f"`voiceauth pam install {first.service}` again, or `voiceauth pam remove {first.service}`"
    if first.block is None:
        fix = "docs/login.md explains what `voiceauth pam` writes"
        return Check("pam.services", WARN, f"{first.service}: {first.problem}", fix)
    return failed("pam.services", f"{first.service}: {first.problem}", fix, ExitCode.STORAGE)
