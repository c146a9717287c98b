"""Commands that change the fleet: plan, up, restart, down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import (
    accept_new_option,
    as_json,
    file_option,
    limit_option,
    load_fleet,
    print_json,
    reports_errors,
    run,
    timeout_option,
    yes_option,
)
from dask_fleet.cli.progress import Progress
from dask_fleet.cli.render import plan_value, show_diff, show_plan
from dask_fleet.errors import EXIT_CHANGES, FleetError, together
from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.fleet import Fleet
    from dask_fleet.observer import Sight
    from dask_fleet.outcomes import Upped

__all__ = ["down_command", "plan_command", "restart_command", "up_command"]

break_lease_option = click.option(
    "--break-lease", is_flag=True, help="Take over from an operator who is gone for good."
)


@click.command("plan")
@file_option
@limit_option
@click.option("--diff", is_flag=True, help="Show the files that would change, line by line.")
@accept_new_option
@as_json
@reports_errors
def plan_command(
    file: Path | None, limit: tuple[str, ...], diff: bool, accept_new: bool, json_: bool
) -> None:
    """Show what `up` would change, and why; change nothing.

    Ends with 0 when nothing would change and with 2 when something would. A host that cannot be
    reached, or on which somebody else holds a port that a start needs, is named; the plan is then
    that of the others.
    """
    fleet = load_fleet(file, limit=limit, accept_new=accept_new)

    async def look() -> tuple[Plan, Sight, str]:
        from dask_fleet.diffing import differences

        plan, sight = await fleet.plan()
        return plan, sight, await differences(fleet, plan) if diff else ""

    plan, sight, text = run(fleet, look())
    if json_:
        print_json(
            plan_value(fleet.layout.name, plan)
            | {"failures": {host: error.message for host, error in sight.failures.items()}}
            | ({"diff": text} if diff else {})
        )
    elif plan.empty and not sight.failures:
        click.echo(f"fleet {fleet.layout.name}: nothing to do")
    elif not plan.empty:
        show_plan(fleet.layout.name, plan)
    if text and not json_:
        show_diff(text)
    if sight.failures:
        raise together(sight.failures.values())
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
@limit_option
@timeout_option
@accept_new_option
@break_lease_option
@click.option(
    "--new-authority",
    is_flag=True,
    help="With TLS: replace the certificate authority, on all hosts and for every client.",
)
@as_json
@reports_errors
def up_command(
    file: Path | None,
    yes: bool,
    limit: tuple[str, ...],
    timeout: float,
    accept_new: bool,
    break_lease: bool,
    new_authority: bool,
    json_: bool,
) -> None:
    """Bring the fleet up as declared; change just what differs.

    Shows the plan and asks, applies it, and waits until the scheduler itself lists every worker
    on the ports that were declared. Run it again after editing fleet.yaml, after a fault, or
    after it was interrupted: it goes on from what is there. A host that cannot be reached, or
    whose ports somebody else holds, is left out and named at the end; the others are brought up.

    With --new-authority every process restarts, and every client needs a new bundle of
    `client-config`; that of the old authority is refused. Use it when a client's key is lost to
    somebody, or the folder of the authority is.
    """
    fleet = load_fleet(file, limit=limit, accept_new=accept_new, new_authority=new_authority)
    with Progress(several=len(fleet.hosts) > 1, quiet=json_) as progress:

        def confirm(plan: Plan) -> bool:
            question = f"Bring up fleet {fleet.layout.name}?"
            with progress.paused():
                return _confirm(fleet, plan, question, yes=yes, json_=json_)

        done = run(
            fleet,
            fleet.up(confirm=confirm, sink=progress, timeout=timeout, break_lease=break_lease),
        )
    if json_:
        print_json(
            plan_value(fleet.layout.name, done.plan)
            | {
                "seconds": round(done.seconds, 3),
                "failures": {host: error.message for host, error in done.failures.items()},
            }
        )
    else:
        _say_up(fleet, done)
    _report_failures(done)


def _report_failures(done: Upped) -> None:
    if done.failures:
        raise together(done.failures.values())


def _say_up(fleet: Fleet, done: Upped) -> None:
    layout = fleet.layout
    if done.declined:
        click.echo("nothing was changed")
        return
    count = sum(one.host in fleet.chosen - done.failures.keys() for one in layout.workers)
    workers = f"{count} worker{'' if count == 1 else 's'} registered"
    if count < len(layout.workers):
        workers += f" of {len(layout.workers)} declared"
    if done.plan.empty:
        click.echo(f"fleet {layout.name}: nothing to do; {workers}")
        return
    click.echo(f"fleet {layout.name} is up in {done.seconds:.1f} s: {workers}")
    click.echo(f"  scheduler  {layout.client_address}")
    click.echo(f"  dashboard  {layout.shown_dashboard}")
    door, changes = layout.door, done.plan.changes
    from dask_fleet.proxy.planning import DOOR

    new = any(one.verb == "create" and one.subject == DOOR for one in changes)
    if door is not None and door.tls == "acme" and new:
        click.echo(f"  certbot    `dask fleet door` prints what to run once on {door.host}")
    click.echo("  next       dask fleet status, dask fleet demo, dask fleet down")


@click.command("restart")
@click.argument("names", nargs=-1)
@click.option(
    "--rolling", is_flag=True, help="Workers only, one host after another, waiting for each."
)
@file_option
@yes_option
@timeout_option
@reports_errors
def restart_command(
    names: tuple[str, ...], rolling: bool, file: Path | None, yes: bool, timeout: float
) -> None:
    """Restart processes, all or by NAME, and wait until they are registered again.

    All workers of one group on one host are one unit and restart together; what they hold in
    memory is computed again by the scheduler if a client still wants it. A client whose
    scheduler restarts loses its futures. With --rolling the scheduler stays, and the workers of a
    host restart when those of the host before are registered again.
    """
    fleet = load_fleet(file)
    with Progress(several=len(fleet.hosts) > 1) as progress:

        def confirm(plan: Plan) -> bool:
            with progress.paused():
                return _confirm(fleet, plan, "Restart?", yes=yes, json_=False)

        done = run(
            fleet,
            fleet.restart(
                frozenset(names), confirm=confirm, sink=progress, timeout=timeout, rolling=rolling
            ),
        )
    if done.declined:
        click.echo("nothing was changed")
    elif not rolling or not done.failures:
        click.echo(f"fleet {fleet.layout.name}: restarted in {done.seconds:.1f} s")
    _report_failures(done)


@click.command("down")
@file_option
@yes_option
@limit_option
@break_lease_option
@reports_errors
def down_command(file: Path | None, yes: bool, limit: tuple[str, ...], break_lease: bool) -> None:
    """Stop the fleet and remove it from its hosts.

    Processes, ports, files and logs are gone afterwards. Software environments stay, for other
    fleets use them too and making one takes minutes; `up` finds them again. The history stays on
    the scheduler's host, and the authority of a fleet with TLS on the operator's machine.
    """
    fleet = load_fleet(file, limit=limit)
    name = fleet.layout.name
    with Progress(several=len(fleet.hosts) > 1) as progress:

        def confirm(plan: Plan) -> bool:
            with progress.paused():
                return _confirm(fleet, plan, f"Take down fleet {name}?", yes=yes, json_=False)

        done = run(fleet, fleet.down(confirm=confirm, sink=progress, break_lease=break_lease))
    if done.declined:
        click.echo("nothing was changed")
    elif done.plan.empty:
        click.echo(f"fleet {name}: nothing to do; it is not up")
    elif not done.failures:
        _say_down(fleet)
    _report_failures(done)


def _say_down(fleet: Fleet) -> None:
    access, name = fleet.scheduler_access, fleet.layout.name
    if fleet.chosen < fleet.hosts.keys():
        hosts = ", ".join(fold(host for host in fleet.hosts if host in fleet.chosen))
        click.echo(f"fleet {name} is down on {hosts}")
        return
    where = f"{access.transport.host}:" if access.remote else ""
    click.echo(f"fleet {name} is down; its history stays in {where}{access.places.history}")
