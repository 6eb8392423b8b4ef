"""The Python API: denoising recordings and streams.

Everything here works in the small install; it imports no package of the workflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from denoise import audio
from denoise.core.bundled import bundled
from denoise.core.errors import UserError, did_you_mean
from denoise.enhancement.enhancer import Enhancer
from denoise.enhancement.live import load_stream
from denoise.enhancement.settings import EnhancementSettings
from denoise.enhancement.stream import Stream
from denoise.networks.card import ModelCard, ModelFolder
from denoise.networks.runtimes import Name
from denoise.study import paths

READY = ("best", "stream", "small")
"""The models that come with the program: for recordings, and for streams."""
Bandwidth = Literal["full", "model"]


class Model:
    """A trained denoiser, as `load` returns it."""

    def __init__(self, folder: Path, runtime: Name | None = None) -> None:
        self._enhancer = Enhancer.load(folder, runtime=runtime)
        self.folder = folder

    def __repr__(self) -> str:
        return f"<denoise.Model {self.card.name}, {self.rate} Hz>"

    @property
    def card(self) -> ModelCard:
        """The model card: what the model is, and how it was trained."""
        return self._enhancer.card

    @property
    def rate(self) -> int:
        """Sample rate in Hz at which the network works; recordings may have any rate."""
        return self._enhancer.rate

    def enhance(
        self,
        noisy: np.ndarray,
        rate: int,
        *,
        strength: float = 1.0,
        max_attenuation_db: float | None = None,
        bandwidth: Bandwidth = "full",
        link_channels: bool = True,
    ) -> np.ndarray:
        """Denoise a recording.

        Parameters
        ----------
        noisy : np.ndarray [shape=(samples,) or (samples, channels)]
            Real numbers, nominal range [-1, 1].
        rate : int
            Sample rate in Hz, at least 1,000.
        strength : float
            Share of the enhanced signal in the output, from 0 to 1; the rest is the input.
        max_attenuation_db : float, optional
            Attenuation limit in dB: no bin of the spectrum is attenuated by more; default none.
        bandwidth
            ``full`` keeps frequencies above half of the model's rate, with the gain of the highest
            frequencies below; ``model`` removes them.
        link_channels
            Whether all channels get the same gains, which keeps the stereo image; otherwise each is
            enhanced on its own.

        Returns
        -------
        np.ndarray [shape=that of `noisy`], float32

        Raises
        ------
        ValueError
            If an argument is out of range, or the audio has another shape or is not finite.

        Example
        -------
        >>> noisy, rate = denoise.read("talk.wav")
        >>> enhanced = denoise.load("best").enhance(noisy, rate, max_attenuation_db=20)
        >>> denoise.write("talk.enhanced.wav", enhanced, rate)
        """
        settings = _settings(strength, max_attenuation_db, bandwidth, link_channels)
        samples = _checked(noisy, rate)
        enhancer = Enhancer(self._enhancer.network, self.card, settings)
        flat = samples.ndim == 1
        found = enhancer.enhance_any(samples[:, None] if flat else samples, rate)
        return found[:, 0] if flat else found


def load(model: str | Path = READY[0], *, runtime: Name | None = None) -> Model:
    """Load a trained model.

    Parameters
    ----------
    model
        ``best``, ``stream`` or ``small``, which come with the program, a model folder, or the label
        of a model of the study in the working folder, as `denoise models` lists them.
    runtime
        ``onnx`` or ``keras``; default ONNX Runtime if the model has a ``model.onnx``.

    Raises
    ------
    UserError
        If there is no such model, or it cannot be read.

    Example
    -------
    >>> model = denoise.load("best")
    """
    return Model(find_model(str(model)), runtime)


def stream(
    model: str | Path = READY[1],
    rate: int | None = None,
    *,
    channels: int = 1,
    strength: float = 1.0,
    max_attenuation_db: float | None = None,
    bandwidth: Bandwidth = "full",
) -> Stream:
    """Enhance live audio with a causal model, block by block.

    Parameters
    ----------
    model
        As for `load`.
    rate
        Sample rate of the audio in Hz; default that of the model.  Multiples of the model's rate
        have a latency of one frame; others are resampled, which adds to it.
    strength, max_attenuation_db, bandwidth
        As for `Model.enhance`.

    Raises
    ------
    UserError
        If there is no such model, or it is not causal.
    ValueError
        If an argument is out of range.

    Example
    -------
    >>> stream = denoise.stream("stream", 48_000)
    >>> for block in blocks:
    ...     play(stream.process(block))
    >>> play(stream.flush())
    """
    settings = _settings(strength, max_attenuation_db, bandwidth)
    if rate is not None:
        _check_rate(rate)
    if channels < 1:
        raise ValueError(f"channels is {channels}: a stream has at least one")
    return load_stream(find_model(str(model)), settings, rate, channels)


def read(path: str | Path) -> tuple[np.ndarray, int]:
    """Read an audio file of any format that libsndfile supports.

    Returns
    -------
    audio : np.ndarray [shape=(samples,), or (samples, channels) of several], float32
    rate : int
        Sample rate in Hz.

    Raises
    ------
    UserError
        If it cannot be decoded, is empty or truncated, or has NaN or infinite samples.

    Example
    -------
    >>> noisy, rate = denoise.read("talk.wav")
    """
    try:
        found, rate = audio.read(path)
    except audio.UnusableAudio as error:
        raise UserError(f"{path} {error}") from None
    return (found[:, 0] if found.shape[1] == 1 else found), rate


def write(path: str | Path, samples: np.ndarray, rate: int, subtype: str | None = None) -> None:
    """Write an audio file in the format of its suffix.

    Samples beyond full scale are clipped, except in floating-point formats.

    Parameters
    ----------
    samples : np.ndarray [shape=(samples,) or (samples, channels)]
    subtype
        Sample format, as libsndfile names it: ``PCM_16``, ``PCM_24``, ``FLOAT``…

    Raises
    ------
    UserError
        If the format cannot store such audio.

    Example
    -------
    >>> denoise.write("talk.enhanced.flac", enhanced, rate, "PCM_24")
    """
    try:
        audio.write(path, _checked(samples, rate), rate, subtype)
    except audio.UnusableAudio as error:
        raise UserError(f"{path} {error}") from None


def _settings(*given: Any) -> EnhancementSettings:
    names = ("strength", "max_attenuation_db", "bandwidth", "link_channels")
    try:
        return EnhancementSettings.model_validate(dict(zip(names, given, strict=False)))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name} is {first['input']!r}: {reason}") from None


_LOWEST_RATE = 1000


def _check_rate(rate: int) -> None:
    if rate != int(rate) or not _LOWEST_RATE <= rate <= audio.HIGHEST_RATE:
        raise ValueError(
            f"rate is {rate}: it must be a whole number of Hz from {_LOWEST_RATE:,} to "
            f"{audio.HIGHEST_RATE:,}"
        )


def _checked(samples: np.ndarray, rate: int) -> np.ndarray:
    _check_rate(rate)
    found = np.asarray(samples)
    if found.ndim not in (1, 2) or found.dtype.kind != "f":
        raise ValueError(
            f"audio [shape={found.shape}, {found.dtype}] must be real numbers "
            "[shape=(samples,) or (samples, channels)]: divide 16-bit integers by 32768"
        )
    if found.ndim == 2 and found.shape[1] > max(found.shape[0], 64):
        raise ValueError(
            f"audio [shape={found.shape}] must be [shape=(samples, channels)]: transpose it"
        )
    if not np.isfinite(found).all():
        raise ValueError("audio holds NaN or infinite samples")
    return found.astype(np.float32, copy=False)


def ready_models() -> dict[str, Path]:
    """The folders of the models that come with the program, by name."""
    folders = {name: bundled("pretrained") / name for name in READY}
    return {name: path for name, path in folders.items() if ModelFolder(path).complete()}


def find_model(name: str) -> Path:
    """The folder of a model, given by its path, its label, ``experiment/label`` or a ready name.

    Models trained here take precedence over those that come with the program.

    Raises
    ------
    UserError
        If there is no such model; the text lists the known names.
    """
    # A folder of seeds, as `denoise models --unused` lists, stands for its first.
    for folder in (Path(name), *sorted(Path(name).glob("seed*"))):
        if ModelFolder(folder).model.is_file() or ModelFolder(folder).onnx.is_file():
            return folder
    found, trained = _labelled(name)
    if found is not None:
        return found.path
    ready = ready_models()
    if name in ready:
        return ready[name]
    if Path(name).is_dir():
        raise UserError(
            f"{name} is not a model: it has no model.onnx or model.keras (see `denoise models` for "
            "those that are trained here)"
        )
    known = list(dict.fromkeys([*ready, *trained]))
    none = "" if trained else f" (none is trained in {Path.cwd()})"
    raise UserError(
        f"no model '{name}'{did_you_mean(name, known)}: there are {', '.join(known)}{none}"
    )


def has_study() -> bool:
    """Whether the working folder may hold a study, whose labels name models."""
    return paths.own_config() is not None or paths.REPORTS.is_dir()


def _labelled(name: str) -> tuple[ModelFolder | None, list[str]]:
    """The model that a study here calls so, and else all labels of the study."""
    if not has_study():
        return None, []
    from denoise.study.results import find_labelled, labelled_models

    found = find_labelled(name)
    return found, [] if found is not None else [one.label for one in labelled_models()]
