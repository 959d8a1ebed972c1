"""A plain folder of speech with a sub-folder for each speaker, as collections come: who speaks where.

    dev-clean/84/121123/84-121123-0000.flac     LibriSpeech: part, speaker, chapter
    id10001/1zcIwhmdeo4/00001.wav               VoxCeleb: speaker, video
    alice/monday.wav                            one's own

What lies between a speaker and a recording is a session. Nothing is heard here; of recordings, the length is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from voiceauthd.audio.file import MAX_RECORDING
from voiceauthd.errors import AudioError, UsageError
from voiceauthd.evaluation.degrade import SUFFIXES

SPEAKERS = "SPEAKERS.TXT"
"""Lies in the root of LibriSpeech, beside its parts."""

PART = re.compile(r"(train|dev|test)(-[a-z]+)?(-\d+)?")
"""Names of the parts of a collection, such as train-clean-100: the speakers are in them."""

WRAPPERS = {"aac", "audio", "flac", "m4a", "mp3", "ogg", "wav"}
"""Names of a folder between a part and its speakers: VoxCeleb and Multilingual LibriSpeech have one."""

LEAST_SOUND = 2.0
"""Seconds of a recording. A window takes 1 s of speech, and there is silence before and behind it."""

USABLE = f"of {LEAST_SOUND:g} s to {MAX_RECORDING / 60.0:g} minutes"

Voices = Mapping[str, Sequence[Path]]
"""The recordings of each speaker, in order."""


def speakers_in(folder: Path, warnings: list[str]) -> dict[str, list[Path]]:
    """The recordings of each speaker, `folder` and all, by the name of the speaker's sub-folder; both sorted.

    Speakers are the sub-folders of the first folder that holds more than one sub-folder, or of the parts of a
    collection (`PART`), in which the same name is the same person. Hidden files are ignored, links are not followed,
    and `warnings` gets a sentence on whatever else is left out.

    Raises `UsageError`, reason `no_speakers`, for a folder that is not laid out like that.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "no_speakers")
    links: list[Path] = []
    found = sorted(path.relative_to(folder).parts for path in _recordings(folder, links))
    if links:
        warnings.append(f"{folder}: links are not followed ({_some(links)}): a recording could count twice")
    if not found:
        raise UsageError(f"{folder}: no recordings in it ({', '.join(sorted(SUFFIXES))})", "no_speakers")
    homes = _homes(folder, found)
    depth = {home: len(home) for home in homes}
    voices: dict[str, list[Path]] = {}
    loose = []
    for parts in found:
        home = next((home for home in homes if parts[: depth[home]] == home), None)
        if home is None or len(parts) < depth[home] + 2:
            loose.append(folder.joinpath(*parts))
        else:
            voices.setdefault(_name(parts[depth[home]]), []).append(folder.joinpath(*parts))
    if not voices:
        place = folder.joinpath(*homes[0])
        raise UsageError(
            f"{place}: recordings, but no sub-folders: give a folder with one sub-folder a speaker", "no_speakers"
        )
    if loose:
        warnings.append(f"{folder}: recordings beside the speakers' folders are left out ({_some(loose)})")
    return voices


def pick(recordings: Sequence[Path], count: int, generator: np.random.Generator) -> list[Path]:
    """So many recordings of one speaker, drawn, from as many sessions as there are; fewer if there are not as many.

    None is shorter than `LEAST_SOUND` or longer than a recording may be. Raises `AudioError` for one that is no audio.
    """
    found: list[Path] = []
    for path in _in_turn(sessions(recordings), generator):
        if len(found) == count:
            break
        if usable(seconds(path)):
            found.append(path)
    return found


def sessions(recordings: Iterable[Path]) -> list[list[Path]]:
    """The recordings of each folder, in order."""
    found: dict[Path, list[Path]] = {}
    for path in recordings:
        found.setdefault(path.parent, []).append(path)
    return list(found.values())


def seconds(path: Path) -> float:
    """The length of a recording, as its header tells. Raises `AudioError`, which names it, if it is no audio."""
    try:
        return float(soundfile.info(path).duration)
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise AudioError(f"{path}: not audio ({reason}): mend it, or take it out of the folder") from error


def usable(length: float) -> bool:
    """Whether a recording of so many seconds is worth hearing."""
    return LEAST_SOUND <= length <= MAX_RECORDING


def _recordings(folder: Path, links: list[Path]) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        here = Path(place)
        links += [here / name for name in names if not name.startswith(".") and (here / name).is_symlink()]
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if path.is_symlink():
                links.append(path)
            elif path.is_file():
                yield path


def _homes(folder: Path, found: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The folders whose sub-folders are speakers, as parts of a path within `folder`."""
    root = _descend("", (), found)
    names = {parts[len(root)] for parts in found if len(parts) > len(root) + 1}
    named = {name for name in names if PART.fullmatch(name)}
    if not named or (named != names and not folder.joinpath(*root, SPEAKERS).is_file()):
        return [root]
    return [
        _descend(name, (*root, name), [parts for parts in found if parts[: len(root) + 1] == (*root, name)])
        for name in sorted(named)
    ]


def _descend(name: str, root: tuple[str, ...], found: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Down through folders with nothing but one sub-folder. In a part of a collection that may be the only speaker."""
    while len({parts[len(root)] for parts in found}) == 1 and all(len(parts) > len(root) + 1 for parts in found):
        inner = found[0][len(root)]
        if PART.fullmatch(name) and inner.lower() not in WRAPPERS:
            break
        name = name if PART.fullmatch(name) else inner
        root = (*root, inner)
    return root


def _name(folder: str) -> str:
    """What a folder is called, whatever its bytes: a calibration is kept as UTF-8."""
    return os.fsencode(folder).decode("utf-8", "backslashreplace")


def _some(paths: Sequence[Path]) -> str:
    return f"{len(paths)}, such as {paths[0]}"


def _in_turn(parts: Sequence[Sequence[Path]], generator: np.random.Generator) -> Iterator[Path]:
    """One of each session, then another of each: which, is drawn."""
    drawn = [[session[index] for index in generator.permutation(len(session))] for session in parts]
    for turn in range(max(map(len, drawn), default=0)):
        yield from (session[turn] for session in drawn if turn < len(session))
