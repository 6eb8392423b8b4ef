"""The settings of a recipe and of an experiment, and the checks that span several groups."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from denoise.core.errors import UserError, unknown
from denoise.core.settings import Settings
from denoise.corpora.download import DownloadSettings
from denoise.corpora.registry import CORPORA, find_corpus
from denoise.corpora.selection import AudioSettings
from denoise.corpora.sources import SourceSettings
from denoise.corpora.splits import SPLITS, SplitSettings
from denoise.enhancement.settings import EnhancementSettings
from denoise.evaluation.baselines import BASELINES
from denoise.features.settings import FeatureSettings
from denoise.metrics.recognition import RECOGNISERS
from denoise.metrics.registry import FAMILIES
from denoise.mixing.augmentation import AugmentationSettings
from denoise.mixing.settings import MixingSettings, TestSetSettings
from denoise.networks.registry import AnyNetwork, check_shape
from denoise.networks.unet import UNetSettings
from denoise.training import losses
from denoise.training.settings import TrainingSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,199}")
_REPEATED = re.compile(r"(.+)\1{19}$")
"""Names that Snakemake would take for infinite recursion."""
RESERVED = frozenset({*BASELINES, "reference", "anchor"})
"""Names that the report uses itself; variants and ready models cannot have them."""
PAIRED = {"voicebank_demand", "pairs"}


def check_name(where: str, name: str) -> None:
    """Raise an error if a text cannot be a name of files and jobs.

    Raises
    ------
    UserError
        That says at `where` what would be right.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{where}: names are at most 200 letters, digits and . _ + -, and begin with a letter "
            "or digit"
        )
    if _REPEATED.search(name):
        raise UserError(f"{where}: no part of a name may occur twenty times: shorten it")


def check_label(where: str, label: str, taken: Container[str]) -> None:
    """Raise an error if a label is not a valid name, or is taken.

    Raises
    ------
    UserError
        That says at `where` what would be right.
    """
    check_name(where, label)
    if label.lower() in RESERVED:
        raise UserError(
            f"{where}: a baseline or a reference of the report has this name: give it another name"
        )
    if label in taken:
        raise UserError(
            f"{where} exists already: give it another name, or take out the value that is swept "
            "twice"
        )


class DataSettings(Settings):
    """The recordings. Changing them prepares, mixes and trains again."""

    speech: tuple[SourceSettings, ...] = Field(min_length=1)
    """Sources of speech, or of clean/noisy pairs."""
    noise: tuple[SourceSettings, ...] = ()
    """Sources of noise; none for paired corpora."""
    rooms: tuple[SourceSettings, ...] = ()
    """Sources of impulse responses of rooms, for `mixing.rooms` and the rooms of test sets."""
    splits: SplitSettings = SplitSettings()
    """Shares of validation and test."""
    seed: int = Field(0, ge=0)
    """Determines splits and mixtures."""

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        _check_noise(self.speech, self.noise)
        _check_rooms(self.speech, self.rooms)
        for name, sources in (("speech", self.speech), ("noise", self.noise)):
            _check_trained(name, sources)
        for name in ("speech", "noise", "rooms"):
            _check_shares(name, getattr(self, name))
        return self

    @property
    def paired(self) -> bool:
        """Whether the noise of all speech is mixed already."""
        return all(source.corpus in PAIRED for source in self.speech)


def _check_shares(name: str, sources: tuple[SourceSettings, ...]) -> None:
    """Refuse shares of speech sources, and shares that add up to more than 1 for a split."""
    asked = [source.share for source in sources if source.share is not None]
    if asked and name == "speech":
        raise ValueError("share is for sources of noise and rooms: use hours for speech")
    for split in SPLITS:
        used = [one.share for one in sources if one.split in {split, "all"}]
        if sum(share or 0 for share in used) > 1 + 1e-9:
            raise ValueError(
                f"the shares of {name} for {split} are more than 1 together: lower one"
            )


