"""Drawing the sources of mixtures: speech, noise, room and degradations.

Each row has its own seed.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from denoise.core.errors import UserError
from denoise.core.settings import item_seed
from denoise.core.tables import records
from denoise.corpora.splits import members
from denoise.mixing.degradations import DegradationSettings, to_text
from denoise.mixing.files import Recordings
from denoise.mixing.rooms import NO_ROOM, RoomSettings
from denoise.mixing.settings import MixingSettings, MixtureSettings, TestSetSettings

_Pool = TypeVar("_Pool")


def draw_windows(
    given: Recordings,
    settings: MixingSettings,
    split: Literal["train", "validation", "test"],
    rate: int,
    seed: int,
) -> pd.DataFrame:
    """Choose the sources of every window of a split, and what becomes of it; gains are set later by
    `set_levels`.

    Speech windows are taken in random rounds, each window once a round, until the asked hours are
    filled; each meets another noise window.

    Raises
    ------
    UserError
        If a split is empty, or no speech recording is as long as a window.
    """
    speech = members(given.speech, split, "speech")
    starts = _window_starts(speech, settings, split, seed)
    if not starts:
        raise UserError(
            f"no {split} recording is as long as mixing.segment ({settings.segment} samples, "
            f"{settings.segment / rate:.2f} s): give longer speech or a shorter window, or set "
            "mixing.pad"
        )
    count = settings.count(split, rate) or len(starts)
    rounds = -(-count // len(starts))
    order = np.concatenate(
        [
            np.random.default_rng(item_seed(seed, split, "round", number)).permutation(len(starts))
            for number in range(rounds)
        ]
    )[:count]
    recordings, firsts = np.array(starts)[order].T
    table = _speech_rows(speech.iloc[recordings], firsts, settings.segment)
    table["split"] = split
    table["id"] = [f"{split}-{number:07d}" for number in range(count)]
    return _draw_mixtures(table, given, split, settings, seed, settings.noise_stride)


def _window_starts(
    speech: pd.DataFrame, settings: MixingSettings, split: str, seed: int
) -> list[tuple[int, int]]:
    """Recording number and first sample of each speech window of a split."""
    share = speech["validation_windows"].max() if split != "test" else 0
    shortest = settings.segment if settings.pad else 0
    starts = [
        (row, start)
        for row, samples in enumerate(speech["samples"])
        for start in range(0, max(samples, shortest) - settings.segment + 1, settings.speech_stride)
    ]
    if share:
        order = np.random.default_rng(item_seed(seed, "by window")).permutation(len(starts))
        validation = set(order[: max(1, round(share * len(starts)))].tolist())
        wanted = split == "validation"
        starts = [start for k, start in enumerate(starts) if (k in validation) == wanted]
    return starts


def draw_utterances(given: Recordings, settings: TestSetSettings, seed: int) -> pd.DataFrame:
    """Choose the sources of a test set of mixed utterances, and what becomes of them; gains are set
    later by `set_levels`.

    Utterances are taken round-robin from the speakers of the set's split, in an order that the seed
    gives, until `settings.utterances` are chosen; each copy of one draws its noise anew.

    Returns
    -------
    pd.DataFrame
        A row for each mixture, as `set_levels` takes it.

    Raises
    ------
    UserError
        If the split is empty.
    """
    table = choose_utterances(given.speech, settings, seed)
    return _draw_mixtures(table, given, settings.split, settings, seed, 1)


def choose_utterances(speech: pd.DataFrame, settings: TestSetSettings, seed: int) -> pd.DataFrame:
    """The utterances of a test set, as `draw_utterances` chooses them, without noise."""
    speech = members(speech, settings.split, "speech").copy()
    speech["order"] = [item_seed(seed, settings.split, name) for name in speech["id"]]
    speech["round"] = speech.groupby("speaker")["order"].rank()
    speech = speech.sort_values(["round", "order"])[: settings.utterances]
    names = speech["id"].tolist()
    speech = pd.concat([speech] * settings.copies)
    table = _speech_rows(speech, np.zeros(len(speech), int), speech["samples"].to_numpy())
    table["id"] = [f"{name}-{copy}" for copy in range(settings.copies) for name in names]
    return table


def _speech_rows(
    speech: pd.DataFrame, starts: np.ndarray, lengths: np.ndarray | int
) -> pd.DataFrame:
    """The speech columns of a mixture table for parts of recordings [shape=(rows,) each], in
    samples."""
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
            "noise_type": speech["noise_type"].where(paired, ""),
            "snr_target": speech["snr"].where(paired, np.nan),
        }
    )


def _draw_mixtures(
    table: pd.DataFrame,
    given: Recordings,
    split: str,
    settings: MixtureSettings,
    seed: int,
    stride: int,
) -> pd.DataFrame:
    """Add noise, room and degradations to each row."""
    noise = members(given.noise, split, "noise") if len(given.noise) else given.noise
    table = _draw_noise(table, noise, settings, seed, stride)
    if settings.rooms.share:
        assert given.rooms is not None
        table = _draw_rooms(table, members(given.rooms, split, "rooms"), settings.rooms, seed)
    if settings.degradations.active:
        table = _draw_degradations(table, settings.degradations, seed)
    return table


def _draw_noise(
    table: pd.DataFrame, noise: pd.DataFrame, level: MixtureSettings, seed: int, stride: int
) -> pd.DataFrame:
    """Add to each row that is not paired a noise recording, an offset and the target level."""
    if table["paired"].all():
        return table.assign(noise_id="", noise_offset=0, noise_samples=0, gain_target=1.0)
    pools = [
        (share, {name: records(group) for name, group in part.groupby("noise_type", sort=True)})
        for share, part in _pools(noise)
    ]
    order = np.random.default_rng(item_seed(seed, "deal", len(table))).permutation(len(table))
    rows = []
    for number, (name, paired, length) in enumerate(
        zip(table["id"].tolist(), table["paired"].tolist(), table["samples"].tolist(), strict=True)
    ):
        if paired:
            rows.append({"noise_id": "", "noise_offset": 0, "noise_samples": 0})
            continue
        rng = np.random.default_rng(item_seed(seed, "mixture", name))
        # Noise types and SNRs are assigned evenly, but in an order that ties neither to the other.
        by_type = _drawn_pool(pools, seed, name)
        types = list(by_type)
        noise_type = types[order[number] % len(types)]
        recording = by_type[noise_type][rng.integers(len(by_type[noise_type]))]
        target, gain = np.nan, np.nan
        if level.gain is not None:
            gain = rng.uniform(*level.gain)
        elif level.snr_range_db is not None:
            target = rng.uniform(*level.snr_range_db)
        else:
            assert level.snr_db is not None
            # One round goes through both lists in step, the next shifts them against each other.
            rounds = order[number] // math.lcm(len(types), len(level.snr_db))
            target = level.snr_db[(order[number] + rounds) % len(level.snr_db)]
        offsets = max(1, -(-max(recording["samples"] - length, 0) // stride))
        if recording["samples"] < length:
            offsets = -(-recording["samples"] // stride)
        rows.append(
            {
                "noise_source": recording["source"],
                "noise_id": recording["id"],
                "noise_type": noise_type,
                "noise_start": recording["offset"],
                "noise_samples": recording["samples"],
                "noise_level": recording["level"],
                "noise_offset": int(rng.integers(offsets)) * stride,
                "noise_stride": stride,
                "noise_offsets": offsets,
                "snr_target": target,
                "gain_target": gain,
            }
        )
    sources = pd.DataFrame(rows)
    for column in sources:
        if column in table:  # a pair keeps what it came with
            known = table[column]
            sources[column] = sources[column].where(~table["paired"], known).astype(known.dtype)
    return table.assign(**sources)


def _pools(table: pd.DataFrame) -> list[tuple[float, pd.DataFrame]]:
    """Share and rows of each source with a `share`, and of the other sources together."""
    if "share" not in table:
        return [(1.0, table)]
    asked = table["share"].notna()
    pools = [(part["share"].iloc[0], part) for _, part in table[asked].groupby("source")]
    left = 1 - sum(share for share, _ in pools)
    if not asked.all() and left > 0:
        pools.append((left, table[~asked]))
    # A split may lack a source.
    whole = sum(share for share, _ in pools)
    return [(share / whole, part) for share, part in pools]


def _drawn_pool(pools: list[tuple[float, _Pool]], seed: int, name: str) -> _Pool:
    """The rows from which a row draws its recording."""
    if len(pools) > 1:
        chance = np.random.default_rng(item_seed(seed, "source", name)).random()
        for share, pool in pools[:-1]:
            if chance < share:
                return pool
            chance -= share
    return pools[-1][1]


def _draw_rooms(
    table: pd.DataFrame, responses: pd.DataFrame, settings: RoomSettings, seed: int
) -> pd.DataFrame:
    """Add a room, and positions of speech and noise in it, to a share of the unpaired rows. The
    positions differ if the room has more than one response."""
    pools = [
        (share, [(*room, records(group)) for room, group in part.groupby(["source", "group"])])
        for share, part in _pools(responses)
    ]
    rows = []
    for name, paired in zip(table["id"], table["paired"], strict=True):
        rng = np.random.default_rng(item_seed(seed, "room", name))
        if paired or rng.random() >= settings.share:
            rows.append(NO_ROOM)
            continue
        by_room = _drawn_pool(pools, seed, name)
        source, room, found = by_room[rng.integers(len(by_room))]
        order = rng.permutation(len(found))
        speech, noise = found[order[0]], found[order[-1]]
        rows.append(
            {
                "room": room,
                "speech_response": speech["id"],
                "noise_response": noise["id"],
                "room_target": settings.target,
                "early_ms": settings.early_ms,
                "room_source": source,
                "speech_response_start": speech["offset"],
                "speech_response_samples": speech["samples"],
                "noise_response_start": noise["offset"],
                "noise_response_samples": noise["samples"],
            }
        )
    return pd.concat([table, pd.DataFrame(rows, index=table.index)], axis=1)


def _draw_degradations(
    table: pd.DataFrame, settings: DegradationSettings, seed: int
) -> pd.DataFrame:
    """Add the degradations of each row."""
    drawn = [
        to_text(settings.draw(np.random.default_rng(item_seed(seed, "degradations", name))))
        for name in table["id"]
    ]
    return table.assign(degradations=drawn)
