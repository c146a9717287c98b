"""Ranges, sizes, scalars and variables: what they mean, and that nothing makes them fall over."""

# ruff: noqa: E501 - cases are data, one to a line

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.spec.configuration import nest
from dask_fleet.spec.ranges import LARGEST, RangeError, count, expand
from dask_fleet.spec.scalars import resolve
from dask_fleet.spec.sizes import format_size, parse_ports, parse_size
from dask_fleet.spec.variables import BadReferenceError, Substituted, substitute


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("vm", ["vm"]),
        ("w-[0001-0003]", ["w-0001", "w-0002", "w-0003"]),
        ("w-[1-3,7]", ["w-1", "w-2", "w-3", "w-7"]),
        ("w-[8-11]", ["w-8", "w-9", "w-10", "w-11"]),
        ("w-[08-11]", ["w-08", "w-09", "w-10", "w-11"]),
        ("w-[ 1 - 2 , 4 ]".replace(" - ", "-"), ["w-1", "w-2", "w-4"]),
        ("r[1-2]-n[01-02]", ["r1-n01", "r1-n02", "r2-n01", "r2-n02"]),
        ("[5]", ["5"]),
        ("10.0.0.[254-255]", ["10.0.0.254", "10.0.0.255"]),
        ("[0-0]", ["0"]),
    ],
)
def test_a_range_is_expanded_in_order_with_its_width(pattern, names):
    assert list(expand(pattern)) == names
    assert count(pattern) == len(names)


@pytest.mark.parametrize(
    "pattern",
    ["[", "]", "a[1-2", "a1-2]", "[[1]]", "[]", "[a]", "[1-]", "[-1]", "[1,,2]", "[3-1]", "[01-2]",
     "[1-1,1]", "[01-100]", "[0-100000]", "[1-1000][1-1000]", "[1-99999999999999999999]", "[\uff11-\uff12]"],
)  # fmt: skip
def test_a_bad_range_is_refused_with_a_remedy(pattern):
    with pytest.raises(RangeError) as caught:
        expand(pattern)
    assert caught.value.fault
    assert caught.value.remedy


@given(st.integers(0, 9999), st.integers(0, 300), st.integers(0, 6))
def test_the_range_that_is_written_is_the_range_that_is_read(first, more, width):
    low, high = str(first).zfill(width), str(first + more).zfill(width)
    if len(low) != len(high) and (low[0] == "0" and len(low) > 1):
        return
    expected = tuple(f"h{str(n).zfill(width)}" for n in range(first, first + more + 1))
    assert expand(f"h[{low}-{high}]") == expected


@given(st.text("[]0123456789-,a. ", max_size=24))
def test_any_text_is_a_range_or_a_fault(text):
    try:
        names = expand(text)
    except RangeError:
        return
    assert len(names) == count(text) <= LARGEST


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4 GiB", 4 << 30), ("2GB", 2 * 10**9), ("1.5 GiB", 3 << 29), ("500 mb", 500 * 10**6), ("64Mi", 64 << 20),
        ("3 T", 3 * 10**12), ("1 PiB", 1 << 50), ("123", 123), ("123 B", 123), (" 4 kB ", 4000), ("0", 0),
    ],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-4 GiB", "4 XB", "4 GiB GiB", "1e3", "nan", "4,5 GiB", "\u0664 GiB"]
)
def test_what_is_not_a_size(text):
    with pytest.raises(ValueError, match=r"not a (size|unit)"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1, "1 bytes"),
        (1 << 30, "1 GiB"),
        (3 << 29, "1.5 GiB"),
        ((4 << 30) - 1, "3.99 GiB"),
        (1 << 42, "4 TiB"),
    ],
)
def test_sizes_in_words(size, text):
    assert format_size(size) == text


@given(st.integers(1, 10**9), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_a_size_in_words_is_read_back(number, unit):
    size = parse_size(f"{number} {unit}")
    assert size * 0.98 <= parse_size(format_size(size).replace("bytes", "B")) <= size


@pytest.mark.parametrize(
    ("text", "ports"), [("9000-9100", (9000, 9100)), ("1 - 65535", (1, 65535)), ("5-5", (5, 5))]
)
def test_ranges_of_ports(text, ports):
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    "text", ["", "9000", "9000-", "a-b", "2-1", "0-5", "1-65536", "1-2-3", "-1-5"]
)
def test_what_is_not_a_range_of_ports(text):
    with pytest.raises(ValueError, match="ports"):
        parse_ports(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("-3", -3), ("0010", 10), ("0o10", 8), ("0x1F", 31), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("-.inf", float("-inf")), ("yes", True), ("OFF", False), ("True", True), ("null", None), ("~", None), ("", None),
        ("12:30", "12:30"), ("9000-9100", "9000-9100"), ("1.2.3", "1.2.3"), ("60s", "60s"), ("yEs", "yEs"),
        ("2026-11-23", "2026-11-23"), ("1_000", "1_000"), ("-", "-"), ("\u0661", "\u0661"),
    ],
)  # fmt: skip
def test_words_without_quotes(text, value):
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


@given(st.text())
def test_any_word_has_a_value(text):
    resolve(text)


def test_a_number_longer_than_python_reads_is_text():
    assert isinstance(resolve("1" * 5000), (str, float))


ENVIRON = {"A": "1", "EMPTY": "", "B": "two words", "D": "$A ${A}"}


@pytest.mark.parametrize(
    ("text", "expected", "names"),
    [
        ("${A}", "1", ("A",)),
        ("x${A}y${B}${A}", "x1ytwo words1", ("A", "B")),
        ("${EMPTY}", "", ("EMPTY",)),
        ("${EMPTY:-d}", "d", ("EMPTY",)),
        ("${NONE:-}", "", ("NONE",)),
        ("${NONE:-a b:-c}", "a b:-c", ("NONE",)),
        ("${D}", "$A ${A}", ("D",)),
        ("$$", "$", None),
        ("$${A}", "${A}", None),
        ("$$${A}", "$1", ("A",)),
        ("$A costs $5", "$A costs $5", None),
    ],
)
def test_variables(text, expected, names):
    found = substitute(text, ENVIRON)
    assert found == expected
    assert (found.variables if isinstance(found, Substituted) else None) == names


@pytest.mark.parametrize(
    "text", ["${NONE}", "${", "${}", "${A", "${1}", "${A-b}", "${A:b}", "${A }"]
)
def test_references_that_cannot_be_followed(text):
    with pytest.raises(BadReferenceError):
        substitute(text, ENVIRON)


def test_configuration_is_nested():
    config = {"a.b": 1, "a": {"c": {"d.e": [1]}, "x_y": {"z": 0}}, "a.x-y.w": None}
    assert nest(config) == (
        {"a": {"b": 1, "c": {"d": {"e": [1]}}, "x_y": {"z": 0, "w": None}}},
        [],
    )


keys = st.text("ab", min_size=1, max_size=2)
leaves = st.integers() | st.text(max_size=2) | st.lists(st.integers(), max_size=2)
trees = st.dictionaries(
    keys, st.recursive(leaves, lambda t: st.dictionaries(keys, t, max_size=3)), max_size=4
)


def dotted(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@given(trees)
def test_dotted_and_nested_are_the_same(tree):
    assert nest(tree) == (tree, [])
    assert nest(dict(dotted(tree))) == (tree, [])
