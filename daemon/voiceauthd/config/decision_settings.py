"""The settings of decisions, verification, monitoring and enrolment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from voiceauthd.config.setting import Setting


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    threshold: Annotated[
        float | None,
        Setting(
            "Similarity from which two voices count as the same, for decisions without a calibration; null uses the "
            "calibration if there is one, else the model's own threshold. Higher rejects more strangers and more "
            "enrolled people; lower accepts more of both. If it is set, the error rates are unknown.",
            unit="cosine",
            low=-1,
            high=1,
        ),
    ] = None
    margin: Annotated[
        float,
        Setting(
            "Margin that the best identity needs over the next one, after normalisation. Higher answers `unknown` more "
            "often if voices are similar; at 0 the nearest wins, however close the next one is.",
            unit="cosine",
            low=0,
            high=1,
        ),
    ] = 0.05
    min_speech: Annotated[
        float,
        Setting(
            "Net speech needed for any decision. Higher is more reliable and later.",
            unit="s",
            low=1,
            high=30,
        ),
    ] = 1.0


@dataclass(frozen=True, slots=True)
class VerifyConfig:
    timeout: Annotated[
        float,
        Setting(
            "A verification that is not decided by then ends as inconclusive, which accepts nobody. Higher gives a "
            "slow speaker more time; lower falls back to the password sooner.",
            unit="s",
            low=1,
            high=120,
        ),
    ] = 10.0
    speech: Annotated[
        float,
        Setting(
            "Net speech before the first decision. Higher is more reliable and takes longer; below 2 s most decisions "
            "are unreliable.",
            unit="s",
            low=1,
            high=30,
        ),
    ] = 2.0
    max_speech: Annotated[
        float,
        Setting(
            "Net speech at which a verification that is still undecided ends as inconclusive. Higher gives a "
            "borderline voice more time; lower ends sooner.",
            unit="s",
            low=1,
            high=60,
        ),
    ] = 6.0
    expires: Annotated[
        float,
        Setting(
            "How long the caller may rely on an answer. Lower leaves less time to misuse one; if it is too low, an "
            "answer has expired before a slow caller uses it.",
            unit="s",
            low=1,
            high=300,
        ),
    ] = 10.0


@dataclass(frozen=True, slots=True)
class PoliciesConfig:
    monitor: Annotated[
        float,
        Setting(
            "False-accept rate that monitoring and identification aim at. Lower answers `unknown` more often.",
            unit="rate",
            low=1e-6,
            high=0.5,
        ),
    ] = 1e-2
    unlock: Annotated[
        float,
        Setting(
            "False-accept rate that a verification aims at unless it names another policy. Lower rejects more "
            "strangers, and needs more speech from the right person.",
            unit="rate",
            low=1e-6,
            high=0.5,
        ),
    ] = 1e-3
    auth: Annotated[
        float,
        Setting(
            "False-accept rate of the strictest policy. It is refused until the calibration has enough independent "
            "trials to demonstrate it: about three divided by the rate.",
            unit="rate",
            low=1e-6,
            high=0.5,
        ),
    ] = 1e-4
    false_rejects: Annotated[
        float,
        Setting(
            "False-reject rate that all policies aim at. Lower listens longer before rejecting; higher rejects sooner.",
            unit="rate",
            low=1e-3,
            high=0.5,
        ),
    ] = 0.05


@dataclass(frozen=True, slots=True)
class GateConfig:
    min_snr_db: Annotated[
        float,
        Setting(
            "A window with a lower signal-to-noise ratio is refused. Higher refuses more in a noisy room; lower "
            "decides on speech distorted by noise.",
            unit="dB",
            low=-20,
            high=60,
        ),
    ] = 3.0
    max_clipping: Annotated[
        float,
        Setting(
            "A window with more of its samples at full scale is refused. Lower requires a lower recording level; "
            "higher decides on distorted speech.",
            unit="share of samples",
            low=0,
            high=1,
        ),
    ] = 0.01
    min_level_dbfs: Annotated[
        float,
        Setting(
            "A window with quieter speech is refused. Higher requires speaking closer to the microphone.",
            unit="dBFS",
            low=-100,
            high=0,
        ),
    ] = -60.0


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    hysteresis: Annotated[
        float,
        Setting(
            "How far below the accept bound the current speaker may fall and keep the label, as a share of the bound "
            "(without a calibration: of the distance to the reject bound). Higher keeps a label longer; at 0 the label "
            "of a voice at the bound flickers.",
            unit="share",
            low=0,
            high=1,
        ),
    ] = 0.5
    dwell: Annotated[
        float,
        Setting(
            "Speech of another speaker after which the label changes, and silence after which it ends. Higher flickers "
            "less and changes later.",
            unit="s",
            low=0,
            high=30,
        ),
    ] = 1.5


@dataclass(frozen=True, slots=True)
class EnrollConfig:
    speech: Annotated[
        float,
        Setting(
            "Net speech that an enrolment collects, each second counted once. Higher takes longer and makes better "
            "profiles, up to about 30 s; lower causes more false rejects.",
            unit="s",
            low=2,
            high=300,
        ),
    ] = 20.0
    exemplars: Annotated[
        int,
        Setting(
            "Exemplars that an enrolment collects: the speech between two pauses is one exemplar; longer speech gives "
            "one for every 4.5 s. More cover more ways of speaking; a single one may be a bad one.",
            unit="exemplars",
            low=1,
            high=20,
        ),
    ] = 5
    timeout: Annotated[
        float,
        Setting(
            "An enrolment that is not complete by then is cancelled, and the old profile stays. While takes are "
            "accepted it may go on, up to three times as long. Higher allows for pauses, but keeps the microphone "
            "busy.",
            unit="s",
            low=5,
            high=3600,
        ),
    ] = 120.0
    min_snr_db: Annotated[
        float,
        Setting(
            "A take with a lower signal-to-noise ratio is refused. Higher makes cleaner profiles and refuses more in a "
            "noisy room; lower lets noise into the profile.",
            unit="dB",
            low=-20,
            high=60,
        ),
    ] = 6.0
    max_clipping: Annotated[
        float,
        Setting(
            "A take with more of its samples at full scale is refused. Lower requires a lower recording level; higher "
            "lets distorted speech into the profile.",
            unit="share of samples",
            low=0,
            high=1,
        ),
    ] = 0.01
    min_level_dbfs: Annotated[
        float,
        Setting(
            "A take with quieter speech is refused. Higher requires speaking closer to the microphone; lower accepts "
            "speech near the microphone's own noise.",
            unit="dBFS",
            low=-100,
            high=0,
        ),
    ] = -50.0
    min_agreement: Annotated[
        float | None,
        Setting(
            "A take that is less similar to the other takes is refused, because it may be another speaker; null: 0.2 "
            "below the decision threshold. Higher requires a more constant voice; lower may let a second speaker into "
            "the profile.",
            unit="cosine",
            low=-1,
            high=1,
        ),
    ] = None
    refuse_duplicates: Annotated[
        bool,
        Setting(
            "Refuse to enrol a voice that is enrolled under another name. False allows several names for one person, "
            "but then neither has a margin over the other: verification answers `ambiguous`."
        ),
    ] = True
