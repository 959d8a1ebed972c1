"""A description of the machine that the measurements were taken on."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "transformers", "numpy", "silero-vad", "webrtcvad-wheels", "sounddevice")


def describe_machine() -> dict[str, str]:
    """Processor, memory, system and software, one line each; "unknown" where it cannot be determined."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores for this process",
        "memory": _memory(),
        "system": f"{_distribution()}, Linux {platform.release()}, {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in ("voiceauthd", *PACKAGES)),
        "measured": time.strftime("%Y-%m-%d %H:%M %Z"),
    }


def load_average() -> float:
    """The average number of runnable processes over the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    return _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown"


def _memory() -> str:
    kib = (_field(Path("/proc/meminfo"), "MemTotal") or "").split()
    return f"{int(kib[0]) / 2**20:.1f} GiB" if kib else "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _field(file: Path, name: str) -> str | None:
    """The first value of `name` in a file of lines such as "name : value"."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), None)
