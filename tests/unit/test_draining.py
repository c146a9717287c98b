"""What is said of workers that are drained, and of those that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from dask_fleet.draining import hindrance, progress

BUSY: dict[str, Any] = {
    "done": False,
    "superseded": False,
    "running": {"w1": ["slow-1", "slow-2"]},
    "held": {"w1": ["a"], "w2": ["b"]},
    "counts": [2, 7],
    "actors": 1,
    "recipients": 3,
}


def test_progress_is_said_while_there_is_something_to_wait_for():
    said = progress(BUSY)
    assert said == "waits for 2 tasks to end, 7 results to be moved, 1 actor to go"
    assert progress(BUSY | {"done": True}) == ""
    assert progress(BUSY | {"counts": [0, 0], "actors": 0}) == ""


def test_what_hinders_is_named():
    first, *more = hindrance(BUSY).splitlines()
    assert first == "its workers were not drained in time; nothing is lost, they go on as before"
    assert [line.strip() for line in more] == [
        "w1 computes slow-1, slow-2",
        "w1 alone holds a",
        "w2 alone holds b",
        "1 actor, which cannot be moved",
        "and 5 more",
    ]


def test_a_worker_that_does_not_answer_is_named():
    seen = BUSY | {"counts": [0, 0], "running": {}, "held": {}, "actors": 0, "silent": ["w3"]}
    assert progress(seen) == "waits for 1 worker to answer"
    assert hindrance(seen).splitlines()[1:] == ["  w3 does not answer"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (BUSY | {"recipients": 0}, "no other worker is there to take"),
        ({"done": False, "superseded": True}, "another operator"),
        ({"done": False, "unknown": True}, "earlier dask-fleet"),
    ],
)
def test_other_reasons(seen: dict[str, Any], words: str):
    assert words in hindrance(seen)
