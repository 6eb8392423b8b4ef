"""Decoding audio files, whole or a block at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from denoise.audio.resampling import resampled
from denoise.core.errors import UserError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
HIGHEST_RATE = 655_350
"""Samples per second of any recording; FLAC has room for no more."""
_LONG_BLOCK = 1 << 22  # samples; most recordings are one block
_LOUDEST = 1e6  # 120 dB above full scale; some programs write 16 bits as floats as they are


class UnusableAudio(UserError):
    """A recording that cannot be used; the message is only the reason."""


def has_audio_suffix(path: Path) -> bool:
    """Whether a file name has an audio suffix."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def audio_files(folder: Path) -> list[Path]:
    """The audio files below `folder`, sorted; an error if it does not exist or has none."""
    if not folder.is_dir():
        raise UserError(f"folder '{folder}' does not exist: give the path of a folder of audio")
    found = sorted(
        path
        for path in _files_below(folder)
        if has_audio_suffix(path) and path.name[0] != "." and (path.is_file() or _is_broken(path))
    )
    if not found:
        raise UserError(f"folder '{folder}' holds no {', '.join(AUDIO_SUFFIXES)} files")
    return found


def _is_broken(path: Path) -> bool:
    """Whether a link is broken; the reader reports that."""
    return path.is_symlink() and not path.exists()


def _files_below(folder: Path) -> Iterator[Path]:
    """All files; of folders that links lead to, too, but of none twice."""
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=_raised, followlinks=True):
        about = Path(place).stat()
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders.sort()
        yield from (Path(place, name) for name in names)


def _raised(error: OSError) -> None:
    raise error


class Recording:
    """A file of audio in any format that libsndfile reads, decoded a block at a time.

    It gives blocks [shape=(samples, channels)], float32, and can be gone through more than once.
    What is wrong with a file is known for sure when its last block has been read.

    Attributes
    ----------
    rate : int
        Samples per second.
    channels : int
    samples : int
        Length by the header.
    subtype : str
        How samples are stored, as libsndfile names it.
    tags : dict
        What is written about it: ``title``, ``artist``, ``comment`` and the like.

    Raises
    ------
    UnusableAudio
        If the file cannot be decoded, is empty or truncated, or holds NaN, infinite or absurdly
        large samples.
    """

    def __init__(self, path: str | Path, block: int = 1 << 16) -> None:
        self.path, self.block = Path(path), block
        with self._open() as stream:
            self.rate, self.channels = stream.samplerate, stream.channels
            self.samples, self.subtype = stream.frames, stream.subtype
            self.tags = {name: text for name, text in stream.copy_metadata().items() if text}

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        with self._open() as stream:
            while len(block := stream.read(self.block, dtype="float32", always_2d=True)):
                if not self.subtype.startswith("PCM"):  # integers, which are always audio
                    _check_samples(block)
                count += len(block)
                yield block
        if count == 0:
            raise UnusableAudio("is empty")
        if count < self.samples and self.path.suffix.lower() in (".flac", ".wav"):
            raise UnusableAudio(f"is truncated ({count} of {self.samples} samples)")
        # Some writers leave out the byte that pads an odd size.
        if _promised_bytes(self.path) > self.path.stat().st_size + 1:
            raise UnusableAudio("is truncated (shorter than its WAV header says)")

    @contextlib.contextmanager
    def _open(self) -> Iterator[soundfile.SoundFile]:
        try:
            # As bytes: a name need not be UTF-8.
            with soundfile.SoundFile(os.fsencode(self.path)) as stream:
                yield stream
        except soundfile.LibsndfileError as error:
            check_readable(self.path)
            raise UnusableAudio(f"cannot be decoded ({error.error_string.strip()})") from None
        except (OSError, RuntimeError) as error:
            raise UnusableAudio(f"cannot be decoded ({error})") from None


def seconds(path: str | Path) -> float | None:
    """The duration of a recording in seconds by its header; None if it cannot be read."""
    try:
        recording = Recording(path)
    except UnusableAudio:
        return None
    return recording.samples / recording.rate


def check_readable(path: Path) -> None:
    """Raise `UnusableAudio` with the system's reason, which libsndfile hides, if a file cannot be
    opened."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise UnusableAudio(f"cannot be read: {error.strerror}") from None


def _check_samples(block: np.ndarray) -> None:
    peak = max(block.max(), -block.min())
    if not np.isfinite(peak):
        raise UnusableAudio("holds NaN or infinite samples")
    if peak > _LOUDEST:
        raise UnusableAudio(
            f"holds samples of {peak:.0e}, where full scale is 1: so it is not audio"
        )


def read(path: str | Path) -> tuple[np.ndarray, int]:
    """Decode a whole file.

    Returns
    -------
    audio : np.ndarray [shape=(samples, channels)], float32
    rate : int
        Samples per second.

    Raises
    ------
    UnusableAudio
        If the `Recording` is, or it is too long for the memory.
    """
    recording = Recording(path, _LONG_BLOCK)
    with _in_memory(recording):
        return _joined(list(recording)), recording.rate


@contextlib.contextmanager
def _in_memory(recording: Recording) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        hours = recording.samples / recording.rate / 3600
        raise UnusableAudio(
            f"lasts {hours:.0f} hours by its header: more than memory can hold"
        ) from None


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _promised_bytes(path: Path) -> int:
    """The size that a RIFF header gives, which libsndfile silently corrects; 0 if there is none."""
    with path.open("rb") as stream:
        start = stream.read(12)
    size = int.from_bytes(start[4:8], "little")
    # Programs that write to a pipe give about the largest signed or unsigned number.
    return size + 8 if start[:4] == b"RIFF" and size < 0x7FFF0000 else 0


def read_mono(path: str | Path, rate: int, channel: int | None = None) -> np.ndarray:
    """Decode, average the channels or take one of them, and resample to `rate`; shape
    ``(samples,)``."""
    recording = Recording(path, _LONG_BLOCK)
    only = 0 if recording.channels == 1 else channel
    mono = (block.mean(axis=1) if only is None else block[:, only] for block in recording)
    with _in_memory(recording):
        return _joined(list(resampled(mono, recording.rate, rate)))
