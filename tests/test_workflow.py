"""A small study over every corpus that is mixed, and what re-runs after a change."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made import scores_of
from studies import LOSSES
from workflow_runs import ROOT, configure, dry_run, planned

from denoise.evaluation.baselines import BASELINES
from denoise.evaluation.experiment import ExperimentRecord
from denoise.networks.card import read_card

VARIANTS = [f"quickstart_loss-{loss}" for loss in LOSSES]


@pytest.fixture(scope="module")
def done(study, tmp_path_factory) -> Path:
    """A copy of the study, whose files tests may change if they put them back."""
    return shutil.copytree(study, tmp_path_factory.mktemp("copy") / "project", symlinks=True)


@pytest.fixture
def config(done):
    """The study's configuration, restored after the test."""
    path = done / "config.yaml"
    original = path.read_text()
    yield yaml.safe_load(original)
    path.write_text(original)


def test_the_study_ends_with_a_leaderboard_and_a_report(study):
    board = pd.read_csv(study / "reports" / "tried" / "leaderboard.csv").set_index("variant")
    assert set(board["kind"]) == {"variant", "baseline", "oracle"}
    assert set(board.index) == {*(name for name, one in BASELINES.items() if one.usual), *VARIANTS}
    assert board.loc["oracle", "si_sdr"] > board.loc["noisy", "si_sdr"] + 5
    for column in ("n", "n_failed", "si_sdr_ci_low", "si_sdr_ci_high", "mse_spec"):
        assert column in board
    html = (study / "reports" / "tried" / "report.html").read_text()
    assert 'src="http' not in html and "quickstart_loss-huber" in html and "data:audio/mpeg" in html


def test_the_documented_code_recomputes_the_leaderboard_from_the_scores(study):
    text = (ROOT / "docs/report.md").read_text()
    (lines,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                if "scores.parquet" in block]  # fmt: skip
    found: dict[str, pd.DataFrame] = {}
    exec(lines.replace("reports/quickstart", str(study / "reports/tried")), found)
    kept = pd.read_csv(study / "reports/tried/leaderboard.csv")
    kept = kept.set_index(["test_set", "variant"])[found["metrics"]]
    repeated = found["board"].rename_axis(["test_set", "variant"])
    pd.testing.assert_frame_equal(repeated.sort_index(), kept.sort_index(), rtol=1e-7)


def test_the_columns_of_every_score_are_documented(study):
    table = pd.read_parquet(study / "reports/tried/scores.parquet")
    text = (ROOT / "docs/report.md").read_text()
    schema = text[text.index("| column | content |") : text.index("The means of the leaderboard")]
    named = [row.split(" | ")[0] for row in schema.splitlines()]
    names = set(re.findall(r"`(\w+)`", " ".join(named)))
    assert names == {*table, "words", "errors", "recognised"}  # the last three where asked for
    assert len(table) == 40 * len(set(table["method"]))


def test_the_paper_methods_text_states_the_actual_settings(study):
    folder = study / "reports/tried"
    text = (folder / "paper/methods.md").read_text()
    record = ExperimentRecord.read(folder / "study.json")
    card = read_card(study / record.methods[VARIANTS[0]].models[0] / "card.json")
    facts = [
        f"{card.parameters:,} parameters",
        f"{card.training_windows:,} windows of",
        "40 utterances of 2 speakers",
        "with the losses huber, mse and mae",
        "Each configuration was trained once.",
        "LibriSpeech [@panayotov2015librispeech]",
        "differences hold for these models only",
        "for 36 pairs of methods",
    ]
    assert [fact for fact in facts if fact not in text] == []
    entries = (folder / "paper/references.bib").read_text()
    cited = set(re.findall(r"@([\w-]+)", text))
    assert cited == set(re.findall(r"^@\w+\{([\w-]+),", entries, re.MULTILINE))
    in_latex = re.findall(r"\\cite\{(.*?)\}", (folder / "paper/methods.tex").read_text())
    assert set(re.findall(r"\w+", " ".join(in_latex))) == cited
    page = (folder / "paper/example.tex").read_text()
    for path in re.findall(r"\{(\.\./[^}]*)\}", page):
        assert (folder / "paper" / path).is_file(), path


