"""What is shown of settings in which passwords may stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.masking import HIDDEN, looks_secret, masked, masked_lines

SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S3_SECRET_KEY", True),
        ("apiToken", True),
        ("PGPASSWORD", True),
        ("mysql_pwd", True),
        ("passphrase", True),
        ("aws-credentials", True),
        ("access.key", True),
        ("OMP_NUM_THREADS", False),
        ("distributed.worker.memory", False),
        ("", False),
        (7, False),
    ],
)
def test_a_name_tells(name: object, expected: bool):
    assert looks_secret(name) is expected


NAMES = st.sampled_from(["a", "b", "s3"])
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["x", "y"]))
SETTINGS = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner))
)


def with_secrets(value: object, path: tuple[object, ...], where: object) -> object:
    """Return settings in which everything under one name is secret."""
    if isinstance(value, dict):
        return {
            f"{key}_password" if key == where else key: with_secrets(item, (*path, key), where)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [with_secrets(item, path, where) for item in value]
    return SECRET if where in path else value


@given(SETTINGS, SETTINGS, NAMES)
def test_no_secret_is_shown_and_nothing_else_is_hidden(new: object, old: object, where: str):
    hidden = with_secrets(new, (), where)
    for before in (old, with_secrets(old, (), where), hidden):
        assert SECRET not in repr(masked(hidden, before))
    assert masked(new, old) == new


def test_what_differs_is_said_to():
    old, new = {"token": ["a", "b"], "x": 1}, {"token": ["a", "c", "d"], "x": 2}
    assert masked(new, old) == {
        "token": [HIDDEN, "(not shown, another one)", HIDDEN],
        "x": 2,
    }


def test_flags_say_nothing_and_are_shown():
    settings = {"require-token": True, "password": None}
    assert masked(settings) == settings


@given(st.lists(st.sampled_from(["Nice=5", "a: b", "", "[Service]", "# a remark"])))
def test_other_lines_stay_as_they_are(lines: list[str]):
    text = "\n".join(lines)
    assert masked_lines(text) == text
