"""Makes a built image the same each time: its layer, and its configuration.

Docker's builder writes down when each file was made, and in the configuration when, in which
container and by which version of itself the image was. None of it changes what runs.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from typing import IO, Any, cast

from dask_fleet.images.context import EPOCH

__all__ = ["same_configuration", "same_layer"]

_TIME = "1980-01-01T00:00:00Z"
"""`EPOCH`, as a configuration has it."""

_OF_ONE_BUILD = ("container", "container_config", "docker_version", "parent", "id")
_OF_ONE_CONTAINER = ("Hostname", "Image")


class _Hashing:
    """A file that takes the digest of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        self.size += len(content)
        return self._file.write(content)

    @property
    def digest(self) -> str:
        return f"sha256:{self._digest.hexdigest()}"


def same_layer(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    """Copy a layer, a tar file, without the times of its files.

    Returns
    -------
    str, int
        The digest of what was written, and its bytes.
    """
    hashing = _Hashing(target)
    with (
        tarfile.open(fileobj=source, mode="r|") as old,
        tarfile.open(
            fileobj=cast("IO[bytes]", hashing), mode="w|", format=tarfile.GNU_FORMAT
        ) as new,
    ):
        for member in old:
            member.mtime, member.pax_headers = EPOCH, {}
            member.uname = member.gname = ""
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return hashing.digest, hashing.size


def same_configuration(content: bytes, own: int, layers: Sequence[str]) -> bytes:
    """Return an image's configuration without what differs from build to build.

    Parameters
    ----------
    content : bytes
        The configuration that the builder wrote.
    own : int
        How many entries at the end of its history are not those of the base image, which stay as
        they are. They have made one layer.
    layers : sequence of str
        The digests of its layers.
    """
    found = cast("dict[str, Any]", json.loads(content))
    for key in _OF_ONE_BUILD:
        found.pop(key, None)
    for key in _OF_ONE_CONTAINER:
        found.get("config", {}).pop(key, None)
    found["created"] = _TIME
    # The builder's own words name the digest of what it copied, times and all.
    found["history"] = [
        *found.get("history", [])[:-own],
        {"created": _TIME, "created_by": "dask-fleet image build"},
    ]
    found["rootfs"] = {"type": "layers", "diff_ids": list(layers)}
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
