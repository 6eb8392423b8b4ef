"""Scoring every utterance of a test set, or of anyone's folders of files."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from denoise import audio, files, metrics
from denoise.audio import audio_files
from denoise.errors import UserError
from denoise.parallel import ordered_map

log = logging.getLogger(__name__)

_CHUNK = 4


def score_test_set(
    enhanced: Path, test_set: Path, bandwidth: int | None, out_path: Path, *, processes: int = 1
) -> None:
    """Write a row for each utterance: what it is, every metric, and ``status``.

    Everything is scored at the test set's ``score_rate``.

    Parameters
    ----------
    enhanced
        Output packed like the test set's ``noisy.npy``; a table of the same name with ``mse_spec``
        may lie beside it.
    test_set
        Folder that `mixing.mix_test_set` wrote.
    bandwidth
        The rate in Hz that the method works at, if not that of the test set: only from 16 kHz on
        is wide-band PESQ measured beside the others.
    """
    manifest = files.read_json(test_set / "manifest.json")
    table = files.read_table(test_set / "mixtures.csv")
    work = functools.partial(
        _score_slice,
        enhanced=enhanced,
        clean=test_set / "clean.npy",
        rate=manifest["rate"],
        score_rate=manifest["score_rate"],
        wide=min(manifest["rate"], bandwidth or manifest["rate"]) >= 16000,
    )
    places = list(zip(table["offset"], table["samples"], strict=True))
    scores = pd.DataFrame(
        ordered_map(work, places, processes=processes, label="score", chunk=_CHUNK)
    )
    about = table[["id", "split", "recording", "speaker", "sex", "kind", "noise_id", "snr_asked"]]
    result = pd.concat([about, table["snr"].rename("snr_in"), scores], axis=1)
    spectral = enhanced.with_suffix(".csv")
    if spectral.exists():
        result = result.merge(files.read_table(spectral), on="id", how="left")
    else:
        result["mse_spec"] = np.nan
    columns = [name for name in result if name != "status"] + ["status"]
    # The last bits of a sum depend on where an array lies in memory; nine digits do not.
    files.write_table(out_path, result[columns], float_format="%.9g")


def _score_slice(
    place: tuple[int, int], enhanced: Path, clean: Path, rate: int, score_rate: int, wide: bool
) -> dict[str, float | str]:
    start, length = place
    part = slice(start, start + length)
    pair = [files.load_array(path)[part] for path in (clean, enhanced)]
    common = [audio.resample(signal, rate, score_rate) for signal in pair]
    values = metrics.score(common[0], common[1], score_rate)
    if wide and score_rate < 16000:
        banded = [audio.resample(signal, rate, 16000) for signal in pair]
        try:
            values["pesq_wb"] = metrics.pesq(banded[0], banded[1], 16000, "wb")
        except metrics.Undefined as reason:
            before = "" if values["status"] == "ok" else f"{values['status']}; "
            values["status"] = f"{before}pesq_wb: {reason}"
    return values


def score_folders(
    clean: Path, enhanced: Path, noisy: Path | None = None, *, processes: int = 1
) -> pd.DataFrame:
    """Score the files of `enhanced` against those of the same name in `clean`.

    Files are compared by their path without suffix, at 16 kHz if the clean file's rate is at least
    that, else at 8 kHz.  With `noisy`, its files are scored too; only names that stand in all
    folders are, so that means are over the same files.

    Returns
    -------
    pd.DataFrame
        Columns ``file``, ``method`` (``enhanced`` or ``noisy``), the metrics and ``status``.

    Raises
    ------
    UserError
        If a folder is missing or empty, or no name stands in all of them.
    """
    folders = {"clean": clean, "enhanced": enhanced} | ({"noisy": noisy} if noisy else {})
    found = {
        method: {
            path.relative_to(folder).with_suffix("").as_posix(): path
            for path in audio_files(folder)
        }
        for method, folder in folders.items()
    }
    common = set.intersection(*(set(names) for names in found.values()))
    for method in list(found)[1:]:
        if not found["clean"].keys() & found[method].keys():
            raise UserError(
                f"no file of '{folders[method]}' has the name of one in '{clean}': the clean and "
                "the processed version of an utterance must have the same name"
            )
    if not common:
        raise UserError(f"no name stands in all of {', '.join(map(str, folders.values()))}")
    alone = sorted(set.union(*(set(names) for names in found.values())) - common)
    if alone:
        log.warning(
            "%d of the names do not stand in all of %s and are not scored: %s",
            len(alone),
            ", ".join(f"'{folder}'" for folder in folders.values()),
            ", ".join(alone[:5]) + (", …" if len(alone) > 5 else ""),
        )
    jobs = [
        (name, method, found["clean"][name], found[method][name])
        for method in list(found)[1:]
        for name in sorted(common)
    ]
    rows = ordered_map(_score_files, jobs, processes=processes, label="score", chunk=_CHUNK)
    return pd.DataFrame(rows)


def _score_files(item: tuple[str, str, Path, Path]) -> dict[str, float | str]:
    name, method, clean_path, other_path = item
    about: dict[str, float | str] = {"file": name, "method": method}
    try:
        clean, rate = audio.read(clean_path)
        other, other_rate = audio.read(other_path)
    except audio.UnusableAudio as error:
        empty: dict[str, float | str] = dict.fromkeys(metrics.METRICS, float("nan"))
        return {**about, **empty, "status": str(error)}
    working = 16000 if rate >= 16000 else 8000
    first = audio.resample(clean.mean(axis=1), rate, working)
    second = audio.resample(other.mean(axis=1), other_rate, working)
    # Codecs and resamplers may add or drop a few samples; more is another recording.
    if abs(len(first) - len(second)) > 0.05 * working:
        empty = dict.fromkeys(metrics.METRICS, float("nan"))
        lengths = f"{len(first) / working:.2f} s and {len(second) / working:.2f} s"
        return {**about, **empty, "status": f"lengths differ: {lengths}"}
    length = min(len(first), len(second))
    return {**about, **metrics.score(first[:length], second[:length], working)}
