"""The inbox page at `/`: files that the package brings, with headers that let nothing else in."""

from importlib.resources import files
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from esms_async.emulator.control import PRIVATE

FOLDER: Final = "/_emulator/page/"
"""Where the page's scripts and styles are."""

_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
# Whatever a message holds: no script but the page's own runs, nothing is loaded from elsewhere,
# nothing is sent elsewhere, and no text can become markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    **PRIVATE,
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Page:
    """Answers the requests for the page. Its files are read once, when it is made."""

    def __init__(self) -> None:
        folder = files("esms_async.emulator") / "static"
        self._files = {file.name: file.read_bytes() for file in folder.iterdir()}

    def add_routes(self, app: web.Application) -> None:
        """Add the page and its files to an application, before the control interface."""
        for name, body in self._files.items():
            path = "/" if name == _INDEX else FOLDER + name
            ending = name[name.rindex(".") :]
            app.router.add_get(path, _handler(_TYPES[ending], body), allow_head=False)


def _handler(content_type: str, body: bytes) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)

    return handle
