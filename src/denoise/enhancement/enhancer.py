"""Applying a trained network to recordings of any length, rate and number of channels.

A causal network goes through the recording once, from its start; others see overlapping windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from denoise import audio
from denoise.core.errors import UserError
from denoise.enhancement.stream import Stream
from denoise.enhancement.windows import LONG, WindowedRun, takes_any_length
from denoise.features.codec import Features
from denoise.features.stft import stft
from denoise.networks.card import ModelCard
from denoise.networks.loading import load_model
from denoise.networks.operations import macs

_BLOCK = 1 << 15  # samples that are given to a network at once


MOST_GAIN_DB = 6.0
"""A denoiser takes away: output that has this much more energy than its input comes from a model
that is broken, or that was made for other audio."""
_SILENCE = 1e-8
"""Mean square of full scale -80 dB, above which output of a silent input counts."""


class Enhancer:
    """A trained model and what is needed to apply it.

    Parameters
    ----------
    most_gain_db
        How much more energy than its input a channel's output may have, such as `MOST_GAIN_DB`.
    """

    def __init__(
        self,
        model: Any,
        card: ModelCard,
        overlap: float = 0.5,
        most_gain_db: float | None = None,
    ) -> None:
        self.model, self.card, self.most_gain_db = model, card, most_gain_db
        self.rate, self.window = card.rate, card.segment
        overlap_samples = round(self.window * overlap)
        # Networks for any number of frames see more context, and less of it twice.
        if takes_any_length(model):
            self.window *= LONG
        self.features = Features(card.features, card.scales)
        self.stft = self.features.settings.stft
        self.hop = max(1, self.window - overlap_samples)
        self.stream = Stream(model, card) if card.causal else None

    @classmethod
    def load(
        cls, folder: Path, overlap: float = 0.5, most_gain_db: float | None = None
    ) -> Enhancer:
        """Load ``model.keras`` and ``card.json`` of a model folder.

        Raises
        ------
        UserError
            As of `networks.loading.load_model`.
        """
        model, card = load_model(folder)
        try:
            return cls(model, card, overlap, most_gain_db)
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: the card does not fit the network: {reason}") from None

    def enhance(self, noisy: np.ndarray) -> np.ndarray:
        """Enhance mono audio [shape=(samples,)] at `rate`; the result has the same shape."""
        return self.enhance_any(noisy[:, None], self.rate)[:, 0]

    def enhance_any(self, noisy: np.ndarray, rate: int) -> np.ndarray:
        """Enhance audio [shape=(samples, channels)] of any rate; see `enhance_blocks`."""
        if len(noisy) == 0:
            return np.zeros(noisy.shape, np.float32)
        blocks = [noisy[start : start + _BLOCK] for start in range(0, len(noisy), _BLOCK)]
        return np.concatenate(list(self.enhance_blocks(blocks, rate, noisy.shape[1])))

    def enhance_blocks(
        self, blocks: Iterable[np.ndarray], rate: int, channels: int
    ) -> Iterator[np.ndarray]:
        """Enhance audio of any rate and length, each channel by itself, in little memory.

        Above half the model's rate nothing is known about the noise, so nothing of the input is
        kept there: the result has the model's bandwidth at the input's rate and length.

        Parameters
        ----------
        blocks : iterable of np.ndarray [shape=(samples, channels)]
            The audio in blocks of any size, which do not change the result.  It is gone through
            once, and twice if the recipe needs the level of the whole recording.

        Yields
        ------
        np.ndarray [shape=(samples, channels)]
            The enhanced audio in blocks of other sizes.

        Raises
        ------
        TypeError
            If `blocks` is an iterator, which could be gone through only once.
        UnusableAudio
            At the end, if the output is louder than `most_gain_db` allows.
        """
        if iter(blocks) is blocks:
            raise TypeError("blocks is an iterator, which can be gone through only once")
        references = self._references(_by_channel(blocks, channels), rate)
        each = [
            self._channel(own, rate, reference)
            for own, reference in zip(_by_channel(blocks, channels), references, strict=True)
        ]
        for parts in zip(*each, strict=True):
            yield np.stack(parts, axis=1)

    def _references(self, each: list[Iterator[np.ndarray]], rate: int) -> list[np.ndarray | None]:
        """Magnitude of 0 dB of every channel as a whole; None where no window needs it."""
        if self.stream is not None or self.features.settings.reference != "utterance":
            return [None] * len(each)
        running = [
            self.features.running_reference(audio.resampled(own, rate, self.rate)) for own in each
        ]
        found: list[np.ndarray | None] = []
        for latest in zip(*running, strict=True):
            found = list(latest)
        return found

    def _channel(
        self, own: Iterator[np.ndarray], rate: int, reference: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        taken = given = 0
        energies = [0.0, 0.0]

        def counted() -> Iterator[np.ndarray]:
            nonlocal taken
            for samples in own:
                taken += len(samples)
                energies[0] += audio.energy(samples)
                yield samples

        def enhanced() -> Iterator[np.ndarray]:
            run = self._start(reference)
            at_own_rate = audio.resampled(counted(), rate, self.rate)
            for part in audio.rechunked(at_own_rate, _BLOCK):
                yield run.process(part)
            yield run.flush()

        for part in audio.resampled(enhanced(), self.rate, rate):
            # Rounding to and fro may add samples at the end.
            kept = part[: taken - given]
            given += len(kept)
            energies[1] += audio.energy(kept)
            yield kept
        yield np.zeros(taken - given, np.float32)
        self._check_gain(energies[0], energies[1], taken)

    def _check_gain(self, before: float, after: float, samples: int) -> None:
        """Raise `UnusableAudio` if a channel became louder than it may."""
        if self.most_gain_db is None:
            return
        gain_db = 10 * np.log10(max(after, 1e-30) / max(before, _SILENCE * samples, 1e-30))
        if gain_db > self.most_gain_db:
            raise audio.UnusableAudio(
                f"would become {gain_db:.1f} dB louder, more than {self.most_gain_db:g} dB: the "
                f"model {self.card.name} is broken or was made for other audio"
            )

    def enhance_with_reference(
        self, noisy: np.ndarray, clean: np.ndarray, rate: int
    ) -> tuple[np.ndarray, float]:
        """Enhance mono audio [shape=(samples,)] of any rate whose clean speech is known.

        Returns
        -------
        enhanced : np.ndarray [shape=(samples,)]
        mse_spec : float
            Mean squared error of the scaled spectrogram the recipe predicts.
        """
        own, wanted = (audio.resample(signal, rate, self.rate) for signal in (noisy, clean))
        if len(own) == 0:
            return np.zeros(len(noisy), np.float32), float("nan")
        run = self._start(self._references([iter([own])], self.rate)[0])
        follows = isinstance(run, Stream)
        # A stream is compared frame by frame, all else window by window.
        whole = run.cut(wanted) if isinstance(run, WindowedRun) else stft(wanted[None], self.stft)
        errors: list[float] = []

        def compare(spectra: np.ndarray, output: np.ndarray, references: np.ndarray) -> None:
            place = slice(len(errors), len(errors) + spectra.shape[2 if follows else 0])
            part = whole[:, :, place] if follows else stft(whole[place], self.stft)
            error = np.square(output - self.features.encode_target(spectra, part, references))
            errors.extend(error.mean(axis=(0, 1, 3) if follows else (1, 2, 3)))

        run.on_frames = compare
        enhanced = np.concatenate([run.process(own), run.flush()])
        restored = audio.resample(enhanced, self.rate, rate)[: len(noisy)]
        return np.pad(restored, (0, len(noisy) - len(restored))), float(np.mean(errors))

    def macs_a_second(self) -> float:
        """Multiplications with an addition in a second of audio, overlapping windows counted twice
        (`networks.operations.macs`)."""
        frames = self.model.inputs[0].shape[2] or 1000
        share = self.window / self.hop if self.stream is None else 1.0
        of_a_frame = macs(self.model, frames) / frames
        return of_a_frame * self.rate / self.stft.hop * share

    def _start(self, reference: np.ndarray | None) -> Stream | WindowedRun:
        """A run through the network of one channel, given here at `rate`."""
        if self.stream is not None:
            return self.stream.new_stream()
        return WindowedRun(self.model, self.features, self.window, self.hop, reference)


def _by_channel(blocks: Iterable[np.ndarray], channels: int) -> list[Iterator[np.ndarray]]:
    """Each channel of audio, which is read once if all of them are gone through together."""

    def channel(copy: Iterator[np.ndarray], number: int) -> Iterator[np.ndarray]:
        for block in copy:
            if number >= block.shape[1]:
                raise audio.UnusableAudio("was replaced while it was read")
            yield block[:, number]

    copies = itertools.tee(blocks, channels)
    return [channel(copy, number) for number, copy in enumerate(copies)]
