"""Commands that change the fleet: plan, up, restart, down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import (
    as_json,
    file_option,
    load_fleet,
    print_json,
    reports_errors,
    run,
    timeout_option,
    yes_option,
)
from dask_fleet.cli.render import Progress, plan_value, show_plan
from dask_fleet.errors import EXIT_CHANGES, FleetError

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.fleet import Fleet, Upped

__all__ = ["down_command", "plan_command", "restart_command", "up_command"]

break_lease_option = click.option(
    "--break-lease", is_flag=True, help="Take over from an operator who is gone for good."
)


@click.command("plan")
@file_option
@as_json
@reports_errors
def plan_command(file: Path | None, json_: bool) -> None:
    """Show what `up` would change, and why; change nothing.

    Ends with 0 when nothing would change and with 2 when something would.
    """
    fleet = load_fleet(file)
    plan = run(fleet.plan())
    if json_:
        print_json(plan_value(fleet.layout.name, plan))
    elif plan.empty:
        click.echo(f"fleet {fleet.layout.name}: nothing to do")
    else:
        show_plan(fleet.layout.name, plan)
    if not plan.empty:
        sys.exit(EXIT_CHANGES)


def _confirm(fleet: Fleet, plan: Plan, question: str, *, yes: bool, json_: bool) -> bool:
    if not json_:
        show_plan(fleet.layout.name, plan)
    if yes:
        return True
    if json_ or not sys.stdin.isatty():
        raise FleetError(
            "this would change the fleet, and there is no terminal to ask on",
            "look at `dask fleet plan`, then say --yes",
        )
    return click.confirm(question, default=True)


@click.command("up")
@file_option
@yes_option
@timeout_option
@break_lease_option
@as_json
@reports_errors
def up_command(
    file: Path | None, yes: bool, timeout: float, break_lease: bool, json_: bool
) -> None:
    """Bring the fleet up as declared; change just what differs.

    Shows the plan and asks, applies it, and waits until the scheduler itself lists every worker
    on the ports that were declared. Run it again after editing fleet.yaml, after a fault, or
    after it was interrupted: it goes on from what is there.
    """
    fleet = load_fleet(file)
    with Progress(quiet=json_) as progress:

        def confirm(plan: Plan) -> bool:
            question = f"Bring up fleet {fleet.layout.name}?"
            with progress.paused():
                return _confirm(fleet, plan, question, yes=yes, json_=json_)

        done = run(
            fleet.up(confirm=confirm, sink=progress, timeout=timeout, break_lease=break_lease)
        )
    if json_:
        print_json(plan_value(fleet.layout.name, done.plan) | {"seconds": round(done.seconds, 3)})
        return
    _say_up(fleet, done)


def _say_up(fleet: Fleet, done: Upped) -> None:
    layout = fleet.layout
    if done.declined:
        click.echo("nothing was changed")
        return
    count = len(layout.workers)
    workers = f"{count} worker{'' if count == 1 else 's'} registered"
    if done.plan.empty:
        click.echo(f"fleet {layout.name}: nothing to do; {workers}")
        return
    click.echo(f"fleet {layout.name} is up in {done.seconds:.1f} s: {workers}")
    click.echo(f"  scheduler  {layout.client_address}")
    click.echo(f"  dashboard  {layout.dashboard_url}")
    click.echo("  next       dask fleet status, dask fleet demo, dask fleet down")


@click.command("restart")
@click.argument("names", nargs=-1)
@file_option
@yes_option
@timeout_option
@reports_errors
def restart_command(names: tuple[str, ...], file: Path | None, yes: bool, timeout: float) -> None:
    """Restart processes, all or by NAME, and wait until they are registered again.

    All workers of one group on one host are one unit and restart together; what they hold in
    memory is computed again by the scheduler if a client still wants it. A client whose
    scheduler restarts loses its futures.
    """
    fleet = load_fleet(file)
    with Progress() as progress:

        def confirm(plan: Plan) -> bool:
            with progress.paused():
                return _confirm(fleet, plan, "Restart?", yes=yes, json_=False)

        done = run(fleet.restart(frozenset(names), confirm=confirm, sink=progress, timeout=timeout))
    if done.declined:
        click.echo("nothing was changed")
    else:
        click.echo(f"fleet {fleet.layout.name}: restarted in {done.seconds:.1f} s")


@click.command("down")
@file_option
@yes_option
@break_lease_option
@reports_errors
def down_command(file: Path | None, yes: bool, break_lease: bool) -> None:
    """Stop the fleet and leave nothing of it behind.

    Processes, ports, files and logs are gone afterwards. Software environments stay, for other
    fleets use them too and making one takes minutes; `up` finds them again.
    """
    fleet = load_fleet(file)
    name = fleet.layout.name
    with Progress() as progress:

        def confirm(plan: Plan) -> bool:
            with progress.paused():
                return _confirm(fleet, plan, f"Take down fleet {name}?", yes=yes, json_=False)

        done = run(fleet.down(confirm=confirm, sink=progress, break_lease=break_lease))
    if done.declined:
        click.echo("nothing was changed")
    elif done.plan.empty:
        click.echo(f"fleet {name}: nothing to do; it is not up")
    else:
        click.echo(f"fleet {name} is down; nothing of it is left")
