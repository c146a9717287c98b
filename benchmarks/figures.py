"""Series of figures, ratios round by round, goals; as a table and as JSON."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Figures", "Goal", "show"]


@dataclass(frozen=True)
class Goal:
    """A figure that was promised, what was found, and whether it is enough."""

    text: str
    found: float
    limit: float
    unit: str
    spread: tuple[float, float]

    @property
    def met(self) -> bool:
        """Whether the median is within the limit."""
        return self.found <= self.limit


@dataclass
class Figures:
    """What one suite has measured: a series of rounds for each measure and subject."""

    name: str
    about: str
    loads: list[float] = field(default_factory=list)
    series: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    ratios: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, measure: str, subject: str, value: float, unit: str = "s") -> None:
        """Add what a round has given."""
        self.series.setdefault((measure, subject), []).append(value)
        self.units[measure] = unit

    def values(self, measure: str, subject: str) -> list[float]:
        """Return a series."""
        return self.series[measure, subject]

    def ratio(self, measure: str, over: str, under: str, limit: float | None = None) -> None:
        """Divide two series pair by pair: both figures of a round had the same machine."""
        pairs = zip(self.values(measure, over), self.values(measure, under), strict=True)
        found = self.ratios[measure, over, under] = [a / b for a, b in pairs]
        if limit is not None:
            self.goal(f"{measure}: {over} / {under}", found, limit, "times")

    def goal(self, text: str, found: Sequence[float], limit: float, unit: str = "s") -> None:
        """Compare the median of a series with what was promised."""
        spread = (min(found), max(found))
        self.goals.append(Goal(text, statistics.median(found), limit, unit, spread))

    def value(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "about": self.about,
            "load_before_each_round": self.loads,
            "measures": [
                {"measure": measure, "subject": subject, "unit": self.units[measure]}
                | _summary(values)
                for (measure, subject), values in self.series.items()
            ],
            "ratios": [
                {"measure": measure, "of": over, "to": under} | _summary(values)
                for (measure, over, under), values in self.ratios.items()
            ],
            "goals": [
                {
                    "goal": goal.text,
                    "found": round(goal.found, 4),
                    "at_most": goal.limit,
                    "unit": goal.unit,
                    "met": goal.met,
                }
                for goal in self.goals
            ],
            "remarks": self.remarks,
        }


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "rounds": [round(value, 4) for value in values],
    }


def show(all_figures: Sequence[Figures]) -> None:
    """Print everything on standard output, coloured on a terminal, plain in a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            # Words stand left, figures right.
            right = column in {"median", "min", "max", "rounds", "found", "at most"}
            made.add_column(column, justify="right" if right else "left", no_wrap=number > 0)
        return made

    for figures in all_figures:
        main = table(
            f"{figures.name}: {figures.about}",
            *("measure", "subject", "median", "min", "max", "unit", "rounds"),
        )
        for (measure, subject), values in figures.series.items():
            cells = [_number(f(values)) for f in (statistics.median, min, max)]
            main.add_row(measure, subject, *cells, figures.units[measure], str(len(values)))
        for (measure, over, under), values in figures.ratios.items():
            cells = [f"{f(values):.3f}" for f in (statistics.median, min, max)]
            main.add_row(measure, f"{over} / {under}", *cells, "times", str(len(values)))
        console.print(main)
        for remark in figures.remarks:
            console.print(f"  {remark}")
    goals = table("goals", "goal", "found", "min", "max", "at most", "unit", "result")
    for goal in (goal for figures in all_figures for goal in figures.goals):
        numbers = [f"{n:.3f}" for n in (goal.found, *goal.spread)]
        result = "[green]met[/green]" if goal.met else "[red]missed[/red]"
        goals.add_row(goal.text, *numbers, f"{goal.limit:g}", goal.unit, result)
    console.print(goals)


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"
