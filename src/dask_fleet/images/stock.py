"""Which images of a fleet a host has, which are in use, and which nothing needs; purely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dask_fleet.command import Command, script
from dask_fleet.images.layers import image_id
from dask_fleet.runtimes.engines import ENGINE

__all__ = ["StockedImage", "prunable", "read_stock", "remove_images", "stock_script"]

# When an image got its name on this host counts, not when it was made: a reproducible one does not
# say. The clock is the host's own.
_STOCK = (
    ENGINE
    + """\
set -eu
echo "now $(date +%s)"
docker ps --all --quiet --no-trunc | xargs --no-run-if-empty \\
  docker inspect --format 'used {{.Image}}'
for repository in "$@"; do
  docker image ls --no-trunc --filter "reference=$repository" \\
    --format '{{.Repository}}:{{.Tag}}' | while IFS= read -r name; do
    case $name in *:"<none>") continue ;; esac
    found=$(docker image inspect --format '{{.Id}} {{.Size}}' "$name")
    echo "image $name $found $(image_since "${found%% *}")"
  done
done
"""
)


@dataclass(frozen=True, slots=True)
class StockedImage:
    """An image of the fleet on a host.

    Attributes
    ----------
    name : str
        With its tag.
    id : str
        ``sha256:...``.
    size : int
        Bytes of its layers; images share them.
    age : float or None
        Seconds since it came to that host, None if its engine does not know.
    used : bool
        Whether a container is made of it, running or not.
    """

    host: str
    name: str
    id: str
    size: int
    age: float | None
    used: bool


def stock_script(repositories: Sequence[str]) -> Command:
    """Return the command whose output `read_stock` reads."""
    return script(_STOCK, *repositories)


def read_stock(host: str, text: str) -> tuple[StockedImage, ...]:
    """Return the images of a host, those that came last first."""
    now, used = 0, set[str]()
    found: list[tuple[str, str, int, int]] = []
    for line in text.splitlines():
        word, *rest = line.split()
        if word == "now":
            now = int(rest[0])
        elif word == "used":
            used.add(image_id(rest[0]))
        elif word == "image":
            name, id_, size, since = rest
            found.append((name, image_id(id_), int(size), int(since)))
    found.sort(key=lambda one: (-one[3], one[0]))
    return tuple(
        StockedImage(host, name, id_, size, float(now - since) if since > 0 else None, id_ in used)
        for name, id_, size, since in found
    )


def prunable(
    stock: Mapping[str, Sequence[StockedImage]], declared: str
) -> dict[str, tuple[StockedImage, ...]]:
    """Return what can be removed on each host.

    What is declared stays, what a container is made of stays, and of all others the one that came
    last: it is what the fleet ran before, and what a rollback needs.
    """
    found: dict[str, tuple[StockedImage, ...]] = {}
    for host, images in stock.items():
        idle = [one for one in images if not one.used and one.name != declared]
        if len(idle) > 1:
            found[host] = tuple(idle[1:])
    return found


def remove_images(names: Iterable[str]) -> Command:
    """Return the command that removes images by their names."""
    return Command(("docker", "image", "rm", *names), timeout=300)
