"""Who gives an image that a fleet has made: the engine that builds, any host, and then a build."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from dask_fleet.command import Command, Outcome
from dask_fleet.environment import Environment, Recipe
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError, UnreachableHostError
from dask_fleet.events import Event, Note
from dask_fleet.images.supply import Supply
from dask_fleet.observer import HostAccess
from dask_fleet.transports.base import Transport
from tests.unit.simulator import PLACES, RUNTIME

IMAGE = "localhost/dask-fleet/sst:1234"
HAS = 'sha256:1 linux/amd64 120 ["sha256:a"]\n'


class Host:
    """A host with an engine that has the image or not, or does not answer, or is not there."""

    def __init__(self, host: str, state: str) -> None:
        self.host, self.state = host, state

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        await asyncio.sleep(0)
        if self.state == "unreachable":
            raise UnreachableHostError(self.host, "no route")
        if command.argv[1] == "version":
            if self.state == "down":
                raise CommandFailedError(self.host, str(command), 1, "no daemon")
            return Outcome(0, "linux\n", "")
        assert command.argv[1:3] == ("image", "inspect")
        assert command.argv[-1] == IMAGE
        assert not check
        return Outcome(0, HAS, "") if self.state == "has it" else Outcome(1, "", "No such image")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def giver(**states: str) -> tuple[str, list[str]]:
    """Return which host gives the image that host ``a`` builds, and what was said."""
    hosts = {
        name: HostAccess(cast("Transport", Host(name, state)), RUNTIME, PLACES)
        for name, state in states.items()
    }
    recipe = Recipe("/nowhere", "1234", on="a")
    said: list[str] = []

    def hear(event: Event) -> None:
        assert isinstance(event, Note)
        said.append(event.text)

    supply = Supply(Environment(IMAGE, "", "5678", image=IMAGE, recipe=recipe), hosts, hear)
    engine, found = asyncio.run(supply.find_or_build())
    assert found.layers == ("sha256:a",)
    return engine.transport.host, said


@pytest.mark.parametrize(
    ("states", "host"),
    [
        ({"a": "has it", "b": "has it"}, "a"),
        ({"a": "has it", "b": "unreachable"}, "a"),
        ({"a": "lacks it", "b": "unreachable", "c": "has it"}, "c"),
        ({"a": "down", "b": "has it"}, "b"),
        ({"a": "unreachable", "b": "lacks it", "c": "has it"}, "c"),
    ],
)
def test_whoever_has_it_gives_it(states: dict[str, str], host: str):
    gives, said = giver(**states)
    assert gives == host
    assert said == ([] if host == "a" else [f"taking the image from the engine of {host}"])


@pytest.mark.parametrize("state", ["down", "unreachable"])
def test_what_nobody_has_and_nobody_can_build_is_an_error(state: str):
    with pytest.raises(EnvironmentBuildError, match="is on no host, and the engine of a does not"):
        giver(a=state, b="lacks it", c="unreachable")


def test_what_nobody_has_is_built():
    """The folder is not there, and that is how far it comes."""
    with pytest.raises(EnvironmentBuildError, match="/nowhere: No such file"):
        giver(a="lacks it", b="lacks it")
