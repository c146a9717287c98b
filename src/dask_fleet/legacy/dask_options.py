"""Options of Dask's own commands, and what becomes of each in a fleet.

A test holds the names to those of the installed distributed; names of old are beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import click

__all__ = ["OPTIONS", "Given", "Option", "read_arguments"]


@dataclass(frozen=True, slots=True)
class Option:
    """An option of ``dask scheduler`` or ``dask worker``.

    Attributes
    ----------
    names : tuple of str
        As they are written; of a flag with its contrary, such as ``--nanny/--no-nanny``.
    use : str
        Name under which its value is taken over; empty if it is not.
    why : str
        Why it matters, of one that is not taken over.
    becomes : str
        What the fleet does instead.
    flag : bool
        Whether it takes no value.
    """

    names: tuple[str, ...]
    use: str = ""
    why: str = ""
    becomes: str = ""
    flag: bool = False


def _used(use: str, *names: str) -> Option:
    return Option(names, use=use)


def _left(why: str, becomes: str, *names: str, flag: bool = False) -> Option:
    return Option(names, why=why, becomes=becomes, flag=flag)


_PID_FILE = _left(
    "programs that watch a pid file no longer find it",
    "Docker keeps the process; `dask fleet status` shows it",
    "--pid-file",
)
_SCHEDULER_FILE = _left(
    "clients that find the scheduler by this file no longer do",
    "`dask fleet env` prints the address",
    "--scheduler-file",
)
_PREFIX = _left(
    "links with this prefix lead nowhere",
    "the door gives each dashboard a place: `door: true`",
    "--dashboard-prefix",
    "--bokeh-prefix",
)
_INTERFACE = _left(
    "it says which address others dial",
    "the address of the host in fleet.yaml says it",
    "--interface",
)
_TLS = (
    _used("tls", "--tls-ca-file"),
    _used("tls_cert", "--tls-cert"),
    _used("tls_key", "--tls-key"),
)
_PROTOCOL = _left(
    "processes may speak another protocol",
    "they speak tcp, or TLS with `tls: true`",
    "--protocol",
)
_VERSION = _left("it only prints a version", "nothing", "--version", flag=True)
_LIFETIME = "a worker ended itself after a time, and Docker started it anew"
_ENDLESS = "workers of a fleet stay; `dask fleet restart --rolling` renews them"

OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "scheduler": (
        _used("port", "--port"),
        _used("dashboard", "--dashboard-address", "--bokeh-port", "--diagnostics-port"),
        _used("host", "--host"),
        _used("preload", "--preload"),
        *_TLS,
        _INTERFACE,
        _PROTOCOL,
        _PREFIX,
        _PID_FILE,
        _SCHEDULER_FILE,
        _VERSION,
        Option(("--dashboard/--no-dashboard", "--bokeh/--no-bokeh"), use="dashboard_on", flag=True),
        _left(
            "notebooks ran in the scheduler, open to whoever reached its dashboard",
            "a fleet has none; JupyterLab with the door is described in docs/jupyterlab.md",
            "--jupyter/--no-jupyter",
            flag=True,
        ),
        _left("it only opened a page", "`dask fleet open` does", "--show/--no-show", flag=True),
        _left(
            "headers of a proxy said who came",
            "the door sends them, and knows who may come",
            "--use-xheaders",
        ),
        _left(
            "the scheduler ended itself when nothing was to do",
            "a fleet stays",
            "--idle-timeout",
        ),
        _left("it served a port for HTTP of old", "nothing dials it any more", "--http-port"),
        _left("it named a folder of the scheduler's", "it needs none", "--local-directory"),
    ),
    "worker": (
        _used("worker", "--worker-port"),
        _used("nanny", "--nanny-port"),
        _used("dashboard", "--dashboard-address", "--bokeh-port", "--diagnostics-port"),
        _used("listen", "--listen-address"),
        _used("contact", "--contact-address"),
        _used("host", "--host"),
        _used("nthreads", "--nthreads"),
        _used("nworkers", "--nworkers", "--nprocs"),
        _used("name", "--name"),
        _used("memory", "--memory-limit"),
        _used("resources", "--resources"),
        _used("directory", "--local-directory"),
        _used("preload", "--preload"),
        _used("preload_nanny", "--preload-nanny"),
        *_TLS,
        _INTERFACE,
        _PROTOCOL,
        _PREFIX,
        _PID_FILE,
        _SCHEDULER_FILE,
        _VERSION,
        Option(("--dashboard/--no-dashboard", "--bokeh/--no-bokeh"), use="dashboard_on", flag=True),
        Option(("--nanny/--no-nanny",), use="nanny_on", flag=True),
        _left(
            "a worker without a scheduler ended itself after this time",
            "a worker of a fleet waits, and is started anew",
            "--death-timeout",
        ),
        _left(_LIFETIME, _ENDLESS, "--lifetime"),
        _left(_LIFETIME, _ENDLESS, "--lifetime-stagger"),
        _left(_LIFETIME, _ENDLESS, "--lifetime-restart/--no-lifetime-restart", flag=True),
        _left(
            "another class of workers may do what Dask's own does not",
            "workers of a fleet are distributed.Worker",
            "--worker-class",
        ),
        _left(
            "it named what the scheduler's certificate is for",
            "`tls: true` makes certificates for the names of hosts",
            "--scheduler-sni",
        ),
        _left("it served a port for HTTP of old", "nothing dials it any more", "--http-port"),
        _left(
            "workers dialled a scheduler that was gone",
            "a worker of a fleet is started anew, and registers",
            "--reconnect/--no-reconnect",
            flag=True,
        ),
    ),
}
"""By role. A name that distributed no longer has stands where an old Dockerfile may say it."""

_ADDRESS = re.compile(r"(?:\w+://)?\S*:\S+")


@dataclass(slots=True)
class Given:
    """What a command line says.

    Attributes
    ----------
    values : dict
        By `Option.use`: values as written, in a list; those of flags are ``yes`` or ``no``.
    left : list
        Options that are not taken over, each as written, and their `Option`.
    unknown : list of str
        Words that no version of the command knows.
    scheduler : str
        The scheduler's address, of a worker.
    fault : str
        Why it could not be read; empty if it could.
    """

    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    left: list[tuple[str, Option]] = field(default_factory=list[tuple[str, Option]])
    unknown: list[str] = field(default_factory=list[str])
    scheduler: str = ""
    fault: str = ""

    def one(self, use: str) -> str | None:
        """Return the last value of an option; ``None`` when it is not given."""
        values = self.values.get(use)
        return values[-1] if values else None


def read_arguments(role: str, arguments: Sequence[str]) -> Given:
    """Read what follows ``dask scheduler`` or ``dask worker``, by click, as Dask does itself."""
    given = Given()
    by_name = {f"option{index}": one for index, one in enumerate(OPTIONS[role])}
    command = click.Command(
        role,
        params=[
            *(_parameter(name, option) for name, option in by_name.items()),
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED),
        ],
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
    )
    try:
        context = command.make_context(role, list(arguments))
    except click.ClickException as error:
        given.fault = error.format_message()
        return given
    for name, option in by_name.items():
        value: object = context.params[name]
        if value is None or value == ():
            continue
        if isinstance(value, bool):
            texts = ["yes" if value else "no"]
        elif isinstance(value, (tuple, list)):
            texts = [str(one) for one in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        else:
            texts = [str(value)]
        if option.use:
            given.values[option.use] = texts
        else:
            written = option.names[0].split("/")[0]
            shown = written if option.flag else f"{written} {texts[-1]}"
            given.left.append((shown, option))
    words = [str(word) for word in context.params["words"]]
    if role == "worker":
        named = [word for word in words if not word.startswith("-")]
        given.scheduler = next((word for word in named if _ADDRESS.fullmatch(word)), "")
        given.scheduler = given.scheduler or next(iter(named), "")
        if given.scheduler:
            words.remove(given.scheduler)
    given.unknown = words
    return given


def _parameter(name: str, option: Option) -> click.Option:
    if option.flag:
        names = list(option.names)
        if len(names) > 1:
            ons, offs = zip(*(one.split("/") for one in names), strict=True)
            names = [f"{on}/{off}" for on, off in zip(ons, offs, strict=True)]
        return click.Option([name, *names], is_flag=True, default=None)
    # --dashboard-address of the 2.x series could be given several times; so can preloads.
    return click.Option([name, *option.names], multiple=True, type=str)
