"""The command line. Each command is imported when it is called, so that ``--help`` is fast."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any

import click

from dask_fleet import __version__
from dask_fleet.errors import EXIT_CODES, EXIT_USAGE

__all__ = ["fleet", "main"]

_COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("declare", "Write a commented fleet.yaml to begin with."),
    "import": ("importing", "Read the compose files of a set-up by hand into a fleet.yaml."),
    "check": ("declare", "Check fleet.yaml and list every problem in it."),
    "schema": ("declare", "Print the JSON Schema of fleet.yaml, for editors."),
    "plan": ("deploy", "Show what `up` would change, and why."),
    "up": ("deploy", "Bring the fleet up as declared; change just what differs."),
    "restart": ("deploy", "Restart processes, all or by name."),
    "down": ("deploy", "Stop the fleet and leave nothing of it behind."),
    "status": ("status", "List every process: ports, state, versions, memory, tasks."),
    "logs": ("inspect", "Print the logs of all processes, merged; follow them with -f."),
    "open": ("inspect", "Print the addresses of the dashboards and open the first."),
    "env": ("inspect", "Print DASK_SCHEDULER_ADDRESS=... for a shell."),
    "history": ("operate", "Who changed the fleet, when, to what, and how it ended."),
    "ports": ("network", "Print the firewall contract: who must reach whom, on which port."),
    "door": ("door", "The one address of all dashboards: what it is, and nginx's file for it."),
    "doctor": ("network", "Find out what is wrong with hosts and network."),
    "ssh": ("operate", "Log in to a host as the fleet does."),
    "exec": ("operate", "Run a command on all hosts, in the fleet's environment."),
    "render": ("rendering", "Write for every host what `up` would put there, to be carried to it."),
    "image": ("image", "Build, list and remove images of a fleet of containers."),
    "monitoring": ("monitoring", "Write what Prometheus and Grafana need to watch the fleet."),
    "client-config": ("operate", "Write what a client needs to connect to a fleet with TLS."),
    "demo": ("demo", "Make a real data cube on the fleet, verify it, draw it."),
}

_BELOW = {"image": ("build", "ls", "prune"), "monitoring": ("export",)}
"""Commands of commands."""


class _UsageError(click.UsageError):
    """Ends with 64; click's own 2 is what `plan` says when something would change."""

    exit_code = EXIT_USAGE


class _Fleet(click.Group):
    """Knows its commands by name and one line of help; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"dask_fleet.cli.{_COMMANDS[cmd_name][0]}")
        return getattr(module, f"{cmd_name.replace('-', '_')}_command")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])
        with formatter.section("Shell completion"):
            formatter.write_text(
                'eval "$(_DASK_FLEET_COMPLETE=bash_source dask-fleet)" in ~/.bashrc,'
                " or zsh_source, fish_source; it completes `dask-fleet`."
            )

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _UsageError(error.format_message(), error.ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _UsageError(error.format_message(), error.ctx) from error


@click.group(
    name="fleet",
    cls=_Fleet,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="dask-fleet")
@click.option("--file", "file", metavar="PATH", help="The fleet.yaml, for any command.")
@click.pass_context
def fleet(ctx: click.Context, file: str | None) -> None:
    """Bring up a Dask cluster that stays, and keep it as one file declares it.

    \b
      dask fleet up       scheduler and four workers on this machine
      dask fleet status   what runs, on which ports, since when
      dask fleet demo     a real data-cube job on them
      dask fleet down     nothing is left

    Without a fleet.yaml in the current directory (or --file) the fleet is the one on this
    machine: scheduler on port 8786, its dashboard on 8787, workers on 9010, 9020, 9030 and 9040.
    `dask fleet init` writes a fleet.yaml that says the same and can be changed.
    """
    if file is not None:
        ctx.default_map = {
            name: {"file": file} | {below: {"file": file} for below in _BELOW.get(name, ())}
            for name in _COMMANDS
        }


def main() -> None:
    """Run the command line as ``dask-fleet``."""
    # Looking for garbage among what is being imported finds none and costs time; `common.run`
    # turns it on before the work begins.
    gc.disable()
    fleet.main(prog_name="dask-fleet", args=sys.argv[1:])
