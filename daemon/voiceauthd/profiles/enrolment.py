"""Enrolment, take by take: what is good enough becomes exemplars, what is not is refused with advice.

A state machine without sound, files or threads: the caller brings the windows and embeddings of each utterance, shows
the verdicts, and writes the profile that `finish` returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from voiceauthd.config.schema import EnrollConfig
from voiceauthd.embed.embedding import Embedding, ModelId, unit_mean
from voiceauthd.errors import AudioError, ModelError, NotEnrolledError, StorageError, UsageError
from voiceauthd.profiles.document import check_model
from voiceauthd.profiles.names import check_condition, check_name, name_key
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile, new_uid, timestamp
from voiceauthd.profiles.take import Chunk, Piece, agreement, chunks, likeness, mean_snr, pieces, quality
from voiceauthd.speech.window import Quality, Window

MIN_SPEECH = 1.0
"""Seconds of net speech; the default of `speech.min_speech`. A shorter take says little of a voice."""

MIN_AGREEMENT = 0.4
"""Cosine, for CAM++: takes of one voice in one session agree by 0.6 and more, other voices seldom by 0.4."""


class EnrolMode(StrEnum):
    """What to do with a profile of that name: NEW refuses, ADD keeps its exemplars, REPLACE starts over."""

    NEW = "new"
    ADD = "add"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class TakeVerdict:
    """What was made of a take, and how far the enrolment is.

    reason      stable code of a refusal: `too_short`, `too_quiet`, `clipped`, `noisy`, `not_one_voice`,
                `different_voice`, `profile_full`; None for an accepted take
    advice      what the person should do, a sentence; an accepted take has one when a part of it was left out
    quality     None if the take held nothing to measure
    exemplars, net_speech   of the profile as it would be now; seconds; with `add`, together with what it had before
    """

    accepted: bool
    reason: str | None
    advice: str | None
    quality: Quality | None
    exemplars: int
    exemplars_needed: int
    net_speech: float
    net_speech_needed: float
    complete: bool


class Enrolment:
    """One enrolment. One thread at a time."""

    def __init__(
        self,
        name: str,
        model: ModelId,
        config: EnrollConfig,
        *,
        condition: str = "default",
        owner_uid: int | None = None,
        existing: Profile | None = None,
        mode: str = EnrolMode.NEW,
        min_speech: float = MIN_SPEECH,
        min_agreement: float = MIN_AGREEMENT,
    ) -> None:
        """
        existing    the profile of that name; None if there is none, or none that can be used
        owner_uid   whose voice it is; an existing owner is kept if this is None, and always with `add`
        min_speech  seconds of net speech below which a take is `too_short`
        min_agreement  cosine that takes must have with one another, if `enroll.min_agreement` leaves it to the model

        Raises `UsageError` (`invalid_name`, `invalid_condition`, `usage`), `StorageError` (`already_enrolled` with
        `new`, `wrong_model` with `add`), `NotEnrolledError` (`add` with nobody there).
        """
        self.name = check_name(name)
        self.condition = check_condition(condition)
        self.mode = _mode(mode)
        self._model = model
        self._config = config
        self._owner_uid = owner_uid
        self._min_speech = min_speech
        own = config.min_agreement
        self._min_agreement = min_agreement if own is None else own
        self._existing = existing
        if existing is not None and name_key(existing.name) != name_key(self.name):
            raise ValueError(f"{existing.name!r} is not the profile of {self.name!r}")
        if existing is not None and self.mode is EnrolMode.NEW:
            raise StorageError(f"{existing.name!r} is already enrolled: add to it or replace it", "already_enrolled")
        if existing is None and self.mode is EnrolMode.ADD:
            raise NotEnrolledError(f"nobody is enrolled as {self.name!r}: enrol without adding first")
        self._kept: tuple[Exemplar, ...] = ()
        if existing is not None and self.mode is EnrolMode.ADD:
            check_model(existing, model)
            self._kept = existing.exemplars
        self._new: list[Exemplar] = []
        self._refused: Counter[str] = Counter()

    @property
    def exemplars(self) -> int:
        """How many the profile would have now."""
        return len(self._kept) + len(self._new)

    @property
    def exemplars_needed(self) -> int:
        """How many it must have: as configured, and with `add` at least one more than before."""
        return min(max(self._config.exemplars, len(self._kept) + 1), MAX_EXEMPLARS)

    @property
    def net_speech(self) -> float:
        """Seconds of speech behind all exemplars."""
        return sum(exemplar.net_speech for exemplar in (*self._kept, *self._new))

    @property
    def net_speech_needed(self) -> float:
        """Seconds."""
        return self._config.speech

    @property
    def complete(self) -> bool:
        """Whether `finish` gives a profile. Further takes are welcome while there is room."""
        enough = self.net_speech >= self.net_speech_needed and self.exemplars >= self.exemplars_needed
        return enough and bool(self._new)

    def take(self, windows: Sequence[Window], embeddings: Sequence[Embedding]) -> TakeVerdict:
        """Judges one utterance, or one recording, and keeps it if it is good.

        windows, embeddings  all that it was cut into, in order; as many of one as of the other

        Raises `ModelError`, reason `wrong_model`, for embeddings of another model.
        """
        if any(embedding.model != self._model for embedding in embeddings):
            raise ModelError(f"embeddings of another model than {self._model} at enrolment", "wrong_model")
        take = pieces(windows, embeddings)
        measured = quality(take) if take else None
        refusal = self._refusal(take, measured)
        if refusal is not None:
            reason, advice = refusal
            self._refused[reason] += 1
            return self._verdict(reason, advice, measured)
        left_out = sum(not self._keep(chunk) for chunk in chunks(take))
        remark = f"The profile is full: {_count(left_out, 'exemplar')} of this take left out." if left_out else None
        return self._verdict(None, remark, measured)

    def finish(self) -> Profile:
        """The profile, to be added to the store, or to replace the existing one with.

        Raises `AudioError`, reason `not_enough_speech`; the message says what is missing and why takes were refused.
        """
        if not self.complete:
            raise AudioError(f"not enough speech to enrol {self.name!r}: {self.summary()}", "not_enough_speech")
        now = timestamp()
        old = self._existing
        if old is None:
            return Profile(
                self.name, new_uid(), 1, self._owner_uid, self._model, tuple(self._new), created=now, updated=now
            )
        keep_owner = self._owner_uid is None or self.mode is EnrolMode.ADD
        return Profile(
            name=old.name,
            uid=old.uid,
            generation=old.generation + 1,
            owner_uid=old.owner_uid if keep_owner else self._owner_uid,
            model=self._model,
            exemplars=(*self._kept, *self._new),
            created=old.created,
            updated=now,
        )

    def summary(self) -> str:
        """For a person: "8.2 s of 20 s speech, 2 of 5 exemplars; 1 take refused (clipped)"."""
        progress = (
            f"{self.net_speech:.1f} s of {self.net_speech_needed:g} s speech, "
            f"{self.exemplars} of {self.exemplars_needed} exemplars"
        )
        if not self._refused:
            return progress
        reasons = ", ".join(
            reason if count in (1, self._refused.total()) else f"{count} {reason}"
            for reason, count in self._refused.most_common()
        )
        return f"{progress}; {_count(self._refused.total(), 'take')} refused ({reasons})"

    def _verdict(self, reason: str | None, advice: str | None, measured: Quality | None) -> TakeVerdict:
        return TakeVerdict(
            accepted=reason is None,
            reason=reason,
            advice=advice,
            quality=measured,
            exemplars=self.exemplars,
            exemplars_needed=self.exemplars_needed,
            net_speech=self.net_speech,
            net_speech_needed=self.net_speech_needed,
            complete=self.complete,
        )

    def _refusal(self, take: Sequence[Piece], measured: Quality | None) -> tuple[str, str] | None:
        """Reason and advice; None for a take to keep. Every comparison is such that NaN refuses."""
        config = self._config
        if self.exemplars >= MAX_EXEMPLARS and not self._may_fold():
            return "profile_full", (
                f"The profile holds {MAX_EXEMPLARS} exemplars, which is all it can. To start over, replace it."
            )
        if measured is None or not measured.net_speech >= self._min_speech:
            return "too_short", f"Say a whole sentence, at least {self._min_speech:g} s without long pauses."
        if not measured.level_dbfs >= config.min_level_dbfs:
            return "too_quiet", "Speak up, come closer to the microphone, or raise its level."
        if not measured.clipping <= config.max_clipping:
            return "clipped", "Too loud: lower the microphone's level, or move away from it."
        if measured.snr_db is not None and not measured.snr_db >= config.min_snr_db:
            return "noisy", "Too much noise around: find a quieter place, or come closer to the microphone."
        return self._other_voice(take)

    def _other_voice(self, take: Sequence[Piece]) -> tuple[str, str] | None:
        if not agreement(take) >= self._min_agreement:
            return "not_one_voice", "More than one voice, or music, in this take: let only one person speak."
        known = [exemplar.vector for exemplar in (*self._kept, *self._new)]
        if known and not likeness(take, known) >= self._min_agreement:
            return "different_voice", (
                "This does not sound like the takes before: the same person must speak, in the same way. "
                "If an earlier take was somebody else, start over."
            )
        return None

    def _may_fold(self) -> bool:
        """Whether a full profile still takes speech: it has too little, and exemplars of this enrolment to hold it."""
        return bool(self._new) and not self.net_speech >= self.net_speech_needed

    def _keep(self, chunk: Chunk) -> bool:
        """Makes the chunk an exemplar, or a part of the one with the least speech; False if there is no room."""
        if self.exemplars < MAX_EXEMPLARS:
            self._new.append(self._exemplar(chunk))
            return True
        if not self._may_fold():
            return False
        # Many short takes fill the profile before they amount to enough speech; without this it could never complete.
        least = min(range(len(self._new)), key=lambda index: self._new[index].net_speech)
        old = self._new[least]
        merged = Chunk(
            unit_mean([old.vector, chunk.vector], [old.net_speech, chunk.net_speech]),
            old.net_speech + chunk.net_speech,
            mean_snr([(old.snr_db, old.net_speech), (chunk.snr_db, chunk.net_speech)]),
        )
        self._new[least] = self._exemplar(merged)
        return True

    def _exemplar(self, chunk: Chunk) -> Exemplar:
        snr = None if chunk.snr_db is None else round(chunk.snr_db, 1)
        return Exemplar(chunk.vector, round(chunk.net_speech, 3), snr, self.condition, timestamp())


def _mode(mode: str) -> EnrolMode:
    try:
        return EnrolMode(mode)
    except ValueError:
        raise UsageError(f"mode {mode!r}: it must be new, add or replace") from None


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
