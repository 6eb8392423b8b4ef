"""Drawing mixtures of speech and noise as a table, and rendering audio from the table.

The table is the record of what was mixed: sources, offsets, gain, asked and realised SNR, and
the scale that avoids clipping.  Everything random about a row comes from the row's own seed.

The SNR is the active level of the speech recording (ITU-T P.56) over the RMS of the noise in the
mixture, so that pauses and silent windows do not distort it.
"""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from denoise import audio, files
from denoise.errors import UserError
from denoise.parallel import ordered_map
from denoise.settings import Settings, digest, item_seed
from denoise.splits import members

log = logging.getLogger(__name__)

PEAK = 0.99
"""Mixtures are scaled down to this, so that none clips."""
_CROSS_FADE_S = 0.02
_FAINT_NOISE = 10 ** (-30 / 20)
_NOISE_DRAWS = 16
_CHUNK = 256


class LevelSettings(Settings):
    """How loud the noise is: exactly one of the three."""

    gain: tuple[float, float] | None = None
    """Uniform range of the factor on the noise, as in the original recipes, e.g. `[0.2, 0.8]`."""
    snr_db: tuple[float, ...] | None = None
    """SNRs in dB dealt out in turn, e.g. `[0, 5, 10]`."""
    snr_range_db: tuple[float, float] | None = None
    """Uniform range of SNR in dB, e.g. `[-5, 15]`."""

    @model_validator(mode="after")
    def _check(self) -> LevelSettings:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of gain, snr_db and snr_range_db, not "
                f"{' and '.join(given) or 0}: replace the whole group, such as "
                "level: {snr_db: [0, 5]}"
            )
        for name in ("gain", "snr_range_db"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name} {list(pair)} must go from low to high")
        if self.gain is not None and self.gain[0] < 0:
            raise ValueError(f"gain {list(self.gain)} must not be negative")
        for name in ("snr_db", "snr_range_db"):
            for snr in getattr(self, name) or ():
                if not -60 <= snr <= 100:
                    raise ValueError(f"{name}: {snr:g} dB must be between -60 and 100")
        if self.snr_db == ():
            raise ValueError("snr_db must hold at least one value")
        return self


class MixingSettings(Settings):
    """The training and validation windows. Changing these mixes and trains again."""

    window: int = Field(8064, ge=256, le=1 << 20)
    """Samples of a training window."""
    speech_hop: int = Field(8064, ge=1)
    """Samples between the starts of two speech windows of a recording."""
    noise_hop: int = Field(5000, ge=1)
    """Samples between the starts of two noise windows of a recording."""
    level: LevelSettings = LevelSettings(gain=(0.2, 0.8))
    """How loud the noise is."""
    pad: bool = False
    """Fill recordings that are shorter than a window with silence, instead of leaving them out."""
    hours: float | None = Field(None, gt=0)
    """Hours of training mixtures; default one mixture for each speech window."""
    validation_hours: float | None = Field(None, gt=0)
    """Hours of validation mixtures; default one mixture for each speech window."""
    windows: int | None = Field(None, ge=1)
    """The number of training windows, instead of `hours`."""
    validation_windows: int | None = Field(None, ge=1)
    """The number of validation windows, instead of `validation_hours`."""

    @model_validator(mode="after")
    def _check(self) -> MixingSettings:
        for prefix in ("", "validation_"):
            if None not in (getattr(self, f"{prefix}hours"), getattr(self, f"{prefix}windows")):
                raise ValueError(f"give either {prefix}hours or {prefix}windows, not both")
        return self

    def count(self, split: Literal["train", "validation", "test"], rate: int) -> int | None:
        """The number of windows that is asked for; None for one of each speech window."""
        if split == "test":
            return None
        training = split == "train"
        hours = self.hours if training else self.validation_hours
        if hours is not None:
            return max(1, round(hours * 3600 * rate / self.window))
        return self.windows if training else self.validation_windows


