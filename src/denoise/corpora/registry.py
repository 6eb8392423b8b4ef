"""The data sets the workflow knows, by name.

To add one, write a module with a ``CORPUS`` (see ``base.Corpus``) and name it in `CORPORA`.
"""

from __future__ import annotations

from denoise.core.errors import unknown
from denoise.corpora import esc50, folder, librispeech, pairs, synthetic, voicebank_demand
from denoise.corpora.base import Corpus

CHOSEN_BY_NAME = ("CORPORA",)

CORPORA: dict[str, Corpus] = {
    "synthetic": synthetic.CORPUS,
    "librispeech": librispeech.CORPUS,
    "esc50": esc50.CORPUS,
    "voicebank_demand": voicebank_demand.CORPUS,
    "folder": folder.CORPUS,
    "pairs": pairs.CORPUS,
}


def find_corpus(name: str) -> Corpus:
    """The corpus of that name; an error that lists them all if there is none."""
    if name not in CORPORA:
        raise unknown("corpus", name, CORPORA)
    return CORPORA[name]
