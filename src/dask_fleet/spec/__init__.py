"""fleet.yaml: its model, how it is read and checked, and what it says when there is none.

Names are imported when they are first used, so that `dask_fleet.layout` and the modules below it
do not pay for pydantic and PyYAML.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_fleet.spec.default import DEFAULT_NAME, default_spec, plain_default
    from dask_fleet.spec.finding import FILE_NAME, find
    from dask_fleet.spec.loading import load, parse
    from dask_fleet.spec.model import (
        Directories,
        EnvironmentSpec,
        HostSpec,
        PortsSpec,
        SchedulerSpec,
        Spec,
        SshSpec,
        WorkerGroup,
    )
    from dask_fleet.spec.schema import json_schema
    from dask_fleet.spec.starter import template

__all__ = [
    "DEFAULT_NAME",
    "FILE_NAME",
    "Directories",
    "EnvironmentSpec",
    "HostSpec",
    "PortsSpec",
    "SchedulerSpec",
    "Spec",
    "SshSpec",
    "WorkerGroup",
    "default_spec",
    "find",
    "json_schema",
    "load",
    "parse",
    "plain_default",
    "template",
]

_HOMES = {
    "DEFAULT_NAME": "default",
    "default_spec": "default",
    "plain_default": "default",
    "FILE_NAME": "finding",
    "find": "finding",
    "load": "loading",
    "parse": "loading",
    "json_schema": "schema",
    "template": "starter",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, 'model')}")
    value: object = getattr(home, name)
    globals()[name] = value
    return value