def test_the_scores_table_has_one_row_per_utterance(study):
    table = pd.read_csv(scores_of(study, "quickstart_loss-huber"))
    assert len(table) == 40
    assert set(table["speaker"]) == {21, 22} and set(table["status"]) == {"ok"}
    assert table["snr_input"].sub(table["snr_target"]).abs().max() < 0.01


def test_mlflow_has_a_parent_and_a_child_for_each_run(study):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{study / 'results/mlflow/mlflow.db'}")
    experiment = client.get_experiment_by_name("tried")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == 4 and len(children) == 3
    assert not (study / "mlruns").exists()
    for run in children:
        assert run.info.artifact_uri.startswith((study / "results/mlflow/artifacts").as_uri())
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 1
        assert "test/si_sdr" in run.data.metrics and run.data.params["training.epochs"] == "1"
        assert {item.dataset.name for item in run.inputs.dataset_inputs} == {"train", "validation"}


def test_there_is_nothing_to_do_the_second_time(done):
    assert planned(done) == {}


def test_a_study_reached_through_a_symlink_has_nothing_to_do(done):
    link = done.parent / "link"
    link.symlink_to(done)
    assert planned(link) == {}


def test_a_touched_file_re_runs_nothing(done):
    for path in (
        *done.glob("src/denoise/**/*.py"),
        *done.glob("workflow/**/*.py"),
        *done.glob("results/audio/*/*"),
        done / "config.yaml",
    ):
        path.touch()
    assert planned(done) == {}


def test_a_missing_mlflow_store_reruns_only_tracking(done):
    store, aside = done / "results" / "mlflow", done / "aside"
    tracking, noted = done / "results" / "tracking", done / "noted"
    store.rename(aside)
    tracking.rename(noted)
    try:
        assert set(planned(done)) == {"track", "track_experiment", "all"}
    finally:
        shutil.rmtree(store)
        aside.rename(store)
        noted.rename(tracking)


def test_a_loss_added_to_the_sweep_only_trains_it(done, config):
    config["sweep"]["training.loss"].append("log_cosh")
    configure(done, **config)
    jobs = planned(done)
    assert jobs.pop("train") == jobs.pop("enhance") == jobs.pop("score") == 1
    assert set(jobs) == {"all", "track", "leaderboard", "write_report", "track_experiment"}


def test_adding_a_setting_to_the_sweep_trains_only_its_new_values(done, config):
    config["sweep"]["training.batch_size"] = [8]  # as the preset has it
    configure(done, **config)
    assert not {"train", "enhance", "score"} & set(planned(done))
    config["sweep"]["training.batch_size"].append(16)
    configure(done, **config)
    jobs = planned(done)
    assert jobs["train"] == jobs["enhance"] == jobs["score"] == 3


def test_changed_settings_create_new_models_and_keep_existing_ones(done, config):
    before = {path: path.stat().st_mtime_ns for path in done.glob("results/models/*/*/*")}
    config["set"]["training.epochs"] = 2
    configure(done, **config)
    jobs = planned(done)
    assert jobs.pop("train") == jobs.pop("enhance") == jobs.pop("score") == 3
    run = dry_run(done, "all")
    named = set(re.findall(r"results/models/([^/]+)/", run.stdout + run.stderr))
    assert len(named) == 3 and not named & {path.parts[-3] for path in before}
    assert before == {path: path.stat().st_mtime_ns for path in done.glob("results/models/*/*/*")}


