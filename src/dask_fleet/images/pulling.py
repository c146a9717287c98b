"""Gets an image onto a host from its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.command import Command
from dask_fleet.errors import EnvironmentBuildError

if TYPE_CHECKING:
    from dask_fleet.transports.base import Transport

__all__ = ["PULL_SECONDS", "pull"]

PULL_SECONDS = 1800.0
"""How long a pull may take."""

_LAST = 8
"""Lines of docker's last words that an error repeats."""


async def pull(transport: Transport, image: str) -> None:
    """Let a host pull an image.

    Raises
    ------
    EnvironmentBuildError
        The registry does not answer, does not have it, or does not give it to this host.
    """
    command = Command(("docker", "pull", "--quiet", image), timeout=PULL_SECONDS)
    done = await transport.run(command, check=False)
    if done.status != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-_LAST:]
        raise EnvironmentBuildError(
            f"{transport.host}: the image {image} could not be pulled: `{command}` ended with"
            f" status {done.status}\n" + "\n".join(said),
            f"see on that host why `docker pull {image}` fails; a private registry needs"
            " `docker login` there",
        )
