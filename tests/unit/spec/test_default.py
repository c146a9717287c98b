"""The default fleet stands twice: as the model says it, and plain."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from dask_fleet.layout import THIS_MACHINE, HostFacts, lay_out
from dask_fleet.spec.default import default_spec, plain_default


def plain(value: object) -> object:
    if isinstance(value, SimpleNamespace):
        return {key: plain(item) for key, item in vars(value).items()}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def test_plain_and_model_say_the_same():
    assert plain(plain_default()) == default_spec().model_dump()


def test_both_lay_out_alike():
    for facts in ({}, {THIS_MACHINE: HostFacts(cpus=7, memory=9 << 30)}):
        assert lay_out(plain_default(), facts) == lay_out(default_spec(), facts)
