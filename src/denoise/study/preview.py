"""Preview of a study before anything is downloaded: steps, time, disk space, and missing parts."""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from denoise.core.errors import UserError
from denoise.core.tables import read_table
from denoise.corpora.archives import Archive
from denoise.corpora.registry import find_corpus
from denoise.networks.card import ModelCard, ModelFolder, read_card
from denoise.study import paths
from denoise.study.schema import Recipe
from denoise.study.stages import Plan, Variant

STEPS = {
    "fetch": "fetch archives", "index": "extract and index", "prepare": "decode and resample",
    "split": "divide into splits", "mix": "mix training windows", "test_set": "mix test sets",
    "scaling": "measure levels", "spectrograms": "cache spectrograms", "train": "train",
    "enhance": "enhance test sets", "baseline": "apply baselines", "score": "score",
    "dnsmos": "predict opinions", "transcribe": "recognise clean speech",
    "wer": "count word errors", "dwer": "count word differences",
}  # fmt: skip
"""Rule -> what it does; those that take no time to speak of are left out."""
MIRROR_LACKS = "publisher, as the mirror lacks it"
_CHANNELS = {"level": 1, "level_and_phase": 3, "compressed": 1, "compressed_complex": 3,
             "noise": 1, "clean": 1, "mask": 1, "complex_mask": 2,
             "mask_and_phase_correction": 3}  # fmt: skip
_MODEL_BYTES = 8 << 20


@dataclass(frozen=True)
class Download:
    """An archive that is not in this folder yet."""

    name: str
    """Corpus and file."""
    source: str
    """``mirror``, ``publisher``, or ``publisher, as the mirror lacks it``."""
    bytes: int | None
    optional: bool


@dataclass
class Preview:
    """Preview of a run."""

    steps: dict[str, int]
    """Rule -> number of jobs."""
    downloads: list[Download] = field(default_factory=list)
    training_seconds: float | None = None
    """Time of the trainings; None if no similar training has finished in this folder."""
    timed_by: int = 0
    """Trainings that their time was taken from."""
    other_seconds: float = 0.0
    """Time of other steps that have been run here before."""
    untimed: list[str] = field(default_factory=list)
    """Rules none of whose jobs has run here."""
    disk: dict[str, int] = field(default_factory=dict)
    """Output -> bytes, as far as known."""
    unmeasured: list[str] = field(default_factory=list)
    """Outputs of unknown size."""
    free: int = 0


def preview(plan: Plan, said: str) -> Preview:
    """Preview of a plan.

    Parameters
    ----------
    said
        What Snakemake says in a dry run.
    """
    found = Preview(steps_of(said))
    found.downloads = list(dict.fromkeys(_downloads(plan)))
    _estimate_trainings(found, plan)
    for rule, count in found.steps.items():
        times = _times(rule)
        if rule in STEPS and rule not in ("train", "fetch"):
            if times:
                found.other_seconds += count * statistics.mean(times)
            else:
                found.untimed.append(rule)
    found.disk = _disk(plan, found)
    found.free = shutil.disk_usage(Path.cwd()).free
    return found


def steps_of(said: str) -> dict[str, int]:
    """Rule -> number of jobs, by the table of a dry run."""
    table = re.search(r"^job +count\n[- ]+\n((?:\S+ +\d+\n)+)", said, re.MULTILINE)
    rows = [line.split() for line in table[1].splitlines()] if table else []
    return {rule: int(count) for rule, count in rows if rule != "total"}


def _downloads(plan: Plan) -> Iterable[Download]:
    mirror = plan.experiment.download.mirror
    local = mirror is not None and "://" not in mirror
    for name in plan.indexes:
        corpus, _, subset = name.partition("/")
        # A shared folder keeps an index without the archive that it was made from.
        if Path(paths.index(name)).exists():
            continue
        for archive in find_corpus(corpus).subsets.get(subset, ()):
            if Path(paths.archive(corpus, archive.name)).exists():
                continue
            copy = Path(mirror or "") / corpus / archive.name
            size = archive.megabytes * 10**6 if archive.megabytes else None
            if local and copy.is_file():
                yield _download(corpus, archive, "mirror", copy.stat().st_size)
            elif local:
                yield _download(corpus, archive, MIRROR_LACKS, size)
            else:
                yield _download(corpus, archive, "mirror" if mirror else "publisher", size)


def _download(corpus: str, archive: Archive, source: str, size: int | None) -> Download:
    return Download(f"{corpus}/{archive.name}", source, size, archive.optional)


