"""Types of the fields of the door; as `dask_fleet.spec.fields`, of which it is a part."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from dask_fleet.spec.fields import Text, is_address, wrong
from dask_fleet.spec.variables import unwrap

__all__ = ["Email", "Listen", "Network", "Shorthand", "Url", "address_and_port"]

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9\[\]:._~/?&=%@+,-]+", re.ASCII)
"""What stands in nginx's file as it is; quotes, braces, semicolons and dollars are not in it."""


@dataclass(frozen=True)
class Shorthand:
    """Words that stand for a section: ``login: users`` for ``login: {users: true}``.

    Attributes
    ----------
    words : tuple
        Each word, and the section that it stands for; None for having none.
    """

    words: tuple[tuple[str | bool, Mapping[str, object] | None], ...]

    def expand(self, value: object) -> object:
        """Return the section that a word stands for; a section as it is."""
        plain = unwrap(value)
        for word, section in self.words:
            if plain == word and isinstance(plain, bool) == isinstance(word, bool):
                return None if section is None else dict(section)
        if isinstance(plain, (str, int, float)):
            listed = " or ".join(json.dumps(word).strip('"') for word, _ in self.words)
            raise wrong("", f'write {listed}, or "key: value" lines under it')
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the section, behind the words."""
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return that a word or a section is accepted."""
        return {"anyOf": [{"enum": [word for word, _ in self.words]}, handler(core)]}


def address_and_port(value: str) -> tuple[str, int]:
    """Return the parts of ``8080``, ``10.0.0.1:8080`` or ``[::1]:8080``; no address is ``""``.

    Raises
    ------
    ValueError
        When it is none of them.
    """
    address, colon, port = value.rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]") and ":" in address
    plain = address[1:-1] if bracketed else address
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("not a port, nor an address and a port")
    if colon and (not is_address(plain) or (":" in plain) != bracketed):
        raise ValueError("not an address and a port")
    return plain, int(port)


def _listen(value: object) -> str:
    plain = unwrap(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, str)):
        raise wrong("", "write a port, such as 443, or ADDRESS:PORT")
    try:
        address, port = address_and_port(str(plain))
    except ValueError as error:
        raise wrong(str(error), "write a port, such as 443, or ADDRESS:PORT") from None
    shown = f"[{address}]" if ":" in address else address
    return f"{shown}:{port}" if shown else str(port)


Listen: TypeAlias = Annotated[
    str,
    PlainValidator(_listen),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^(.+:)?[0-9]{1,5}$"},
            ]
        }
    ),
]
"""A port, or an address and a port."""


def _network(value: str) -> str:
    import ipaddress  # costs some milliseconds, and few fleets need it

    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise wrong(
            "neither a network nor an address", "write one such as 10.0.0.0/8 or 10.1.2.3"
        ) from None


Network: TypeAlias = Annotated[Text, AfterValidator(_network)]
"""A network or an address."""


def _url(value: str) -> str:
    remedy = "write one such as http://127.0.0.1:4180/oauth2/auth"
    parts = urlsplit(value) if _URL.fullmatch(value) else None
    if parts is not None and "@" in parts.netloc:
        raise wrong('"user:password@" in a URL, where others can read it', remedy)
    if parts is None or not parts.hostname:
        raise wrong("not a URL", remedy)
    return value


Url: TypeAlias = Annotated[
    Text, AfterValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})
]
"""A URL of http or https."""


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value) or len(value) > 254:
        raise wrong("not an e-mail address", "write one such as ops@example.org")
    return value


Email: TypeAlias = Annotated[Text, AfterValidator(_email)]
"""An e-mail address."""
