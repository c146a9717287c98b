"""A Docker engine, on the operator's machine or on a host: finds, builds and gives away images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.command import Command, script
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError, FleetError
from dask_fleet.events import Note, Sink
from dask_fleet.images.layers import INSPECT, EngineFacts, ImageFacts, read_engine, read_image
from dask_fleet.runtimes.engines import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from dask_fleet.transports.base import Transport

__all__ = ["Engine", "Given"]

SECONDS = 3600.0
"""After which building an image, or getting it out of an engine, counts as failed."""

_LAST = 20
"""Lines of a failed build that its error repeats."""

# An image may vanish while they are listed: then inspect fails, and says what it has found.
_FACTS = f"""\
{ENGINE}set -eu
spool=$1
echo "platform $(engine_platform)"
echo "store $(engine_store)"
df -Pk "$(engine_root)" | awk 'NR == 2 {{ print "free_kib " $4 }}'
for image in $(docker image ls --all --quiet --no-trunc | sort -u); do echo "$image"; done |
  xargs --no-run-if-empty docker image inspect --format 'image {INSPECT}' || :
if [ -d "$spool" ]; then
  cd "$spool"
  find . -type f ! -name '*.new' -exec sha256sum {{}} + | sed 's/^/piece /'
fi
"""

# A layer may be a link to that of another image. Paths in a manifest have no blanks. Layers are
# compressed in parts, as many at once as there are CPUs: streams that follow each other are one.
_EXPORT = """\
set -eu
image=$1
shift
wanted=" $* "
work=$(mktemp -d "${TMPDIR:-/var/tmp}/dask-fleet-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
docker save "$image" | tar -x -C "$work"
cd "$work"
mkdir out
cp "$(sed 's/.*"Config":"\\([^"]*\\)".*/\\1/' manifest.json)" out/config.json
index=0
for layer in $(sed 's/.*"Layers":\\[\\([^]]*\\)\\].*/\\1/; s/[",]/ /g' manifest.json); do
  case $wanted in *" $index "*)
    size=$(wc -c <"$layer")
    echo "$size" >"out/$index.size"
    from=0
    while [ "$from" -eq 0 ] || [ $((from << 20)) -lt "$size" ]; do
      echo "$layer" "$from" "$index.$(printf %07d "$from")"
      from=$((from + 32))
    done ;;
  esac
  index=$((index + 1))
done | xargs --no-run-if-empty -n 3 -P "$(nproc)" sh -c '
  dd if="$1" bs=1M skip="$2" count=32 status=none | gzip -n -1 >"out/$3.part"
' compress
for size in out/*.size; do
  if [ -f "$size" ]; then
    cat "${size%.size}".*.part >"${size%.size}.gz"
    rm "${size%.size}".*.part
  fi
done
tar -c -f - -C out .
"""

_LOAD = f"""\
{ENGINE}load_image "$1"
"""

_FORGET = """\
set -eu
if docker image inspect "$1" >/dev/null 2>&1; then docker image rm "$1"; fi
docker image prune --force --filter "label=$2"
"""


@dataclass(frozen=True, slots=True)
class Given:
    """What an engine is given on standard input: bytes, then files of the operator's."""

    first: bytes
    files: tuple[str, ...]


class Engine:
    """A Docker engine.

    Parameters
    ----------
    transport : Transport
        Where its client is.
    shown : str
        What it is, in words.
    """

    def __init__(self, transport: Transport, shown: str) -> None:
        self.transport = transport
        self.shown = shown

    async def answers(self) -> bool:
        """Return whether there is an engine and we may use it."""
        argv = ("docker", "version", "--format", "{{.Server.Version}}")
        try:
            await self.transport.run(Command(argv))
        except FleetError:
            return False
        return True

    async def find(self, image: str) -> ImageFacts | None:
        """Return what is known of an image; None if it is not there."""
        argv = ("docker", "image", "inspect", "--format", INSPECT, image)
        done = await self.transport.run(Command(argv), check=False)
        return read_image(done.stdout.strip()) if done.status == 0 else None

    async def facts(self, spool: str) -> tuple[EngineFacts, frozenset[str]]:
        """Return what it has, and the digests of parts that lie sound in a folder beside it."""
        text = (await self.transport.run(script(_FACTS, spool))).stdout
        pieces = [line.split() for line in text.splitlines() if line.startswith("piece ")]
        sound = frozenset(digest for _, digest, path in pieces if path == f"./{digest}")
        return read_engine(text), sound

    async def need(self, image: str) -> ImageFacts:
        """Return what is known of an image that others are made of; pull it if it is not there.

        Raises
        ------
        EnvironmentBuildError
            It is not there, and no registry gives it.
        """
        found = await self.find(image)
        if found is None:
            command = Command(("docker", "pull", "--quiet", image), timeout=SECONDS)
            done = await self.transport.run(command, check=False)
            found = await self.find(image)
            if found is None:
                said = (done.stderr or done.stdout).strip().splitlines()[-_LAST:]
                last = "".join(f"\n  | {line}" for line in said)
                raise EnvironmentBuildError(
                    f"the base image {image} is not on {self.shown}, and cannot be pulled{last}",
                    "correct its name, load it there with `docker load`, or build on a host that"
                    " has it: `environment: {build_on: HOST}`",
                )
        return found

    async def inside(self, image: str, text: str) -> str:
        """Return what a shell script prints in a container of an image, without a network."""
        argv = ("docker", "run", "--rm", "-i", "--network=none", "--entrypoint=/bin/sh", image)
        return (await self.transport.run(Command((*argv, "-s"), text.encode()))).stdout

    async def load(self, image: str, archive: Given) -> None:
        """Take an image over that was made elsewhere."""
        argv = ("sh", "-c", _LOAD, "load", image)
        await self.transport.run(Command(argv, archive.first, SECONDS, archive.files))

    async def forget(self, image: str, label: str) -> None:
        """Remove an image if it is there, and what nothing uses that bears a label."""
        await self.transport.run(script(_FORGET, image, label, timeout=SECONDS))

    async def build(
        self, context: Given, image: str, labels: Mapping[str, str], sink: Sink
    ) -> None:
        """Build an image.

        Parameters
        ----------
        context : Given
            A tar file with the Dockerfile and what it copies.
        image : str
            Name with tag that it gets.
        labels : Mapping
            Labels that it gets beside those of the Dockerfile.
        sink : callable
            Takes a `Note` for each line that the engine says.

        Raises
        ------
        EnvironmentBuildError
            With the last lines that were said.
        """
        given = (word for one in labels.items() for word in ("--label", "=".join(one)))
        argv = ("docker", "build", "--force-rm", "--tag", image, *given, "-")
        command = Command(argv, context.first, SECONDS, context.files)
        said: list[str] = []
        try:
            async for line in self.transport.lines(command):
                said.append(line)
                sink(Note(self.transport.host, line))
        except CommandFailedError as error:
            last = "\n".join(f"  | {line}" for line in said[-_LAST:] or [error.message])
            raise EnvironmentBuildError(
                f"the image cannot be built on {self.shown}; nothing was changed on any host\n"
                f"{last}",
                "mend what Docker says above in the Dockerfile or beside it; a base image has to be"
                " on that engine, or in a registry that it reaches",
            ) from error

    async def export(self, image: str, wanted: Iterable[int], path: Path) -> None:
        """Write an image's configuration and some of its layers, compressed, into a tar file.

        Parameters
        ----------
        image : str
            Its name or id.
        wanted : iterable of int
            Which layers, counted from the base.
        path : Path
            A file of the operator's. It has ``config.json`` and for each layer ``N.gz`` and
            ``N.size``, which says how many bytes it has unpacked.
        """
        indexes = map(str, wanted)
        argv = ("sh", "-c", _EXPORT, "export", image, *indexes)
        await self.transport.run(Command(argv, timeout=SECONDS, output=str(path)))
