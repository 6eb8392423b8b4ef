"""Enhancing audio as it comes, by a causal network that keeps its state.

Every hop of input gives a hop of output, one frame later: the last samples of a frame are needed
before its first can be given.  The result is that of the whole recording at once, whatever the
size of the blocks.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.fft

from denoise import models
from denoise.backend import compiled
from denoise.errors import UserError
from denoise.features import Features, FeatureSettings
from denoise.spectrogram import hann

log = logging.getLogger(__name__)

Watch = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def streams(card: dict[str, Any]) -> bool:
    """Whether the model of a card can follow a stream."""
    return bool(card["network"].get("causal"))


class Stream:
    """One stream of mono audio through a causal network.

    Parameters
    ----------
    model : keras.Model
        The trained network.
    card
        Its model card.

    watch
        Called with the noisy spectra, the network's output and the references of all frames that
        are enhanced, as `Features` has them.

    Raises
    ------
    UserError
        If the network is not causal.
    """

    def __init__(self, model: Any, card: dict[str, Any], watch: Watch | None = None) -> None:
        if not streams(card):
            raise UserError(
                f"model {card['variant']} looks at later audio and cannot follow a stream: use one "
                "with network.causal, such as the preset stream"
            )
        self.rate: int = card["rate"]
        self.features = Features(FeatureSettings.model_validate(card["features"]), card["scales"])
        self.n_fft = self.features.settings.stft.n_fft
        self.hop = self.features.settings.stft.hop
        stepped = models.streaming(models.from_dict(card["network"]), model)
        # Compiled for every number of frames it meets, the second would not be worth the time.
        self._step_one, self._step = compiled(stepped, xla=True), compiled(stepped)
        self._shapes = [(1, *state.shape[1:]) for state in stepped.inputs[1:]]
        self._window = hann(self.n_fft)
        self.watch = watch
        self.reset()

    @property
    def latency(self) -> int:
        """Samples between the arrival of one and the time by which it can be given out."""
        return self.n_fft

    def reset(self) -> None:
        """Begin a new stream."""
        self._states: list[Any] = [np.zeros(shape, np.float32) for shape in self._shapes]
        half = self.n_fft // 2
        # As in the transform of a whole recording, the first frame is centred on the first sample.
        self._input = np.zeros(half, np.float32)
        self._skip = half
        self._sum = np.zeros(self.n_fft, np.float32)
        self._weight = np.zeros(self.n_fft, np.float64)
        self._taken = self._given = 0

    def another(self) -> Stream:
        """A new stream through the same network, which is not compiled again."""
        other = copy.copy(self)
        other.watch = None
        other.reset()
        return other

    def warm_up(self) -> None:
        """Compile for blocks of a hop, so that the first does not take longer than the others."""
        for _ in range(3):
            self.process(np.zeros(self.n_fft, np.float32))
            self.process(np.zeros(self.hop, np.float32))
        self.reset()

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples [shape=(n,)] at `rate`; give those that are ready, float32.

        All that was given so far continues without gaps what was given before, and is shorter than
        what was taken by less than `latency` samples.
        """
        self._taken += len(samples)
        return self._give(self._advance(np.asarray(samples, np.float32)))

    def flush(self) -> np.ndarray:
        """The rest of the stream, so that as much is given as was taken; then a new one begins."""
        missing = self._taken - self._given
        # Frames of the padding at the end, as the transform of a whole recording has them.
        padding = np.zeros(self.n_fft // 2, np.float32)
        rest = np.concatenate([self._advance(padding), self._overlapping()])
        rest = rest[self._skip :][:missing]
        self.reset()
        return np.pad(rest, (0, missing - len(rest)))

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        """Enhance all frames that `samples` complete; the samples that no later frame changes."""
        self._input = np.concatenate([self._input, samples])
        count = max(0, 1 + (len(self._input) - self.n_fft) // self.hop)
        if not count:
            return np.zeros(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(self._input, self.n_fft)
        frames = frames[:: self.hop][:count] * self._window
        self._input = self._input[count * self.hop :].copy()
        spectra = scipy.fft.rfft(frames, axis=1).T[None]
        references = self.features.references(spectra)
        encoded = self.features.encode_input(spectra, references)
        # The states stay with the backend: to bring them all here and back would take longer.
        step = self._step_one if count == 1 else self._step
        result, *self._states = step([encoded, *self._states])
        output = np.asarray(result)
        if self.watch is not None:
            self.watch(spectra, output, references)
        enhanced = self.features.decode(output, spectra, references)[0].T
        waves = scipy.fft.irfft(enhanced, n=self.n_fft, axis=1).astype(np.float32) * self._window
        return np.concatenate([self._overlap_add(frame) for frame in waves])

    def _overlap_add(self, frame: np.ndarray) -> np.ndarray:
        self._sum += frame
        self._weight += np.square(self._window, dtype=np.float64)
        ready = self._overlapping()[: self.hop]
        for buffer in (self._sum, self._weight):
            buffer[: -self.hop] = buffer[self.hop :]
            buffer[-self.hop :] = 0
        return ready

    def _overlapping(self) -> np.ndarray:
        return self._sum / np.where(self._weight > 1e-8, self._weight, 1.0).astype(np.float32)

    def _give(self, ready: np.ndarray) -> np.ndarray:
        given = ready[self._skip :]
        self._skip -= len(ready) - len(given)
        self._given += len(given)
        return given


class Times:
    """How long blocks took, in bins of 20 µs so that memory does not grow with the stream."""

    _BIN = 20e-6

    def __init__(self) -> None:
        self.bins = np.zeros(50_000, np.int64)
        self.count, self.total = 0, 0.0

    def add(self, seconds: float) -> None:
        """Take in the time of a block."""
        self.bins[min(int(seconds / self._BIN), len(self.bins) - 1)] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, share: float) -> float:
        """The time in s that so many of the blocks kept below."""
        reached = np.searchsorted(np.cumsum(self.bins), share * self.count)
        return float((reached + 1) * self._BIN)

    def as_dict(self, block_s: float) -> dict[str, float]:
        """How many blocks there were and what they took; `block_s` is the length of one."""
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
        """A line for the user; `block_s` is what a block lasts, in seconds."""
        told = self.as_dict(block_s)
        return (
            f"{self.count} blocks, {told['duration_s']:.1f} s: {told['mean_ms']:.2f} ms a block of "
            f"{told['block_ms']:g} ms (RTF {told['rtf']:.3f}), 99 % below {told['p99_ms']:.2f} ms"
        )


def follow(
    stream: Stream, blocks: Iterable[np.ndarray], out: BinaryIO, kind: np.dtype[Any]
) -> Times:
    """Enhance `blocks` of float32 samples and write what is ready at once, as samples of `kind`.

    An interruption from the keyboard, or a reader that goes away, ends the stream.
    """
    times = Times()

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
        except KeyboardInterrupt:
            pass
        write(stream.flush())
    except BrokenPipeError:
        # Python would complain about it once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    return times


def to_pcm(samples: np.ndarray, kind: np.dtype[Any]) -> bytes:
    """Samples [shape=(n,)] as raw PCM; integers are clipped at full scale."""
    if kind.kind == "i":
        top = np.iinfo(kind).max
        samples = np.clip(np.round(samples * (top + 1.0)), -top - 1, top)
    return samples.astype(kind).tobytes()


def blocks_of(source: BinaryIO, size: int, kind: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Blocks [shape=(size,)] of raw PCM samples of `kind`, float32; the last may be shorter.

    Raises
    ------
    UserError
        If it is a file with a header, ends in the middle of a sample, or is not finite.
    """
    first = True
    while data := source.read(size * kind.itemsize):
        if first and data[:4] in {b"RIFF", b"fLaC", b"OggS", b"FORM"}:
            raise UserError(
                "standard input is an audio file with a header, not raw PCM: use `denoise enhance`,"
                " or convert it (ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -)"
            )
        first = False
        if len(data) % kind.itemsize:
            raise UserError(
                f"standard input ends in the middle of a sample: {len(data) % kind.itemsize} of "
                f"{kind.itemsize} bytes. Is it really of the --format that was given?"
            )
        samples = np.frombuffer(data, kind).astype(np.float32)
        if kind.kind == "i":
            samples /= np.iinfo(kind).max + 1.0
        elif not np.isfinite(samples).all():
            raise UserError("standard input holds NaN or infinite samples: is it really f32le?")
        yield samples


def blocks_of_microphone(device: str, rate: int, size: int) -> Iterator[np.ndarray]:
    """Blocks [shape=(size,)] of a microphone, by number, name or, if empty, the default one."""
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
            samplerate=rate, blocksize=size, device=chosen, channels=1, dtype="float32"
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
            yield samples[:, 0]


def load(folder: Path) -> Stream:
    """A stream through the model of a folder."""
    from denoise.enhancement import Enhancer

    enhancer = Enhancer.load(folder)
    return Stream(enhancer.model, enhancer.card)
