"""Hosts that `--limit` and `--hosts` mean."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.errors import FleetError
from dask_fleet.selection import select

HOSTS = ["head", *(f"vm-{number:02d}" for number in range(1, 13)), "vm-big", "odd[1]"]


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        (["head"], ["head"]),
        (["vm-02", "vm-01"], ["vm-01", "vm-02"]),  # in the order of the spec
        (["vm-01,head"], ["head", "vm-01"]),
        ([" vm-01 , head "], ["head", "vm-01"]),
        (["vm-01", "vm-01,vm-0?", "vm-[01-02]"], [f"vm-0{n}" for n in range(1, 10)]),
        (["vm-[01-03]"], ["vm-01", "vm-02", "vm-03"]),
        (["vm-[09-10,12]"], ["vm-09", "vm-10", "vm-12"]),
        (["vm-[01,03],head"], ["head", "vm-01", "vm-03"]),
        (["vm-[11-20]"], ["vm-11", "vm-12"]),  # as far as it goes
        (["vm-1*"], ["vm-10", "vm-11", "vm-12"]),
        (["vm-?[02]"], ["vm-02", "vm-10", "vm-12"]),  # a set of characters, as the shell has it
        (["*"], HOSTS),
        (["odd[1]"], ["odd[1]"]),  # its own name goes before what it may mean
        (["vm-01,"], ["vm-01"]),
        ([], []),
    ],
)
def test_what_is_meant(patterns: list[str], meant: list[str]):
    assert select(HOSTS, patterns) == meant


@pytest.mark.parametrize(
    ("patterns", "unknown"),
    [
        (["nobody"], "nobody"),
        (["HEAD"], "HEAD"),
        (["vm-01,nobody", "else"], "nobody, else"),
        (["vm-[20-30]"], "vm-[20-30]"),
        (["vm-[1-3]"], "vm-[1-3]"),  # the width counts: they are vm-01 to vm-03
        (["vm-[03-01]"], "vm-[03-01]"),
        (["vm-[01-"], "vm-[01-"),
        (["vm-]01["], "vm-]01["),
        (["vm-[0-999999999]"], "vm-[0-999999999]"),
        (["x*"], "x*"),
    ],
)
def test_what_means_no_host_is_named(patterns: list[str], unknown: str):
    with pytest.raises(FleetError) as caught:
        select(HOSTS, patterns)
    assert caught.value.message == f"no host of the fleet is meant by {unknown}"
    assert caught.value.remedy.startswith("its hosts are head, vm-01, ")
    assert caught.value.remedy.endswith("vm-11 ...")


@pytest.mark.parametrize("patterns", [[""], [" "], ["vm-01", ""], ["vm-01,,head"], [","]])
def test_an_empty_name_is_refused_since_it_might_be_taken_for_all(patterns: list[str]):
    with pytest.raises(FleetError, match="no host of the fleet is meant by an empty name"):
        select(HOSTS, patterns)


def test_few_hosts_are_all_named():
    with pytest.raises(FleetError) as caught:
        select(["a", "b"], ["c"])
    assert caught.value.remedy == "its hosts are a, b"


NAMES = st.lists(
    st.from_regex(r"[a-z]{1,3}(-[0-9]{1,2})?", fullmatch=True), unique=True, min_size=1
)


@given(NAMES, st.data())
def test_names_mean_themselves_in_the_order_of_the_spec(hosts: list[str], data: st.DataObject):
    chosen = data.draw(st.lists(st.sampled_from(hosts), min_size=1))
    expected = [host for host in hosts if host in chosen]
    assert select(hosts, chosen) == expected
    assert select(hosts, [",".join(chosen)]) == expected


@given(NAMES, st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_any_text_means_hosts_or_is_refused(hosts: list[str], patterns: list[str]):
    found: list[str] | None = None
    with contextlib.suppress(FleetError):
        found = select(hosts, patterns)
    assert found is None or (found and found == [host for host in hosts if host in found])
