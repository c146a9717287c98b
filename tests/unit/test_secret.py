"""A secret shows itself to nobody but the one who asks for it."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle

import pytest
import yaml

from dask_fleet.secret import Secret
from dask_fleet.tls.drafts import Credentials

VALUE = "correct horse"
SECRET = Secret(VALUE)


@pytest.mark.parametrize(
    "text",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET!r:>40}",
        f"{SECRET:40}",
        f"{[SECRET]} {({'a': SECRET},)}",
        repr(Credentials(b"ca", b"certificate", SECRET)),
        repr(dataclasses.asdict(Credentials(b"ca", b"certificate", SECRET))),
        json.dumps({"key": SECRET}, default=str),
    ],
)
def test_it_prints_masked(text: str):
    assert "****" in text
    assert "horse" not in text


def test_a_log_shows_a_mask(caplog: pytest.LogCaptureFixture):
    logging.getLogger("test").warning("%s %r", SECRET, SECRET)
    assert caplog.messages == ["**** Secret(****)"]


def test_it_is_revealed_on_demand():
    assert SECRET.reveal() == VALUE.encode()
    assert Secret(b"\x00\xff").reveal() == b"\x00\xff"


def test_it_is_neither_text_nor_bytes():
    assert not isinstance(SECRET, (str, bytes))
    for use in (
        lambda: "" + SECRET,  # type: ignore[operator]
        lambda: "".join([SECRET]),  # type: ignore[list-item]
        lambda: bytes(SECRET),  # type: ignore[call-overload]
        lambda: b"" + SECRET,  # type: ignore[operator]
        lambda: list(SECRET),  # type: ignore[call-overload]
        lambda: vars(SECRET),
    ):
        with pytest.raises(TypeError):
            use()


def test_nothing_serialises_it():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not serialised"):
            pickle.dumps(SECRET, protocol)
    with pytest.raises(TypeError):
        json.dumps({"key": SECRET})
    with pytest.raises(TypeError, match="not serialised"):
        yaml.dump(SECRET)
    with pytest.raises(yaml.representer.RepresenterError):
        yaml.safe_dump({"key": SECRET})
    with pytest.raises(TypeError):
        SECRET.__getstate__()


def test_it_compares_by_value():
    assert Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_it_does_not_change_and_a_copy_is_itself():
    assert copy.copy(SECRET) is SECRET
    assert copy.deepcopy([SECRET])[0] is SECRET
    with pytest.raises(AttributeError):
        SECRET.value = b""  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        SECRET._Secret__value = b""
    with pytest.raises(AttributeError):
        del SECRET._Secret__value
