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


def _matches(pattern: re.Pattern[str], fault: str, remedy: str) -> AfterValidator:
    """Return the check that a text is wholly like a pattern."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise wrong(fault, remedy)
        return value

    return AfterValidator(check)


def _schema(pattern: re.Pattern[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern.pattern})


Folder: TypeAlias = Annotated[
    Text,
    _matches(
        _FOLDER,
        "not a folder by its absolute path",
        "write it as hosts have it, with no `~`, such as /home/dask/fleet",
    ),
    _schema(_FOLDER),
]
"""A folder of a host, by an absolute path that stands in volumes as it is."""

Image: TypeAlias = Annotated[
    Text,
    _matches(
        _IMAGE,
        "not the name of an image",
        "write it as `docker pull` takes it, such as quay.io/bcdev/xcube:1.13.3",
    ),
    _schema(_IMAGE),
]
"""Name of an image with registry, tag and digest as far as they are needed."""

Owner: TypeAlias = Annotated[
    Text,
    _matches(
        _OWNER,
        "not a user and a group by their numbers",
        'write "UID:GID" in quotes, such as "1000:1000"; root is refused',
    ),
    _schema(_OWNER),
]
"""User and group by their numbers; never root."""

Volume: TypeAlias = Annotated[
    Text,
    _matches(
        _VOLUME,
        "not a volume",
        "write HOST_PATH:PATH or NAME:PATH, both paths absolute, with `:ro` to only read it",
    ),
    _schema(_VOLUME),
]
"""A folder of the host, or a named volume, and where containers have it."""

VolumeName: TypeAlias = Annotated[
    Text,
    _matches(_NAME, "not the name of a volume", "use letters, digits, `_`, `.` and `-`"),
    _schema(_NAME),
]
"""Name of a volume that Docker keeps."""
