"""Types of the fields that are about containers."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, WithJsonSchema

from dask_fleet.spec.fields import Text, wrong

__all__ = ["Folder", "Image", "Owner", "Volume", "VolumeName"]

# As github.com/distribution/reference has it.
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_OWNER = re.compile(r"[1-9][0-9]{0,9}:[0-9]{1,10}")
_VOLUME = re.compile(r"(?:/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]*):/[^:]*(?::(?:ro|rw))?")

_FOLDER = re.compile(r"(?:/[^/:\s]+)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        raise wrong(
            "not the name of an image",
            "write it as `docker pull` takes it, such as quay.io/bcdev/xcube:1.13.3",
        )
    return value


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise wrong(
            "not a user and a group by their numbers",
            'write "UID:GID" in quotes, such as "1000:1000"; root is refused',
        )
    return value


def _folder(value: str) -> str:
    if not _FOLDER.fullmatch(value):
        raise wrong(
            "not a folder by its absolute path",
            "write it as hosts have it, with no `~`, such as /home/dask/fleet",
        )
    return value


def _volume(value: str) -> str:
    if not _VOLUME.fullmatch(value):
        raise wrong(
            "not a volume",
            "write HOST_PATH:PATH or NAME:PATH, both paths absolute, with `:ro` to only read it",
        )
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise wrong("not the name of a volume", "use letters, digits, `_`, `.` and `-`")
    return value


Folder: TypeAlias = Annotated[
    Text, AfterValidator(_folder), WithJsonSchema({"type": "string", "pattern": _FOLDER.pattern})
]
"""A folder of a host, by an absolute path that stands in volumes as it is."""

Image: TypeAlias = Annotated[
    Text, AfterValidator(_image), WithJsonSchema({"type": "string", "pattern": _IMAGE.pattern})
]
"""Name of an image with registry, tag and digest as far as they are needed."""

Owner: TypeAlias = Annotated[
    Text, AfterValidator(_owner), WithJsonSchema({"type": "string", "pattern": _OWNER.pattern})
]
"""User and group by their numbers; never root."""

Volume: TypeAlias = Annotated[
    Text, AfterValidator(_volume), WithJsonSchema({"type": "string", "pattern": _VOLUME.pattern})
]
"""A folder of the host, or a named volume, and where containers have it."""

VolumeName: TypeAlias = Annotated[
    Text, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": _NAME.pattern})
]
"""Name of a volume that Docker keeps."""
