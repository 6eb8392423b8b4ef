"""From an index table to one packed file of mono audio at the working sample rate.

Recordings are selected (sex, category, fold, speaker, hours), decoded, downmixed, resampled and
packed one after another.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from denoise import audio
from denoise.core import files
from denoise.core.arrays import PackWriter
from denoise.core.errors import UserError
from denoise.core.pools import ordered_map
from denoise.core.settings import Settings
from denoise.core.tables import read_table, write_table
from denoise.corpora.selection import AudioSettings, SelectionSettings, select

log = logging.getLogger(__name__)

_SAME_LENGTH_S = 0.05
"""Codecs and resamplers may add or drop as much."""
_LONGEST_DELAY_S = 0.5
_CLEARLY = 1.05
"""The correlation at a delay over that without one: noise may move its top by a sample or two."""
_TRAILING_NUMBERS = r"[-_ \d]*\d$"
_SILENCE = 1e-5  # RMS, -100 dBFS: less than the rounding noise of 16 bits


_Loaded = tuple[np.ndarray, np.ndarray | None, float, str]
"""Audio, noisy version, level, and digest of the samples."""


class PreparationSettings(Settings):
    """One source of recordings, to be prepared."""

    corpus: str
    """Name of the corpus, for the table and for messages."""
    role: Literal["speech", "noise", "room"]
    """A folder may be any; a recording of noise has no speaker, one of unpaired speech no noise
    kind, and the impulse response of a room neither."""
    selection: SelectionSettings = SelectionSettings()
    """Selection of recordings."""
    audio: AudioSettings = AudioSettings()
    """Decoding and filtering."""
    seed: int = 0
    """Decides which recordings are taken where `selection.hours` limits them."""
    listing: str = ""
    """Digest of the recordings in a local folder, as of `corpora.sources.listing_of`."""


@dataclass(frozen=True)
class PreparedFiles:
    """The recordings of one source, one after another in one file."""

    audio: Path
    """Float32 [shape=(samples,)], ``.npy``."""
    index: Path
    """Place and level of each recording."""
    manifest: Path
    """Dropped recordings and the reasons."""


def prepare(
    indexes: list[Path], source: PreparationSettings, out: PreparedFiles, *, processes: int = 1
) -> None:
    """Select, decode, resample and pack the recordings of one source.

    Parameters
    ----------
    indexes
        The index tables of the source's subsets.
    processes
        How many recordings are decoded at once; the result does not depend on it.

    Raises
    ------
    UserError
        If nothing is left, or more than `max_dropped` of the files are unusable.
    """
    what, settings = source.corpus, source.audio
    for path in indexes:
        files.wait_for(path)
    table = pd.concat([read_table(path) for path in indexes], ignore_index=True)
    if source.role == "room":
        table = _as_rooms(table)
    elif source.role == "noise":
        table[["speaker", "sex"]] = ""
    else:
        table.loc[table["noisy_path"] == "", "noise_type"] = ""
    table, skipped = select(table, what, source.selection, settings, source.seed)
    # Noise is not cut: the gaps between two barks belong to it.
    trim_top_db = settings.trim_top_db if source.role == "speech" else None
    load: Callable[[tuple[str, str]], _Loaded | str] = functools.partial(
        _load, rate=settings.sample_rate, trim_top_db=trim_top_db
    )
    if source.role == "room":
        load = functools.partial(_load_response, rate=settings.sample_rate)
    rows: list[dict[str, object]] = []
    dropped: list[dict[str, str]] = []
    items = list(zip(table["path"], table["noisy_path"], strict=True))
    with files.replacing(out.audio) as temporary:
        pack = PackWriter(temporary)
        loaded = ordered_map(
            load, items, processes=processes, label="prepare", chunk=8, threads=True
        )
        for row, result in zip(table.to_dict("records"), loaded, strict=True):
            if isinstance(result, str):
                dropped.append({"id": row["id"], "path": row["path"], "reason": result})
                continue
            clean, noisy, row["level"], row["content"] = result
            row["offset"] = pack.append(clean)
            row["samples"] = len(clean)
            row["noisy_offset"] = pack.append(noisy) if noisy is not None else -1
            rows.append(row)
        digest = pack.close()
    _check_dropped(dropped, len(table), settings, what)
    index = pd.DataFrame(rows).drop(columns=["duration", "path", "noisy_path"])
    index.insert(0, "corpus", what)
    write_table(out.index, index)
    files.write_json(
        out.manifest,
        {
            "corpus": what,
            "selection": source.selection.model_dump(mode="json"),
            "audio": settings.model_dump(mode="json"),
            "sha256": digest,
            "recordings": len(index),
            "hours": round(index["samples"].sum() / settings.sample_rate / 3600, 4),
            "left_out": dict(skipped),
            "dropped": dropped,
        },
    )
    log.info("%d recordings packed, %d dropped", len(index), len(dropped))


def _as_rooms(table: pd.DataFrame) -> pd.DataFrame:
    """An index of impulse responses, whose groups are rooms.

    In a folder of the user's own the sub-folder names the room (or that of the level which would
    name the speaker), or the file's name without its trailing numbers does.
    """
    # Only files of such a folder have a kind of noise here; those in no sub-folder a plain name.
    own, within = table["noise_type"] != "", table["id"].str.count("/") > 1
    of_file = table["noise_type"].str.replace(_TRAILING_NUMBERS, "", regex=True)
    by_level = own & (table["group"] != table["id"].str.replace(r"\.[^./]*$", "", regex=True))
    room = table["group"].where(~own | by_level, table["noise_type"].where(within, of_file))
    return table.assign(group=room, speaker="", sex="", noise_type="")


def _check_dropped(
    dropped: list[dict[str, str]], total: int, settings: AudioSettings, what: str
) -> None:
    for drop in dropped[:20]:
        log.warning("dropped %s: %s", drop["path"], drop["reason"])
    if len(dropped) > settings.max_dropped * total or len(dropped) == total:
        listed = "; ".join(f"{drop['path']} {drop['reason']}" for drop in dropped[:5])
        more = f"; and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        raise UserError(
            f"{len(dropped)} of {total} files of {what} are unusable, more than "
            f"audio.max_dropped {settings.max_dropped:g} allows: {listed}{more}"
        )


def _unlike(clean: np.ndarray, noisy: np.ndarray, rate: int) -> str:
    """Why a noisy recording cannot be that of a clean one; nothing if it can.

    Both must be equally long but for `_SAME_LENGTH_S`, and where the cross-correlation is largest
    is the delay between them, which must be less than two samples: what is late by more has other
    phases, which a network would learn.
    """
    seconds = len(noisy) / rate, len(clean) / rate
    if abs(seconds[0] - seconds[1]) > _SAME_LENGTH_S:
        return f"lasts {seconds[1]:.2f} s, but its noisy version {seconds[0]:.2f} s"
    if not noisy.any():
        return "its noisy version is silent"
    most = min(int(_LONGEST_DELAY_S * rate), len(clean) - 1)
    length = 1 << (max(len(clean), len(noisy)) + most).bit_length()
    product = np.fft.rfft(noisy, length) * np.conj(np.fft.rfft(clean, length))
    found = np.fft.irfft(product, length)
    lags = np.r_[-most : most + 1]
    values = found[lags]
    delay = int(lags[np.argmax(values)])
    if abs(delay) > 1 and values.max() > _CLEARLY * max(found[0], 0):
        late = "late" if delay > 0 else "early"
        return (
            f"its noisy version is {1000 * abs(delay) / rate:.1f} ms ({abs(delay)} samples at "
            f"{rate} Hz) {late}: align both"
        )
    return ""


def _load_response(paths: tuple[str, str], rate: int) -> _Loaded | str:
    """What can be heard of an impulse response, its level and its digest, or why it is of no use.

    Of several channels the first is taken: their mean would be a response of no place.
    """
    try:
        response = audio.read_mono(paths[0], rate, channel=0)
    except audio.UnusableAudio as error:
        return str(error)
    if not response.any():
        return "is silent"
    response = np.ascontiguousarray(audio.trim_response(response, rate))
    return response, None, float(audio.rms(response)), _content_of(response)


def _content_of(wave: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(wave).data).hexdigest()[:12]


def _load(paths: tuple[str, str], rate: int, trim_top_db: float | None) -> _Loaded | str:
    """Mono audio of a recording and of its noisy version, its active level and the digest of its
    samples, or the reason it cannot be used."""
    path, noisy_path = paths
    try:
        clean = audio.read_mono(path, rate)
        if len(clean) == 0:
            return f"is shorter than a sample at {rate} Hz"
        if audio.energy(clean) < _SILENCE**2 * len(clean):
            return "is silent"
        if np.ptp(clean) < _SILENCE:
            return "is constant"
        noisy = audio.read_mono(noisy_path, rate) if noisy_path else None
    except audio.UnusableAudio as error:
        return str(error)
    if noisy is not None:
        if reason := _unlike(clean, noisy, rate):
            return reason
        length = min(len(clean), len(noisy))
        clean, noisy = clean[:length], noisy[:length]
    elif trim_top_db is not None:
        from librosa import effects  # type: ignore[attr-defined]  # slow to import

        clean, _ = effects.trim(clean, top_db=trim_top_db)
    level, _ = audio.active_level(clean, rate)
    return clean, noisy, level, _content_of(clean)
