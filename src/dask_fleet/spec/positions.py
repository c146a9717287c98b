"""YAML to values, with the line of every key and value, and every duplicate key found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import yaml

from dask_fleet.spec.scalars import resolve
from dask_fleet.spec.variables import BadReferenceError, Substituted

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_fleet.spec.report import Path

__all__ = ["UNREADABLE", "Document", "Mark", "Unreadable", "read_document"]

_PLAIN = "?"
_STRING = "tag:yaml.org,2002:str"
_KNOWN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")
)
_DEEPEST = 100
_SUSPICIOUS = 400
_BRACKETS = re.compile(r"[\[\]{}]")
_NOT_BARE = re.compile(
    r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|(?:^|(?<=\s))#[^\n]*', re.DOTALL | re.MULTILINE
)
_NOT_BREAK = re.compile(r"[^\n]")
_COMPACT = re.compile(rf"(?:[-?:] +){{{_SUSPICIOUS}}}")


class Unreadable:
    """Stands where the file has a value that cannot be read; the fault is already reported."""


UNREADABLE = Unreadable()


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a key and its value stand, by line from 1, and the value's text as written."""

    key_line: int
    line: int
    text: str | None


@dataclass(slots=True)
class Document:
    """The values of a file and where they stand.

    Attributes
    ----------
    value : object
        Mappings, lists and scalars; what could not be read is `UNREADABLE`.
    marks : dict
        By path of keys and indices.
    faults : list
        Path, line, fault and remedy of what could not be read.
    """

    value: object = None
    marks: dict[Path, Mark] = field(default_factory=dict[Any, Mark])
    faults: list[tuple[Path, int, str, str]] = field(
        default_factory=list[tuple[Any, int, str, str]]
    )


class _Tags:
    """Resolver hooks of a YAML loader that leave the meaning of scalars to `resolve`."""

    def resolve(self, kind: type[yaml.Node], _: object, implicit: object) -> str:
        """Return the tag of a node that has none: `_PLAIN` for a scalar without quotes."""
        if kind is yaml.ScalarNode:
            return _PLAIN if cast("tuple[bool, bool]", implicit)[0] else _STRING
        return "tag:yaml.org,2002:" + ("map" if kind is yaml.MappingNode else "seq")

    def descend_resolver(self, *_: object) -> None:
        """Do nothing: no tag depends on a path."""

    def ascend_resolver(self) -> None:
        """Do nothing: no tag depends on a path."""


def _loader(text: str) -> Any:
    """Return a loader of a text; libyaml's when PyYAML has it, which is much faster."""
    base: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return cast("Any", type("Loader", (_Tags, base), {}))(text)


class TooDeepError(yaml.YAMLError):
    """A text that is nested deeper than any fleet."""

    def __init__(self, position: int) -> None:
        self.problem = f"more than {_DEEPEST} levels deep"
        self.position = position
        super().__init__(self.problem)


def _refuse_depth(text: str) -> None:
    """Raise for a text so deep that libyaml, which recurses and searches, would crash or hang.

    Comments and quoted text are only looked at when many brackets or dashes seem to be open.
    """
    if _depth_fault(text) is None:
        return
    bare = _NOT_BARE.sub(lambda match: _NOT_BREAK.sub(" ", match[0]), text)
    position = _depth_fault(bare)
    if position is not None:
        raise TooDeepError(position)


def _depth_fault(text: str) -> int | None:
    """Return where too many brackets are open, or too many dashes follow one another."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > _SUSPICIOUS:
            return match.start()
    match = _COMPACT.search(text)
    return match.start() if match else None


def read_document(text: str, substitute: Callable[[str], str]) -> Document:
    """Read one YAML document.

    Parameters
    ----------
    text : str
        The file.
    substitute : callable
        Replaces variables in a scalar; may raise `BadReferenceError`.

    Raises
    ------
    yaml.YAMLError
        When the text is not YAML.
    """
    _refuse_depth(text)
    document = Document()
    node = cast("yaml.Node | None", _loader(text).get_single_node())
    if node is not None:
        document.value = _Builder(document, substitute, len(text)).build(node, (), 1)
    return document


class _Builder:
    """Builds values from nodes and notes where they stand."""

    def __init__(self, document: Document, substitute: Callable[[str], str], size: int) -> None:
        self.document = document
        self.substitute = substitute
        self.open: set[int] = set()
        self.seen = 0
        # A file without anchors has fewer nodes than characters; one with many, some times more.
        self.most = 10_000 + 5 * size

    def build(self, node: yaml.Node, path: Path, key_line: int) -> object:
        line = node.start_mark.line + 1
        scalar = isinstance(node, yaml.ScalarNode)
        self.document.marks[path] = Mark(key_line, line, str(node.value) if scalar else None)
        self.seen += 1
        if self.seen > self.most:
            if self.seen == self.most + 1:
                self.fault(path, line, "the anchors of the file expand without end", "")
            return UNREADABLE
        if node.tag is not _PLAIN and node.tag not in _KNOWN_TAGS:
            return self.fault(path, line, f'unknown tag "{node.tag}"', "leave the tag out")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, line)
        if id(node) in self.open:
            return self.fault(path, line, "an anchor that contains itself", "write it out")
        if len(path) > _DEEPEST:
            return self.fault(path, line, f"more than {_DEEPEST} levels deep", "")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            items = cast("list[yaml.Node]", node.value)
            return [
                self.build(item, (*path, index), item.start_mark.line + 1)
                for index, item in enumerate(items)
            ]
        finally:
            self.open.discard(id(node))

    def fault(self, path: Path, line: int, fault: str, remedy: str) -> Unreadable:
        entry = (path, line, fault, remedy)
        if not any(entry[1:] == known[1:] for known in self.document.faults[-20:]):
            self.document.faults.append(entry)
        return UNREADABLE

    def scalar(self, node: yaml.ScalarNode, path: Path, line: int) -> object:
        text = str(node.value)
        if "$" in text:
            try:
                text = self.substitute(text)
            except BadReferenceError as error:
                return self.fault(path, line, error.fault, error.remedy)
            if isinstance(text, Substituted):
                return text
        return text if node.tag == _STRING else resolve(text)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.fault(path, line, "a key that is not text", 'write it in quotes: "..."')
                continue
            name = str(key.value)
            if name == "<<" and key.tag == _PLAIN:
                merged.append(value)
            elif name in lines:
                first = lines[name]
                self.fault(
                    (*path, name),
                    line,
                    f'duplicate key "{name}", first on line {first}',
                    "remove one of them",
                )
            else:
                lines[name] = line
                result[name] = self.build(value, (*path, name), line)
        for value in merged:
            self.merge(value, path, result)
        return result

    def merge(self, node: yaml.Node, path: Path, result: dict[str, object]) -> None:
        """Add the keys of ``<<`` that the mapping does not have itself."""
        if isinstance(node, yaml.SequenceNode):
            for item in cast("list[yaml.Node]", node.value):
                self.merge(item, path, result)
            return
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode) or id(node) in self.open:
            self.fault((*path, "<<"), line, "<< merges mappings only", "give it an anchor's alias")
            return
        self.open.add(id(node))
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = str(key.value)
            if isinstance(key, yaml.ScalarNode) and name == "<<" and key.tag == _PLAIN:
                self.merge(value, path, result)
            elif isinstance(key, yaml.ScalarNode) and name not in result:
                result[name] = self.build(value, (*path, name), key.start_mark.line + 1)
        self.open.discard(id(node))
