"""The page at ``/``: a few files, read once, that ask nothing of any other host."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.serving.service import Service

__all__ = ["PATHS", "asset"]

_KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_MODULES = ("announce", "answers", "api", "columns", "combobox", "dom", "filters", "history", "model", "rows", "state", "who")
_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"} | {
    f"/page/{name}.js": f"page/{name}.js" for name in _MODULES
}
PATHS = tuple(_FILES)
"""Where the page and its parts are."""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def asset(service: Service, request: HttpRequest) -> Response:
    """A file of the page."""
    name = _FILES[request.url.path]
    body = (files(__name__) / "static" / name).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
    return Response(body, headers=headers, media_type=_KINDS[name.rpartition(".")[2]])
