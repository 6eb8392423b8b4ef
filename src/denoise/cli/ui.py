"""``denoise ui``: open the runs of this folder in MLflow."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Any

from denoise.cli.where import HOST, PORT, newest_report, page_in_ui
from denoise.core.errors import UserError
from denoise.core.terminal import show
from denoise.study import paths
from denoise.study.command import run_command
from denoise.tracking.store import Store


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    verb = verbs.add_parser(
        "ui",
        examples=[
            "denoise ui",
            "denoise ui --port 5001",
        ],
        description="Serve the MLflow UI for the runs of this folder, to this machine only, until "
        "it is interrupted. Where MLFLOW_TRACKING_URI names a server, its address is printed.",
    )
    verb.add_argument("--port", type=int, default=PORT, help="(default %(default)s)")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Carry out ``denoise ui``: this process becomes MLflow's server."""
    store = Store(paths.TRACKING_STORE).uri
    if store.startswith("http"):
        show(f"The runs are on the server {store}: open it in a browser")
        return
    if not 1 <= options.port <= 65535:
        raise UserError(f"--port {options.port} must be between 1 and 65535")
    if "MLFLOW_TRACKING_URI" not in os.environ and not paths.STORE_MARKER.is_file():
        raise UserError(f"no run is recorded in this folder yet: type `{run_command()}` first")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((HOST, options.port))
        except OSError as error:
            raise UserError(
                f"port {options.port} cannot be used ({error.strerror}): give another --port"
            ) from None
    report = newest_report()
    page = page_in_ui(report.parent.name if report else "", options.port)
    show(f"Open {page}", "Press Ctrl-C to end it.")
    words = [
        "server",
        "--app-name",
        "denoise",
        "--host",
        HOST,
        "--port",
        str(options.port),
        "--backend-store-uri",
        store,
    ]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *words])
