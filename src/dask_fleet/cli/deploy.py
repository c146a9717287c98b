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
from dask_fleet.cli.render import (
    plan_value,
    show_diff,
    show_outlook,
    show_plan,
    show_taking_over,
)
from dask_fleet.errors import EXIT_CHANGES, FleetError, together
from dask_fleet.pace import Pace
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

keep_scheduler_option = click.option(
    "--keep-scheduler",
    is_flag=True,
    help="Leave the scheduler's host as it is, so that clients go on.",
)
batch_option = click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="HOSTS",
    help="How many hosts at once have workers that run drained and replaced.",
)
drain_option = click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=Pace().drain,
    show_default=True,
    metavar="SECONDS",
    help="How long workers may take to end what they compute and to hand over what they hold.",
)


@click.command("plan")
@file_option
@limit_option
@keep_scheduler_option
@click.option("--diff", is_flag=True, help="Show the files that would change, line by line.")
@accept_new_option
@as_json
@reports_errors
def plan_command(
    file: Path | None,
    limit: tuple[str, ...],
    keep_scheduler: bool,
    diff: bool,
    accept_new: bool,
    json_: bool,
) -> None:
    """Show what `up` would change, and why; change nothing.

    Ends with 0 when nothing would change and with 2 when something would. A host that cannot be
    reached, or on which somebody else holds a port that a start needs, is named; the plan is then
    that of the others.
    """
    fleet = load_fleet(file, limit=limit, accept_new=accept_new, keep_scheduler=keep_scheduler)

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
        show_outlook(plan, Pace().batch, _worker_hosts(fleet))
        show_taking_over(plan, asked=False)
    if text and not json_:
        show_diff(text)
    if sight.failures:
        raise together(sight.failures.values())
    if not plan.empty:
        sys.exit(EXIT_CHANGES)


def _confirm(
    fleet: Fleet,
    plan: Plan,
    question: str,
    *,
    yes: bool,
    json_: bool = False,
    pace: Pace | None = None,
) -> bool:
    if not json_:
        show_plan(fleet.layout.name, plan)
        if pace is not None:
            show_outlook(plan, pace.batch, _worker_hosts(fleet))
            show_taking_over(plan, asked=True)
    if yes:
        return True
    if json_ or not sys.stdin.isatty():
        raise FleetError(
            "this would change the fleet, and there is no terminal to ask on",
            "look at `dask fleet plan`, then say --yes",
        )
    return click.confirm(question, default=True)


def _worker_hosts(fleet: Fleet) -> int:
    return len({worker.host for worker in fleet.layout.workers})


@click.command("up")
@file_option
@yes_option
@limit_option
@timeout_option
@batch_option
@click.option(
    "--all-at-once",
    is_flag=True,
    help="Replace all workers at once, undrained; what they hold is lost or computed again.",
)
@drain_option
@keep_scheduler_option
@click.option(
    "--take-over",
    is_flag=True,
    help="Stop containers that are not the fleet's and are in its place; they are kept.",
)
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
    batch: int,
    all_at_once: bool,
    drain: float,
    keep_scheduler: bool,
    take_over: bool,
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

    Workers that run and have to be replaced are replaced host by host. First every host gets the
    new image or environment. Then the workers of a host end what they compute and hand over what
    they hold, are replaced, and registered again before the next host. What cannot be drained in
    time goes on as before, and the update stops there. If the scheduler itself has to be replaced,
    the plan says so: the work of all clients is lost. --keep-scheduler leaves its host out;
    without it a later `up` replaces the scheduler, too.

    A host on which containers of a set-up by hand stand in the place of the fleet's is left out,
    unless --take-over is said. Then all of them are stopped, as soon as every host has what comes
    after them, and kept: the old procedure is the way back.

    With --new-authority every process restarts, and every client needs a new bundle of
    `client-config`; that of the old authority is refused. Use it when a client's key is lost to
    somebody, or the folder of the authority is.
    """
    fleet = load_fleet(
        file,
        limit=limit,
        accept_new=accept_new,
        new_authority=new_authority,
        keep_scheduler=keep_scheduler,
    )
    pace = Pace(None if all_at_once else batch, drain)
    with Progress(several=len(fleet.hosts) > 1, quiet=json_) as progress:

        def confirm(plan: Plan) -> bool:
            question = f"Bring up fleet {fleet.layout.name}?"
            with progress.paused():
                return _confirm(fleet, plan, question, yes=yes, json_=json_, pace=pace)

        done = run(
            fleet,
            fleet.up(
                confirm=confirm,
                sink=progress,
                timeout=timeout,
                break_lease=break_lease,
                pace=pace,
                take_over=take_over,
            ),
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
@drain_option
@file_option
@yes_option
@timeout_option
@reports_errors
def restart_command(
    names: tuple[str, ...],
    rolling: bool,
    drain: float,
    file: Path | None,
    yes: bool,
    timeout: float,
) -> None:
    """Restart processes, all or by NAME, and wait until they are registered again.

    All workers of one group on one host are one unit and restart together; what they hold in
    memory is computed again by the scheduler if a client still wants it. A client whose
    scheduler restarts loses its futures. With --rolling the scheduler stays, and nothing is lost:
    the workers of a host end what they compute and hand over what they hold, restart, and are
    registered again before those of the next.
    """
    fleet = load_fleet(file)
    with Progress(several=len(fleet.hosts) > 1) as progress:

        def confirm(plan: Plan) -> bool:
            with progress.paused():
                return _confirm(fleet, plan, "Restart?", yes=yes)

        done = run(
            fleet,
            fleet.restart(
                frozenset(names),
                confirm=confirm,
                sink=progress,
                timeout=timeout,
                rolling=rolling,
                pace=Pace(drain=drain),
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
                return _confirm(fleet, plan, f"Take down fleet {name}?", yes=yes)

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
