"""Cohorts and calibrations made while the daemon runs: used from the next reload on, or refused by name."""

from __future__ import annotations

from pathlib import Path

from backends import made_up_calibration, made_up_cohort
from daemon_process import DaemonProcess
from daemon_stub import Spectrum

from voiceauthd.errors import ExitCode
from voiceauthd.scoring.backend import CALIBRATION, COHORT, folder_name
from voiceauthd.scoring.calibration import encode_calibration
from voiceauthd.scoring.cohort import encode_cohort

PAIRS = 40_000


def write_backend(folder: Path, seed: int) -> Path:
    """Write a cohort of made-up strangers and its calibration. Returns the folder of the model."""
    own = folder / folder_name(Spectrum.model)
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    cohort = made_up_cohort(Spectrum.model, seed)
    calibration = made_up_calibration(cohort, pairs=PAIRS)
    (own / COHORT).write_bytes(encode_cohort(cohort))
    (own / CALIBRATION).write_bytes(encode_calibration(calibration))
    return own


def demonstrated(daemon: DaemonProcess) -> dict[str, bool]:
    return {policy["name"]: policy["demonstrated"] for policy in daemon.ask("Status")["policies"]}


def test_a_calibration_made_while_the_daemon_runs_is_used_after_a_reload(stub_at) -> None:
    daemon = stub_at()
    daemon.configure({"decision": {"threshold": None}})
    daemon.ask("Reload")
    assert demonstrated(daemon) == {"monitor": False, "unlock": False, "auth": False}
    own = write_backend(daemon.folder / "scoring", 1)
    assert daemon.ask("Reload")["changed"] == ["scoring"]
    assert daemon.ask("Info")["model"]["calibrated"] is True
    assert demonstrated(daemon) == {"monitor": True, "unlock": True, "auth": True}
    assert daemon.ask("Reload")["changed"] == []
    (own / CALIBRATION).write_bytes((own / CALIBRATION).read_bytes()[:-40])
    refused = daemon.refusal("Reload")
    assert str(own / CALIBRATION) in refused.parameters["detail"]
    assert demonstrated(daemon)["auth"] is True, "the old one stays in use"
    write_backend(daemon.folder / "scoring", 2)
    assert daemon.ask("Reload")["changed"] == ["scoring"]


def test_the_daemon_does_not_start_with_a_calibration_of_another_cohort(folder: Path, stub_at) -> None:
    own = write_backend(folder / "scoring", 1)
    calibration = (own / CALIBRATION).read_bytes()
    write_backend(folder / "scoring", 2)
    (own / CALIBRATION).write_bytes(calibration)
    daemon = stub_at(await_ready=False)
    assert daemon.wait() == ExitCode.STORAGE
    assert f"{own / CALIBRATION} was fitted with another cohort" in daemon.log.read_text()
