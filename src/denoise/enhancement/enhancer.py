"""Applying a trained network to recordings of any length, rate and number of channels.

A causal network processes the recording once from its start; other networks process overlapping
windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from denoise import audio
from denoise.core.errors import UserError
from denoise.enhancement.causal import CausalRun
from denoise.enhancement.gains import Gains
from denoise.enhancement.pipeline import Pipeline, resampling_delay
from denoise.enhancement.settings import EnhancementSettings
from denoise.enhancement.stream import Stream
from denoise.enhancement.windows import LONG, WindowedRun
from denoise.features.codec import Features
from denoise.features.stft import stft
from denoise.networks import runtimes
from denoise.networks.card import ModelCard
from denoise.networks.runtimes import Runtime

_BLOCK = 1 << 15  # samples that are given to a network at once


MOST_GAIN_DB = 6.0
"""A denoiser removes energy. Output with this much more energy than the input indicates a broken
model, or a model for other audio."""
_SILENCE = 1e-8
"""Lower limit (-80 dB full scale) of the input's mean square when the gain is computed."""


class Enhancer:
    """A trained model, ready to be applied to recordings.

    Parameters
    ----------
    network
        Ready to be applied.
    card
        Its model card.
    settings
        How it is applied.
    most_gain_db
        How much more energy than its input a channel's output may have, such as `MOST_GAIN_DB`.

    Example
    -------
    >>> enhancer = Enhancer.load(denoise.load("best").folder)
    >>> enhanced = enhancer.enhance_any(noisy[:, None], 48_000)
    """

    def __init__(
        self,
        network: Runtime,
        card: ModelCard,
        settings: EnhancementSettings | None = None,
        most_gain_db: float | None = None,
    ) -> None:
        self.network, self.card, self.most_gain_db = network, card, most_gain_db
        self.settings = settings or EnhancementSettings()
        self.rate, self.window = card.rate, card.segment
        overlap = round(self.window * self.settings.overlap)
        # Networks for any number of frames see more context, and less of it twice.
        if network.frames is None:
            self.window *= LONG
        self.features = Features(card.features, card.scales)
        self.hop = max(1, self.window - overlap)

    @classmethod
    def load(
        cls,
        folder: Path,
        settings: EnhancementSettings | None = None,
        most_gain_db: float | None = None,
        *,
        runtime: runtimes.Name | None = None,
        threads: int | None = None,
    ) -> Enhancer:
        """Load the network and the card of a model folder.

        Parameters
        ----------
        runtime, threads
            As of `networks.runtimes.load_runtime`.

        Raises
        ------
        UserError
            As of `networks.runtimes.load_runtime`.
        """
        network, card = runtimes.load_runtime(folder, runtime, threads)
        try:
            return cls(network, card, settings, most_gain_db)
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
        """Enhance audio of any rate and length in little memory.

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
            If the rate is above `audio.HIGHEST_RATE`; at the end, if the output is louder than
            `most_gain_db` allows.
        """
        if rate > audio.HIGHEST_RATE:
            raise audio.UnusableAudio(
                f"has {rate:,} Hz: recordings of up to {audio.HIGHEST_RATE:,} Hz are enhanced"
            )
        if iter(blocks) is blocks:
            raise TypeError("blocks is an iterator, which can be gone through only once")
        pipeline = self.pipeline(rate, channels, self._reference(blocks, rate, channels))
        before, after = np.zeros(channels), np.zeros(channels)
        taken = 0
        for block in audio.rechunked(_checked(blocks, channels), _BLOCK):
            taken += len(block)
            before += [audio.energy(own) for own in block.T]
            given = pipeline.process(block)
            after += [audio.energy(own) for own in given.T]
            yield given
        given = pipeline.flush()
        after += [audio.energy(own) for own in given.T]
        yield given
        self._check_gain(before, after, taken)

    def pipeline(self, rate: int, channels: int, reference: np.ndarray | None = None) -> Pipeline:
        """The pipeline for one recording or stream of this rate, block by block.

        Parameters
        ----------
        reference : np.ndarray [shape=(channels, 1, 1)], optional
            As of `WindowedRun`.
        """
        keep_all = self.settings.bandwidth == "full"
        multiple = self._multiple(rate)
        run = self._run(rate, multiple, channels, reference)
        return Pipeline(run, rate, multiple * self.rate, channels, keep_all=keep_all)

    def stream(self, rate: int | None = None, channels: int = 1) -> Stream:
        """A stream of audio through the network; default mono at the network's rate.

        Raises
        ------
        UserError
            If the network is not causal.
        """
        if not self.card.causal:
            raise UserError(
                f"model {self.card.name} looks at later audio and cannot follow a stream: use one "
                "with network.causal, such as the preset stream"
            )
        rate = rate or self.rate
        transform = self.features.settings.stft
        hop = round(transform.hop * rate / self.rate)
        frame = math.ceil(transform.n_fft * rate / self.rate)
        latency = frame + resampling_delay(rate, self._multiple(rate) * self.rate, hop)
        return Stream(lambda: self.pipeline(rate, channels), rate, channels, hop, latency)

    def _multiple(self, rate: int) -> int:
        """The multiple of the network's rate at which a recording is processed."""
        return math.ceil(rate / self.rate) if self.settings.bandwidth == "full" else 1

    def _run(
        self, rate: int, multiple: int, channels: int, reference: np.ndarray | None
    ) -> CausalRun | WindowedRun:
        gains = Gains(self.features, self.settings, self.rate, rate, multiple, channels)
        if self.card.causal:
            return CausalRun(self.network, gains)
        return WindowedRun(self.network, gains, self.window, self.hop, reference)

    def _reference(
        self, blocks: Iterable[np.ndarray], rate: int, channels: int
    ) -> np.ndarray | None:
        """The magnitude that is 0 dB for each whole channel; None if no window needs it."""
        if self.card.causal or self.features.settings.reference != "utterance":
            return None
        own = audio.resampled(_checked(blocks, channels), rate, self.rate, channels)
        found = self.features.utterance_reference(own)
        return np.broadcast_to(found, (channels, 1, 1))

    def _check_gain(self, before: np.ndarray, after: np.ndarray, samples: int) -> None:
        """Raise `UnusableAudio` if a channel became much louder."""
        if self.most_gain_db is None:
            return
        least = np.maximum(before, max(_SILENCE * samples, 1e-30))
        gain_db = float(np.max(10 * np.log10(np.maximum(after, 1e-30) / least)))
        if gain_db > self.most_gain_db:
            raise audio.UnusableAudio(
                f"would become {gain_db:.1f} dB louder, more than {self.most_gain_db:g} dB: the "
                f"model {self.card.name} is damaged or was trained on other audio; `denoise "
                "enhance --allow-louder` writes the output anyway"
            )

    def enhance_utterance(
        self, noisy: np.ndarray, clean: np.ndarray | None, rate: int
    ) -> tuple[np.ndarray, float]:
        """Enhance mono audio [shape=(samples,)] of any rate, in the band of the model.

        Returns
        -------
        enhanced : np.ndarray [shape=(samples,)]
        mse_spec : float
            Mean squared error of the scaled spectrogram the recipe predicts; NaN without `clean`.
        """
        own = audio.resample(noisy, rate, self.rate)
        if len(own) == 0:
            return np.zeros(len(noisy), np.float32), float("nan")
        run = self._run(self.rate, 1, 1, self._reference([own[:, None]], self.rate, 1))
        errors: list[float] = []
        if clean is not None:
            run.on_frames = self._comparison(run, audio.resample(clean, rate, self.rate), errors)
        found = np.concatenate([run.process(own[None])[0], run.flush()[0]])
        restored = audio.resample(found, self.rate, rate)[: len(noisy)]
        error = float(np.mean(errors)) if errors else float("nan")
        return np.pad(restored, (0, len(noisy) - len(restored))), error

    def _comparison(
        self, run: CausalRun | WindowedRun, clean: np.ndarray, errors: list[float]
    ) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
        """The function that compares the output of a run with the target of `clean`, and appends to
        `errors`."""
        causal = isinstance(run, CausalRun)
        # A stream is compared frame by frame, all else window by window.
        settings = self.features.settings.stft
        whole = run.cut(clean) if isinstance(run, WindowedRun) else stft(clean[None], settings)

        def compare(spectra: np.ndarray, output: np.ndarray, references: np.ndarray) -> None:
            place = slice(len(errors), len(errors) + spectra.shape[2 if causal else 0])
            part = whole[:, :, place] if causal else stft(whole[place], settings)
            error = np.square(output - self.features.encode_target(spectra, part, references))
            errors.extend(error.mean(axis=(0, 1, 3) if causal else (1, 2, 3)))

        return compare

    def macs_a_second(self) -> float | None:
        """Multiply-accumulate operations (MACs) per second of audio, overlapping windows counted
        twice (`networks.operations.macs`); None for models whose card does not have them."""
        if self.card.macs_a_frame is None:
            return None
        share = 1.0 if self.card.causal else self.window / self.hop
        return self.card.macs_a_frame * self.rate / self.features.settings.stft.hop * share


def _checked(blocks: Iterable[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    """The blocks of a recording; raises an error if the number of channels changes."""
    for block in blocks:
        if block.shape[1] != channels:
            raise audio.UnusableAudio("was replaced while it was read")
        yield block
