"""Writing audio files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from denoise.audio.recordings import UnusableAudio

_SYSTEM_ERROR = 2  # of libsndfile, which does not say which
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_BYTES = {"PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # of a sample; others have 2 or less
_LONGEST_TAG = 1000  # characters
_WAV_LIMIT = 0xFFFF0000  # bytes; its sizes have 32 bits


def write(path: str | Path, audio: np.ndarray, rate: int, subtype: str | None = None) -> None:
    """Write audio [shape=(samples,) or (samples, channels)]; see `writing`."""
    shape = audio.shape if audio.ndim > 1 else (len(audio), 1)
    with writing(path, rate, shape, subtype) as put:
        put(audio)


@contextlib.contextmanager
def writing(
    path: str | Path,
    rate: int,
    shape: tuple[int, ...],
    subtype: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that writes the next samples [shape=(samples,) or (samples, channels)].

    The format is the name's suffix; WAV too long for its 32 bits of length is RF64 (EBU Tech 3306).
    Samples beyond full scale are clipped, never wrapped; formats of real numbers hold them.

    Parameters
    ----------
    shape : (int, int)
        Samples and channels of all that will be written.
    subtype : str, optional
        Sample format, as libsndfile names it, such as ``PCM_24``; if the file format does not
        support it, the default of the file format.
    tags : dict, optional
        As of `Recording`; what the format cannot hold is left out.

    Raises
    ------
    UnusableAudio
        If the format cannot hold this rate or number of channels.
    OSError
        If nothing can be written there, or not so much.
    """
    samples, channels = shape
    size = samples * channels * _BYTES.get(subtype or "", 2)
    suffix = Path(path).suffix[1:]
    kind = "RF64" if suffix.lower() == "wav" and size > _WAV_LIMIT else suffix.upper()
    try:
        with _opened(str(path), rate, channels, subtype, kind) as stream:
            for name, text in (tags or {}).items():
                with contextlib.suppress(soundfile.LibsndfileError, AttributeError):
                    setattr(stream, name, text[:_LONGEST_TAG])
            yield lambda audio: stream.write(
                audio if stream.subtype in FLOAT_SUBTYPES else np.clip(audio, -1.0, 1.0)
            )
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR:
            _raise_cause(Path(path), size)
        raise UnusableAudio(
            f"cannot be written as {suffix} with {rate} Hz and {channels} channels "
            f"({error.error_string}): choose another format, such as wav"
        ) from None


def _raise_cause(path: Path, size: int) -> None:
    """Raise the `OSError` that keeps `size` bytes from being written, which libsndfile hides."""
    with path.open("wb") as file:
        file.truncate(size)  # takes no room, but what is too long is refused
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _opened(
    path: str, rate: int, channels: int, subtype: str | None, kind: str
) -> soundfile.SoundFile:
    """A file to write to, stored as `subtype` if its format can."""
    try:
        return soundfile.SoundFile(os.fsencode(path), "w", rate, channels, subtype, format=kind)
    except (soundfile.LibsndfileError, ValueError):
        return soundfile.SoundFile(os.fsencode(path), "w", rate, channels, format=kind)