class TestSetSettings(Settings):
    """A test set of whole utterances. Changing it scores again and trains nothing."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    level: LevelSettings = LevelSettings(snr_db=(0.0, 5.0, 10.0, 15.0))
    """How loud the noise is; has no effect on paired corpora."""
    utterances: int | None = Field(None, ge=1)
    """At most this many utterances, dealt out over the speakers; default all."""
    copies: int = Field(1, ge=1, le=100)
    """Mixtures of each utterance, with different noise and SNR."""
    split: Literal["test", "validation"] = "test"
    """Where speech and noise come from. `validation` serves to decide on settings, which must
    never be done on a test set."""
    score_rate: Literal[8000, 16000] | None = None
    """Everything is scored at this rate in Hz, with wide-band PESQ beside it for what has the band;
    so models of different rates are compared by what all of them can give. Default the rate of the
    test set."""


def load_packs(sources: list[str]) -> dict[str, np.ndarray]:
    """Memory-map the packed audio of each source folder."""
    # As plain arrays: each of the many slices of a memmap would cost several times as much.
    return {
        source: np.asarray(files.load_array(Path(source) / "audio.npy")) for source in set(sources)
    }


def loop(noise: np.ndarray, offset: int, length: int, fade: int) -> np.ndarray:
    """`length` samples of `noise` from `offset`, repeated with cross-fades where it ends.

    Parameters
    ----------
    noise : np.ndarray [shape=(samples,)]
    offset, length, fade : int
        In samples. The cross-fade has equal power (the ends are uncorrelated) and is shortened to
        a quarter of a shorter noise.
    """
    if 0 <= offset <= len(noise) - length:
        return np.asarray(noise[offset : offset + length])
    fade = min(fade, len(noise) // 4)
    period = np.array(noise[: len(noise) - fade], dtype=np.float32)
    rising, falling = _cross_fade(fade)
    period[:fade] = rising * period[:fade] + falling * noise[len(noise) - fade :]
    return np.take(period, np.arange(offset, offset + length), mode="wrap")


@functools.lru_cache(8)
def _cross_fade(length: int) -> tuple[np.ndarray, np.ndarray]:
    """A rising and a falling quarter of a sine [shape=(length,) each].

    NumPy's sine of float32 depends on the processor in its last digit; the last digit of `math`'s,
    which may too, is rounded away.
    """
    angles = [(place + 0.5) / length * (math.pi / 2) for place in range(length)]
    return (
        np.array([math.sin(angle) for angle in angles], np.float32),
        np.array([math.cos(angle) for angle in angles], np.float32),
    )


def render(
    row: dict[str, object], packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The noisy and the clean audio [shape=(samples,)] of one row of a mixture table."""
    scale = np.float32(row["clip_scale"])  # type: ignore[arg-type]
    clean, noise = sources(row, packs, rate)
    noisy = clean + np.float32(row["gain"]) * noise  # type: ignore[arg-type]
    return scale * noisy, scale * clean


