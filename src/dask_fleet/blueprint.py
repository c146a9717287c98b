"""What a fleet.yaml asks for, to be laid out when the facts of its hosts are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.layout import HostFacts, interface_address, lay_out
from dask_fleet.spec.expand import expand_hosts

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved
    from dask_fleet.places import Places
    from dask_fleet.runtimes.base import Runtime
    from dask_fleet.spec.model import Spec
    from dask_fleet.target import DoorTarget, HostTarget

__all__ = ["Blueprint"]

_STEP = 64 * 2**20
"""Memory is rounded down to this: it differs a little from boot to boot, and a limit that
follows it must not restart every worker after a reboot."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A checked spec and everything else that a target is made from.

    Attributes
    ----------
    spec : Spec
        What is declared.
    environment : Environment
        What processes run in.
    launcher : Mapping of str to bytes
        The modules that start scheduler and workers on a host, by file name.
    known : Mapping of str to HostFacts
        What is known of hosts before they are looked at: of this machine.
    asked : frozenset of str
        Hosts whose own word on their CPUs and memory counts.
    """

    spec: Spec
    environment: Environment
    launcher: Mapping[str, bytes]
    known: Mapping[str, HostFacts]
    asked: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """Digest of the spec: the same digest, the same fleet asked for."""
        from dask_fleet.target import digest_of

        spec = self.spec
        text = spec.model_dump_json() if hasattr(spec, "model_dump_json") else repr(spec)
        return digest_of(text.encode())

    @property
    def release(self) -> str:
        """Digest of spec and environment."""
        from dask_fleet.target import digest_of

        return digest_of(self.digest.encode(), self.environment.digest.encode())

    def layout(self, observed: Mapping[str, HostObserved] | None = None) -> Layout:
        """Return every process; shares of CPUs and memory as far as the hosts are known."""
        seen = {host: _facts(one) for host, one in (observed or {}).items() if host in self.asked}
        return lay_out(self.spec, {**self.known, **seen})

    def without_interface(self, observed: Mapping[str, HostObserved]) -> tuple[FleetError, ...]:
        """Return an error for each host that lacks the interface on which it should listen."""
        return tuple(
            FleetError(
                f"{name}: interface {host.spec.interface} has no address that fits"
                f" {host.address}; there are {_listing(observed[name].addresses)}",
                "correct `interface` in fleet.yaml, or say `listen: ADDRESS` instead",
            )
            for name, host in expand_hosts(self.spec).items()
            if host.spec.interface
            and name in observed
            and interface_address(host, observed[name].addresses) is None
        )

    def targets(
        self,
        layout: Layout,
        places: Mapping[str, Places],
        runtimes: Mapping[str, Runtime],
        credentials: Mapping[str, Mapping[str, bytes]],
    ) -> tuple[HostTarget, ...]:
        """Return what should be on each host that has places, in their order.

        Parameters
        ----------
        layout : Layout
            As `layout` returned it.
        places, runtimes : Mapping
            Directories and runtime of each host.
        credentials : Mapping
            TLS files of each host by name, of the door by `door_subject`; empty when the fleet
            does without.
        """
        return tuple(
            replace(
                self._target(layout, host, place, runtimes[host], credentials),
                door=self._door(layout, place, credentials)
                if layout.door and layout.door.host == host
                else None,
            )
            for host, place in places.items()
        )

    def _door(
        self, layout: Layout, places: Places, credentials: Mapping[str, Mapping[str, bytes]]
    ) -> DoorTarget:
        from dask_fleet.proxy.door_target import door_subject, door_target

        door = layout.door
        if door is None:
            raise ValueError("a fleet without a door has no host for it")
        return door_target(layout.name, door, places, credentials.get(door_subject(door), {}))

    def _target(
        self,
        layout: Layout,
        host: str,
        place: Places,
        runtime: Runtime,
        credentials: Mapping[str, Mapping[str, bytes]],
    ) -> HostTarget:
        from dask_fleet.desired import host_target
        from dask_fleet.published import published

        return host_target(
            layout,
            host,
            self.environment,
            place,
            runtime,
            self.launcher,
            credentials.get(host),
            published(self.spec, layout, self.environment, place, credentials)
            if host == layout.scheduler.host
            else None,
        )


def _facts(seen: HostObserved) -> HostFacts:
    """Return CPUs, memory and addresses of a host."""
    return HostFacts(
        cpus=int(seen.facts["cpus"]) if "cpus" in seen.facts else None,
        memory=seen.memory - seen.memory % _STEP if seen.memory else None,
        addresses=seen.addresses,
    )


def _listing(addresses: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name} ({' '.join(all_)})" for name, all_ in addresses.items()) or "none"
