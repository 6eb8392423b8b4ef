"""``denoise demo``: a local page to try models on one's own voice."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

from denoise.api import find_model, ready_models
from denoise.cli.enhance import enhance_file, plot
from denoise.cli.models import trained_models
from denoise.cli.shared import quiet_native_libraries
from denoise.core import files
from denoise.core.errors import UserError
from denoise.core.terminal import show, warn

KEPT_S = 3600
"""Recordings and results are deleted after this time, or when the page is closed."""
_FOLDER = "denoise-demo-"
_NO_LIMIT_DB = 60
"""The end of the slider, which stands for no limit."""


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "demo",
        examples=[
            "denoise demo",
            "denoise demo --model best --model my-study/small --no-browser",
        ],
        description="Open a page in the browser: record or drop a file, choose a model, hear it "
        "before and after, see the spectrograms, save the result. It is only reachable from this "
        "machine, no recording leaves it, and none stays longer than an hour. Needs "
        "`make demo` or pip install 'denoise[demo]' once.",
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
    try:
        socket.getaddrinfo(options.host, options.port)
    except OSError as error:
        raise UserError(f"--host {options.host}: {error.strerror}") from None
    models = {name: find_model(name) for name in options.model} if options.model else offered()
    if not models:
        raise UserError("there is no model to offer: train one, or name a folder with --model")
    if not _is_local(options.host):
        warn(f"everyone who reaches {options.host} can use this page: it asks for no password")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    _forget_others()
    # A recording that is still being denoised may write into it while it is removed.
    with tempfile.TemporaryDirectory(
        prefix=f"{_FOLDER}{os.getpid()}-", ignore_cleanup_errors=True
    ) as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        _serve(models, Path(folder), options)
    # Exit without waiting for the threads of the server, or for one that denoises.
    os._exit(0)


def _serve(models: dict[str, Path], folder: Path, options: argparse.Namespace) -> None:
    """Show the page until it is interrupted."""
    try:
        import gradio  # noqa: F401
        from starlette.middleware import Middleware
    except ImportError:
        raise UserError(
            "the page needs Gradio: run `make demo`, or pip install 'denoise[demo]'"
        ) from None
    page = build(models, folder)
    try:
        page.launch(
            server_name=options.host,
            server_port=options.port,
            inbrowser=not options.no_browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            allowed_paths=[str(folder)],
            app_kwargs={"middleware": [Middleware(HostCheck, options.host)]},
        )
    except OSError:
        raise UserError(f"port {options.port} is in use: give another with --port") from None
    with contextlib.suppress(KeyboardInterrupt):
        show(f"http://{options.host}:{options.port} (Ctrl-C ends it)")
        while True:
            time.sleep(60)
            forget_old(folder)


def offered() -> dict[str, Path]:
    """The models to choose from: those that are ready, then those trained here, newest first."""
    found = ready_models()
    for row in trained_models():
        found.setdefault(str(row["variant"]), Path(row["folder"]))
    return found


def forget_old(folder: Path, age_s: float = KEPT_S) -> None:
    """Delete what was recorded, dropped or made longer ago."""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and time.time() - path.stat().st_mtime > age_s:
                path.unlink()


def _forget_others() -> None:
    """Delete the folders of pages that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = path.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdecimal() and not files.runs(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


class HostCheck:
    """Answers only those who ask for this machine by its address or its own name.

    Else a page of somebody else, whose name is made to lead here after it was loaded, could read
    what is here (DNS rebinding).
    """

    def __init__(self, app: Any, host: str) -> None:
        self._app = app
        own = {"localhost", host}
        self._local = _is_local(host)
        self._names = own if self._local else own | {socket.gethostname(), socket.getfqdn()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it with status 421."""
        if scope["type"] == "http" and not self.knows(dict(scope["headers"]).get(b"host", b"")):
            refused = {"type": "http.response.start", "status": 421, "headers": []}
            await send(refused)
            await send({"type": "http.response.body", "body": b"another host was asked for"})
        elif scope["type"] != "websocket":  # which the page does not use
            await self._app(scope, receive, send)

    def knows(self, given: bytes) -> bool:
        """Whether the ``Host`` header of a request names this machine."""
        try:
            host = urllib.parse.urlsplit(f"//{given.decode('latin-1')}").hostname or ""
        except ValueError:
            return False
        try:
            return ipaddress.ip_address(host).is_loopback or not self._local
        except ValueError:
            return host in self._names


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def build(models: dict[str, Path], folder: Path) -> Any:
    """The page, as Gradio's blocks; results are written to `folder`."""
    import gradio

    from denoise.enhancement.enhancer import Enhancer
    from denoise.enhancement.settings import EnhancementSettings
    from denoise.report import figures

    loaded: dict[str, Enhancer] = {}

    def denoise(
        source: str | None, name: str, strength: float, limit_db: float
    ) -> tuple[str, str, str]:
        if not source:
            raise gradio.Error("Record something or choose a file first.", print_exception=False)
        if name not in loaded:
            with quiet_native_libraries():
                loaded[name] = Enhancer.load(models[name])
        target = folder / f"{Path(source).stem[:80]}.{name}.wav"
        limited = limit_db < _NO_LIMIT_DB
        settings = EnhancementSettings(
            strength=strength, max_attenuation_db=limit_db if limited else None
        )
        enhancer = Enhancer(loaded[name].network, loaded[name].card, settings)
        try:
            enhance_file(enhancer, Path(source), target)
            plot(Path(source), target)
        except UserError as reason:
            raise gradio.Error(f"The recording {reason}", print_exception=False) from None
        used = [name, f"{enhancer.rate} Hz", f"strength {strength:g}"]
        used += [f"at most {limit_db:g} dB of attenuation"] if limited else []
        return str(target), str(target.with_suffix(".png")), ", ".join(used)

    figures.title("snr")  # loads what draws, before the first recording waits for it
    with gradio.Blocks(title="denoise", delete_cache=(600, KEPT_S)) as page:
        gradio.Markdown("# denoise\nRecord or drop a file, choose a model, and compare by ear.")
        with gradio.Row():
            with gradio.Column():
                source = gradio.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Before"
                )
                model = gradio.Dropdown(
                    list(models), value=next(iter(models)), label="Model", interactive=True
                )
                strength = gradio.Slider(
                    0, 1, value=1, step=0.05, label="Strength",
                    info="share of the enhanced signal; the rest is the recording",
                )  # fmt: skip
                limit = gradio.Slider(
                    0, _NO_LIMIT_DB, value=_NO_LIMIT_DB, step=1, label="Attenuation limit (dB)",
                    info=f"the most that any frequency is lowered; {_NO_LIMIT_DB} is no limit",
                )  # fmt: skip
                button = gradio.Button("Denoise", variant="primary")
            with gradio.Column():
                after = gradio.Audio(label="After", type="filepath", interactive=False)
                about = gradio.Textbox(label="Made with", interactive=False)
        picture = gradio.Image(label="Waveforms and spectrograms", type="filepath")
        button.click(denoise, [source, model, strength, limit], [after, picture, about])
    return page
