"""What a researcher finds in the MLflow UI: the runs, their comparison, their artifacts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from workflow_runs import BIN

from denoise.core.tables import read_table

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def server(study) -> Iterator[str]:
    """The UI over the store of the study, as `denoise ui` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(BIN / "denoise"), "ui", "--port", str(port)],
        cwd=study, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            requests.get(f"{address}/health", timeout=5)
            break
        except requests.RequestException:
            time.sleep(0.5)
    yield address
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@pytest.fixture
def runs(browser, study, server) -> Iterator[object]:
    """The page that `denoise where` names."""
    told = subprocess.run(
        [str(BIN / "denoise"), "where", "--json"], cwd=study, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    context = browser.new_context(viewport={"width": 1900, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(json.loads(told.stdout)["ui"].replace("http://127.0.0.1:5000", server))
    page.get_by_role("link", name="loss=mae").wait_for()
    yield page
    context.close()


def test_runs_are_sorted_by_pesq_and_named_by_their_differing_settings(runs, study):
    board = read_table(study / "reports/tried/leaderboard.csv")
    variants = board[board["kind"] == "variant"].set_index("variant")["pesq_nb"]
    shown = runs.get_by_role("link", name=re.compile(r"^loss=")).all_inner_texts()
    found = [float(f"{variants['quickstart_' + name.replace('=', '-')]:.5g}") for name in shown]
    assert len(shown) == len(variants) == 3
    # Of five digits, as MLflow is told them, two may be alike.
    assert found == sorted(found, reverse=True)
    assert runs.get_by_text("Report").first.is_visible()


def test_metrics_are_the_first_columns_and_the_assistant_is_hidden(runs):
    headings = runs.get_by_role("columnheader").all_inner_texts()
    shown = [name for name in headings if name.startswith("test/")]
    assert set(shown) == {"test/pesq_nb", "test/stoi", "test/si_sdr", "test/si_sdr_80"}
    runs.wait_for_timeout(2000)  # the panel opens a moment after the page
    assert not runs.get_by_placeholder(re.compile("Ask", re.IGNORECASE)).first.is_visible()
    assert runs.get_by_role("button", name=re.compile("assistant", re.IGNORECASE)).count() <= 1


def test_comparing_two_runs_shows_their_differences(runs):
    for name in ("loss=mae", "loss=mse"):
        row = runs.get_by_role("row").filter(has=runs.get_by_role("link", name=name))
        number = row.first.get_attribute("row-id")
        box = runs.locator(f'[row-id="{number}"]').get_by_role("checkbox").first
        # The table may be drawn anew under a click.
        until = time.monotonic() + 30
        while not box.is_checked():
            assert time.monotonic() < until
            box.click(force=True)
            runs.wait_for_timeout(500)
    runs.get_by_role("button", name="Compare").click()
    runs.get_by_text("training.loss").first.wait_for()
    # The table shows the first metrics only, until it is scrolled.
    runs.get_by_text("test/estoi").first.wait_for(state="attached")
    text = runs.locator("body").inner_text()
    assert "test/interval/pesq_nb_low" in text and "loss=mae" in text and "loss=mse" in text
    assert "augmentation" not in text  # what is as it always is does not stand in the way


def test_a_run_page_shows_its_description_and_artifacts(runs):
    runs.get_by_role("link", name="loss=mae").click()
    runs.get_by_role("link", name="Report of tried").wait_for()
    text = runs.locator("body").inner_text()
    assert (
        "librispeech + synthetic speech, esc50 + folder + synthetic noise" in text
        and "95 % interval" in text
    )
    runs.get_by_role("tab", name="Artifacts").or_(
        runs.get_by_role("link", name="Artifacts")
    ).first.click()
    runs.get_by_text("examples").first.click()
    runs.get_by_text("test-median.png").first.click()
    runs.locator('img[alt*="test-median"], .image-outer-container img, img[src^="blob:"]').or_(
        runs.locator("canvas, .js-plotly-plot")
    ).first.wait_for()
    runs.get_by_text("test-median-enhanced.wav").first.click()
    duration = runs.locator("audio").evaluate(
        "audio => new Promise(ready => audio.readyState ? ready(audio.duration) "
        ": audio.onloadedmetadata = () => ready(audio.duration))"
    )
    assert 1 < duration < 10


def test_the_model_of_a_run_denoises_an_array(study):
    import mlflow

    uri = f"sqlite:///{study}/results/mlflow/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tried")
    (run,) = client.search_runs([experiment.experiment_id], "tags.variant LIKE '%mae'")
    code = (
        "import sys, mlflow, numpy as np; mlflow.set_tracking_uri(sys.argv[1]); "
        "model = mlflow.pyfunc.load_model(sys.argv[2]); "
        "found = model.predict(np.linspace(-0.1, 0.1, 9000, dtype=np.float32)); "
        "np.save(sys.argv[3], found)"
    )
    out = Path(study) / "predicted.npy"
    subprocess.run(
        [str(BIN / "python"), "-c", code, uri, f"runs:/{run.info.run_id}/model", str(out)],
        check=True, capture_output=True,
    )  # fmt: skip
    found = np.load(out)
    assert found.shape == (9000,) and np.isfinite(found).all() and found.any()
