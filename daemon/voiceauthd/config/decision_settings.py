"""Settings of decisions, verification and enrolment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from voiceauthd.config.setting import Setting


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    threshold: Annotated[
        float | None,
        Setting(
            "Similarity from which two voices count as the same, for decisions without a calibration; null takes the "
            "calibration if there is one, else the model's own threshold. Higher rejects more strangers and more of "
            "the enrolled; lower accepts more of both. Whoever sets it decides with no known error rate.",
            unit="cosine",
            low=-1,
            high=1,
        ),
    ] = None
    margin: Annotated[
        float,
        Setting(
            "Lead that the best identity needs over the next one, after normalisation. Higher says `unknown` more "
            "often where voices are alike; at 0 the nearest wins, however close the next one is.",
            unit="cosine",
            low=0,
            high=1,
        ),
    ] = 0.05
    min_speech: Annotated[
        float,
        Setting(
            "Net speech without which nothing is decided. Higher is surer and later.",
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
            "A verification that has not decided by then ends as inconclusive, which lets nobody in. Higher gives a "
            "slow speaker more time; lower falls back to the password sooner.",
            unit="s",
            low=1,
            high=120,
        ),
    ] = 10.0
    speech: Annotated[
        float,
        Setting(
            "Net speech before the first decision. Higher is surer and takes longer; lower than 2 s is guesswork with "
            "most voices.",
            unit="s",
            low=1,
            high=30,
        ),
    ] = 2.0
    max_speech: Annotated[
        float,
        Setting(
            "Net speech at which a verification that is still not sure ends as inconclusive. Higher gives a borderline "
            "voice longer to prove itself; lower ends sooner.",
            unit="s",
            low=1,
            high=60,
        ),
    ] = 6.0
    expires: Annotated[
        float,
        Setting(
            "How long the caller may rely on an answer. Lower leaves less time to misuse one; too low and a slow "
            "caller finds it expired.",
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
            "False-accept rate that monitoring and identification aim at. Lower says `unknown` more often.",
            unit="rate",
            low=1e-6,
            high=0.5,
        ),
    ] = 1e-2
    unlock: Annotated[
        float,
        Setting(
            "False-accept rate that a verification aims at unless it asks for another policy. Lower rejects more "
            "strangers, and asks the right person for more speech.",
            unit="rate",
            low=1e-6,
            high=0.5,
        ),
    ] = 1e-3
    auth: Annotated[
        float,
        Setting(
            "False-accept rate of the strictest policy. It is refused until the calibration has seen enough "
            "independent trials to demonstrate it: about three over the rate.",
            unit="rate",
            low=1e-6,
            high=0.5,
        ),
    ] = 1e-4
    false_rejects: Annotated[
        float,
        Setting(
            "False-reject rate that all policies aim at. Lower listens longer before it rejects; higher rejects "
            "sooner.",
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
            "A window whose speech is not this far above the noise is not compared. Higher refuses more in a loud "
            "room, and says so; lower decides on speech that noise has changed.",
            unit="dB",
            low=-20,
            high=60,
        ),
    ] = 3.0
    max_clipping: Annotated[
        float,
        Setting(
            "A window with more of its samples at full scale is not compared. Lower demands a lower recording level; "
            "higher decides on distorted speech.",
            unit="share of samples",
            low=0,
            high=1,
        ),
    ] = 0.01
    min_level_dbfs: Annotated[
        float,
        Setting(
            "A window whose speech is quieter is not compared. Higher demands to speak closer to the microphone.",
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
            "How far below the bound the speaker of now may fall and keep the label, as a share of the bound (without "
            "a calibration: of the way to the bound to reject). Higher holds on to a label longer; at 0 a voice at "
            "the bound flickers.",
            unit="share",
            low=0,
            high=1,
        ),
    ] = 0.5
    dwell: Annotated[
        float,
        Setting(
            "Speech for which another speaker must be heard before the label changes, and silence after which it "
            "ends. Higher flickers less and changes later.",
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
            "profiles up to about 30 s; lower makes more false rejections.",
            unit="s",
            low=2,
            high=300,
        ),
    ] = 20.0
    exemplars: Annotated[
        int,
        Setting(
            "Utterances that an enrolment collects: what is said between two pauses is one exemplar, and of longer "
            "speech every 4.5 s are. More cover more ways of speaking; one alone is easily a bad one.",
            unit="exemplars",
            low=1,
            high=20,
        ),
    ] = 5
    timeout: Annotated[
        float,
        Setting(
            "An enrolment that is not complete by then is given up, and what was there before stays. Higher lets "
            "people take pauses; the microphone is taken for as long.",
            unit="s",
            low=5,
            high=3600,
        ),
    ] = 120.0
    min_snr_db: Annotated[
        float,
        Setting(
            "A take whose speech is not this far above the noise is refused. Higher makes cleaner profiles and refuses "
            "more in a loud room; lower lets noise into the profile.",
            unit="dB",
            low=-20,
            high=60,
        ),
    ] = 6.0
    max_clipping: Annotated[
        float,
        Setting(
            "A take with more of its samples at full scale is refused. Lower demands a lower recording level; higher "
            "lets distorted speech into the profile.",
            unit="share of samples",
            low=0,
            high=1,
        ),
    ] = 0.01
    min_level_dbfs: Annotated[
        float,
        Setting(
            "A take whose speech is quieter is refused. Higher demands to speak closer to the microphone; lower "
            "accepts speech that drowns in the microphone's own noise.",
            unit="dBFS",
            low=-100,
            high=0,
        ),
    ] = -50.0
    min_agreement: Annotated[
        float | None,
        Setting(
            "A take that is less similar to the other takes is refused, because it may be somebody else; null: 0.2 "
            "below the threshold of decisions. Higher demands an even voice; lower lets a second speaker into the "
            "profile.",
            unit="cosine",
            low=-1,
            high=1,
        ),
    ] = None
    refuse_duplicates: Annotated[
        bool,
        Setting(
            "Refuse to enrol a voice that is enrolled under another name. False lets one person have several names, "
            "and then neither leads the other: verification says `ambiguous`."
        ),
    ] = True
