"""The archive that `docker load` takes, in parts that are made once and put together for each host.

It is a tar file with a manifest, the image's configuration and its layers
(https://github.com/moby/docker-image-spec, version 1.2). Compressed streams that follow each other
are one stream, so each part is compressed by itself, and a host gets those that it needs.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Sequence

__all__ = ["END", "compressed", "layer_name", "member_head", "member_tail", "opening"]

_BLOCK = tarfile.BLOCKSIZE

END = b"\0" * (2 * _BLOCK)
"""What a tar file ends with."""


def compressed(content: bytes) -> bytes:
    """Return a part as a compressed stream; the same content gives the same bytes."""
    return gzip.compress(content, compresslevel=1, mtime=0)


def member_head(name: str, size: int) -> bytes:
    """Return what stands before a member's content."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def member_tail(size: int) -> bytes:
    """Return what stands behind a member's content."""
    return b"\0" * (-size % _BLOCK)


def opening(image: str, configuration: bytes, id_: str, layers: Sequence[str]) -> bytes:
    """Return manifest and configuration of an archive.

    Parameters
    ----------
    image : str
        Name with tag that the image gets.
    configuration : bytes
        The image's configuration, whose digest is its id.
    id_ : str
        ``sha256:...``.
    layers : sequence of str
        Digests of all its layers, also of those that the archive does not hold.
    """
    name = f"{id_.partition(':')[2]}.json"
    manifest = [
        {"Config": name, "RepoTags": [image], "Layers": [layer_name(layer) for layer in layers]}
    ]
    text = json.dumps(manifest, separators=(",", ":")).encode()
    return b"".join(
        member_head(member, len(content)) + content + member_tail(len(content))
        for member, content in (("manifest.json", text), (name, configuration))
    )


def layer_name(layer: str) -> str:
    """Return the name of a layer's member."""
    return f"{layer.partition(':')[2]}/layer.tar"