def _check_trained(name: str, sources: tuple[SourceSettings, ...]) -> None:
    """Refuse sources that are all for validation and test."""
    if sources and all(source.split in {"validation", "test"} for source in sources):
        raise ValueError(
            f"all sources of {name} have split: "
            f"{' or '.join({source.split for source in sources})}, so "
            "there is nothing to train on: give one split: train or all"
        )


def _check_noise(speech: tuple[SourceSettings, ...], noise: tuple[SourceSettings, ...]) -> None:
    """Refuse speech without noise, pairs with it, and noise for speech."""
    _check_role("speech", speech, "noise")
    _check_role("speech", speech, "rooms")
    _check_role("noise", noise, "rooms")
    for source in noise:
        if source.speakers or source.exclude_speakers or source.sex:
            raise ValueError(
                f"noise from {source.corpus} is selected by speakers or sex, which noise does not "
                "have: use noise_types, or folds"
            )
    paired = [source.corpus in PAIRED for source in speech]
    if not noise and not all(paired):
        raise ValueError("noise must name at least one source (only paired corpora need none)")
    if noise and all(paired):
        raise ValueError("noise must be empty: pairs are mixed already")


def _check_role(role: str, sources: tuple[SourceSettings, ...], other: str) -> None:
    """Raise an error if a source is listed in the wrong place."""
    for source in sources:
        corpus = find_corpus(source.corpus)
        held = corpus.noise_subsets if other == "noise" else corpus.room_subsets
        for subset in source.parts():
            if subset in held:
                what = "noise" if other == "noise" else "impulse responses of rooms"
                raise ValueError(
                    f"{role} names {source.corpus} {subset}, which holds {what}: name it in {other}"
                )


def _check_rooms(speech: tuple[SourceSettings, ...], rooms: tuple[SourceSettings, ...]) -> None:
    """Raise an error for sources of rooms without rooms, and for rooms with paired data."""
    for source in rooms:
        for subset in source.parts() or ([] if source.corpus == "folder" else [""]):
            if subset not in find_corpus(source.corpus).room_subsets:
                known = [f"{one} {name}" for one, corpus in CORPORA.items()
                         for name in corpus.room_subsets]  # fmt: skip
                raise ValueError(
                    f"rooms names {f'{source.corpus} {subset}'.strip()}, which holds no impulse "
                    f"responses: name a folder, {' or '.join(known)}"
                )
    if rooms and all(source.corpus in PAIRED for source in speech):
        raise ValueError("rooms must be empty: pairs are mixed already")


