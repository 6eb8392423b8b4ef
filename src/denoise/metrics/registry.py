"""The metrics by their name, and all of them for one utterance.

A metric that is not defined for its input raises `Undefined` with the reason, so that no stand-in
value ever enters an average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from denoise.audio import resample
from denoise.metrics.composite import composite
from denoise.metrics.pesq import pesq
from denoise.metrics.sdr import si_sdr, si_sdr_above
from denoise.metrics.signal import mse, segmental_snr, snr
from denoise.metrics.stoi import stoi_and_estoi
from denoise.metrics.validity import Undefined


class Metric(NamedTuple):
    """Name and computation of a metric."""

    title: str
    unit: str = ""
    higher_is_better: bool = True
    measure: Callable[[np.ndarray, np.ndarray, int], float] | None = None
    """From clean and estimate [shape=(samples,)] and their rate; None if `score_utterance` takes it
    together with others."""
    lowest_rate: int = 0
    """At lower sample rates it is undefined, without a failure."""


def _narrow_band(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    band = _band(rate)
    return pesq(resample(clean, rate, band), resample(estimate, rate, band), band, "nb")


def _wide_band(clean: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    return pesq(resample(clean, rate, 16000), resample(estimate, rate, 16000), 16000, "wb")


def _band(rate: int) -> int:
    """The sample rate of PESQ and the composite measures, which are defined at two rates."""
    return 16000 if rate >= 16000 else 8000


METRICS: dict[str, Metric] = {
    "snr": Metric("SNR", "dB", measure=lambda clean, estimate, rate: snr(clean, estimate)),
    "si_sdr": Metric("SI-SDR", "dB", measure=lambda clean, estimate, rate: si_sdr(clean, estimate)),
    "si_sdr_80": Metric("SI-SDR above 80 Hz", "dB", measure=si_sdr_above),
    "seg_snr": Metric("segmental SNR", "dB", measure=segmental_snr),
    "pesq_nb": Metric("PESQ-NB", measure=_narrow_band),
    "pesq_wb": Metric("PESQ-WB", measure=_wide_band, lowest_rate=16000),
    "stoi": Metric("STOI"),
    "estoi": Metric("ESTOI"),
    "csig": Metric("CSIG"),
    "cbak": Metric("CBAK"),
    "covl": Metric("COVL"),
    "mse": Metric("MSE", "", False, lambda clean, estimate, rate: mse(clean, estimate)),
}
"""The metrics of `score_utterance`, in the order of the tables. To add one, name it here."""
SPECTRAL = {"mse_spec": Metric("MSE of the scaled spectrogram", higher_is_better=False)}
"""Metrics that enhancement computes on its own spectrograms."""
OPINIONS = {
    "dnsmos_sig": Metric("DNSMOS SIG"),
    "dnsmos_bak": Metric("DNSMOS BAK"),
    "dnsmos_ovrl": Metric("DNSMOS OVRL"),
    "dnsmos_p808": Metric("DNSMOS P.808"),
}
"""The outputs of `opinion.dnsmos`, which needs no reference."""
RECOGNITION = {
    "wer": Metric("WER", "%", higher_is_better=False),
    "dwer": Metric("dWER", "%", higher_is_better=False),
}
"""Word error rates as of `recognition.word_errors`."""
SCORED = METRICS | SPECTRAL | OPINIONS | RECOGNITION
"""All columns of score tables."""
FAMILIES: dict[str, str] = {
    "intrusive": "those that compare with the clean reference",
    "dnsmos": "the opinions of listeners that DNSMOS predicts without a reference",
    "wer": "the word error rate of a speech recogniser, where there are transcripts",
    "dwer": "that against what the recogniser hears in the clean recording",
}
"""Families of metrics, the values of an experiment's ``metrics``; one job computes a family for all
utterances."""
RANKING = ("si_sdr", "dnsmos_ovrl")
"""Metrics for ranking: the first one that was measured is used; higher is better for all."""


def score_utterance(clean: np.ndarray, estimate: np.ndarray, rate: int) -> dict[str, float | str]:
    """Compute all intrusive metrics of one utterance.

    PESQ and the composite metrics are defined at 8 and 16 kHz; for them audio of another rate is
    resampled to 16 kHz, or to 8 kHz if its rate is lower than 16 kHz.

    Parameters
    ----------
    clean, estimate : np.ndarray [shape=(samples,)]
        The reference, and the signal to score; nominal range [-1, 1].
    rate : int
        Sample rate of both in Hz.

    Returns
    -------
    dict
        Name → value in its unit (NaN where undefined), for the names of `METRICS`; and
        ``status``, which is ``ok`` or says why values are missing.

    Raises
    ------
    ValueError
        If the signals have different lengths.

    Example
    -------
    >>> scores = denoise.metrics.score(clean, enhanced, rate)
    >>> scores["status"]
    'ok'
    """
    clean, estimate = np.ascontiguousarray(clean), np.ascontiguousarray(estimate)
    if len(clean) != len(estimate):
        raise ValueError(f"clean has {len(clean)} samples and estimate {len(estimate)}")
    values: dict[str, float | str] = dict.fromkeys(METRICS, float("nan"))
    if len(clean) == 0:
        return {**values, "status": "no samples"}
    if not (np.isfinite(clean).all() and np.isfinite(estimate).all()):
        return {**values, "status": "NaN or infinite samples"}
    reasons: list[str] = []
    for name, metric in METRICS.items():
        if metric.measure is None or rate < metric.lowest_rate:
            continue
        try:
            values[name] = metric.measure(clean, estimate, rate)
        except Undefined as reason:
            reasons.append(f"{name}: {reason}")
    try:
        values["stoi"], values["estoi"] = stoi_and_estoi(clean, estimate, rate)
    except Undefined as reason:
        reasons.append(f"stoi, estoi: {reason}")
    band = _band(rate)
    used = values["pesq_wb" if band == 16000 else "pesq_nb"]
    if isinstance(used, float) and np.isfinite(used):
        pair = [resample(signal, rate, band) for signal in (clean, estimate)]
        try:
            values.update(composite(pair[0], pair[1], band, used))
        except Undefined as reason:
            reasons.append(f"composite: {reason}")
    values["status"] = "; ".join(reasons) or "ok"
    return values
