"""Checks of the door."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_fleet.spec.expand import door_listens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.spec.expand import ExpandedHost
    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.model_door import DoorLoginSpec, DoorTlsSpec
    from dask_fleet.spec.near import Speller
    from dask_fleet.spec.report import Path, Report

__all__ = ["check_door"]

_DOOR: Path = ("door",)
_NUMBERS = re.compile(r"[0-9.]+|.*:.*", re.ASCII)
_HTTP = 80


def check_door(
    spec: Spec,
    report: Report,
    hosts: Mapping[str, ExpandedHost],
    scheduler: str | None,
    speller: Speller,
) -> tuple[str, int] | None:
    """Report what is wrong with the door.

    Returns
    -------
    tuple of str and int, or None
        Its host and its port, if both can be told.
    """
    door = spec.door
    if door is None or report.is_broken(*_DOOR):
        return None
    if door.tls is not None:
        _check_tls(door.tls, report)
    if door.login is not None:
        _check_login(door.login, report)
    path = (*_DOOR, "host")
    if report.is_broken(*path):
        return None
    if door.host is not None and not speller.knows(door.host):
        report.add(path, f"unknown host {report.shown(path)}", speller.remedy(door.host))
    host = hosts.get(door.host or scheduler or "")
    if host is None:
        return None
    listens = door_listens(door, host)
    if door.tls is not None and door.tls.acme is not None:
        _check_acme(spec, report, host, listens)
    sound = report.is_sound(_DOOR, "listen") and (door.listen or report.is_sound(_DOOR, "tls"))
    return (host.name, listens[1]) if sound else None


def _check_tls(tls: DoorTlsSpec, report: Report) -> None:
    path = (*_DOOR, "tls")
    if report.is_broken(*path):
        return
    files = tls.certificate is not None or tls.key is not None
    given = [
        key
        for key, there in (("fleet", tls.fleet), ("certificate", files), ("acme", tls.acme))
        if there
    ]
    if len(given) > 1:
        report.add(
            path,
            f"a certificate comes from one place, and here are {' and '.join(given)}",
            "keep one of them",
            at_key=True,
        )
    elif not given and report.is_sound(path, "fleet", "certificate", "key", "acme"):
        report.add(
            path,
            "it is not said where the certificate comes from",
            "write `tls: fleet`, or certificate and key, or acme",
            at_key=True,
        )
    if files and report.is_sound(path, "certificate", "key"):
        for key, value, other in (
            ("certificate", tls.certificate, "key"),
            ("key", tls.key, "certificate"),
        ):
            if value is None:
                report.add(
                    (*path, other),
                    f'"{other}" is there and "{key}" is missing',
                    f'add "{key}: FILE"',
                    at_key=True,
                )


def _check_login(login: DoorLoginSpec, report: Report) -> None:
    path = (*_DOOR, "login")
    if login.users and login.forward_auth:
        report.add(
            (*path, "forward_auth"),
            "people log in with names of the door or somewhere else, not both",
            'keep one of "users" and "forward_auth"',
            at_key=True,
        )
    if login.sign_in and not login.forward_auth and report.is_sound(path, "forward_auth"):
        report.add(
            (*path, "sign_in"),
            "a page to sign in at, and nobody who is asked whether it was done",
            'add "forward_auth: URL", or remove it',
            at_key=True,
        )


def _check_acme(spec: Spec, report: Report, host: ExpandedHost, listens: tuple[str, int]) -> None:
    """Report what keeps an ACME server from giving a certificate."""
    door = spec.door
    if door is None:
        return
    acme = (*_DOOR, "tls", "acme")
    name = door.server_name or host.external
    if _NUMBERS.fullmatch(name) and report.is_sound(_DOOR, "server_name"):
        report.add(
            (*_DOOR, "server_name") if door.server_name else acme,
            "an ACME server certifies names, and the door has an address only",
            'write "server_name: NAME", a name that leads to the door',
            at_key=not door.server_name,
        )
    if host.runtime == "supervisor":
        report.add(
            acme,
            f'an ACME server knocks at port 80 of host "{host.name}", which nginx under '
            "supervisor does not have",
            "write `tls: fleet`, or certificate and key",
            at_key=True,
        )
    elif listens[1] == _HTTP and report.is_sound(_DOOR, "listen"):
        report.add(
            (*_DOOR, "listen"),
            "port 80 is where the ACME server knocks, without TLS",
            "write another one, such as 443",
        )
