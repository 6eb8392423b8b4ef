"""From the output of a network to a gain on every bin of a recording's spectrum.

A network sees the spectrum up to half of its rate.  A recording of a higher rate is transformed at
a multiple of that rate, with frames that last as long: their lowest bins are what the network sees,
and the bins above get one gain, which follows the network's own in its highest band.  Nothing is
split or resampled, so there is no crossover, no further delay, and where the gain is 1 the
recording comes back as it was.

The gain above is the root of the ratio of the powers after and before in the highest band, both
smoothed over `RELEASE_S`: at once where it becomes loud, as a fricative does, and released slowly.
"""

from __future__ import annotations

import numpy as np

from denoise.enhancement.settings import EnhancementSettings
from denoise.features.codec import Features
from denoise.features.stft import StftSettings

RELEASE_S = 0.03
"""Time constant for smoothing the power in the highest band."""
HIGHEST_BAND = (0.75, 0.9)
"""Share of the network's band; above it, the band of the resampled training data ends."""
_FAINT = 1e-12
"""Power below which a band is silent and stays unchanged."""


class Gains:
    """The gains for recordings of one rate.

    Parameters
    ----------
    features
        Of the network.
    rate
        The network's.
    source_rate
        That of the recording, which may be lower.
    multiple
        How many times the network's rate the recording is transformed at.
    channels
        Of the recording.
    """

    def __init__(
        self,
        features: Features,
        settings: EnhancementSettings,
        rate: int,
        source_rate: int,
        multiple: int,
        channels: int,
    ) -> None:
        own = features.settings.stft
        self.features, self.settings, self.multiple = features, settings, multiple
        self.stft: StftSettings = own.model_copy(
            update={"n_fft": own.n_fft * multiple, "hop": own.hop * multiple}
        )
        """The transform at this multiple of the network's rate."""
        self.channels = channels
        self._seen = own.n_fft // 2 + 1
        self._linked = settings.link_channels and channels > 1
        self._release = np.float32(np.exp(-own.hop / (rate * RELEASE_S)))
        top = min(rate, source_rate) / rate * self._seen
        low, high = (round(share * top) for share in HIGHEST_BAND)
        self._band = slice(low, max(high, low + 1))
        limit = settings.max_attenuation_db
        self._least = None if limit is None else np.float32(10 ** (-limit / 20))

    def seen(self, spectra: np.ndarray) -> np.ndarray:
        """The part of `spectra` [shape=(batch, f, t)] that the network sees, as at its own rate."""
        return spectra[:, : self._seen] / np.float32(self.multiple)

    def in_band(self, output: np.ndarray, seen: np.ndarray, references: np.ndarray) -> np.ndarray:
        """The gains on what the network sees [shape=(batch, f, t)].

        Parameters
        ----------
        output : np.ndarray [shape=(batch, f, t, channels of the network)]
        seen : np.ndarray [shape=(batch, f, t)]
            The batch is of windows with all channels of the recording.
        references : np.ndarray [shape=(batch, 1, 1)]
        """
        found = self.features.factors(output, seen, references)
        if self._linked:
            found = self._shared(found, np.square(np.abs(seen)))
        if self._least is not None:
            size = np.abs(found)
            raised = self._least / np.maximum(size, np.float32(1e-6))
            found = np.where(size > 1e-6, found * np.maximum(raised, 1), self._least)
        if self.settings.strength < 1:
            strength = np.float32(self.settings.strength)
            found = strength * found + (1 - strength)
        return found

    def _shared(self, gains: np.ndarray, powers: np.ndarray) -> np.ndarray:
        """The mean of the gains of all channels, weighted by their powers."""
        weights = self._by_channel(powers) + np.float32(_FAINT)
        weighted = (weights * self._by_channel(gains)).sum(axis=1, keepdims=True)
        mean = weighted / weights.sum(axis=1, keepdims=True)
        return np.repeat(mean, self.channels, axis=1).reshape(gains.shape)

    def _by_channel(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, self.channels, *values.shape[1:])

    def above(
        self, gains: np.ndarray, seen: np.ndarray, before: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The gain above the network's band [shape=(batch, t)], and the state for the next frames.

        Parameters
        ----------
        before : np.ndarray [shape=(2, batch)], optional
            What was given with the frames before; default none.
        """
        part = seen[:, self._band]
        powers = np.stack([self._power(part), self._power(part * gains[:, self._band])])
        state = np.zeros(powers.shape[:2], np.float32) if before is None else before
        smooth = np.empty_like(powers)
        for frame in range(powers.shape[2]):
            state = self._release * state + (1 - self._release) * powers[:, :, frame]
            smooth[:, :, frame] = state
        quiet = np.float32(_FAINT)
        return np.sqrt((smooth[1] + quiet) / (smooth[0] + quiet)), state

    def _power(self, spectra: np.ndarray) -> np.ndarray:
        """Power of every frame [shape=(batch, t)], summed over linked channels."""
        power = np.square(np.abs(spectra)).sum(axis=1)
        if not self._linked:
            return np.asarray(power)
        total = self._by_channel(power).sum(axis=1, keepdims=True)
        return np.repeat(total, self.channels, axis=1).reshape(power.shape)

    def apply(self, spectra: np.ndarray, gains: np.ndarray, above: np.ndarray) -> np.ndarray:
        """The enhanced spectra."""
        enhanced = np.empty_like(spectra)
        np.multiply(spectra[:, : self._seen], gains, out=enhanced[:, : self._seen])
        np.multiply(spectra[:, self._seen :], above[:, None], out=enhanced[:, self._seen :])
        return enhanced
