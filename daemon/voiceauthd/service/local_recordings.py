"""Decisions on recordings in this process, where no daemon runs: with the same model, profiles and rules, read-only."""

from __future__ import annotations

from voiceauthd.audio.block import Samples
from voiceauthd.config.schema import Config
from voiceauthd.pipeline.recording_decision import RecordingDecision
from voiceauthd.scoring.policy import UNLOCK, require_usable
from voiceauthd.scoring.sequential import Identification, Verification
from voiceauthd.service.deciding import identify_reply, verified_recording_reply
from voiceauthd.service.engine import build_engine
from voiceauthd.service.replies import Reply
from voiceauthd.speech.segmenter import Segmenter


class LocalRecordings:
    """The model and the profiles of this user's configuration. Whoever can read the profiles sees the scores."""

    def __init__(self, config: Config) -> None:
        """Load the model, which takes seconds. Raises as `build_engine` does."""
        self._engine = build_engine(config, lambda _event: None, read_only=True)
        self._segmenter = Segmenter(config.speech)

    def verify(self, name: str, samples: Samples, policy: str | None = None) -> Reply:
        """Return the last reply that VerifyRecording would give. `samples`: shape (n,), 16 kHz.

        Raises `NotEnrolledError`, `StorageError`, `ModelError`, and `UsageError` for a policy that is not demonstrated.
        """
        engine = self._engine
        profile = engine.store.get(name)
        wanted = engine.policies[policy or UNLOCK]
        require_usable(wanted)
        decider = Verification(profile.name, engine.recogniser.compare, wanted.rule, engine.config.verify)
        decision = RecordingDecision(decider, self._segmenter, engine.recogniser).decide(samples)
        return verified_recording_reply(name, decision, decider, engine.config, scores=True)

    def identify(self, samples: Samples) -> Reply:
        """Return the last reply that IdentifyRecording would give. Raises `ModelError`."""
        engine = self._engine
        decider = Identification(engine.recogniser.compare, engine.recogniser.rule, engine.config.verify)
        identified = RecordingDecision(decider, self._segmenter, engine.recogniser).decide(samples)
        return identify_reply(identified, decider, engine.config, scores=True)
