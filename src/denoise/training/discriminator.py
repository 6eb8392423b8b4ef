"""A discriminator that a denoiser is trained against.

Two kinds.  The *metric* discriminator learns to predict the PESQ of the output, and the denoiser is
trained to raise that prediction (MetricGAN+: Fu et al., Interspeech 2021).  The *least-squares* one
learns to tell clean from enhanced speech, given the noisy speech (Mao et al., ICCV 2017, as in
SEGAN: Pascual, Bonafonte & Serra, Interspeech 2017).  With either, the denoiser may raise its score
by distorting the signal in ways that the discriminator does not detect.  Therefore the waveform
loss is kept, and epochs whose SI-SDR has fallen are not kept.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from denoise.core.pools import start_worker, worker_arguments
from denoise.metrics.pesq import pesq
from denoise.metrics.sdr import si_sdr
from denoise.metrics.validity import Undefined
from denoise.training.adversarial import AdversarialSettings
from denoise.training.waveform import magnitude, stft

if TYPE_CHECKING:
    import keras

_N_FFT, _HOP, _POWER = 512, 256, 0.3
_LAG = 3
"""PESQ may take this many batches in the background. Fixed, so that the result does not depend on
speed."""
_REMEMBERED = 1000
"""Number of earlier outputs kept for replay: about 0.3 GB of windows of 2 s at 16 kHz."""
_HIGHEST, _LOWEST = {8000: 4.549, 16000: 4.644}, 1.0


class _Pending(NamedTuple):
    """A batch whose PESQ is being computed."""

    pairs: np.ndarray
    scores: list[Future[float]]


class Discriminator:
    """A discriminator with its optimiser and its state between the steps of the network.

    Parameters
    ----------
    settings
        As configured.
    rate
        Of the audio in Hz.
    """

    def __init__(self, settings: AdversarialSettings, rate: int) -> None:
        import keras

        self.settings, self.rate = settings, rate
        self.network = _network(settings)
        self._optimiser = keras.optimizers.Adam(settings.learning_rate)
        self._trained = keras.Sequential([keras.Input((None, None, 2)), self.network])
        self._trained.compile(optimizer=self._optimiser, loss="mse", jit_compile=False)
        self._optimiser.build(self.network.trainable_variables)
        self.network.trainable = False
        self._pool: ProcessPoolExecutor | None = None

    @property
    def variables(self) -> list[Any]:
        """Variables for the checkpoint, in addition to the weights of the discriminator's
        network."""
        return list(self._optimiser.variables)

    def loss(self, clean: Any, noisy: Any, enhanced: Any) -> Any:
        """The loss term of the denoiser for the discriminator's rating of its output [shape=(batch,
        samples) each]."""
        from keras import ops

        other = clean if self.settings.kind == "metric" else noisy
        rated = self.network(_seen(enhanced, other), training=False)
        return self.settings.weight * ops.mean(ops.square(rated - 1))

    def start_epoch(self, seed: int) -> None:
        """Forget the outputs of the previous epoch, so that an epoch depends only on its seed."""
        self._rng = np.random.default_rng(seed)
        self._waiting: deque[_Pending] = deque()
        self._past: deque[tuple[np.ndarray, float]] = deque(maxlen=_REMEMBERED)

    def learn(self, waves: np.ndarray, enhanced: np.ndarray) -> float | None:
        """Train the discriminator on a batch; returns the mean squared error of its ratings, or
        None while PESQ is being computed.

        Parameters
        ----------
        waves : np.ndarray [shape=(batch, samples, 2)]
            Noisy and clean.
        enhanced : np.ndarray [shape=(batch, samples)]
        """
        noisy, clean = waves[..., 0], waves[..., 1]
        if self.settings.kind == "least_squares":
            pairs = np.concatenate([_pairs(enhanced, noisy), _pairs(clean, noisy)])
            return self._fit(pairs, np.repeat([0.0, 1.0], len(noisy)))
        scores = [
            self._workers.submit(_quality, wanted, found, self.rate)
            for found in (enhanced, noisy)
            for wanted, found in zip(clean, found, strict=True)
        ]
        pairs = np.concatenate([_pairs(enhanced, clean), _pairs(noisy, clean)])
        self._waiting.append(_Pending(pairs, scores))
        if len(self._waiting) <= _LAG:
            return None
        ready = self._waiting.popleft()
        count = len(ready.pairs) // 2  # the outputs, then the noisy windows
        scored = list(zip(ready.pairs, [each.result() for each in ready.scores], strict=True))
        shown = [item for item in scored if np.isfinite(item[1])] + self._replayed(count)
        self._past.extend(item for item in scored[:count] if np.isfinite(item[1]))
        perfect = _pairs(ready.pairs[:count, :, 1], ready.pairs[:count, :, 1])
        pairs = np.concatenate(
            [perfect, *([np.stack([pair for pair, _ in shown])] if shown else [])]
        )
        return self._fit(pairs, np.array([1.0] * len(perfect) + [score for _, score in shown]))

    def _replayed(self, batch: int) -> list[tuple[np.ndarray, float]]:
        count = min(round(self.settings.replay * batch), len(self._past))
        chosen = self._rng.permutation(len(self._past))[:count]
        return [self._past[number] for number in chosen]

    def _fit(self, pairs: np.ndarray, wanted: np.ndarray) -> float:
        from keras import ops

        first, second = (ops.convert_to_tensor(pairs[..., k]) for k in (0, 1))
        self.network.trainable = True
        try:
            error = self._trained.train_on_batch(
                _seen(first, second), ops.convert_to_tensor(wanted[:, None].astype(np.float32))
            )
        finally:
            self.network.trainable = False
        return float(error)

    @property
    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Forked, they would share what TensorFlow holds.
            self._pool = ProcessPoolExecutor(
                self.settings.processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=start_worker,
                initargs=worker_arguments(),
            )
        return self._pool

    def scores(self, waves: np.ndarray, enhanced: np.ndarray) -> dict[str, list[float]]:
        """PESQ and SI-SDR in dB of each window that has them; arguments as for `learn`."""
        clean = waves[..., 1]
        jobs = [
            self._workers.submit(_pesq, wanted, found, self.rate)
            for wanted, found in zip(clean, enhanced, strict=True)
        ]
        levels = []
        for wanted, found in zip(clean, enhanced, strict=True):
            try:
                levels.append(si_sdr(wanted, found))
            except Undefined:
                continue
        return {"pesq": _finite(job.result() for job in jobs), "si_sdr": _finite(levels)}

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _network(settings: AdversarialSettings) -> keras.Model:
    import keras
    from keras import layers

    inputs = x = layers.Input((None, None, 2), dtype="float32")
    for filters in settings.filters:
        # Spectral normalisation keeps its rating smooth (Miyato et al., ICLR 2018).
        convolution = layers.Conv2D(filters, 5, strides=2, padding="same", dtype="float32")
        x = layers.SpectralNormalization(convolution, dtype="float32")(x)
        x = layers.LeakyReLU(negative_slope=0.2, dtype="float32")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)
    x = layers.Dense(32, dtype="float32")(x)
    x = layers.LeakyReLU(negative_slope=0.2, dtype="float32")(x)
    last = "sigmoid" if settings.kind == "metric" else "linear"
    rated = layers.Dense(1, activation=last, dtype="float32")(x)
    return keras.Model(inputs, rated, name="discriminator")


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=-1)


def _seen(first: Any, second: Any) -> Any:
    """The input of the discriminator for two batches of audio: their compressed magnitudes."""
    from keras import ops

    sides = [
        ops.power(ops.square(magnitude(stft(waves, _N_FFT, _HOP))) + 1e-8, _POWER / 2)
        for waves in (first, second)
    ]
    return ops.stack(sides, axis=-1)


def _pesq(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    try:
        return pesq(clean, estimate, rate, "wb" if rate == 16000 else "nb")
    except Undefined:
        return float("nan")


def _quality(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """PESQ from 0 to 1, NaN where it cannot be measured."""
    return (_pesq(clean, estimate, rate) - _LOWEST) / (_HIGHEST[rate] - _LOWEST)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]
