"""The command line of a process of Dask's: what it says, where that stands, what is left of it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from dask_fleet.legacy.dask_options import Given, read_arguments
from dask_fleet.masking import masked_lines
from dask_fleet.spec.fields import is_address

if TYPE_CHECKING:
    from dask_fleet.legacy.remarks import Place
    from dask_fleet.legacy.service import Service

__all__ = [
    "RANGE",
    "end_of",
    "given_to",
    "is_outside",
    "outside",
    "place_of",
    "say_changed",
    "say_no_dashboard",
    "say_unused",
]

_END = re.compile(r"(?:\w+://)?(?:(?P<host>\[[^\]]*\]|[^\[\]:]*):)?(?P<port>\d+)")
RANGE = re.compile(r"(\d+):(\d+)")
_ANY = frozenset(("0.0.0.0", "::", "", "127.0.0.1", "localhost"))  # noqa: S104 - compared


def given_to(service: Service, role: str) -> Given:
    """Return what a command line says, and say what of it is not taken over."""
    remarks, place = service.compose.remarks, place_of(service)
    command = service.command
    given = read_arguments(role, command.arguments)
    if given.fault:
        text = masked_lines(f"dask {role} {shlex.join(command.arguments)}")
        why = f"its command line cannot be read: {given.fault.rstrip('.')}"
        remarks.decide(place, text, why, "it is taken for one without options")
    for shown, option in given.left:
        remarks.lost(place, shown, option.why, option.becomes)
    if given.unknown:
        shown = masked_lines(shlex.join(given.unknown))
        remarks.lost(place, shown, f"no version of `dask {role}` that this tool knows has it")
    for other in command.others:
        why = "the container runs it before Dask or around it"
        becomes = "it is not run: put what it does into the image"
        remarks.decide(place, f"`{masked_lines(other)}`", why, becomes)
    if command.unread:
        why = f"a part of the script cannot be read: {command.unread}"
        remarks.decide(place, "command:", why, "see what it does")
    if role == "worker" or "tls" in given.values:
        _say_tls(service, given)
    return given


def _say_tls(service: Service, given: Given) -> None:
    if "tls" in given.values:
        why = "processes and clients had certificates of another authority"
        becomes = "`tls: true`: the fleet has its own; clients need `dask fleet client-config`"
        service.compose.remarks.decide(place_of(service), "--tls-ca-file", why, becomes)


def place_of(service: Service) -> Place:
    """Return the line of a service's command, wherever that stands."""
    mark = service.compose.document.marks.get((*service.path, "command"))
    built = service.dockerfile
    if mark is None and built is not None and built.command:
        return service.compose.folder.place(service.dockerfile_name)
    return service.place("command")


def say_changed(service: Service, what: str, why: str, becomes: str) -> None:
    """Note what of a command line is taken over in another form."""
    service.compose.remarks.changed(place_of(service), what, why, becomes)


def end_of(
    service: Service, option: str, text: str | None, *, quiet: bool = False
) -> tuple[int, str]:
    """Return port and host of an address such as ``tcp://0.0.0.0:9010`` or ``9010``."""
    if text is None:
        return 0, ""
    if match := RANGE.fullmatch(text):
        why = "Dask took the first port that was free"
        becomes = f"ports are declared; they begin at {match[1]}"
        say_changed(service, f"{option} {text}", why, becomes)
        return int(match[1]), ""
    match = _END.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        bare = text.rpartition("://")[2]
        name, _, port = bare.rpartition(":")
        if port.isdecimal() and name.startswith("$"):
            return int(port), ""  # the variable is noted already
        if not quiet and "$" not in text:
            what, why = f"{option} {text}", "no port can be read in it"
            becomes = "see the ports in fleet.yaml"
            service.compose.remarks.decide(place_of(service), what, why, becomes)
        return 0, ""
    return int(match["port"]), (match["host"] or "").strip("[]")


def outside(service: Service, port: int) -> int:
    """Return the port of the host for one of the container; say where they differ."""
    published = service.published(port)
    if published is None:
        why = "it was reached from containers of the same network alone"
        becomes = "it is published on the address of the host: see `dask fleet ports`"
        service.compose.remarks.changed(service.place("ports"), f"port {port}", why, becomes)
        return port
    if published != port:
        why = f"others reached the container's port {port} under it"
        becomes = f"the process itself has port {published}"
        service.compose.remarks.changed(
            service.place("ports"), f"ports: {published}:{port}", why, becomes
        )
    return published


def say_unused(service: Service, used: set[int]) -> None:
    """Say which published ports nothing listens on, and which are on all addresses."""
    if any(not one.address for one in service.ports):
        service.compose.remarks.changed(
            service.place("ports"),
            "ports:",
            "they were published on every address of the host",
            "they are on its address in fleet.yaml alone; `listen: 0.0.0.0` publishes them on all",
        )
    idle = [one for one in service.ports if one.inside not in used]
    if idle:
        what = f"ports: {idle[0].port}:{idle[0].inside}"
        what += f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        why = "nothing of Dask's that was found listens there"
        service.compose.remarks.lost(service.place("ports"), what, why)


def say_no_dashboard(service: Service, given: Given) -> None:
    """Say that a process without a dashboard gets one."""
    if given.one("dashboard_on") == "no":
        why = "the process had no dashboard"
        say_changed(service, "--no-dashboard", why, "each process has one, on its port")


def is_outside(address: str) -> bool:
    """Return whether an address is one under which others reach a host."""
    return address not in _ANY and is_address(address)
