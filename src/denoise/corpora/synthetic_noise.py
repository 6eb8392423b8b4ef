"""The noise of the synthesised corpus: a function for each noise type, named in `NOISES`.

Each takes a random generator and returns `NOISE_SECONDS` of audio at `NOISE_RATE`, of any level.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import signal

NOISE_RATE = 16_000
"""Samples a second."""
NOISE_SECONDS = 5.0
"""Length of a recording."""

_SAMPLES = int(NOISE_RATE * NOISE_SECONDS)
_TIME = np.arange(_SAMPLES) / NOISE_RATE
Generator = np.random.Generator


def _coloured(rng: Generator, exponent: float) -> np.ndarray:
    """Gaussian noise whose power falls as 1/f^exponent (0 white, 1 pink, 2 brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(_SAMPLES))
    frequency = np.fft.rfftfreq(_SAMPLES, 1 / NOISE_RATE)
    spectrum *= np.maximum(frequency, 20.0) ** (-exponent / 2)
    noise = np.fft.irfft(spectrum, _SAMPLES)
    return noise / noise.std()


def _band(noise: np.ndarray, low: float, high: float) -> np.ndarray:
    filtered = signal.sosfilt(
        signal.butter(2, [low, high], "bandpass", fs=NOISE_RATE, output="sos"), noise
    )
    return filtered / (filtered.std() + 1e-12)


def _slow(rng: Generator, rate: float) -> np.ndarray:
    """A smooth random envelope between about 0 and 1 that changes `rate` times a second."""
    knots = rng.uniform(0, 1, max(4, int(NOISE_SECONDS * rate) + 4))
    return np.interp(_TIME, np.linspace(0, NOISE_SECONDS, len(knots)), knots)


def _events(
    times: np.ndarray, event: Callable[[float], np.ndarray], background: float = 0.0
) -> np.ndarray:
    out = np.zeros(_SAMPLES)
    for time in times:
        sound = event(time)
        start = int(time * NOISE_RATE)
        sound = sound[: _SAMPLES - start]
        out[start : start + len(sound)] += sound
    return out + background


def _decay(seconds: float) -> np.ndarray:
    return np.exp(-np.arange(int(6 * seconds * NOISE_RATE)) / (seconds * NOISE_RATE))


def _rain(rng: Generator) -> np.ndarray:
    hiss = _band(_coloured(rng, rng.uniform(0.3, 0.9)), rng.uniform(300, 900), 7000)
    drops = _events(
        rng.uniform(0, NOISE_SECONDS, int(rng.uniform(100, 400))),
        lambda _: rng.exponential(1.5) * rng.standard_normal(200) * _decay(0.002)[:200].mean(),
    )
    return hiss * (0.8 + 0.2 * _slow(rng, 1)) + drops


def _thunder(rng: Generator) -> np.ndarray:
    rumble = _band(_coloured(rng, 2), 25, rng.uniform(150, 350))
    claps = rng.uniform(0, 3.0, rng.integers(1, 4))
    envelope = sum(
        np.where(clap < _TIME, np.exp(-(_TIME - clap) / rng.uniform(0.6, 1.6)), 0) for clap in claps
    )
    return rumble * (0.1 + envelope) + 0.1 * _rain(rng)


def _wind(rng: Generator) -> np.ndarray:
    low = rng.uniform(80, 250)
    gusts = _slow(rng, rng.uniform(0.7, 1.5)) ** 2
    return _band(_coloured(rng, 1.5), 40, 1200) * (0.2 + gusts) + 0.4 * gusts * _band(
        _coloured(rng, 0.5), low * 2, low * 4
    )


def _clock(rng: Generator) -> np.ndarray:
    period, pitch = rng.uniform(0.25, 0.6), rng.uniform(1500, 4000)
    tick = _decay(0.004) * np.sin(2 * np.pi * pitch * np.arange(len(_decay(0.004))) / NOISE_RATE)
    tock = 0.7 * tick[::-1] * _decay(0.004)
    times = np.arange(rng.uniform(0, period), NOISE_SECONDS, period)
    ticks = _events(times, lambda t: tick if round(t / period) % 2 else tock)
    return ticks + 0.01 * _coloured(rng, 1)


def _alarm(rng: Generator) -> np.ndarray:
    low, high = rng.uniform(500, 1000), rng.uniform(1200, 2800)
    rate = rng.uniform(1, 5)
    swing = (
        signal.square(2 * np.pi * rate * _TIME)
        if rng.random() < 0.5
        else np.sin(2 * np.pi * rate * _TIME)
    )
    frequency = low + (high - low) * (swing + 1) / 2
    phase = 2 * np.pi * np.cumsum(frequency) / NOISE_RATE
    return np.sin(phase) + 0.3 * np.sin(2 * phase) + 0.1 * np.sin(3 * phase)


