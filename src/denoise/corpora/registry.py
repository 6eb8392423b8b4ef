"""The data sets the workflow knows, by name.

To add one, write a module with a ``CORPUS`` (see ``base.Corpus``) and name it in `CORPORA`.
"""

from __future__ import annotations

from denoise.core.errors import unknown
from denoise.corpora import (
    air,
    common_voice,
    demand,
    dns_challenge,
    esc50,
    folder,
    librispeech,
    musan,
    pairs,
    rirs_noises,
    simulated_rooms,
    speechocean762,
    synthetic,
    vctk,
    voicebank_demand,
    wham,
)
from denoise.corpora.base import Corpus

CHOSEN_BY_NAME = ("CORPORA",)

CORPORA: dict[str, Corpus] = {
    "synthetic": synthetic.CORPUS,
    "librispeech": librispeech.CORPUS,
    "vctk": vctk.CORPUS,
    "speechocean762": speechocean762.CORPUS,
    "common_voice": common_voice.CORPUS,
    "esc50": esc50.CORPUS,
    "musan": musan.CORPUS,
    "demand": demand.CORPUS,
    "wham": wham.CORPUS,
    "dns_challenge": dns_challenge.CORPUS,
    "voicebank_demand": voicebank_demand.CORPUS,
    "rirs_noises": rirs_noises.CORPUS,
    "air": air.CORPUS,
    "simulated_rooms": simulated_rooms.CORPUS,
    "folder": folder.CORPUS,
    "pairs": pairs.CORPUS,
}


def find_corpus(name: str) -> Corpus:
    """The corpus of that name; an error that lists them all if there is none."""
    if name not in CORPORA:
        raise unknown("corpus", name, CORPORA)
    return CORPORA[name]
