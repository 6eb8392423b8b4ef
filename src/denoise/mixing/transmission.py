"""Band limits, clipping, quantisation, codecs and packet loss."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

from denoise import audio

_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MP3_DELAY = 1105
"""Delay of LAME's encoder (576 samples) and of a decoder (529). libsndfile removes it if the frames
have room for that information."""
_HIGHEST_CODED = 48000
_TELEPHONE_RATE = 8000
CODECS = ("mp3", "vorbis", "opus", "gsm", "alaw")


def limit_band(
    wave: np.ndarray, rate: int, high_hz: float, low_hz: float | None = None
) -> np.ndarray:
    """`wave` [shape=(samples,)] without the frequencies above `high_hz` and below `low_hz`.

    Butterworth filters of fifth order, forwards and backwards: no delay, 6 dB at the edges, and 60
    dB per octave beyond them.
    """
    from scipy import signal

    if high_hz < 0.49 * rate:
        low_pass = signal.butter(5, high_hz, "lowpass", output="sos", fs=rate)
        wave = signal.sosfiltfilt(low_pass, wave)
    if low_hz is not None and low_hz < 0.49 * rate:
        high_pass = signal.butter(5, low_hz, "highpass", output="sos", fs=rate)
        wave = signal.sosfiltfilt(high_pass, wave)
    return wave.astype(np.float32)


def clip(wave: np.ndarray, rate: int, db: float) -> np.ndarray:
    """`wave` [shape=(samples,)] clipped at `db` below its peak."""
    most = np.abs(wave).max() * 10 ** (-db / 20)
    return np.clip(wave, -most, most)


def quantise(wave: np.ndarray, rate: int, bits: int) -> np.ndarray:
    """`wave` [shape=(samples,)] quantised to `bits` bits, with its peak at full scale."""
    step = np.abs(wave).max() / (2 ** (bits - 1) - 1)
    return (np.round(wave / step) * step).astype(np.float32) if step > 0 else wave


def lose_packets(
    wave: np.ndarray, rate: int, lost: float, packet_ms: float, burst: float, seed: int
) -> np.ndarray:
    """`wave` [shape=(samples,)] with silence for the packets that a network loses: a share of
    `lost`, `burst` of them at a time, both on average (Gilbert, Bell System Technical Journal 39,
    1960)."""
    size = max(1, round(packet_ms * rate / 1000))
    count = -(-len(wave) // size)
    chances = np.random.default_rng(seed).random(count + 1)
    to_loss = min(1.0, lost / (1 - lost) / burst)
    gone, kept = bool(chances[0] < lost), wave.astype(np.float32)
    for number in range(count):
        if gone:
            kept[number * size : (number + 1) * size] = 0
        gone = bool(chances[number + 1] >= 1 / burst if gone else chances[number + 1] < to_loss)
    return kept


def code(
    wave: np.ndarray,
    rate: int,
    name: str,
    kbit_s: float | None = None,
    quality: float | None = None,
) -> np.ndarray:
    """`wave` [shape=(samples,)] as it comes back from a codec of `CODECS`.

    The delay of the codec is removed; up to 0.05 ms remain with Opus.
    If a codec does not support `rate`, the audio is resampled to a rate that it supports.

    Parameters
    ----------
    kbit_s
        The bit rate of mp3 and opus; the next that they have is taken.
    quality
        Of vorbis, from 0 to 1.

    Raises
    ------
    soundfile.LibsndfileError
        If this libsndfile was built without the codec.
    """
    own = _rate_of_codec(name, rate)
    loudest = max(float(np.abs(wave).max()), 1e-9)
    # Near full scale: integer codecs cannot exceed it, and quiet audio is coded like loud audio.
    coded = audio.resample(wave * np.float32(0.9 / loudest), rate, own)
    back = _through_codec(coded, own, name, _compression(name, own, kbit_s, quality))
    back = audio.resample(back, own, rate)[: len(wave)]
    back = np.pad(back, (0, len(wave) - len(back)))
    return (back * np.float32(loudest / 0.9)).astype(np.float32)


def _rate_of_codec(name: str, rate: int) -> int:
    """The sampling rate of a codec for audio of `rate`."""
    if name in {"gsm", "alaw"}:
        return _TELEPHONE_RATE
    most = min(rate, _HIGHEST_CODED)
    known = {"opus": _OPUS_RATES, "mp3": _MPEG_RATES}.get(name, (most,))
    return next(one for one in known if one >= most)


def _compression(
    name: str, rate: int, kbit_s: float | None, quality: float | None
) -> dict[str, Any]:
    """libsndfile's options for a bit rate or a quality; its compression level is 0 for the best
    quality and 1 for the lowest."""
    if quality is not None:
        return {"compression_level": 1 - quality}
    if kbit_s is None:
        return {}
    low, high = 6, 256
    if name == "mp3":  # MPEG-1, MPEG-2 and MPEG-2.5 have different bit rates
        low, high = (32, 320) if rate >= 32000 else (8, 160) if rate >= 16000 else (8, 64)
    # At 1 there is no MP3.
    level = min((high - min(max(kbit_s, low), high)) / (high - low), 0.99)
    return {"compression_level": level} | ({"bitrate_mode": "CONSTANT"} if name == "mp3" else {})


def _through_codec(wave: np.ndarray, rate: int, name: str, options: dict[str, Any]) -> np.ndarray:
    """`wave`, coded and decoded by libsndfile."""
    kind, subtype = {
        "mp3": ("MP3", "MPEG_LAYER_III"),
        "vorbis": ("OGG", "VORBIS"),
        "opus": ("OGG", "OPUS"),
        "gsm": ("WAV", "GSM610"),
        "alaw": ("WAV", "ALAW"),
    }[name]
    with io.BytesIO() as coded:
        soundfile.write(coded, wave, rate, format=kind, subtype=subtype, **options)
        coded.seek(0)
        back, _ = soundfile.read(coded, dtype="float32")
    return back[_MP3_DELAY:] if name == "mp3" and len(back) > len(wave) else back


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "band_limit": limit_band,
    "clipping": clip,
    "quantisation": quantise,
    "codec": code,
    "packet_loss": lose_packets,
}
"""Kind of degradation → the function that applies it."""

BOTH_SIDES = ("band_limit", "codec")
"""The kinds that are applied to the clean target too."""