def _bells(rng: Generator) -> np.ndarray:
    base = rng.uniform(300, 900)
    ratios = np.array([0.5, 1, 1.19, 1.56, 2, 2.51, 2.66, 3.01, 4.1])

    def strike(_: float) -> np.ndarray:
        envelope = _decay(rng.uniform(0.3, 0.7))
        time = np.arange(len(envelope)) / NOISE_RATE
        partials = np.sin(2 * np.pi * base * ratios[:, None] * time + rng.uniform(0, 6, (9, 1)))
        return rng.uniform(0.4, 1) * envelope * (partials / ratios[:, None]).sum(0)

    return _events(np.sort(rng.uniform(0, 4.5, rng.integers(3, 9))), strike)


def _footsteps(rng: Generator) -> np.ndarray:
    period, centre = rng.uniform(0.4, 0.7), rng.uniform(120, 500)
    colour = _band(_coloured(rng, 0.5), centre, centre * rng.uniform(4, 8))

    def step(time: float) -> np.ndarray:
        envelope = _decay(rng.uniform(0.02, 0.05))
        start = rng.integers(0, _SAMPLES - len(envelope))
        return rng.uniform(0.6, 1) * envelope * colour[start : start + len(envelope)]

    times = np.arange(rng.uniform(0, period), NOISE_SECONDS, period)
    times = np.clip(times + rng.normal(0, 0.02, len(times)), 0, NOISE_SECONDS - 0.01)
    return _events(times, step) + 0.01 * _coloured(rng, 1)


def _saw(rng: Generator) -> np.ndarray:
    stroke = rng.uniform(1.5, 3)
    envelope = np.abs(np.sin(np.pi * stroke * _TIME)) ** rng.uniform(0.5, 1.5)
    low = rng.uniform(700, 1500)
    teeth = 1 + 0.6 * signal.sawtooth(2 * np.pi * rng.uniform(60, 160) * _TIME)
    return _band(_coloured(rng, 0.5), low, low * 4) * envelope * teeth


def _harmonics(rng: Generator, base: float, count: int, slope: float) -> np.ndarray:
    wobble = 1 + 0.01 * (_slow(rng, 3) - 0.5)
    phase = 2 * np.pi * np.cumsum(base * wobble) / NOISE_RATE
    return sum(
        rng.uniform(0.4, 1) * k**-slope * np.sin(k * phase + rng.uniform(0, 6))
        for k in range(1, count + 1)
        if k * base < NOISE_RATE / 2.2
    )


def _vacuum(rng: Generator) -> np.ndarray:
    motor = _harmonics(rng, rng.uniform(180, 420), 12, rng.uniform(0.6, 1.2))
    return _band(_coloured(rng, 0.7), 150, 6500) + rng.uniform(0.2, 0.6) * motor


def _insects(rng: Generator) -> np.ndarray:
    out = np.zeros(_SAMPLES)
    for _ in range(rng.integers(2, 5)):
        pitch, rate = rng.uniform(3000, 5500), rng.uniform(15, 60)
        pulse = signal.square(2 * np.pi * rate * _TIME, rng.uniform(0.3, 0.6)) > 0
        chirp = _slow(rng, rng.uniform(2, 5)) > rng.uniform(0.2, 0.5)
        gate = signal.lfilter([0.02], [1, -0.98], (pulse & chirp).astype(float))
        out += rng.uniform(0.4, 1) * gate * np.sin(2 * np.pi * pitch * _TIME)
    return out + 0.02 * _coloured(rng, 1)


def _engine(rng: Generator) -> np.ndarray:
    motor = _harmonics(rng, rng.uniform(30, 90), 30, rng.uniform(0.6, 1.0))
    return motor + rng.uniform(0.3, 1) * _band(_coloured(rng, 1), 50, 2500) * (
        0.7 + 0.3 * _slow(rng, 4)
    )


def _babble(rng: Generator) -> np.ndarray:
    """Many vowel-like voices at once: buzzing sources through moving formants."""
    out = np.zeros(_SAMPLES)
    for _ in range(6):
        buzz = signal.sawtooth(
            2 * np.pi * np.cumsum(rng.uniform(90, 240) * (0.9 + 0.2 * _slow(rng, 4))) / NOISE_RATE
        )
        syllables = np.clip(_slow(rng, rng.uniform(5, 9)) * 1.6 - 0.4, 0, 1)
        for low, high in ((300, 900), (900, 2300), (2200, 3200)):
            centre = rng.uniform(low, high)
            out += _band(buzz, centre * 0.85, centre * 1.15) * syllables / centre * 500
    return out


def _hum(rng: Generator) -> np.ndarray:
    base = rng.choice([50.0, 60.0])
    return _harmonics(rng, base, 16, rng.uniform(0.3, 0.9)) + 0.1 * _coloured(rng, 1)


NOISES: dict[str, Callable[[Generator], np.ndarray]] = {
    "rain": _rain,
    "thunder": _thunder,
    "wind": _wind,
    "clock": _clock,
    "alarm": _alarm,
    "bells": _bells,
    "footsteps": _footsteps,
    "saw": _saw,
    "vacuum": _vacuum,
    "insects": _insects,
    "engine": _engine,
    "babble": _babble,
    "hum": _hum,
    "white": lambda rng: _coloured(rng, rng.uniform(0, 0.2)),
    "pink": lambda rng: _coloured(rng, rng.uniform(0.8, 1.2)),
}
