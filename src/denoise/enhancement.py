"""Applying a trained network to recordings of any length, rate and number of channels.

A recording is cut into overlapping windows of the length the network was trained on, or four times
that if it takes any; each is enhanced, and the windows are cross-faded.  The ends are padded by
reflection, so that no sample is lost and the first and last windows sound like those the network
was trained on; levels are those of the input.  A causal network goes through the recording once,
from its start.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from denoise import audio, files
from denoise.errors import UserError
from denoise.features import Features, FeatureSettings
from denoise.parallel import progress
from denoise.settings import Settings
from denoise.spectrogram import istft, stft
from denoise.streaming import Stream, streams

_BATCH, _SMALL_BATCH = 32, 8
_LONG = 4
_BLOCK = 1 << 15  # samples


class EnhancementSettings(Settings):
    """How a network is applied to whole recordings. Changing it scores again, no more."""

    overlap: float = Field(0.5, ge=0, le=0.9)
    """Share of a window that overlaps with the next."""


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
        import keras

        try:
            model = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{folder / 'model.keras'} cannot be loaded: {error}") from None
        try:
            return cls(model, files.read_json(folder / "card.json"), overlap)
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder / 'card.json'} is not a model card: {reason}") from None

    def enhance(self, noisy: np.ndarray, label: str = "") -> np.ndarray:
        """Enhance mono audio [shape=(samples,)] at `rate`; the result has the same shape.

        With a `label`, progress is shown under it.
        """
        return self._run(noisy, None, label)[0]

    def enhance_any(self, noisy: np.ndarray, rate: int, label: str = "") -> np.ndarray:
        """Enhance audio [shape=(samples, channels)] of any rate, each channel by itself.

        Above half the model's rate nothing is known about the noise, so nothing of the input is
        kept there: the result has the model's bandwidth at the input's rate and length.
        """
        channels = []
        for channel in noisy.T:
            mono = audio.resample(channel, rate, self.rate)
            channels.append(self._back(self.enhance(mono, label), rate, len(noisy)))
        return np.stack(channels, axis=1)

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
        own = [audio.resample(signal, rate, self.rate) for signal in (noisy, clean)]
        enhanced, error = self._run(own[0], own[1])
        return self._back(enhanced, rate, len(noisy)), error

    def _back(self, wave: np.ndarray, rate: int, samples: int) -> np.ndarray:
        """`wave` at `rate` and with a length of `samples`."""
        restored = audio.resample(wave, self.rate, rate)[:samples]
        return np.pad(restored, (0, samples - len(restored)))

    def _run(
        self, noisy: np.ndarray, clean: np.ndarray | None, label: str = ""
    ) -> tuple[np.ndarray, float]:
        if len(noisy) == 0:
            return np.zeros(0, np.float32), float("nan")
        if self.stream is not None:
            return self._follow(self.stream, noisy, clean, label)
        windows, fade = self._cut(noisy)
        cleans = None if clean is None else self._cut(clean)[0]
        whole = None
        if self.features.settings.reference == "utterance":
            whole = self.features.utterance_reference(noisy)
        errors: list[float] = []
        # Added up as it comes: of an hour nothing but its samples is kept.
        wave = np.zeros((len(windows) - 1) * self.hop + self.window, np.float32)
        weight = np.zeros_like(wave)
        places = _batches(len(windows), self._sizes)
        for place in progress(places, label) if label else places:
            part = windows[place]
            spectra = stft(part, self.stft)
            zero = self.features.references(spectra) if whole is None else whole
            output = self._predict(self.features.encode_input(spectra, zero))
            if cleans is not None:
                wanted = stft(cleans[place], self.stft)
                target = self.features.encode_target(spectra, wanted, zero)
                errors.extend(np.mean(np.square(output - target), axis=(1, 2, 3)))
            found = istft(self.features.decode(output, spectra, zero), self.stft, self.window)
            for number, window in enumerate(found, place.start):
                span = slice(number * self.hop, number * self.hop + self.window)
                wave[span] += fade * window
                weight[span] += fade
        overlap = self.window - self.hop
        wave /= weight
        error = float(np.mean(errors)) if errors else float("nan")
        return wave[overlap : overlap + len(noisy)], error

    def _follow(
        self, stream: Stream, noisy: np.ndarray, clean: np.ndarray | None, label: str
    ) -> tuple[np.ndarray, float]:
        """What `_run` gives, of a causal network: exactly what it makes of a stream."""
        errors: list[np.ndarray] = []
        stream.watch = None
        if clean is not None:
            wanted = stft(clean[None], self.stft)

            def compare(spectra: np.ndarray, output: np.ndarray, references: np.ndarray) -> None:
                done = sum(map(len, errors))
                frames = slice(done, done + spectra.shape[2])
                target = self.features.encode_target(spectra, wanted[:, :, frames], references)
                errors.append(np.mean(np.square(output - target), axis=(0, 1, 3)))

            stream.watch = compare
        starts = range(0, len(noisy), _BLOCK)
        parts = [
            stream.process(noisy[start : start + _BLOCK])
            for start in (progress(list(starts), label) if label else starts)
        ]
        parts.append(stream.flush())
        return np.concatenate(parts), float(np.mean(np.concatenate(errors))) if errors else np.nan

    def _predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs of a batch, padded to one of two sizes so that the network is compiled twice."""
        large, small = self._sizes
        size = large if len(inputs) > small else small
        padded = np.zeros((size, *inputs.shape[1:]), np.float32)
        padded[: len(inputs)] = inputs
        return np.asarray(self.model.predict_on_batch(padded))[: len(inputs)]

    @property
    def _sizes(self) -> tuple[int, int]:
        """Windows of a large and of a small batch."""
        share = _LONG if self.long else 1
        return _BATCH // share, _SMALL_BATCH // share

    def _cut(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Overlapping windows [shape=(windows, window)] and the fade [shape=(window,)]."""
        overlap = self.window - self.hop
        count = max(1, math.ceil((len(wave) + overlap) / self.hop))
        after = (count - 1) * self.hop + self.window - len(wave)
        padded = np.pad(wave, (overlap, after), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop][:count]
        # Sums to one over the overlap after the division; the ends keep a little weight.
        fade = np.hanning(self.window + 2)[1:-1] if overlap else np.ones(self.window)
        return windows, fade.astype(np.float32)


def _batches(count: int, sizes: tuple[int, int]) -> list[slice]:
    """Large batches, and small ones for what is left over: few windows are not padded to many."""
    large, small = sizes
    whole = count - count % large
    places = [(start, large) for start in range(0, whole, large)]
    places += [(start, small) for start in range(whole, count, small)]
    return [slice(start, min(start + size, count)) for start, size in places]


def enhance_test_set(
    model_folder: Path, test_set: Path, settings: EnhancementSettings, out_path: Path
) -> None:
    """Write a model's output for a test set, packed like its ``noisy.npy``.

    Beside it, ``<name>.csv`` has the utterances with ``mse_spec``, the mean squared error of the
    recipe's own scaled spectrogram.
    """
    enhancer = Enhancer.load(model_folder, settings.overlap)
    rate = files.read_json(test_set / "manifest.json")["rate"]
    table = files.read_table(test_set / "mixtures.csv")
    noisy, clean = (files.load_array(test_set / f"{side}.npy") for side in ("noisy", "clean"))
    errors = []
    with files.replacing(out_path) as temporary:
        pack = files.PackWriter(temporary)
        for start, length in progress(
            list(zip(table["offset"], table["samples"], strict=True)), "enhance"
        ):
            part = slice(start, start + length)
            enhanced, error = enhancer.enhance_known(noisy[part], clean[part], rate)
            pack.append(enhanced)
            errors.append(error)
        pack.close()
    files.write_table(
        out_path.with_suffix(".csv"), pd.DataFrame({"id": table["id"], "mse_spec": errors})
    )