def _estimate_trainings(found: Preview, plan: Plan) -> None:
    """Time of the trainings, estimated from similar trainings that finished in this folder."""
    count = found.steps.get("train", 0)
    models = {variant.model: variant for variant in plan.variants.values()}
    trained = list(_trained())
    needed: list[Variant] = []
    others: list[Variant] = []
    for name, variant in models.items():
        for seed in plan.seeds:
            done = ModelFolder(paths.model(name, seed)).complete()
            (others if done else needed).append(variant)
    # What is there and is trained again all the same is not known by name.
    chosen = [*needed, *others][:count]
    times = []
    for variant in chosen:
        speeds, windows = _speeds(variant.recipe, trained), _windows(variant.recipe)
        if speeds and windows:
            found.timed_by = max(found.timed_by, len(speeds))
            epochs = variant.recipe.training.epochs
            times.append(windows * epochs / statistics.median(speeds))
    if count == 0:
        found.training_seconds = 0.0
    elif times:
        found.training_seconds = sum(times) * count / len(times)


def _trained() -> Iterable[ModelCard]:
    for path in paths.MODELS.glob("*/seed*/card.json"):
        try:
            yield read_card(path)
        except UserError:
            continue


def _speeds(recipe: Recipe, trained: list[ModelCard]) -> list[float]:
    """Windows a second of trainings of the same network on windows of the same size."""
    return [
        card.training_windows * _epochs(card) / card.wall_time_s
        for card in trained
        if card.network == recipe.network and card.features.stft == recipe.features.stft
        and card.segment == recipe.mixing.segment and card.wall_time_s > 0
    ]  # fmt: skip


def _epochs(card: ModelCard) -> int:
    history = paths.MODELS / card.name / f"seed{card.seed}" / "history.csv"
    try:
        return len(read_table(history))
    except (OSError, ValueError):
        return card.best_epoch


def _windows(recipe: Recipe) -> int | None:
    mixing = recipe.mixing
    if mixing.windows is not None:
        return mixing.windows
    if mixing.hours is None:
        return None
    return round(mixing.hours * 3600 * recipe.audio.sample_rate / mixing.segment)


def _times(rule: str) -> list[float]:
    """Seconds of each job of a rule that has run here."""
    times = []
    for path in paths.benchmarks(rule).glob("*.tsv"):
        try:
            times.append(float(path.read_text().splitlines()[1].split("\t")[0]))
        except (OSError, ValueError, IndexError):
            continue
    return times


def _disk(plan: Plan, found: Preview) -> dict[str, int]:
    archives = sum(each.bytes or 0 for each in found.downloads)
    caches = {variant.spectrograms: variant for variant in plan.variants.values()}
    caches = {
        name: variant
        for name, variant in caches.items()
        if variant.recipe.features.cache and not Path(paths.spectrograms(name, "train")).exists()
    }
    found.unmeasured = [one.name for one in found.downloads if one.bytes is None]
    if any(_windows(variant.recipe) is None for variant in caches.values()):
        found.unmeasured.append("spectrogram caches")
    if found.steps.get("enhance") and not any(_test_set_sizes(plan)):
        found.unmeasured.append("enhanced test sets")
    written = {
        "archives": archives,
        "recordings extracted from them": archives,
        "spectrogram caches": sum(map(_cache_bytes, caches.values())),
        "models": found.steps.get("train", 0) * _MODEL_BYTES,
        "enhanced test sets": _enhanced_bytes(plan, found),
    }
    return {name: size for name, size in written.items() if size}


def _cache_bytes(variant: Variant) -> int:
    """Size of the cache of a variant's training windows, if their number is known."""
    recipe = variant.recipe
    features = recipe.features
    bins, frames = features.shape(recipe.mixing.segment)
    channels = _CHANNELS[features.input] + _CHANNELS[features.target]
    width = 2 if features.dtype == "float16" else 4
    return (_windows(recipe) or 0) * bins * frames * channels * width


def _enhanced_bytes(plan: Plan, found: Preview) -> int:
    """Size of all missing enhanced outputs, if the test sets exist."""
    sizes = _test_set_sizes(plan)
    jobs = found.steps.get("enhance", 0) + found.steps.get("baseline", 0)
    return round(statistics.mean(sizes) * jobs) if sizes else 0


def _test_set_sizes(plan: Plan) -> list[int]:
    """Bytes of the noisy side of each test set that is there."""
    places = (Path(paths.test_set(stage).noisy) for stage in plan.test_sets)
    return [path.stat().st_size for path in places if path.exists()]
