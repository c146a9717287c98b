"""The operator's login to a registry, as `docker login` keeps it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, cast

from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError
from dask_fleet.secret import Secret
from dask_fleet.transports.local import LocalTransport

__all__ = ["login_for", "registry_of"]

_HUB = "https://index.docker.io/v1/"
"""What Docker calls its own registry."""


def registry_of(image: str) -> str:
    """Return the registry of an image's name, as Docker finds it."""
    first, slash, _ = image.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else _HUB


async def login_for(image: str) -> Secret | None:
    """Return a ``config.json`` with the login to an image's registry and with nothing else.

    It is what ``docker login`` has written on this machine, ``DOCKER_CONFIG`` or ``~/.docker``, or
    what the helper knows that is named there.

    Returns
    -------
    Secret or None
        None when the operator has not logged in to that registry.

    Raises
    ------
    EnvironmentBuildError
        The file cannot be read.
    """
    folder = os.environ.get("DOCKER_CONFIG") or "~/.docker"
    path = Path(folder).expanduser() / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
        config = cast("dict[str, Any]", json.loads(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # Not what stands in it: that may be a password.
        raise EnvironmentBuildError(
            f"{path} cannot be read: {type(error).__name__}", "correct it, or `docker login` again"
        ) from None
    registry = registry_of(image)
    found = await _from_helper(config, registry) or _written(config, registry)
    if not found:
        return None
    return Secret(json.dumps({"auths": {registry: found}}))


def _written(config: dict[str, Any], registry: str) -> dict[str, str]:
    for name, entry in config.get("auths", {}).items():
        if _host(name) == _host(registry):
            kept = {key: entry[key] for key in ("auth", "identitytoken") if entry.get(key)}
            if kept:
                return kept
    return {}


async def _from_helper(config: dict[str, Any], registry: str) -> dict[str, str]:
    helper = config.get("credHelpers", {}).get(_host(registry)) or config.get("credsStore")
    if not helper:
        return {}
    command = Command((f"docker-credential-{helper}", "get"), registry.encode())
    try:
        said = json.loads((await LocalTransport("operator").run(command)).stdout)
    except (CommandFailedError, ValueError):
        return {}  # it knows nothing of that registry; Docker says so if it is needed
    if said["Username"] == "<token>":
        return {"identitytoken": said["Secret"]}
    pair = f"{said['Username']}:{said['Secret']}"
    return {"auth": base64.b64encode(pair.encode()).decode()}


def _host(name: str) -> str:
    return name.partition("://")[2].partition("/")[0] if "://" in name else name.partition("/")[0]
