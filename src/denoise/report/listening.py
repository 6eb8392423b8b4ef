"""Utterances for listening: choice, level, coding and faults."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from denoise import audio
from denoise.core import files
from denoise.core.arrays import load_array
from denoise.core.tables import read_table
from denoise.evaluation.scores import ranking_measure
from denoise.metrics.registry import OPINIONS, SCORED
from denoise.mixing.degradations import describe, from_text
from denoise.mixing.files import TestSetFiles

LONGEST_S = 8.0
"""Only the first seconds of a longer utterance are played."""
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MP3_QUALITY = 0.0
"""The best of a variable bit rate: about 50 kbit/s at 16 kHz."""
_PEAK = 0.99


@dataclass(frozen=True)
class TestAudio:
    """The audio of a test set and of every method's output for it.

    Parameters
    ----------
    test_set
        Its files.
    outputs
        Method → packed audio.
    """

    test_set: TestSetFiles
    outputs: dict[str, Path]

    @property
    def rate(self) -> int:
        """Samples per second."""
        return int(files.read_made(self.test_set.manifest)["rate"])

    @property
    def has_clean(self) -> bool:
        """Whether there are clean references."""
        # Manifests of before there were such without say nothing.
        return bool(files.read_made(self.test_set.manifest).get("clean", True))

    @property
    def table(self) -> pd.DataFrame:
        """The utterances by their ``id``."""
        return read_table(self.test_set.mixtures).set_index("id")

    def signals(self, row: pd.Series, methods: list[str]) -> dict[str, np.ndarray]:
        """Noisy, each method's and, where there is one, clean audio of an utterance.

        Parameters
        ----------
        row
            A row of `table`.

        Returns
        -------
        dict[str, np.ndarray]
            Name → float32 [shape=(samples,)] at `rate`: ``noisy``, the methods, ``clean``.

        Raises
        ------
        KeyError
            If there is no output of a method.
        """
        paths = {"noisy": self.test_set.noisy}
        paths |= {name: self.outputs[name] for name in methods if name != "noisy"}
        if self.has_clean:
            paths["clean"] = self.test_set.clean
        part = slice(int(row["offset"]), int(row["offset"] + row["samples"]))
        return {name: np.array(load_array(path)[part]) for name, path in paths.items()}


def same_level(waves: dict[str, np.ndarray], clean: str = "clean") -> dict[str, np.ndarray]:
    """The signals with their speech at the level of that in `clean`, and none beyond full scale.

    The level of the speech in a signal is that of its projection onto the clean signal, as in
    SI-SDR (Le Roux et al., ICASSP 2019): so neither residual noise nor a different gain makes a
    method louder than another.  Gains are kept between -12 and 12 dB; a signal in which there is no
    speech stays as it is, and so do all where there is no clean one.

    Parameters
    ----------
    waves
        Name → signal [shape=(samples,)], all of one length; among them the one called `clean`, if
        there is one.
    """
    reference = waves[clean].astype(np.float64) if clean in waves else np.zeros(0)
    power = float(reference @ reference)
    scaled = {}
    for name, wave in waves.items():
        gain = float(reference @ wave) / power if power > 0 else 1.0
        scaled[name] = wave * float(np.clip(1 / gain, 0.25, 4.0)) if gain > 1e-3 else wave
    peak = max(float(np.abs(wave).max(initial=0)) for wave in scaled.values())
    shared = min(1.0, _PEAK / peak) if peak > 0 else 1.0
    return {name: (wave * shared).astype(np.float32) for name, wave in scaled.items()}


def playable_rate(rate: int) -> int:
    """The MP3 sample rate in Hz for audio of a rate: the next higher one, which keeps the whole
    band.

    Audio of more than 48 kHz loses what is above 24 kHz, which is inaudible.
    """
    return min((known for known in _MP3_RATES if known >= rate), default=_MP3_RATES[-1])


def mp3(wave: np.ndarray, rate: int) -> bytes:
    """Audio [shape=(samples,)] as an MP3 file, which every browser plays."""
    buffer = io.BytesIO()
    playable = playable_rate(rate)
    wave = np.clip(audio.resample(wave, rate, playable), -1, 1)
    soundfile.write(
        buffer, wave, playable, format="MP3", compression_level=_MP3_QUALITY,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def flac(wave: np.ndarray, rate: int) -> bytes:
    """Audio [shape=(samples,)] as a FLAC file of 16 bits, without loss."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds it, for pages that stand alone."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def chosen(
    utterances: pd.DataFrame,
    variants: list[str],
    count: int,
    labels: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Utterance → why it is played, those that say most first.

    For the first of `variants` (the best): the utterances with the largest, the median and the
    smallest gain in the ranking metric and, if `count` is above three, more at even ranks between.
    For every other variant: the one with the smallest gain.  `labels` maps variants to the names
    used in the reasons.
    """
    metric = ranking_measure(utterances)
    about = SCORED[metric]
    wide = utterances.pivot_table(index="id", columns="method", values=metric)
    found: dict[str, list[str]] = {}
    for place, variant in enumerate(name for name in variants if name in wide):
        gain = (wide[variant] - wide["noisy"]).dropna().sort_values(ascending=False)
        if gain.empty:
            continue
        ranks = _ranks(len(gain), count) if place == 0 else {len(gain) - 1: "worst"}
        for rank, name in ranks.items():
            told = f"{gain.iloc[rank]:+.{1 if about.unit else 2}f} {about.unit}".strip()
            why = f"{name} of {(labels or {}).get(variant, variant)} ({told} {about.title})"
            found.setdefault(str(gain.index[rank]), []).append(why)
    return found


def _ranks(length: int, count: int) -> dict[int, str]:
    """Ranks of the worst, the median and the best, then of others evenly between, with names."""
    middle, last = (length - 1) // 2, length - 1
    names = {last: "worst", middle: "median", 0: "best"}
    for rank in np.linspace(0, last, max(3, count)).round().astype(int)[1:-1]:
        if len(names) < count:
            names.setdefault(int(rank), f"{100 * (1 - rank / max(1, last)):.0f}th percentile")
    return names


def players(
    sound: TestAudio, methods: list[str], reasons: dict[str, list[str]], budget: int
) -> tuple[list[dict[str, Any]], bool]:
    """What the page plays: without loss if `budget` bytes allow, else as MP3.

    Of utterances that are too much as MP3 too, the last are left out; one is always kept.

    Parameters
    ----------
    reasons
        As of `chosen`.

    Returns
    -------
    shown
        For each utterance its ``id``, what it is ``about``, ``why`` it is played and its
        ``signals``, a list of names and addresses with their rate in Hz.
    lossless
        Whether the audio is FLAC.
    """
    rate, table = sound.rate, sound.table
    longest = int(LONGEST_S * rate)
    waves = {
        utterance: {
            name: wave[:longest]
            for name, wave in same_level(sound.signals(table.loc[utterance], methods)).items()
        }
        for utterance in reasons
    }
    coded: dict[str, dict[str, bytes]] = {}
    for lossless in (True, False):
        code = flac if lossless else mp3
        coded, spent = {}, 0
        for utterance, signals in waves.items():
            made = {name: code(wave, rate) for name, wave in signals.items()}
            spent += sum(map(len, made.values()))
            if spent > budget and coded:
                break
            coded[utterance] = made
        if len(coded) == len(waves) and spent <= budget:
            break
    kind, played_rate = ("audio/flac", rate) if lossless else ("audio/mpeg", playable_rate(rate))
    shown = []
    for utterance, made in coded.items():
        row = table.loc[utterance]
        seconds = row["samples"] / rate
        cut = f", its first {LONGEST_S:g} of {seconds:.1f} s" if seconds > LONGEST_S else ""
        sources = [{"name": name, "uri": data_uri(kind, file)} for name, file in made.items()]
        shown.append(
            {
                "id": utterance,
                "about": f"{about(row)}{cut}",
                "why": reasons[utterance],
                "signals": {"rate": played_rate, "sources": sources},
            }
        )
    return shown, lossless


def about(row: pd.Series) -> str:
    """An utterance of a test set in words."""
    told = [f"speaker {row['speaker'] or 'unknown'}", row["noise_type"] or "unknown noise"]
    if not np.isnan(row["snr"]):
        told.append(f"SNR {row['snr']:.1f} dB")
    if row.get("room"):
        told.append(f"in {row['room']}")
    if row.get("degradations"):
        told.append(describe(from_text(row["degradations"])))
    return ", ".join(told)


def faults(clean: np.ndarray, noisy: np.ndarray, enhanced: np.ndarray) -> str:
    """What is wrong with an enhanced utterance, in words; signals [shape=(samples,)].

    The output is split into clean speech, noise and what is in neither (artefacts, among them
    missing and distorted speech) by projection: the scale-invariant SDR, SIR and SAR of Le Roux et
    al. (ICASSP 2019).
    """
    speech = clean.astype(np.float64)
    noise = noisy - speech
    found = enhanced.astype(np.float64)
    if not found.any():
        return "silence"
    if not speech.any() or not noise.any():
        return "nothing to compare with"
    gain = float(speech @ found) / float(speech @ speech)
    target = gain * speech
    basis = np.stack([speech, noise], axis=1)
    explained = basis @ np.linalg.lstsq(basis, found, rcond=None)[0]
    sir = _ratio(target, explained - target)
    sar = _ratio(explained, found - explained)
    said = []
    level = 20 * np.log10(max(abs(gain), 1e-6))
    if level < -3:
        said.append(f"speech attenuated by {-level:.0f} dB")
    if abs(sir - sar) < 3:  # less than a factor of two
        said.append(f"residual noise and artefacts alike (SIR {sir:.1f} dB, SAR {sar:.1f} dB)")
    elif sir < sar:
        said.append(f"mostly residual noise (SIR {sir:.1f} dB, SAR {sar:.1f} dB)")
    else:
        said.append(f"mostly artefacts and lost speech (SAR {sar:.1f} dB, SIR {sir:.1f} dB)")
    return ", ".join(said)


def _ratio(wanted: np.ndarray, unwanted: np.ndarray) -> float:
    """Ratio of the powers of two signals in dB, at most 99."""
    rest = float(unwanted @ unwanted)
    power = float(wanted @ wanted)
    return min(99.0, float(10 * np.log10(power / rest))) if rest > 0 and power > 0 else 99.0


def _predicted(change: pd.Series) -> str:
    """DNSMOS of an output, relative to the input."""
    return (
        f"speech {change['dnsmos_sig']:+.2f} (SIG), background {change['dnsmos_bak']:+.2f} (BAK) "
        "against the input"
    )


def errors(
    sound: TestAudio, utterances: pd.DataFrame, variants: list[str], count: int = 3
) -> list[dict[str, Any]]:
    """The utterances with the smallest gain of every variant in what methods are ranked by, and
    those that failed.

    Parameters
    ----------
    utterances
        As of `denoise.evaluation.scores.by_utterance`, of one test set.
    count
        How many of each variant; those that could not be scored come first.

    Returns
    -------
    list of dict
        ``variant``, ``id``, what it is ``about``, ``gain`` and ``value`` in the metric (NaN if
        undefined) and the ``reason`` in words: as of `faults`, or without a clean version what
        DNSMOS predicts.
    """
    table, metric, has_clean = sound.table, ranking_measure(utterances), sound.has_clean
    noisy = utterances[utterances["method"] == "noisy"].set_index("id")
    found = []
    for variant in variants:
        own = utterances[utterances["method"] == variant].set_index("id")
        gain = (own[metric] - noisy[metric]).sort_values(na_position="first")
        for utterance in gain.index[:count]:
            row = table.loc[utterance]
            if has_clean:
                waves = sound.signals(row, [variant])
                reason = faults(waves["clean"], waves["noisy"], waves[variant])
            else:
                changes = own[list(OPINIONS)] - noisy[list(OPINIONS)]
                reason = _predicted(changes.loc[utterance])
            if gain[utterance] < 0:
                reason = f"worse than the input: {reason}"
            found.append(
                {
                    "variant": variant,
                    "id": utterance,
                    "about": about(row),
                    "gain": float(gain[utterance]),
                    "value": float(own.loc[utterance, metric]),
                    "reason": reason,
                }
            )
    return found
