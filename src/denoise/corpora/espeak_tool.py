"""A stand-alone tool that speaks sentences into WAV files with the eSpeak NG library.

Run as a process of its own, ``python -m denoise.corpora.espeak_tool < JOBS``, so that the GPL-3.0
library is used as a separate program.  ``JOBS`` is a JSON list of objects: ``voice``, ``pitch``
and ``range`` (0–100), ``rate`` (words a minute) and ``utterances``, a list of ``[text, path]``.
"""

from __future__ import annotations

import ctypes
import json
import sys

import espeakng_loader
import numpy as np
import soundfile

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when all samples have come
_BUFFER_MS = 500
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def main() -> None:
    """Read the jobs from standard input and write their WAV files."""
    library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
    blocks: list[np.ndarray] = []

    def receive(samples: ctypes.POINTER, count: int, events: ctypes.c_void_p) -> int:  # type: ignore[valid-type]
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(receive)
    data = str(espeakng_loader.get_data_path()).encode()
    rate = library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data, 0)
    if rate <= 0:
        sys.exit("error: eSpeak NG cannot be initialised; reinstall the espeakng-loader package")
    library.espeak_SetSynthCallback(callback)
    for job in json.load(sys.stdin):
        if library.espeak_SetVoiceByName(job["voice"].encode()) != 0:
            sys.exit(f"error: eSpeak NG has no voice '{job['voice']}'")
        for parameter, name in ((_RATE, "rate"), (_PITCH, "pitch"), (_RANGE, "range")):
            library.espeak_SetParameter(parameter, job[name], 0)
        for text, path in job["utterances"]:
            blocks.clear()
            encoded = text.encode() + b"\0"
            library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
            soundfile.write(path, np.concatenate(blocks), rate, subtype="PCM_16")


if __name__ == "__main__":
    main()
