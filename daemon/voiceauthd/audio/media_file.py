"""What telephones and browsers record – M4A, 3GP, AMR, WebM, and video files – decoded through PyAV (FFmpeg).

PyAV is the optional extra `media`. FFmpeg reads far more than recordings: playlists, which make it open other files and
addresses, and hundreds of rare formats. Only the containers and codecs named here are let in, and nothing but the
descriptor that it is given.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.decoder import DecodeError, Frames

if TYPE_CHECKING:
    import av
    import av.container

Result = TypeVar("Result")

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,amr,aac,ogg,mp3,wav,w64,flac,aiff,caf,asf,avi,mpegts,mpeg,flv,ac3,eac3,au"
)
"""FFmpeg's names. None of them opens another file: MOV could, but does so only if it is told to."""

CODECS = ",".join(
    (
        "aac,aac_latm,alac,libopencore_amrnb,libopencore_amrwb,amrnb,amrwb,opus,libopus,vorbis,flac,speex,libspeex",
        "mp1,mp1float,mp2,mp2float,mp3,mp3float,ac3,ac3_fixed,eac3,wmav1,wmav2,wmapro,wmalossless,wmavoice",
        "gsm,gsm_ms,libgsm,libgsm_ms,qcelp,evrc,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_g722,adpcm_g726,nellymoser",
        "pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be",
        "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_bluray,pcm_dvd",
    )
)
"""The decoders that may run. Those of pictures may not: nothing here looks at a picture."""

MAX_BARREN_PACKETS = 1000
"""Packets in a row that may give no sound. Real ones give some each; at the start a few give none."""

MAX_CHANNELS = 7
"""PyAV 18 looks for the end of a list that FFmpeg ends with a null for at most so many; beyond, it reads anything."""

MAX_PLACE = 2**62
"""No file is that long; the kernel refuses to look there."""

BEGINNING = 16
"""Bytes of a file that `media_format` needs."""

