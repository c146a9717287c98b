"""The JSON Schema of fleet.yaml, for completion and checking in editors."""

from __future__ import annotations

from typing import Any, cast

from dask_fleet.spec.model import Spec

__all__ = ["json_schema"]

_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
_SCALARS = ("integer", "number", "boolean")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of fleet.yaml.

    Every value may also be a ``${VAR}``. What depends on several values at once, such as ports
    that collide, no schema can say: `dask fleet check` does.
    """
    schema = cast("dict[str, Any]", _with_references(Spec.model_json_schema()))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Written by `dask fleet schema`.",
        **schema,
        "title": "fleet.yaml of dask-fleet",
    }


def _with_references(schema: object) -> object:
    """Return a schema in which a ``${VAR}`` is allowed wherever a scalar is."""
    if isinstance(schema, list):
        return [_with_references(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in ("default", "const", "enum", "propertyNames", "required", "needs"):
            result[key] = value
        elif key == "properties":
            result[key] = {name: _with_references(one) for name, one in value.items()}
        else:
            result[key] = _with_references(value)
    kind = result.get("type")
    restricted = kind in _SCALARS or "const" in result or "enum" in result
    if not (restricted or (kind == "string" and "pattern" in result)):
        return result
    about = {
        key: result.pop(key)
        for key in ("title", "description", "default", "needs")
        if key in result
    }
    return {**about, "anyOf": [result, _REFERENCE]}
