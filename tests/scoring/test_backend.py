"""Where the cohort and the calibration of a model come from, and that those which do not belong together never meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
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
    """Into the folder of a model. Returns that folder."""
    folder = where / folder_name(model)
    folder.mkdir(parents=True, exist_ok=True)
    if cohort is not None:
        (folder / COHORT).write_bytes(encode_cohort(cohort))
    if fit is not None:
        (folder / CALIBRATION).write_bytes(encode_calibration(fit))
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of ours: where it keeps what it ships."""
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


# Whose it is


def test_without_any_there_is_none(own: Path, shipped: Path) -> None:
    assert load_backend(own, MODEL) is NO_BACKEND
    assert (NO_BACKEND.cohort, NO_BACKEND.calibration) == (None, None)


def test_what_comes_with_the_package_is_used(own: Path, shipped: Path) -> None:
    fit = fitted(SHIPPED, -8.0)
    write(shipped, SHIPPED, fit)
    found = load_backend(own, MODEL)
    assert found.cohort is not None
    assert found.cohort.digest == SHIPPED.digest
    assert found.calibration == fit


def test_what_was_made_here_comes_before_what_is_shipped(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    write(own, OWN, fitted(OWN, -7.0))
    found = load_backend(own, MODEL)
    assert found.cohort is not None
    assert found.cohort.digest == OWN.digest
    assert found.calibration is not None
    assert found.calibration.offset == -7.0


def test_a_cohort_of_ones_own_is_not_mixed_with_the_shipped_calibration(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    write(own, OWN, None)
    found = load_backend(own, MODEL)
    assert found.cohort is not None
    assert found.cohort.digest == OWN.digest
    assert found.calibration is None


def test_another_model_gets_nothing_of_it(own: Path, shipped: Path) -> None:
    other = replace(MODEL, name="other", digest="cd" * 32)
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    write(own, OWN, fitted(OWN, -7.0))
    assert load_backend(own, other) is NO_BACKEND
    assert shipped_backend(other) is NO_BACKEND


# What does not belong together


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


@pytest.mark.parametrize("torn", [COHORT, CALIBRATION])
@pytest.mark.parametrize(
    "tear",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-9]),
        lambda file: file.write_bytes(b""),
    ],
)
def test_a_torn_file_is_refused_and_never_replaced_by_the_shipped_one(
    own: Path, shipped: Path, torn: str, tear: Callable[[Path], object]
) -> None:
    write(shipped, SHIPPED, fitted(SHIPPED, -8.0))
    folder = write(own, OWN, fitted(OWN, -7.0))
    tear(folder / torn)
    assert str(folder / torn) in refused(own, "bad_cohort" if torn == COHORT else "bad_calibration")


@pytest.mark.parametrize("lost", [COHORT, CALIBRATION])
@pytest.mark.parametrize("instead", ["a folder", "a link to nothing", "a file that must not be read"])
def test_a_file_that_cannot_be_read_is_not_a_file_that_is_not_there(
    own: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch, lost: str, instead: str
) -> None:
    file = write(own, OWN, fitted(OWN, -7.0)) / lost
    if instead == "a file that must not be read":  # root may read everything, so it is only said
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


def test_a_package_that_is_incomplete_says_so(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, None)
    assert "install it again" in refused(own, "storage")


def test_a_package_whose_parts_do_not_belong_together_is_refused(own: Path, shipped: Path) -> None:
    write(shipped, SHIPPED, fitted(OWN, -8.0))
    assert "shipped" in refused(own, "wrong_cohort")


# Leaving people out


def test_the_people_of_a_trial_are_left_out_and_the_calibration_stays() -> None:
    whole = Backend(OWN, fitted(OWN, -7.0))
    smaller = whole.without({"stranger 3"})
    assert smaller.cohort is not None
    assert smaller.cohort.speakers == tuple(name for name in OWN.speakers if name != "stranger 3")
    assert smaller.calibration is whole.calibration
    assert whole.without({"anna"}) is whole
    assert NO_BACKEND.without({"anna"}) is NO_BACKEND


# The folder's name


@given(name=st.text(max_size=120) | st.just("x" * 300), digest=st.integers(0, 2**256 - 1).map("{:064x}".format))
def test_any_model_has_a_folder_of_one_plain_name(name: str, digest: str) -> None:
    folder = folder_name(replace(MODEL, name=name, digest=digest))
    assert Path(folder).name == folder
    assert folder not in ("", ".", "..")
    assert len(folder.encode()) <= 80
    assert folder.isascii()
    assert folder.isprintable()


def test_two_models_have_two_folders() -> None:
    names = {
        folder_name(replace(MODEL, name=name, digest=digest))
        for name in ("microsoft/wavlm-base-sv", "microsoft/wavlm-base-plus-sv")
        for digest in ("ab" * 32, "cd" * 32)
    }
    assert len(names) == 4
    assert "microsoft-wavlm-base-sv-abababababababab" in names


def test_what_this_package_ships_fits_its_models() -> None:
    shipped = sorted((Path(backend.__file__).parent / "shipped").glob("*/"))
    if not shipped:
        pytest.skip("this package ships no cohort")
    for folder in shipped:
        with safe_open(folder / COHORT, "numpy") as file:
            model = ModelId(**json.loads(file.metadata()["model"]))
        assert folder_name(model) == folder.name
        found = shipped_backend(model)
        assert found.cohort is not None
        assert found.calibration is not None
        assert found.cohort.sources
        assert found.calibration.sources
