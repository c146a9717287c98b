"""Fetches the wheels of one environment for one platform with pip, and packs them.

pip and not uv, because uv has no command that downloads wheels for another machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.builder import SECONDS, uv_program
from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError
from dask_fleet.events import Note, Sink
from dask_fleet.transports.local import LocalTransport
from dask_fleet.wheels.bundle import contents, write_bundle
from dask_fleet.wheels.platforms import HostPlatform, Lock, Pin, fits, platform_tags

if TYPE_CHECKING:
    from dask_fleet.environment import Environment

__all__ = ["BUNDLE", "HERE", "WHOLE", "Gathering", "run_here"]

BUNDLE = "environment.tar"
"""Name of what is sent to hosts, in the folder of an environment and platform."""

WHOLE = "whole.json"
"""Name of the file that is written last into that folder."""

HERE = "operator"
"""Who says what happens on this machine."""

_BATCH = 20
"""Packages that one pip fetches: what a killed download may lose."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """Fills one folder, whose lock is held."""

    environment: Environment
    platform: HostPlatform
    lock: Lock
    place: Path
    sink: Sink

    @property
    def _wheels(self) -> Path:
        return self.place / "wheels"

    def _say(self, text: str) -> None:
        self.sink(Note(HERE, text))

    async def run(self, text: str) -> None:
        """Fetch what is missing, pack it, and write the file that says that it is whole.

        Parameters
        ----------
        text : str
            The lock as it was given; it travels along for people to read.

        Raises
        ------
        EnvironmentBuildError
            A wheel cannot be had.
        """
        self._wheels.mkdir(parents=True, exist_ok=True)
        present = _names(self._wheels)
        missing = [pin for pin in self.lock.pins if pin.name not in present]
        # pip wants hashes for all or for none.
        missing.sort(key=lambda pin: not pin.hashes)
        self._say(f"gathering {len(missing)} of {len(self.lock.pins)} packages for {self.platform}")
        hashed = sum(bool(pin.hashes) for pin in missing)
        for part in (missing[:hashed], missing[hashed:]):
            for start in range(0, len(part), _BATCH):
                await self._fetch(part[start : start + _BATCH])
        uv = await self._uv()
        self._say("packing them for the way to the hosts")
        bundle = self.place / BUNDLE
        installed = await asyncio.to_thread(write_bundle, bundle, self._wheels, text, uv)
        record = {"wheels": len(self.lock.pins), "installed": installed}
        new = self.place / f"{WHOLE}.new"
        new.write_text(json.dumps(record), encoding="utf-8")
        new.replace(self.place / WHOLE)
        # A pip whose starter was killed may still have written here: nothing reads it.
        shutil.rmtree(self.place / "incoming", ignore_errors=True)

    async def _fetch(self, pins: list[Pin]) -> None:
        """Fetch some packages and move them in when all of them are there.

        With ``--no-deps`` pip takes a source distribution where a version has no wheel at all;
        those are built here.
        """
        with self._incoming() as place:
            listed = place / "requirements.txt"
            lines = (*self.lock.options, *map(str, pins))
            listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            check = ("--require-hashes",) if all(pin.hashes for pin in pins) else ()
            await self._pip("download", place, *check, "--requirement", str(listed))
            listed.unlink()
            names = {path.name for path in place.iterdir()}
            for name in sorted(names):
                if not name.endswith(".whl"):
                    await self._build(place / name)
            lost = {pin.name for pin in pins} - _names(place)
            if lost:
                raise EnvironmentBuildError(
                    f"{self._subject}: pip brought no {', '.join(sorted(lost))}", "try again"
                )
            for path in place.glob("*.whl"):
                path.replace(self._wheels / path.name)
        self._say(f"gathered {', '.join(pin.name for pin in pins)}")

    async def _build(self, source: Path) -> None:
        """Make a wheel of a source distribution, if it runs on any machine."""
        from packaging.utils import parse_wheel_filename

        self._say(f"building {source.name}: its version has no wheel for {self.platform}")
        built = source.with_name(f"{source.name}.built")
        fault = f"{self._subject}: {source.name} has no wheel for it"
        remedy = (
            "pin a version that has one, or build the wheel on such a host and name its directory"
            " in the lock with --find-links"
        )
        await run_here(
            Command(
                (
                    *(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps"),
                    *("--disable-pip-version-check", "--ignore-requires-python"),
                    *("--wheel-dir", str(built), str(source)),
                ),
                timeout=SECONDS,
            ),
            f"{fault}, and none can be built here",
            remedy,
        )
        for path in built.iterdir():
            tags = parse_wheel_filename(path.name)[3]
            if any(tag.platform != "any" for tag in tags) or not fits(tags, self.platform):
                raise EnvironmentBuildError(f"{fault}, and is not pure Python", remedy)
            path.replace(source.with_name(path.name))

    async def _uv(self) -> Path:
        """Return a uv that runs on the host: the tool's own, or the same version for it."""
        from importlib.metadata import distribution

        from packaging.tags import parse_tag

        lines = (distribution("uv").read_text("WHEEL") or "").splitlines()
        own = [line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")]
        if any(fits(parse_tag(tag), self.platform) for tag in own):
            return Path(uv_program())
        kept = self.place / "uv"
        if not kept.exists():
            self._say(f"gathering uv for {self.platform.machine}")
            with self._incoming() as place:
                await self._pip("download", place, "--only-binary=:all:", f"uv=={_uv_version()}")
                wheel = next(place.glob("*.whl"))
                new = place / "uv"
                new.write_bytes(contents(wheel, "/scripts/uv"))
                new.replace(kept)
        return kept

    async def _pip(self, verb: str, place: Path, *more: str) -> None:
        tags = platform_tags(self.platform)
        argv = (
            *(sys.executable, "-m", "pip", verb, "-qq", "--disable-pip-version-check"),
            *("--no-deps", "--progress-bar", "off", "--dest", str(place)),
            *("--implementation", "cp", "--python-version", self.platform.python),
            *("--abi", self.platform.abi, "--abi", "abi3", "--abi", "none"),
            *(word for tag in tags for word in ("--platform", tag)),
            *more,
        )
        await run_here(
            Command(argv, timeout=SECONDS),
            f"{self._subject}: its packages cannot be downloaded",
            "see what pip says above: no network or index, an unknown package, a wrong hash, or a"
            " version that has neither a wheel for this platform nor its source on the index",
        )

    @property
    def _subject(self) -> str:
        named = f"environment {self.environment.name} ({self.environment.digest})"
        return f"{named}, Python {self.platform.python} for {self.platform}"

    @contextlib.contextmanager
    def _incoming(self) -> Generator[Path]:
        parent = self.place / "incoming"
        parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as place:
            yield Path(place)


def _uv_version() -> str:
    """Return the version of the uv that was installed with this tool."""
    from importlib.metadata import version

    return version("uv")


def _names(place: Path) -> set[str]:
    from packaging.utils import parse_wheel_filename

    return {parse_wheel_filename(path.name)[0] for path in place.glob("*.whl")}


async def run_here(command: Command, fault: str, remedy: str) -> None:
    """Run a command here; what it wrote last goes into the error, its long argv does not."""
    try:
        outcome = await LocalTransport(HERE).run(command, check=False)
    except CommandFailedError as error:
        raise EnvironmentBuildError(f"{fault}: {error.message}", error.remedy or remedy) from error
    if outcome.status != 0:
        lines = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines()
        last = "\n".join(f"  | {line}" for line in lines[-12:])
        raise EnvironmentBuildError(f"{fault}\n{last}", remedy)
