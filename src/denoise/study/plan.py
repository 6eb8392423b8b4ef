"""From the configuration to all stages and variants of an experiment.

A *stage* (prepared audio, a split, mixtures, spectrograms, a model, its output for a test set) is
named by a digest of exactly the settings that shape it and of the stages it is made from.  So
variants and experiments that agree on these settings share its files, and a change makes that stage
and what comes after it anew, beside those that are there.  What a variant is called is a label of
the experiment and no name on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoise import extend
from denoise.core.errors import UserError
from denoise.core.settings import canonical_json, digest
from denoise.corpora.selection import AudioSettings, SelectionSettings
from denoise.corpora.sources import SourceSettings, has_transcripts, is_here, listing_of
from denoise.corpora.splits import SplitSettings
from denoise.enhancement.settings import EnhancementSettings
from denoise.mixing.settings import LEVELS
from denoise.networks.card import ModelFolder
from denoise.study import paths
from denoise.study.checks import (
    check_metrics,
    check_no_train_test_overlap,
    check_other_models,
    check_ready_model,
    check_sources,
    check_tested,
)
from denoise.study.config import load, read_preset
from denoise.study.schema import DataSettings, Experiment, Recipe, TestData, check_name
from denoise.study.stages import Method, Plan, Stage, Variant
from denoise.study.sweep import expand, slug
from denoise.training import losses
from denoise.training.settings import OTHER_MODELS, TrainingSettings

_NAMING = {"set", "variants", "sweep"}
"""Keys of the experiment below which a loss can be named."""
WORKERS: dict[str, Any] = {"loaders": True, "adversarial": {"processes"}}
"""Settings of a training that change how fast it is and no result."""


def make_plan(config: Mapping[str, Any], preset_folder: Path, named: str = "config.yaml") -> Plan:
    """Check and expand the configuration into everything that is to be run.

    Parameters
    ----------
    config
        The content of ``config.yaml``, with what the command line changed.
    preset_folder
        Where presets are looked up by name.
    named
        What the configuration is called in errors.

    Raises
    ------
    UserError
        In one line, for anything that is wrong with the configuration.
    """
    experiment, preset = load(config, preset_folder, named)
    extensions = load_extensions(experiment, preset, preset_folder)
    name = experiment.experiment or Path(experiment.preset).stem
    check_name(f"experiment '{name}'", name)
    stem = Path(experiment.preset).stem
    variants = expand(experiment, preset, stem, preset_folder, named)
    plan = Plan(experiment, name, variants, extensions)
    for variant in plan.variants.values():
        check_other_models(plan, variant)
        check_sources(variant)
        _plan_variant(plan, variant)
    for variant in plan.variants.values():
        missing = sorted(plan.test_set_names.keys() - variant.test_sets.keys())
        if missing:
            raise UserError(
                f"variant {variant.label} has no test set '{missing[0]}', which others have: give "
                "all variants of an experiment the same test_sets"
            )
    check_metrics(plan)
    _plan_methods(plan)
    return plan


def load_extensions(
    experiment: Experiment, preset: dict[str, Any], preset_folder: Path
) -> list[str]:
    """Register the parts that a study brings along.

    Returns
    -------
    list of str
        The entries for `denoise.extend.load`: the files, and the functions that settings name.

    Raises
    ------
    UserError
        That names file and line, if a file cannot be loaded.
    """
    others = {one.preset for one in experiment.variants if one.preset}
    presets = [preset, *(read_preset(other, preset_folder) for other in sorted(others))]
    named = extend.named_functions([experiment.model_dump(include=_NAMING), presets])
    entries = list(dict.fromkeys([*experiment.extensions, *named]))
    extend.load(entries)
    extend.accept_networks(Recipe)
    return entries


def _plan_methods(plan: Plan) -> None:
    """All scored methods, under the labels of the experiment."""
    for label, variant in plan.variants.items():
        variant.model = _plan_model(plan, variant)
        recipe = variant.recipe
        used = {"enhancement": recipe.enhancement.model_dump(mode="json")}
        plan.methods[label] = Method(
            "variant",
            paths.output_key(variant.model, digest(used)),
            plan.seeds,
            variant.model,
            recipe.audio.sample_rate,
            recipe.network.name,
            canonical_json(used | _computing(recipe.training)),
        )
    for label in plan.experiment.baselines:
        plan.methods[label] = Method("baseline", label)
    for label, folder in plan.experiment.models.items():
        card = check_ready_model(plan, label, folder)
        used = {"enhancement": EnhancementSettings().model_dump(mode="json")}
        key = paths.output_key(_content(folder), digest(used))
        settings = canonical_json(used | _computing(TrainingSettings()))
        plan.methods[label] = Method(
            "model", key, (0,), folder, card.rate, card.network.name, settings
        )


def _content(folder: str) -> str:
    """Identity of the model in any folder, by its content."""
    given = ModelFolder(Path(folder))
    return f"{slug(given.path.name)}-{given.content()}"


def _computing(training: TrainingSettings) -> dict[str, Any]:
    """The software that a network is computed with, also when it is only applied."""
    return training.model_dump(include={"backend", "threads", "deterministic"})


def _plan_model(plan: Plan, variant: Variant) -> str:
    """The stage of a variant's model, after those it starts from and learns from."""
    recipe = variant.recipe
    training = recipe.training.model_dump(mode="json", exclude=WORKERS)
    upstream: tuple[str, ...] = (variant.spectrograms,)
    for key in OTHER_MODELS:
        name = training[key]
        if name in plan.variants:
            training[key] = _plan_model(plan, plan.variants[name])
            upstream += (training[key],)
        elif name is not None:
            training[key] = _content(name)
    settings = {
        "rate": recipe.audio.sample_rate,
        "segment": recipe.mixing.segment,
        "features": recipe.features.model_dump(mode="json"),
        "network": recipe.network.model_dump(mode="json"),
        "augmentation": recipe.augmentation.model_dump(mode="json"),
        "training": training,
    }
    label = "-".join([recipe.network.name, *losses.weights(recipe.training.loss)])
    return _add(plan.models, label, settings, upstream)


