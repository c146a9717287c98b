"""Sends an image to a host over the connection to it: what it lacks of it, and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.command import Command
from dask_fleet.errors import CommandFailedError, EnvironmentBuildError
from dask_fleet.runtimes.engines import ENGINE

if TYPE_CHECKING:
    from dask_fleet.images.store import Piece
    from dask_fleet.transports.base import Transport

__all__ = ["Shipment", "ship"]

SECONDS = 7200.0
"""After which sending an image counts as failed."""

_STAGES = {
    10: (
        "there is no room for the image",
        "free space there: `dask fleet image prune`, or `docker system prune` on that host",
    ),
    13: (
        "its engine does not take the image",
        "see what Docker says above; what was damaged on the way comes right with another try",
    ),
    16: (
        "what was sent broke off before its end",
        "try again: what has arrived is there, and only the rest is sent",
    ),
    17: ("another operator is sending an image", "try again when that has ended"),
}
"""What each exit status of the script means: fault and remedy."""

# Pieces come on standard input in their order; a size of 0 is one that is here. Each gets its name
# when it is whole, so that what was cut off is gone on with. The engine itself takes an archive
# wholly or not at all; it unpacks it beside its layers first, hence twice the room.
_RECEIVE = (
    ENGINE
    + """\
set -eu
umask 077
spool=$1 image=$2 kib=$3 unpacked=$4
shift 4
mkdir -p "$spool"
cd "$spool"
exec 9<.
flock -n 9 || exit 17
rm -f ./*.new
room() {
  free=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
  if [ "$free" -lt "$2" ]; then
    echo "$1: $((free / 1024)) MiB are free of about $(($2 / 1024)) needed" >&2
    exit 10
  fi
}
room "$(engine_root)" "$unpacked"
room . "$kib"
order=
while [ $# -gt 0 ]; do
  name=$1 size=$2
  shift 2
  if [ "$size" -gt 0 ]; then
    head -c "$size" >"$name.new"
    if [ "$(wc -c <"$name.new")" -ne "$size" ]; then exit 16; fi
    mv "$name.new" "$name"
  fi
  order="$order $name"
done
set +e
cat $order | load_image "$image" >&2
status=$?
set -e
find . -type f -exec rm -f {} +
if [ "$status" -ne 0 ]; then exit 13; fi
"""
)


@dataclass(frozen=True, slots=True)
class Shipment:
    """What a host is sent.

    Attributes
    ----------
    image : str
        Name of the image.
    opening : bytes
        First part of the archive, compressed.
    pieces : tuple of Piece
        All others, in their order.
    there : frozenset of str
        Digests of those that have arrived before.
    unpacked : int
        Bytes of its layers, unpacked.
    spool : str
        Folder on the host for what has arrived, until all of it has.
    """

    image: str
    opening: bytes
    pieces: tuple[Piece, ...]
    there: frozenset[str]
    unpacked: int
    spool: str

    @property
    def missing(self) -> Sequence[Piece]:
        """The pieces that have to be sent."""
        return [piece for piece in self.pieces if piece.digest not in self.there]

    @property
    def size(self) -> int:
        """Bytes that are sent."""
        return len(self.opening) + sum(piece.size for piece in self.missing)

    @property
    def command(self) -> Command:
        """The command that takes it."""
        words = [hashlib.sha256(self.opening).hexdigest(), str(len(self.opening))]
        for piece in self.pieces:
            words += [piece.digest, "0" if piece.digest in self.there else str(piece.size)]
        kib = self.size // 1024 + 10_000
        unpacked = 2 * self.unpacked // 1024 + 10_000
        return Command(
            (
                "sh",
                "-c",
                _RECEIVE,
                "receive",
                self.spool,
                self.image,
                str(kib),
                str(unpacked),
                *words,
            ),
            self.opening,
            SECONDS,
            files=tuple(piece.path for piece in self.missing),
            title=f"receive {self.image}",
        )


async def ship(transport: Transport, shipment: Shipment) -> None:
    """Send an image to a host.

    Raises
    ------
    EnvironmentBuildError
        There is no room, or its engine does not take it.
    UnreachableHostError
        The connection was cut; what has arrived is gone on with.
    """
    try:
        await transport.run(shipment.command)
    except CommandFailedError as error:
        fault, remedy = _STAGES.get(error.status or 0, ("sending the image failed", "try again"))
        last = "".join(f"\n{line}" for line in error.message.splitlines()[1:])
        raise EnvironmentBuildError(f"{transport.host}: {fault}{last}", remedy) from error
