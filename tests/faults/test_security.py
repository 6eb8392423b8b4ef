"""Nothing that is loaded can run code, and nothing that is shown can."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made import model_card
from test_cli import workspace
from workflow_runs import ROOT

from denoise.cli import main as cli_main
from denoise.core import files
from denoise.core.arrays import load_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table, write_table
from denoise.networks.card import write_card
from denoise.study.config import _PlainYaml
from denoise.training.checkpoints import Checkpoints

__all__ = ["workspace"]

SOURCES = [
    path
    for folder in ("src", "workflow", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
UNPICKLING = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "jsonpickle",
}  # fmt: skip


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def named(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_no_source_loads_a_pickle(fault_class):
    with fault_class("security: pickles in the sources"):
        for path in SOURCES:
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                modules = (
                    [alias.name for alias in node.names] if isinstance(node, ast.Import)
                    else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                )  # fmt: skip
                for module in modules:
                    assert module.split(".")[0] not in UNPICKLING, path
            for call in calls(tree):
                options = {word.arg: ast.unparse(word.value) for word in call.keywords}
                name = named(call)
                assert not name.endswith((".read_pickle", "joblib.load", "torch.load")), path
                assert options.get("allow_pickle", "False") == "False", path
                if name.endswith(("np.load", "numpy.load")):
                    assert options.get("allow_pickle") == "False", (path, call.lineno)
                if name.endswith("load_model"):
                    assert options.get("safe_mode", "True") == "True", path
                if name == "yaml.load":
                    assert issubclass(_PlainYaml, yaml.SafeLoader)
                    assert ast.unparse(call.args[1]) == "_PlainYaml", path
                if name in ("eval", "exec", "os.system") or "unsafe" in name:
                    raise AssertionError((path, name))
                assert options.get("shell", "False") == "False", path


def test_a_pickled_array_is_refused(tmp_path, fault_class):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.save(tmp_path / "audio.npy", trap, allow_pickle=True)
    with fault_class("security: pickle in an array"):
        with pytest.raises(ValueError, match="objects"):
            load_array(tmp_path / "audio.npy")
        assert not (tmp_path / "sprung").exists()


def test_a_pickled_checkpoint_is_passed_over(tmp_path, fault_class):
    class Nothing:
        class optimizer:  # noqa: N801 - stands for that of a model
            variables = ()

            @staticmethod
            def build(variables: object) -> None:
                pass

        weights = trainable_variables = ()

    folder = tmp_path / "checkpoints" / "epoch-00001"
    folder.mkdir(parents=True)
    files.write_json(folder / "state.json", {"fingerprint": "f", "history": [{}]})
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    for name in ("state.npz", "best.npz"):
        np.savez(folder / name, arr_0=trap)
    (folder / "other.npz").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with fault_class("security: pickle in a checkpoint"):
        assert Checkpoints(tmp_path / "checkpoints", "f").restore(Nothing()) == []
        assert not (tmp_path / "sprung").exists()


def test_a_model_that_carries_code_is_refused(tmp_path, fault_class):
    """A Lambda layer holds Python byte code, which Keras would run when it loads it."""
    import keras

    from denoise.enhancement.enhancer import Enhancer

    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 1.0)(inputs))
    model.save(tmp_path / "model.keras")
    write_card(tmp_path / "card.json", model_card())
    with fault_class("security: code in a model"), pytest.raises(UserError, match=r"model\.keras"):
        Enhancer.load(tmp_path)


def test_yaml_that_builds_objects_is_refused(tmp_path, fault_class):
    from denoise.study.config import read_yaml

    path = tmp_path / "config.yaml"
    path.write_text(f"preset: !!python/object/apply:pathlib.Path.touch ['{tmp_path / 'sprung'}']\n")
    with fault_class("security: objects in YAML"):
        with pytest.raises(UserError, match=r"config\.yaml"):
            read_yaml(path)
        assert not (tmp_path / "sprung").exists()


EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>{{7*7}}"


def test_html_in_names_is_escaped_in_every_page(fault_class):
    """Everything that a template writes is escaped, unless it is named here."""
    with fault_class("security: HTML in names"):
        folder = ROOT / "src" / "denoise" / "report"
        for template in folder.glob("*.html"):
            assert not re.findall(r"\|\s*safe\b|autoescape", template.read_text())
        raw = []
        for path in sorted(folder.glob("*.py")):
            made = list(calls(ast.parse(path.read_text())))
            raw += [path.name for call in made if named(call) == "Markup"]
            for call in made:
                if named(call).endswith("Environment"):
                    options = {word.arg: ast.unparse(word.value) for word in call.keywords}
                    assert path.name == "pages.py" and options["autoescape"] == "True"
        # The section of a blind test; a figure and links to files, whose names are escaped; and
        # what `pages` reads, renders and embeds.
        assert raw == ["blind.py", *["exports.py"] * 2, *["pages.py"] * 3]
        from denoise.report.pages import embedded_json, render

        text = render("blind_section.html", experiment=EVIL, results=None)
        assert "<img" not in text and "<script>" not in text and "49" not in text
        assert "<" not in embedded_json([EVIL])
        for script in folder.glob("*.js"):
            assert not re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(",
                script.read_text(),
            )


def test_the_mlflow_ui_listens_on_localhost_only(fault_class, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "results" / "mlflow").mkdir(parents=True)
    (tmp_path / "results" / "mlflow" / "store.json").write_text("{}")
    started: list[str] = []
    monkeypatch.setattr("os.execv", lambda program, words: started.extend(words))
    with fault_class("security: the UI listens locally"):
        cli_main(["ui", "--port", "5123"])
        assert " ".join(started[1:]).startswith(
            "-m mlflow server --app-name denoise --host 127.0.0.1 --port 5123 "
        )
        texts = [path.read_text() for path in (ROOT / "docs").rglob("*.md")]
        texts.append((ROOT / "README.md").read_text())
        assert not any("0.0.0.0" in text for text in texts)


def test_names_like_formulas_survive_a_table_round_trip(tmp_path):
    """Names come back from a table as they were, whatever they look like."""
    names = ["=1+1", "@SUM(A1)", "nan", "1e5", "007", '"quoted", and, commas', "two\nlines"]
    write_table(tmp_path / "t.csv", pd.DataFrame({"id": names, "x": range(len(names))}))
    assert list(read_table(tmp_path / "t.csv")["id"]) == names


def test_a_model_with_an_oversized_archive_member_is_refused_before_reading(tmp_path, fault_class):
    from denoise.networks.loading import load_model

    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("config.json", " " * (200 << 20))
    write_card(tmp_path / "card.json", model_card())
    with fault_class("security: bomb in a model"), pytest.raises(UserError) as refused:
        load_model(tmp_path)
    assert re.search(r"its config\.json would be unpacked to 210 MB", str(refused.value))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../../EVIL"}, "name: String should match pattern"),
        ({"rate": 1}, "rate: Input should be greater than or equal to 4000"),
        ({"rate": 1e30}, "rate"),
        ({"segment": 1}, "segment: Input should be greater than or equal to 16"),
        ({"segment": 1e9}, "segment: Input should be less than"),
        ({"network": []}, "network"),
        (
            {"segment": 1984},
            "windows have 32x64 frequencies and frames, the network takes 32x32",
        ),
        ({"weights": "0" * 64}, "is the card of another model.keras"),
    ],
)
def test_invalid_or_mismatched_model_cards_are_refused(
    workspace, tmp_path, fault_class, changes, said
):
    from denoise.networks.loading import load_model

    shutil.copytree(workspace / "ready" / "best", tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    (tmp_path / "model" / "card.json").write_text(json.dumps({**card, **changes}))
    with fault_class("security: card"), pytest.raises(UserError) as refused:
        load_model(tmp_path / "model")
    assert said in str(refused.value) and "\n" not in str(refused.value)
