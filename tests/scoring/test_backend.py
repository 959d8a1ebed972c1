"""Where cohort and calibration of a model come from, and that mismatched ones are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from score_parts import MODEL, OTHER_MODEL, calibration, strangers

from voiceauthd.embed.embedding import ModelId
from voiceauthd.errors import StorageError
from voiceauthd.scoring import backend
from voiceauthd.scoring.backend import (
    CALIBRATION,
    COHORT,
    NO_BACKEND,
    Backend,
    folder_name,
    load_backend,
    shipped_backend,
)
from voiceauthd.scoring.calibration import Calibration, encode_calibration, model_record
from voiceauthd.scoring.cohort import Cohort, encode_cohort

OWN, SHIPPED = strangers(seed=1), strangers(seed=2)


def fitted(cohort: Cohort, offset: float, model: ModelId = MODEL) -> Calibration:
    return calibration(cohort=cohort.digest, offset=offset, model=model_record(model))


def write(where: Path, cohort: Cohort | None, fit: Calibration | None, model: ModelId = MODEL) -> Path:
    """Write to the folder of a model, and return that folder."""
    folder = where / folder_name(model)
    folder.mkdir(parents=True, exist_ok=True)
    if cohort is not None:
        (folder / COHORT).write_bytes(encode_cohort(cohort))
    if fit is not None:
        (folder / CALIBRATION).write_bytes(encode_calibration(fit))
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the shipped files in a fake package."""
    monkeypatch.setattr(backend, "resources", SimpleNamespace(files=lambda package: tmp_path / package))
    return tmp_path / "voiceauthd.scoring" / "shipped"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def refused(own: Path, reason: str, model: ModelId = MODEL) -> str:
    with pytest.raises(StorageError) as caught:
        load_backend(own, model)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Precedence


def test_without_files_there_is_no_backend(own: Path, shipped: Path) -> None:
    assert load_backend(own, MODEL) is NO_BACKEND
    assert (NO_BACKEND.cohort, NO_BACKEND.calibration) == (None, None)


def test_the_shipped_files_are_used(own: Path, shipped: Path) -> None:
    fit = fitted(SHIPPED, -8.0)
    write(shipped, SHIPPED, fit)
    found = load_backend(own, MODEL)
    assert found.cohort is not None
    assert found.cohort.digest == SHIPPED.digest
    assert found.calibration == fit


def test_own_files_have_precedence_over_shipped_ones(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    write(own, OWN, fitted(OWN, -7.0))
    found = load_backend(own, MODEL)
    assert found.cohort is not None
    assert found.cohort.digest == OWN.digest
    assert found.calibration is not None
    assert found.calibration.offset == -7.0


def test_an_own_cohort_is_not_combined_with_the_shipped_calibration(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    write(own, OWN, None)
    found = load_backend(own, MODEL)
    assert found.cohort is not None
    assert found.cohort.digest == OWN.digest
    assert found.calibration is None


def test_another_model_gets_neither(own: Path, shipped: Path) -> None:
    other = replace(MODEL, name="other", digest="cd" * 32)
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    write(own, OWN, fitted(OWN, -7.0))
    assert load_backend(own, other) is NO_BACKEND
    assert shipped_backend(other) is NO_BACKEND


# Mismatched and damaged files


def test_a_calibration_without_its_cohort_is_refused(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    folder = write(own, None, fitted(OWN, -7.0))
    assert str(folder / CALIBRATION) in refused(own, "no_cohort")


def test_a_calibration_of_another_cohort_is_refused(own: Path, shipped: Path) -> None:
    folder = write(own, OWN, fitted(SHIPPED, -7.0))
    assert str(folder / CALIBRATION) in refused(own, "wrong_cohort")


def test_a_calibration_of_another_model_is_refused(own: Path, shipped: Path) -> None:
    write(own, OWN, fitted(OWN, -7.0, OTHER_MODEL))
    assert str(OTHER_MODEL)[:4] in refused(own, "wrong_model")


def test_a_cohort_of_another_model_is_refused(own: Path, shipped: Path) -> None:
    write(own, strangers(model=OTHER_MODEL), None)
    assert str(OTHER_MODEL) in refused(own, "wrong_model")


@pytest.mark.parametrize(("name", "size"), [(COHORT, -9), (COHORT, 0), (CALIBRATION, -9)])
def test_a_damaged_file_is_refused_and_not_replaced_by_the_shipped_one(
    own: Path, shipped: Path, name: str, size: int
) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    folder = write(own, OWN, fitted(OWN, -7.0))
    (folder / name).write_bytes((folder / name).read_bytes()[:size])
    assert str(folder / name) in refused(own, "bad_cohort" if name == COHORT else "bad_calibration")


@pytest.mark.parametrize(
    ("name", "instead"),
    [(COHORT, "a folder"), (COHORT, "a broken link"), (COHORT, "no permission"), (CALIBRATION, "a broken link")],
)
def test_an_unreadable_file_is_not_treated_as_missing(
    own: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch, name: str, instead: str
) -> None:
    file = write(own, OWN, fitted(OWN, -7.0)) / name
    if instead == "no permission":  # injected, because root may read everything
        look = Path.lstat

        def lstat(path: Path) -> object:
            if path == file:
                raise PermissionError(13, "Permission denied")
            return look(path)

        monkeypatch.setattr(Path, "lstat", lstat)
    else:
        file.unlink()
        if instead == "a folder":
            file.mkdir()
        else:
            file.symlink_to(file.parent / "gone")
    assert str(file) in refused(own, "storage")


def test_an_incomplete_package_is_refused(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, None)
    assert "install it again" in refused(own, "storage")


def test_a_package_with_mismatched_files_is_refused(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(OWN, -8.0))
    assert "shipped" in refused(own, "wrong_cohort")


# Leaving people out


def test_people_are_removed_from_the_cohort_and_the_calibration_stays() -> None:
    whole = Backend(OWN, fitted(OWN, -7.0))
    smaller = whole.without({"stranger 3"})
    assert smaller.cohort is not None
    assert smaller.cohort.speakers == tuple(name for name in OWN.speakers if name != "stranger 3")
    assert smaller.calibration is whole.calibration
    assert whole.without({"anna"}) is whole
    assert NO_BACKEND.without({"anna"}) is NO_BACKEND


# The name of the folder


@given(name=st.text(max_size=120) | st.just("x" * 300), digest=st.integers(0, 2**256 - 1).map("{:064x}".format))
def test_the_folder_of_any_model_has_a_plain_name(name: str, digest: str) -> None:
    folder = folder_name(replace(MODEL, name=name, digest=digest))
    assert Path(folder).name == folder
    assert folder not in ("", ".", "..")
    assert len(folder.encode()) <= 80
    assert folder.isascii()
    assert folder.isprintable()


def test_different_models_have_different_folders() -> None:
    names = {
        folder_name(replace(MODEL, name=name, digest=digest))
        for name in ("microsoft/wavlm-base-sv", "microsoft/wavlm-base-plus-sv")
        for digest in ("ab" * 32, "cd" * 32)
    }
    assert len(names) == 4
    assert "microsoft-wavlm-base-sv-abababababababab" in names
