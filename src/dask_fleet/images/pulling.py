"""Gets an image onto hosts from its registry: the same one onto all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask_fleet.command import Command
from dask_fleet.errors import EnvironmentBuildError, FleetError
from dask_fleet.images.credentials import login_for
from dask_fleet.runtimes.engines import ENGINE

if TYPE_CHECKING:
    from dask_fleet.observer import HostAccess
    from dask_fleet.secret import Secret
    from dask_fleet.transports.base import Transport

__all__ = ["PULL_SECONDS", "Pulls", "digest_in", "pull", "repository_of"]

PULL_SECONDS = 1800.0
"""How long a pull may take."""

_LAST = 8
"""Lines of docker's last words that an error repeats."""

_OTHER_PLATFORM = 18

# The login is in memory alone, for as long as the pull takes. Without one, Docker takes what
# somebody has given to the host itself.
_PULL = f"""\
{ENGINE}set -eu
umask 077
wanted=$1 name=$2 login=$3
if [ "$login" = yes ]; then
  for place in /run /dev/shm; do if [ -w "$place" ]; then break; fi; done
  config=$(mktemp -d "$place/dask-fleet.XXXXXX")
  trap 'rm -rf "$config"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  cat >"$config/config.json"
  export DOCKER_CONFIG="$config" REGISTRY_AUTH_FILE="$config/config.json"
fi
docker pull --quiet "$wanted" >&2
# It notes when an image was tagged, and not when it was pulled.
case $name in *@*) ;; *) docker tag "$wanted" "$name" ;; esac
has=$(docker image inspect --format '{{{{.Os}}}}/{{{{.Architecture}}}}' "$name")
runs=$(engine_platform)
if [ "$has" != "$runs" ]; then
  echo "the image is for $has, and this host runs $runs" >&2
  exit {_OTHER_PLATFORM}
fi
docker image inspect --format '{{{{range .RepoDigests}}}}{{{{println .}}}}{{{{end}}}}' "$name"
"""


async def pull(
    transport: Transport, image: str, *, wanted: str = "", login: Secret | None = None
) -> str:
    """Let a host pull an image.

    Parameters
    ----------
    transport : Transport
        To the host.
    image : str
        Name that it is to have there.
    wanted : str
        What is pulled if not that: its name with a digest.
    login : Secret or None
        A ``config.json`` with a login to the registry, which does not stay on the host.

    Returns
    -------
    str
        Its name with the digest that the registry gave it; empty if it gave none.

    Raises
    ------
    EnvironmentBuildError
        The registry does not answer, does not have it, or does not give it to this host; it is
        for another platform.
    """
    command = Command(
        ("sh", "-c", _PULL, "pull", wanted or image, image, "yes" if login else "no"),
        login.reveal() if login else b"",
        PULL_SECONDS,
        title=f"docker pull --quiet {wanted or image}",
    )
    done = await transport.run(command, check=False)
    if done.status == 0:
        return digest_in(done.stdout.split(), image)
    said = (done.stderr or done.stdout).strip().splitlines()[-_LAST:]
    if done.status == _OTHER_PLATFORM:
        raise EnvironmentBuildError(
            f"{transport.host}: {said[-1]} ({image})",
            "name an image for it, or take that host out of the fleet",
        )
    raise EnvironmentBuildError(
        f"{transport.host}: the image {image} could not be pulled: `{command}` ended with"
        f" status {done.status}\n" + "\n".join(said),
        f"see on that host why `docker pull {image}` fails; for a private registry, `docker login`"
        " on this machine or there",
    )


def digest_in(names: Iterable[str], image: str) -> str:
    """Return the name with a digest that belongs to a name with a tag; empty if none does."""
    repository = repository_of(image)
    return next((name for name in names if name.partition("@")[0] == repository), "")


class Pulls:
    """Has the hosts that lack an image pull it, all of them the same one.

    A tag is asked for once: the first host finds out which digest it means, unless a host that has
    the image knows, and the others pull that.

    Parameters
    ----------
    image : str
        The image's name.
    hosts : Mapping
        How to reach every host of the fleet.
    """

    def __init__(self, image: str, hosts: Mapping[str, HostAccess]) -> None:
        self.image = image
        self._hosts = hosts
        self._wanted = ""
        self._login: Secret | None = None
        self._has = ""

    async def ready(self, names: Iterable[str]) -> dict[str, FleetError]:
        """Find out which digest the image's name means; return the failure of a host that asked.

        Raises
        ------
        EnvironmentBuildError
            The operator's login cannot be read.
        """
        lacking = list(dict.fromkeys(names))
        self._login = await login_for(self.image)
        if "@" in self.image:
            return {}
        self._wanted = await self._known([name for name in self._hosts if name not in lacking])
        if self._wanted or not lacking:
            return {}
        first = lacking[0]
        try:
            self._wanted = await self._pull(first)
        except FleetError as error:
            return {first: error}  # the others ask the registry themselves
        self._has = first
        return {}

    async def deliver(self, host: str) -> None:
        """Have a host pull the image; `ready` goes before.

        Raises
        ------
        EnvironmentBuildError
            See `pull`.
        """
        if host != self._has:
            await self._pull(host)

    async def _pull(self, host: str) -> str:
        transport = self._hosts[host].transport
        return await pull(transport, self.image, wanted=self._wanted, login=self._login)

    async def _known(self, names: list[str]) -> str:
        """Return the digest that the image has on hosts which have it."""
        template = "{{range .RepoDigests}}{{println .}}{{end}}"
        command = Command(("docker", "image", "inspect", "--format", template, self.image))

        async def ask(name: str) -> str:
            try:
                said = await self._hosts[name].transport.run(command, check=False)
            except FleetError:
                return ""  # a host that does not answer knows nothing
            return digest_in(said.stdout.split(), self.image)

        return next(filter(None, await asyncio.gather(*map(ask, names))), "")


def repository_of(image: str) -> str:
    """Return an image's name without tag and digest."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
