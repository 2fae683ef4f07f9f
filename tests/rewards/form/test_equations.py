"""The share of written sums that hold."""

import pytest

from rewards import get
from tests.timing import within


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("6 * 8 = 48.", 1.0),
        ("6 x 8 = 49", 0.0),
        ("48 / 2 = 24, then 48+24=73", 0.5),  # the second is 72
        ("It costs 5 - 2 = $3", 1.0),
        ("1.5 + 1.5 = 3", 1.0),
        ("4 / 0 = 0", 0.0),
        ("2 + 2 = 45", 0.0),
        ("seven plus five is twelve", None),
        ("", None),
    ],
)
def test_written_sums_are_checked(text, share):
    assert get("equations")(prompts=[""], completions=[text]) == [share]


def test_hostile_text_costs_no_time():
    with within(1.0):
        for text in ("1" * 128_000, "1+" * 64_000, "1 + 1 = " * 16_000, " " * 128_000):
            get("equations")(prompts=[""], completions=[text])
