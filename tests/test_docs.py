"""The documentation: as a site without a broken link, with the commands that there are."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from workflow_runs import BIN, ROOT

from denoise import __version__, cli


def test_the_site_is_built_without_a_warning(tmp_path):
    run = subprocess.run(
        [str(BIN / "mkdocs"), "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Compare two" in (tmp_path / "site/report.html").read_text()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "pretrained/README.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(page):
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    for target in targets:
        if not target.startswith(("http:", "https:")):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_every_command_in_the_documentation_is_one_that_there_is():
    """A verb or option that was renamed must not live on in a page."""
    known = cli.parser()
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    tried = 0
    for page in pages:
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                command = re.search(r"(?:^|\| )denoise ([a-z]+[^|#>]*)", line)
                if command and "$" not in line:
                    known.parse_args(command.group(1).split())
                    tried += 1
    assert tried > 10


def test_every_target_of_make_that_the_documentation_names_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {name for page in pages for name in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}
    assert named and named <= targets


def test_the_version_to_cite_is_that_of_the_program():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == __version__
    assert cited["license"] == "MIT" and Path(ROOT / "LICENSE").read_text().startswith("MIT")
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert catalog["usage"]["report"] is True
