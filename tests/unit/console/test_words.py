"""How numbers are written; the browser's own words are held to these by an integration test."""

from __future__ import annotations

import pytest
from fleet_console import words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (10 << 20, "10 MiB"),
        ((10 << 20) - (1 << 15), "10 MiB"),
        (1 << 30, "1.0 GiB"),
        (5 << 50, "5.0 PiB"),
        (5000 << 50, "5000 PiB"),
    ],
)
def test_sizes(count: int, text: str):
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (3 << 29, 4 << 30, "1.5 of 4.0 GiB"),
        (5 << 20, 4 << 30, "5.0 MiB of 4.0 GiB"),
        (5 << 20, 0, "5.0 MiB"),
    ],
)
def test_sizes_of_sizes(part: int, whole: int, text: str):
    assert words.of(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str):
    assert words.duration(seconds) == text


def test_numbers_shares_and_moments():
    assert words.amount(1234567.4) == "1,234,567"
    assert [words.share(*pair) for pair in ((1, 3), (5, 4), (-1, 4), (1, 0))] == [33.3, 100, 0, 0]
    assert words.moment(0) == "1970-01-01 00:00:00 UTC"


def test_curves():
    assert words.curve([1], 0, 3) == ""
    assert words.curve([0, 1, 2], 2, 3) == "M0.0 29.0L50.0 15.0L100.0 1.0"
    # Few values stand on the right; the largest reaches the top where no most is known.
    assert words.curve([0, 9], 0, 3) == "M50.0 29.0L100.0 1.0"
    assert words.area(words.curve([0, 9], 0, 3)) == "M50.0 29.0L100.0 1.0L100 30L50.0 30Z"
    assert words.area("") == ""
