"""The configuration is checked before any job; stages are shared by exactly what shapes them."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
from pathlib import Path

import pytest
import yaml
from snakemake.io import PeriodicityDetector

from denoise.core import files
from denoise.core.errors import UserError
from denoise.corpora.folder import listing_digest
from denoise.study.checks import check_backends
from denoise.study.config import coerce_cli_values
from denoise.study.plan import make_plan
from denoise.study.reference import conda_environment, configuration_page, json_schema
from denoise.study.schema import Experiment, Recipe
from denoise.study.sweep import override, slug

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "presets"


def plan(**config):
    return make_plan({"preset": "quickstart", **config}, PRESETS)


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid_and_complete(preset):
    content = yaml.safe_load(preset.read_text())
    assert make_plan({"preset": preset.stem}, PRESETS).variants
    if "variants" in content:
        return  # a study of others, which are complete
    for group in ("data", "audio", "mixing", "features", "network", "training", "test_sets"):
        assert group in content, f"a preset spells out {group}"


def test_the_default_configuration_is_valid():
    assert make_plan(yaml.safe_load((ROOT / "config.yaml").read_text()), PRESETS).variants


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"preset": "quickstrat"}, r"unknown preset 'quickstrat' \(did you mean 'quickstart'\?\)"),
        ({"sweeep": {}}, r"sweeep is not a known key \(did you mean 'sweep'\?\)"),
        ({"set": {"training.epoch": 3}}, r"training\.epoch is not .*did you mean 'epochs'"),
        ({"set": {"training.epochs": 0}}, r"training\.epochs is 0: .*greater than or equal to 1"),
        ({"set": {"training.epochs": "many"}}, r"training\.epochs is 'many'"),
        ({"set": {"features.stft.hop": -63}}, r"features\.stft\.hop is -63: .*greater"),
        ({"set": {"features.stft.hop": 200}}, r"between 1 and n_fft/2 = 127"),
        ({"set": {"training.loss": "hubr"}}, r"unknown loss 'hubr' \(did you mean 'huber'"),
        ({"set": {"training.metrics": ["iou"]}}, r"unknown metric 'iou'.*there are mae, mse"),
        ({"set": {"network.name": "unte"}}, r"unknown network 'unte' \(did you mean 'unet'"),
        (
            {"set": {"network.negative_slop": 0.1}},
            r"network\.negative_slop is not .*did you mean 'negative_slope'",
        ),
        ({"set": {"network": {"name": "autoencoder", "leak": 0}}}, r"network\.leak is .*known are"),
        (
            {"set": {"network": {"name": "autoencoder", "filters": [4] * 8}}},
            "multiples of 256 and 256, not",
        ),
        ({"set": {"training.optimiser.weight_decay": 0.1}}, "0.1 needs name: adamw or muon, not"),
        ({"set": {"training.loss": "bce"}}, "bce compares values from 0 to 1: use network"),
        ({"set": {"training.loss": {"huber": 1}}}, "huber compares spectrograms and cannot be"),
        ({"set": {"training.loss": {"wave": 0}}}, "the weight 0 of wave must be positive"),
        ({"set": {"training.loss": {}}}, "name at least one loss"),
        (
            {
                "set": {
                    "training.loss": "wave",
                    "training.adversarial.kind": "metric",
                    "audio.sample_rate": 22050,
                }
            },
            "learns PESQ, which audio.sample_rate 22050 Hz",
        ),
        ({"set": {"training.start_from": "huber"}}, "'huber' is neither a variant.* nor a folder"),
        (
            {"set": {"training.loss": "wave", "training.teacher": "bset"}},
            "training.teacher: 'bset' is neither a variant.* nor a folder",
        ),
        (
            {"set": {"training.loss": "wave", "training.teacher": "pretrained/best"}},
            "pretrained/best works at 16000 Hz, the variant at 8000 Hz",
        ),
        (
            {"set": {"training.teacher": "pretrained/best"}},
            "teacher needs a waveform loss, which huber is not",
        ),
        (
            {
                "set": {
                    "training.loss": "wave",
                    "training.teacher": "pretrained/best",
                    "training.devices": "all",
                }
            },
            "devices all cannot be used with teacher",
        ),
        (
            {"set": {"training.initial_weight_share": 0.2}},
            "initial_weight_share 0.2 needs start_from",
        ),
        (
            {"set": {"network": {"name": "temporal_unet", "causal": True, "frequency_folding": 1}}},
            "network.causal needs features.reference: absolute: the level of the window",
        ),
        (
            {"set": {"features.target_scaling": {"kind": "min_max", "range": [-2, 1]}}},
            r"tanh gives values from -1 to 1, but .* takes features.target noise to -2 … 1",
        ),
        (
            {
                "set": {
                    "data.splits.by_window": True,
                    "mixing.speech_stride": 8064,
                    "test_sets.v": {"split": "validation"},
                }
            },
            r"test_sets\.v\.split validation needs recordings",
        ),
        ({"set": {"features.target": "complex_mask"}}, "needs input: level_and_phase"),
        (
            {"training.epochs": 3},
            "training.epochs is not a known key here; what changes a preset belongs below set",
        ),
        ({"set": {"training.backend": "theano"}}, r"'tensorflow', 'jax' or 'torch'"),
        ({"set": {"data.speech.0.corpus": "timit"}}, r"unknown corpus 'timit'.*librispeech"),
        ({"set": {"data.speech.0.subsets": ["song"]}}, r"unknown subset of synthetic 'song'"),
        ({"set": {"data.speech.5.corpus": "x"}}, r"'5' must be a number below 1"),
        ({"set": {"data.noise": []}}, "noise must name at least one source"),
        ({"set": {"audio.max_duration_s": 0.5}}, r"max_duration_s 0\.5 must be greater"),
        ({"set": {"mixing.gain": [0.8, 0.2]}}, "must go from low to high"),
        ({"seeds": [0, 0]}, "seeds .* must be different"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1 << 40]}, r"from 0 to 2\^32 - 1"),
        ({"sweep": {"training.loss": []}}, r"training\.loss must have at least one value"),
        ({"set": {"mixing.segment": 8000}}, "multiples of 16 and 16, not 128x127"),
        ({"set": {"training": {"epochs": 3}}}, r"one by one, such as training\.loss"),
        (
            {"set": {"network": {"filters": [8, 16]}}},
            "name the network, one of autoencoder, temporal_unet, unet",
        ),
        (
            {
                "set": {
                    "features.target": "mask_and_phase_correction",
                    "features.input": "compressed_complex",
                    "network.output_activation": "sigmoid",
                }
            },
            "mask_and_phase_correction has negative values, which network.output_activation",
        ),
        ({"set": {"data.splits.by_window": True}}, "on samples that are trained on: use at least"),
        (
            {
                "set": {"training.schedule.warmup_epochs": 1},
                "sweep": {"training.schedule": [{"kind": "plateau"}, {"kind": "cosine"}]},
            },
            r"training\.schedule replaces a whole group, training\.schedule\.warmup_epochs in it",
        ),
        ({"set": {"training.schedule": {"patience": 5}}}, r"schedule: give kind too"),
        ({"set": {"data.splits": {"by_window": True}}}, "data.splits: give test too, which the"),
        ({"set": {"training.schedule.minimum": 0.1}}, "must be at most the learning rate at the"),
        ({"set": {"training.schedule.warmup_epochs": 50}}, "must be at most epochs 8"),
        ({"set": {"features.target_scaling": {"kind": "standard"}}}, "has no ends: use linear"),
        (
            {
                "set": {
                    "features.target": "complex_mask",
                    "features.input": "level_and_phase",
                    "network.output_activation": "sigmoid",
                }
            },
            "complex_mask has negative values",
        ),
        ({"set": {"data.splits.validation": 0.6, "data.splits.test": 0.6}}, "less than 1"),
        ({"set": {"data.noise.0.sex": "F"}}, "selected by speakers or sex, which noise does not"),
        (
            {
                "set": {
                    "data.speech": [
                        {"corpus": "librispeech", "subsets": ["dev-clean"], "folds": [1]}
                    ]
                }
            },
            "librispeech cannot be selected by folds; possible: speakers, sex",
        ),
        (
            {"set": {"data.speech.0.split": "test"}},
            "all sources of speech have split: test, so there is nothing to train on",
        ),
        ({"set": {"data.speech.0.split": "train"}}, r"test_sets\.test has no speech: all sources"),
        ({"set": {"audio.max_duration_s": 1.005}}, "leaves no recording as long as mixing.segment"),
        ({"set": {"test_sets.test.score_rate": 16000}}, "score_rate 16000 is above the 8000 Hz"),
        ({"set": {"augmentation.shift": 8}}, r"set features\.cache: false"),
        (
            {"set": {"features.cache": False, "features.reference": "utterance"}},
            "use reference: window or absolute",
        ),
        (
            {"set": {"augmentation": {"babble": 0.6, "shaped_noise": 0.6}}},
            r"augmentation.* together at most 1",
        ),
        (
            {"set": {"augmentation": {"noise_speed_perturbation": [0.1, 2]}}},
            r"noise_speed_perturbation \[0.1, 2.0\] must lie within 0.25 and 4",
        ),
        ({"set": {"network": {"name": "autoencoder"}}}, "noise from 0 to 50 dB to -0.0732 … 0.537"),
        ({"set": ["training.epochs", 5]}, r"set is \['training.epochs', 5\]: give paths with"),
        (
            {"set": {"mixing.snr_db": [0, 5], "mixing.gain": [0, 1]}},
            "give one of gain, snr_db, snr_range_db, not",
        ),
        ({"seeds": 0}, "seeds is 0: give a list"),
        ({"variants": [{"name": "a", "set": 1}]}, r"variants\.0\.set is 1: give a group"),
        (
            {"sweep": {"training.loss": ["mse"]}, "set": {"training.loss": "mae"}},
            "training.loss is given in set and swept as well",
        ),
        (
            {"variants": [{"name": "a", "set": {"training.loss": "mae"}}]},
            r"given in variant a and swept as well.*sweep: \{\}",
        ),
        (
            {"set": {"data.noise": [{"corpus": "esc50", "noise_types": ["rian"]}]}},
            r"unknown noise type of esc50 'rian' \(did you mean 'rain'\?\)",
        ),
        ({"set": {"data.noise": [{"corpus": "esc50", "folds": [6]}]}}, "unknown fold 6 of esc50"),
        ({"set": {"data.speech": [{"corpus": "esc50"}]}}, "speech names esc50 all, which holds"),
        ({"baselines": ["wiener"]}, "unknown baseline 'wiener'.*noisereduce"),
        ({"models": {"oracle": "x"}}, "models: oracle: a baseline or a reference"),
        ({"models": {"a/b": "x"}}, "models: a/b: names are at most 200 letters"),
        ({"models": {"ready": "nowhere"}}, "models: ready: nowhere has no model.keras"),
        ({"variants": [{"name": "noisy"}], "sweep": {}}, "'noisy': a baseline or a reference"),
        ({"variants": [{"name": "a/b"}], "sweep": {}}, "names are at most 200 letters"),
        ({"sweep": {"training.loss": ["huber", "huber"]}}, "exists already"),
        ({"preset": "a" * 5000}, "unknown preset 'aaa"),
        ({"preset": "a" * 5000 + ".yaml"}, "cannot be read: File name too long"),
        ({"preset": "/dev/zero"}, "unknown preset '/dev/zero'"),
        ({"set": {"data.speech.².hours": 1}}, "'²' must be a number below"),
        ({"set": {"training.epochs": 10**300}}, "epochs has 301 digits: no setting is that large"),
        ({"set": {"training.epochs": True}}, "epochs is true, which is neither a number"),
        (
            {"set": {"mixing.snr_range_db": [False, True]}},
            "snr_range_db is false, which is neither a num",
        ),
        ({"seeds": [True, False]}, "seeds is true, which is neither a number"),
    ],
)
def test_errors_name_the_key_and_the_allowed_values_in_one_line(config, said):
    with pytest.raises(UserError, match=said) as caught:
        plan(**config)
    assert "\n" not in str(caught.value)


def test_an_error_names_an_empty_or_invalid_file(tmp_path):
    (tmp_path / "p.yaml").write_text("a: [1,")
    with pytest.raises(UserError, match=r"p\.yaml is not valid YAML"):
        make_plan({"preset": str(tmp_path / "p.yaml")}, PRESETS)
    (tmp_path / "p.yaml").write_text("seeds: [1]\nseeds: [2]\n")
    with pytest.raises(UserError, match="key 'seeds' occurs twice.*line 2"):
        make_plan({"preset": str(tmp_path / "p.yaml")}, PRESETS)
    (tmp_path / "p.yaml").write_text("training:\n  epochs: 1:30\n")
    with pytest.raises(UserError, match="1:30 would be read as 90: write that.*line 2"):
        make_plan({"preset": str(tmp_path / "p.yaml")}, PRESETS)
    (tmp_path / "p.yaml").unlink()
    (tmp_path / "p.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"p\.yaml is not a file"):
        make_plan({"preset": str(tmp_path / "p.yaml")}, PRESETS)
    with pytest.raises(UserError, match="preset is missing .'presset' is not a known key"):
        make_plan({"presset": "quickstart"}, PRESETS)
    with pytest.raises(UserError, match="preset is missing: name"):
        make_plan({}, PRESETS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Each level names the one before ten times: 10^8 keys, or values, from 300 characters.
        (
            "a: &a {k: 1}\n"
            + "".join(
                f"{key}: &{key} {{<<: [{', '.join([f'*{before}'] * 10)}], {key}: 1}}\n"
                for before, key in itertools.pairwise("abcdefghi")
            ),
            "its merges make more than 100,000 values",
        ),
        (
            "a: &a [1]\n"
            + "".join(
                f"{key}: &{key} [{', '.join([f'*{before}'] * 10)}]\n"
                for before, key in itertools.pairwise("abcdefghi")
            ),
            "holds more than 100,000 values",
        ),
        ("a: &a [*a]\n", "holds more than 100,000 values"),
        ("a: " + "x" * (1 << 20), "longer than 1 MiB"),
    ],
    ids=["merges", "aliases", "in itself", "long"],
)
def test_yaml_files_that_expand_to_too_many_values_are_rejected(tmp_path, text, said):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        make_plan({"preset": str(tmp_path / "p.yaml")}, PRESETS)


@pytest.mark.parametrize("name", ["a" * 60, "x-" + "ab" * 20, "7" * 20])
def test_names_that_snakemake_considers_periodic_are_rejected(name):
    # Its own detector is what the refusal has to agree with.
    assert PeriodicityDetector().is_periodic(name) is not None
    for given in (
        {"variants": [{"name": name}], "sweep": {}},
        {"experiment": name},
        {"set": {"test_sets": {name: {"snr_db": [0]}}}},
    ):
        with pytest.raises(UserError, match="twenty times"):
            plan(**given)
    assert PeriodicityDetector().is_periodic("a" * 19) is None
    plan(experiment="a" * 19)


def test_selecting_another_network_uses_its_own_defaults():
    chosen = {"network": {"name": "autoencoder", "output_activation": "tanh"}}
    made = plan(variants=[{"name": "a", "set": chosen}], sweep={})
    network = made.models[made.variants["a"].model].settings["network"]
    assert (network["name"], network["bottleneck"], network["dropout"]) == ("autoencoder", 512, 0.1)


def test_set_overrides_the_sweep_of_the_preset():
    made = plan(set={"training.loss": "mae"})
    assert [v.recipe.training.loss for v in made.variants.values()] == ["mae"]


def test_only_data_dependent_scalings_are_measured():
    affine = {"kind": "affine", "add": 46, "divide": 50}
    made = plan(
        sweep={"features.input_scaling": [affine, {"kind": "min_max"}, {"kind": "standard"}]},
    )
    assert len(made.spectrograms) == 3 and len(made.measured) == 2
    assert len(made.mixtures) == 1


OWN = {
    "data": {
        "speech": [{"corpus": "librispeech", "subsets": ["test-clean"]}],
        "noise": [{"corpus": "esc50", "folds": [5]}],
        "audio": {"sample_rate": 16000},
    },
    "score_rate": 8000,
}


def test_recipes_with_different_sample_rates_share_one_test_set():
    made = make_plan({"preset": "compare-all"}, PRESETS)
    recipes = {path.stem for path in PRESETS.glob("*.yaml")} - {"compare-all", "quickstart"}
    # Those of this project, which nobody published.
    recipes = {name for name in recipes if not name.startswith("best")} - {"stream", "small"}
    assert set(made.variants) == recipes
    (stage,) = made.test_sets.values()
    assert stage.settings["rate"] == 16000 and stage.settings["test_set"]["score_rate"] == 8000
    assert {made.splits[name].settings["allowed"][0] for name in stage.upstream} == {"test"}
    assert {v.recipe.audio.sample_rate for v in made.variants.values()} == {8000, 16000, 22050}
    # The network and the windows are those of the recipe, whatever the comparison changes.
    alone = make_plan({"preset": "autoencoder-rain"}, PRESETS).variants["autoencoder-rain"]
    compared = made.variants["autoencoder-rain"].recipe
    for group in ("audio", "mixing", "features", "network", "training"):
        assert getattr(compared, group) == getattr(alone.recipe, group)


def test_an_empty_group_on_the_command_line_clears_the_group():
    config = {"set": {"a": 1}, "sweep": {"b": [1, 2]}, "seeds": [0], "download": {"mirror": "m"}}
    given = {"set": {}, "sweep": {"b": ["3"]}}
    # As Snakemake merges them.
    merged = {**config, "sweep": {"b": ["3"]}}
    assert coerce_cli_values(merged, given) == {**config, "set": {}, "sweep": {"b": [3]}}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["rain", "wind", "saw"], "validation split of the noise is empty: its noise types have at "
         "most 1 recording each"),
        (["fan_1", "fan_2", "rain"], "at most 2 recordings each, .* name recordings of one type "),
    ],
)  # fmt: skip
def test_too_few_noise_recordings_for_all_splits_are_rejected(tmp_path, names, said):
    for name in names:
        (tmp_path / f"{name}.wav").write_bytes(b"not read yet")
    with pytest.raises(UserError, match=said):
        plan(set={"data.noise": [{"corpus": "folder", "path": str(tmp_path)}]})
    (tmp_path / "fan_7.wav").touch()
    (tmp_path / "fan_8.wav").touch()
    (tmp_path / "fan_9.wav").touch()
    plan(set={"data.noise": [{"corpus": "folder", "path": str(tmp_path)}]})


def test_overlapping_train_and_test_folders_are_rejected(noise_folder, tmp_path):
    (tmp_path / "link").symlink_to(noise_folder)
    (noise_folder / "part").mkdir()
    for other in (tmp_path / "link", noise_folder / "part", noise_folder.parent):
        sources = [{"corpus": "folder", "path": str(path), "split": split}
                   for path, split in ((noise_folder, "train"), (other, "test"))]  # fmt: skip
        with pytest.raises(UserError, match="for train and for test: give both different"):
            plan(set={"data.noise": sources})


def test_command_line_values_are_converted_to_their_types():
    # A path that the file gives keeps its type, one that the command line gives is read as YAML.
    config = {"set": {"a": "8000", "b": "null", "c": "text", "d": ["1", {"e": "true"}], "f": "1"}}
    given = {"set": {"a": "8000", "b": "null", "c": "text", "d": ["1", {"e": "true"}]}}
    expected = {"set": {"a": 8000, "b": None, "c": "text", "d": [1, {"e": True}], "f": "1"}}
    assert coerce_cli_values(config, given) == expected
    assert coerce_cli_values({"seeds": [1], "x": "2"}, {}) == {"seeds": [1], "x": "2"}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            {"preset": "unet-huber-voicebank",
             "sweep": {"mixing.snr_db": [[0], [5]]}},
            "mixing.snr_db changes nothing.*pairs of data.speech are mixed already",
        ),
        ({"sweep": {"training.optimiser.name": ["adam", "adamw"]}}, "weight_decay alone"),
        (
            {"set": {"training.schedule": {"kind": "constant"}},
             "sweep": {"training.schedule.minimum": [1e-5, 1e-6]}},
            "schedule.kind is constant",
        ),
        ({"sweep": {"features.reference_magnitude": [1, 2]}}, "features.reference is window"),
        ({"sweep": {"features.input_scaling.range": [[0, 1], [-1, 1]]}}, "affine does not use it"),
        ({"sweep": {"network.norm_momentum": [0.9, 0.99]}}, "normalisation is none"),
        (
            {"set": {"features.target": "mask"},
             "sweep": {"features.target_scaling.divide": [50, 82]}},
            "target mask is not scaled",
        ),
    ],
)  # fmt: skip
def test_a_sweep_of_a_setting_without_effect_is_rejected(config, why):
    with pytest.raises(UserError, match=why):
        plan(**config)


def test_a_sweep_of_a_setting_with_effect_in_some_variants_is_accepted():
    made = plan(sweep={"training.schedule.kind": ["constant", "cosine"],
                       "training.schedule.minimum": [1e-5, 1e-6]})  # fmt: skip
    assert len(made.variants) == 4


def test_a_comparison_trains_the_same_models_as_its_presets_alone():
    together = make_plan({"preset": "compare-all"}, PRESETS).variants
    assert len(together) == 5
    for name, variant in together.items():
        alone = make_plan({"preset": name}, PRESETS).variants[name]
        assert variant.model == alone.model


def test_a_configuration_overrides_its_preset_key_by_key():
    one = [{"preset": "unet-huber-voicebank", "name": "alone"}]
    made = make_plan({"preset": "compare-all", "variants": one, "seeds": [1, 2]}, PRESETS)
    assert list(made.variants) == ["alone"] and made.experiment.seeds == (1, 2)
    assert list(made.test_set_names) == ["common"]
    assert made.variants["alone"].differs == {"preset": "unet-huber-voicebank"}
    tested = {"set": {"test_sets.common.utterances": 7}}
    made = make_plan({"preset": "compare-all", **tested}, PRESETS)
    (stage,) = made.test_sets.values()
    assert stage.settings["test_set"]["utterances"] == 7


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"variants": [{"name": "a"}]}, "variant a: preset compare-all is a study of other"),
        ({"variants": [{"set": {}}]}, "needs a name or a preset"),
        (
            {"variants": [{"preset": "unet-mse-librispeech",
                           "set": {"data.noise.0.folds": [4, 5]}}]},
            "data.noise takes esc50 all for train and for test: give both different subsets",
        ),
        (
            {"preset": "quickstart", "set": {
                "data.speech": [{"corpus": "librispeech", "subsets": ["train-clean-100"]}],
                "test_sets": {"t": {"data": {
                    "speech": [{"corpus": "librispeech", "subsets": ["train-clean-5"]}],
                    "noise": [{"corpus": "esc50"}]}}}}},
            "takes librispeech train-clean-5, which the variant trains on",
        ),
        (
            {"preset": "quickstart", "variants": [{"preset": "unet-huber-voicebank"},
                                                  {"name": "b"}], "sweep": {}},
            "test set 'test' differs.*give it data|test set with data of its own",
        ),
        (
            {"preset": "quickstart", "variants": [{"name": "a"}, {"name": "b", "set": {
                "test_sets": {"other": {}}}}], "sweep": {}},
            "variant a has no test set 'other'|variant b has no test set 'test'",
        ),
        ({"set": {"test_sets": {"t": {**OWN, "score_rate": 9000}}}}, r"score_rate is 9000: .*8000"),
        ({"set": {"test_sets": {"t": {**OWN, "split": "validation"}}}}, "leave data out"),
        (
            {"preset": "quickstart", "set": {"training.loss": "si_sdr", "features.target": "clean",
                                             "features.reference": "utterance"}},
            "si_sdr compares windows of audio",
        ),
    ],
)  # fmt: skip
def test_unfair_comparisons_are_rejected(config, said):
    with pytest.raises(UserError, match=said):
        make_plan({"preset": "compare-all", **config}, PRESETS)


def test_a_variant_can_start_from_one_with_the_same_network_and_features():
    def studied(**changes):
        second = {"training.start_from": "first", **changes}
        return plan(sweep={}, variants=[{"name": "first"}, {"name": "second", "set": second}])

    started = studied().variants["second"].recipe.training
    assert started.start_from == "first"
    for path, value, key in (
        ("network.filters", [4, 8], "network"), ("features.floor_db", -60, "features")
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"first has other settings of {key}"):
            studied(**{path: value})
    loop = [{"name": "a", "set": {"training.start_from": "b"}},
            {"name": "b", "set": {"training.start_from": "a"}}]  # fmt: skip
    with pytest.raises(UserError, match="a starts from b starts from a"):
        plan(sweep={}, variants=loop)


def test_speakers_excluded_from_training_may_be_test_speakers():
    def studied(left_out):
        speech = {"corpus": "vctk", "exclude_speakers": left_out}
        noise = [{"corpus": "esc50", "folds": [1, 2, 3]}]
        tested = {"speech": [{"corpus": "vctk", "speakers": ["p232", "p257"]}],
                  "noise": [{"corpus": "esc50", "folds": [5]}]}  # fmt: skip
        return plan(sweep={}, set={"data.speech": [speech], "data.noise": noise,
                                   "test_sets": {"t": {"data": tested}}})  # fmt: skip

    assert studied(["p232", "p257"]).test_set_names.keys() == {"t"}
    with pytest.raises(UserError, match="takes vctk mic1, which the variant trains on"):
        studied(["p232"])


def test_a_variant_can_use_a_teacher_with_another_network():
    waves = {"training.loss": "wave"}
    large = {"name": "large", "set": {**waves, "network.filters": [4, 8]}}
    small = {"name": "small", "set": {**waves, "training.teacher": "large"}}
    planned = plan(sweep={}, variants=[small, large])
    models = {label: variant.model for label, variant in planned.variants.items()}
    assert models["large"] in planned.models[models["small"]].upstream
    alone = plan(sweep={}, variants=[{**small, "set": waves}, large]).variants
    assert alone["large"].model == models["large"] and alone["small"].model != models["small"]
    large["set"]["training.start_from"] = "small"
    large["set"].pop("network.filters")
    with pytest.raises(UserError, match="small learns from large starts from small"):
        plan(sweep={}, variants=[small, large])
    large["set"] = {**waves, "audio.sample_rate": 16000}
    with pytest.raises(UserError, match="large works at 16000 Hz, the variant at 8000 Hz"):
        plan(sweep={}, variants=[small, large])


def test_different_spellings_of_a_path_are_the_same_folder(noise_folder):
    speech = [{"corpus": "librispeech", "subsets": ["test-clean"]}]
    noise = [{"corpus": "folder", "path": str(noise_folder)}]
    own = {"t": {"data": {"speech": speech, "noise": noise}}}
    for path in (f"{noise_folder}/../{noise_folder.name}", f"{noise_folder}/", noise_folder.parent):
        trained = [{"corpus": "folder", "path": str(path)}]
        with pytest.raises(UserError, match="takes folder .*my noise, which the variant trains on"):
            plan(set={"data.noise": trained, "test_sets": own})


def test_a_sweep_crosses_variants_with_a_grid_and_shares_stages():
    made = plan(
        variants=[{"name": "a"}, {"name": "b", "set": {"network.filters": [4, 8, 16]}}],
        sweep={
            "training.loss": ["huber", "mse"],
            "mixing.snr_range_db": [[-5, 5], [-5, 15]],
        },
    )
    assert len(made.variants) == 8
    assert "b_loss-mse_snr_range_db-m5-15" in made.variants
    assert len(made.audio) == 2 and len(made.splits) == 2
    assert len(made.mixtures) == len(made.spectrograms) == 2
    assert len(made.test_sets) == 1


@pytest.mark.parametrize(
    ("preset", "given", "names"),
    [
        ("unet-huber-esc50", {"sweep": {"training.loss": ["huber", "mse"]}},
         {"unet-esc50_loss-huber": "loss=huber", "unet-esc50_loss-mse": "loss=mse"}),
        ("unet-huber-esc50", {"set": {"training.loss": "mse"}}, {"unet-esc50": "unet-esc50"}),
        ("unet-huber-esc50", {"set": {"training.loss": "huber"}},
         {"unet-huber-esc50": "unet-huber-esc50"}),
        ("unet-huber-esc50", {"set": {"training.epochs": 3}},
         {"unet-huber-esc50": "unet-huber-esc50"}),
    ],
)  # fmt: skip
def test_variant_names_contain_only_values_the_variant_has(preset, given, names):
    made = plan(preset=preset, **given)
    assert {label: one.short for label, one in made.variants.items()} == names


def test_short_names_show_only_what_differs_between_variants():
    named = [{"name": "small"}, {"name": "long", "set": {"training.epochs": 30}}]
    swept = {"training.loss": ["huber", "mse"], "mixing.snr_range_db": [[-5, 15]]}
    made = plan(variants=named, sweep=swept)
    assert [one.short for one in made.variants.values()] == [
        "small, loss=huber", "small, loss=mse", "long, loss=huber", "long, loss=mse"
    ]  # fmt: skip
    made = plan(variants=named[:1], sweep=swept)
    assert [one.short for one in made.variants.values()] == ["loss=huber", "loss=mse"]


def test_a_stage_digest_depends_only_on_its_own_and_upstream_settings():
    base = plan()
    louder = plan(set={"mixing.gain": [0.1, 0.2]})
    assert louder.audio.keys() == base.audio.keys()
    assert louder.splits.keys() == base.splits.keys()
    assert louder.mixtures.keys() != base.mixtures.keys()
    assert louder.test_sets.keys() == base.test_sets.keys()
    floor = plan(set={"features.floor_db": -60})
    assert floor.mixtures.keys() == base.mixtures.keys()
    assert floor.spectrograms.keys() != base.spectrograms.keys()
    rate = plan(set={"audio.sample_rate": 16000})
    assert not rate.mixtures.keys() & base.mixtures.keys()


def test_settings_that_affect_only_speed_do_not_change_the_model_key():
    faster = {"training.loaders": 3, "training.adversarial.processes": 2}
    assert plan(set=faster).models.keys() == plan().models.keys()
    assert plan(set={"training.devices": "all"}).models.keys() != plan().models.keys()


@pytest.mark.parametrize("label", ["clean", "Reference", "noisy", "oracle", "anchor"])
def test_names_reserved_by_the_report_are_rejected(label):
    with pytest.raises(UserError, match="give it another name"):
        plan(variants=[{"name": label}], sweep={})
    with pytest.raises(UserError, match="give it another name"):
        plan(models={label: str(PRESETS.parent / "pretrained" / "best")})


def test_sweeps_with_too_many_variants_are_rejected():
    many = {f"training.{key}": [*range(1, 101)] for key in ("batch_size", "epochs", "threads")}
    with pytest.raises(UserError, match="1,000,000 variants are more than 2,000"):
        plan(sweep=many)
    with pytest.raises(UserError, match="2 variants are more than 1"):
        plan(sweep={"training.loss": ["huber", "mse"]}, most_variants=1)


def test_the_digest_of_a_folder_depends_on_file_contents(tmp_path, monkeypatch):
    folder, memory = tmp_path / "noises", tmp_path / "memory.json"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.wav").write_bytes(name.encode() * 100)
    before = listing_digest(folder, memory)
    (folder / "a.wav").touch()
    assert listing_digest(folder, memory) == before
    read = []
    digest = files.file_digest
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(path) or digest(path))
    assert listing_digest(folder, memory) == before and read == []
    (folder / "b.wav").write_bytes(b"c" * 100)
    assert listing_digest(folder, memory) != before
    assert read == [folder / "b.wav"]
    memory.write_text("[]")  # whatever it holds
    assert listing_digest(folder) == listing_digest(folder, memory)


def test_the_name_of_a_test_set_does_not_change_its_stage():
    one, two = (plan(set={"test_sets": {name: {"snr_db": [0, 5]}}}) for name in ("test", "another"))
    assert one.test_sets.keys() == two.test_sets.keys()


def test_the_key_of_a_bundled_model_depends_on_its_content(tmp_path):
    keys = []
    for content in ("one", "one", "two"):
        folder = tmp_path / f"{len(keys)}" / "best"
        shutil.copytree(PRESETS.parent / "pretrained" / "best", folder)
        if content == "two":
            (folder / "model.keras").write_bytes(b"other weights")
        made = plan(models={"ready": str(folder)}, set={"audio.sample_rate": 16000})
        keys.append(made.methods["ready"].key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "given", [{"set": {"mixing.gain": None}}, {"sweep": {"mixing.gain": [None]}}]
)
def test_a_gain_of_null_counts_as_unset(given):
    assert plan(**{"sweep": {}, **given}).mixtures.keys() == plan(sweep={}).mixtures.keys()


def test_gain_and_snr_cannot_be_combined_or_both_unset():
    with pytest.raises(UserError, match=r"mixing\.gain is given in set and mixing\.snr_db swept"):
        plan(set={"mixing.gain": [0.2, 0.8]}, sweep={"mixing.snr_db": [[0], [5]]})
    with pytest.raises(UserError, match="exactly one"):
        plan(set={"mixing.gain": None, "mixing.snr_range_db": None})


def test_variants_with_different_test_sets_are_rejected():
    with pytest.raises(UserError, match="test set 'test' differs"):
        plan(sweep={"audio.sample_rate": [8000, 16000]})


def test_a_sweep_of_a_thousand_values_plans_a_thousand_variants():
    rates = [round(1e-4 * 1.005**k, 9) for k in range(1000)]
    assert len(plan(sweep={"training.learning_rate": rates}).variants) == 1000


def test_override_changes_list_items_without_changing_the_original():
    base = {"a": [{"b": 1}], "c": {"d": 2}}
    assert override(base, {"a.0.b": 5, "c.e": 3}) == {"a": [{"b": 5}], "c": {"d": 2, "e": 3}}
    assert base == {"a": [{"b": 1}], "c": {"d": 2}}


def test_slugs_are_valid_in_paths():
    assert slug({"snr_range_db": [-5, 15]}) == "snr_range_db-m5-15"
    assert slug("A/b c") == "a-b-c" and slug(0.25) == "0.25" and slug(1e-5) == "1e-05"


def test_schemas_and_configuration_page_match_the_code():
    folder = ROOT / "workflow" / "schemas"
    made = "run `make docs`"
    assert (folder / "config.schema.json").read_text() == json_schema(Experiment), made
    assert (folder / "preset.schema.json").read_text() == json_schema(Recipe), made
    assert (ROOT / "docs" / "configuration.md").read_text() == configuration_page(), made


def test_the_conda_environment_agrees_with_the_lock():
    path = ROOT / "workflow" / "envs" / "denoise.yaml"
    assert path.read_text() == conda_environment(ROOT), "run `make docs`"
    pip = yaml.safe_load(path.read_text())["dependencies"][-1]["pip"]
    lock = (ROOT / "locks" / "cpu.txt").read_text()
    # A pin with a condition must be that for Python 3.11, which the environment has.
    assert re.search(r"^numpy==\S+ ; python_full_version < '3\.13'", lock, re.MULTILINE)
    assert len(pip) > 20
    for pin in pip:
        (line,) = re.findall(rf"^{re.escape(pin)}( ;[^\\]*)? \\$", lock, re.MULTILINE)
        assert ">=" not in line


def pins(name: str) -> dict[str, str]:
    """The version of each package in a lock file, and where it is needed if not everywhere."""
    found = re.findall(r"^([\w.-]+)==([^\\\n]+)", (ROOT / "locks" / name).read_text(), re.MULTILINE)
    return {package: version.strip() for package, version in found}


@pytest.mark.parametrize("name", ["test", "cluster", "demo", "microphone"])
def test_extra_requirements_are_compatible_with_every_environment(name):
    added, cpu = pins(f"with-{name}.txt"), pins("cpu.txt")
    assert added and not added.items() & cpu.items()
    assert not any("tensorflow" in package for package in added)
    for extra in ("gpu", "jax", "torch", "cpu"):
        there = pins(f"{extra}.txt")
        for package in added.keys() & there.keys():
            assert added[package].split(" ")[0] == there[package].split(" ")[0]


def test_a_backend_that_is_not_installed_is_refused_before_anything_runs(monkeypatch):
    other = plan(set={"training.backend": "torch"})
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found(name) if name != "torch" else None
    )
    with pytest.raises(UserError, match="backend torch of .* run make install EXTRA=torch"):
        check_backends(other)
    check_backends(plan())
