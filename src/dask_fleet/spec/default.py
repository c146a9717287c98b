"""The fleet on this machine, which is what is meant when there is no fleet.yaml."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from dask_fleet.spec.model import Spec

__all__ = ["DEFAULT_NAME", "default_spec", "plain_default"]

DEFAULT_NAME = "local"

_HOST = "localhost"


def default_spec(name: str = DEFAULT_NAME) -> Spec:
    """Return the fleet of one scheduler and four workers on this machine.

    It says what a fleet.yaml with nothing but a name leaves to the defaults.
    """
    from dask_fleet.spec.model import EnvironmentSpec, HostSpec, SchedulerSpec, Spec, WorkerGroup

    return Spec(
        name=name,
        environment=EnvironmentSpec(name="xcube"),
        hosts={_HOST: HostSpec(address="127.0.0.1")},
        scheduler=SchedulerSpec(host=_HOST),
        workers={"default": WorkerGroup(hosts=(_HOST,), per_host=4)},
    )


def plain_default() -> Spec:
    """Return what `default_spec` says, without the model.

    The model checks what people write, and importing pydantic for it takes longer than a look at
    the host. Nobody has written this one. A test holds every attribute of it to the model's.
    """
    host = SimpleNamespace(
        address="127.0.0.1",
        external=None,
        listen=None,
        interface=None,
        ssh=None,
        transport=None,
        runtime=None,
        memory=None,
        cpus=None,
    )
    workers = SimpleNamespace(
        hosts=(_HOST,),
        per_host=4,
        nthreads="auto",
        memory_limit="auto",
        resources={},
        prefix="dask-worker",
        first=1,
        ports=SimpleNamespace(worker=9010, nanny=9011, dashboard=9012, step=10, per="host"),
    )
    spec = SimpleNamespace(
        name=DEFAULT_NAME,
        environment=SimpleNamespace(
            python="3.11",
            name="xcube",
            lock=None,
            packages=None,
            image=None,
            build=None,
            base=None,
            build_on=None,
            interpreter=None,
        ),
        hosts={_HOST: host},
        scheduler=SimpleNamespace(host=_HOST, port=8786, dashboard=8787),
        workers={"default": workers},
        door=None,
        port_range=None,
        config={},
        variables={},
        directories=SimpleNamespace(work=None, logs=None),
        runtime=None,
        user="dask-fleet",
        containers=SimpleNamespace(
            user="8786:8786",
            nofile=65536,
            volumes=(),
            mounts={},
            limit_cpus=False,
            rootless=None,
        ),
        tls=False,
    )
    return cast("Spec", spec)
