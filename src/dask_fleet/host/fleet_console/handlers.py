"""The routes below ``/fleet/``: a page, what it is made of, and JSON. All of them only tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado import web

from fleet_console.console import Answer, Console
from fleet_console.discovery import targets

__all__ = ["ASSETS", "asset", "routes"]

ASSETS = Path(__file__).parent / "assets"

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_JSON = "application/json"

#: What a page of ours may do: nothing that is not ours, and no script or style within the text.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


def asset(name: str) -> tuple[bytes, str]:
    """Return a file of the page and the digest of it."""
    content = (ASSETS / name).read_bytes()
    return content, hashlib.sha1(content, usedforsecurity=False).hexdigest()[:12]


class Base(web.RequestHandler):
    """What all of ours have in common: GET and HEAD only, ETags, strict headers."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def initialize(self, dask_server: Any = None) -> None:
        """Keep the scheduler that Dask hands to each of its handlers."""
        self.scheduler = dask_server
        self.etag: str | None = None

    def set_default_headers(self) -> None:
        """Say what a browser may do with an answer."""
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-cache")
        self.clear_header("Server")

    def compute_etag(self) -> str | None:
        """Return the ETag; tornado answers 304 to whoever has it."""
        return self.etag

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one line that repeats nothing of the question."""
        del kwargs
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")

    @property
    def console(self) -> Console:
        """The console of the scheduler.

        Raises
        ------
        tornado.web.HTTPError
            The scheduler has none yet.
        """
        found = getattr(self.scheduler, "console", None)
        if found is None:
            raise web.HTTPError(503)
        return found

    def send(self, answer: Answer, kind: str = _JSON) -> None:
        """Finish with an answer, or with 304 if it is known already."""
        self.etag = answer.etag
        self.set_header("Content-Type", kind)
        self.finish(answer.body)

    def get(self, *_: str) -> None:
        """Answer 404: nothing is here."""
        self.send_error(404)

    def head(self, *words: str) -> None:
        """Answer as to GET, without a body."""
        self.get(*words)


class ToPage(Base):
    """Lead from ``/fleet`` to ``/fleet/``, whatever stands before it."""

    def get(self, *_: str) -> None:
        """Answer with a redirect."""
        self.set_status(308)
        self.set_header("Location", "fleet/")
        self.finish()


class Page(Base):
    """The page, with all of the state in it."""

    def get(self, *_: str) -> None:
        """Answer with HTML."""
        from fleet_console.page import render  # it brings jinja2

        self.send(render(self.console), "text/html; charset=utf-8")


class Asset(Base):
    """A style, a script or a picture of the page, which names it with its digest."""

    def get(self, *words: str) -> None:
        """Answer with the file."""
        content, digest = asset(words[0])
        if self.get_query_argument("v", "") == digest:
            self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        self.send(Answer(None, content, f'"{digest}"'), _KINDS[Path(words[0]).suffix])


class Told(Base):
    """JSON that is made of what the console knows."""

    def initialize(
        self, dask_server: Any = None, make: Callable[..., Answer] | None = None
    ) -> None:
        """Keep what makes the answer."""
        super().initialize(dask_server)
        self.make = make

    def get(self, *_: str) -> None:
        """Answer with JSON."""
        if self.make is None:
            raise web.HTTPError(404)
        console = self.console
        answer = self.make(console, self)
        # A page asks again when this is over: later in a large fleet.
        self.set_header("Poll-After", f"{console.refresh:.1f}")
        self.send(answer)


def _status(console: Console, _: Base) -> Answer:
    return console.status()


def _history(console: Console, _: Base) -> Answer:
    return Answer.of({"changes": list(console.changes())})


def _contract(console: Console, _: Base) -> Answer:
    declared = console.declared()
    return Answer.of({"fleet": declared.fleet, **declared.contract})


def _discovery(console: Console, handler: Base) -> Answer:
    via = handler.get_query_argument("via", "")
    try:
        return Answer.of(targets(console.declared(), via))
    except ValueError as error:
        raise web.HTTPError(400, reason=str(error)) from error


class Description(Base):
    """The description of the API."""

    def get(self, *_: str) -> None:
        """Answer with OpenAPI."""
        content, digest = asset("openapi.json")
        self.send(Answer(None, content, f'"{digest}"'))


# Whatever follows /fleet is ours, so that nothing falls through to another handler.
routes: list[tuple[str, type[web.RequestHandler], dict[str, Any]]] = [
    (r"fleet", ToPage, {}),
    (r"fleet/", Page, {}),
    (r"fleet/assets/([a-z-]+\.(?:css|js|svg))", Asset, {}),
    (r"fleet/api/status", Told, {"make": _status}),
    (r"fleet/api/history", Told, {"make": _history}),
    (r"fleet/api/contract", Told, {"make": _contract}),
    (r"fleet/api/prometheus-sd", Told, {"make": _discovery}),
    (r"fleet/api/openapi.json", Description, {}),
    (r"fleet/[\s\S]*", Base, {}),
]
