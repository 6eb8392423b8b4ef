"""The effects of the augmentation, and generated noise."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy import fft

from denoise import audio

_POLE = 3 / 8
_EXCITATION_DB = (-36.0, -14.0)
_RUMBLE_HZ = (30, 120)
Generator = np.random.Generator


@functools.lru_cache(64)
def _octaves(size: int, rate: int) -> np.ndarray:
    """Octaves above 40 Hz of the frequencies of a spectrum [shape=(size // 2 + 1,)]."""
    return np.log2(np.maximum(fft.rfftfreq(size, 1 / rate), 40) / 40)


@functools.lru_cache(64)
def _hann(samples: int) -> np.ndarray:
    return np.hanning(samples).astype(np.float32)


@functools.lru_cache(128)
def _butterworth(order: int, edges: float | tuple[float, float], kind: str) -> np.ndarray:
    from scipy import signal

    return signal.butter(order, edges, kind, output="sos")


def perturb_speed(wave: np.ndarray, samples: int) -> np.ndarray:
    """`wave` [shape=(any,)] resampled to [shape=(samples,)]; speed and pitch change together."""
    import soxr

    played = soxr.resample(wave, len(wave), samples, quality="LQ")
    return np.pad(played[:samples], (0, max(samples - len(played), 0)))


def loudness(wave: np.ndarray) -> float:
    return max(float(audio.rms(wave)), 1e-6)


def filter_randomly(wave: np.ndarray, rng: Generator) -> np.ndarray:
    """`wave` [shape=(samples,)] through a random filter, at its old RMS (Valin, MMSP 2018, eq. 7).

    The filter is ``(1 + r1/z + r2/z²) / (1 + r3/z + r4/z²)`` with all of r from -3/8 to 3/8.
    """
    from scipy import signal  # takes 50 MB, which a training without it need not spend

    above, below = rng.uniform(-_POLE, _POLE, (2, 2))
    filtered = signal.lfilter([1, *above], [1, *below], wave)
    return filtered * (float(audio.rms(wave)) / loudness(filtered))


def excite_harmonics(wave: np.ndarray, rng: Generator) -> np.ndarray:
    """`wave` [shape=(samples,)] with added overtones: a middle band of it is rectified, high-passed
    at 3/16 to 5/16 of the sampling rate, and added 14 to 36 dB below the level of `wave` (Makhoul &
    Berouti, ICASSP 1979)."""
    from scipy import signal

    middle = _butterworth(2, (1 / 8, 1 / 2), "bandpass")
    # One of 65 filters, which are cached: designing one takes as long as applying it.
    above = _butterworth(4, 3 / 8 + rng.integers(65) / 256, "highpass")
    overtones = signal.sosfilt(above, np.abs(signal.sosfilt(middle, wave)))
    level = 10 ** (rng.uniform(*_EXCITATION_DB) / 20) * audio.rms(wave)
    return wave + level / loudness(overtones) * overtones


def shaped_noise(samples: int, rate: int, rng: Generator) -> np.ndarray:
    """Gaussian noise [shape=(samples,)] with a random slope of 0 to -9 dB an octave, smooth random
    peaks and dips of 6 dB and, half of the time, an envelope that moves as far."""
    size = fft.next_fast_len(samples, real=True)
    octaves = _octaves(size, rate)
    knots = np.linspace(0, octaves[-1], 12)
    shape = rng.uniform(-9, 0) * octaves + np.interp(octaves, knots, 6 * rng.standard_normal(12))
    noise = _filtered_noise(10 ** (shape / 20), size, rng)[:samples]
    if rng.random() < 0.5:
        points = 2 + int(rng.uniform(0.5, 8) * samples / rate)
        levels = 6 * rng.standard_normal(points)
        moves = np.interp(np.arange(samples), np.linspace(0, samples, points), levels)
        noise = noise * 10 ** (moves / 20)
    return noise / loudness(noise)


def rumble(samples: int, rate: int, rng: Generator) -> np.ndarray:
    """Gaussian noise [shape=(samples,)] at an RMS of 1 from 10 Hz to a corner frequency of 30 to
    120 Hz, above which it falls by 24 dB per octave, like the rumble of buildings, traffic and
    wind."""
    size = fft.next_fast_len(samples, real=True)
    frequency = fft.rfftfreq(size, 1 / rate)
    corner = 2 ** rng.uniform(*np.log2(_RUMBLE_HZ))
    shape = (frequency > 10) / np.sqrt(1 + (frequency / corner) ** 8)
    noise = _filtered_noise(shape, size, rng)[:samples]
    return noise / loudness(noise)


def _filtered_noise(gains: np.ndarray, size: int, rng: Generator) -> np.ndarray:
    """Gaussian noise [shape=(size,)], float32, with the `gains` of its spectrum's bins."""
    white = rng.standard_normal(size, np.float32)
    return fft.irfft(fft.rfft(white) * gains.astype(np.float32), size)


def transfer_spectrum(wave: np.ndarray, model: np.ndarray, rate: int) -> np.ndarray:
    """`wave` [shape=(samples,)] filtered so that its bands, six an octave between 40 Hz and half of
    `rate`, have the levels of those of `model` [shape=(samples,)], within 40 dB of change."""
    size = fft.next_fast_len(len(wave), real=True)
    # Without the window, the step between their ends would colour the treble of both.
    spectra = (fft.rfft(part * _hann(len(part)), size) for part in (wave, model))
    octaves = _octaves(size, rate)
    band = (6 * octaves).astype(int)
    power, wanted = (
        np.bincount(band, spectrum.real**2 + spectrum.imag**2) / np.maximum(np.bincount(band), 1)
        for spectrum in spectra
    )
    faint = 1e-9 * max(power.max(), wanted.max(), 1e-12)
    change = np.clip(10 * np.log10((wanted + faint) / (power + faint)), -40, 40)
    gain = 10 ** (np.interp(6 * octaves, np.arange(len(change)) + 0.5, change) / 20)
    return fft.irfft(fft.rfft(wave, size) * gain.astype(np.float32), size)[: len(wave)]


def _impacts(samples: int, rate: int, rng: Generator) -> np.ndarray:
    """Impacts [shape=(samples,)] at an RMS of 1, like those of dishes, keys and steps: 1 to 12
    strokes per second on one to three objects, each a sum of 2 to 8 modes that decay in 2 to 200
    ms."""
    sound = np.zeros(samples)
    for _ in range(rng.integers(1, 4)):
        modes = rng.integers(2, 9)
        frequency = 2 ** rng.uniform(np.log2(100), np.log2(0.45 * rate), modes)
        longest = rate * 10 ** rng.uniform(np.log10(0.002), np.log10(0.2))
        decay = longest * rng.uniform(0.3, 1, modes)
        time = np.arange(min(int(6 * decay.max()) + 1, samples))
        waves = np.exp(-time / decay[:, None]) * np.sin(
            2 * np.pi * frequency[:, None] / rate * time + rng.uniform(0, 2 * np.pi, (modes, 1))
        )
        strokes = 1 + rng.poisson(10 ** rng.uniform(0, 1.1) * samples / rate)
        for start in rng.integers(0, samples, strokes):
            stroke = rng.uniform(0.2, 1, modes) @ waves * 10 ** (rng.uniform(-20, 0) / 20)
            kept = min(len(stroke), samples - start)
            sound[start : start + kept] += stroke[:kept]
    return sound / loudness(sound)


def _hum(samples: int, rate: int, rng: Generator) -> np.ndarray:
    """The hum of a machine [shape=(samples,)] at an RMS of 1: harmonics of 30 to 500 Hz, 3 to 12 dB
    weaker with each octave, whose pitch and strength drift."""
    points = 2 + int(4 * samples / rate)
    places = np.linspace(0, samples, points)
    drift = 2 ** (rng.uniform(0, 0.1) * np.cumsum(rng.standard_normal(points)) / np.sqrt(points))
    base = 2 ** rng.uniform(np.log2(30), np.log2(500))
    pitch = base * np.interp(np.arange(samples), places, drift)
    turning = np.exp(2j * np.pi * np.cumsum(pitch) / rate).astype(np.complex64)
    slope = rng.uniform(3, 12)
    harmonics = np.arange(1, min(int(0.45 * rate / pitch.max()), 40) + 1)
    weights = 10 ** ((-slope * np.log2(harmonics) + rng.normal(0, 6, len(harmonics))) / 20)
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    # The sum of weight * exp(i phase) * turning ** harmonic, by Horner's rule.
    total = np.zeros(samples, np.complex64)
    for weight in (weights * np.exp(1j * phases))[::-1]:
        total = (total + np.complex64(weight)) * turning
    sound = total.real.astype(float)
    moves = np.interp(np.arange(samples), places, rng.uniform(0, 4) * rng.standard_normal(points))
    sound = sound * 10 ** (moves / 20)
    return sound / loudness(sound)


def reverberate(wave: np.ndarray, rate: int, rng: Generator) -> np.ndarray:
    """`wave` [shape=(samples,)] with generated reverberation: the impulse response is 1, followed
    by Gaussian noise that decays exponentially, 10 dB stronger to 5 dB weaker than the 1.

    The convolution is circular: the sound before the window is taken from its end.
    """
    time = np.arange(1, len(wave), dtype=np.float32) / np.float32(rate)
    tail = rng.standard_normal(len(time), np.float32)
    tail *= np.exp(np.float32(-3 * np.log(10) / rng.uniform(0.2, 1)) * time)
    tail *= np.float32(10 ** (rng.uniform(-5, 10) / 20) / np.sqrt(np.square(tail).sum()))
    response = np.concatenate([np.ones(1, np.float32), tail])
    return fft.irfft(fft.rfft(wave) * fft.rfft(response), len(wave))


def mask_band(waves: np.ndarray, rate: int, most: float, rng: Generator) -> np.ndarray:
    """`waves` [shape=(…, samples)] without a random band of up to `most` of the mel scale."""
    from librosa import hz_to_mel, mel_to_hz  # slow to import

    top = hz_to_mel(rate / 2, htk=True)
    width = rng.uniform(0, most) * top
    low = rng.uniform(0, top - width)
    edges = mel_to_hz(np.array([low, low + width]), htk=True)
    frequency = np.fft.rfftfreq(waves.shape[-1], 1 / rate)
    kept = (frequency < edges[0]) | (frequency >= edges[1])
    return np.fft.irfft(np.fft.rfft(waves) * kept, waves.shape[-1])


def generated_sounds(samples: int, rate: int, rng: Generator) -> np.ndarray:
    """Impacts or the hum of a machine [shape=(samples,)] at an RMS of 1."""
    return (_impacts if rng.random() < 0.6 else _hum)(samples, rate, rng)


CHOSEN_BY_NAME = ("EFFECTS",)

EFFECTS: dict[str, Callable[..., np.ndarray]] = {
    "speech_speed_perturbation": perturb_speed,
    "noise_speed_perturbation": perturb_speed,
    "spectrum_transfer": transfer_spectrum,
    "harmonic_excitation": excite_harmonics,
    "random_filter": filter_randomly,
    "shaped_noise": shaped_noise,
    "transients": generated_sounds,
    "rumble": rumble,
    "reverberation": reverberate,
    "band_mask": mask_band,
}
"""Setting of the augmentation → its effect."""
