"""Applying a trained network to recordings of any length, rate and number of channels.

A recording is cut into overlapping windows of the length the network was trained on, or four times
that if it takes any; each is enhanced, and the windows are cross-faded.  The ends are padded by
reflection, so that no sample is lost and the first and last windows sound like those the network
was trained on; levels are those of the input.  A causal network goes through the recording once,
from its start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from denoise import audio, backend, files
from denoise.errors import UserError
from denoise.features import Features, FeatureSettings
from denoise.parallel import progress
from denoise.settings import Settings
from denoise.spectrogram import istft, stft
from denoise.streaming import Stream, Watch, streams
from denoise.timing import Stopwatch

_BATCH, _SMALL_BATCH = 32, 8
_LONG = 4
_BLOCK = 1 << 15  # samples that are given to a network at once


class EnhancementSettings(Settings):
    """How a network is applied to whole recordings. Changing it scores again, no more."""

    overlap: float = Field(0.5, ge=0, le=0.9)
    """Share of a window that overlaps with the next."""


def read_card(folder: Path) -> dict[str, Any]:
    """The ``card.json`` of a model folder.

    Raises
    ------
    UserError
        If it cannot be read or is no model card.
    """
    path = folder / "card.json"
    try:
        card = files.read_json(path)
        missing = [name for name in ("variant", "features", "network") if name not in card]
        wrong = [
            name for name in ("rate", "window") if not (type(card[name]) is int and card[name] > 0)
        ]
        if missing or wrong:
            raise ValueError(f"{', '.join(missing + wrong)} missing or wrong")
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a model card: {reason}") from None
    return dict(card)


class Enhancer:
    """A trained model and what is needed to apply it."""

    def __init__(self, model: Any, card: dict[str, Any], overlap: float = 0.5) -> None:
        self.model, self.card = model, card
        self.rate: int = card["rate"]
        self.window: int = card["window"]
        overlap_samples = round(self.window * overlap)
        # Networks for any number of frames see more context, and less of it twice.
        self.long = model.inputs[0].shape[2] is None
        if self.long:
            self.window *= _LONG
        self.features = Features(FeatureSettings.model_validate(card["features"]), card["scales"])
        self.stft = self.features.settings.stft
        self.of_whole_recordings = self.features.settings.reference == "utterance"
        self.hop = max(1, self.window - overlap_samples)
        self.stream = Stream(model, card) if streams(card) else None

    @classmethod
    def load(cls, folder: Path, overlap: float = 0.5) -> Enhancer:
        """Load ``model.keras`` and ``card.json`` of a model folder.

        Raises
        ------
        UserError
            If either is missing or cannot be read.
        """
        for name in ("model.keras", "card.json"):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} is not a model: it has no {name} (see `denoise models` for those "
                    "that are trained here)"
                )
        card = read_card(folder)
        import keras

        try:
            model = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its parts raise
            reason = " ".join(str(error).split())
            raise UserError(f"{folder / 'model.keras'} cannot be loaded: {reason}") from None
        try:
            return cls(model, card, overlap)
        except (ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder / 'card.json'} is not a model card: {reason}") from None

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
            once for each channel, and twice if the recipe needs the level of the whole recording.

        Yields
        ------
        np.ndarray [shape=(samples, channels)]
            The enhanced audio in blocks of other sizes.

        Raises
        ------
        TypeError
            If `blocks` is an iterator, which could be gone through only once.
        """
        if iter(blocks) is blocks:
            raise TypeError("blocks is an iterator, which can be gone through only once")
        each = [self._channel(blocks, number, rate) for number in range(channels)]
        for parts in zip(*each, strict=True):
            yield np.stack(parts, axis=1)

    def _channel(
        self, blocks: Iterable[np.ndarray], number: int, rate: int
    ) -> Iterator[np.ndarray]:
        taken = given = 0

        def heard() -> Iterator[np.ndarray]:
            nonlocal taken
            taken = 0
            for block in blocks:
                taken += len(block)
                if number >= block.shape[1]:
                    raise audio.UnusableAudio("was replaced while it was read")
                yield block[:, number]

        def own() -> Iterator[np.ndarray]:
            return audio.resampled(heard(), rate, self.rate)

        def enhanced() -> Iterator[np.ndarray]:
            run = self._start(own())
            for part in audio.rechunked(own(), _BLOCK):
                yield run.process(part)
            yield run.flush()

        for part in audio.resampled(enhanced(), self.rate, rate):
            # Rounding to and fro may add samples at the end.
            kept = part[: taken - given]
            given += len(kept)
            yield kept
        yield np.zeros(taken - given, np.float32)

    def enhance_known(
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
        run = self._start([own])
        follows = isinstance(run, Stream)
        # A stream is compared frame by frame, all else window by window.
        whole = run.cut(wanted) if isinstance(run, _Windows) else stft(wanted[None], self.stft)
        errors: list[float] = []

        def compare(spectra: np.ndarray, output: np.ndarray, references: np.ndarray) -> None:
            place = slice(len(errors), len(errors) + spectra.shape[2 if follows else 0])
            part = whole[:, :, place] if follows else stft(whole[place], self.stft)
            error = np.square(output - self.features.encode_target(spectra, part, references))
            errors.extend(error.mean(axis=(0, 1, 3) if follows else (1, 2, 3)))

        run.watch = compare
        enhanced = np.concatenate([run.process(own), run.flush()])
        restored = audio.resample(enhanced, self.rate, rate)[: len(noisy)]
        return np.pad(restored, (0, len(noisy) - len(restored))), float(np.mean(errors))

    def _start(self, own: Iterable[np.ndarray]) -> Stream | _Windows:
        """A run through the network of one channel, given here at `rate`."""
        if self.stream is not None:
            return self.stream.another()
        return _Windows(self, self.features.utterance_reference(own))


class _Windows:
    """One channel through a network that is given whole windows; used as a `Stream` is."""

    def __init__(self, enhancer: Enhancer, reference: np.ndarray) -> None:
        self.watch: Watch | None = None
        self._model, self._features = enhancer.model, enhancer.features
        self._stft, self._window, self._hop = enhancer.stft, enhancer.window, enhancer.hop
        self._reference = reference if enhancer.of_whole_recordings else None
        self._overlap = self._window - self._hop
        share = _LONG if enhancer.long else 1
        self._sizes = _BATCH // share, _SMALL_BATCH // share
        # Sums to one over the overlap after the division; the ends keep a little weight.
        fade = np.hanning(self._window + 2)[1:-1] if self._overlap else np.ones(self._window)
        self._fade = fade.astype(np.float32)
        self._input = np.zeros(0, np.float32)
        """Padded samples, from a window before the next on."""
        self._next = 0
        """Where in them the next window begins."""
        self._begun = False
        self._tail = np.zeros((2, self._overlap), np.float32)
        """What is to overlap with the next window, and its weight."""
        self._taken = self._given = self._done = 0
        self._skip = self._overlap

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples [shape=(n,)]; give those that are ready, float32."""
        self._taken += len(samples)
        self._input = np.concatenate([self._input, samples])
        if not self._begun:
            if self._taken <= 2 * self._window:
                return np.zeros(0, np.float32)
            self._input = np.pad(self._input, (self._overlap, 0), mode="reflect")
            self._begun = True
        large = self._sizes[0]
        ready = [np.zeros(0, np.float32)]
        while len(self._input) - self._next >= (large - 1) * self._hop + self._window:
            ready.append(self._advance(large))
        return self._give(ready)

    def flush(self) -> np.ndarray:
        """The rest, so that as much is given as was taken."""
        if self._taken == 0:
            return np.zeros(0, np.float32)
        count = self._count(self._taken)
        before, after = 0 if self._begun else self._overlap, count * self._hop - self._taken
        self._input = np.pad(self._input, (before, after), mode="reflect")
        left = count - self._done
        ready = [self._advance(size) for size in _batches(left, self._sizes)]
        ready.append(self._tail[0] / self._tail[1])
        missing = self._taken - self._given
        return self._give(ready)[:missing]

    def cut(self, wave: np.ndarray) -> np.ndarray:
        """The windows [shape=(windows, window)] that a whole recording is enhanced in."""
        count = self._count(len(wave))
        after = count * self._hop - len(wave)
        padded = np.pad(wave, (self._overlap, after), mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(padded, self._window)[:: self._hop][:count]

    def _count(self, samples: int) -> int:
        return max(1, math.ceil((samples + self._overlap) / self._hop))

    def _advance(self, count: int) -> np.ndarray:
        """Enhance the next windows; the samples that no later window changes."""
        span = (count - 1) * self._hop + self._window
        part = self._input[self._next : self._next + span]
        windows = np.lib.stride_tricks.sliding_window_view(part, self._window)[:: self._hop]
        spectra = stft(windows, self._stft)
        references = self._reference
        if references is None:
            references = self._features.references(spectra)
        output = self._predict(self._features.encode_input(spectra, references))
        if self.watch is not None:
            self.watch(spectra, output, references)
        found = istft(self._features.decode(output, spectra, references), self._stft, self._window)
        wave, weight = sums = np.zeros((2, span), np.float32)
        sums[:, : self._overlap] = self._tail
        for number, window in enumerate(found):
            place = slice(number * self._hop, number * self._hop + self._window)
            wave[place] += self._fade * window
            weight[place] += self._fade
        ready = count * self._hop
        self._tail = sums[:, ready:]
        self._done += count
        # A window's length before the next may be needed to reflect the end.
        old = max(0, self._next + ready - self._window)
        self._input = self._input[old:]
        self._next += ready - old
        return wave[:ready] / weight[:ready]

    def _predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs of a batch, padded to one of two sizes so that the network is compiled twice."""
        large, small = self._sizes
        size = large if len(inputs) > small else small
        padded = np.zeros((size, *inputs.shape[1:]), np.float32)
        padded[: len(inputs)] = inputs
        return np.asarray(self._model.predict_on_batch(padded))[: len(inputs)]

    def _give(self, ready: list[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(ready)
        given = joined[self._skip :]
        self._skip -= len(joined) - len(given)
        self._given += len(given)
        return given


def _batches(count: int, sizes: tuple[int, int]) -> list[int]:
    """Large batches, and small ones for what is left over: few windows are not padded to many."""
    large, small = sizes
    left = count % large
    sizes_left = [min(small, left - start) for start in range(0, left, small)]
    return [large] * (count // large) + sizes_left


def enhance_test_set(
    model_folder: Path, test_set: Path, settings: EnhancementSettings, out_path: Path
) -> None:
    """Write a model's output for a test set, packed like its ``noisy.npy``.

    Beside it, ``<name>.csv`` has the utterances with ``mse_spec``, the mean squared error of the
    recipe's own scaled spectrogram, and ``<name>.json`` the time that they took, as of
    `Stopwatch.write`, and on what.
    """
    enhancer = Enhancer.load(model_folder, settings.overlap)
    rate = files.read_json(test_set / "manifest.json")["rate"]
    table = files.read_table(test_set / "mixtures.csv")
    noisy, clean = (files.load_array(test_set / f"{side}.npy") for side in ("noisy", "clean"))
    errors: list[float] = []
    watch = Stopwatch()
    with files.replacing(out_path) as temporary:
        pack = files.PackWriter(temporary)
        for start, length in progress(
            list(zip(table["offset"], table["samples"], strict=True)), "enhance"
        ):
            part = slice(start, start + length)
            with watch.utterance(length / rate):
                enhanced, error = enhancer.enhance_known(noisy[part], clean[part], rate)
            pack.append(enhanced)
            errors.append(error)
        pack.close()
    watch.write(out_path.with_suffix(".json"), hardware=backend.hardware())
    files.write_table(
        out_path.with_suffix(".csv"), pd.DataFrame({"id": table["id"], "mse_spec": errors})
    )
