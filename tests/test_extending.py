"""Parts that a study brings along: the examples of docs/extending.md, errors, what runs again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, hiss, tar_of
from made import model_card

from denoise import extend
from denoise.core.errors import UserError
from denoise.networks.card import write_card
from denoise.networks.registry import NETWORKS
from denoise.study.code import chosen_of, digests_of_files
from denoise.study.plan import make_plan
from denoise.training import losses

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "presets"
TRAIN = ROOT / "workflow" / "scripts" / "train.py"
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
PLAIN = {"name": "plain", "filters": [4, 8]}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The folder of a study with the page's examples, which are forgotten afterwards."""
    for name, text in EXAMPLES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    make_plan({"preset": "quickstart"}, PRESETS)


def plan(*extensions: str, sweep: dict | None = None, **changes):
    config = {"preset": "quickstart", "sweep": sweep or {}, "set": changes}
    return make_plan({**config, "extensions": list(extensions)}, PRESETS)


def only_recipe(*extensions: str, **changes):
    (variant,) = plan(*extensions, **changes).variants.values()
    return variant.recipe


def in_the_folder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "denoise.cli", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_have_at_most_twenty_lines_of_code(name):
    without = re.sub(r'"""(.*?)"""', "", EXAMPLES[name], flags=re.DOTALL)
    assert 0 < sum(bool(line.strip()) for line in without.splitlines()) <= 20


def test_the_network_of_the_example_builds_from_the_configuration(study):
    from denoise.networks.registry import build_network

    model = build_network(only_recipe("my_network.py", network=PLAIN).network, (8, 8, 1), 2)
    # 3x3 from 1 to 4, 3x3 from 4 to 8, 1x1 from 8 to 2, with biases.
    assert model.count_params() == 40 + 296 + 18
    assert model.output_shape == (None, 8, 8, 2)


def test_the_example_loss_is_selected_by_name_or_by_file_and_function(study):
    for name, files in (("charbonnier", ["my_losses.py"]), ("my_losses.py:charbonnier", [])):
        recipe = only_recipe(*files, **{"training.loss": name})
        zeros = np.zeros((3, 8, 8, 1), np.float32)
        found = np.mean(losses.LOSSES[recipe.training.loss](zeros, zeros + 3))
        assert found == pytest.approx((9 + 1e-6) ** 0.5)


def test_loss_functions_named_in_a_sweep_or_a_weighted_sum_are_found(study):
    (study / "own.py").write_text(
        "from denoise.extend import loss\n"
        "@loss('peak', waveform=True)\n"
        "def peak(clean, enhanced):\n    return abs(clean - enhanced).max(1)\n"
        "def plain(target, output):\n    return abs(target - output)\n"
    )
    assert list(plan(sweep={"training.loss": ["own.py:plain", "mse"]}).variants)
    summed = {"own.py:peak": 0.5, "si_sdr": 1}
    changes = {"training.loss": summed, "features.cache": False}
    assert only_recipe(**changes).training.loss == summed


def test_the_example_metric_appears_in_tables_and_figures(study):
    from denoise.metrics.registry import score_utterance
    from denoise.report import figures

    plan("my_metric.py")
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    # Ten times the amplitude is 20 dB in every bin.
    assert score_utterance(noise, 10 * noise, 8000)["lsd"] == pytest.approx(20, abs=1e-6)
    assert figures.title("lsd") == "LSD (dB)"


