"""Is a voice that is to be enrolled there already, under another name?

Whoever has two names is never far enough before himself: verification would say `ambiguous`, of both.
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
    """The other identity in the gallery that this voice is taken for, the closest of several; None for a new voice.

    profile  each of its conditions is compared, as one voice. What the gallery has under its own name does not count
    rule     that of the policy `unlock`: only at its bound and above are two voices one

    Fails closed: a score that is no number stands for a voice that is enrolled.

    Raises `ModelError`, reason `wrong_model` for a profile of another model than the gallery's, `no_direction` for
    exemplars that cancel out.
    """
    own = name_key(profile.name)
    found = []
    for condition in dict.fromkeys(exemplar.condition for exemplar in profile.exemplars):
        voice = _voice(profile, [exemplar for exemplar in profile.exemplars if exemplar.condition == condition])
        for score in compare(voice, gallery):
            measured = rule.measure(score)
            is_new = math.isfinite(measured) and measured < rule.accept
            if name_key(score.name) != own and not is_new:
                found.append((-math.inf if math.isnan(measured) else measured, score.name))
    return max(found)[1] if found else None


def _voice(profile: Profile, exemplars: Sequence[Exemplar]) -> PooledSpeech:
    return PooledSpeech(
        Embedding(unit_mean([exemplar.vector for exemplar in exemplars]), profile.model),
        sum(exemplar.net_speech for exemplar in exemplars),
        mean_snr((exemplar.snr_db, exemplar.net_speech) for exemplar in exemplars),
    )
