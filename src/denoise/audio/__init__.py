"""Reading, resampling and writing audio, and measuring its level.

Audio arrays are float32, shape ``(samples,)``, nominal range [-1, 1], unless said otherwise.
"""

from denoise.audio.encoding import FLOAT_SUBTYPES, write, writing
from denoise.audio.levels import active_level, energy, rms
from denoise.audio.recordings import (
    AUDIO_SUFFIXES,
    HIGHEST_RATE,
    Recording,
    UnusableAudio,
    audio_files,
    check_readable,
    has_audio_suffix,
    read,
    read_mono,
    seconds,
)
from denoise.audio.resampling import Resampler, rechunked, resample, resampled
from denoise.audio.responses import direct_sound, trim_response

__all__ = [
    "AUDIO_SUFFIXES",
    "FLOAT_SUBTYPES",
    "HIGHEST_RATE",
    "Recording",
    "Resampler",
    "UnusableAudio",
    "active_level",
    "audio_files",
    "check_readable",
    "direct_sound",
    "energy",
    "has_audio_suffix",
    "read",
    "read_mono",
    "rechunked",
    "resample",
    "resampled",
    "rms",
    "seconds",
    "trim_response",
    "write",
    "writing",
]
