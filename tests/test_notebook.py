"""The notebook of examples/ runs from its first to its last cell."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_notebook_denoises_shows_and_scores_its_clip(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent / "src"))
    # What other tests import sets it, and figures would not be shown.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(EXAMPLES / "denoise.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    listened, drawn, scored = code[1].outputs, code[2].outputs, code[3].outputs
    assert sum("audio" in out.get("data", {}).get("text/html", "") for out in listened) == 3
    assert any("image/png" in out.get("data", {}) for out in drawn)
    rows = dict(line.split(maxsplit=1) for line in scored[-1].data["text/plain"].splitlines()[1:])
    for metric in ("si_sdr", "pesq_wb", "stoi", "dnsmos_ovrl"):
        noisy, enhanced, _ = map(float, rows[metric].split())
        assert enhanced > noisy, metric
