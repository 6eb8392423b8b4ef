"""A small study for the tests in a browser, and the browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from workflow_runs import TINY, configure, copy_project, snakemake

from denoise import files

SWEEP = {"training.loss": ["huber", "mse", "mae"]}


@pytest.fixture(scope="session")
def study(request, tmp_path_factory) -> Path:
    """A folder in which three variants were trained and compared; tests only read in it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = Path(request.config.getoption("--study") or shared / "ui-study").absolute()
    with files.locked(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            copy_project(folder)
            configure(folder, experiment="tried", set=TINY, sweep=SWEEP)
            run = snakemake(folder, "all")
            assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium, or the one that Playwright has installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as tool:
        if installed is None and not Path(tool.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        started = tool.chromium.launch(
            executable_path=installed,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield started
        started.close()


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page that must not report an error."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: message.type == "error" and said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert not said
