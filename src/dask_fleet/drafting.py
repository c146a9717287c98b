"""What becomes of one host while a plan is made, and the plan that all hosts make up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_fleet.actions import Action, Change, Plan, Replaced, Verb

if TYPE_CHECKING:
    from dask_fleet.places import Places
    from dask_fleet.target import ManagedFile

__all__ = ["Draft", "join", "paths_of", "short"]


@dataclass(slots=True)
class Draft:
    """What becomes of one host: lines for people, and actions by phase.

    ``stopped`` has the workers that run and are stopped; ``interrupts`` says the same of a
    scheduler.
    """

    host: str
    first: bool = False
    changes: list[Change] = field(default_factory=list[Change])
    prepare: list[Action] = field(default_factory=list[Action])
    stop: list[Action] = field(default_factory=list[Action])
    run: list[Action] = field(default_factory=list[Action])
    stopped: list[str] = field(default_factory=list[str])
    interrupts: bool = False

    def say(self, verb: Verb, subject: str, reason: str, detail: str = "") -> None:
        """Add a line for people."""
        self.changes.append(Change(self.host, verb, subject, reason, detail))


def join(drafts: Iterable[Draft]) -> Plan:
    """Return the plan for all hosts, in their order; the scheduler's host runs its units first."""
    every = list(drafts)
    phases = (
        tuple(action for draft in every for action in draft.prepare),
        tuple(action for draft in every for action in draft.stop),
        tuple(action for draft in every if draft.first for action in draft.run),
        tuple(action for draft in every if not draft.first for action in draft.run),
    )
    return Plan(
        changes=tuple(change for draft in every for change in draft.changes),
        phases=tuple(phase for phase in phases if phase),
        replaced=tuple(
            Replaced(draft.host, tuple(draft.stopped)) for draft in every if draft.stopped
        ),
        interrupts=any(draft.interrupts for draft in every),
    )


def paths_of(changed: Iterable[ManagedFile], removed: Iterable[str]) -> list[str]:
    """Return the paths of files that are written, and of those that go."""
    return [*(file.path for file in changed), *removed]


def short(places: Places, path: str) -> str:
    """Return a path as people are shown it: below the directory of what is deployed."""
    return path.removeprefix(f"{places.deployed}/")
