"""A lab: its network, its hosts, the operator's home, and what is left of it on this machine."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lab.base import ENGINES, ensure_base, locked
from lab.guest import PACKAGES as GUESTS
from lab.home import OperatorHome
from lab.host import Disk, Host, HostSpec, default_hosts
from lab.machine import (
    LabError,
    Process,
    call,
    cgroup_folders,
    end_processes,
    install,
    processes_in_cgroups,
    processes_in_namespace,
    remove_cgroups,
    unmount_below,
)
from lab.network import GATEWAY, GATEWAY6, Network

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

__all__ = ["Lab"]


class Lab:
    """Hosts on a bridge of their own; also a context manager, ``up`` and ``down``.

    Parameters
    ----------
    folder
        Where everything of it is kept. Its last part is the lab's name; labs in different folders
        know nothing of each other.
    hosts
        The hosts, or how many: one scheduler host and workers.
    layers
        Folders that are laid read-only below each host's root and above the base, first on top.
    cache
        Where bases are kept; ``lab-base`` two levels above the lab's folder when not given.
    images
        What an engine has stored, from a host of an earlier lab (`Host.stored`): every host
        with an engine begins with it.
    """

    def __init__(
        self,
        folder: Path,
        hosts: Sequence[HostSpec] | int = 5,
        *,
        layers: Sequence[Path] = (),
        cache: Path | None = None,
        images: Path | None = None,
    ) -> None:
        self.folder = folder.resolve()  # as mounts show it
        self.name = self.folder.name
        self.layers = [layer.resolve() for layer in layers]
        if any(
            character in str(self.folder) + "".join(map(str, self.layers)) for character in ":,"
        ):
            raise LabError(f"{folder}: an overlay cannot have ':' or ',' in its path")
        self.cache = cache or self.folder.parents[1] / "lab-base"
        self.images = images
        self.shared = self.folder / "shared"
        self.network = Network(self.folder)
        self.home = OperatorHome(self.folder / "home")
        specs = default_hosts(hosts) if isinstance(hosts, int) else list(hosts)
        if len({spec.number for spec in specs}) < len(specs):
            raise LabError("two hosts of the lab have the same number")
        self.hosts = [Host(self, spec) for spec in specs]
        self._base: Path | None = None

    @classmethod
    def load(cls, folder: Path) -> Lab:
        """Return the lab that is up in a folder, by what it wrote down.

        Raises
        ------
        LabError
            If there is none.
        """
        try:
            state = json.loads((folder / "state.json").read_text())
        except FileNotFoundError as error:
            raise LabError(f"no lab in {folder}; python -m lab up makes one") from error
        specs: list[HostSpec] = []
        for raw in state["hosts"]:
            disks = tuple(Disk(**disk) for disk in raw.pop("disks"))
            specs.append(HostSpec(**{**raw, "options": tuple(raw["options"])}, disks=disks))
        layers = [Path(layer) for layer in state["layers"]]
        return cls(folder, specs, layers=layers, cache=Path(state["cache"]))

    def __enter__(self) -> Self:
        """Boot all hosts."""
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        """Tear everything down."""
        self.down()

    def __getitem__(self, name: str) -> Host:
        """Return the host of this name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"no host {name}; there are {', '.join(host.name for host in self.hosts)}")

    @property
    def base(self) -> Path:
        """The base of all hosts; it is made when it is missing.

        Raises
        ------
        LabError
            If it cannot be made, or the hosts are to have different engines.
        """
        if self._base is None:
            engines = {host.spec.engine for host in self.hosts} - {""}
            if len(engines) > 1:
                raise LabError(f"hosts of one lab have one engine, not {sorted(engines)}")
            packages = [name for engine in engines for name in ENGINES[engine]]
            if any(host.spec.guest for host in self.hosts):
                packages += GUESTS
            self._base = ensure_base(self.cache, packages)
        return self._base

    @property
    def scheduler(self) -> Host:
        """The first host."""
        return self.hosts[0]

    @property
    def workers(self) -> list[Host]:
        """All other hosts."""
        return self.hosts[1:]

    # -- up and down -------------------------------------------------------------------------

    def open(self) -> None:
        """Make the network and the operator's home, without hosts."""
        install()
        with locked(self.folder / "lock"):
            self._write_state()
            self.network.up()
            self.home.make(self.hosts)

    def up(self, seconds: float = 90) -> None:
        """Boot all hosts at once; return when each is up and answers by SSH.

        What an earlier lab left in the folder is removed first. If it fails, nothing stays.

        Raises
        ------
        LabError
            If a host is not up within `seconds`; every such host is named.
        """
        _ = self.base
        self._remove_hosts()
        self.open()
        try:
            self.network.load_faults()
            lines = ["127.0.0.1 localhost", "::1 localhost", f"{GATEWAY} operator"]
            lines += [f"{GATEWAY6} operator"]
            lines += [f"{host.address} {host.name}" for host in self.hosts]
            names = "\n".join([*lines, ""])
            key = self.home.key.with_suffix(".pub").read_text()

            def boot(host: Host) -> None:
                host.prepare(key, names)
                host.start()

            self.each(boot)
            self.home.know(self.hosts)
            self.each(lambda host: host.wait_up(seconds))
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End and remove all of it, also what a killed run left; doing it twice does no harm.

        Inside its own namespace the network stays: it is the business of ``python -m lab run``.
        """
        self._remove_hosts()
        if self.network.inside:
            return
        with locked(self.folder / "lock"):
            end_processes(lambda: processes_in_namespace(self.network.path))
            self.network.down()
            (self.folder / "state.json").unlink(missing_ok=True)
            shutil.rmtree(self.folder / "home", ignore_errors=True)

    def _remove_hosts(self) -> None:
        with locked(self.folder / "lock"):
            below = self.folder / "hosts"
            names = {host.name for host in self.hosts}
            names |= {path.name for path in below.iterdir()} if below.is_dir() else set()
            groups: list[Path] = []
            for name in sorted(names):
                groups += cgroup_folders(f"{self.network.name}-{name}")
            keepers = list(below.glob("*/keeper.json"))
            for path in keepers:
                Process(**json.loads(path.read_text())).end()
            end_processes(lambda: processes_in_cgroups(groups))
            remove_cgroups(groups)
            self.network.remove_ports()
            unmount_below(below)
            for folder in (below, self.shared):
                if folder.exists():
                    shutil.rmtree(folder)

    def _write_state(self) -> None:
        state = {
            "name": self.name,
            "namespace": self.network.name,
            "cgroups": [f"{self.network.name}-{host.name}" for host in self.hosts],
            "mounts_below": str(self.folder / "hosts"),
            "cache": str(self.cache),
            "layers": [str(layer) for layer in self.layers],
            "hosts": [asdict(host.spec) for host in self.hosts],
        }
        temporary = self.folder / "state.json.new"
        temporary.write_text(json.dumps(state, indent=1))
        temporary.replace(self.folder / "state.json")

    def each(self, act: Callable[[Host], object], hosts: Sequence[Host] | None = None) -> None:
        """Do something with all hosts at once; one error names every host that failed."""
        chosen = self.hosts if hosts is None else hosts
        with ThreadPoolExecutor(max(1, len(chosen))) as pool:
            results = [pool.submit(act, host) for host in chosen]
        problems = [str(error) for result in results if (error := result.exception())]
        if problems:
            raise LabError("\n".join(problems))

    # -- commands from the operator's place --------------------------------------------------

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs `argv` in the lab's namespace."""
        return [*self.network.prefix(), *argv]

    def environment(self) -> dict[str, str]:
        """Return the environment of the operator: ``HOME``, ``PATH``, ``DASK_FLEET_LAB``."""
        return self.network.environment(self.folder)

    def call(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the operator and capture what it says."""
        return call(self.command(argv), check=check, timeout=timeout, env=self.environment())

    # -- faults between hosts ----------------------------------------------------------------

    def partition(self, one: Sequence[Host], other: Sequence[Host]) -> None:
        """Let two groups of hosts not reach each other; the operator reaches all."""
        groups = (tuple(host.port for host in one), tuple(host.port for host in other))
        self.network.faults.splits.append(groups)
        self.network.load_faults()

    def heal_partition(self) -> None:
        """Undo every `partition`."""
        self.network.faults.splits.clear()
        self.network.load_faults()

    def block(self, source: Host | None, target: Host, port: int) -> None:
        """Drop what goes to a TCP port of a host, from one host or (None) from everybody."""
        self.network.faults.blocks.append((source.port if source else "", target.port, port))
        self.network.load_faults()

    def lose_first(self, source: Host, target: Host, port: int) -> None:
        """Lose the first packet of each connection from one host to a TCP port of another.

        The kernel that connects sends another one after a second: a connection takes that long.
        """
        self.network.faults.losses.append((source.port, target.port, port))
        self.network.load_faults()

    def unblock(self) -> None:
        """Undo every `block` and `lose_first`."""
        self.network.faults.blocks.clear()
        self.network.faults.losses.clear()
        self.network.load_faults()
