"""Live audio: raw PCM from a pipe or a microphone, and the computing time of each block."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from denoise.core.errors import UserError
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.settings import EnhancementSettings
from denoise.enhancement.stream import Stream
from denoise.networks import runtimes
from denoise.networks.card import ModelFolder

log = logging.getLogger(__name__)


class Times:
    """Histogram of the computing times of blocks, in bins of 20 µs, so that memory does not grow
    with the stream."""

    _BIN = 20e-6

    def __init__(self) -> None:
        self.bins = np.zeros(50_000, np.int64)
        self.count, self.total = 0, 0.0

    def add(self, seconds: float) -> None:
        """Add the time of a block."""
        self.bins[min(int(seconds / self._BIN), len(self.bins) - 1)] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, share: float) -> float:
        """Quantile of the times in s."""
        reached = np.searchsorted(np.cumsum(self.bins), share * self.count)
        return float((reached + 1) * self._BIN)

    def as_dict(self, block_s: float) -> dict[str, float]:
        """Number of blocks and their times; `block_s` is the length of a block in seconds."""
        mean = self.total / self.count
        return {
            "blocks": self.count,
            "duration_s": self.count * block_s,
            "block_ms": 1000 * block_s,
            "mean_ms": 1000 * mean,
            "p99_ms": 1000 * self.quantile(0.99),
            "rtf": mean / block_s,
        }

    def summary(self, block_s: float) -> str:
        """A line for the user; `block_s` is the length of a block in seconds."""
        told = self.as_dict(block_s)
        return (
            f"{self.count} blocks, {told['duration_s']:.1f} s: {told['mean_ms']:.2f} ms a block of "
            f"{told['block_ms']:g} ms (RTF {told['rtf']:.3f}), 99 % below {told['p99_ms']:.2f} ms"
        )


def follow(
    stream: Stream, blocks: Iterable[np.ndarray], out: BinaryIO, kind: np.dtype[Any], times: Times
) -> None:
    """Enhance `blocks` of float32 samples and write what is ready at once, as samples of `kind`.

    However the stream ends, the pending samples are written, also before an interruption or an
    error is passed on.  If the reader of `out` closes it, the stream ends without an error.
    """

    def write(samples: np.ndarray) -> None:
        out.write(to_pcm(samples, kind))
        out.flush()

    try:
        try:
            for block in blocks:
                started = time.perf_counter()
                ready = stream.process(block)
                times.add(time.perf_counter() - started)
                write(ready)
        finally:
            write(stream.flush())
    except BrokenPipeError:
        # Python would complain about it once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def to_pcm(samples: np.ndarray, kind: np.dtype[Any]) -> bytes:
    """Samples [shape=(n,) or (n, channels)] as raw PCM; integers are clipped at full scale."""
    if kind.kind == "i":
        top = np.iinfo(kind).max
        samples = np.clip(np.round(samples * (top + 1.0)), -top - 1, top)
    return samples.astype(kind).tobytes()


def blocks_of(
    source: BinaryIO, size: int, kind: np.dtype[Any], channels: int = 1
) -> Iterator[np.ndarray]:
    """Blocks [shape=(size, channels)] of interleaved raw PCM samples of `kind`, float32; the last
    may be shorter.

    Raises
    ------
    UserError
        If it is a file with a header, ends in the middle of a sample, or is not finite.
    """
    first, frame = True, kind.itemsize * channels
    while data := source.read(size * frame):
        if first and data[:4] in {b"RIFF", b"fLaC", b"OggS", b"FORM"}:
            raise UserError(
                "standard input is an audio file with a header, not raw PCM: use `denoise enhance`,"
                " or convert it (ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -)"
            )
        first = False
        left = len(data) % frame
        samples = np.frombuffer(data[: len(data) - left], kind).astype(np.float32)
        if kind.kind == "i":
            samples /= np.iinfo(kind).max + 1.0
        elif not np.isfinite(samples).all():
            raise UserError("standard input holds NaN or infinite samples: is it really f32le?")
        yield samples.reshape(-1, channels)
        if left:
            raise UserError(
                f"standard input ends in the middle of a sample: {left} of {frame} bytes. Is it "
                "really of the --format and the --channels that were given?"
            )


def blocks_of_microphone(
    device: str, rate: int, size: int, channels: int = 1
) -> Iterator[np.ndarray]:
    """Blocks [shape=(size, channels)] of a microphone, by number, name or, if empty, the default
    one."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise UserError(
            f"a microphone needs the sounddevice library and PortAudio ({error}): `make "
            "microphone`, and your system's libportaudio2"
        ) from None
    chosen = (int(device) if device.isdigit() else device) if device else None
    try:
        source = sounddevice.InputStream(
            samplerate=rate, blocksize=size, device=chosen, channels=channels, dtype="float32"
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        known = ", ".join(str(item["name"]) for item in sounddevice.query_devices())
        raise UserError(
            f"microphone '{device or 'default'}' cannot be opened at {rate} Hz ({error}): there "
            f"are {known or 'no devices'}"
        ) from None
    with source:
        while True:
            samples, overflowed = source.read(size)
            if overflowed:
                log.warning("samples of the microphone were lost: this machine is too slow or busy")
            yield samples


def load_stream(
    folder: Path,
    settings: EnhancementSettings | None = None,
    rate: int | None = None,
    channels: int = 1,
    runtime: runtimes.Name | None = None,
) -> Stream:
    """A stream through the model of a folder, on one core."""
    if (runtime or runtimes.default_of(ModelFolder(folder))) == "keras":
        from denoise.networks import backend

        backend.start("tensorflow", threads=1, deterministic=False)
    enhancer = Enhancer.load(folder, settings, runtime=runtime, threads=1)
    return enhancer.stream(rate, channels)
