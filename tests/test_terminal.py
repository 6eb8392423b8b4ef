"""Names come from others; nothing of them reaches the terminal but as text."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from draw_packages import ROOT

from denoise.cli import main
from denoise.core import terminal
from denoise.core.boundary import report_errors
from denoise.core.errors import UserError
from denoise.core.terminal import printable

HOSTILE = "take\x1b]0;owned\x07\x1b[2J\n\u202egpj.exe\x9b31m"
DRAWS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PRINTING = {"print", "sys.stdout.write", "sys.stderr.write", "sys.exit", "pprint"}


def test_printable_keeps_text_and_escapes_control_characters():
    plain = "Aufnahme 1 (größer) 日本語\u3000नमस्ते\u200d🎙️.wav"
    assert printable(plain) == plain
    assert printable(HOSTILE) == r"take\x1b]0;owned\x07\x1b[2J\n\u202egpj.exe\x9b31m"
    assert printable(os.fsdecode(b"caf\xe9.wav")) == r"caf\xe9.wav"
    assert printable("a\u2028b\ud800") == r"a\u2028b\ud800"


def test_only_the_terminal_module_prints():
    for path in sorted((ROOT / "src").rglob("*.py")):
        # The other is a program of its own, whose messages its caller reads.
        if path == Path(terminal.__file__) or path.name == "espeak_tool.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in PRINTING, f"{path}:{node.lineno} {name}"
                # A reason as exit status is printed as it is.
                if name == "SystemExit" and node.args:
                    assert not isinstance(node.args[0], ast.JoinedStr), f"{path}:{node.lineno}"


@pytest.mark.parametrize("write", [terminal.show, terminal.say, terminal.fail, terminal.warn])
def test_hostile_text_is_printed_on_one_line(write, capsys):
    write(HOSTILE)
    out, err = capsys.readouterr()
    assert (out + err).count("\n") == 1 and not DRAWS.search(out + err)


def test_show_json_escapes_controls_and_keeps_the_value(capsys):
    terminal.show_json(json.dumps({"file": HOSTILE, "list": [1]}, indent=1, ensure_ascii=False))
    shown = capsys.readouterr().out
    assert not DRAWS.search(shown)
    assert json.loads(shown) == {"file": HOSTILE, "list": [1]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["enhance", HOSTILE],
        ["enhance", "a.wav", f"--{HOSTILE}"],
        [HOSTILE],
        ["export", HOSTILE, "--format", "onnx"],
        ["models", HOSTILE],
        ["compare", HOSTILE, HOSTILE],
        ["score", "--clean", HOSTILE, "--enhanced", HOSTILE],
        ["stream", "--model", HOSTILE],
        ["why", HOSTILE],
    ],
)
def test_error_messages_escape_control_characters_in_arguments(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code in (1, 2)
    assert not DRAWS.search(out + err) and err


def test_unencodable_characters_are_escaped_and_do_not_crash():
    code = "from denoise.core.terminal import prepare, show; prepare(); show('größer \\ud83d')"
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=ascii_only)
    assert (ran.returncode, ran.stdout) == (0, b"gr\\xf6\\xdfer \\ud83d\n"), ran.stderr


def test_messages_of_libraries_are_warnings():
    code = (
        "import logging; from denoise.core.terminal import prepare; prepare();"
        "logging.getLogger('x').warning('a\\x1b[2Jb')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stderr == "warning: a\\x1b[2Jb\n"


def test_an_internal_error_prints_one_line_and_writes_a_report_file(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as end, report_errors():
        raise KeyError("x\x1b[2J")
    assert end.value.code == 70
    said = capsys.readouterr().err
    report = next(tmp_path.iterdir())
    assert said.startswith("error: internal error (KeyError: 'x") and said.count("\n") == 1
    assert str(report) in said and not DRAWS.search(said)
    assert "Traceback (most recent call last)" in report.read_text()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("x is wrong"), "x is wrong"),
        (PermissionError(13, "Permission denied", "a.wav"), "a.wav: Permission denied"),
        (OSError(36, "File name too long", b"a\xff"), r"a\xff: File name too long"),
        (MemoryError(), "out of memory: close other programs, or process less data at once"),
    ],
)
def test_user_errors_print_one_line(error, told, capsys):
    with pytest.raises(SystemExit) as end, report_errors():
        raise error
    assert end.value.code == 1
    assert capsys.readouterr().err == f"error: {told}\n"


def test_an_interrupt_is_no_internal_error():
    with pytest.raises(KeyboardInterrupt), report_errors():
        raise KeyboardInterrupt


def test_closed_output_is_no_error(tmp_path):
    ran = subprocess.run(
        [f"{sys.executable} -m denoise.cli models >&- 2>&-"], shell=True, cwd=tmp_path
    )
    assert ran.returncode == 0