_BEGINNINGS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "MP4, M4A, 3GP or MOV": (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    "Matroska or WebM": (0, (b"\x1a\x45\xdf\xa3",)),
    "AMR": (0, (b"#!AMR",)),
    "AAC": (0, (b"\xff\xf1", b"\xff\xf9")),
    "Windows Media": (0, (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),
    "AVI": (8, (b"AVI ",)),
    "MPEG": (0, (b"\x00\x00\x01\xba", b"\x47\x40")),
    "FLV": (0, (b"FLV\x01",)),
    "OGG": (0, (b"OggS",)),
    "AC-3": (0, (b"\x0b\x77",)),
    "WAV": (0, (b"RIFF",)),
}
"""What such files begin with, and where: only for the advice to install PyAV, which looks closer itself."""


class MediaFileDecoder:
    """A `Decoder` of the default sound of a media file, at the rate and with the channels that it has."""

    def __init__(self, descriptor: int, block_ms: int) -> None:
        """descriptor: of a regular file, at its start.

        Raises `DecodeError` for a file without sound or of a format that is not let in, and `ImportError` without PyAV.
        """
        import av
        import av.container
        import av.logging

        av.logging.set_level(None)  # FFmpeg would write to standard error
        self._error = av.error.FFmpegError
        self._block_ms = block_ms
        self._file = _File(descriptor)
        self._container: av.container.InputContainer | None = None
        try:
            container = self._guarded(
                lambda: av.open(
                    self._file,
                    container_options={
                        "format_whitelist": CONTAINERS,
                        "codec_whitelist": CODECS,
                        "protocol_whitelist": "none",
                    },
                    io_open=_refuse,
                    metadata_errors="replace",
                )
            )
            assert isinstance(container, av.container.InputContainer)
            self._container = container
            self._frames = self._decode(self._guarded(self._sound))
            self._next = self._piece()
        except BaseException:
            self.close()
            raise
        if self._next is None:
            self.close()
            raise DecodeError("there is no sound in it")
        self.rate = self._next.rate
        self.channels = self._next.samples.shape[1]

    @property
    def seconds(self) -> float | None:
        """The length that the header gives, if it gives one."""
        assert self._container is not None
        return None if self._container.duration is None else self._container.duration / 1e6

    def read(self) -> Frames | None:
        """Return the next block; None at the end. Raises `DecodeError` where the file is damaged."""
        first = self._next
        if first is None:
            return None
        self._next = None
        wanted = max(1, first.rate * self._block_ms // 1000)
        pieces = [first.samples]
        have = len(first.samples)
        while have < wanted and (piece := self._piece()) is not None:
            if (piece.rate, piece.samples.shape[1]) != (first.rate, first.samples.shape[1]):
                self._next = piece
                return Frames(np.concatenate(pieces), first.rate)
            pieces.append(piece.samples)
            have += len(piece.samples)
        samples = np.concatenate(pieces)
        self._next = Frames(samples[wanted:], first.rate) if have > wanted else None
        if self._next is None and have == wanted:
            self._next = self._piece()
        return Frames(samples[:wanted], first.rate)

    def close(self) -> None:
        """Free what FFmpeg holds."""
        if self._container is not None:
            self._container.close()

    def _sound(self) -> av.AudioStream:
        import av

        assert self._container is not None
        streams = self._container.streams
        best = streams.best("audio")
        if not isinstance(best, av.AudioStream):
            raise DecodeError("there is no sound in it" if len(streams) > 0 else "no stream in it can be read")
        # FFmpeg applies the list only while it looks at the file, not to the decoder that is used in the end.
        if best.codec_context is None or best.codec_context.codec.name not in CODECS.split(","):
            raise DecodeError("its sound is in a form that is not known")
        best.codec_context.thread_count = 1
        return best

    def _decode(self, sound: av.AudioStream) -> Iterator[Frames]:
        """The decoded frames of one stream, none of them empty."""
        assert self._container is not None
        barren = 0
        for packet in self._container.demux(sound):
            barren += 1
            for frame in packet.decode():
                if frame.samples > 0:
                    barren = 0
                    yield Frames(_as_float(frame), frame.sample_rate)
            if barren > MAX_BARREN_PACKETS:
                raise DecodeError("no sound comes out of it")

    def _piece(self) -> Frames | None:
        return self._guarded(lambda: next(self._frames, None))

    def _guarded(self, work: Callable[[], Result]) -> Result:
        """Do `work`, whose failures become a `DecodeError`: PyAV raises many kinds for damaged files."""
        try:
            done = work()
        except (
            self._error,
            OSError,
            ValueError,
            ArithmeticError,
            LookupError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise DecodeError(_reason(error)) from error
        if self._file.failure is not None:
            raise DecodeError(_reason(self._file.failure)) from self._file.failure
        return done


class _File:
    """What PyAV reads from. Nothing is raised, because PyAV would print it and go on."""

    def __init__(self, descriptor: int) -> None:
        self.failure: OSError | None = None
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._place = 0

    def read(self, size: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, self._place)
        except OSError as error:
            self.failure = error
            return b""
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if not 0 <= place <= MAX_PLACE:  # as a damaged file may ask for
            return -1
        self._place = place
        return place

    def tell(self) -> int:
        return self._place


def media_format(beginning: bytes) -> str | None:
    """What a file that begins like this may be: a name such as "AMR", if PyAV could read it; None if not."""
    for name, (place, marks) in _BEGINNINGS.items():
        if beginning[place:].startswith(marks):
            return name
    return None


def install_command() -> str:
    """The command that adds PyAV to the Python that runs this, wherever voiceauthd is installed."""
    # A checkout that was updated without `make setup` has no such extra yet; pip would ignore it.
    wanted = "'voiceauthd[media]'" if _has_extra() else "av"
    sudo = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    if _has_pip():
        return f"{sudo}{sys.executable} -m pip install {wanted}"
    return f"{sudo}uv pip install --python {sys.executable} {wanted}"


def _has_extra() -> bool:
    try:
        return "media" in (importlib.metadata.metadata("voiceauthd").get_all("Provides-Extra") or [])
    except importlib.metadata.PackageNotFoundError:
        return False


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a recording must not name other files: {url}")


def _as_float(frame: av.AudioFrame) -> NDArray[np.float32]:
    """A decoded frame as float32, full scale 1.0, shape (n, channels). Raises `DecodeError` for too many channels."""
    channels = frame.layout.nb_channels
    if channels > MAX_CHANNELS:
        raise DecodeError(f"{channels} channels, and at most {MAX_CHANNELS} can be read from this form")
    data: NDArray[Any] = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, channels)
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - np.float32(128.0)) / np.float32(128.0)
    if np.issubdtype(data.dtype, np.integer):
        return (data / -float(np.iinfo(data.dtype).min)).astype(np.float32)
    return np.ascontiguousarray(data, dtype=np.float32)


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(said).split()).strip().rstrip(".")
