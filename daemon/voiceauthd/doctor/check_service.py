"""Doctor's check that the running daemon is of the kind that can record on this machine."""

from __future__ import annotations

from voiceauthd.doctor.check import OK, WARN, Check, Machine
from voiceauthd.doctor.service_kind import Kind, SoundAccess, Suited, sound_access, suited
from voiceauthd.users import user_name

TO_USER = "sudo systemctl disable --now voiceauthd.socket voiceauthd.service, then as {owner}: voiceauth service start"
TO_SYSTEM = "voiceauth service stop, then as root: make install, and systemctl enable --now voiceauthd.socket"


def check_service(machine: Machine) -> Check:
    """The daemon runs for whom the sound belongs to: one user, or the whole system."""
    name = "service.kind"
    access = sound_access()
    right = suited(access)
    advice = f"suited here: the {right.kind} service ({right.reason})"
    if machine.daemon_uid is None:
        return Check(name, OK, f"no daemon runs; {advice}")
    if machine.status is not None and not machine.status["source"]["description"].startswith(("the ", "microphone")):
        return Check(name, OK, f"the daemon of {user_name(machine.daemon_uid)} does not use a microphone")
    running = kind_of(machine.daemon_uid, access)
    found = f"{user_name(machine.daemon_uid)} runs the daemon, as a {running} service"
    if running == right.kind and _same_owner(machine.daemon_uid, access, right):
        return Check(name, OK, f"{found}; {right.reason}")
    owner = right.owner or user_name(access.uid)
    fix = TO_USER.format(owner=owner) if right.kind == "user" else TO_SYSTEM
    return Check(name, WARN, f"{found}; {advice}", fix)


def kind_of(daemon_uid: int, access: SoundAccess) -> Kind:
    """Whether a daemon of this user is the system's or a user's own."""
    if daemon_uid == access.uid and daemon_uid != 0:
        return "user"
    if daemon_uid == 0:
        return "user" if access.uid == 0 and access.own_server is not None else "system"
    return "user" if daemon_uid in access.other_servers else "system"


def _same_owner(daemon_uid: int, access: SoundAccess, right: Suited) -> bool:
    if right.kind == "system":
        return True
    return daemon_uid in access.other_servers if right.owner is not None else daemon_uid == access.uid
