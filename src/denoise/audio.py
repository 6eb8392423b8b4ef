"""Reading, resampling and writing audio, and measuring its level.

Audio arrays are float32, shape ``(samples,)``, nominal range [-1, 1], unless said otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from denoise.errors import UserError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

_SYSTEM_ERROR = 2  # of libsndfile, which does not say which
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_BYTES = {"PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # of a sample; others have 2 or less
_WAV_LIMIT = 0xFFFF0000  # bytes; its sizes have 32 bits
_LONG_BLOCK = 1 << 22  # samples; most recordings are one block
_LOUDEST = 1e6  # 120 dB above full scale; some programs write 16 bits as floats as they are
_SUMMED = 1 << 14  # samples that are summed in their own precision
_P56_BLOCK_S = 1e-3
_P56_MARGIN_DB = 15.9
_P56_PRECISION_DB = 1e-4
_P56_HANGOVER_S = 0.2
_P56_TIME_CONSTANT_S = 0.03


class UnusableAudio(UserError):
    """A recording that cannot be used; its text is the reason alone."""


def has_audio_suffix(path: Path) -> bool:
    """Whether a file of this name is taken for audio."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def audio_files(folder: Path) -> list[Path]:
    """The audio files below `folder`, sorted; an error if it does not exist or has none."""
    if not folder.is_dir():
        raise UserError(f"folder '{folder}' does not exist: give the path of a folder of audio")
    found = sorted(
        path
        for path in folder.rglob("*")
        if has_audio_suffix(path) and path.is_file() and path.name[0] != "."
    )
    if not found:
        raise UserError(f"folder '{folder}' holds no {', '.join(AUDIO_SUFFIXES)} files")
    return found


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
            with soundfile.SoundFile(str(self.path)) as stream:
                yield stream
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            reason = str(error).replace(f"Error opening {str(self.path)!r}: ", "").strip()
            raise UnusableAudio(f"cannot be decoded ({reason})") from None


def _check_samples(block: np.ndarray) -> None:
    peak = max(block.max(), -block.min())
    if not np.isfinite(peak):
        raise UnusableAudio("holds NaN or infinite samples")
    if peak > _LOUDEST:
        raise UnusableAudio(f"holds samples of {peak:.0e}, where full scale is 1: it is no audio")


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


