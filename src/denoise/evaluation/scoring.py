"""Scoring every utterance of a test set, one family of metrics at a time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from denoise import audio
from denoise.core import files
from denoise.core.arrays import load_array
from denoise.core.errors import UserError
from denoise.core.pools import ordered_map
from denoise.core.tables import read_table, write_table
from denoise.metrics.opinion import dnsmos
from denoise.metrics.pesq import pesq
from denoise.metrics.recognition import normalised, recognise, word_errors
from denoise.metrics.registry import OPINIONS, score_utterance
from denoise.metrics.validity import Undefined
from denoise.mixing.files import References, Utterances

CHUNK = 4


@dataclass(frozen=True)
class MethodOutput:
    """The output of a method for a test set."""

    enhanced: Path
    """Packed like the noisy audio of the test set."""
    spectral: Path | None = None
    """``id`` and ``mse_spec`` of each utterance, if it predicts spectrograms."""
    bandwidth: int | None = None
    """The sample rate in Hz of the method; default that of the test set.  If ``score_rate`` is
    below 16 kHz, wide-band PESQ is added only for methods of at least 16 kHz."""


def score_test_set(
    output: MethodOutput, test_set: References, out_path: Path, *, processes: int = 1
) -> None:
    """Write a row for each utterance: what it is, every metric that compares with the clean
    reference, and ``status``.

    Everything is scored at the test set's ``score_rate``.
    """
    manifest = files.read_made(test_set.manifest)
    table = read_table(test_set.mixtures)
    work = functools.partial(
        _score_slice,
        enhanced=output.enhanced,
        clean=test_set.clean,
        rate=manifest["rate"],
        score_rate=manifest["score_rate"],
        wide=min(manifest["rate"], output.bandwidth or manifest["rate"]) >= 16000,
    )
    scores = pd.DataFrame(
        ordered_map(work, _places(table), processes=processes, label="score", chunk=CHUNK)
    )
    if output.spectral is not None:
        errors = read_table(output.spectral).set_index("id")["mse_spec"]
        scores["mse_spec"] = errors.reindex(table["id"]).to_numpy()
    else:
        scores["mse_spec"] = np.nan
    _write_scores(table, scores, out_path)


def predict_opinions(
    enhanced: Path, utterances: Utterances, out_path: Path, *, processes: int = 1
) -> None:
    """Write a row for each utterance: what it is, the opinions of `metrics.opinion.dnsmos`, and
    ``status``.

    Parameters
    ----------
    enhanced
        Packed like the noisy audio of the test set.
    """
    rate = files.read_made(utterances.manifest)["rate"]
    table = read_table(utterances.mixtures)
    work = functools.partial(_opinions_of_slice, enhanced=enhanced, rate=rate)
    found = ordered_map(work, _places(table), processes=processes, label="dnsmos", chunk=CHUNK)
    _write_scores(table, pd.DataFrame(found), out_path)


def transcribe(
    test_set: References, recogniser: str, out_path: Path, *, processes: int = 1
) -> None:
    """Write what a recogniser hears in the clean recordings: ``id`` and ``transcript``."""
    rate = files.read_made(test_set.manifest)["rate"]
    table = read_table(test_set.mixtures)
    work = functools.partial(
        _words_of_slice, enhanced=test_set.clean, rate=rate, recogniser=recogniser
    )
    texts = ordered_map(work, _places(table), processes=processes, label=recogniser, chunk=CHUNK)
    write_table(out_path, pd.DataFrame({"id": table["id"], "transcript": list(texts)}))


@dataclass(frozen=True)
class Spoken:
    """Transcripts and the recogniser."""

    recogniser: str
    """One of `metrics.recognition.RECOGNISERS`."""
    clean: Path | None = None
    """What it hears in the clean recordings, as of `transcribe`, which then takes the place of
    transcripts."""


def count_word_errors(
    enhanced: Path, utterances: Utterances, spoken: Spoken, out_path: Path, *, processes: int = 1
) -> None:
    """Write a row for each utterance: what it is, how many ``words`` its transcript has, what was
    ``recognised`` and the ``errors`` in it, ``wer`` (``dwer`` with `spoken.clean`) and ``status``.

    The rate is what an utterance contributes in percent: its errors over the mean number of words
    of all utterances.  So its mean is the word error rate as it is usually given, all errors over
    all words, and not that of utterances, of which short ones would count as much as long ones.
    Utterances without a transcript have none.

    Parameters
    ----------
    enhanced
        Packed like the noisy audio of the test set.

    Raises
    ------
    UserError
        If no utterance has a transcript.
    """
    rate = files.read_made(utterances.manifest)["rate"]
    table = read_table(utterances.mixtures)
    texts = pd.Series("", table.index)
    if spoken.clean is not None:
        texts = read_table(spoken.clean).set_index("id")["transcript"].reindex(table["id"])
    elif "transcript" in table:
        texts = table["transcript"]
    texts = texts.set_axis(table.index)
    known = texts.map(normalised) != ""
    if not known.any():
        raise UserError(
            "no utterance of the test set has a transcript: give its recordings some, or name dwer "
            "in metrics instead of wer"
            if spoken.clean is None
            else f"{spoken.recogniser} recognises no word in the clean recordings: leave dwer out "
            "of metrics"
        )
    name = spoken.recogniser
    work = functools.partial(_words_of_slice, enhanced=enhanced, rate=rate, recogniser=name)
    heard = ordered_map(work, _places(table[known]), processes=processes, label=name, chunk=CHUNK)
    recognised = pd.Series(dict(zip(table.index[known], heard, strict=True)))
    counted = [word_errors(texts[row], text) for row, text in recognised.items()]
    scores = pd.DataFrame(counted, recognised.index, ["errors", "words"], float)
    scores["wer" if spoken.clean is None else "dwer"] = (
        100 * scores["errors"] / scores["words"].mean()
    )
    scores["recognised"] = recognised
    _write_scores(table, scores.reindex(table.index).assign(status="ok"), out_path)


def _words_of_slice(place: tuple[int, int], enhanced: Path, rate: int, recogniser: str) -> str:
    start, length = place
    return recognise(load_array(enhanced)[start : start + length], rate, recogniser)


def _places(table: pd.DataFrame) -> list[tuple[int, int]]:
    """Offset and length in samples of each utterance in packed audio."""
    return list(zip(table["offset"], table["samples"], strict=True))


def _write_scores(table: pd.DataFrame, scores: pd.DataFrame, out_path: Path) -> None:
    """Write what utterances are, and their `scores`, ``status`` last."""
    about = table[
        ["id", "split", "recording", "speaker", "sex", "noise_type", "noise_id", "snr_target"]
    ]
    result = pd.concat([about, table["snr"].rename("snr_input"), scores], axis=1)
    columns = [name for name in result if name != "status"] + ["status"]
    # The last bits of a sum depend on where an array lies in memory; nine digits do not.
    write_table(out_path, result[columns], float_format="%.9g")


def _opinions_of_slice(place: tuple[int, int], enhanced: Path, rate: int) -> dict[str, float | str]:
    start, length = place
    try:
        return {**dnsmos(load_array(enhanced)[start : start + length], rate), "status": "ok"}
    except Undefined as reason:
        return {**dict.fromkeys(OPINIONS, float("nan")), "status": f"dnsmos: {reason}"}


def _score_slice(
    place: tuple[int, int], enhanced: Path, clean: Path, rate: int, score_rate: int, wide: bool
) -> dict[str, float | str]:
    start, length = place
    part = slice(start, start + length)
    pair = [load_array(path)[part] for path in (clean, enhanced)]
    common = [audio.resample(signal, rate, score_rate) for signal in pair]
    values = score_utterance(common[0], common[1], score_rate)
    if wide and score_rate < 16000:
        banded = [audio.resample(signal, rate, 16000) for signal in pair]
        try:
            values["pesq_wb"] = pesq(banded[0], banded[1], 16000, "wb")
        except Undefined as reason:
            before = "" if values["status"] == "ok" else f"{values['status']}; "
            values["status"] = f"{before}pesq_wb: {reason}"
    return values
