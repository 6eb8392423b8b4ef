"""Degradations of telephones, recorders and networks, applied after speech and noise are mixed.

Each kind is applied to a share of the mixtures, with a strength drawn from its range by the seed of
the mixture.  Band limits and codecs are applied to the clean target too, so that a network is not
asked to restore what is lost; clipping, quantisation and packet loss to the noisy input alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from denoise.core.errors import unknown
from denoise.core.settings import Settings
from denoise.mixing.transmission import BOTH_SIDES, CODECS, KINDS

Generator = np.random.Generator
Drawn = dict[str, dict[str, Any]]
"""Kind of degradation → its parameters, in the order of application."""


def _check_range(name: str, pair: tuple[float, float]) -> None:
    if pair[0] > pair[1]:
        raise ValueError(f"{name} {list(pair)} must go from low to high")


class KindSettings(Settings):
    """Settings of every kind of degradation."""

    share: float = Field(0, ge=0, le=1)
    """Share of the mixtures."""


class BandLimitSettings(KindSettings):
    """Band limits of recorders and telephones, for noisy and clean."""

    high_hz: tuple[float, float] = (3000, 7000)
    """Range of the cut-off frequency of the low-pass filter in Hz, drawn log-uniformly."""
    low_hz: tuple[float, float] | None = None
    """Range of the cut-off frequency of a high-pass filter in Hz; default none."""

    @model_validator(mode="after")
    def _check(self) -> BandLimitSettings:
        for name in ("high_hz", "low_hz"):
            pair = getattr(self, name)
            if pair is not None:
                _check_range(name, pair)
                if pair[0] <= 0:
                    raise ValueError(f"{name} {list(pair)} must be greater than 0")
        if self.low_hz is not None and self.low_hz[1] >= self.high_hz[0]:
            raise ValueError(
                f"low_hz {list(self.low_hz)} must lie below high_hz {list(self.high_hz)}"
            )
        return self


class ClippingSettings(KindSettings):
    """Clipping by an overloaded recorder, for the noisy side."""

    db: tuple[float, float] = (3, 15)
    """Range of the distance, in dB, from the clipping level up to the peak."""

    @model_validator(mode="after")
    def _check(self) -> ClippingSettings:
        _check_range("db", self.db)
        if not 0 <= self.db[0] <= self.db[1] <= 60:
            raise ValueError(f"db {list(self.db)} must lie within 0 and 60")
        return self


class QuantisationSettings(KindSettings):
    """Few bits per sample, for the noisy side."""

    bits: tuple[int, int] = (6, 12)
    """Range of the bits per sample; the peak is full scale."""

    @model_validator(mode="after")
    def _check(self) -> QuantisationSettings:
        _check_range("bits", self.bits)
        if not 2 <= self.bits[0] <= self.bits[1] <= 16:
            raise ValueError(f"bits {list(self.bits)} must lie within 2 and 16")
        return self


class CodecSettings(KindSettings):
    """Lossy coding, of noisy and clean, each by itself."""

    names: tuple[str, ...] = CODECS
    """The codecs to draw from: `mp3`, `vorbis`, `opus`, and, at 8 kHz as on telephones, `gsm` (GSM
    06.10) and `alaw` (ITU-T G.711)."""
    kbit_s: tuple[float, float] = (12, 64)
    """Range of the bit rate of `mp3` and `opus` in kbit/s, drawn log-uniformly. The quality
    of `vorbis` is drawn uniformly instead; `gsm` has 13 kbit/s, `alaw` 64."""

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in CODECS:
                raise unknown("codec", name, CODECS)
        if not names:
            raise ValueError("names must hold at least one codec")
        return names

    @model_validator(mode="after")
    def _check(self) -> CodecSettings:
        _check_range("kbit_s", self.kbit_s)
        if not 1 <= self.kbit_s[0] <= self.kbit_s[1] <= 1000:
            raise ValueError(f"kbit_s {list(self.kbit_s)} must lie within 1 and 1000")
        return self


class PacketLossSettings(KindSettings):
    """Packets that a network lost, silent on the noisy side."""

    lost: tuple[float, float] = (0.01, 0.15)
    """Range of the share of lost packets."""
    packet_ms: float = Field(20, ge=1, le=200)
    """Duration of a packet in ms."""
    burst: float = Field(2, ge=1, le=50)
    """Average number of consecutive lost packets."""

    @model_validator(mode="after")
    def _check(self) -> PacketLossSettings:
        _check_range("lost", self.lost)
        if not 0 <= self.lost[0] <= self.lost[1] <= 0.9:
            raise ValueError(f"lost {list(self.lost)} must lie within 0 and 0.9")
        if self.lost[1] > self.burst / (1 + self.burst):
            raise ValueError(
                f"lost {self.lost[1]:g} must be at most {self.burst / (1 + self.burst):.2g} with "
                f"bursts of {self.burst:g} packets, between which one arrives: lower it, or raise "
                "burst"
            )
        return self


class DegradationSettings(Settings):
    """Degradations, each of a share of the mixtures."""

    band_limit: BandLimitSettings = BandLimitSettings()
    """Low-pass or band-pass filters."""
    clipping: ClippingSettings = ClippingSettings()
    """Clipped samples."""
    quantisation: QuantisationSettings = QuantisationSettings()
    """Few bits per sample."""
    codec: CodecSettings = CodecSettings()
    """Lossy coding."""
    packet_loss: PacketLossSettings = PacketLossSettings()
    """Lost packets."""

    @property
    def active(self) -> bool:
        """Whether any mixture is degraded."""
        return any(getattr(self, kind).share for kind in type(self).model_fields)

    def draw(self, rng: Generator) -> Drawn:
        """Draw the degradations of one mixture."""
        return {
            kind: _DRAWS[kind](getattr(self, kind), rng)
            for kind in type(self).model_fields
            if getattr(self, kind).share and rng.random() < getattr(self, kind).share
        }


def _even_in_octaves(pair: tuple[float, float], rng: Generator) -> float:
    return round(float(np.exp(rng.uniform(*np.log(pair)))), 1)


def _draw_band(settings: BandLimitSettings, rng: Generator) -> dict[str, Any]:
    drawn = {"high_hz": _even_in_octaves(settings.high_hz, rng)}
    if settings.low_hz is not None:
        drawn["low_hz"] = _even_in_octaves(settings.low_hz, rng)
    return drawn


def _draw_codec(settings: CodecSettings, rng: Generator) -> dict[str, Any]:
    name = settings.names[rng.integers(len(settings.names))]
    kbit_s, quality = _even_in_octaves(settings.kbit_s, rng), round(float(rng.random()), 2)
    told = {"mp3": {"kbit_s": kbit_s}, "opus": {"kbit_s": kbit_s}, "vorbis": {"quality": quality}}
    return {"name": name, **told.get(name, {})}


def _draw_loss(settings: PacketLossSettings, rng: Generator) -> dict[str, Any]:
    return {
        "lost": round(float(rng.uniform(*settings.lost)), 4),
        "packet_ms": settings.packet_ms,
        "burst": settings.burst,
        "seed": int(rng.integers(2**31)),
    }


_DRAWS: dict[str, Callable[[Any, Generator], dict[str, Any]]] = {
    "band_limit": _draw_band,
    "clipping": lambda settings, rng: {"db": round(float(rng.uniform(*settings.db)), 2)},
    "quantisation": lambda settings, rng: {
        "bits": int(rng.integers(settings.bits[0], settings.bits[1] + 1))
    },
    "codec": _draw_codec,
    "packet_loss": _draw_loss,
}


def degrade(
    noisy: np.ndarray, clean: np.ndarray, rate: int, drawn: Drawn
) -> tuple[np.ndarray, np.ndarray]:
    """Apply drawn degradations to noisy and clean audio [shape=(samples,) each].

    Raises
    ------
    soundfile.LibsndfileError
        If this libsndfile was built without a codec that was drawn.
    """
    for kind, how in drawn.items():
        noisy = KINDS[kind](noisy, rate, **how)
        if kind in BOTH_SIDES:
            clean = KINDS[kind](clean, rate, **how)
    return noisy, clean


def to_text(drawn: Drawn) -> str:
    """What was drawn, as it stands in a mixture table: JSON, or nothing."""
    return json.dumps(drawn, sort_keys=False) if drawn else ""


def from_text(text: str) -> Drawn:
    """What `to_text` wrote."""
    return json.loads(text) if text else {}


IN_WORDS = {
    "band_limit": "limited in band",
    "clipping": "clipped",
    "quantisation": "quantised to few bits",
    "codec": "coded lossily",
    "packet_loss": "with lost packets",
}
"""Kind of degradation → adjective for a mixture."""


def describe(drawn: Drawn) -> str:
    """What was drawn for a mixture, in words.

    Examples
    --------
    >>> describe({"clipping": {"db": 6.0}, "codec": {"name": "opus", "kbit_s": 24.0}})
    'clipped by 6 dB, opus at 24 kbit/s'
    """
    return ", ".join(_in_words(kind, how) for kind, how in drawn.items())


def _in_words(kind: str, how: dict[str, Any]) -> str:
    if kind == "band_limit":
        return f"{how.get('low_hz', 0):g} to {how['high_hz']:g} Hz"
    if kind == "clipping":
        return f"clipped by {how['db']:g} dB"
    if kind == "quantisation":
        return f"{how['bits']} bits"
    if kind == "packet_loss":
        return f"{100 * how['lost']:.0f} % of packets lost"
    if "kbit_s" in how:
        return f"{how['name']} at {how['kbit_s']:g} kbit/s"
    return how["name"] + (f" of quality {how['quality']:g}" if "quality" in how else "")
