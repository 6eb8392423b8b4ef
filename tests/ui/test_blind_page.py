"""The page of a blind test, from its first screen to the file that a listener saves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from workflow_runs import BIN

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def folder(study, tmp_path) -> Path:
    """What of the study the command needs, to write beside."""
    for name in ("reports", "results/test_sets", "results/enhanced", "results/scores",
                 "results/models"):  # fmt: skip
        shutil.copytree(study / name, tmp_path / name)
    return tmp_path


def listen(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [str(BIN / "denoise"), "listen", *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def saved(page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save ratings").click()
    path = folder / "ratings" / download.value.suggested_filename
    path.parent.mkdir(exist_ok=True)
    download.value.save_as(path)
    return path


def test_ratings_of_a_listener_appear_in_the_report(page, folder):
    listen(folder, "tried", "--utterances", "2")
    key = json.loads((folder / "reports/tried/listening.json").read_text())
    page.goto((folder / "reports/tried/listening.html").as_uri())
    page.get_by_label("Your name").fill("Ann")
    page.keyboard.press("Enter")
    for number in range(len(key["trials"])):
        page.get_by_role("heading", name=f"Page {number + 1} of").wait_for()
        go = page.get_by_role("button", name="Next")
        assert go.is_disabled()
        assert "Still to be heard" in page.get_by_role("status").inner_text()
        page.keyboard.press("r")
        sliders = page.get_by_role("slider")
        for place in range(sliders.count()):
            page.keyboard.press(str(place + 1))
            pressed = page.locator(".version[aria-pressed=true]")
            assert pressed.inner_text() == f"Version {place + 1}"
        assert "Still to be rated" in page.get_by_role("status").inner_text()
        for place in range(sliders.count()):
            sliders.nth(place).fill("100")
        assert page.get_by_role("status").inner_text() == ""
        page.keyboard.press("Enter")
    answers = json.loads(saved(page, folder).read_text())
    assert answers["listener"] == "Ann" and answers["test"] == key["id"]
    assert {rating["trial"] for rating in answers["ratings"]} == set(key["trials"])
    for rating in answers["ratings"]:
        assert set(rating["scores"]) == set(key["trials"][rating["trial"]]["versions"])
        assert set(rating["scores"].values()) == {100}
    table = listen(folder, "--score", "ratings/*.json")
    assert "clean" in table and "100.0" in table
    page.goto((folder / "reports/tried/report.html").as_uri())
    section = page.get_by_role("region", name="Blind ratings")
    assert section.locator("tbody tr").count() == len(key["methods"]) + 2


def test_ratings_survive_closing_the_page(page, folder):
    listen(folder, "tried", "--kind", "ab", "--utterances", "2", "--methods",
           "quickstart_loss-huber", "quickstart_loss-mse")  # fmt: skip
    address = (folder / "reports/tried/listening.html").as_uri()
    page.goto(address)
    page.get_by_label("Your name").fill("Bob")
    page.get_by_role("button", name="Begin").click()
    for key in ("r", "1", "2", "a", "Enter"):
        page.keyboard.press(key)
    page.get_by_role("heading", name="Page 2 of 2").wait_for()
    page.goto("about:blank")
    page.goto(address)
    page.get_by_label("Your name").fill("Bob")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("heading", name="Page 2 of 2").wait_for()
    for key in ("r", "1", "2", "=", "Enter"):
        page.keyboard.press(key)
    answers = json.loads(saved(page, folder).read_text())
    preferred = [rating["preferred"] for rating in answers["ratings"]]
    assert preferred[0] in ("v0", "v1") and preferred[1] is None
    assert "quickstart_loss-huber" in listen(folder, "--score", "ratings/tried-Bob.json")


@pytest.mark.parametrize("kind", ["mushra", "ab"])
def test_axe_finds_no_serious_fault(page, folder, kind):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    listen(folder, "tried", "--kind", kind, "--utterances", "1")
    page.goto((folder / "reports/tried/listening.html").as_uri())
    for step in ("start", "trial"):
        found = axe.Axe().run(page).response["violations"]
        serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, (step, serious)
        if step == "start":
            page.get_by_label("Your name").fill("Ann")
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Page 1 of").wait_for()
