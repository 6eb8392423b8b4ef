"""Word errors of a speech recogniser: does enhancement help a machine to understand?

The recogniser is embedded and the same for all methods.  ``pocketsphinx`` comes with its weights
and is weak by today's standards: its error rate tells which of two methods leaves more that can be
recognised, not what a modern recogniser would make of it.  ``faster-whisper`` is one of those; it
fetches its weights when it is first used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from denoise.audio import resample

RATE = 16_000
WHISPER = "small.en"
"""Of Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023."""


class Recogniser(NamedTuple):
    """A speech recogniser that can be chosen by name."""

    package: str
    """The required module."""
    install: str
    """The command that installs it."""
    recognise: Callable[[np.ndarray], str]
    """From speech [shape=(samples,)] at `RATE` to words."""


def _pocketsphinx(speech: np.ndarray) -> str:
    from pocketsphinx import Decoder

    # Anew for each utterance, 0.2 s: what it hears depends on what it heard before.
    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((speech * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr if found is not None else ""


@functools.cache
def _whisper() -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(WHISPER, device="cpu", compute_type="int8", cpu_threads=1)


def _faster_whisper(speech: np.ndarray) -> str:
    segments, _ = _whisper().transcribe(
        speech, language="en", temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text for segment in segments)


RECOGNISERS = {
    "pocketsphinx": Recogniser(
        "pocketsphinx", "run make asr, or pip install 'denoise[asr]'", _pocketsphinx
    ),
    "faster-whisper": Recogniser("faster_whisper", "pip install faster-whisper", _faster_whisper),
}


def recognise(audio: np.ndarray, rate: int, recogniser: str = "pocketsphinx") -> str:
    """The words that a recogniser hears.

    Parameters
    ----------
    audio : np.ndarray [shape=(samples,)]
        Nominal range [-1, 1]; samples beyond it are clipped.
    rate : int
        Samples per second; resampled to 16 kHz.
    recogniser : str
        One of `RECOGNISERS`.

    Raises
    ------
    ModuleNotFoundError
        If its package is not installed.

    Example
    -------
    >>> words = recognise(clean, 48_000)  # such as "the boat sails on the sea"
    """
    speech = np.clip(resample(audio, rate, RATE), -1, 1).astype(np.float32)
    if not speech.any():
        return ""  # some hear words in silence, others cannot take it
    return RECOGNISERS[recogniser].recognise(speech)


def word_errors(transcript: str, recognised: str) -> tuple[int, int]:
    """How many words were substituted, left out or added, and how many were spoken.

    By the shortest alignment (Levenshtein); case and punctuation do not count, and numbers are
    compared as they are written.

    Example
    -------
    >>> word_errors("The boat sails.", "a boat sails on")
    (2, 3)
    """
    import jiwer

    spoken, heard = normalised(transcript), normalised(recognised)
    if not spoken:
        return len(heard.split()), 0
    found = jiwer.process_words(spoken, heard)
    return found.substitutions + found.deletions + found.insertions, len(spoken.split())


def normalised(text: str) -> str:
    """The words of a text in lower case, without punctuation."""
    return " ".join("".join(c if c.isalnum() or c.isspace() else _MARKS.get(c, " ")
                            for c in text.lower()).split())  # fmt: skip


_MARKS = {"'": "", "’": ""}
"""Characters inside a word; others separate words."""
