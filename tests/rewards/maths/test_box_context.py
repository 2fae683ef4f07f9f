"""What stands around a box."""

import pytest

from rewards.maths.box_context import in_context


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The answer is $\boxed{3}$.", "3"),
        (r"**\boxed{3}**", "3"),
        (r"- \boxed{3}", "3"),  # an item of a list
        (r"x = \boxed{3}", "3"),
        (r"\boxed{3}^\circ", "3"),
        (r"\boxed{3} \pmod{11}", "3"),
        (r"\boxed{3}\text{ cm}", "3"),
        (r"x is not negative, so \boxed{3}", "3"),  # another thing is denied
        (r"$1\frac{1}{4}$, or $\boxed{3}$", "3"),  # said in another way
        (r"\boxed{3} = x", "3"),
        (r"\boxed{3} = 4", "3 = 4"),  # both must hold
        (r"\boxed{3}\%", r"3\%"),
        (r"\boxed{3} million", "3 million"),
        (r"\boxed{3}_4", "3_4"),
        (r"It is definitely not \boxed{3}.", None),
        (r"The answer isn't $\boxed{3}$", None),
        (r"\boxed{3} is not the answer", None),
        (r"\boxed{3} is wrong", None),
        (r"anything other than \boxed{3}", None),
        (r"\boxed{3} or 4", None),
        (r"4 or \boxed{3}", None),
        (r"\boxed{3} (or 4)", None),
        (r"-\boxed{3}", None),
        (r"4 - \boxed{3}", None),
        (r"1\boxed{3}", None),
        (r"\boxed{3}4", None),
        (r"\boxed{3}{4}", None),
        (r"\boxed{3}^2", None),
        (r"\boxed{3} \times 10", None),
        (r"\frac{\boxed{3}}{4}", None),
    ],
)
def test_the_nearest_words_and_signs_count(text, answer):
    before, _, after = text.partition(r"\boxed{3}")
    assert in_context(before, "3", after) == answer
