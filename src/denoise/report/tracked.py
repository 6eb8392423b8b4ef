"""Examples of one model for the tracking server: a picture and audio of its median utterance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from denoise.evaluation.scores import ranking_measure
from denoise.mixing.files import TestSetFiles
from denoise.report import figures
from denoise.report.listening import TestAudio


@dataclass(frozen=True)
class TrackedOutput:
    """The output of a model for a test set."""

    label: str
    enhanced: Path
    scores: pd.DataFrame
    """As of `evaluation.scores.join_scores`."""
    test_set: TestSetFiles


def write_examples(outputs: dict[str, TrackedOutput], folder: Path) -> list[Path]:
    """Write the examples of each test set into a folder; their paths."""
    return [path for name, one in outputs.items() for path in _examples(name, one, folder)]


def _examples(test_set: str, output: TrackedOutput, folder: Path) -> list[Path]:
    sound = TestAudio(output.test_set, {output.label: output.enhanced})
    metric = ranking_measure(output.scores)
    own = output.scores.dropna(subset=metric).sort_values(metric)
    if own.empty:
        return []
    waves = sound.signals(sound.table.loc[own["id"].iloc[len(own) // 2]], [output.label])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{test_set}-median.png"]
    figures.signals(waves, sound.rate).savefig(paths[0], dpi=80)
    for name, wave in waves.items():
        shown = "enhanced" if name == output.label else name
        path = folder / f"{test_set}-median-{shown}.wav"
        soundfile.write(path, np.clip(wave, -1, 1), sound.rate)
        paths.append(path)
    return paths
