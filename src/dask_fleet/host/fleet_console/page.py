"""The page, made on the scheduler, so that it is whole without JavaScript."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timezone
from typing import Any

from jinja2 import Environment, FileSystemLoader

from fleet_console import words
from fleet_console.console import Answer, Console
from fleet_console.drawing import tall, wide
from fleet_console.handlers import ASSETS, asset

__all__ = ["render"]

#: Of the charts: as many values as the console keeps.
PLACES = 120

_TEMPLATES = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True,
                         lstrip_blocks=True)  # fmt: skip
_TEMPLATES.globals.update(
    {
        "size": words.size,
        "of": words.of,
        "amount": words.amount,
        "share": words.share,
        "duration": words.duration,
        "moment": words.moment,
        "curve": words.curve,
        "area": words.area,
    }
)


def render(console: Console) -> Answer:
    """Return the page; the same one as long as nothing has changed."""
    status = console.status()
    files = {name: asset(name)[1] for name in ("console.css", "live.js", "theme.js", "icon.svg")}
    edition = hashlib.sha1(usedforsecurity=False)
    for part in (status.etag, console.history.digest, *files.values()):
        edition.update(part.encode())
    etag = f'"{edition.hexdigest()[:20]}"'
    if console.page.etag != etag:
        body = _page(console, status.value, files).encode()
        console.page = Answer(None, body, etag)
    return console.page


def _page(console: Console, status: dict[str, Any], files: dict[str, str]) -> str:
    lanes = console.declared().contract.get("lanes", [])
    hosts, rows, door = status["hosts"], status["processes"], status["door"]
    return _TEMPLATES.get_template("page.html").render(
        status=status,
        totals=status["totals"],
        contract=console.declared().contract,
        changes=console.changes(),
        certificates=_certificates(hosts),
        drawings=[make(lanes, hosts, rows, door) for make in (wide, tall)],
        files=files,
        now=time.time(),
        places=PLACES,
    )


def _certificates(hosts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the ends of certificates, those of hosts that end together in one line."""
    now = datetime.now(timezone.utc)
    by_end: dict[str, list[str]] = {}
    for host in hosts:
        if host["certificate"]:
            by_end.setdefault(host["certificate"], []).append(host["name"])
    found: list[dict[str, Any]] = []
    for text, names in sorted(by_end.items()):
        ends = datetime.fromisoformat(text)
        days = (ends - now).days
        state = "error" if ends <= now else "warning" if days < 30 else "well"
        found.append({"names": names, "ends": f"{ends:%Y-%m-%d}", "days": days, "state": state})
    return found
