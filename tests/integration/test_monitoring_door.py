"""A real Prometheus watches a fleet through its door, with TLS and a login."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import watching
from tests.integration.test_monitoring import (
    test_a_scheduler_that_does_not_answer_is_alarmed,
    test_a_worker_that_is_frozen_is_alarmed,
    test_a_worker_that_is_killed_and_kept_away_is_alarmed,
    test_every_query_of_the_dashboard_has_data,
    test_prometheus_finds_every_process_by_itself,
    test_promtool_finds_nothing_wrong,
)
from tests.integration.watching import Watched

__all__ = [
    "test_a_scheduler_that_does_not_answer_is_alarmed",
    "test_a_worker_that_is_frozen_is_alarmed",
    "test_a_worker_that_is_killed_and_kept_away_is_alarmed",
    "test_every_query_of_the_dashboard_has_data",
    "test_prometheus_finds_every_process_by_itself",
    "test_promtool_finds_nothing_wrong",
]


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with watching.watching(through=True) as one:
        yield one


@pytest.fixture(scope="module")
def computing(watched: Watched) -> Iterator[None]:
    with watching.computing(watched):
        yield
