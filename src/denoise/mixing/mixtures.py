"""Mixture tables of training and validation windows.

A table records every mixture: sources, offsets, gain, requested and measured SNR, and the scale
that avoids clipping.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from denoise.core.tables import write_table
from denoise.mixing.draw import draw_windows
from denoise.mixing.files import SplitTables
from denoise.mixing.levels import set_levels
from denoise.mixing.settings import MixingSettings

log = logging.getLogger(__name__)


def mix_windows(
    splits: SplitTables,
    settings: MixingSettings,
    rate: int,
    seed: int,
    out_paths: dict[Literal["train", "validation"], Path],
    *,
    processes: int = 1,
) -> None:
    """Write the mixture tables of training and validation windows.

    Parameters
    ----------
    rate
        Samples per second of the prepared audio.
    out_paths
        The CSV to write for each split.

    Raises
    ------
    UserError
        If a split is empty, or no speech recording is as long as a window.
    """
    given = splits.read()
    for split, path in out_paths.items():
        table = draw_windows(given, settings, split, rate, seed)
        table = set_levels(table, rate, seed, processes=processes)
        write_table(path, table)
        log.info("%s: %d windows, median SNR %.1f dB", split, len(table), table["snr"].median())