class TestData(Settings):
    """Separate recordings for a test set. Changing them scores again and trains nothing."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    speech: tuple[SourceSettings, ...] = Field(min_length=1)
    """Sources of speech, all of them for test."""
    noise: tuple[SourceSettings, ...] = ()
    """Sources of noise, all of them for test."""
    rooms: tuple[SourceSettings, ...] = ()
    """Sources of impulse responses of rooms, all of them for test."""
    clean: Literal["none"] | None = None
    """`none` if `speech` has noisy recordings without a clean version: they are not mixed with
    noise, and scored by metrics that need no reference."""
    audio: AudioSettings = AudioSettings()
    """Decoding and selection; its `sample_rate` is that of the test set."""
    seed: int = Field(0, ge=0)
    """Determines the mixtures."""

    @field_validator("speech", "noise", "rooms", mode="after")
    @classmethod
    def _for_test(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        return tuple(source.model_copy(update={"split": "test"}) for source in sources)

    @model_validator(mode="after")
    def _check(self) -> TestData:
        if self.clean is None:
            _check_noise(self.speech, self.noise)
            _check_rooms(self.speech, self.rooms)
            for name in ("speech", "noise", "rooms"):
                _check_shares(name, getattr(self, name))
            return self
        for name in ("noise", "rooms"):
            if getattr(self, name):
                raise ValueError(
                    f"clean: none is for recordings that are noisy already: leave {name} out, or "
                    "clean"
                )
        for source in self.speech:
            if source.corpus in PAIRED:
                raise ValueError(f"{source.corpus} has clean versions: leave clean out")
        return self


def _raise_unused(share: str, sources: str, *, unused: bool) -> None:
    """Raise `ValueError` for rooms that nothing is heard in, or for a share of none."""
    if unused:
        raise ValueError(f"{sources} names rooms, but {share} is 0: raise it, or leave them out")
    raise ValueError(f"{share} asks for rooms, but {sources} names none: give it a source")


class RecipeTestSet(TestSetSettings):
    """A test set of whole utterances. Changing it scores again and trains nothing."""

    data: TestData | None = None
    """Separate recordings for the test set, which variants that train on different data can share;
    default those of the recipe."""

    @model_validator(mode="after")
    def _check(self) -> RecipeTestSet:
        if self.data is not None and self.split == "validation":
            raise ValueError("split validation takes recordings of the recipe: leave data out")
        if self.data is not None and bool(self.data.rooms) != bool(self.rooms.share):
            _raise_unused("rooms.share", "data.rooms", unused=bool(self.data.rooms))
        if not self.has_clean and self.degradations.active:
            raise ValueError(
                "degradations are applied to mixtures, but with data.clean: none recordings are "
                "taken as they are: leave one of them out"
            )
        return self

    @property
    def has_clean(self) -> bool:
        """Whether there are clean references."""
        return self.data is None or self.data.clean is None


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
    """Input and target of the network."""
    network: AnyNetwork = UNetSettings()
    """The network."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """Random changes of the training windows in each epoch."""
    training: TrainingSettings = TrainingSettings()
    """The training."""
    enhancement: EnhancementSettings = EnhancementSettings()
    """Application to whole recordings."""
    test_sets: dict[str, RecipeTestSet] = {"test": RecipeTestSet()}
    """Test sets by name; default one called `test` at `snr_db: [0, 5, 10, 15]`."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        check_shape(self.network, self.features.shape(self.mixing.segment))
        self._check_range()
        self._check_adversarial()
        if getattr(self.network, "causal", False):
            self._check_causal()
        if self.augmentation.active and self.features.cache:
            raise ValueError(
                "augmentation varies windows in every epoch, but features.cache keeps them as they "
                "are: set features.cache: false"
            )
        longest, window_s = self.audio.max_duration_s, self.mixing.segment / self.audio.sample_rate
        if longest is not None and longest < window_s and not self.mixing.pad:
            raise ValueError(
                f"audio.max_duration_s {longest:g} leaves no recording as long as mixing.segment "
                f"({window_s:.4g} s): raise it, or set mixing.pad: true"
            )
        if self.data.splits.by_window and self.mixing.speech_stride < self.mixing.segment:
            raise ValueError(
                f"mixing.speech_stride {self.mixing.speech_stride} makes windows overlap, so "
                "data.splits.by_window would validate on samples that are trained on: use at least "
                f"mixing.segment {self.mixing.segment}"
            )
        if self.mixing.segment < self.features.stft.n_fft:
            raise ValueError(
                f"mixing.segment {self.mixing.segment} must be at least features.stft.n_fft "
                f"{self.features.stft.n_fft}"
            )
        self._check_test_sets()
        self._check_rooms()
        self._check_bands()
        return self

    def _check_bands(self) -> None:
        """Refuse limits of the band beyond half the sample rate, which would change nothing."""
        places = {"mixing": (self.mixing, self.audio)} | {
            f"test_sets.{name}": (one, one.data.audio if one.data else self.audio)
            for name, one in self.test_sets.items()
        }
        for where, (mixed, about) in places.items():
            limit, half = mixed.degradations.band_limit, about.sample_rate / 2
            if limit.share and limit.high_hz[1] > half:
                raise ValueError(
                    f"{where}.degradations.band_limit.high_hz {list(limit.high_hz)} reaches beyond "
                    f"{half:g} Hz, half of the sample rate: end it there"
                )

    def _check_rooms(self) -> None:
        """Raise an error if rooms are used but not given, or given but not used."""
        heard = {f"test_sets.{name}.rooms.share": one.rooms.share
                 for name, one in self.test_sets.items() if one.data is None}  # fmt: skip
        heard["mixing.rooms.share"] = self.mixing.rooms.share
        asked = [name for name, share in heard.items() if share]
        if self.mixing.rooms.share and self.data.rooms:
            _check_trained("rooms", self.data.rooms)
        if bool(asked) != bool(self.data.rooms):
            where = asked[0] if asked else "mixing.rooms.share"
            _raise_unused(where, "data.rooms", unused=not asked)
        for name, given in (
            ("rooms", bool(self.mixing.rooms.share)),
            ("degradations", self.mixing.degradations.active),
        ):
            if getattr(self.augmentation, name) and not given:
                raise ValueError(
                    f"augmentation.{name} takes what mixing.{name} gives to other windows, which "
                    f"is none: give mixing.{name} a share"
                )

    def _check_test_sets(self) -> None:
        """Refuse test sets that cannot be made or scored."""
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
            check_name(f"test set '{name}'", name)

    def _check_adversarial(self) -> None:
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
        if losses.is_waveform_loss(self.training.loss) and features.reference == "utterance":
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
    """The label in the leaderboard, the report and MLflow; default the name of the preset."""
    preset: str | None = None
    """The preset to change, by name or path; default that of the experiment."""
    set: dict[str, Any] = {}
    """Overrides: config path to value, e.g. `training.loss: mse`."""

    @model_validator(mode="after")
    def _check(self) -> VariantSettings:
        if not self.name and not self.preset:
            raise ValueError("a variant needs a name or a preset")
        return self

    @property
    def label(self) -> str:
        """Its name, or the name of its preset."""
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
    """A grid: config path to a list of values; applied to every variant."""
    seeds: tuple[int, ...] = (0,)
    """Each variant is trained once for every seed."""
    baselines: tuple[str, ...] = tuple(name for name, one in BASELINES.items() if one.usual)
    """Methods to compare with: `noisy`, `clean`, `noisereduce`, `logmmse`, `webrtc`, `rnnoise`,
    `deepfilternet3`, `oracle`."""
    metrics: tuple[str, ...] = ("intrusive",)
    """Families of metrics: `intrusive` (all that compare with the clean reference), `dnsmos`
    (ratings that a network predicts without a reference), `wer` (word error rate, for test sets
    with transcripts), `dwer` (word error rate relative to the recogniser's output for the clean
    recording). Recordings without a clean version are always scored with `dnsmos`."""
    recogniser: str = "pocketsphinx"
    """The speech recogniser for `wer` and `dwer`: `pocketsphinx`, which is weak but includes its
    weights, or `faster-whisper`, which downloads its weights."""
    models: dict[str, str] = {}
    """Ready models to compare with: name to folder, such as `{ready: pretrained/best}`. They are
    scored, not trained; make sure they were not trained on the test data."""
    extensions: tuple[str, ...] = ()
    """Python files in the folder of the study that add networks, losses, metrics, augmentations or
    corpora (docs/extending.md)."""
    download: DownloadSettings = DownloadSettings()
    """How archives are obtained."""
    most_variants: int = Field(2000, ge=1)
    """Refuse more variants than this, because a sweep multiplies quickly."""
    examples: int = Field(3, ge=1, le=20)
    """Number of utterances of the leading variant with players in the report, starting with the
    best, the median and the worst; of every other variant the worst is added."""

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

    @field_validator("recogniser")
    @classmethod
    def _check_recogniser(cls, name: str) -> str:
        if name not in RECOGNISERS:
            raise unknown("recogniser", name, RECOGNISERS)
        return name

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in FAMILIES:
                raise unknown("family of metrics", name, FAMILIES)
        if not {"intrusive", "dnsmos"} & set(names):
            raise ValueError(
                "metrics must name intrusive or dnsmos, by which methods are ranked, whatever else "
                "it names"
            )
        return tuple(name for name in FAMILIES if name in names)

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if "clean" in self.baselines and not {"dnsmos", "wer"} & set(self.metrics):
            raise ValueError(
                "baselines names clean, which only metrics without a reference can judge: add "
                "dnsmos or wer to metrics, or leave it out"
            )
        return self
