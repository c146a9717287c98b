"""What all models of fleet.yaml have in common."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Model", "Needs", "field", "port_field"]

Needs: TypeAlias = Literal["nothing", "reload", "restart", "machine"]
"""What a change of a field asks of a running fleet."""


def field(
    needs: Needs, description: str, default: Any = ..., *, keys: str = "", **more: Any
) -> Any:
    """Return a field that says what a change of it needs, and what its keys look like."""
    if "default_factory" not in more:
        more["default"] = default
    extra: dict[str, Any] = {"needs": needs}
    if keys:
        extra["propertyNames"] = {"pattern": keys}
    return Field(description=description, json_schema_extra=extra, **more)


def port_field(description: str, default: int | None) -> Any:
    """Return a field for a port of Dask's processes."""
    return field("restart", description, default, ge=1, le=65535)


class Model(BaseModel):
    """Takes no unknown key and no value of another kind, and never changes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)