def read_mono(path: str | Path, rate: int) -> np.ndarray:
    """Decode, average the channels and resample to `rate`; shape ``(samples,)``."""
    recording = Recording(path, _LONG_BLOCK)
    mono = (block[:, 0] if block.shape[1] == 1 else block.mean(axis=1) for block in recording)
    with _in_memory(recording):
        return _joined(list(resampled(mono, recording.rate, rate)))


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample along the first axis with soxr at its high quality; float32."""
    if rate == new_rate:
        return np.ascontiguousarray(audio, dtype=np.float32)
    return soxr.resample(audio, rate, new_rate, quality="HQ").astype(np.float32, copy=False)


def resampled(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Blocks [shape=(samples,)] of what `resample` makes of them joined: the same samples."""
    if rate == new_rate:
        yield from (np.ascontiguousarray(block, dtype=np.float32) for block in blocks)
        return
    stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block, dtype=np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def rechunked(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples [shape=(samples,)] in blocks of `size`; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield rest


def write(path: str | Path, audio: np.ndarray, rate: int, subtype: str | None = None) -> None:
    """Write audio [shape=(samples,) or (samples, channels)]; see `writing`."""
    shape = audio.shape if audio.ndim > 1 else (len(audio), 1)
    with writing(path, rate, shape, subtype) as put:
        put(audio)


@contextlib.contextmanager
def writing(
    path: str | Path, rate: int, shape: tuple[int, ...], subtype: str | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that writes the next samples [shape=(samples,) or (samples, channels)].

    The format is the name's suffix; WAV too long for its 32 bits of length is RF64 (EBU Tech 3306).
    Samples beyond full scale are clipped, never wrapped; formats of real numbers hold them.

    Parameters
    ----------
    shape : (int, int)
        Samples and channels of all that will be written.
    subtype : str, optional
        How samples are stored, as libsndfile names it; the usual way of the format if it has none
        of this name, as that of a file whose name does not say what it is.

    Raises
    ------
    UnusableAudio
        If the format cannot hold this rate or number of channels.
    """
    samples, channels = shape
    size = samples * channels * _BYTES.get(subtype or "", 2)
    suffix = Path(path).suffix[1:]
    kind = "RF64" if suffix.lower() == "wav" and size > _WAV_LIMIT else suffix.upper()
    try:
        with _opened(str(path), rate, channels, subtype, kind) as stream:
            yield lambda audio: stream.write(
                audio if stream.subtype in FLOAT_SUBTYPES else np.clip(audio, -1.0, 1.0)
            )
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR and shutil.disk_usage(Path(path).parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise UnusableAudio(
            f"cannot be written as {suffix} with {rate} Hz and {channels} channels "
            f"({error.error_string}): choose another format, such as wav"
        ) from None


def _opened(
    path: str, rate: int, channels: int, subtype: str | None, kind: str
) -> soundfile.SoundFile:
    """A file to write to, stored as `subtype` if its format can."""
    try:
        return soundfile.SoundFile(path, "w", rate, channels, subtype, format=kind)
    except (soundfile.LibsndfileError, ValueError):
        return soundfile.SoundFile(path, "w", rate, channels, format=kind)


def energy(audio: np.ndarray) -> float:
    """Sum of the squares of ``audio`` [shape=(samples,)], to about six digits, and fast.

    The same digits on every x86-64 processor: `numpy.dot` would leave the order of the sum to the
    BLAS library, which chooses a kernel by the processor; `numpy.einsum` has one loop for all.
    """
    parts = (audio[start : start + _SUMMED] for start in range(0, len(audio), _SUMMED))
    return math.fsum(float(np.einsum("i,i", part, part)) for part in parts)


def rms(audio: np.ndarray) -> float:
    """Root mean square of ``audio`` [shape=(samples,)] in full-scale units; 0 if empty."""
    return math.sqrt(energy(audio) / len(audio)) if len(audio) else 0.0


def active_level(audio: np.ndarray, rate: int) -> tuple[float, float]:
    """Active speech level and activity factor by ITU-T P.56, method B.

    The envelope is two exponential smoothings of 0.03 s of the magnitude, here of its means over
    1 ms (P.56 asks for at least 694 values a second).  Speech is active where the envelope, or its
    value up to 0.2 s (the hangover) earlier, reaches a threshold that lies 15.9 dB below the RMS
    over the active samples.

    Parameters
    ----------
    audio : np.ndarray [shape=(samples,)]
    rate : int
        Samples per second.

    Returns
    -------
    level : float
        RMS over the active samples, in full-scale units; 0 for silence.
    activity : float
        Share of the samples that are active.
    """
    # Importing it takes longer than most jobs do, and few of them need it.
    from scipy.signal import lfilter

    total = energy(audio)
    if total <= 0:
        return 0.0, 0.0
    size = max(1, round(rate * _P56_BLOCK_S))
    whole = len(audio) // size * size
    magnitude = np.abs(audio)
    # Over a short axis `mean` takes several times as long.
    means = np.einsum("ij->i", magnitude[:whole].reshape(-1, size)) / np.float32(size)
    if whole < len(audio):
        means = np.append(means, magnitude[whole:].mean())
    # `math` instead of NumPy, whose functions choose their code by the processor.
    pole = math.exp(-size / (rate * _P56_TIME_CONSTANT_S))
    # Both smoothings in one pass.
    envelope = lfilter([(1.0 - pole) ** 2], [1.0, -2.0 * pole, pole**2], means.astype(np.float64))
    held = _running_maximum(envelope, int(_P56_HANGOVER_S * rate / size))
    # From low to high thresholds the active level rises more slowly than the threshold: their
    # distance falls through the margin once.
    low = 10.0 * math.log10(total / len(audio)) - _P56_MARGIN_DB
    high = 20.0 * math.log10(held.max() + 1e-300)
    # Only values between the two are still to be compared, which is faster than to sort all.
    between, above = held[held >= 10 ** (low / 20)], 0
    while len(between) and high - low > _P56_PRECISION_DB:
        middle = (low + high) / 2
        reached = between >= 10 ** (middle / 20)
        count = above + int(np.count_nonzero(reached))
        level_db = 10 * math.log10(total / max(count * size, 1))
        if level_db - middle > _P56_MARGIN_DB:
            low, between = middle, between[reached]
        else:
            high, between, above = middle, between[~reached], count
    active = min(max(1, above + len(between)) * size, len(audio))
    return math.sqrt(total / active), active / len(audio)


def _running_maximum(values: np.ndarray, length: int) -> np.ndarray:
    """The largest of each value and the `length` values before it."""
    from scipy.ndimage import maximum_filter1d

    size = length + 1
    return maximum_filter1d(values, size, mode="constant", cval=0.0, origin=(size - 1) // 2)
