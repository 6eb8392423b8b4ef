"""The embedded corpus: eSpeak NG speech and generated noise, made on this machine in seconds.

It exists so that the whole workflow can be run, tested and learned without a download.  Subset
``speech`` has 24 speakers (voice variant, pitch, range, rate and accent differ), ``noise`` has
recordings of 15 kinds.  Both are written as WAV files, like any corpus, and are deterministic.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from scipy import signal

from denoise.corpora.base import Corpus, index_table
from denoise.errors import UserError
from denoise.parallel import progress
from denoise.settings import item_seed

UTTERANCES = 24
"""Utterances of each speaker."""
RECORDINGS = 8
"""Recordings of each noise kind."""
NOISE_RATE = 16_000
NOISE_SECONDS = 5.0

# Variants with breath noise (f2, f3, f5, Alicia, …) differ from run to run, so none is used.
# Speaker: (sex, eSpeak NG voice and variant, pitch, pitch range, words a minute).
SPEAKERS = {
    "s01": ("M", "en-us+m1", 45, 50, 160),
    "s02": ("F", "en-us+f1", 55, 60, 165),
    "s03": ("M", "en+m2", 35, 45, 150),
    "s04": ("F", "en+f4", 60, 55, 175),
    "s05": ("M", "en-us+m3", 40, 60, 180),
    "s06": ("F", "en-us+belinda", 50, 50, 155),
    "s07": ("M", "en-gb-scotland+m4", 50, 55, 165),
    "s08": ("F", "en-gb-scotland+f4", 65, 50, 170),
    "s09": ("M", "en-gb-x-rp+m5", 30, 40, 145),
    "s10": ("F", "en-gb-x-rp+linda", 58, 65, 160),
    "s11": ("M", "en-us+m6", 55, 50, 190),
    "s12": ("F", "en-us-nyc+linda", 52, 45, 170),
    "s13": ("M", "en-029+m7", 42, 60, 155),
    "s14": ("F", "en-029+f1", 62, 60, 165),
    "s15": ("M", "en-gb-x-gbclan+m8", 38, 50, 170),
    "s16": ("F", "en-gb-x-gbclan+Annie", 56, 55, 150),
    "s17": ("M", "en-gb-x-gbcwmd+david", 46, 45, 175),
    "s18": ("F", "en-gb-x-gbcwmd+belinda", 54, 50, 180),
    "s19": ("M", "en-us+Michael", 48, 55, 160),
    "s20": ("F", "en-us+Annie", 60, 50, 155),
    "s21": ("M", "en+benjamin", 36, 60, 165),
    "s22": ("F", "en+Andrea", 50, 60, 170),
    "s23": ("M", "en-us-nyc+john", 52, 45, 150),
    "s24": ("F", "en-us+Andrea", 64, 55, 185),
}


def sentences() -> list[str]:
    """The sentences that are spoken, a line each of ``sentences.txt``."""
    text = resources.files("denoise.corpora").joinpath("sentences.txt").read_text(encoding="utf-8")
    return text.splitlines()


def build(folder: Path, subset: str) -> pd.DataFrame:
    """Make the recordings of `subset` (``speech`` or ``noise``) in `folder` and index them."""
    return _build_speech(folder) if subset == "speech" else _build_noise(folder)


def _build_speech(folder: Path) -> pd.DataFrame:
    texts = sentences()
    jobs = []
    rows: list[dict[str, object]] = []
    for speaker, (sex, voice, pitch, pitch_range, rate) in SPEAKERS.items():
        (folder / speaker).mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(item_seed("synthetic", speaker)).permutation(len(texts))
        utterances = []
        for number, text in enumerate(order[:UTTERANCES]):
            path = folder / speaker / f"{speaker}_{number:03d}.wav"
            utterances.append((texts[text], str(path)))
            rows.append(
                {
                    "id": path.stem,
                    "path": path.relative_to(folder).as_posix(),
                    "speaker": speaker,
                    "group": speaker,
                    "sex": sex,
                }
            )
        voice_settings = {"voice": voice, "pitch": pitch, "range": pitch_range, "rate": rate}
        jobs.append({**voice_settings, "utterances": utterances})
    run = subprocess.run(
        [sys.executable, "-m", "denoise.corpora.espeak_tool"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise UserError(f"synthetic: eSpeak NG failed: {run.stderr.strip()[-300:]}")
    return index_table(rows)


def _build_noise(folder: Path) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for kind, make in progress(NOISES.items(), "noise"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(RECORDINGS):
            name = f"{kind}_{number}"
            path = folder / kind / f"{name}.wav"
            audio = make(np.random.default_rng(item_seed("synthetic", name)))
            audio = audio - audio.mean()
            audio *= 0.5 / max(np.abs(audio).max(), 1e-9)
            soundfile.write(path, audio, NOISE_RATE, subtype="PCM_16")
            rows.append(
                {
                    "id": name,
                    "path": path.relative_to(folder).as_posix(),
                    "kind": kind,
                    "group": f"{kind}_{number}",
                }
            )
    return index_table(rows)


# Generators of noise: each takes a random generator and returns NOISE_SECONDS at NOISE_RATE.

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

CORPUS = Corpus(
    name="synthetic",
    licence="generated on this machine (speech by eSpeak NG, GPL-3.0, run as a separate tool)",
    homepage="https://github.com/espeak-ng/espeak-ng",
    subsets={"speech": (), "noise": ()},
    build=build,
)
