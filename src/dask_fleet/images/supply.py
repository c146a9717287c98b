"""An image that is made for a fleet: found or built once, then brought to all hosts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import EnvironmentBuildError, FleetError
from dask_fleet.events import Note, Sink
from dask_fleet.images.archive import compressed, opening
from dask_fleet.images.baking import bake
from dask_fleet.images.context import write_context
from dask_fleet.images.engine import Engine, Given
from dask_fleet.images.layers import EngineFacts, ImageFacts, lacking
from dask_fleet.images.shipping import Shipment, ship
from dask_fleet.images.store import Store, StoredLayer
from dask_fleet.transports.local import LocalTransport

if TYPE_CHECKING:
    from dask_fleet.environment import Environment, Recipe
    from dask_fleet.observer import HostAccess
    from dask_fleet.transports.base import Transport

__all__ = ["Supply", "engine_of"]

HERE = "operator"
"""Who says what happens on this machine."""

_Facts = tuple[EngineFacts, frozenset[str]]


def engine_of(recipe: Recipe, hosts: Mapping[str, HostAccess]) -> Engine:
    """Return the engine on which an image is built."""
    if recipe.on:
        return Engine(hosts[recipe.on].transport, f"the engine of {recipe.on}")
    return Engine(LocalTransport(HERE), "the operator's engine")


class Supply:
    """Brings one image to the hosts that lack it.

    Parameters
    ----------
    environment : Environment
        The image, and how it is made.
    hosts : Mapping
        How to reach every host of the fleet.
    sink : callable
        Takes a `Note` for each step.
    """

    def __init__(
        self, environment: Environment, hosts: Mapping[str, HostAccess], sink: Sink
    ) -> None:
        self.image = environment.image
        self._environment = environment
        self._hosts = hosts
        self._sink = sink
        self._store = Store()
        self._facts: dict[str, _Facts] = {}
        self._found: ImageFacts | None = None
        self._source: Transport | None = None

    async def ready(self, names: Iterable[str]) -> dict[str, FleetError]:
        """Have the image and everything of it that a host lacks on this machine.

        Nothing is changed on a host that is to get it.

        Parameters
        ----------
        names : iterable of str
            Hosts that are to get it.

        Returns
        -------
        dict
            The failure of each host that cannot be asked, or that cannot run the image.

        Raises
        ------
        EnvironmentBuildError
            It cannot be built.
        """
        wanted = list(dict.fromkeys(names))
        failed = await self._ask(wanted)
        lacking_it = [name for name in wanted if name not in failed]
        if not lacking_it:
            return failed
        engine, found = await self.find_or_build(besides=frozenset(wanted))
        self._found, self._source = found, engine.transport
        for name in lacking_it:
            facts, _ = self._facts[name]
            if facts.platform != found.platform:
                failed[name] = EnvironmentBuildError(
                    f"{name}: the image is for {found.platform}, and this host runs"
                    f" {facts.platform}; nothing was changed there",
                    "build it on a host that is like it, `environment: {build_on: HOST}`, or take"
                    " that host out of the fleet",
                )
        receivers = [
            name
            for name in lacking_it
            if name not in failed and self._hosts[name].transport is not self._source
        ]
        await self._gather(engine, found, receivers)
        return failed

    async def find_or_build(
        self, besides: frozenset[str] = frozenset()
    ) -> tuple[Engine, ImageFacts]:
        """Return an engine that has the image; build it if none has.

        Parameters
        ----------
        besides : frozenset of str
            Hosts that are known not to have it.
        """
        recipe = self._environment.recipe
        if recipe is None:
            raise TypeError(f"{self.image} is not made by a fleet")
        builder = engine_of(recipe, self._hosts)
        can_build = await builder.answers()
        if can_build and (found := await builder.find(self.image)):
            return builder, found
        others = [name for name in self._hosts if name not in besides and name != recipe.on]
        engines = [Engine(self._hosts[name].transport, f"the engine of {name}") for name in others]
        seen = await asyncio.gather(*(self._found_on(one) for one in engines))
        for engine, found in zip(engines, seen, strict=True):
            if found is not None:
                self._say(f"taking the image from {engine.shown}")
                return engine, found
        if not can_build:
            raise EnvironmentBuildError(
                f"the image {self.image} is on no host, and {builder.shown} does not answer",
                "start Docker there, or name a host that builds: `environment: {build_on: HOST}`",
            )
        return builder, await self.build(builder, recipe)

    async def _found_on(self, engine: Engine) -> ImageFacts | None:
        try:
            return await engine.find(self.image)
        except FleetError:
            return None  # one that does not answer has nothing to give

    async def build(self, engine: Engine, recipe: Recipe) -> ImageFacts:
        """Build the image, whether or not it is there already.

        Raises
        ------
        EnvironmentBuildError
            With the last lines that the engine said.
        """
        self._say(f"building {self.image} on {engine.shown}")
        if recipe.environment is not None:
            await bake(engine, recipe, self.image, self._store, self._sink)
        else:
            with self._store.incoming() as work:
                context = work / "context.tar"
                await asyncio.to_thread(write_context, Path(recipe.folder), context)
                given, labels = Given(b"", (str(context),)), {"dask-fleet.context": recipe.digest}
                await engine.build(given, self.image, labels, self._sink)
        found = await engine.find(self.image)
        if found is None:
            raise EnvironmentBuildError(
                f"{engine.shown} has built the image and does not have it",
                "see whether somebody removes images there",
            )
        return found

    async def deliver(self, host: str) -> None:
        """Send a host what it lacks; `ready` goes before.

        Raises
        ------
        EnvironmentBuildError
            There is no room, or its engine does not take it.
        UnreachableHostError
            The connection was cut; what has arrived is gone on with.
        """
        if self._hosts[host].transport is self._source:
            return  # it was built there
        shipment = self._shipment(host)
        self._sink(
            Note(
                host,
                f"sending {shipment.size / 2**20:.1f} MiB of {self.image},"
                f" {len(shipment.missing)} of {len(shipment.pieces)} pieces",
            )
        )
        await ship(self._hosts[host].transport, shipment)

    def _shipment(self, host: str) -> Shipment:
        found = self._found
        configuration = self._store.configuration(found.id) if found else None
        if found is None or configuration is None:
            raise RuntimeError("an image is sent that was not made ready")
        facts, there = self._facts[host]
        layers = found.layers[lacking(found.layers, facts.images) :]
        stored = [self._stored(layer) for layer in dict.fromkeys(layers)]
        return Shipment(
            self.image,
            compressed(opening(self.image, configuration, found.id, found.layers)),
            (*(piece for layer in stored for piece in layer.pieces), self._store.end),
            there,
            sum(layer.size for layer in stored),
            self._hosts[host].places.images,
        )

    def _stored(self, layer: str) -> StoredLayer:
        stored = self._store.layer(layer)
        if stored is None:
            raise EnvironmentBuildError(
                f"layer {layer} vanished from {self._store.root} while it was sent", "try again"
            )
        return stored

    async def _ask(self, names: list[str]) -> dict[str, FleetError]:
        async def facts(name: str) -> _Facts | FleetError:
            try:
                return await Engine(self._hosts[name].transport, name).facts(
                    self._hosts[name].places.images
                )
            except FleetError as error:
                return error

        failed: dict[str, FleetError] = {}
        for name, one in zip(names, await asyncio.gather(*map(facts, names)), strict=True):
            if isinstance(one, FleetError):
                failed[name] = one
            else:
                self._facts[name] = one
        return failed

    async def _gather(self, engine: Engine, found: ImageFacts, names: list[str]) -> None:
        """Get the layers that any of these hosts lacks out of the engine, once for all."""
        first = min(
            (lacking(found.layers, self._facts[name][0].images) for name in names),
            default=len(found.layers),
        )
        needed = [
            (index, layer)
            for index, layer in enumerate(found.layers)
            if index >= first and self._store.layer(layer) is None
        ]
        if not names or (not needed and self._store.configuration(found.id) is not None):
            return
        self._say(f"getting {len(needed)} of {len(found.layers)} layers from {engine.shown}")
        with self._store.incoming() as work:
            path = work / "export.tar"
            await engine.export(self.image, [index for index, _ in needed], path)
            await asyncio.to_thread(self._store.keep, path, found.id, needed)

    def _say(self, text: str) -> None:
        self._sink(Note(HERE, text))
