"""DNSMOS: predicted opinions of listeners, without a clean reference.

Two networks of Microsoft's that were trained on ratings: P.835 (Reddy, Gopal & Cutler, ICASSP 2022)
predicts how good the speech (SIG), the background (BAK) and the whole (OVRL) are judged, P.808
(Reddy, Gopal & Cutler, ICASSP 2021) one overall opinion, all on the scale of 1 to 5.  Their weights
come with the package ``speechmos``; windows, features and calibration are those of its authors.

They were trained on one language, on recordings of 16 kHz, and on the artefacts of the denoisers of
their time: they rank methods on many recordings, and say little of a single one.  Clean speech
itself has an OVRL of about 3.2.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from denoise.audio import resample
from denoise.metrics.validity import Undefined

RATE = 16_000
NAMES = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808")
_WINDOW_S = 9.01
_WINDOW = int(_WINDOW_S * RATE)
_HOP = RATE
_FRAME, _FRAME_HOP, _BANDS = 321, 160, 120
_CALIBRATION = {
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
"""Polynomials from what the P.835 network gives to opinions, highest power first."""
_SHORTEST_S = 0.5
"""Shorter recordings would be repeated more than eighteen times to fill a window."""


def dnsmos(audio: np.ndarray, rate: int) -> dict[str, float]:
    """Predict how listeners would rate a recording, with DNSMOS P.835 and P.808.

    Ratings are means over windows of 9.01 s that start a second apart; a shorter recording is
    repeated until it fills one (Reddy, Gopal & Cutler, ICASSP 2021 and 2022).

    Parameters
    ----------
    audio : np.ndarray [shape=(samples,)]
        Nominal range [-1, 1]; samples beyond it are clipped, as a file would have them.
    rate : int
        Samples per second; resampled to 16 kHz.

    Returns
    -------
    dict
        ``dnsmos_sig`` (speech), ``dnsmos_bak`` (background), ``dnsmos_ovrl`` (overall) and
        ``dnsmos_p808``, from 1 to 5; higher is better.

    Raises
    ------
    Undefined
        If the recording is silent or shorter than half a second.
    ModuleNotFoundError
        If ``speechmos`` is not installed.

    Example
    -------
    >>> overall = denoise.metrics.dnsmos(enhanced, rate)["dnsmos_ovrl"]
    """
    if len(audio) < _SHORTEST_S * rate:
        raise Undefined(f"shorter than {_SHORTEST_S:g} s")
    wave = np.clip(resample(audio, rate, RATE), -1, 1)
    if not wave.any():
        raise Undefined("the recording is silent")
    while len(wave) < _WINDOW:
        wave = np.append(wave, wave)
    whole, p808 = _sessions()
    # Of whole seconds, as the authors count them.
    count = int(len(wave) // RATE - _WINDOW_S) + 1
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for number in range(count):
        # Rounded as the authors do, who leave out the windows that come out a sample short by it.
        window = wave[number * _HOP : int((number + _WINDOW_S) * RATE)]
        if len(window) < _WINDOW:
            continue
        raw = whole.run(None, {"input_1": window[None]})[0][0]
        for name, value in zip(_CALIBRATION, raw, strict=True):
            found[name].append(float(np.polyval(_CALIBRATION[name], value)))
        features = mel_levels(window[:-_FRAME_HOP])[None]
        found["dnsmos_p808"].append(float(p808.run(None, {"input_1": features})[0][0][0]))
    return {name: float(np.mean(values)) for name, values in found.items()}


@functools.cache
def _sessions() -> tuple[Any, Any]:
    """The networks of P.835 and P.808, loaded once in each process, each on one core."""
    # Found without being imported: it would import librosa.
    spec = importlib.util.find_spec("speechmos")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'speechmos'", name="speechmos")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    folder = Path(spec.origin).parent / "dnsmos_models"
    whole, p808 = (
        onnxruntime.InferenceSession(
            str(folder / name), options, providers=["CPUExecutionProvider"]
        )
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    )
    return whole, p808


def mel_levels(wave: np.ndarray) -> np.ndarray:
    """Levels of 120 mel bands [shape=(frames, 120)], 0.025 for each dB, 1 at the loudest.

    As ``librosa.feature.melspectrogram`` and ``power_to_db`` give them with their defaults, which
    would take 4 s to import.
    """
    half = _FRAME // 2
    padded = np.pad(np.asarray(wave, np.float32), half)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_FRAME_HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
    power = np.square(np.abs(np.fft.rfft(frames * window.astype(np.float32), axis=1)))
    level = 10 * np.log10(np.maximum(power @ _mel_filters().T, 1e-10))
    level -= level.max()
    return ((np.maximum(level, -80) + 40) / 40).astype(np.float32)


@functools.cache
def _mel_filters() -> np.ndarray:
    """Triangles of equal area on the mel scale of Slaney's Auditory Toolbox (1998) [shape=(120,
    161)]: linear below 1 kHz, logarithmic above."""
    per_octave = np.log(6.4) / 27
    top = 15 + np.log(RATE / 2 / 1000) / per_octave
    mels = np.linspace(0, top, _BANDS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(per_octave * (mels - 15)))
    frequencies = np.arange(_FRAME // 2 + 1) * RATE / _FRAME
    rises = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falls = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rises, falls))
    return np.asarray(triangles * (2 / (edges[2:] - edges[:-2]))[:, None])
