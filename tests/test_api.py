"""``import denoise``: its page runs, what is wrong is told in one line, and little is imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import hiss, tone_speech

import denoise

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = dict(re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```", PAGE, re.M | re.S))


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A folder with ``talk.wav``, of two channels at 48 kHz, and ``recordings``."""
    monkeypatch.chdir(tmp_path)
    clean = np.stack([tone_speech(2, 48_000, 1)] * 2, axis=1)
    noisy = clean + 0.1 * hiss(2, 48_000, 2)[:, None]
    (tmp_path / "recordings").mkdir()
    for path in ("talk.wav", "recordings/a.wav"):
        soundfile.write(path, noisy, 48_000)
    return clean, noisy


def test_documentation_examples_run(recorded, capsys):
    clean, noisy = recorded
    given = []
    scope = {
        "microphone": noisy[:, 0], "play": given.append,
        "reference": clean[:, 0], "estimate": noisy[:, 0],
    }  # fmt: skip
    assert len(EXAMPLES) == 5
    for title, code in EXAMPLES.items():
        assert len(code.strip().splitlines()) <= 6, title
        exec(compile(code, title, "exec"), scope)
    made, rate = soundfile.read("talk.enhanced.wav")
    assert (made.shape, rate) == (noisy.shape, 48_000)
    assert Path("recordings/a.flac").is_file()
    assert sum(map(len, given)) == len(noisy)
    said = capsys.readouterr().out
    assert "latency: 32 ms" in said and "no model 'bist' (did you mean 'best'?)" in said
    assert "ok" in said.splitlines()[1]


def test_the_readme_example_matches_the_python_api_page():
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert shown[1].strip() in EXAMPLES["A file"]


def test_noise_is_attenuated_up_to_the_limit():
    noise = 0.1 * hiss(3, 16_000, 3)
    model = denoise.load("best")
    assert repr(model) == "<denoise.Model best, 16000 Hz>"
    inner = slice(8000, -8000)

    def fall_db(**options: float) -> float:
        found = model.enhance(noise, 16_000, **options)
        return float(20 * np.log10(noise[inner].std() / found[inner].std()))

    assert fall_db() > 20
    assert fall_db(max_attenuation_db=10) == pytest.approx(10, abs=1)
    assert fall_db(strength=0.5) == pytest.approx(6, abs=1)
    assert fall_db(strength=0) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        (np.zeros((4, 4, 4), np.float32), {}, r"audio \[shape=\(4, 4, 4\), float32\] must be real"),
        (np.zeros(400, np.int16), {}, "divide 16-bit integers by 32768"),
        (np.zeros((2, 400), np.float32), {}, "transpose it"),
        (np.full(400, np.nan), {}, "NaN or infinite"),
        (np.zeros(400), {"rate": 0}, "rate is 0: it must be a whole number of Hz from 1,000"),
        (np.zeros(400), {"rate": 16_000.5}, "whole number"),
        (np.zeros(400), {"strength": 2}, "strength is 2: "),
        (np.zeros(400), {"max_attenuation_db": -3}, "max_attenuation_db is -3: "),
        (np.zeros(400), {"bandwidth": "half"}, "bandwidth is 'half': .*'full' or 'model'"),
    ],
)
def test_an_error_names_the_wrong_argument(given, options, expected):
    with pytest.raises(ValueError, match=expected):
        denoise.load("best").enhance(given, **({"rate": 16_000} | options))


def test_an_empty_recording_stays_empty_and_a_short_one_keeps_its_length():
    model = denoise.load("best")
    for samples in (0, 1, 7):
        assert model.enhance(np.zeros(samples, np.float32), 44_100).shape == (samples,)


def test_an_error_names_a_file_that_is_not_audio(tmp_path):
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(denoise.UserError, match=r"a\.wav cannot be decoded"):
        denoise.read(tmp_path / "a.wav")
    with pytest.raises(denoise.UserError, match=r"a\.flac cannot be written as flac"):
        denoise.write(tmp_path / "a.flac", np.zeros((10, 40)), 16_000)
    denoise.write(tmp_path / "b.wav", np.zeros((10, 2)), 16_000, "FLOAT")
    assert denoise.read(tmp_path / "b.wav")[0].shape == (10, 2)


def test_inference_imports_only_dependencies_of_the_base_install(recorded):
    """Modules that the workflow needs are made impossible to import."""
    code = """
import sys
for name in ("pandas", "scipy", "librosa", "tensorflow", "keras", "snakemake", "mlflow", "joblib",
             "matplotlib", "seaborn", "threadpoolctl", "requests", "pesq", "pystoi"):
    sys.modules[name] = None
import denoise
assert {"load", "stream", "read", "write", "metrics"} <= set(dir(denoise))
assert not set(sys.modules) & {"numpy", "onnxruntime"}, "import denoise alone is light"
from denoise.cli import main
for words in ("enhance talk.wav", "models", "enhance --model stream talk.wav -o b.wav"):
    main(words.split())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "best: ready to use, 16000 Hz" in done.stdout
    assert Path("talk.enhanced.wav").is_file() and Path("b.wav").is_file()


def test_a_stream_with_zero_channels_is_rejected():
    with pytest.raises(ValueError, match="channels is 0: a stream has at least one"):
        denoise.stream("stream", 48_000, channels=0)
