"""The part of a Kubernetes API that Snakemake's executor speaks to, whose pods are processes.

A pod starts in an empty folder, with what its Job gives it and the programs of this Python's
environment, as those of an image; it sees no file of who started it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml

_WORKDIR = "/workdir"
_GPU = "nvidia.com/gpu"


class Cluster:
    """Secrets, Jobs and their processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, dict[str, str]] = {}
        self.pods: dict[str, subprocess.Popen[bytes]] = {}
        self.specs: list[dict[str, Any]] = []
        self.image = folder / "image"
        self.image.mkdir(parents=True)
        # An image has the plugins; a pod would else ask the package index for them.
        (self.image / "pip").write_text("#!/bin/sh\nexit 0\n")
        (self.image / "pip").chmod(0o755)

    def create_job(self, body: dict[str, Any]) -> None:
        name, spec = body["metadata"]["name"], body["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        self.specs.append(container)
        asked = container["resources"]
        gpus = asked["requests"].get(_GPU)
        if gpus is not None and asked.get("limits", {}).get(_GPU) != gpus:
            raise ValueError("a cluster would refuse GPUs that are asked for without a limit")
        workdir = self.folder / "pods" / name
        workdir.mkdir(parents=True)
        environment = {
            "PATH": f"{self.image}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(workdir),
            "PYTHONPATH": str(workdir / "src"),
        }
        for variable in container["env"]:
            key = variable["valueFrom"]["secretKeyRef"]
            secret = self.secrets[key["name"]][key["key"]]
            environment[variable["name"]] = base64.b64decode(secret).decode()
        command = [*container["command"], *container["args"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.pods[name] = subprocess.Popen(
                [word.replace(_WORKDIR, str(workdir)) for word in command],
                cwd=workdir, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def end(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pods[name].pid, 9)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        """What the API says, as JSON or text; None if there is no such thing."""
        if method == "POST" and path.endswith("/secrets"):
            self.secrets[body["metadata"]["name"]] = body["data"]
            return body
        if method == "POST" and path.endswith("/jobs"):
            self.create_job(body)
            return body
        if method == "GET" and path.endswith("/pods"):
            name = query["labelSelector"][0].removeprefix("job-name=")
            return {"kind": "PodList", "items": [self.pod(name)] if name in self.pods else []}
        named = re.search(r"/(jobs|pods|secrets)/([^/]+)(/status|/log)?$", path)
        if named is None:
            return None
        kind, name, part = named.groups()
        if kind == "secrets":
            return {"kind": "Status", "status": "Success"} if name in self.secrets else None
        if name not in self.pods:
            return None
        if method == "DELETE":
            self.end(name)
            return {"kind": "Status", "status": "Success"}
        if part == "/log":
            return self.log(name)
        code = self.pods[name].poll()
        status = {} if code is None else {"failed" if code else "succeeded": 1}
        return {"kind": "Job", "metadata": {"name": name}, "status": status}

    def pod(self, name: str) -> dict[str, Any]:
        code = self.pods[name].poll()
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        container = {
            "name": "snakemake", "image": "", "imageID": "", "ready": False, "restartCount": 0,
            "state": state,
        }  # fmt: skip
        return {"metadata": {"name": name}, "status": {"containerStatuses": [container]}}


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """A cluster that listens on localhost, and the kubeconfig that leads to it."""
    cluster = Cluster(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlparse(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code = 200
            try:
                found = cluster.answer(self.command, url.path, parse_qs(url.query), body)
            except ValueError as error:
                code, found = 422, {"kind": "Status", "code": 422, "message": str(error)}
            if found is None:
                code, found = 404, {"kind": "Status", "code": 404, "reason": "NotFound"}
            text = found if isinstance(found, str) else json.dumps(found)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = folder / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {"server": f"http://127.0.0.1:{server.server_port}"},
                    }
                ],
                "users": [{"name": "test", "user": {}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            }
        )
    )
    try:
        yield cluster, config
    finally:
        server.shutdown()
        for name in cluster.pods:
            cluster.end(name)
