"""A real browser that looks at Dask's dashboards: Debian's Chromium, driven by Playwright.

It reaches nothing but the hosts that it is to look at, this machine if none is named: whatever a
page asks of another host is blocked and noted.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from PIL import Image, ImageChops
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Frame,
    Locator,
    Page,
    Request,
    Response,
    Route,
    WebSocket,
    sync_playwright,
)

from tests.conftest import REPOSITORY

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = REPOSITORY / "artifacts" / "screenshots"
PATIENCE = 120.0
_SIZE = {"width": 1400, "height": 900}
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Bokeh keeps its canvases and tables in shadow roots, where querySelector does not look.
_DEEP = """
const deep = (root, wanted) => [...root.querySelectorAll('*')].flatMap((element) => [
    ...(element.matches(wanted) ? [element] : []),
    ...(element.shadowRoot ? deep(element.shadowRoot, wanted) : []),
]);
const models = () => (window.Bokeh?.documents ?? [])
    .flatMap((document) => document.roots())
    .flatMap((root) => [...root.references()]);
"""
_IS_READY = """() => {
    const documents = window.Bokeh?.documents ?? [];
    return documents.length > 0 && documents.every((document) => document.is_idle);
}"""
# A canvas is painted when its pixels have more than one colour.
_PAINTED = """() => deep(document, 'canvas').filter((canvas) => {
    const box = canvas.getBoundingClientRect();
    const context = canvas.getContext('2d');
    if (!context || box.width < 1 || box.height < 1) return false;
    const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
    const pixels = new Uint32Array(data.buffer);
    return pixels.some((pixel) => pixel !== pixels[0]);
}).length"""
_CELLS = "() => deep(document, '.slick-cell').map((cell) => cell.textContent)"
_TITLES = "() => models().filter((model) => model.type === 'Title').map((model) => model.text)"
# Of all data sources that have such columns, the one with the fewest others.
_DATA = """(names) => {
    const entries = (data) => data instanceof Map ? [...data] : Object.entries(data);
    const found = models()
        .filter((model) => model.type === 'ColumnDataSource')
        .map((model) => entries(model.data))
        .filter((columns) => names.every((name) => columns.some(([key]) => key === name)))
        .sort((one, other) => one.length - other.length);
    return found.length === 0 ? null : Object.fromEntries(
        found[0].map(([key, values]) => [key, Array.from(values)])
    );
}"""


class Drawn:
    """What Bokeh has drawn, on a page or in a frame of it."""

    place: Page | Frame

    def wait_until_drawn(self) -> None:
        """Wait until Bokeh has the document and has drawn all of it once."""
        self.place.wait_for_function(_IS_READY)

    def ask(self, script: str, *words: Any) -> Any:
        return self.place.evaluate(f"(words) => {{ {_DEEP} return ({script})(words); }}", [*words])

    def painted(self) -> int:
        """Count the canvases that can be seen and are not blank."""
        return self.ask(_PAINTED)

    def cells(self) -> list[str]:
        """Return what stands in the cells of the page's tables."""
        return self.ask(_CELLS)

    def titles(self) -> list[str]:
        """Return the titles of the page's plots; Dask writes numbers into them."""
        return self.ask(_TITLES)

    def data(self, *columns: str) -> dict[str, list[Any]]:
        """Return the data behind the plot that has such columns."""
        found = self.ask(_DATA, *columns)
        assert found is not None, f"no data source of {self.place.url} has columns {columns}"
        return found


@dataclass
class Inset(Drawn):
    """A page that another one shows in a frame."""

    place: Frame


@dataclass
class Tab(Drawn):
    """A page that is looked at, and everything that went wrong in it."""

    page: Page
    hosts: Collection[str] = ("127.0.0.1",)
    faults: list[str] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    sockets: list[WebSocket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = self.page
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.route(lambda url: urlsplit(url).hostname not in self.hosts, self._block)
        self.page.on("websocket", lambda socket: self.sockets.append(socket))
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("response", self._response)
        self.page.on("requestfailed", self._failed)

    def _block(self, route: Route) -> None:
        self.blocked.add(route.request.url)
        route.abort("blockedbyclient")

    def _console(self, message: ConsoleMessage) -> None:
        # The browser itself says that a blocked request has failed.
        if message.type == "error" and message.location["url"] not in self.blocked:
            self.faults.append(f"console: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    def _failed(self, request: Request) -> None:
        # Leaving a page ends what it was still asking for.
        if request.url not in self.blocked and request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.failure} {request.url}")

    def open(self, url: str) -> None:
        self.page.goto(url)

    def follow(self, link: Locator) -> Response:
        """Click a link and return the answer that the browser ended with."""
        with self.page.expect_navigation() as navigation:
            link.click()
        response = navigation.value
        assert response is not None
        return response

    def look(self, keep: str | None = None) -> Image.Image:
        """Take a picture of the page, and keep it among the artefacts if it has a name."""
        path = None if keep is None else SCREENSHOTS / keep
        picture = self.page.screenshot(path=path)
        return Image.open(io.BytesIO(picture)).convert("RGB")


def changed(before: Image.Image, after: Image.Image) -> float:
    """Return which share of the pixels is not the same in two pictures."""
    difference = ImageChops.difference(before, after).convert("L")
    return 1 - difference.histogram()[0] / (difference.width * difference.height)


def trusting(certificate: str) -> str:
    """Return the flag by which the browser takes this certificate, in PEM, and no other.

    It trusts the authorities of its own list, and those of a data base that takes a tool to write.
    """
    key = load_pem_x509_certificate(certificate.encode()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return f"--ignore-certificate-errors-spki-list={base64.b64encode(digest.digest()).decode()}"


@contextmanager
def browsing(
    *flags: str, hosts: Collection[str] = ("127.0.0.1",), **options: Any
) -> Iterator[Callable[[], Tab]]:
    """Start the browser, with nothing left of an earlier one; give what opens a tab.

    It reaches ``hosts`` alone. ``options`` are more of Playwright's for it, such as
    ``http_credentials``.
    """
    if not CHROMIUM.exists():
        pytest.fail(
            f"{CHROMIUM} is not there, and the dashboards are tested in a real browser: "
            "run the tests by `make test`, or install it with `apt-get install chromium`",
            pytrace=False,
        )
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chromium-") as place, sync_playwright() as playwright:
        context: BrowserContext = playwright.chromium.launch_persistent_context(
            place,
            executable_path=CHROMIUM,
            args=[*_FLAGS, *flags],
            viewport=_SIZE,
            device_scale_factor=1,
            timeout=PATIENCE * 1000,
            **options,
        )
        try:
            yield lambda: Tab(context.new_page(), hosts)
        finally:
            context.close()
