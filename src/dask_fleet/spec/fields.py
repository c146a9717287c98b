"""Types of the model's fields: what they accept, and plain sentences for what they do not."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from dask_fleet.spec.ranges import RangeError, expand
from dask_fleet.spec.ranges import count as range_count
from dask_fleet.spec.sizes import SMALLEST, parse_ports, parse_size
from dask_fleet.spec.variables import Substituted, unwrap

__all__ = [
    "FORGIVING",
    "Address",
    "AddressPattern",
    "Auto",
    "Directory",
    "EnvironmentVariable",
    "Flag",
    "FleetName",
    "GroupName",
    "HostPattern",
    "MemoryLimit",
    "PortRange",
    "Prefix",
    "Requirement",
    "Resources",
    "Settings",
    "Size",
    "Text",
    "Threads",
    "UserName",
    "VariableName",
    "Version",
    "Whole",
    "is_address",
    "wrong",
]

Auto: TypeAlias = Literal["auto"]

_WORD = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_DOTTED = re.compile(r"[0-9.]+", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+", re.ASCII)
_VERSION = re.compile(r"3\.[0-9]{1,2}(?:\.[0-9]{1,2})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def wrong(fault: str, remedy: str = "", *, quotes: bool = False) -> PydanticCustomError:
    """Return an error that carries fault and remedy as they are to be read.

    ``quotes`` says that they repeat parts of the value, which may be secret.
    """
    context = {"fault": fault, "remedy": remedy, "quotes": quotes}
    return PydanticCustomError("fleet", "{fault}", context)


def _text(value: object) -> object:
    return str(value) if isinstance(value, Substituted) else value


def _no_control(value: str) -> str:
    if _CONTROL.search(value):
        raise wrong("text with a line break or control character", "write it on one line")
    return value


Text: TypeAlias = Annotated[str, BeforeValidator(_text), AfterValidator(_no_control)]
"""Text on one line."""

Flag: TypeAlias = Annotated[bool, BeforeValidator(unwrap)]
"""A truth value."""


Whole: TypeAlias = Annotated[int, BeforeValidator(unwrap)]
"""A whole number; its bounds stand with the field."""


FORGIVING = {"forgiving": True}
"""Validation context in which bad names of hosts and groups pass: they are reported already."""


def _word(kind: str, longest: int) -> AfterValidator:
    def check(value: str, info: ValidationInfo) -> str:
        if info.context is not None:
            return value
        if not _WORD.fullmatch(value):
            raise wrong(
                f"{kind} has characters that it may not have",
                "use small letters, digits and hyphens, beginning with a letter",
            )
        if len(value) > longest:
            raise wrong(f"{kind} is longer than {longest} characters", "shorten it")
        return value

    return AfterValidator(check)


def _word_schema(longest: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9-]*$", "maxLength": longest})


_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}", re.ASCII)


def _user_name(value: str) -> str:
    if not _USER.fullmatch(value):
        raise wrong(
            "not a name for a system user",
            "use small letters, digits, hyphens and underscores, 31 at most",
        )
    if value == "root":
        raise wrong("processes do not run as root", "name an unprivileged user")
    return value


UserName: TypeAlias = Annotated[
    Text,
    AfterValidator(_user_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z_][a-z0-9_-]{0,30}$"}),
]
FleetName: TypeAlias = Annotated[Text, _word("the name of the fleet", 40), _word_schema(40)]
GroupName: TypeAlias = Annotated[Text, _word("the name of the group", 40), _word_schema(40)]
Prefix: TypeAlias = Annotated[Text, _word("the prefix", 40), _word_schema(40)]


def _checked_range(value: str) -> str:
    try:
        range_count(value)
        first = expand(value)[0]
    except RangeError as error:
        raise wrong(error.fault, error.remedy, quotes=True) from None
    return first


def _host_pattern(value: str, info: ValidationInfo) -> str:
    first = _checked_range(value)
    if info.context is not None:
        return value
    if not _HOST.fullmatch(first) or len(first) > 200:
        raise wrong(
            "not a name for a host",
            "use letters, digits, hyphens and dots, and ranges such as vm-[01-04]",
        )
    return value


def is_address(value: str) -> bool:
    """Return whether text is an IP address or could be the name of a host."""
    if ":" in value:
        if not _IPV6.fullmatch(value):
            return False
        import ipaddress  # costs some milliseconds, and few fleets need it

        try:
            ipaddress.IPv6Address(value)
        except ValueError:
            return False
        return True
    if _DOTTED.fullmatch(value):
        parts = value.split(".")
        return len(parts) == 4 and all(part.isdigit() and int(part[:9]) < 256 for part in parts)
    return _HOST.fullmatch(value) is not None and len(value) < 254


def _address_pattern(value: str) -> str:
    if value.startswith("[") and value.endswith("]") and ":" in value:
        raise wrong("an IPv6 address in brackets", f"write {value[1:-1]}", quotes=True)
    if value.startswith(("tcp://", "http://", "https://", "tls://", "ssh://")):
        raise wrong("a URL where an address is expected", "write the IP address or host name alone")
    _checked_range(value)
    names = expand(value)
    if not (is_address(names[0]) and is_address(names[-1])):
        raise wrong("neither an IP address nor a host name", "write one such as 192.168.1.11")
    return value


def _address(value: str) -> str:
    if "[" in value:
        raise wrong("a range where one address is expected", "write one address")
    return _address_pattern(value)


HostPattern: TypeAlias = Annotated[Text, AfterValidator(_host_pattern)]
"""A host's name, or a range of names."""

