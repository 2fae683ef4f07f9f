"""Words that may be left out of an answer, and words that may not."""

import pytest

from rewards.maths.text import normalise
from rewards.maths.units import without_units, words_of


@pytest.mark.parametrize(
    ("answer", "bare"),
    [
        (r"3\text{ cm}", "3"),
        (r"15\text{ cm}^2", "15"),
        (r"\frac{1}{3} \textbf{meters}", r"\frac{1}{3}"),
        ("5 days", "5"),
        ("$42", "42"),
        ("1,000.99€", "1,000.99"),
        (r"f(x) = 1 \text{ for all } x", "f(x) = 1"),
        (r"3\text{any}", r"3\text{any}"),
        (r"3\text{ (or maybe 4)}", r"3\text{(or maybe 4)}"),
        (r"3\text{ or so}", r"3\text{or so}"),
        ("3m", "3m"),  # a variable, perhaps
        ("2 x", "2 x"),
        (r"\text{even}", r"\text{even}"),
        ("3 goats", "3 goats"),
        ("{35 cm, 4}", "{35, 4}"),
        (r"\{35 cm, 4 kg\}", r"\{35, 4\}"),
    ],
)
def test_only_known_units_are_dropped(answer, bare):
    assert without_units(normalise(answer)) == bare


def test_words_of_the_question_are_dropped_too():
    known = words_of("How many stuffed goats and toy helicopters are there, or not?")
    assert without_units("3 goats", known) == "3"
    assert without_units(r"7 \text{ stuffed goats and } 4 \text{ toy helicopters}", known).replace(" ", "") == "7,4"
    assert "or" not in known