def test_score_computes_custom_metrics_in_worker_processes(study):
    (study / "config.yaml").write_text("preset: quickstart\nextensions: [my_metric.py]\n")
    for folder, factor in (("clean", 0.01), ("loud", 0.1)):
        (study / folder).mkdir()
        for number in range(12):
            wave = factor * hiss(0.5, 8000, number) / np.abs(hiss(0.5, 8000, number)).max()
            (study / folder / f"{number}.wav").write_bytes(encoded(wave, 8000, "WAV"))
    ended = in_the_folder(
        study, "score", "--enhanced", "loud", "--clean", "clean", "--jobs", "2", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    (means,) = json.loads(ended.stdout)["methods"]
    assert means["lsd"] == pytest.approx(20, abs=0.1)


def test_the_example_augmentation_clips_only_the_noisy_signal(study):
    recipe = only_recipe(
        "my_augmentation.py", **{"augmentation.own": {"clipping": 1}, "features.cache": False}
    )
    assert recipe.augmentation.active and recipe.augmentation.effects == ["clipping"]
    from denoise.mixing.effects import EFFECTS

    pair = np.random.default_rng(0).standard_normal((2, 1000))
    noisy, clean = EFFECTS["clipping"](pair, 8000, np.random.default_rng(1))
    share = np.abs(noisy).max() / np.abs(pair[0]).max()
    assert 0.3 <= share <= 0.9 and np.array_equal(clean, pair[1])


def test_the_corpus_of_the_example_is_indexed(study):
    from denoise.core.tables import read_table
    from denoise.corpora.indexing import index_subset
    from denoise.corpora.sources import SourceSettings

    names = [
        f"streets/{folder}/{kind}-{number}.wav"
        for folder, kind in (
            ("noise/free-sound", "a"),
            ("noise/sound-bible", "b"),
            ("music/x", "c"),
        )
        for number in range(2)
    ]
    archive = study / "streets.tar.gz"
    archive.write_bytes(tar_of({name: encoded(hiss(0.5, 8000, 0), 8000, "WAV") for name in names}))
    extend.load(["my_corpus.py"])
    source = SourceSettings(corpus="streets")
    index_subset("streets", source.resolved_subsets()[0], [archive], study / "noise.csv")
    table = read_table(study / "noise.csv")
    assert sorted(table["noise_type"]) == ["free-sound"] * 2 + ["sound-bible"] * 2
    assert table["duration"].max() == 0.5


def test_extensions_of_one_study_are_not_visible_in_another(study):
    plan("my_network.py", "my_losses.py", network=PLAIN)
    assert "plain" in NETWORKS and "charbonnier" in losses.LOSSES
    make_plan({"preset": "quickstart"}, PRESETS)
    assert "plain" not in NETWORKS and "charbonnier" not in losses.LOSSES
    with pytest.raises(UserError, match="unknown network 'plain'.*there are autoencoder"):
        plan(network=PLAIN)


def of_training(*chosen: str) -> dict[str, str]:
    """What the digest of a training with these losses is made of."""
    return digests_of_files(TRAIN, (), chosen_of({"training.losses": chosen}))


def test_editing_a_loss_changes_only_the_trainings_that_use_it(study):
    path = study / "my_losses.py"
    plan("my_losses.py")
    before = of_training("charbonnier"), of_training("mse")
    assert "my_losses.py" in before[0] and "my_losses.py" not in before[1]
    new = (
        "\n\ndef _half(x):\n    return x / 2\n\n\n@training_metric('halved')\n"
        "def halved(target, output):\n    return _half(abs(target - output))\n"
    )
    more = EXAMPLES["my_losses.py"].replace("import loss", "import loss, training_metric") + new
    path.write_text(more.replace("Square root", "The root"))
    plan("my_losses.py")
    assert (of_training("charbonnier"), of_training("mse")) == before
    path.write_text(more.replace("1e-6", "1e-4"))
    plan("my_losses.py")
    assert of_training("charbonnier") != before[0] and of_training("mse") == before[1]
    halved = of_training("halved")
    path.write_text(more.replace("x / 2", "x / 3"))
    plan("my_losses.py")
    assert of_training("halved") != halved


def test_modules_an_extension_imports_are_part_of_its_digest(study):
    (study / "helpers.py").write_text("FACTOR = 2\n")
    (study / "own.py").write_text(
        "from helpers import FACTOR\nfrom denoise.extend import loss\n"
        "@loss('scaled')\ndef scaled(target, output):\n    return FACTOR * (target - output)\n"
        "@loss('other')\ndef other(target, output):\n    return target - output\n"
    )
    plan("own.py")
    before = of_training("scaled"), of_training("other")
    assert "helpers.py" in before[0] and "helpers.py" not in before[1]
    (study / "helpers.py").write_text("FACTOR = 3\n")
    assert of_training("scaled") != before[0] and of_training("other") == before[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", r"own\.py line 2: ZeroDivisionError: division by zero"),
        ("\ndef f(:\n", r"own\.py line 2: invalid syntax"),
        ("import nothere\n", r"own\.py line 1: ModuleNotFoundError: No module named 'nothere'"),
        (
            "from denoise.extend import loss\n\n@loss('mse')\ndef f(a, b):\n    pass\n",
            r"own\.py line 3: there is a loss 'mse' already: give yours another name",
        ),
        (
            "from denoise.extend import loss\n\n@loss('a b')\ndef f(a, b):\n    pass\n",
            r"own\.py line 3: loss 'a b': names are letters, digits and _",
        ),
    ],
)
def test_an_import_error_in_an_extension_shows_its_line(study, text, message):
    (study / "own.py").write_text(text)
    with pytest.raises(UserError, match=f"^{message}"):
        plan("own.py")