def render_recording(
    row: dict[str, object], packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The whole recording that a row's window is cut from, mixed as the window is.

    Returns
    -------
    tuple of np.ndarray [shape=(recording_samples,)]
        Noisy and clean audio.
    """
    before = int(row["speech_offset"])  # type: ignore[call-overload]
    # The noise of a pair lies beside its speech, another goes on in both directions.
    noise = "noise_start" if row["paired"] else "noise_offset"
    whole = {
        **row,
        "samples": row["recording_samples"],
        "speech_offset": 0,
        "speech_start": int(row["speech_start"]) - before,  # type: ignore[call-overload]
        noise: int(row[noise]) - before,  # type: ignore[call-overload]
    }
    return render(whole, packs, rate)


def sources(
    row: dict[str, object], packs: dict[str, np.ndarray], rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """The speech and, as it was recorded, the noise [shape=(samples,)] of a row."""
    length, start = int(row["samples"]), int(row["speech_start"])  # type: ignore[call-overload]
    noise_start = int(row["noise_start"])  # type: ignore[call-overload]
    # The rest of a padded window is silence, and the pack goes on with another recording.
    there = min(length, int(row["recording_samples"]) - int(row["speech_offset"]))  # type: ignore[call-overload]
    clean = _padded(packs[str(row["speech_source"])][start : start + there], length)
    pack = packs[str(row["noise_source"])]
    if row["paired"]:
        return clean, _padded(pack[noise_start : noise_start + there], length) - clean
    whole = pack[noise_start : noise_start + int(row["noise_samples"])]  # type: ignore[call-overload]
    offset = int(row["noise_offset"])  # type: ignore[call-overload]
    return clean, loop(whole, offset, length, int(_CROSS_FADE_S * rate))


def _padded(wave: np.ndarray, length: int) -> np.ndarray:
    """`wave` [shape=(samples,)] with silence after it up to `length`."""
    return wave if len(wave) == length else np.pad(wave, (0, length - len(wave)))


def draw_windows(
    speech: pd.DataFrame,
    noise: pd.DataFrame,
    settings: MixingSettings,
    split: Literal["train", "validation", "test"],
    rate: int,
    seed: int,
) -> pd.DataFrame:
    """Choose the sources of every window of a split; gains are still to be set.

    Speech windows are taken in random rounds, each window once a round, until the asked hours are
    filled; each meets another noise window.

    Raises
    ------
    UserError
        If a split is empty, or no speech recording is as long as a window.
    """
    speech = members(speech, split, "speech")
    starts = _window_starts(speech, settings, split, seed)
    if not starts:
        raise UserError(
            f"no {split} recording is as long as mixing.window ({settings.window} samples, "
            f"{settings.window / rate:.2f} s): give longer speech or a shorter window, or set "
            "mixing.pad"
        )
    count = settings.count(split, rate) or len(starts)
    rounds = -(-count // len(starts))
    order = np.concatenate(
        [
            np.random.default_rng(item_seed(seed, split, "round", turn)).permutation(len(starts))
            for turn in range(rounds)
        ]
    )[:count]
    recordings, firsts = np.array(starts)[order].T
    table = _speech_rows(speech.iloc[recordings], firsts, settings.window)
    table["split"] = split
    table["id"] = [f"{split}-{number:07d}" for number in range(count)]
    noise = members(noise, split, "noise") if len(noise) else noise
    return _draw_noise(table, noise, settings.level, seed, settings.noise_hop)


def _window_starts(
    speech: pd.DataFrame, settings: MixingSettings, split: str, seed: int
) -> list[tuple[int, int]]:
    """Number of the recording and first sample in it of every speech window of a split."""
    share = speech["validation_windows"].max() if split != "test" else 0
    shortest = settings.window if settings.pad else 0
    starts = [
        (row, start)
        for row, samples in enumerate(speech["samples"])
        for start in range(0, max(samples, shortest) - settings.window + 1, settings.speech_hop)
    ]
    if share:
        order = np.random.default_rng(item_seed(seed, "by window")).permutation(len(starts))
        validation = set(order[: max(1, round(share * len(starts)))].tolist())
        wanted = split == "validation"
        starts = [start for k, start in enumerate(starts) if (k in validation) == wanted]
    return starts


def draw_utterances(
    speech: pd.DataFrame, noise: pd.DataFrame, settings: TestSetSettings, seed: int
) -> pd.DataFrame:
    """Choose the sources of a test set of whole utterances; gains are still to be set.

    Utterances are taken in turn from the speakers of the set's split, in an order that the seed
    gives, until `settings.utterances` are chosen; each copy of one draws its noise anew.

    Parameters
    ----------
    speech, noise
        Tables of `splits.split`; `noise` may be empty if all speech is paired.

    Returns
    -------
    pd.DataFrame
        A row for each mixture, as `set_levels` takes it.

    Raises
    ------
    UserError
        If the split is empty.
    """
    speech = members(speech, settings.split, "speech").copy()
    speech["order"] = [item_seed(seed, settings.split, name) for name in speech["id"]]
    speech["turn"] = speech.groupby("speaker")["order"].rank()
    speech = speech.sort_values(["turn", "order"])[: settings.utterances]
    names = speech["id"].tolist()
    speech = pd.concat([speech] * settings.copies)
    table = _speech_rows(speech, np.zeros(len(speech), int), speech["samples"].to_numpy())
    table["id"] = [f"{name}-{copy}" for copy in range(settings.copies) for name in names]
    noise = members(noise, settings.split, "noise") if len(noise) else noise
    return _draw_noise(table, noise, settings.level, seed, hop=1)


def _speech_rows(
    speech: pd.DataFrame, starts: np.ndarray, lengths: np.ndarray | int
) -> pd.DataFrame:
    """What a mixture table says of parts of recordings [shape=(rows,) each], in samples."""
    speech = speech.reset_index(drop=True)
    paired = speech["noisy_offset"] >= 0
    return pd.DataFrame(
        {
            "speech_source": speech["source"],
            "recording": speech["id"],
            "speaker": speech["speaker"],
            "sex": speech["sex"],
            "split": speech["split"],
            "speech_level": speech["level"],
            "speech_offset": starts,
            "speech_start": speech["offset"] + starts,
            "recording_samples": speech["samples"],
            "samples": lengths,
            "paired": paired,
            "noise_source": speech["source"].where(paired, ""),
            "noise_start": (speech["noisy_offset"] + starts).where(paired, -1),
            "kind": speech["kind"].where(paired, ""),
            "snr_asked": speech["snr"].where(paired, np.nan),
        }
    )


def _draw_noise(
    table: pd.DataFrame, noise: pd.DataFrame, level: LevelSettings, seed: int, hop: int
) -> pd.DataFrame:
    """Add to each row that is not paired a noise recording, an offset and the asked level."""
    if table["paired"].all():
        return table.assign(noise_id="", noise_offset=0, noise_samples=0, gain_asked=1.0)
    by_kind = {kind: files.records(group) for kind, group in noise.groupby("kind")}
    kinds = sorted(by_kind)
    deal = np.random.default_rng(item_seed(seed, "deal", len(table))).permutation(len(table))
    rows = []
    for number, (name, paired, length) in enumerate(
        zip(table["id"].tolist(), table["paired"].tolist(), table["samples"].tolist(), strict=True)
    ):
        if paired:
            rows.append({"noise_id": "", "noise_offset": 0, "noise_samples": 0})
            continue
        rng = np.random.default_rng(item_seed(seed, "mixture", name))
        # Kinds and SNRs are dealt out evenly, but in an order that ties neither to the other.
        kind = kinds[deal[number] % len(kinds)]
        recording = by_kind[kind][rng.integers(len(by_kind[kind]))]
        asked, gain = np.nan, np.nan
        if level.gain is not None:
            gain = rng.uniform(*level.gain)
        elif level.snr_range_db is not None:
            asked = rng.uniform(*level.snr_range_db)
        else:
            assert level.snr_db is not None
            # One round goes through both lists in step, the next shifts them against each other.
            rounds = deal[number] // math.lcm(len(kinds), len(level.snr_db))
            asked = level.snr_db[(deal[number] + rounds) % len(level.snr_db)]
        offsets = max(1, -(-max(recording["samples"] - length, 0) // hop))
        if recording["samples"] < length:
            offsets = -(-recording["samples"] // hop)
        rows.append(
            {
                "noise_source": recording["source"],
                "noise_id": recording["id"],
                "kind": kind,
                "noise_start": recording["offset"],
                "noise_samples": recording["samples"],
                "noise_level": recording["level"],
                "noise_offset": int(rng.integers(offsets)) * hop,
                "noise_hop": hop,
                "noise_offsets": offsets,
                "snr_asked": asked,
                "gain_asked": gain,
            }
        )
    drawn = pd.DataFrame(rows)
    for column in drawn:
        if column in table:  # a pair keeps what it came with
            known = table[column]
            drawn[column] = drawn[column].where(~table["paired"], known).astype(known.dtype)
    return table.assign(**drawn)


def set_levels(table: pd.DataFrame, rate: int, seed: int, *, processes: int = 1) -> pd.DataFrame:
    """Set gain, clip scale and realised SNR in dB of each drawn row, by measuring its audio.

    A noise window much fainter than its recording (a gap between two barks) is drawn again where
    an SNR is asked for, since it would be amplified beyond sense.
    """
    parts = [table[start : start + _CHUNK] for start in range(0, len(table), _CHUNK)]
    work = functools.partial(_levels_of_chunk, rate=rate, seed=seed)
    found = np.concatenate(list(ordered_map(work, parts, processes=processes, label="mix")))
    offsets, gains, scales, ratios = found.T
    table = table.assign(
        noise_offset=offsets.astype(int), gain=gains, clip_scale=scales, snr=ratios
    )
    order = [
        "id", "split", "recording", "speaker", "sex", "speech_offset", "noise_id", "kind",
        "noise_offset", "snr_asked", "snr", "gain", "clip_scale", "speech_level", "samples",
        "recording_samples", "paired", "speech_source", "speech_start", "noise_source",
        "noise_start", "noise_samples",
    ]  # fmt: skip
    return table[order].reset_index(drop=True)


def _levels_of_chunk(chunk: pd.DataFrame, rate: int, seed: int) -> np.ndarray:
    """Offset of the noise, gain, clip scale and SNR of each row [shape=(rows, 4)]."""
    packs = load_packs([*chunk["speech_source"], *chunk["noise_source"]])
    return np.array([_levels(row, packs, rate, seed) for row in files.records(chunk)])


def _levels(
    row: dict, packs: dict[str, np.ndarray], rate: int, seed: int
) -> tuple[int, float, float, float]:
    clean, noise = sources(row, packs, rate)
    level, loudness = row["speech_level"], audio.rms(noise)
    if row["paired"]:
        gain = 1.0
    elif not math.isnan(row["snr_asked"]):
        rng = None
        for _ in range(_NOISE_DRAWS):
            if loudness > _FAINT_NOISE * row["noise_level"]:
                break
            rng = rng or np.random.default_rng(item_seed(seed, "redraw", row["id"]))
            row["noise_offset"] = int(rng.integers(row["noise_offsets"])) * row["noise_hop"]
            clean, noise = sources(row, packs, rate)
            loudness = audio.rms(noise)
        gain = level / max(loudness, 1e-9) * 10 ** (-row["snr_asked"] / 20)
    else:
        gain = row["gain_asked"]
    noisy = np.float32(gain) * noise
    noisy += clean
    peak = float(max(noisy.max(), -noisy.min()))
    scale = min(1.0, PEAK / peak) if peak > 0 else 1.0
    snr = 20 * math.log10(level / (gain * loudness)) if gain * loudness > 0 else math.inf
    return row["noise_offset"], gain, scale, snr


def mix_windows(
    splits: Path,
    noise_splits: Path | None,
    settings: MixingSettings,
    rate: int,
    seed: int,
    out_paths: dict[Literal["train", "validation"], Path],
    *,
    processes: int = 1,
) -> None:
    """Write the mixture tables of training and validation windows.

    Parameters
    ----------
    splits, noise_splits
        Tables of `splits.split`; no noise for paired corpora.
    rate
        Samples per second of the prepared audio.
    out_paths
        The CSV to write for each split.

    Raises
    ------
    UserError
        If a split is empty, or no speech recording is as long as a window.
    """
    speech, noise = _read_splits(splits, noise_splits)
    for split, path in out_paths.items():
        table = draw_windows(speech, noise, settings, split, rate, seed)
        table = set_levels(table, rate, seed, processes=processes)
        files.write_table(path, table)
        log.info("%s: %d windows, median SNR %.1f dB", split, len(table), table["snr"].median())


def mix_test_set(
    splits: Path,
    noise_splits: Path | None,
    settings: TestSetSettings,
    rate: int,
    seed: int,
    out_folder: Path,
    *,
    processes: int = 1,
) -> None:
    """Write ``mixtures.csv`` and the packed ``noisy.npy`` and ``clean.npy`` of a test set.

    The table's ``offset`` and ``samples`` say where each utterance lies in both.
    """
    speech, noise = _read_splits(splits, noise_splits)
    table = draw_utterances(speech, noise, settings, seed)
    table = set_levels(table, rate, seed, processes=processes)
    packs = load_packs([*table["speech_source"], *table["noise_source"]])
    out_folder.mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(out_folder / "noisy.npy") as noisy_path,
        files.replacing(out_folder / "clean.npy") as clean_path,
    ):
        noisy_pack, clean_pack = files.PackWriter(noisy_path), files.PackWriter(clean_path)
        offsets = []
        for row in files.records(table):
            noisy, clean = render(row, packs, rate)
            offsets.append(noisy_pack.append(noisy))
            clean_pack.append(clean)
        noisy_pack.close()
        clean_pack.close()
    files.write_table(out_folder / "mixtures.csv", table.assign(offset=offsets))
    files.write_json(
        out_folder / "manifest.json",
        {
            "rate": rate,
            "score_rate": settings.score_rate or rate,
            "utterances": len(table),
            "hours": round(table["samples"].sum() / rate / 3600, 4),
            "speakers": table["speaker"].nunique(),
            "kinds": sorted(table["kind"].unique()),
            "sha256": digest(
                [files.file_digest(out_folder / f"{n}.npy") for n in ("noisy", "clean")]
            ),
        },
    )


def _read_splits(splits: Path, noise_splits: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    speech = files.read_table(splits)
    return speech, files.read_table(noise_splits) if noise_splits else speech.iloc[:0]
