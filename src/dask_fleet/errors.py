"""Kinds of failure, each a type with the exit code that the command line ends with.

Nothing branches on the text of a message; what a caller may want to know is an attribute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "EXIT_CHANGES",
    "EXIT_CODES",
    "EXIT_USAGE",
    "CommandFailedError",
    "DeadlineError",
    "DrainError",
    "EnvironmentBuildError",
    "FindingsError",
    "FleetError",
    "JobError",
    "LeaseHeldError",
    "PortHeldError",
    "Problem",
    "RolloutError",
    "SeveralErrors",
    "SpecError",
    "UnreachableHostError",
    "together",
]

EXIT_CHANGES = 2
"""What ``plan`` ends with when something would change."""

EXIT_USAGE = 64
"""What a wrong option or argument ends with (``EX_USAGE`` of sysexits.h)."""


class FleetError(Exception):
    """A failure that a person can act on.

    Parameters
    ----------
    message : str
        Place and fault, one plain sentence; further lines may carry detail.
    remedy : str, optional
        What to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a spec: where it stands, what is wrong, how to mend it.

    Attributes
    ----------
    place : str
        ``FILE:LINE``, or the name of the source where there is no line.
    key : str
        Path of the key, such as ``workers.default.hosts[2]``; empty for the whole file.
    fault : str
        What is wrong.
    remedy : str
        How to mend it.
    """

    place: str
    key: str
    fault: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.place} {self.key}" if self.key else self.place
        tail = f"; {self.remedy}" if self.remedy else ""
        return f"{where}: {self.fault}{tail}"


class SpecError(FleetError):
    """The spec is wrong; carries every problem found, in the order of the file."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UnreachableHostError(FleetError):
    """A host did not answer, or refused to be talked to."""

    exit_code = 4

    def __init__(self, host: str, message: str, remedy: str = "") -> None:
        self.host = host
        super().__init__(f"{host}: {message}", remedy)


class LeaseHeldError(FleetError):
    """Another operator is at work on this fleet."""

    exit_code = 5


class EnvironmentBuildError(FleetError):
    """The fleet's software environment cannot be made."""

    exit_code = 6


class DeadlineError(FleetError):
    """Something that should have come true did not within its time."""

    exit_code = 7


class PortHeldError(FleetError):
    """A declared port is held by a process that is not the fleet's."""

    exit_code = 8


class CommandFailedError(FleetError):
    """A command on a host ended with a status other than 0.

    Attributes
    ----------
    host : str
        Where it ran.
    status : int or None
        Its exit status; ``None`` when it never ended by itself.
    """

    exit_code = 9

    def __init__(
        self, host: str, command: str, status: int | None, output: str, remedy: str = ""
    ) -> None:
        self.host = host
        self.status = status
        last = "\n".join(f"  | {line}" for line in output.strip().splitlines()[-12:])
        ended = "did not end" if status is None else f"ended with status {status}"
        super().__init__(f"{host}: `{command}` {ended}" + (f"\n{last}" if last else ""), remedy)


class JobError(FleetError):
    """A job that was run on the fleet failed."""

    exit_code = 10


class FindingsError(FleetError):
    """The doctor has found an error."""

    exit_code = 11


class DrainError(FleetError):
    """Workers could not be drained in time, and go on as before."""

    exit_code = 12


class RolloutError(FleetError):
    """An update that goes host by host has stopped; its exit code is that of its cause.

    Parameters
    ----------
    cause : FleetError
        Why it has stopped.
    left : str
        Which hosts it has not come to, in words.
    """

    def __init__(self, cause: FleetError, left: str) -> None:
        self.cause = cause
        self.exit_code = cause.exit_code
        message = f"{cause.message}\n{left}" if left else cause.message
        super().__init__(message, cause.remedy)


class SeveralErrors(FleetError):  # noqa: N818 - a collection of errors, not an error of its own
    """Failures of several hosts; every one is reported, none hides another."""

    def __init__(self, errors: tuple[FleetError, ...]) -> None:
        self.errors = errors
        codes = {error.exit_code for error in errors}
        self.exit_code = codes.pop() if len(codes) == 1 else 1
        super().__init__("\n".join(str(error) for error in errors))


def together(errors: Iterable[FleetError]) -> FleetError:
    """Return one error that says what all of these say."""
    every = tuple(errors)
    return every[0] if len(every) == 1 else SeveralErrors(every)


EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, "done; for `plan`: nothing would change"),
    (1, "failed, for several different reasons or one without a code of its own"),
    (EXIT_CHANGES, "`plan` only: something would change"),
    (SpecError.exit_code, "fleet.yaml is wrong; every problem is listed"),
    (UnreachableHostError.exit_code, "a host cannot be reached"),
    (LeaseHeldError.exit_code, "another operator is at work on this fleet"),
    (EnvironmentBuildError.exit_code, "the software environment cannot be made"),
    (DeadlineError.exit_code, "workers or scheduler did not come up in time"),
    (PortHeldError.exit_code, "a declared port is held by a process that is not the fleet's"),
    (CommandFailedError.exit_code, "a command on a host failed"),
    (JobError.exit_code, "a job that was run on the fleet failed"),
    (FindingsError.exit_code, "`doctor` has found an error"),
    (DrainError.exit_code, "workers could not be drained in time; they go on as before"),
    (EXIT_USAGE, "wrong option or argument"),
    (130, "interrupted; run `up` or `down` to go on"),
)
"""Every exit code of the command line and what it means, for the help text and the reference."""
