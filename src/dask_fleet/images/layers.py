"""What an engine says of its images, and which layers of one it lacks; purely.

An engine keeps layers by their chain: a layer and all that lie below it. `docker load` does not
open a layer whose chain is there, so an archive need not hold it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

__all__ = [
    "INSPECT",
    "EngineFacts",
    "ImageFacts",
    "image_id",
    "lacking",
    "read_engine",
    "read_image",
]

INSPECT = "{{.Id}} {{.Os}}/{{.Architecture}} {{.Size}} {{json .RootFS.Layers}}"
"""Template of what `read_image` reads."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image of an engine.

    Attributes
    ----------
    id : str
        Digest of its configuration, ``sha256:...``.
    platform : str
        Such as ``linux/amd64``.
    size : int
        Bytes of all its layers, unpacked.
    layers : tuple of str
        Digests of its layers, unpacked, the base first.
    """

    id: str
    platform: str
    size: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What decides what a host's engine has to be sent.

    Attributes
    ----------
    platform : str
        What it runs, such as ``linux/amd64``.
    free : int
        Bytes that are free where it keeps images.
    images : tuple of ImageFacts
        What it has; none if its store does not take an archive that lacks layers.
    """

    platform: str
    free: int
    images: tuple[ImageFacts, ...]


def read_image(line: str) -> ImageFacts:
    """Return what a line that `INSPECT` made says."""
    id_, platform, size, layers = line.split(" ", 3)
    found = cast("list[str] | None", json.loads(layers))
    return ImageFacts(image_id(id_), platform, int(size), tuple(found or ()))


def image_id(text: str) -> str:
    """Return an image's id as Docker writes it; Podman leaves out by which digest."""
    return text if text.startswith("sha256:") else f"sha256:{text}"


def read_engine(text: str) -> EngineFacts:
    """Return what a look at an engine has printed; see `dask_fleet.images.engine`."""
    platform, free, store = "", 0, ""
    images: list[ImageFacts] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "platform":
            platform = rest
        elif word == "free_kib":
            free = int(rest) * 1024
        elif word == "store":
            store = rest
        elif word == "image":
            images.append(read_image(rest))
    # containerd's own store wants every layer of an archive.
    return EngineFacts(platform, free, () if "containerd" in store else tuple(images))


def lacking(layers: Sequence[str], images: Iterable[ImageFacts]) -> int:
    """Return the index of the first layer that has to be sent; all before it are there."""
    longest = 0
    for image in images:
        common = 0
        for wanted, there in zip(layers, image.layers, strict=False):
            if wanted != there:
                break
            common += 1
        longest = max(longest, common)
    return longest