def test_a_seed_added_only_trains_it(done, config):
    configure(done, **{**config, "seeds": [0, 1]})
    jobs = planned(done)
    assert jobs.pop("train") == jobs.pop("enhance") == jobs.pop("score") == 3
    assert jobs.pop("track") in (3, 6)
    assert set(jobs) == {"all", "leaderboard", "write_report", "track_experiment"}


def test_adding_an_snr_range_does_not_prepare_audio_again(done, config):
    config["sweep"]["mixing.snr_range_db"] = [[-5, 15], [0, 20]]
    configure(done, **config)
    jobs = planned(done)
    assert jobs["mix"] == 1 and jobs["spectrograms"] == 2
    assert not {"fetch", "index", "prepare", "split", "test_set", "baseline"} & set(jobs)


def test_renaming_the_experiment_trains_and_scores_nothing(done, config):
    configure(done, **{**config, "experiment": "renamed"})
    jobs = planned(done)
    assert jobs.pop("track") == 3
    assert set(jobs) == {
        "all", "leaderboard", "write_report", "track_experiment"
    }  # fmt: skip


def test_changing_the_mirror_downloads_nothing_again(done, config):
    configure(done, **{**config, "download": {"mirror": "elsewhere", "retries": 1}})
    assert planned(done) == {}


@pytest.fixture
def edited(done):
    """A function that appends code to a module of the study's copy, or gives it another text, until
    the test ends."""
    originals: dict[Path, str | None] = {}

    def edit(name: str, more: str = "", *, text: str | None = None) -> None:
        path = done / "src" / "denoise" / name
        originals.setdefault(path, path.read_text() if path.exists() else None)
        path.write_text((originals[path] or "") + more if text is None else text)

    yield edit
    for path, original in originals.items():
        if original is None:
            path.unlink()
        else:
            path.write_text(original)


CHANGE = "\n_CHANGED = 1\n"


def test_editing_a_registry_entry_reruns_only_variants_that_use_it(done, edited):
    losses = (done / "src/denoise/training/losses.py").read_text()
    new = """
def charbonnier(target: Any, output: Any) -> Any:
    from keras import ops
    return ops.sqrt(ops.square(target - output) + 1e-6)
"""
    more = losses.replace('"mae": mae,', '"mae": mae,\n    "charbonnier": charbonnier,', 1)
    edited("training/losses.py", text=more.replace("\nCHOSEN_BY_NAME", f"{new}\nCHOSEN_BY_NAME"))
    edited("networks/plain.py", text="def build(): ...\n")
    edited("networks/unet.py", "")
    edited("networks/autoencoder.py", CHANGE)
    edited("mixing/effects.py", CHANGE.replace("_CHANGED = 1", "def _unused(): ..."))
    assert planned(done) == {}
    huber = losses.replace(
        "keras.losses.huber(target, output)", "keras.losses.huber(target, output, 2)"
    )
    edited("training/losses.py", text=huber)
    assert planned(done)["train"] == 1


@pytest.mark.parametrize(
    ("module", "first", "never"),
    [
        ("report/figures.py", {"write_report", "track"}, {"train", "score", "leaderboard"}),
        ("metrics/registry.py", {"score"}, {"train", "enhance", "mix", "baseline"}),
        ("enhancement/enhancer.py", {"enhance"}, {"train", "mix", "prepare"}),
        ("training/fit.py", {"train"}, {"mix", "spectrograms", "prepare"}),
        ("mixing/render.py", {"mix", "test_set"}, {"prepare", "index", "split"}),
        ("corpora/esc50.py", {"index"}, {"fetch"}),
    ],
)
def test_an_edited_module_re_runs_what_uses_it(done, edited, module, first, never):
    edited(module, CHANGE)
    jobs = planned(done)
    assert first <= set(jobs), jobs
    assert not never & set(jobs), jobs


def test_a_comment_or_docstring_re_runs_nothing(done, edited):
    edited("mixing/render.py", "\n# A comment.\n")
    edited("core/settings.py", '\n"""A note."""\n')
    assert planned(done) == {}
