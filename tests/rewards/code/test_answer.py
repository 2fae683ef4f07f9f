"""The program in an answer, read from text that may be hostile."""

import pytest

from rewards.code.answer import programs_in
from tests.timing import within


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" + "`" * 128_000 + "x\n```",
        "~" * 128_000 + "x",
        "```python\n" + "```x" * 32_000,
        "```\n```" + "</a>" * 32_000 + "x",
        "x ```" + " " * 128_000 + "y",
        "def f(): \n" + "a=1\n" * 32_000,
    ],
    ids=["backticks", "tildes", "fences in a line", "tags", "blanks", "lines"],
)
def test_hostile_text_is_read_in_a_pass(text):
    with within(0.5):  # a pattern that tries every start of a run takes minutes
        programs_in(text, "def f(x):\n    ...", "f")
