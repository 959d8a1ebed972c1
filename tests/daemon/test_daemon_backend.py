"""Cohort and calibration that are made while the daemon runs: taken at the next reload, or refused and named."""

from __future__ import annotations

from pathlib import Path

from backends import made_up_calibration, made_up_cohort
from daemon_box import Box
from daemon_stub import Spectrum

from voiceauthd.errors import ExitCode
from voiceauthd.scoring.backend import CALIBRATION, COHORT, folder_name
from voiceauthd.scoring.calibration import encode_calibration
from voiceauthd.scoring.cohort import encode_cohort

PAIRS = 40_000


def write_backend(folder: Path, seed: int) -> Path:
    """A cohort of made-up strangers and a calibration that fits it. Returns the folder of the model."""
    own = folder / folder_name(Spectrum.model)
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    cohort = made_up_cohort(Spectrum.model, seed)
    calibration = made_up_calibration(cohort, pairs=PAIRS)
    (own / COHORT).write_bytes(encode_cohort(cohort))
    (own / CALIBRATION).write_bytes(encode_calibration(calibration))
    return own


def demonstrated(box: Box) -> dict[str, bool]:
    return {policy["name"]: policy["demonstrated"] for policy in box.ask("Status")["policies"]}


def test_a_calibration_that_was_made_meanwhile_is_taken_at_a_reload(stub_at) -> None:
    box = stub_at()
    box.configure({"decision": {"threshold": None}})
    box.ask("Reload")
    assert demonstrated(box) == {"monitor": False, "unlock": False, "auth": False}
    own = write_backend(box.folder / "scoring", 1)
    assert box.ask("Reload")["changed"] == ["scoring"]
    assert box.ask("Info")["model"]["calibrated"] is True
    assert demonstrated(box) == {"monitor": True, "unlock": True, "auth": True}
    assert box.ask("Reload")["changed"] == []
    (own / CALIBRATION).write_bytes((own / CALIBRATION).read_bytes()[:-40])
    refused = box.refusal("Reload")
    assert str(own / CALIBRATION) in refused.parameters["detail"]
    assert demonstrated(box)["auth"] is True, "what was in use stays in use"
    write_backend(box.folder / "scoring", 2)
    assert box.ask("Reload")["changed"] == ["scoring"]


def test_a_calibration_of_another_cohort_keeps_the_daemon_from_starting_and_is_named(folder: Path, stub_at) -> None:
    own = write_backend(folder / "scoring", 1)
    calibration = (own / CALIBRATION).read_bytes()
    write_backend(folder / "scoring", 2)
    (own / CALIBRATION).write_bytes(calibration)
    box = stub_at(await_ready=False)
    assert box.wait() == ExitCode.STORAGE
    assert f"{own / CALIBRATION} was fitted with another cohort" in box.log.read_text()
