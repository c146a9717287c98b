"""Ports and volumes of a service, in the short forms and the long ones of compose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from dask_fleet.legacy.folder import ComposeFile

if TYPE_CHECKING:
    from dask_fleet.spec.report import Path

__all__ = ["Published", "Volume", "read_ports", "read_volumes"]

_PORT = re.compile(
    r"(?:(?P<address>\[[^\]]+\]|[^:\[\]]*[^-\d:\[\]][^:\[\]]*):)?(?:(?P<host>\d*(?:-\d+)?):)?"
    r"(?P<inside>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?"
)
_EVERY = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared
_HARMLESS = frozenset(("rw", "z", "Z", "cached", "delegated", "consistent"))


@dataclass(frozen=True, slots=True)
class Published:
    """A port of a container, and port and address of the host under which it is reached.

    No address is all of them.
    """

    inside: int
    port: int
    address: str = ""


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of the host, or a named volume, and where the container has it.

    ``mount`` has kind, device and options of a named volume that is mounted from elsewhere.
    """

    source: str
    inside: str
    read_only: bool = False
    mount: tuple[str, str, str] | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.inside}{':ro' if self.read_only else ''}"


def read_ports(compose: ComposeFile, path: Path, value: object) -> Iterator[Published]:
    """Yield the ports that a service publishes; say what is not understood."""
    for index, one in enumerate(cast("list[object]", value) if isinstance(value, list) else []):
        if isinstance(one, Mapping):
            entry = cast("Mapping[str, object]", one)
            text = ":".join(str(entry[key]) for key in ("published", "target") if key in entry)
            text += f"/{entry.get('protocol', 'tcp')}"
            address = entry.get("host_ip")
        else:
            text, address = str(one), None
        found = _PORT.fullmatch(text)
        place = compose.place((*path, index))
        if found is None:
            compose.remarks.decide(
                place,
                f"ports: {text}",
                "it is no port that can be read",
                "see that fleet.yaml has the ports that are meant",
            )
            continue
        if found["protocol"] not in (None, "tcp"):
            compose.remarks.lost(place, f"ports: {text}", "Dask speaks TCP")
            continue
        where = str(address or found["address"] or "").strip("[]")
        if where in ("127.0.0.1", "::1", "localhost"):
            compose.remarks.changed(
                place,
                f"ports: {text}",
                "only the host itself could reach it",
                "ports are published on the address of the host: see `dask fleet ports`",
            )
        inside = _range(found["inside"])
        outside = _range(found["host"]) if found["host"] else range(0)
        if not outside:
            compose.remarks.changed(
                place,
                f"ports: {text}",
                "Docker chose a port of the host at random",
                "the port of the process is published under its own number",
            )
        for offset, port in enumerate(inside):
            number = outside[offset] if offset < len(outside) else port
            yield Published(port, number, "" if where in _EVERY else where)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    begin = int(first)
    return range(begin, min(int(last or first), 65535) + 1)


def read_volumes(compose: ComposeFile, path: Path, value: object) -> Iterator[Volume]:
    """Yield the volumes of a service; say what is not taken over."""
    for index, one in enumerate(cast("list[object]", value) if isinstance(value, list) else []):
        where: Path = (*path, index)
        place = compose.place(where)
        if isinstance(one, Mapping):
            entry = cast("Mapping[str, object]", one)
            kind = str(entry.get("type", "volume"))
            source, inside = str(entry.get("source", "")), str(entry.get("target", ""))
            read_only = entry.get("read_only") is True
            odd = sorted(set(entry) - {"type", "source", "target", "read_only"})
            text = f"{kind} {source}:{inside}"
            if kind not in ("bind", "volume"):
                why = "it is neither a folder of the host nor a named volume"
                compose.remarks.lost(place, f"volumes: {text}", why)
                continue
        else:
            text = str(one)
            source, _, rest = text.partition(":")
            inside, _, options = rest.partition(":")
            flags = {flag for flag in options.split(",") if flag}
            read_only, odd = "ro" in flags, sorted(flags - _HARMLESS - {"ro"})
            if not inside:
                source, inside = "", source
        if odd:
            why = f"it says more: {', '.join(odd)}"
            compose.remarks.lost(place, f"volumes: {text}", why, "it is mounted without that")
        if not source:
            compose.remarks.lost(
                place,
                f"volumes: {text}",
                "Docker kept what was written there in a volume without a name",
                "what is written there goes with the container",
            )
        elif source.startswith((".", "~")):
            compose.remarks.decide(
                place,
                f"volumes: {text}",
                "it is relative to the folder or to a home, and where that is on the VM is not"
                " known",
                f"it is left out; add `/PATH:{inside}` to `containers: volumes:`",
            )
        elif "$" in source + inside or not inside.startswith("/"):
            compose.remarks.decide(
                place,
                f"volumes: {text}",
                "it has no absolute paths",
                "it is left out; add it to `containers: volumes:`",
            )
        else:
            mount = None if source.startswith("/") else _mounted(compose, source, where)
            yield Volume(source, inside, read_only, mount)


def _mounted(compose: ComposeFile, name: str, path: Path) -> tuple[str, str, str] | None:
    """Return what a named volume is mounted from; say where else it holds what it does."""
    declared = compose.mapping(("volumes", name))
    options = cast("Mapping[str, object]", declared.get("driver_opts") or {})
    whole = set(declared) == {"driver_opts"} or declared.get("driver") == "local"
    if whole and {"type", "device"} <= set(options) <= {"type", "device", "o"}:
        texts = [str(options.get(key, "")) for key in ("type", "device", "o")]
        if not any("$" in text for text in texts):
            return texts[0], texts[1], texts[2]
    was = str(declared.get("name") or f"{compose.project}_{name}")
    if declared.get("external"):
        was = str(declared.get("name") or name)
    if set(declared) - {"name", "external"}:
        compose.remarks.lost(
            compose.place(("volumes", name), key=True),
            f"volumes: {name}",
            "it says how the volume is made",
            "see `containers: mounts:`, or mount it on the host and name the folder",
        )
    compose.remarks.decide(
        compose.place(path),
        f"volumes: {name}",
        f"what it holds is in Docker's volume {was} of each host",
        "the fleet has one of its own, empty: copy, or name the folder that"
        f" `docker volume inspect {was}` shows",
    )
    return None
