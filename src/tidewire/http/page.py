"""The page at ``/``: live changes through the stock client, and what it needs.

Its files are read once, at the start; they are few and small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.http.responses import json_response

STATIC_FOLDER = Path(__file__).parent / "static"
VENDOR_FILE = "vendor/supabase.js"

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The page loads nothing from elsewhere. ws: and wss: because older browsers do not count a
# WebSocket to the same host as 'self'; https: and http: for a public_url of another name.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' ws: wss: http: https:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class PageConfig(msgspec.Struct, frozen=True):
    """What the page is told, as ``/config.json``. All of it is public by nature.

    Attributes:
        url: Address of the server as a browser reaches it; "" for where the page came from.
        anon_key: The key that every visitor may have.
        version: Of the server.
        tables: Tables in schema public to show first; others that change are shown as well.
        is_demo: Whether there is sample data.
        is_simulated: Whether robots edit it.
    """

    url: str
    anon_key: str
    version: str
    tables: list[str] = []
    is_demo: bool = False
    is_simulated: bool = False


class _Asset(msgspec.Struct, frozen=True):
    body: bytes
    media_type: str
    etag: str


def page_routes(config: PageConfig, folder: Path = STATIC_FOLDER) -> list[Route]:
    """The page, its files and its configuration.

    Without the vendor file (the stock client is fetched at installation) the page is still
    served; it then uses its own small client, shows less and says so.

    Args:
        config: What the page is told.
        folder: Where its files are.
    """
    assets = _read_assets(folder)
    has_vendor = VENDOR_FILE in assets

    async def page(request: Request) -> Response:
        return _asset_response(request, assets["index.html"], policy=_PAGE_POLICY)

    async def config_json(_: Request) -> Response:
        told = msgspec.to_builtins(config) | {"has_client": has_vendor}
        return json_response(told)

    def static(asset: _Asset) -> Callable[[Request], Awaitable[Response]]:
        async def send(request: Request) -> Response:
            return _asset_response(request, asset)

        return send

    files = [
        Route(f"/static/{name}", static(asset))
        for name, asset in assets.items()
        if name != "index.html"
    ]
    return [Route("/", page), Route("/config.json", config_json), *files]


def _read_assets(folder: Path) -> dict[str, _Asset]:
    """Every servable file below `folder` by its path with forward slashes."""
    assets: dict[str, _Asset] = {}
    for path in sorted(folder.rglob("*")):
        media_type = _MEDIA_TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            continue
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        assets[path.relative_to(folder).as_posix()] = _Asset(body, media_type, etag)
    return assets


def _asset_response(request: Request, asset: _Asset, *, policy: str | None = None) -> Response:
    """The file, or 304 when the browser has these very bytes."""
    # no-cache means: keep it, but ask before using it. An upgrade of the server is seen at once.
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache", **_SECURITY_HEADERS}
    if policy is not None:
        headers["Content-Security-Policy"] = policy
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)