AddressPattern: TypeAlias = Annotated[Text, AfterValidator(_address_pattern)]
"""An address, or a range of addresses."""

Address: TypeAlias = Annotated[Text, AfterValidator(_address)]


def _size(value: object) -> int:
    plain = unwrap(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, str)):
        raise wrong("", "write a size with its unit, such as 4 GiB")
    try:
        size = plain if isinstance(plain, int) else parse_size(plain)
    except ValueError as error:
        remedy = "write a number and a unit, such as 4 GiB or 500 MB"
        raise wrong(str(error), remedy, quotes=True) from None
    if size < SMALLEST:
        raise wrong("a size below 1 MiB", "write a number with its unit, such as 4 GiB")
    return size


def _size_or_auto(value: object) -> int | Auto:
    return "auto" if value == "auto" else _size(value)


_SIZE_SCHEMA: dict[str, object] = {
    "anyOf": [
        {"type": "integer", "minimum": SMALLEST},
        {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[kKmMgGtTpP]?([iI]?[bB]?)\s*$"},
    ]
}
_AUTO_SCHEMA: dict[str, object] = {"const": "auto"}

Size: TypeAlias = Annotated[int, PlainValidator(_size), WithJsonSchema(_SIZE_SCHEMA)]
"""Bytes, from ``4 GiB`` and the like."""

MemoryLimit: TypeAlias = Annotated[
    int | Auto,
    PlainValidator(_size_or_auto),
    WithJsonSchema({"anyOf": [_AUTO_SCHEMA, _SIZE_SCHEMA]}),
]


def _threads(value: object) -> int | Auto:
    plain = unwrap(value)
    if plain == "auto":
        return "auto"
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise wrong("", 'write a whole number or "auto"')
    if not 1 <= plain <= 1024:
        raise wrong("threads are 1 to 1024", 'write a whole number or "auto"')
    return plain


Threads: TypeAlias = Annotated[
    int | Auto,
    PlainValidator(_threads),
    WithJsonSchema({"anyOf": [_AUTO_SCHEMA, {"type": "integer", "minimum": 1, "maximum": 1024}]}),
]


def _port_range(value: object) -> str:
    if not isinstance(value, str):
        raise wrong("", "write first and last port, such as 9000-9100")
    try:
        first, last = parse_ports(value)
    except ValueError as error:
        raise wrong(str(error), "write first and last port, such as 9000-9100") from None
    return f"{first}-{last}"


PortRange: TypeAlias = Annotated[
    str,
    PlainValidator(_port_range),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[0-9]+\s*-\s*[0-9]+\s*$"}),
]


def _amount(value: object) -> float:
    plain = unwrap(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise wrong("", "write a number")
    if not math.isfinite(plain):
        raise wrong("an amount that is not finite", "write a number")
    if plain < 0:
        raise wrong("an amount below 0", "write 0 or more")
    return float(plain)


Resources: TypeAlias = dict[
    Text,
    Annotated[float, PlainValidator(_amount), WithJsonSchema({"type": "number", "minimum": 0})],
]
"""Dask resources by name."""


def _variable_name(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise wrong("not a name for an environment variable", "use letters, digits and _")
    return value


VariableName: TypeAlias = Annotated[Text, AfterValidator(_variable_name)]
EnvironmentVariable: TypeAlias = Text


def _directory(value: str) -> str:
    if not value.startswith("/") and value != "~" and not value.startswith("~/"):
        raise wrong(
            "a directory that is not absolute", "begin it with / or ~/: it is on every host"
        )
    return value


Directory: TypeAlias = Annotated[Text, AfterValidator(_directory)]


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise wrong("not a version of Python 3", 'write one such as "3.11"')
    return value


Version: TypeAlias = Annotated[
    Text, AfterValidator(_version), WithJsonSchema({"type": "string", "pattern": "^3\\.[0-9]+"})
]


def _requirement(value: str) -> str:
    if not value.strip() or value.lstrip().startswith(("-", "#")):
        raise wrong(
            "not a package",
            "write a name, with its version if it matters, such as zarr or zarr==2.18.7",
        )
    return value.strip()


Requirement: TypeAlias = Annotated[Text, AfterValidator(_requirement)]


def _settings(value: object) -> object:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: _settings(item) for key, item in items}
    if isinstance(value, list):
        return [_settings(item) for item in cast("list[object]", value)]
    return unwrap(value)


Settings: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_settings)]
"""Nested settings of any kind."""
