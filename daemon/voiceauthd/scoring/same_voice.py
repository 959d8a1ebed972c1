"""Whether a voice to be enrolled is already enrolled under another name.

A person with two names would never lead over the other name by the margin: verifying either would give `ambiguous`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from voiceauthd.embed.embedding import Embedding, unit_mean
from voiceauthd.profiles.names import name_key
from voiceauthd.profiles.profile import Exemplar, Profile
from voiceauthd.profiles.take import mean_snr
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.pooled_speech import PooledSpeech
from voiceauthd.scoring.similarity import Gallery, compare


def enrolled_as(profile: Profile, gallery: Gallery, rule: Rule) -> str | None:
    """Return the other identity in the gallery that has the same voice, the closest of several; None for a new voice.

    profile  each of its conditions is compared as one voice. The gallery's entry with the same name is ignored
    rule     that of the policy `unlock`: voices at or above its bound are the same

    Fails closed: a score that is not finite counts as the same voice.

    Raises `ModelError`, reason `wrong_model` for a profile of another model than the gallery's, `no_direction` for
    exemplars that cancel out.
    """
    own = name_key(profile.name)
    found = []
    for condition in dict.fromkeys(exemplar.condition for exemplar in profile.exemplars):
        voice = _pool(profile, [exemplar for exemplar in profile.exemplars if exemplar.condition == condition])
        for score in compare(voice, gallery):
            measured = rule.measure(score)
            is_new = math.isfinite(measured) and measured < rule.accept
            if name_key(score.name) != own and not is_new:
                found.append((-math.inf if math.isnan(measured) else measured, score.name))
    return max(found)[1] if found else None


def _pool(profile: Profile, exemplars: Sequence[Exemplar]) -> PooledSpeech:
    return PooledSpeech(
        Embedding(unit_mean([exemplar.vector for exemplar in exemplars]), profile.model),
        sum(exemplar.net_speech for exemplar in exemplars),
        mean_snr((exemplar.snr_db, exemplar.net_speech) for exemplar in exemplars),
    )
