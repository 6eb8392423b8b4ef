"""MLflow's server with a first page of our own, as `denoise ui` starts it."""

from __future__ import annotations

from typing import Any

START = "start"
"""Its address on the server; what follows # there is where it leads."""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Runs</title></head>
<body><script>
// The panel for chats with a language model opens by itself only where it was never opened before.
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
location.replace("/" + location.hash);
</script><noscript>MLflow needs JavaScript.</noscript></body></html>
"""


def create_app() -> Any:
    """The application for ``mlflow server --app-name denoise`` (an entry point of MLflow)."""
    from fastapi.responses import HTMLResponse
    from mlflow.server.fastapi_app import create_fastapi_app
    from starlette.routing import Route

    async def start(request: Any) -> HTMLResponse:
        return HTMLResponse(_PAGE)

    app = create_fastapi_app()
    # In front: MLflow's own application answers whatever comes behind it.
    app.router.routes.insert(0, Route(f"/{START}", start))
    return app
