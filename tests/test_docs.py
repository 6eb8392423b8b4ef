"""The documentation: as a site without a broken link, with the commands that there are."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import soundfile
import yaml
from conftest import hiss
from workflow_runs import BIN, ROOT

from denoise import __version__, cli
from denoise.study.plan import make_plan

EXTENDING = (ROOT / "docs" / "extending.md").read_text()


def test_the_site_is_built_without_a_warning(tmp_path):
    run = subprocess.run(
        [str(BIN / "mkdocs"), "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Compare two" in (tmp_path / "site/report.html").read_text()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "pretrained/README.md"])
def test_links_of_pages_outside_the_site_are_valid(page):
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    for target in targets:
        if not target.startswith(("http:", "https:")):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_every_command_in_the_documentation_exists():
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


CONFIGURATIONS = [
    (page.stem, block)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
]


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    """The folders and files that the configurations of the pages name."""
    folder = tmp_path_factory.mktemp("study")
    voice, noise = hiss(2, 16_000, 1), hiss(3, 16_000, 2)
    for speaker in "abcd":
        for place in ("my/speech", "pairs/clean", "pairs/noisy"):
            path = folder / place / speaker / "1.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, voice, 16_000)
    for place in ("my/noise/fan", "my_rooms/hall", "recordings/calls", "my_rooms/stairs"):
        (folder / place).mkdir(parents=True)
        for number in range(5):
            soundfile.write(folder / place / f"{number}.wav", noise, 16_000)
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    for block in re.findall(r"```python\n(# (my_\w+\.py)\n.*?)```", EXTENDING, re.DOTALL):
        (folder / block[1]).write_text(block[0])
    return folder


@pytest.mark.parametrize(("page", "block"), CONFIGURATIONS)
def test_configurations_in_the_documentation_are_valid(page, block, study_folder, monkeypatch):
    monkeypatch.chdir(study_folder)
    config = yaml.safe_load(block)
    if "extensions" in config:
        config["extensions"] = [name for name in config["extensions"] if Path(name).is_file()]
    make_plan({"preset": "quickstart", **config}, ROOT / "presets")
    make_plan({"preset": "quickstart"}, ROOT / "presets")  # which forgets the extensions


def messages_of_the_code() -> list[str]:
    """All texts of the source, with … for what is filled in."""
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if all(isinstance(part, ast.Constant | ast.FormattedValue) for part in parts):
                whole = [
                    str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts
                ]
                texts.append(" ".join("".join(whole).split()))
    return texts


def test_messages_on_the_troubleshooting_page_exist_in_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    shown = re.findall(r"^\| `([^`]*…[^`]*)` \|", page, re.MULTILINE)
    assert len(shown) > 15
    known = messages_of_the_code()
    for message in shown:
        chunks = [chunk.strip() for chunk in message.split("…") if len(chunk.strip()) > 2]
        assert any(all(chunk in text for chunk in chunks) for text in known), message


def test_every_target_of_make_that_the_documentation_names_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {name for page in pages for name in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}
    assert named and named <= targets


def test_the_citation_has_the_version_of_the_package():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["version"]) == __version__
    assert cited["license"] == "MIT" and Path(ROOT / "LICENSE").read_text().startswith("MIT")
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert catalog["usage"]["report"] is True
