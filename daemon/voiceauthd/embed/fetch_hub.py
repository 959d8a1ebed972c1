"""Fetch a WavLM checkpoint from the model hub: only the needed files, at one commit, as safetensors."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, snapshot_download

from voiceauthd.embed.checkpoint import check_architecture, convert_pickled
from voiceauthd.embed.manifest import (
    CAMPPLUS,
    CONFIG,
    PICKLED_WEIGHTS,
    PREPROCESSOR,
    WEIGHTS,
    Manifest,
    Progress,
    describe,
    file_digest,
)
from voiceauthd.errors import ModelError

CONNECT_TIMEOUT = 5.0
"""Seconds until the hub counts as unreachable. There is no second try."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Published:
    """The hub's description of a model at one commit.

    weights  name of the file with the weights
    size     its bytes; 0 if the hub does not report them
    digest   its SHA-256 in hex; None if the hub does not report it
    """

    commit: str
    licence: str
    weights: str
    size: int
    digest: str | None


def resolve(name: str, revision: str | None) -> str:
    """Return the commit of a branch or tag; None means the default branch. Raises `ModelError` with what to do."""
    if not HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        raise ModelError(
            f"{name!r} is neither {CAMPPLUS} nor a hub id like microsoft/wavlm-base-sv; "
            "a model in a local folder is used without fetching"
        )
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    with _explained(name, revision):
        return _look_up(_hub(), name, revision).commit


def download(name: str, revision: str, staging: Path, say: Progress) -> Manifest:
    """Write the checkpoint to `staging`. Raises `ModelError` with what to do."""
    with _explained(name, revision):
        published = _download(name, revision, staging, say)
    digest = file_digest(staging / published.weights)
    if published.digest not in {None, digest}:
        raise ModelError(f"{name}: the download does not match the hub's SHA-256; fetch it again", "model_corrupt")
    if published.weights == PICKLED_WEIGHTS:
        say("converting the weights to safetensors")
        convert_pickled(staging)
    check_architecture(staging)
    source = f"the model hub, {name} at {published.commit}"
    return describe(
        staging, name=name, revision=published.commit, digest=digest, source=source, licence=published.licence
    )


def _hub() -> HfApi:
    # Read the endpoint at each call; the hub's library reads it at import.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _download(name: str, revision: str, staging: Path, say: Progress) -> Published:
    hub = _hub()
    published = _look_up(hub, name, revision)
    say(f"fetching {name} at {published.commit} ({published.size / 1e6:.0f} MB)")
    snapshot_download(
        name,
        revision=published.commit,
        local_dir=staging,
        allow_patterns=[CONFIG, PREPROCESSOR, published.weights],
        etag_timeout=CONNECT_TIMEOUT,
        endpoint=hub.endpoint,
    )
    shutil.rmtree(staging / ".cache", ignore_errors=True)  # the hub library's own records
    return published


def _look_up(hub: HfApi, name: str, revision: str | None) -> Published:
    info = hub.model_info(name, revision=revision, timeout=CONNECT_TIMEOUT, files_metadata=True)
    files = {sibling.rfilename: sibling for sibling in info.siblings or []}
    weights = WEIGHTS if WEIGHTS in files else PICKLED_WEIGHTS
    for needed in (CONFIG, weights):
        if needed not in files:
            raise ModelError(f"{info.id} has no {needed} on the hub: use another checkpoint", "wrong_architecture")
    licence = getattr(info.card_data, "license", None) or "see the model's page on the hub"
    lfs = files[weights].lfs
    digest = lfs.sha256 if lfs else None
    return Published(str(info.sha), str(licence), weights, files[weights].size or 0, digest)


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    """Turn any error of the download into a `ModelError` that says what to do.

    Errors of the local disk (full, read-only, no permission) pass as `OSError`.
    """
    try:
        yield
    except ModelError:
        raise
    except OSError as error:  # the hub library's errors are also OSError, but without such a number
        if error.errno in DISK_ERRORS:
            raise
        raise ModelError(_why(name, revision, error)) from error
    # The exceptions of the hub's library depend on its version and on its HTTP library. In every case the download
    # failed and nothing was kept.
    except Exception as error:
        raise ModelError(_why(name, revision, error)) from error


def _why(name: str, revision: str | None, error: Exception) -> str:
    """Return one line with the cause and what to do."""
    which = name if revision is None else f"{name} at {revision}"
    if constants.HF_HUB_OFFLINE or isinstance(error, errors.OfflineModeIsEnabled):
        return f"{which} cannot be fetched: HF_HUB_OFFLINE is set; unset it to fetch, or {elsewhere(name)}"
    if isinstance(error, errors.GatedRepoError):
        return f"{which} cannot be fetched: the hub requires accepting its terms first; log in to it, then fetch again"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{which} cannot be fetched: the hub has no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{which} cannot be fetched: the hub has no such model, or it is private"
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{which} cannot be fetched: the model hub cannot be reached ({detail}); {elsewhere(name)}"


def elsewhere(name: str) -> str:
    """Return what to do without a network."""
    return (
        f"run `voiceauth model fetch {name}` on a connected machine and copy its folder to this machine's model cache, "
        f"or set `model.name: {CAMPPLUS}`"
    )
