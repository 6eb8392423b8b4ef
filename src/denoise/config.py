"""The configuration: from ``config.yaml`` and a preset to the list of stages to run.

A preset is a complete recipe.  ``set`` overrides it, ``variants`` and ``sweep`` make several of
it, ``seeds`` repeats each.  Everything is checked and expanded here, before any job starts.

A *stage* (prepared audio, a split, mixtures, spectrograms, a test set) is named by a digest of
exactly the settings that shape it and of the stages it is made from.  So variants that agree on
these settings share its files, and a change re-runs that stage and what comes after it.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import itertools
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from denoise import backend, corpora, files, losses, models
from denoise.augmentation import AugmentationSettings
from denoise.baselines import BASELINES
from denoise.corpora.folder import listing_digest
from denoise.enhancement import EnhancementSettings
from denoise.errors import UserError, did_you_mean, unknown
from denoise.features import FeatureSettings
from denoise.fetch import DownloadSettings
from denoise.mixing import MixingSettings, TestSetSettings
from denoise.selection import AudioSettings, SelectionSettings
from denoise.settings import Settings, canonical_json, digest
from denoise.sources import SourceSettings
from denoise.splits import SplitSettings
from denoise.training import TrainingSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,199}")
PAIRED = {"voicebank_demand"}
_STUDY_KEYS = {"variants", "sweep", "seeds", "baselines", "models", "examples"}
_WHOLE_GROUPS = {
    "data": "noise",
    "audio": "sample_rate",
    "mixing": "level",
    "features": "floor_db",
    "training": "loss",
}
# Groups that are another thing under another kind: replacing one drops the preset's other values.
_KINDS = {
    "features.input_scaling": "kind",
    "features.target_scaling": "kind",
    "features.stft": "n_fft",
    "training.schedule": "kind",
    "training.optimiser": "name",
}


class DataSettings(Settings):
    """The recordings. Changing them prepares, mixes and trains again."""

    speech: tuple[SourceSettings, ...] = Field(min_length=1)
    """Sources of speech, or of clean/noisy pairs."""
    noise: tuple[SourceSettings, ...] = ()
    """Sources of noise; none for paired corpora."""
    splits: SplitSettings = SplitSettings()
    """Shares of validation and test."""
    seed: int = Field(0, ge=0)
    """Decides splits and mixtures."""

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        _check_noise(self.speech, self.noise)
        for name, sources in (("speech", self.speech), ("noise", self.noise)):
            if sources and all(source.use in {"validation", "test"} for source in sources):
                raise ValueError(
                    f"all sources of {name} have use: {' or '.join({s.use for s in sources})}, so "
                    "there is nothing to train on: give one use: train or all"
                )
        return self

    @property
    def paired(self) -> bool:
        """Whether the noise of all speech is mixed already."""
        return all(source.corpus in PAIRED for source in self.speech)


def _check_noise(speech: tuple[SourceSettings, ...], noise: tuple[SourceSettings, ...]) -> None:
    """Refuse speech without noise, pairs with it, and noise for speech."""
    for source in speech:
        for subset in source.resolved_subsets():
            if subset in corpora.get(source.corpus).noise_subsets:
                raise ValueError(
                    f"speech names {source.corpus} {subset}, which holds noise: name it in noise"
                )
    for source in noise:
        if source.speakers or source.sex:
            raise ValueError(
                f"noise from {source.corpus} is selected by speakers or sex, which noise does not "
                "have: use categories, or folds"
            )
    paired = [source.corpus in PAIRED for source in speech]
    if not noise and not all(paired):
        raise ValueError("noise must name at least one source (only paired corpora need none)")
    if noise and all(paired):
        raise ValueError("noise must be empty: the pairs of voicebank_demand are mixed already")


class TestData(Settings):
    """Recordings of a test set's own. Changing them scores again and trains nothing."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    speech: tuple[SourceSettings, ...] = Field(min_length=1)
    """Sources of speech, all of them for test."""
    noise: tuple[SourceSettings, ...] = ()
    """Sources of noise, all of them for test."""
    audio: AudioSettings = AudioSettings()
    """Decoding and selection; its `sample_rate` is that of the test set."""
    seed: int = Field(0, ge=0)
    """Decides the mixtures."""

    @field_validator("speech", "noise", mode="after")
    @classmethod
    def _for_test(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        return tuple(source.model_copy(update={"use": "test"}) for source in sources)

    @model_validator(mode="after")
    def _check(self) -> TestData:
        _check_noise(self.speech, self.noise)
        return self


class RecipeTestSet(TestSetSettings):
    """A test set of whole utterances. Changing it scores again and trains nothing."""

    data: TestData | None = None
    """Recordings of its own, which variants that train on different data can share; default those
    of the recipe."""

    @model_validator(mode="after")
    def _check(self) -> RecipeTestSet:
        if self.data is not None and self.split == "validation":
            raise ValueError("split validation takes recordings of the recipe: leave data out")
        return self


class Recipe(Settings):
    """Everything that shapes one variant: a preset with its overrides."""

    description: str = ""
    """What the recipe is and where it comes from."""
    data: DataSettings
    """The recordings."""
    audio: AudioSettings = AudioSettings()
    """Decoding and selection."""
    mixing: MixingSettings = MixingSettings()
    """Training and validation windows."""
    features: FeatureSettings = FeatureSettings()
    """What the network sees and predicts."""
    network: models.AnyNetwork = models.unet.UNetSettings()
    """The network."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """What each epoch varies in the training windows."""
    training: TrainingSettings = TrainingSettings()
    """The training."""
    enhancement: EnhancementSettings = EnhancementSettings()
    """Application to whole recordings."""
    test_sets: dict[str, RecipeTestSet] = {"test": RecipeTestSet()}
    """Test sets by name."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        models.check_shape(self.network, self.features.shape(self.mixing.window))
        self._check_range()
        self._check_judged()
        if getattr(self.network, "causal", False):
            self._check_causal()
        if self.augmentation.active and self.features.cache:
            raise ValueError(
                "augmentation varies windows in every epoch, but features.cache keeps them as they "
                "are: set features.cache: false"
            )
        longest, window_s = self.audio.max_duration_s, self.mixing.window / self.audio.sample_rate
        if longest is not None and longest < window_s and not self.mixing.pad:
            raise ValueError(
                f"audio.max_duration_s {longest:g} leaves no recording as long as mixing.window "
                f"({window_s:.4g} s): raise it, or set mixing.pad: true"
            )
        if self.data.splits.by_window and self.mixing.speech_hop < self.mixing.window:
            raise ValueError(
                f"mixing.speech_hop {self.mixing.speech_hop} makes windows overlap, so "
                "data.splits.by_window would validate on samples that are trained on: use at least "
                f"mixing.window {self.mixing.window}"
            )
        if not self.test_sets:
            raise ValueError("test_sets must name at least one test set")
        for name, test_set in self.test_sets.items():
            rate = (test_set.data.audio if test_set.data else self.audio).sample_rate
            if (test_set.score_rate or 0) > rate:
                raise ValueError(
                    f"test_sets.{name}.score_rate {test_set.score_rate} is above the {rate} Hz of "
                    "its recordings: use at most that"
                )
            if test_set.split == "validation" and self.data.splits.by_window:
                raise ValueError(
                    f"test_sets.{name}.split validation needs recordings that are not trained on, "
                    "but data.splits.by_window leaves none"
                )
            if not _NAME.fullmatch(name):
                raise ValueError(f"test set name '{name}' must be letters, digits and . _ + -")
        if self.mixing.window < self.features.stft.n_fft:
            raise ValueError(
                f"mixing.window {self.mixing.window} must be at least features.stft.n_fft "
                f"{self.features.stft.n_fft}"
            )
        return self

    def _check_judged(self) -> None:
        """Refuse to learn PESQ where it is not defined."""
        rate = self.audio.sample_rate
        if self.training.adversarial.kind == "metric" and rate not in {8000, 16000}:
            raise ValueError(
                f"training.adversarial.kind metric learns PESQ, which audio.sample_rate {rate} Hz "
                "does not have: use 8000 or 16000"
            )

    def _check_causal(self) -> None:
        """Refuse features for which a causal network would have to know later audio."""
        features = self.features
        if features.reference != "absolute":
            raise ValueError(
                "network.causal needs features.reference: absolute: the level of the "
                f"{features.reference} is known only at its end"
            )
        for side in ("input", "target"):
            if getattr(features, f"{side}_scaling").kind == "example_min_max":
                raise ValueError(
                    f"network.causal cannot use features.{side}_scaling.kind example_min_max: the "
                    "levels of a window are known only at its end"
                )

    def _check_range(self) -> None:
        """Refuse a loss, metric or activation that does not fit the values of the target."""
        features = self.features
        low, high = features.target_bounds
        activation = self.network.output_activation
        for name in (*losses.weights(self.training.loss), *self.training.metrics):
            if name in losses.FROM_0_TO_1 and (low < 0 or high > 1 or activation != "sigmoid"):
                raise ValueError(
                    f"{name} compares values from 0 to 1: use network.output_activation: sigmoid, "
                    "and features.target: mask or features.target_scaling with kind: min_max or "
                    "example_min_max and range: [0, 1]"
                )
        if losses.heard(self.training.loss) and features.reference == "utterance":
            name = " + ".join(losses.weights(self.training.loss))
            raise ValueError(
                f"{name} compares windows of audio, in which the level of the whole utterance is "
                "not known: use features.reference: window or absolute"
            )
        if activation == "linear":
            return
        if "mask" in features.target:
            # A mask may be cut short at its top, but not by half of it.
            if features.target != "mask" and activation == "sigmoid":
                raise ValueError(
                    f"features.target {features.target} has negative values, which "
                    "network.output_activation sigmoid does not give: use tanh"
                )
            return
        reach = {"sigmoid": (0, 1), "tanh": (-1, 1)}[activation]
        scaling, what = features.target_scaling, f"features.target {features.target}"
        if scaling.kind == "standard":
            raise ValueError(
                f"network.output_activation {activation} gives values from {reach[0]} to "
                f"{reach[1]}, but features.target_scaling standard has no ends: use linear"
            )
        if scaling.kind == "affine":
            # Of the faintest bins, and of the loudest.
            ends = (0, -features.floor_db) if features.target == "noise" else (features.floor_db, 0)
            low, high = ((level + scaling.add) / scaling.divide for level in ends)
            what += f" from {ends[0]:g} to {ends[1]:g} dB"
        # The tolerance is for what 1/divide rounds.
        if low < reach[0] - 1e-6 or high > reach[1] + 1e-6:
            raise ValueError(
                f"network.output_activation {activation} gives values from {reach[0]} to "
                f"{reach[1]}, but features.target_scaling takes {what} to {low:.3g} … {high:.3g}: "
                "use another scaling, or linear"
            )


class VariantSettings(Settings):
    """A named variant of the preset."""

    name: str = ""
    """Its name in paths, leaderboard and report; default that of its preset."""
    preset: str | None = None
    """The preset it starts from, by name or path; default that of the experiment."""
    set: dict[str, Any] = {}
    """Overrides: config path to value, e.g. `training.loss: mse`."""

    @model_validator(mode="after")
    def _check(self) -> VariantSettings:
        if not self.name and not self.preset:
            raise ValueError("a variant needs a name or a preset")
        return self

    @property
    def label(self) -> str:
        """Its name, or that of its preset."""
        return self.name or Path(self.preset or "").stem


class Experiment(Settings):
    """The keys of ``config.yaml``."""

    preset: str
    """Name of a file in `presets/`, or a path to one."""
    experiment: str | None = None
    """Name of the reports folder and the MLflow experiment; default the preset's name."""
    set: dict[str, Any] = {}
    """Overrides of the preset for all variants: config path to value."""
    variants: tuple[VariantSettings, ...] = ()
    """Named variants; default the preset alone."""
    sweep: dict[str, list[Any]] = {}
    """A grid: config path to the values it takes; applied to every variant."""
    seeds: tuple[int, ...] = (0,)
    """Each variant is trained once for every seed."""
    baselines: tuple[str, ...] = tuple(BASELINES)
    """Methods to compare with, some of those in `denoise.baselines`."""
    models: dict[str, str] = {}
    """Ready models to compare with: name to folder, such as `{ready: pretrained/best}`. They are
    scored, not trained; that they never met the test speakers and noise is for you to know."""
    download: DownloadSettings = DownloadSettings()
    """How archives are obtained."""
    examples: int = Field(3, ge=1, le=20)
    """Utterances to hear in the report for each variant: best, median and worst at least."""

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if (
            not 1 <= len(set(seeds)) == len(seeds) <= 1000
            or not 0 <= min(seeds) <= max(seeds) < 2**32
        ):
            raise ValueError(
                "seeds must be different whole numbers from 0 to 2^32 - 1, at least one and at "
                "most 1000"
            )
        return seeds

    @field_validator("sweep")
    @classmethod
    def _check_sweep(cls, sweep: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for path, values in sweep.items():
            if not values:
                raise ValueError(f"{path} must have at least one value")
        return sweep

    @field_validator("baselines")
    @classmethod
    def _check_baselines(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in BASELINES:
                raise unknown("baseline", name, BASELINES)
        return names if "noisy" in names else ("noisy", *names)


@dataclass(frozen=True)
class Stage:
    """One unit of shared work: its name on disk and the settings that shape it."""

    name: str
    settings: dict[str, Any]
    upstream: tuple[str, ...] = ()

    @property
    def params(self) -> str:
        """The settings as canonical JSON, as they reach the rule."""
        return canonical_json(self.settings)


@dataclass
class Variant:
    """One recipe to train, with the names of its stages."""

    name: str
    recipe: Recipe
    differs: dict[str, Any]
    spectrograms: str = ""
    test_sets: dict[str, str] = field(default_factory=dict)

    def training_params(self, seed: int) -> dict[str, Any]:
        """What identifies its training with one seed."""
        recipe = self.recipe
        return {
            "variant": self.name,
            "seed": seed,
            "spectrograms": self.spectrograms,
            "rate": recipe.audio.sample_rate,
            "window": recipe.mixing.window,
            "features": recipe.features.model_dump(mode="json"),
            "network": recipe.network.model_dump(mode="json"),
            "augmentation": recipe.augmentation.model_dump(mode="json"),
            "training": recipe.training.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class ReadyModel:
    """A model that is there, to compare with."""

    folder: str
    rate: int


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


@dataclass
class Plan:
    """All stages and variants of an experiment."""

    experiment: Experiment
    name: str
    variants: dict[str, Variant]
    indexes: dict[str, Stage] = field(default_factory=dict)
    audio: dict[str, Stage] = field(default_factory=dict)
    splits: dict[str, Stage] = field(default_factory=dict)
    mixtures: dict[str, Stage] = field(default_factory=dict)
    spectrograms: dict[str, Stage] = field(default_factory=dict)
    test_sets: dict[str, Stage] = field(default_factory=dict)
    test_set_names: dict[str, str] = field(default_factory=dict)
    models: dict[str, ReadyModel] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    """The spectrograms whose scaling depends on the training windows."""


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, instead of the last one counting."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key.value}' stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; one clear line if it is not one."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}): save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(
            f"{path} is not valid YAML: it is nested too deeply, or in itself"
        ) from None
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise UserError(f"{path} must hold keys with values, not {found}")
    return value


def read_preset(name: str, folder: Path) -> dict[str, Any]:
    """The content of a preset by name (in `folder`) or path."""
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = folder / f"{name}.yaml"
        if not path.exists():
            raise unknown("preset", name, [known.stem for known in folder.glob("*.yaml")])
    return read_yaml(path)


def validated(model: type[Settings], value: Any, where: str) -> Any:
    """`value` as `model`, or a `UserError` that names the key, the value and what is allowed."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        items = error.errors()
        # A list that holds something wrong is not also too short.
        places = [item["loc"] for item in items]
        items = [
            item
            for item in items
            if item["type"] != "too_short"
            or not any(place[: len(item["loc"])] == item["loc"] != place for place in places)
        ]
        raise UserError("; ".join(_explain(model, item, where) for item in items)) from None


def _explain(model: type[Settings], item: Any, where: str) -> str:
    path, group = _resolve(model, item["loc"])
    name = f"{where}: {'.'.join(path)}" if path else where
    if item["type"] == "extra_forbidden":
        known = list(group.model_fields)
        hint = did_you_mean(path[-1], known)
        if model is Experiment and path[-1].split(".")[0] in Recipe.model_fields:
            hint = " here; what changes a preset belongs below set"
        return f"{name} is not a known key{hint}: known are {', '.join(known)}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "tuple_type":
        one = item["input"] if isinstance(item["input"], str | int | float) else "…"
        message = f"give a list, such as [{one}]"
    if item["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        message = "give a group of settings, such as {key: value}"
    value = item.get("input")
    shown = ":" if isinstance(value, dict | Settings) else f" is {value!r}:"
    if item["type"] == "missing":
        shown, message = ":", "is missing"
    return f"{name}{shown} {message}"


def _resolve(model: type[Settings], loc: tuple[Any, ...]) -> tuple[list[str], type[Settings]]:
    """The path of an error as a person writes it, and the innermost known group it leads to.

    Pydantic puts the name of a chosen alternative, such as a network's, into the location.
    """
    path: list[str] = []
    group = model
    choices: list[type[Settings]] = []
    for part in loc:
        chosen = [choice for choice in choices if choice.model_fields["name"].default == part]
        if chosen:
            group, choices = chosen[0], []
            continue
        path.append(str(part))
        if part in group.model_fields:
            found = _groups(group.model_fields[part].annotation)
            choices = found if len(found) > 1 else []
            group = found[0] if len(found) == 1 else group
    return path, group


def _groups(annotation: Any) -> list[type[Settings]]:
    """The settings models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [group for item in typing.get_args(annotation) for group in _groups(item)]


def override(recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the nested `recipe` with ``{"a.b": value}`` set; list items go by number."""
    import copy

    result = copy.deepcopy(recipe)
    for path, value in changes.items():
        parts = path.split(".")
        if path == "network" and isinstance(value, dict) and "name" not in value:
            raise UserError(
                f"{path}: name the network, one of {', '.join(sorted(models.NETWORKS))}, if its "
                "other settings are to have their defaults, or give settings one by one, such as "
                "network.filters"
            )
        kind = _KINDS.get(path)
        if kind is not None and isinstance(value, dict) and kind not in value:
            raise UserError(
                f"{path}: give {kind} too if its other settings are to have their defaults, or "
                f"give settings one by one, such as {path}.{next(iter(value), kind)}"
            )
        if path in _WHOLE_GROUPS:
            raise UserError(
                f"{path}: give its settings one by one, such as {path}.{_WHOLE_GROUPS[path]}: "
                "a whole group would drop the preset's other values"
            )
        if path == "data.splits" and isinstance(value, dict):
            dropped = (result.get("data") or {}).get("splits", {}).keys() - value.keys()
            if dropped:
                raise UserError(
                    f"{path}: give {min(dropped)} too, which the preset sets and a whole group "
                    f"would drop, or give settings one by one, such as {path}.by_window"
                )
        place: Any = result
        for part in parts[:-1]:
            if isinstance(place, list):
                if not part.isdigit() or int(part) >= len(place):
                    raise UserError(f"{path}: '{part}' must be a number below {len(place)}")
                place = place[int(part)]
            else:
                place = place.setdefault(part, {})
            if not isinstance(place, dict | list):
                raise UserError(f"{path}: {part} is a value, not a group of settings")
        if isinstance(place, list):
            if not parts[-1].isdigit() or int(parts[-1]) >= len(place):
                raise UserError(f"{path}: '{parts[-1]}' must be a number below {len(place)}")
            place[int(parts[-1])] = value
        else:
            place[parts[-1]] = value
    return result


def slug(value: Any) -> str:
    """A short name of a swept value, usable in paths."""
    if isinstance(value, dict):
        return "+".join(f"{key}-{slug(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "-".join(slug(item) for item in value)
    if isinstance(value, float):
        value = f"{value:g}"
    return (
        re.sub(r"[^A-Za-z0-9.]+", "-", str(value)).strip("-").lower()
        if not (isinstance(value, int | float) or re.fullmatch(r"-?[\d.e]+", str(value)))
        else str(value).replace("-", "m")
    )


def load(config: Mapping[str, Any], preset_folder: Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment and the preset it names, from the content of ``config.yaml``."""
    config = dict(config)
    if "preset" not in config:
        meant = difflib.get_close_matches("preset", map(str, config), 1)
        hint = f" ('{meant[0]}' is not a known key)" if meant else ""
        raise UserError(f"config.yaml: preset is missing{hint}: name a file of presets/")
    preset = read_preset(str(config["preset"]), preset_folder)
    own = config.get("set") or {}
    if not isinstance(own, dict):
        raise UserError(
            f"config.yaml: set is {own!r}: give paths with values, such as {{training.epochs: 20}}"
        )
    # A preset may bring a study of its own, which config.yaml replaces key by key.
    for key in _STUDY_KEYS & preset.keys():
        config.setdefault(key, preset[key])
        if key == "sweep" and config[key] is preset[key]:
            config[key] = {path: values for path, values in preset[key].items() if path not in own}
    config["set"] = {**preset.get("set", {}), **own}
    config = {key: value for key, value in config.items() if value is not None}
    return validated(Experiment, config, "config.yaml"), _recipe_of(preset)


def _recipe_of(preset: dict[str, Any]) -> dict[str, Any]:
    """What a preset says of a recipe, without the study it may bring."""
    return {key: value for key, value in preset.items() if key not in {*_STUDY_KEYS, "set"}}


def expand(
    experiment: Experiment, preset: dict[str, Any], name: str, preset_folder: Path
) -> dict[str, Variant]:
    """Every variant of the experiment: named variants times the grid of the sweep."""
    named = experiment.variants or (VariantSettings(name=name),)
    variants: dict[str, Variant] = {}
    for variant in named:
        for path in experiment.sweep:
            for given, where in ((experiment.set, "set"), (variant.set, f"variant {variant.name}")):
                if path in given:
                    raise UserError(
                        f"{path} is given in {where} and swept as well: leave it out of one (a "
                        "preset's own sweep is turned off by sweep: {})"
                    )
        in_order = [*experiment.set, *variant.set, *experiment.sweep]
        for earlier, later in itertools.combinations(in_order, 2):
            if earlier.startswith(f"{later}."):
                raise UserError(
                    f"{later} replaces a whole group, {earlier} in it included: give the settings "
                    "of the group one by one"
                )
        base = preset
        if variant.preset:
            base = _recipe_of(read_preset(variant.preset, preset_folder))
        origin = variant.preset or experiment.preset
        if "data" not in base:
            raise UserError(
                f"variant {variant.label}: preset {origin} is a study of other presets: give the "
                "variant one of them as its preset"
            )
        # Checked first by itself, so that an error in the preset is not blamed on a variant.
        validated(Recipe, base, f"preset {origin}")
        with _named(f"variant {variant.label}: set"):
            base = override(base, experiment.set)
        if not variant.preset:
            validated(Recipe, base, "config.yaml: set")
        for values in itertools.product(*experiment.sweep.values()):
            swept = dict(zip(experiment.sweep, values, strict=True))
            full_name = "_".join(
                [variant.label, *(f"{path.split('.')[-1]}-{slug(v)}" for path, v in swept.items())]
            )
            changes = {**variant.set, **swept}
            with _named(f"variant {full_name}"):
                changed = override(base, changes)
            recipe = validated(Recipe, changed, f"variant {full_name}")
            if not _NAME.fullmatch(full_name):
                raise UserError(f"variant '{full_name}': names are letters, digits and . _ + -")
            if full_name in variants or full_name in BASELINES:
                raise UserError(
                    f"variant '{full_name}' exists already: give it another name, or take out the "
                    "value that is swept twice"
                )
            differs = {"preset": variant.preset, **changes} if variant.preset else changes
            variants[full_name] = Variant(full_name, recipe, differs)
    for path, swept_values in experiment.sweep.items():
        reasons = [_without_effect(variant.recipe, path) for variant in variants.values()]
        if len(swept_values) > 1 and all(reasons):
            raise UserError(
                f"sweep: {path} changes nothing, so its variants would be the same: {reasons[0]}"
            )
    return variants


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Say where a mistake is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _without_effect(recipe: Recipe, path: str) -> str:
    """Why a setting changes nothing in a recipe; empty if it does."""
    features, network, training = recipe.features, recipe.network, recipe.training
    reasons: dict[str, str] = {}
    if recipe.data.paired:
        mixed = "the pairs of data.speech are mixed already"
        reasons |= {"mixing.level": mixed, "mixing.noise_hop": mixed, "audio.trim_top_db": mixed}
    for side, unused in (("input", "compressed" in features.input),
                         ("target", "mask" in features.target)):  # fmt: skip
        group = f"features.{side}_scaling"
        kind = getattr(features, f"{side}_scaling").kind
        if unused:
            reasons[group] = f"features.{side} {getattr(features, side)} is not scaled"
        keys = {"affine": ["range"], "standard": ["add", "divide", "range"]}
        for key in keys.get(kind, ["add", "divide"]):
            reasons.setdefault(f"{group}.{key}", f"{group}.kind {kind} does not use it")
    if "compressed" not in features.input:
        reasons["features.compression"] = f"features.input is {features.input}"
    if features.reference != "absolute":
        reasons["features.reference_magnitude"] = f"features.reference is {features.reference}"
    schedule = f"training.schedule.kind is {training.schedule.kind}"
    if training.schedule.kind != "plateau":
        for key in ("factor", "patience"):
            reasons[f"training.schedule.{key}"] = schedule
    if training.schedule.kind == "constant":
        reasons["training.schedule.minimum"] = schedule
    if training.optimiser.weight_decay == 0:
        same = "adam and adamw differ by weight_decay alone, which is 0"
        reasons["training.optimiser.name"] = same
    if getattr(network, "normalisation", "batch") == "none":
        reasons["network.norm_momentum"] = "network.normalisation is none"
    if getattr(network, "dropout", 1) == 0:
        reasons["network.dropout_at"] = "network.dropout is 0"
    return next((why for group, why in reasons.items() if f"{path}.".startswith(f"{group}.")), "")


def typed(config: Any, given: Any) -> Any:
    """`config` with numbers, truth values and null where the command line gave them as text.

    Parameters
    ----------
    config
        A value of the configuration.
    given
        What the command line says of it: Snakemake leaves whatever is nested there as text.
    """
    if isinstance(config, dict) and isinstance(given, dict):
        return {key: typed(value, given.get(key)) for key, value in config.items()}
    if isinstance(config, list) and isinstance(given, list):
        return [typed(value, value) for value in config]
    if isinstance(config, str) and config == given:
        try:
            value = yaml.safe_load(config)
        except yaml.YAMLError:
            return config
        return value if value is None or isinstance(value, int | float) else config
    return config


def make_plan(config: Mapping[str, Any], preset_folder: Path) -> Plan:
    """Check and expand the configuration into everything that is to be run.

    Parameters
    ----------
    config
        The content of ``config.yaml``, with what the command line changed.
    preset_folder
        Where presets are looked up by name.

    Raises
    ------
    UserError
        In one line, for anything that is wrong with the configuration.
    """
    experiment, preset = load(config, preset_folder)
    name = experiment.experiment or Path(experiment.preset).stem
    if not _NAME.fullmatch(name):
        raise UserError(f"experiment '{name}': names are at most 200 letters, digits and . _ + -")
    stem = Path(experiment.preset).stem
    plan = Plan(experiment, name, expand(experiment, preset, stem, preset_folder))
    for variant in plan.variants.values():
        _check_start(plan, variant)
        _plan_variant(plan, variant)
    for variant in plan.variants.values():
        missing = sorted(plan.test_set_names.keys() - variant.test_sets.keys())
        if missing:
            raise UserError(
                f"variant {variant.name} has no test set '{missing[0]}', which others have: give "
                "all variants of an experiment the same test_sets"
            )
    for name, folder in experiment.models.items():
        plan.models[name] = _ready_model(plan, name, folder)
    return plan


def differences(before: Any, now: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """What differs between two nested settings.

    Returns
    -------
    dict
        Config path, as in ``training.loss`` → both values; None where a setting is missing.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in dict.fromkeys([*before, *now]):
            inner = f"{path}.{key}" if path else str(key)
            found |= differences(before.get(key), now.get(key), inner)
        return found
    return {} if before == now else {path: (before, now)}


def check_backends(plan: Plan) -> None:
    """Refuse a plan whose networks need a library that is not installed here.

    Raises
    ------
    UserError
        With the command that installs it.
    """
    for variant in plan.variants.values():
        name = variant.recipe.training.backend
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"training.backend {name} of {variant.name} is not installed: run make install "
                f"EXTRA={backend.extra(name)}, or pip install 'denoise[{backend.extra(name)}]'"
            )


def replaced_by(plan: Plan, reports: Path) -> list[str]:
    """Warnings of other experiments with a report here, whose results those of `plan` replace.

    A model and its scores lie under the name of the variant, whichever experiment it belongs to.
    """
    warnings = []
    for path in sorted(reports.glob("*/study.json")):
        try:
            study = files.read_json(path)
            other, variants = study["experiment"], study["variants"]
            recipes = {name: variants[name]["recipe"] for name in plan.variants if name in variants}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of another version of this program
        unlike = {}
        for name, recipe in recipes.items():
            now = plan.variants[name].recipe.model_dump(mode="json")
            changed = differences(recipe, now)
            # A setting that one of the two does not know is one of another version.
            unlike[name] = {path: two for path, two in changed.items() if None not in two}
        unlike = {name: changed for name, changed in unlike.items() if changed}
        if other == plan.name or not unlike:
            continue
        setting, (there, here) = next(iter(next(iter(unlike.values())).items()))
        warnings.append(
            f"{', '.join(unlike)} has other settings in the experiment {other} ({setting} is "
            f"{there} there and {here} here): this run replaces those models and scores, not the "
            f"report. Give the variants other names, as in `variants: [{{name: {plan.name}}}]`, to "
            "keep both"
        )
    return warnings


def _ready_model(plan: Plan, name: str, folder: str) -> ReadyModel:
    """What is to be known of a model before it is used."""
    where = f"models: {name}"
    if not _NAME.fullmatch(name):
        raise UserError(f"{where}: names are letters, digits and . _ + -")
    if name in plan.variants or name in BASELINES:
        raise UserError(f"{where} is the name of a variant or baseline: give it another")
    for file in ("model.keras", "card.json"):
        if not (Path(folder) / file).is_file():
            raise UserError(f"{where}: {folder} has no {file}: give the folder of a trained model")
    try:
        return ReadyModel(folder, int(files.read_json(Path(folder) / "card.json")["rate"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: {folder}/card.json is not a model card: {reason}") from None


def _check_start(plan: Plan, variant: Variant) -> None:
    """Refuse weights to start from that are not there, or those of another kind of network."""
    name, seen = variant.recipe.training.start_from, [variant.name]
    where = f"variant {variant.name}: training.start_from"
    if name is not None and name not in plan.variants:
        if not (Path(name) / "model.keras").is_file():
            raise UserError(
                f"{where}: '{name}' is neither a variant{did_you_mean(name, plan.variants)} nor a "
                f"folder with model.keras: the variants are {', '.join(plan.variants)}"
            )
        return
    while name in plan.variants:
        if name in seen:
            raise UserError(f"{where}: {' starts from '.join([*seen, name])}: give one no start")
        seen.append(name)
        other = plan.variants[name].recipe
        for key in ("network", "features"):
            if getattr(other, key) != getattr(variant.recipe, key):
                raise UserError(
                    f"{where}: {name} has other settings of {key}, with which its weights mean "
                    "something else"
                )
        name = other.training.start_from


def _plan_variant(plan: Plan, variant: Variant) -> None:
    recipe = variant.recipe
    data, seed = recipe.data, recipe.data.seed
    sides = _plan_splits(plan, data.speech, data.noise, recipe.audio, data.splits, seed)
    common = {"rate": recipe.audio.sample_rate, "seed": seed}
    mixing = {"mixing": recipe.mixing.model_dump(mode="json"), **common}
    level = slug(recipe.mixing.level.model_dump(exclude_none=True))
    mixtures = _add(plan.mixtures, level, mixing, sides)
    features = {"features": recipe.features.model_dump(mode="json"), **common}
    stft = recipe.features.stft
    variant.spectrograms = _add(
        plan.spectrograms, f"stft-{stft.n_fft}-{stft.hop}", features, (mixtures,)
    )
    if recipe.features.measured:
        plan.measured.add(variant.spectrograms)
    for test_name, test_set in recipe.test_sets.items():
        test_sides, test_common = sides, common
        own = test_set.data
        if own is None and test_set.split == "test":
            _check_tested(variant, test_name)
        if own is not None:
            _check_apart(variant, test_name, own)
            test_sides = _plan_splits(
                plan, own.speech, own.noise, own.audio, SplitSettings(), own.seed
            )
            test_common = {"rate": own.audio.sample_rate, "seed": own.seed}
        described = test_set.model_dump(mode="json", exclude={"data"})
        settings = {"test_set": described, "name": test_name, **test_common}
        stage = _add(plan.test_sets, test_name, settings, test_sides)
        if plan.test_set_names.setdefault(test_name, stage) != stage:
            raise UserError(
                f"variant {variant.name}: its test set '{test_name}' differs from that of the "
                "variants before; what shapes the test (test_sets, data, audio) must be the same "
                "for all variants of an experiment, so that they can be compared. Variants that "
                "train on different data need a test set with data of its own "
                f"(test_sets.{test_name}.data)"
            )
        variant.test_sets[test_name] = stage


def _check_tested(variant: Variant, test_name: str) -> None:
    """Refuse a test set of the recipe's recordings if they are all for training."""
    for side in ("speech", "noise"):
        sources = getattr(variant.recipe.data, side)
        if sources and all(source.use in {"train", "validation"} for source in sources):
            raise UserError(
                f"variant {variant.name}: test_sets.{test_name} has no {side}: all sources of "
                f"data.{side} have use: train or validation. Give one use: test or all, or the "
                f"test set (test_sets.{test_name}.data) recordings of its own"
            )


def _check_apart(variant: Variant, test_name: str, own: TestData) -> None:
    """Refuse a test set of recordings that the variant trains on."""
    data = variant.recipe.data
    for trained, tested in itertools.chain(
        itertools.product(data.speech, own.speech), itertools.product(data.noise, own.noise)
    ):
        if trained.use == "test" or trained.corpus != tested.corpus:
            continue
        shared = _shared(trained, tested)
        if shared is None:
            continue
        for name in ("speakers", "folds", "categories", "recordings"):
            first, second = set(getattr(trained, name)), set(getattr(tested, name))
            if first and second and not first & second:
                break
        else:
            raise UserError(
                f"variant {variant.name}: test set '{test_name}' takes {tested.corpus} "
                f"{shared}, which the variant trains on: give both different subsets, "
                "speakers or folds"
            )


def _shared(trained: SourceSettings, tested: SourceSettings) -> str | None:
    """What two sources of a corpus have in common, if anything: a folder, or a subset of both."""
    if trained.path is not None and tested.path is not None:
        one, other = Path(trained.path).resolve(), Path(tested.path).resolve()
        within = one.is_relative_to(other) or other.is_relative_to(one)
        return tested.path if within else None
    larger = corpora.get(trained.corpus).part_of
    known = {name for subset in trained.resolved_subsets() for name in (subset, larger.get(subset))}
    # A part of what is tested may be trained on; two parts of one subset share nothing known.
    direct = set(trained.resolved_subsets())
    for subset in tested.resolved_subsets():
        if subset in known or larger.get(subset) in direct:
            return subset
    return None


def _plan_splits(
    plan: Plan,
    speech: tuple[SourceSettings, ...],
    noise: tuple[SourceSettings, ...],
    audio: AudioSettings,
    splits: SplitSettings,
    seed: int,
) -> tuple[str, ...]:
    """The stages that divide the speech and, unless it is paired, the noise."""
    made = [_plan_split(plan, "speech", speech, audio, splits, seed)]
    if noise:
        made.append(_plan_split(plan, "noise", noise, audio, splits, seed))
    return tuple(made)


def _plan_split(
    plan: Plan,
    role: str,
    sources: tuple[SourceSettings, ...],
    audio: AudioSettings,
    splits: SplitSettings,
    seed: int,
) -> str:
    uses, names = [], []
    for source in sources:
        subsets = source.resolved_subsets()
        for subset in subsets:
            settings: dict[str, Any] = {"corpus": source.corpus, "subset": subset}
            if source.corpus == "folder":
                assert source.path is not None
                settings |= {
                    "path": source.path,
                    "speaker_level": source.speaker_level,
                    "listing": listing_digest(Path(source.path)),
                }
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
        if source.corpus == "folder":
            settings["listing"] = plan.indexes[upstream[0]].settings["listing"]
        label = source.corpus if len(subsets) > 1 else f"{source.corpus}-{subsets[0]}"
        names.append(_add(plan.audio, label, settings, upstream))
        uses.append(source.use)
    settings = {"uses": uses, "splits": splits.model_dump(mode="json"), "seed": seed}
    return _add(plan.splits, role, settings, tuple(names))


def _add(
    stages: dict[str, Stage], label: str, settings: dict[str, Any], upstream: tuple[str, ...]
) -> str:
    name = f"{slug(label)}-{digest([settings, list(upstream)])}"
    stages[name] = Stage(name, settings, upstream)
    return name


def archives_of(corpus: str, subset: str) -> list[str]:
    """The names of a subset's archives, optional ones last."""
    found = corpora.get(corpus)
    if corpus == "folder":
        return []
    archives = sorted(found.subsets[subset], key=lambda archive: archive.optional)
    return [archive.name for archive in archives]
