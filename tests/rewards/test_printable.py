"""Text of others does nothing to a terminal."""

import pytest

from rewards.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08c\x7f", "a\\rb\\x08c\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("tab\tand\nline, été 数学 🙂", "tab\tand\nline, été 数学 🙂"),
    ],
)
def test_what_acts_is_escaped_and_the_rest_stays(text, shown):
    assert printable(text) == shown
