"""Enrolment, take by take: good takes become exemplars, others are refused with advice.

A state machine without audio, files or threads: the caller provides the windows and embeddings of each utterance, shows
the verdicts, and writes the profile that `finish` returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voiceauthd.config.schema import EnrollConfig
from voiceauthd.embed.embedding import Embedding, ModelId, Vector, unit_mean
from voiceauthd.errors import AudioError, ModelError, NotEnrolledError, StorageError, UsageError
from voiceauthd.profiles.document import check_model
from voiceauthd.profiles.names import check_condition, check_name, name_key
from voiceauthd.profiles.profile import MAX_EXEMPLARS, Exemplar, Profile, new_uid, timestamp
from voiceauthd.profiles.take import MIN_CHUNK_SPEECH, Chunk, chunks, counted_windows, mean_snr, take_quality
from voiceauthd.profiles.take_verdict import ADVICE, TakeLimits, TakeVerdict, refusal_reason
from voiceauthd.speech.quality_gate import flags
from voiceauthd.speech.window import Quality, Window

MIN_SPEECH = 1.0
"""Seconds of net speech; the default of `speech.min_speech`. A shorter take says little about a voice."""

MIN_AGREEMENT = 0.4
"""Cosine, for CAM++: takes of one voice in one session agree by 0.6 or more, takes of two voices seldom by 0.4."""

TAKE_AGREEMENT_MARGIN = 0.2
"""How far below the model's threshold the cosine of a take of the same person may be: a take has one or two windows, a
decision many. With CAM++, takes of one voice agree by 0.6 or more, takes of two voices mostly by less than 0.4."""

DEFAULT_CONDITION = "default"
"""Name of the condition if none is given."""

NARROW_BAND = (
    "This sounds like a telephone headset or a narrow-band line: if other microphones are used, too, enrol it as a "
    "separate condition (--condition headset)."
)


class EnrolMode(StrEnum):
    """What to do with an existing profile: NEW refuses, ADD keeps its exemplars, REPLACE starts over."""

    NEW = "new"
    ADD = "add"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class _PartialChunk:
    """The newest windows, which are less than a chunk so far. Separate words come in windows that share words: without
    this each would give nearly the same exemplar, or be too short.

    kept  whether the newest exemplar was made of them
    """

    windows: tuple[tuple[Window, Embedding], ...]
    kept: bool

    def continued_by(self, windows: Sequence[Window]) -> bool:
        """Whether these windows share audio with them."""
        if not (self.windows and windows):
            return False
        return self.windows[0][0].start <= windows[0].start < self.windows[-1][0].end


_NO_PARTIAL_CHUNK = _PartialChunk((), kept=False)


class Enrolment:
    """One enrolment. Not thread-safe."""

    def __init__(
        self,
        name: str,
        model: ModelId,
        config: EnrollConfig,
        *,
        condition: str = DEFAULT_CONDITION,
        owner_uid: int | None = None,
        existing: Profile | None = None,
        mode: str = EnrolMode.NEW,
        min_speech: float = MIN_SPEECH,
        min_agreement: float = MIN_AGREEMENT,
    ) -> None:
        """
        existing    the profile of that name; None if there is none, or only an unusable one
        owner_uid   the user whose voice it is; an existing owner is kept if this is None, and always with `add`
        min_speech  seconds of net speech below which a take is `too_short`
        min_agreement  cosine that takes must have with each other, unless `enroll.min_agreement` is configured

        Raises `UsageError` (`invalid_name`, `invalid_condition`, `usage`), `StorageError` (`already_enrolled` with
        `new`, `wrong_model` with `add`), `NotEnrolledError` (`add` without a profile).
        """
        self.name = check_name(name)
        self.condition = check_condition(condition)
        self.mode = _mode(mode)
        self.model = model
        self._config = config
        self.owner_uid = owner_uid
        configured = config.min_agreement
        self._limits = TakeLimits(config, min_speech, min_agreement if configured is None else configured)
        self.existing = existing
        if existing is not None and name_key(existing.name) != name_key(self.name):
            raise ValueError(f"{existing.name!r} is not the profile of {self.name!r}")
        if existing is not None and self.mode is EnrolMode.NEW:
            raise StorageError(f"{existing.name!r} is already enrolled: add to it or replace it", "already_enrolled")
        if existing is None and self.mode is EnrolMode.ADD:
            raise NotEnrolledError(f"nobody is enrolled as {self.name!r}: enrol without `add` first")
        self._kept: tuple[Exemplar, ...] = ()
        if existing is not None and self.mode is EnrolMode.ADD:
            check_model(existing, model)
            self._kept = existing.exemplars
        self._new: list[Exemplar] = []
        self._refused: Counter[str] = Counter()
        self._partial = _NO_PARTIAL_CHUNK

    def go_on(self, earlier: Sequence[Exemplar]) -> None:
        """Begin with what an earlier try collected (its `new_exemplars`): later takes must agree with it.

        Raises `ModelError`, reason `wrong_model`, for exemplars that cannot be of this model.
        """
        if any(exemplar.vector.shape != (self.model.dimension,) for exemplar in earlier):
            raise ModelError(f"an earlier try was made with another model than {self.model}", "wrong_model")
        self._new = [*earlier, *self._new][: MAX_EXEMPLARS - len(self._kept)]

    @property
    def new_exemplars(self) -> tuple[Exemplar, ...]:
        """The exemplars that this enrolment has collected, without those that the profile had before."""
        return tuple(self._new)

    @property
    def exemplars(self) -> int:
        """Number of exemplars so far."""
        return len(self._kept) + len(self._new)

    @property
    def exemplars_needed(self) -> int:
        """Number required: as configured, and with `add` at least one more than before."""
        return min(max(self._config.exemplars, len(self._kept) + 1), MAX_EXEMPLARS)

    @property
    def net_speech(self) -> float:
        """Seconds of speech of all exemplars so far."""
        return sum(exemplar.net_speech for exemplar in (*self._kept, *self._new))

    @property
    def net_speech_needed(self) -> float:
        """Seconds of speech required."""
        return self._config.speech

    @property
    def complete(self) -> bool:
        """Whether `finish` returns a profile. Further takes are accepted while there is room."""
        enough = self.net_speech >= self.net_speech_needed and self.exemplars >= self.exemplars_needed
        return enough and bool(self._new)

    def take(
        self, windows: Sequence[Window], embeddings: Sequence[Embedding], gate_refusals: Sequence[str] = ()
    ) -> TakeVerdict:
        """Judge one utterance or recording, and keep it if it is good.

        windows, embeddings  its windows in order, and an embedding of each
        gate_refusals        the reason codes of its windows that did not pass the quality gate

        Raises `ModelError`, reason `wrong_model`, for embeddings of another model.
        """
        if any(embedding.model != self.model for embedding in embeddings):
            raise ModelError(f"enrolment got embeddings of another model than {self.model}", "wrong_model")
        before = self._partial if self._partial.continued_by(windows) else _NO_PARTIAL_CHUNK
        all_windows = (*before.windows, *zip(windows, embeddings, strict=True))
        take = counted_windows([window for window, _ in all_windows], [embedding for _, embedding in all_windows])
        measured = take_quality(take) if take else None
        if len(gate_refusals) > len(windows):
            return self.refuse(Counter(gate_refusals).most_common(1)[0][0], measured)
        others = self._new[:-1] if before.kept else self._new
        full = self.exemplars >= MAX_EXEMPLARS and not self._may_merge()
        known = _vectors_by_condition((*self._kept, *others))
        reason = "profile_full" if full else refusal_reason(take, measured, known, self._limits)
        if reason is not None:
            self._partial = _PartialChunk(all_windows, kept=False) if reason == "too_short" else self._partial
            return self.refuse(reason, measured)
        self._new = list(others)
        found = chunks(take)
        left_out = sum(not self._keep(chunk) for chunk in found)
        goes_on = len(self._new) == len(others) + 1 and found[0].net_speech < MIN_CHUNK_SPEECH
        self._partial = _PartialChunk(all_windows, kept=True) if goes_on else _NO_PARTIAL_CHUNK
        return self._verdict(None, self._remarks(measured, gate_refusals, left_out), measured)

    def refuse(self, reason: str, measured: Quality | None) -> TakeVerdict:
        """Refuse a take for this reason, one of `ADVICE`; also used if none of its windows passed the quality gate."""
        self._refused[reason] += 1
        return self._verdict(reason, ADVICE[reason], measured)

    def require_complete(self) -> None:
        """Raise what `finish` would raise now."""
        if not self.complete:
            raise AudioError(f"not enough speech to enrol {self.name!r}: {self.summary()}", "not_enough_speech")

    def finish(self) -> Profile:
        """Return the profile, to be added to the store or to replace the existing one.

        Raises `AudioError`, reason `not_enough_speech`; the message says what is missing and why takes were refused.
        """
        self.require_complete()
        now = timestamp()
        old = self.existing
        if old is None:
            return Profile(
                self.name, new_uid(), 1, self.owner_uid, self.model, tuple(self._new), created=now, updated=now
            )
        keep_owner = self.owner_uid is None or self.mode is EnrolMode.ADD
        return Profile(
            name=old.name,
            uid=old.uid,
            generation=old.generation + 1,
            owner_uid=old.owner_uid if keep_owner else self.owner_uid,
            model=self.model,
            exemplars=(*self._kept, *self._new),
            created=old.created,
            updated=now,
        )

    def summary(self) -> str:
        """Return the progress as text: "8.2 s of 20 s speech, 2 of 5 exemplars; 1 take refused (clipped)"."""
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

    def _remarks(self, measured: Quality | None, gate_refusals: Sequence[str], left_out: int) -> str | None:
        """Return the advice for an accepted take."""
        remarks = [f"A part of it was left out. {ADVICE[reason]}" for reason in sorted(set(gate_refusals))]
        if left_out:
            remarks.append(f"The profile is full: {_count(left_out, 'exemplar')} of this take left out.")
        if measured is not None and "narrow_band" in flags(measured) and self.condition == DEFAULT_CONDITION:
            remarks.append(NARROW_BAND)
        return " ".join(remarks) or None

    def _may_merge(self) -> bool:
        """Whether new speech may be merged into exemplars of this enrolment: only while there is too little speech."""
        return bool(self._new) and not self.net_speech >= self.net_speech_needed

    def _keep(self, chunk: Chunk) -> bool:
        """Make the chunk an exemplar, or merge it into the one with the least speech. False if there is no room."""
        if self.exemplars < MAX_EXEMPLARS:
            self._new.append(self._exemplar(chunk))
            return True
        if not self._may_merge():
            return False
        # Many short takes fill the profile before there is enough speech; without this it could never be complete.
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


def _vectors_by_condition(exemplars: Iterable[Exemplar]) -> list[list[Vector]]:
    """Return the vectors, one list per condition."""
    found: dict[str, list[Vector]] = {}
    for exemplar in exemplars:
        found.setdefault(exemplar.condition, []).append(exemplar.vector)
    return list(found.values())


def _mode(mode: str) -> EnrolMode:
    try:
        return EnrolMode(mode)
    except ValueError:
        raise UsageError(f"mode {mode!r}: it must be new, add or replace") from None


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
