"""The fleet on this machine, which is what is meant when there is no fleet.yaml."""

from __future__ import annotations

from dask_fleet.spec.model import EnvironmentSpec, HostSpec, SchedulerSpec, Spec, WorkerGroup

__all__ = ["DEFAULT_NAME", "default_spec"]

DEFAULT_NAME = "local"


def default_spec(name: str = DEFAULT_NAME) -> Spec:
    """Return the fleet of one scheduler and four workers on this machine.

    It says what a fleet.yaml with nothing but a name leaves to the defaults.
    """
    host = "localhost"
    return Spec(
        name=name,
        environment=EnvironmentSpec(name="xcube"),
        hosts={host: HostSpec(address="127.0.0.1")},
        scheduler=SchedulerSpec(host=host),
        workers={"default": WorkerGroup(hosts=(host,), per_host=4)},
    )
