"""Values as tagged JSON: what goes in comes out, and nothing else is taken for a value."""

import json
import math

import pytest

from rewards.code.values import Malformed, Opaque, check, decode, encode


def there_and_back(value):
    data = json.loads(json.dumps(encode(value)))
    check(data)
    return decode(data)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -5,
        2**53,
        2**53 + 1,
        -(10**4000),
        0.1,
        -0.0,
        math.inf,
        "é\ud800\n",
        "",
        [],
        [1, [2, [3]]],
        (),
        (1, (2,)),
        {1, "a", (2, 3)},
        frozenset({1}),
        {},
        {"int": "0x4"},
        {(1, 2): {3: {4}}, None: 5},
        b"\x00\xff",
        bytearray(b"ab"),
        1 + 2j,
        complex(math.inf, -1),
        range(1, 10, 3),
    ],
)
def test_a_value_comes_back_with_its_type(value):
    back = there_and_back(value)
    assert back == value and type(back) is type(value)
    assert math.copysign(1, back) == math.copysign(1, value) if isinstance(value, float) else True


def test_not_a_number_comes_back():
    assert math.isnan(there_and_back(math.nan))


def test_subclasses_become_what_they_are_built_on():
    class Always(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    back = there_and_back([Always(3)])
    assert back == [3] and back != [4] and type(back[0]) is int


def test_iterators_are_used_up():
    assert list(there_and_back(x * x for x in range(3))) == [0, 1, 4]
    assert sorted(there_and_back({2: 0, 1: 0}.keys())) == [1, 2]


def test_other_objects_stay_where_they_are():
    with pytest.raises(Opaque, match="object can't be compared"):
        encode(object())
    kept = []
    assert encode([object()], lambda found: kept.append(found) or {"ref": 7}) == [{"ref": 7}]
    assert decode({"ref": 7}, lambda number: ("handle", number)) == ("handle", 7)


def test_nesting_has_a_bound():
    value = []
    for _ in range(101):
        value = [value]
    with pytest.raises(Opaque, match="100 deep"):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"int": "0x1", "float": "inf"},
        {"set": 4},
        {"set": [{"set": {}}]},
        {"dict": [4]},
        {"dict": [[1, 2, 3]]},
        {"tuple": None},
        {"int": [[]]},
        [{"ref": None}],
    ],
)
def test_data_nobody_encoded_is_refused_without_building_it(data):
    with pytest.raises(Malformed):
        check(data)


@pytest.mark.parametrize(
    "data",
    [
        {"set": [[1]]},
        {"dict": [[[1], 2]]},
        {"int": "four"},
        {"float": "4"},
        {"float": "nan()"},
        {"bytes": "zz"},
        {"range": [1, 2, 0]},
        {"complex": ["a", 1]},
        {"object": 4},
        {"ref": 1},
    ],
)
def test_data_that_is_no_value_is_refused(data):
    with pytest.raises(Malformed):
        decode(data)
