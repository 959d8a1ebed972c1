"""The check that a voice is not enrolled under two names."""

from __future__ import annotations

import logging

from voiceauthd.errors import NotEnrolledError, StorageError
from voiceauthd.profiles.document import check_model
from voiceauthd.profiles.profile import Profile
from voiceauthd.protocol.errors import VOICE_ENROLLED
from voiceauthd.scoring.policy import UNLOCK
from voiceauthd.scoring.same_voice import enrolled_as
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.server.call import Call, CallError
from voiceauthd.service.access import Access
from voiceauthd.service.engine import Engine

log = logging.getLogger(__name__)


def require_new_voice(profile: Profile, engine: Engine, call: Call, access: Access) -> None:
    """Raise `CallError` (VoiceEnrolled) if this voice is enrolled under another name and that is not allowed.

    The error contains the other name only if the caller may see that profile. Raises `StorageError`, reason
    `wrong_model`.
    """
    if not engine.config.enroll.refuse_duplicates:
        return
    model = engine.embedder.model
    check_model(profile, model)
    other = enrolled_as(profile, make_gallery(engine.store.all(), model, engine.backend), engine.policies[UNLOCK].rule)
    if other is None:
        return
    log.warning("%s of %r for %s: this voice is enrolled as %r", call.name, profile.name, call.peer, other)
    if _sees(other, engine, call, access):
        detail = (
            f"this voice is already enrolled as {other!r}: add to that profile (`voiceauth enroll NAME --add`), or "
            "delete it first; with `enroll.refuse_duplicates: false` one voice may have several names"
        )
        raise CallError(VOICE_ENROLLED, {"name": other, "detail": detail})
    detail = "this voice is already enrolled under another name; ask the administrator of this machine"
    raise CallError(VOICE_ENROLLED, {"detail": detail})


def _sees(name: str, engine: Engine, call: Call, access: Access) -> bool:
    try:
        return access.sees_profile(call.peer, name, engine.store.get(name).owner_uid)
    except (NotEnrolledError, StorageError):  # deleted or damaged since the comparison
        return access.sees_profile(call.peer, name, None)
