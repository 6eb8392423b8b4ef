"""Mixtures that are rendered during training, with new variations in every epoch.

Each window of an epoch has its own seed, so a resumed training gets the same windows as an
uninterrupted one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from denoise import audio
from denoise.core.errors import UserError, unknown
from denoise.core.settings import Settings, item_seed
from denoise.core.tables import Rows
from denoise.mixing.degradations import Drawn, degrade, from_text
from denoise.mixing.effects import EFFECTS, Generator, loudness
from denoise.mixing.render import PEAK, noise_of, packs_of, render, responses, speech_of, with_lead
from denoise.mixing.rooms import ROOM_COLUMNS, Response

_TALKERS = (3, 8)
_SECOND_DB = (-10.0, 0.0)
_FAINT_DB = -30.0
_DRAWS = 8
_TRANSIENTS_DB = (-10.0, 10.0)
_SPEECH_RUMBLE_DB = (-40.0, -10.0)
_NOISE_RUMBLE_DB = (-10.0, 15.0)
_LIMITS = {
    "snr_range_db": (-60, 100),
    "gain_range_db": (-60, 60),
    "speech_speed_perturbation": (0.25, 4),
    "noise_speed_perturbation": (0.25, 4),
}


class AugmentationSettings(Settings):
    """Random changes of the training windows in each epoch; they need `features.cache: false`.
    Changing them trains again."""

    snr_range_db: tuple[float, float] | None = None
    """Mix every speech window with the noise of another, at an SNR drawn uniformly from this range
    in dB (remixing: Defossez, Synnaeve & Adi, Interspeech 2020); default the noise and SNR that
    `mixing` drew."""
    shift: int = Field(0, ge=0)
    """Shift the start of speech windows by up to this many samples."""
    gain_range_db: tuple[float, float] = (0, 0)
    """Change the level of noisy and clean by a gain in dB, drawn uniformly from this range."""
    speech_speed_perturbation: tuple[float, float] = (1, 1)
    """Range of the speed factor of the speech, drawn log-uniformly; pitch and formants
    change too (Ko, Peddinti, Povey & Khudanpur, Interspeech 2015)."""
    noise_speed_perturbation: tuple[float, float] = (1, 1)
    """Range of the speed factor of recorded noise, drawn log-uniformly."""
    reversed_noise: float = Field(0, ge=0, le=1)
    """Share of the recorded noises that are reversed in time."""
    spectrum_transfer: float = Field(0, ge=0, le=1)
    """Share of the recorded noises that are filtered to have the long-term spectrum of another
    recording."""
    harmonic_excitation: float = Field(0, ge=0, le=1)
    """Share of the windows whose speech gets additional harmonics, above 3 to 5 kHz at a sample
    rate of 16 kHz, like speech that was recorded closer or compressed less (Makhoul & Berouti,
    ICASSP 1979)."""
    random_filter: float = Field(0, ge=0, le=1)
    """Probability that the speech of a window is filtered by a random second-order filter, and,
    drawn separately, that its noise is (Valin, MMSP 2018)."""
    second_noise: float = Field(0, ge=0, le=1)
    """Share of the windows with the noise of another window in addition, 0 to 10 dB below the
    first."""
    babble: float = Field(0, ge=0, le=1)
    """Share of the windows whose noise is babble of 3 to 8 other training speakers."""
    shaped_noise: float = Field(0, ge=0, le=1)
    """Share of the windows whose noise is Gaussian, with a smooth random spectrum and, half of the
    time, a random envelope."""
    transients: float = Field(0, ge=0, le=1)
    """Share of the windows with generated transients in addition to the noise, 10 dB below to 10 dB
    above it: ringing impacts (van den Doel & Pai, Presence 7(4), 1998) or the hum of a machine."""
    rumble: float = Field(0, ge=0, le=1)
    """Probability that generated rumble (below 30 to 120 Hz) is added to noisy and clean alike, 10
    to 40 dB below the speech; with the same probability, drawn separately, rumble is added to the
    noise only, from 10 dB below to 15 dB above it. The network learns to remove the rumble of the
    noise but to keep that of the speech recording."""
    reverberation: float = Field(0, ge=0, le=1)
    """Share of the windows whose noise (not their speech) gets a generated reverberation with a
    decay time of 0.2 to 1 s (Polack, Applied Acoustics 38, 1993), unless the window has a room."""
    rooms: bool = False
    """Give every window the room of another window (or none, if that has none), drawn anew in every
    epoch."""
    degradations: bool = False
    """Give every window the degradations of another window, drawn anew in every epoch; the
    positions of lost packets are drawn anew too."""
    clean_share: float = Field(0, ge=0, le=0.5)
    """Share of the windows without noise, from which the network learns to leave clean speech
    unchanged."""
    band_mask: float = Field(0, ge=0, le=0.5)
    """Remove a band of up to this share of the mel scale from noisy and clean (Defossez, Synnaeve &
    Adi, Interspeech 2020)."""

    own: dict[str, float] = {}
    """Augmentations of `extensions`, and the share of the windows that pass through each."""

    @field_validator("own")
    @classmethod
    def _check_own(cls, own: dict[str, float]) -> dict[str, float]:
        given = EFFECTS.keys() - cls.model_fields.keys()
        for name, share in own.items():
            if name not in given:
                raise unknown("augmentation of extensions", name, given)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} {share:g} is a share of the windows: from 0 to 1")
        return own

    @model_validator(mode="after")
    def _check(self) -> AugmentationSettings:
        for name in _LIMITS:
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} {list(pair)} must go from low to high")
            low, high = _LIMITS[name]
            if pair is not None and not low <= pair[0] <= pair[1] <= high:
                raise ValueError(f"{name} {list(pair)} must lie within {low:g} and {high:g}")
        if self.babble + self.shaped_noise > 1:
            raise ValueError(
                f"babble {self.babble:g} and shaped_noise {self.shaped_noise:g} are shares of the "
                "same windows: together at most 1"
            )
        return self

    @property
    def effects(self) -> list[str]:
        """The effects of `effects.EFFECTS` that are used."""
        usual = AugmentationSettings()
        built_in = [name for name in EFFECTS if name in type(self).model_fields]
        used = [name for name in built_in if getattr(self, name) != getattr(usual, name)]
        return [*used, *self.own]

    @property
    def active(self) -> bool:
        """Whether anything is varied."""
        return self != AugmentationSettings()


class Mixer:
    """Renders the windows of a mixture table, unchanged or varied.

    Parameters
    ----------
    table
        As `mixing.levels.set_levels` gives it.
    rate
        Samples a second.
    settings
        How windows are varied; default not at all.
    """

    def __init__(
        self, table: pd.DataFrame, rate: int, settings: AugmentationSettings | None = None
    ) -> None:
        self.rows, self.rate = Rows(table), rate
        self.packs = packs_of(table)
        self.settings = settings or AugmentationSettings()
        self._levels: dict[tuple[str, int], float] = {}
        self._mixed = np.flatnonzero(~table["paired"].to_numpy(bool))

    def batch(self, chosen: np.ndarray, epoch_seed: int | None = None) -> np.ndarray:
        """Noisy and clean audio [shape=(chosen, samples, 2)], float32, of the rows `chosen`.

        With `epoch_seed` they are varied.
        """
        varied = epoch_seed is not None and self.settings.active
        rows = [self.rows[number] for number in chosen]
        pairs = [
            self._varied(row, item_seed(epoch_seed, row["id"]))
            if varied
            else render(row, self.packs, self.rate)
            for row in rows
        ]
        waves = np.empty((len(pairs), len(pairs[0][0]), 2), np.float32)
        for number, (noisy, clean) in enumerate(pairs):
            waves[number, :, 0], waves[number, :, 1] = noisy, clean
        return waves

    def _varied(self, row: dict, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        settings = self.settings
        row = _shifted(row, settings.shift, rng)
        row, room = self._in_room(row, rng)
        lead, noise_lead = 0, 0
        noise_row = row
        if room:
            # The window holds the reverberation of what came before it.
            lead, noise_lead = min(room[0].tail, row["speech_offset"]), room[1].tail
            row, noise_row = with_lead(row, lead), with_lead(row, noise_lead)
        longest = (row["recording_samples"] - row["speech_offset"]) / row["samples"]
        speed = min(_drawn_speed(settings.speech_speed_perturbation, rng), max(longest, 1))
        clean = self._played(row, speed, "speech")
        noise = self._all_noise(noise_row, speed, rng, reverberant=room is not None)
        if settings.harmonic_excitation and rng.random() < settings.harmonic_excitation:
            clean = EFFECTS["harmonic_excitation"](clean, rng)
        if rng.random() < settings.random_filter:
            clean = EFFECTS["random_filter"](clean, rng)
        if rng.random() < settings.random_filter:
            noise = EFFECTS["random_filter"](noise, rng)
        speech = clean
        if room:
            speech, noise = room[0].reverberate(clean, lead), room[1].reverberate(noise, noise_lead)
            clean = room[0].target(clean, lead, row["room_target"], row["early_ms"])
        if settings.rumble and rng.random() < settings.rumble:
            heard = row["speech_level"] * self._rumble(len(clean), _SPEECH_RUMBLE_DB, rng)
            speech, clean = speech + heard, clean + heard
        snr = row["snr"] if settings.snr_range_db is None else rng.uniform(*settings.snr_range_db)
        # The level of the whole recording: that of a pause would make its noise inaudible.
        gain = row["speech_level"] / loudness(noise) * 10 ** (-min(snr, 100.0) / 20)
        if settings.clean_share and rng.random() < settings.clean_share:
            gain = 0.0
        pair = np.stack([speech + gain * noise, clean])
        if settings.band_mask:
            pair = EFFECTS["band_mask"](pair, self.rate, settings.band_mask, rng)
        pair = self._own(pair, rng)
        pair *= 10 ** (rng.uniform(*settings.gain_range_db) / 20)
        pair *= min(1.0, PEAK / max(np.abs(pair[0]).max(), 1e-9))
        return degrade(pair[0], pair[1], self.rate, self._degradations(row, rng))

    def _in_room(self, row: dict, rng: Generator) -> tuple[dict, tuple[Response, Response] | None]:
        """A row with its room, and the impulse responses of speech and noise if it has one."""
        if self.settings.rooms and not row["paired"]:
            other = self.rows[rng.choice(self._mixed)]
            row = {**row, **{name: other[name] for name in ROOM_COLUMNS}}
        if not row.get("room"):
            return row, None
        return row, responses(row, self.packs, self.rate)

    def _degradations(self, row: dict, rng: Generator) -> Drawn:
        """The degradations of a row."""
        if self.settings.degradations:
            row = self.rows[rng.integers(len(self.rows))]
        drawn = from_text(row.get("degradations") or "")
        if self.settings.degradations and "packet_loss" in drawn:
            drawn["packet_loss"]["seed"] = int(rng.integers(2**31))
        return drawn

    def _own(self, pair: np.ndarray, rng: Generator) -> np.ndarray:
        """Noisy and clean [shape=(2, samples)] after the user's own augmentations."""
        for name, share in sorted(self.settings.own.items()):
            if rng.random() < share:
                made = np.asarray(EFFECTS[name](pair, self.rate, rng), float)
                if made.shape != pair.shape or not np.isfinite(made).all():
                    raise UserError(
                        f"augmentation.own: {name} gave an array of shape {made.shape}: it must be "
                        f"{pair.shape}, all finite"
                    )
                pair = made
        return pair

    def _played(self, row: dict, speed: float, side: str) -> np.ndarray:
        """Speech or noise of a row, `speed` times as fast."""
        samples = row["samples"]
        longer = {**row, "samples": round(samples * speed)}
        if side == "speech":
            wave = speech_of(longer, self.packs)
        else:
            wave = noise_of(longer, self.packs, self.rate)
        return wave if speed == 1 else EFFECTS[f"{side}_speed_perturbation"](wave, samples)

    def _all_noise(
        self, row: dict, speed: float, rng: Generator, *, reverberant: bool
    ) -> np.ndarray:
        """The noise of a row with all additions; `reverberant` if a room follows."""
        settings = self.settings
        noise = self._noise(row, speed, rng)
        if rng.random() < settings.second_noise:
            below = 10 ** (rng.uniform(*_SECOND_DB) / 20)
            second = self._other_noise(len(noise), rng)
            noise = noise + below * loudness(noise) / loudness(second) * second
        if settings.transients and rng.random() < settings.transients:
            beside = 10 ** (rng.uniform(*_TRANSIENTS_DB) / 20)
            sounds = EFFECTS["transients"](len(noise), self.rate, rng)
            noise = noise + beside * loudness(noise) * sounds
        if settings.reverberation and not reverberant and rng.random() < settings.reverberation:
            noise = EFFECTS["reverberation"](noise, self.rate, rng)
        if settings.rumble and rng.random() < settings.rumble:
            noise = noise + loudness(noise) * self._rumble(len(noise), _NOISE_RUMBLE_DB, rng)
        return noise

    def _rumble(self, samples: int, range_db: tuple[float, float], rng: Generator) -> np.ndarray:
        """Rumble [shape=(samples,)] at a level in dB from `range_db`, relative to an RMS of 1."""
        return 10 ** (rng.uniform(*range_db) / 20) * EFFECTS["rumble"](samples, self.rate, rng)

    def _noise(self, row: dict, speed: float, rng: Generator) -> np.ndarray:
        """The noise for a row, `speed` times as fast if it was recorded with its speech."""
        kind = rng.random()
        if kind < self.settings.babble:
            return self._babble(row, rng)
        if kind < self.settings.babble + self.settings.shaped_noise:
            return EFFECTS["shaped_noise"](row["samples"], self.rate, rng)
        if self.settings.snr_range_db is not None:
            return self._other_noise(row["samples"], rng)
        return self._played(row, speed, "noise") if row["paired"] else self._recorded(row, rng)

    def _recorded(self, row: dict, rng: Generator) -> np.ndarray:
        settings = self.settings
        noise = self._played(row, _drawn_speed(settings.noise_speed_perturbation, rng), "noise")
        if settings.reversed_noise and rng.random() < settings.reversed_noise:
            noise = noise[::-1]
        if settings.spectrum_transfer and rng.random() < settings.spectrum_transfer:
            lender = {**self.rows[rng.integers(len(self.rows))], "samples": row["samples"]}
            noise = EFFECTS["spectrum_transfer"](noise, self._played(lender, 1, "noise"), self.rate)
        return noise

    def _other_noise(self, samples: int, rng: Generator) -> np.ndarray:
        """Noise of a random row [shape=(samples,)], from a random place of its recording that is
        not a gap."""
        for _ in range(_DRAWS):
            other = {**self.rows[rng.integers(len(self.rows))], "samples": samples}
            if not other["paired"]:
                room = other["noise_samples"] - other["samples"]
                other["noise_offset"] = int(rng.integers(max(room, other["noise_samples"] // 2, 1)))
            noise = self._recorded(other, rng)
            if audio.rms(noise) > 10 ** (_FAINT_DB / 20) * self._level(other):
                break
        return noise

    def _level(self, row: dict) -> float:
        """RMS of the noise recording of a row."""
        place = str(row["noise_source"]), int(row["noise_start"])
        if row["paired"]:
            return 0.0
        if place not in self._levels:
            whole = self.packs[place[0]][place[1] : place[1] + int(row["noise_samples"])]
            self._levels[place] = audio.rms(whole)
        return self._levels[place]

    def _babble(self, row: dict, rng: Generator) -> np.ndarray:
        """The sum of some windows of other speakers at the same level."""
        talkers = rng.integers(_TALKERS[0], _TALKERS[1] + 1)
        total = np.zeros(row["samples"])
        while talkers:
            other = self.rows[rng.integers(len(self.rows))]
            if other["speaker"] != row["speaker"] or rng.random() < 0.01:
                # Its words before the window, not the silence after its end, fill a longer one.
                before = min(row["samples"] - other["samples"], other["speech_offset"])
                longer = {**with_lead(other, before), "samples": row["samples"]}
                total += speech_of(longer, self.packs) / max(other["speech_level"], 1e-6)
                talkers -= 1
        return total


def _shifted(row: dict, most: int, rng: Generator) -> dict:
    """The row of a window, moved by up to `most` samples in its recording."""
    if not most:
        return row
    latest = max(row["recording_samples"] - row["samples"], row["speech_offset"])
    start = int(np.clip(row["speech_offset"] + rng.integers(-most, most + 1), 0, latest))
    moved = start - row["speech_offset"]
    shifted = {**row, "speech_offset": start, "speech_start": row["speech_start"] + moved}
    if row["paired"]:
        shifted["noise_start"] = row["noise_start"] + moved
    return shifted


def _drawn_speed(span: tuple[float, float], rng: Generator) -> float:
    return span[0] if span[0] == span[1] else float(2 ** rng.uniform(*np.log2(span)))
