"""The use cases about images: build one, list what hosts have, remove what nothing uses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet import lease
from dask_fleet.environment import REPOSITORY
from dask_fleet.errors import FleetError
from dask_fleet.images.layers import ImageFacts
from dask_fleet.images.pulling import repository_of
from dask_fleet.images.stock import (
    StockedImage,
    prunable,
    read_stock,
    remove_images,
    stock_script,
)
from dask_fleet.images.supply import Supply, engine_of

if TYPE_CHECKING:
    from pathlib import Path

    from dask_fleet.environment import Recipe
    from dask_fleet.events import Sink
    from dask_fleet.fleet import Fleet

__all__ = ["Built", "Stock", "build", "prune", "stock", "write_folder"]


@dataclass(frozen=True, slots=True)
class Built:
    """An image, and on which engine it is."""

    name: str
    facts: ImageFacts
    engine: str


@dataclass(frozen=True, slots=True)
class Stock:
    """Images of each host, and the failures of those that could not be asked."""

    images: Mapping[str, tuple[StockedImage, ...]]
    failures: Mapping[str, FleetError]


async def build(fleet: Fleet, sink: Sink, *, anew: bool = False) -> Built:
    """Build the fleet's image unless an engine has it; no host gets it yet.

    Parameters
    ----------
    fleet : Fleet
        Declares the image.
    sink : callable
        Takes what is said meanwhile.
    anew : bool
        Whether to build it in any case, on a base that may have changed.

    Raises
    ------
    EnvironmentBuildError
        It cannot be built.
    FleetError
        The fleet's image is not one that is built.
    """
    recipe = _recipe(fleet)
    supply = Supply(fleet.environment, fleet.hosts, sink)
    if anew:
        engine = engine_of(recipe, fleet.hosts)
        found = await supply.build(engine, recipe)
    else:
        engine, found = await supply.find_or_build()
    return Built(fleet.environment.image, found, engine.shown)


async def write_folder(fleet: Fleet, folder: Path, sink: Sink) -> None:
    """Write the Dockerfile of a locked environment and what it needs into a folder.

    Raises
    ------
    FleetError
        There is nothing to write, or the folder is there already.
    """
    recipe = _recipe(fleet)
    if recipe.environment is None:
        raise FleetError(
            f"the Dockerfile of this fleet is in {recipe.folder}", "build it there, by hand"
        )
    if folder.exists():
        raise FleetError(f"{folder} is there already", "name a folder that is not there yet")
    from dask_fleet.images.baking import write_bakery

    await write_bakery(engine_of(recipe, fleet.hosts), recipe, folder, sink)


async def stock(fleet: Fleet) -> Stock:
    """Return which images of the fleet are on which hosts."""
    repositories = [f"{REPOSITORY}/{fleet.layout.name}"]
    if fleet.environment.image and fleet.environment.recipe is None:
        repositories.append(repository_of(fleet.environment.image))
    command = stock_script(repositories)
    hosts = {name: one for name, one in fleet.hosts.items() if one.runtime.contained}
    if not hosts:
        raise FleetError(
            f"fleet {fleet.layout.name} has no containers", "images are for `runtime: compose`"
        )

    async def ask(name: str) -> tuple[StockedImage, ...] | FleetError:
        try:
            return read_stock(name, (await hosts[name].transport.run(command)).stdout)
        except FleetError as error:
            return error

    chosen = [name for name in hosts if name in fleet.chosen]
    asked = dict(zip(chosen, await asyncio.gather(*map(ask, chosen)), strict=True))
    return Stock(
        {name: one for name, one in asked.items() if not isinstance(one, FleetError)},
        {name: one for name, one in asked.items() if isinstance(one, FleetError)},
    )


async def prune(
    fleet: Fleet, confirm: Callable[[Mapping[str, tuple[StockedImage, ...]]], bool]
) -> tuple[Mapping[str, tuple[StockedImage, ...]], Mapping[str, FleetError]]:
    """Remove the images that nothing uses, but the one that was there before.

    Parameters
    ----------
    fleet : Fleet
        Whose images.
    confirm : callable
        Is shown what would be removed on each host, and says whether to go on.

    Returns
    -------
    Mapping, Mapping
        What was removed on each host, and the failures of others.
    """
    found = await stock(fleet)
    failures = dict(found.failures)
    plan = prunable(found.images, fleet.environment.image)
    if not plan or not confirm(plan):
        return {}, failures
    at = fleet.scheduler_access
    async with lease.hold(at.transport, at.places.lease, "dask fleet image prune"):
        # Somebody may have begun to use one of them while we asked.
        found = await stock(fleet)
        again = prunable(found.images, fleet.environment.image)
        free = {(host, one.name) for host, images in again.items() for one in images}
        wanted = {
            host: tuple(one for one in images if (host, one.name) in free)
            for host, images in plan.items()
        }
        removed: dict[str, tuple[StockedImage, ...]] = {}

        async def remove(host: str, images: tuple[StockedImage, ...]) -> None:
            try:
                await fleet.hosts[host].transport.run(remove_images(one.name for one in images))
                removed[host] = images
            except FleetError as error:
                failures[host] = error

        await asyncio.gather(*(remove(host, images) for host, images in wanted.items() if images))
    return removed, failures


def _recipe(fleet: Fleet) -> Recipe:
    recipe = fleet.environment.recipe
    if recipe is None:
        raise FleetError(
            "this fleet's image is not built here",
            "write `environment: {build: FOLDER}`, or `{base: IMAGE}` with a locked environment",
        )
    return recipe
