"""The text of single tokens: spaces kept, and characters of several tokens whole."""

import pytest

from grpo.runs.token_texts import TokenTexts


def by_bytes(tokens):
    """A byte a token, as a byte-level tokenizer falls back to."""
    return bytes(tokens).decode("utf-8", "replace")


def by_words(tokens):
    """Words with spaces between them, none at the start, as sentencepiece and word tokenizers decode."""
    return " ".join(["zero", "one", "two"][token] for token in tokens)


def test_the_space_before_a_word_is_kept():
    assert TokenTexts(by_words)([0, 2]) == [" zero", " two"]


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("ab", ["a", "b"]),
        ("é", ["", "é"]),  # two bytes
        ("a九b", ["a", "", "", "九", "b"]),  # three
        ("九十", ["", "", "九", "", "", "十"]),
        ("😀", ["", "", "", "😀"]),
    ],
)
def test_a_character_of_several_tokens_is_whole(text, texts):
    assert TokenTexts(by_bytes)(list(text.encode())) == texts


def test_half_a_character_is_shown_as_such():
    assert TokenTexts(by_bytes)(list("a九".encode())[:-1]) == ["a", "", "\ufffd"]
    assert "".join(TokenTexts(by_bytes)([0xE4] * 6 + [0x61])).endswith("a")


def test_no_tokens_have_no_texts():
    assert TokenTexts(by_words)([]) == []
