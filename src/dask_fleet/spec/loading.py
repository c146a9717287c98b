"""From fleet.yaml to a checked `Spec`, or to every problem that it has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import yaml

from dask_fleet.errors import Problem, SpecError
from dask_fleet.spec.check import check
from dask_fleet.spec.default import default_spec
from dask_fleet.spec.finding import FILE_NAME
from dask_fleet.spec.positions import UNREADABLE, Document, read_document
from dask_fleet.spec.report import Report
from dask_fleet.spec.salvage import salvage
from dask_fleet.spec.variables import substitute

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path as File

    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.report import Path

__all__ = ["load", "not_yaml", "parse"]

_BARE_IN_FLOW = re.compile(r"[^\[{]*[\[{].*?(?:\$\{|[A-Za-z0-9_.-]\[[0-9])")


def load(
    path: File | None,
    environ: Mapping[str, str],
    *,
    host_memory: Mapping[str, int] | None = None,
) -> Spec:
    """Read and check a fleet.yaml.

    Parameters
    ----------
    path : Path or None
        The file; ``None`` is the default fleet on this machine.
    environ : Mapping
        The caller's environment, for ``${VAR}``.
    host_memory : Mapping, optional
        Bytes of memory by host name, for hosts that declare none; ``"*"`` is this machine and
        stands for every local host.

    Raises
    ------
    SpecError
        With every problem of the file.
    """
    if path is None:
        return default_spec()
    source = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _fatal(source, "there is no such file", "`dask fleet init` writes one") from None
    except IsADirectoryError:
        raise _fatal(source, "this is a directory", f"name a file, such as {FILE_NAME}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _fatal(source, f"it cannot be read: {reason}", "mend its permissions") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _fatal(f"{source}:{line}", "this is not UTF-8 text", "save it as UTF-8") from None
    return parse(text, environ, source=source, host_memory=host_memory)


def parse(
    text: str,
    environ: Mapping[str, str],
    *,
    source: str = FILE_NAME,
    host_memory: Mapping[str, int] | None = None,
) -> Spec:
    """Check the text of a fleet.yaml; as `load`, without a file.

    Raises
    ------
    SpecError
        With every problem of the text.
    """
    try:
        document = read_document(text, lambda scalar: substitute(scalar, environ))
    except yaml.YAMLError as error:
        raise not_yaml(error, text, source) from None
    report = Report(source, document)
    for path, line, fault, remedy in document.faults:
        report.add(path, fault, remedy, line=line)
        if path and not _first_counts(path):
            report.spoil(path[:-1] if path[-1] == "<<" else path)
    spec = _validate(document, report)
    if spec is not None:
        check(spec, report, host_memory or {})
    if spec is None or report.problems:
        raise SpecError(report.problems)
    return spec


def _first_counts(path: Path) -> bool:
    """Return whether the first of two is looked at: a host, a group or all of the groups.

    Of any other two values for one key nobody knows which is meant.
    """
    return path == ("workers",) or (len(path) == 2 and path[0] in ("hosts", "workers"))


def _fatal(place: str, fault: str, remedy: str) -> SpecError:
    return SpecError((Problem(place, "", fault, remedy),))


def not_yaml(error: yaml.YAMLError, text: str, source: str) -> SpecError:
    """Return the error for a text that is not YAML, with line and column where they are known."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    fault = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable")
    if mark is not None:
        row, column = int(mark.line), int(mark.column)
    elif isinstance(position, int):
        row = text.count("\n", 0, position)
        column = position - text.rfind("\n", 0, position) - 1
    else:  # pragma: no cover - every error of PyYAML says where it is
        return _fatal(source, f"not valid YAML: {fault}", "")
    lines = text.split("\n")
    line = lines[row] if row < len(lines) else ""
    remedy = ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        fault, remedy = "a tab in the indentation", "indent with spaces"
    elif "another document" in fault:
        fault, remedy = "more than one YAML document", "keep one fleet in a file"
    elif _BARE_IN_FLOW.match(line):
        remedy = "within { } and [ ] write ranges and variables in quotes"
    return _fatal(f"{source}:{row + 1}", f"not valid YAML, column {column + 1}: {fault}", remedy)


def _validate(document: Document, report: Report) -> Spec | None:
    """Return the spec of what is sound; what is not is reported and has a stand-in."""
    value = document.value
    if value is None:
        report.add((), "the file is empty", "`dask fleet init` writes one to begin with")
        return None
    if not isinstance(value, dict):
        if value is not UNREADABLE:
            report.add((), f"expected a mapping, got {report.shown(())}", 'begin with "name: ..."')
        return None
    return salvage(cast("dict[str, object]", value), report)
