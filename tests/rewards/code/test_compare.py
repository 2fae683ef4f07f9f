"""Outputs are compared word by word, whatever a program writes."""

import pytest

from rewards.code.compare import output_holds
from rewards.code.plans import Pair
from tests.timing import within


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("1000", "1e3", True),
        ("1.50", "+01.5", True),
        ("0.5", ".5", True),
        ("5", "5.", True),
        ("5", ".", False),
        ("5", "5.0.0", False),
        ("15", "1 5", False),
        ("5", "5e", False),
    ],
)
def test_numbers_are_compared_by_value(expected, output, same):
    assert output_holds(Pair("", expected), output) == same


def test_a_long_word_is_read_in_a_pass():
    word = "1" * 60_000 + "x"
    with within(0.5):
        assert not output_holds(Pair("", "2"), word)
