"""Finds the speakers in a plain folder of speech with a sub-folder for each speaker, as collections are laid out:

    dev-clean/84/121123/84-121123-0000.flac     LibriSpeech: partition, speaker, chapter
    id10001/1zcIwhmdeo4/00001.wav               VoxCeleb: speaker, video
    alice/monday.wav                            your own

The folders between a speaker and a recording are its session. Only the lengths of recordings are read here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from voiceauthd.audio.file import MAX_RECORDING_SECONDS, SUFFIXES, recording_seconds
from voiceauthd.errors import AudioError, UsageError

LIBRISPEECH_TABLE = "SPEAKERS.TXT"
"""In the root of LibriSpeech, next to its partitions."""

PARTITION = re.compile(r"(train|dev|test)(-[a-z]+)?(-\d+)?")
"""Names of the partitions of a collection, such as train-clean-100; the speakers are inside them."""

FORMAT_FOLDERS = {"aac", "audio", "flac", "m4a", "mp3", "ogg", "wav"}
"""Names of a folder between a partition and its speakers, as in VoxCeleb and Multilingual LibriSpeech."""

MIN_SECONDS = 2.0
"""Shortest usable recording. A window needs 1 s of speech, and there is silence before and after it."""

USABLE_LENGTHS = f"of {MIN_SECONDS:g} s to {MAX_RECORDING_SECONDS / 60.0:g} minutes"

Speakers = Mapping[str, Sequence[Path]]
"""The recordings of each speaker, in order."""


def speakers_in(folder: Path, warnings: list[str]) -> dict[str, list[Path]]:
    """The paths of each speaker's recordings, `folder` included, by the name of the speaker's sub-folder; both sorted.

    Speakers are the sub-folders of the first folder that has more than one sub-folder, or of the partitions of a
    collection (`PARTITION`), in which the same name is the same person. Hidden files are ignored and links are not
    followed; `warnings` gets a sentence about everything else that is left out.

    Raises `UsageError`, reason `no_speakers`, for a folder with another layout.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "no_speakers")
    links: list[Path] = []
    found = sorted(path.relative_to(folder).parts for path in _recordings(folder, links))
    if links:
        warnings.append(f"{folder}: links are not followed ({_examples(links)}): a recording could count twice")
    if not found:
        raise UsageError(f"{folder}: contains no recordings ({', '.join(sorted(SUFFIXES))})", "no_speakers")
    parents = _speaker_parents(folder, found)
    speakers: dict[str, list[Path]] = {}
    outside = []
    for parts in found:
        parent = next((parent for parent in parents if parts[: len(parent)] == parent), None)
        if parent is None or len(parts) < len(parent) + 2:
            outside.append(folder.joinpath(*parts))
        else:
            speakers.setdefault(_printable(parts[len(parent)]), []).append(folder.joinpath(*parts))
    if not speakers:
        place = folder.joinpath(*parents[0])
        raise UsageError(
            f"{place}: has recordings but no sub-folders; one sub-folder per speaker is needed", "no_speakers"
        )
    if outside:
        warnings.append(f"{folder}: recordings outside the speakers' folders are left out ({_examples(outside)})")
    return speakers


def draw_recordings(recordings: Sequence[Path], count: int, generator: np.random.Generator) -> list[Path]:
    """Draw `count` recordings of one speaker from as many sessions as possible; fewer if there are not enough.

    Only recordings of a usable length. Raises `AudioError` for one that is not audio.
    """
    found: list[Path] = []
    for path in _round_robin(sessions_of(recordings), generator):
        if len(found) == count:
            break
        if is_usable(duration(path)):
            found.append(path)
    return found


def sessions_of(recordings: Iterable[Path]) -> list[list[Path]]:
    """The recordings of each folder, in order."""
    found: dict[Path, list[Path]] = {}
    for path in recordings:
        found.setdefault(path.parent, []).append(path)
    return list(found.values())


def duration(path: Path) -> float:
    """Seconds of a recording, from its header. Raises `AudioError`, which names the file, if it is not audio."""
    try:
        return recording_seconds(path)
    except AudioError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise AudioError(f"{path}: not audio for this: {reason}; or remove it from the folder") from error


def is_usable(length: float) -> bool:
    """Whether a recording of that length, in seconds, can be used."""
    return MIN_SECONDS <= length <= MAX_RECORDING_SECONDS


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


def _speaker_parents(folder: Path, found: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The folders whose sub-folders are speakers, as path components relative to `folder`."""
    root = _descend("", (), found)
    names = {parts[len(root)] for parts in found if len(parts) > len(root) + 1}
    partitions = {name for name in names if PARTITION.fullmatch(name)}
    if not partitions or (partitions != names and not folder.joinpath(*root, LIBRISPEECH_TABLE).is_file()):
        return [root]
    return [
        _descend(name, (*root, name), [parts for parts in found if parts[: len(root) + 1] == (*root, name)])
        for name in sorted(partitions)
    ]


def _descend(name: str, root: tuple[str, ...], found: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Descend through folders that contain only one sub-folder. In a partition that may be its only speaker."""
    while len({parts[len(root)] for parts in found}) == 1 and all(len(parts) > len(root) + 1 for parts in found):
        inner = found[0][len(root)]
        if PARTITION.fullmatch(name) and inner.lower() not in FORMAT_FOLDERS:
            break
        name = name if PARTITION.fullmatch(name) else inner
        root = (*root, inner)
    return root


def _printable(folder: str) -> str:
    """The name of a folder as valid Unicode, whatever its bytes: calibrations are stored as UTF-8."""
    return os.fsencode(folder).decode("utf-8", "backslashreplace")


def _examples(paths: Sequence[Path]) -> str:
    return f"{len(paths)}, such as {paths[0]}"


def _round_robin(sessions: Sequence[Sequence[Path]], generator: np.random.Generator) -> Iterator[Path]:
    """One random recording of each session, then another of each."""
    drawn = [[session[index] for index in generator.permutation(len(session))] for session in sessions]
    for turn in range(max(map(len, drawn), default=0)):
        yield from (session[turn] for session in drawn if turn < len(session))
