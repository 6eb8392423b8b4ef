"""Short names for a list of variants."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def labels(names: Sequence[str]) -> dict[str, str]:
    """Names of variants, with those without the words that all of them begin with.

    Words end in ``_``, as in the names that a sweep gives.
    """
    several = names if len(names) > 1 else []
    words = zip(*(name.split("_")[:-1] for name in several), strict=False)
    shared = "".join(f"{word[0]}_" for word in itertools.takewhile(_alike, words))
    return {name: name.removeprefix(shared) for name in names}


def _alike(words: tuple[str, ...]) -> bool:
    return len(set(words)) == 1
