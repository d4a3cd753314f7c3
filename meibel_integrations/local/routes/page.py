"""The page at ``/`` and its assets: files of the package, and nothing secret."""

from __future__ import annotations

from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meibel_integrations.local.http.refusals import not_found

PAGE_PATH = "/page/"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing inline, nothing from elsewhere, and no text becomes markup but through the sanitiser.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "trusted-types dompurify",
        "require-trusted-types-for 'script'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[Route]:
    async def asset(request: Request) -> Response:
        return _asset(request.path_params["name"])

    async def page(_: Request) -> Response:
        return _asset("page.html")

    return [Route("/", page, methods=["GET"]), Route(f"{PAGE_PATH}{{name}}", asset, methods=["GET"])]


def _asset(name: str) -> Response:
    found = assets().get(name)
    if found is None:
        raise not_found("file", name)
    return Response(found, headers={**_HEADERS, "Content-Type": _TYPES[name[name.rindex(".") :]]})


@cache
def assets() -> dict[str, bytes]:
    """What the page consists of, by name."""
    folder = resources.files("meibel_integrations.local").joinpath("page")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(tuple(_TYPES))}
