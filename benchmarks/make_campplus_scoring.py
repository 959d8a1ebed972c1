"""Makes the cohort and the calibration for CAM++ that ship with the package.

    python benchmarks/make_campplus_scoring.py SPEECH daemon/voiceauthd/scoring/shipped

SPEECH is a folder with `manifest.csv` (columns path, speaker, source, kind, licence) and `enroll.csv`, like the
development speech. Only recordings under CC BY are used. Everybody in them is enrolled and compared with all others of
the same corpus: strangers at the same microphone are the realistic trials, and those from another corpus are too easy.
Prints what was fitted, and which policies it supports.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.config.schema import Config, ModelConfig
from voiceauthd.embed.load import load_embedder
from voiceauthd.evaluation.cache import Cache, default_cache
from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
from voiceauthd.evaluation.fit_calibration import calibrate
from voiceauthd.evaluation.trials import Enrolment, Trial, TrialList
from voiceauthd.scoring.backend import CALIBRATION, COHORT, Backend, folder_name
from voiceauthd.scoring.calibration import encode_calibration
from voiceauthd.scoring.cohort import encode_cohort
from voiceauthd.scoring.policy import make_policies

CORPORA = {
    "speech-commands": ("Google Speech Commands v0.02 (CC BY 4.0)", "speech-commands"),
    "arabic-sc": ("Arabic Speech Commands (CC BY 4.0)", "arabic-sc"),
    "librispeech-clean": ("LibriSpeech (CC BY 4.0)", "librispeech"),
    "librispeech-other": ("LibriSpeech (CC BY 4.0)", "librispeech"),
    "librispeech-single": ("LibriSpeech (CC BY 4.0)", "librispeech"),
}
"""Source in the manifest -> its name with the licence, and the corpus within which people are compared."""


@dataclass(frozen=True, slots=True)
class Person:
    """The recordings of one person. With only one, it is in both `enrolment` and `tests`."""

    name: str
    corpus: str
    enrolment: tuple[str, ...]
    tests: tuple[str, ...]


def people_in(folder: Path) -> Mapping[str, Person]:
    """All people in the sources under CC BY, by name."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] in CORPORA]
    not_free = [row["path"] for row in rows if not row["licence"].startswith("CC BY")]
    if not_free:
        sys.exit(f"{folder / 'manifest.csv'}: {not_free[0]} is not under CC BY")
    with (folder / "enroll.csv").open(newline="", encoding="utf-8") as stream:
        enrolled = {row["speaker"]: tuple(row["files"].split(";")) for row in csv.DictReader(stream)}
    people = {}
    for name in dict.fromkeys(row["speaker"] for row in rows):
        own = [row for row in rows if row["speaker"] == name]
        paths = tuple(row["path"] for row in own)
        enrolment = enrolled.get(name, paths[:1])
        tests = tuple(path for path in paths if path not in enrolment) or paths[:1]
        people[name] = Person(name, CORPORA[own[0]["source"]][1], enrolment, tests)
    return people


def trials_among(folder: Path, people: Mapping[str, Person]) -> TrialList:
    """Everybody against everybody of the same corpus, without the recordings that the person enrolled with."""
    enrolments = {
        person.name: Enrolment(person.name, person.name, person.corpus, person.enrolment, 0)
        for person in people.values()
    }
    trials = [
        Trial("", enrolled.name, path, tested is enrolled, enrolled.name, tested.name, "", "", tested.corpus, 0)
        for enrolled in people.values()
        for tested in people.values()
        if tested.corpus == enrolled.corpus
        for path in tested.tests
        if path not in enrolled.enrolment
    ]
    return TrialList(folder, enrolments, tuple(trials), 0, ())


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, metavar="SPEECH")
    parser.add_argument("shipped", type=Path, metavar="SHIPPED")
    arguments = parser.parse_args()
    config = Config(model=ModelConfig(name="campplus"))
    embedder = load_embedder(config.model)
    workers = EmbeddingWorkers(
        config.model, config.speech, embedder, Cache(default_cache(), embedder.model, config.speech)
    )
    people = people_in(arguments.speech)
    sources = tuple(dict.fromkeys(name for name, _ in CORPORA.values()))
    listed = trials_among(arguments.speech, people)
    cohort, calibration = calibrate(listed, workers, embedder.model, None, sources, lambda *_: None)
    folder = arguments.shipped / folder_name(embedder.model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COHORT).write_bytes(encode_cohort(cohort))
    (folder / CALIBRATION).write_bytes(encode_calibration(calibration))
    print(f"model {embedder.model}; sources: {', '.join(sources)}")
    print(f"cohort of {len(cohort.speakers)} speakers")
    print(
        f"{calibration.target} target and {calibration.nontarget} non-target trials; {calibration.pairs} pairs of "
        f"people; cross-validated by speaker: Cllr {calibration.cllr:.4f}, minCllr {calibration.mincllr:.4f}"
    )
    for policy in make_policies(config, embedder.threshold, Backend(cohort, calibration)).values():
        supported = 1.0 if policy.supported is None else policy.supported
        result = "demonstrated" if policy.demonstrated else "not demonstrated"
        print(f"policy {policy.name}: aims at {policy.false_accepts:g}, supported {supported:.2g}: {result}")


if __name__ == "__main__":
    main()