def test_the_command_reports_an_extension_import_error_in_one_line(study):
    (study / "own.py").write_text("x = 1\ny = x / 0\n")
    (study / "config.yaml").write_text("preset: quickstart\nextensions: [own.py]\n")
    ended = in_the_folder(study, "models")
    assert ended.returncode == 1
    assert ended.stderr == "error: own.py line 2: ZeroDivisionError: division by zero\n"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("nothere.py", "extensions: nothere.py does not exist"),
        ("config.yaml", "extensions: config.yaml is no Python file"),
        ("my_losses.py:nothing", "my_losses.py:nothing: the file has no function nothing"),
    ],
)
def test_invalid_extension_entries_are_rejected(study, entry, message):
    with pytest.raises(UserError, match=message):
        plan(entry)


def test_wrong_settings_of_a_custom_network_get_the_usual_error(study):
    with pytest.raises(UserError, match=r"network\.filtes is not a known key \(did you mean 'filt"):
        plan("my_network.py", network={"name": "plain", "filtes": [4]})


def test_an_error_in_a_custom_metric_shows_its_line(study):
    from denoise.metrics.registry import score_utterance

    (study / "own.py").write_text(
        "from denoise.extend import metric\n@metric('bad', 'Bad')\n"
        "def bad(clean, estimate, rate):\n    return clean[10**9]\n"
    )
    plan("own.py")
    noise = np.ones(8000, np.float32)
    with pytest.raises(UserError, match=r"^own\.py line 4: IndexError"):
        score_utterance(noise, noise, 8000)


def test_an_error_in_a_custom_loss_shows_its_line(study):
    from test_training import make_cache, run

    from denoise.core.errors import explained

    (study / "own.py").write_text("def bad(target, output):\n    return target.nothing\n")
    caches = {part: make_cache(study / part, 16, 0) for part in ("train", "validation")}
    extend.load(["own.py:bad"])
    with pytest.raises(AttributeError) as raised:
        run(caches, study / "out", loss="own.py:bad")
    assert explained(raised.value).startswith("own.py line 2: AttributeError: ")


def test_a_model_with_a_custom_network_works_without_the_study(study):
    from denoise.networks.loading import load_model
    from denoise.networks.registry import build_network

    settings = only_recipe("my_network.py", network=PLAIN).network
    model = build_network(settings, (128, 16, 1))
    (study / "model").mkdir()
    model.save(study / "model" / "model.keras")
    write_card(study / "model" / "card.json", model_card(network=settings))
    make_plan({"preset": "quickstart"}, PRESETS)
    loaded, card = load_model(study / "model")
    assert card.network.name == "plain" and loaded.count_params() == model.count_params()
