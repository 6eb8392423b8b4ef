"""``denoise demo``: a local page to try models on one's own voice."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from denoise.cli.enhance import enhance_file
from denoise.cli.shared import (
    find_model,
    quiet_native_libraries,
    ready_models,
    trained_models,
)
from denoise.core.errors import UserError
from denoise.core.terminal import show, warn


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "demo",
        help="open a page to record, denoise and listen",
        description="Open a page in the browser: record or drop a file, choose a model, hear it "
        "before and after, see the spectrograms, save the result. It is only reachable from this "
        "machine, and no recording leaves it. Needs `make demo` or pip install 'denoise[demo]' "
        "once.",
    )
    verb.add_argument(
        "--model", action="append", help="offer only this model or folder; may be repeated"
    )
    verb.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default %(default)s: this machine only)",
    )
    verb.add_argument("--port", type=int, default=7860, help="(default %(default)s)")
    verb.add_argument("--no-browser", action="store_true", help="only print the address")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise demo``."""
    # Before it is imported: it would report its use to its makers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not 1 <= options.port <= 65535:
        raise UserError(f"--port {options.port} must be between 1 and 65535")
    models = {name: find_model(name) for name in options.model} if options.model else offered()
    if not models:
        raise UserError("there is no model to offer: train one, or name a folder with --model")
    if not _is_local(options.host):
        warn(f"everyone who reaches {options.host} can use this page: it asks for no password")
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise UserError(
            "the page needs Gradio: run `make demo`, or pip install 'denoise[demo]'"
        ) from None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A recording that is still being denoised may write into it while it is removed.
    with tempfile.TemporaryDirectory(prefix="denoise-demo-", ignore_cleanup_errors=True) as folder:
        page = build(models, Path(folder))
        try:
            page.launch(
                server_name=options.host,
                server_port=options.port,
                inbrowser=not options.no_browser,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                allowed_paths=[folder],
            )
        except OSError:
            raise UserError(f"port {options.port} is in use: give another with --port") from None
        with contextlib.suppress(KeyboardInterrupt):
            show(f"http://{options.host}:{options.port} (Ctrl-C ends it)")
            while True:
                time.sleep(3600)
    # Exit without waiting for the threads of the server, or for one that denoises.
    os._exit(0)


def offered() -> dict[str, Path]:
    """The models to choose from: those that are ready, then those trained here, newest first."""
    found = ready_models()
    for row in trained_models().to_dict("records"):
        found.setdefault(str(row["variant"]), Path(row["folder"]))
    return found


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def build(models: dict[str, Path], folder: Path) -> Any:
    """The page, as Gradio's blocks; results are written to `folder`."""
    import gradio

    from denoise.enhancement.enhancer import Enhancer
    from denoise.report import figures

    loaded: dict[str, Enhancer] = {}

    def denoise(source: str | None, name: str) -> tuple[str, str, str]:
        if not source:
            raise gradio.Error("Record something or choose a file first.", print_exception=False)
        if name not in loaded:
            with quiet_native_libraries():
                loaded[name] = Enhancer.load(models[name])
        target = folder / f"{Path(source).stem[:80]}.{name}.wav"
        try:
            enhance_file(loaded[name], Path(source), target, plot=True)
        except UserError as reason:
            raise gradio.Error(f"The recording {reason}", print_exception=False) from None
        rate = loaded[name].rate
        return str(target), str(target.with_suffix(".png")), f"{name}, {rate} Hz"

    figures.title("snr")  # loads what draws, before the first recording waits for it
    with gradio.Blocks(title="denoise") as page:
        gradio.Markdown("# denoise\nRecord or drop a file, choose a model, and compare by ear.")
        with gradio.Row():
            with gradio.Column():
                source = gradio.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Before"
                )
                model = gradio.Dropdown(
                    list(models), value=next(iter(models)), label="Model", interactive=True
                )
                button = gradio.Button("Denoise", variant="primary")
            with gradio.Column():
                after = gradio.Audio(label="After", type="filepath", interactive=False)
                about = gradio.Textbox(label="Made with", interactive=False)
        picture = gradio.Image(label="Waveforms and spectrograms", type="filepath")
        button.click(denoise, [source, model], [after, picture, about])
    return page