def _plan_variant(plan: Plan, variant: Variant) -> None:
    recipe = variant.recipe
    data, seed = recipe.data, recipe.data.seed
    sides = _plan_splits(plan, data, recipe.audio, data.splits, rooms=recipe.mixing.rooms.share > 0)
    common = {"rate": recipe.audio.sample_rate, "seed": seed}
    mixing = {"mixing": recipe.mixing.model_dump(mode="json"), **common}
    level = slug(recipe.mixing.model_dump(include=set(LEVELS), exclude_none=True))
    mixtures = _add(plan.mixtures, level, mixing, sides)
    features = {"features": recipe.features.model_dump(mode="json"), **common}
    stft = recipe.features.stft
    variant.spectrograms = _add(
        plan.spectrograms, f"stft-{stft.n_fft}-{stft.hop}", features, (mixtures,)
    )
    if recipe.features.measured:
        plan.measured.add(variant.spectrograms)
    for test_name, test_set in recipe.test_sets.items():
        own, with_rooms = test_set.data, test_set.rooms.share > 0
        test_common = common
        if own is None and test_set.split == "test":
            check_tested(variant, test_name)
        if own is not None:
            check_no_train_test_overlap(variant, test_name, own)
            test_sides = _plan_splits(plan, own, own.audio, SplitSettings(), rooms=with_rooms)
            test_common = {"rate": own.audio.sample_rate, "seed": own.seed}
        else:
            test_sides = _plan_splits(plan, data, recipe.audio, data.splits, rooms=with_rooms)
        described = test_set.model_dump(mode="json", exclude={"data"})
        level = slug(test_set.model_dump(include=set(LEVELS), exclude_none=True))
        settings = {"test_set": described, **test_common}
        if not test_set.has_clean:
            level, settings["clean"] = "recordings", "none"
            plan.without_clean.add(test_name)
        stage = _add(plan.test_sets, f"{test_set.split}-{level}", settings, test_sides)
        if plan.test_set_names.setdefault(test_name, stage) != stage:
            raise UserError(
                f"variant {variant.label}: its test set '{test_name}' differs from that of the "
                "variants before; what shapes the test (test_sets, data, audio) must be the same "
                "for all variants of an experiment, so that they can be compared. Variants that "
                "train on different data need a test set with data of its own "
                f"(test_sets.{test_name}.data)"
            )
        variant.test_sets[test_name] = stage
        speech = own.speech if own is not None else data.speech
        plan.families[test_name] = _families(plan.experiment, speech, clean=test_set.has_clean)


def _families(
    experiment: Experiment, speech: tuple[SourceSettings, ...], *, clean: bool
) -> tuple[str, ...]:
    """The families of metrics that outputs for a test set of this speech are scored with."""
    spoken = any(has_transcripts(source) for source in speech)
    found = [
        name
        for name in experiment.metrics
        if (clean or name not in {"intrusive", "dwer"}) and (spoken or name != "wer")
    ]
    if not clean and "dnsmos" not in found:
        found.insert(0, "dnsmos")
    return tuple(found)


def _plan_splits(
    plan: Plan,
    data: DataSettings | TestData,
    audio: AudioSettings,
    splits: SplitSettings,
    *,
    rooms: bool,
) -> tuple[str, ...]:
    """The stages that divide speech, noise (unless all speech is paired) and rooms (if used)."""
    sides = {"speech": data.speech, "noise": data.noise, "room": data.rooms if rooms else ()}
    return tuple(
        _plan_split(plan, role, sources, audio, splits, data.seed)
        for role, sources in sides.items()
        if sources
    )


def _plan_split(
    plan: Plan,
    role: str,
    sources: tuple[SourceSettings, ...],
    audio: AudioSettings,
    splits: SplitSettings,
    seed: int,
) -> str:
    allowed, names = [], []
    for source in sources:
        subsets = source.resolved_subsets()
        for number, subset in enumerate(subsets):
            settings: dict[str, Any] = {"corpus": source.corpus, "subset": subset}
            if is_here(source):
                settings |= listing_of(source, number, paths.DIGESTS)
            plan.indexes[f"{source.corpus}/{subset}"] = Stage(subset, settings)
        settings = {
            "corpus": source.corpus,
            "role": role,
            "selection": source.model_dump(
                mode="json", include=set(SelectionSettings.model_fields)
            ),
            "audio": audio.model_dump(mode="json"),
            "seed": seed,
        }
        upstream = tuple(f"{source.corpus}/{subset}" for subset in subsets)
        if is_here(source):
            settings["listing"] = plan.indexes[upstream[0]].settings["listing"]
        label = source.corpus if len(subsets) > 1 else f"{source.corpus}-{subsets[0]}"
        names.append(_add(plan.audio, label, settings, upstream))
        allowed.append(source.split)
    settings = {
        "allowed": allowed,
        "shares": [source.share for source in sources],
        "splits": splits.model_dump(mode="json"),
        "seed": seed,
    }
    return _add(plan.splits, role, settings, tuple(names))


def _add(
    stages: dict[str, Stage], label: str, settings: dict[str, Any], upstream: tuple[str, ...]
) -> str:
    name = f"{slug(label)}-{digest([settings, list(upstream)])}"
    stages[name] = Stage(name, settings, upstream)
    return name
