"""Where reasoning ends and the answer begins."""

import pytest

from rewards.sections import first_turn, opened_by_prompt, split


@pytest.mark.parametrize(
    ("text", "reasoning", "final"),
    [
        ("<think>a</think>b", "a", "b"),
        ("a</think>b", "a", "b"),  # a template that prefills the tag
        ("b", None, "b"),
        ("<think>a", "a", None),
        ("<think>a<think>b</think>c</think>d", "a<think>b</think>c", "d"),
        ("<think>a</think>b<think>c", "a</think>b<think>c", None),
        ("", None, ""),
        ("|special_token|a|special_token|b", "a", "b"),  # R1's cold start
        ("|special_token|a", "a", None),
        ("<think>a</think>b|special_token|c", "a", "b|special_token|c"),  # it must begin with the mark
    ],
)
def test_reasoning_ends_with_its_last_closing_tag(text, reasoning, final):
    sections = split(text)
    assert (sections.reasoning, sections.final) == (reasoning, final)


def test_a_thought_the_prompt_opened_and_nobody_closed_has_no_final_part():
    assert split("still thinking", opened=True).final is None
    assert split("a</think>b", opened=True).final == "b"


def test_only_the_end_of_a_prompt_opens_a_thought():
    assert opened_by_prompt("<|assistant|><think>\n")
    assert not opened_by_prompt("use <think> tags")


def test_a_further_turn_is_cut_off():
    assert first_turn("a<|im_end|>\n<|im_start|>user\nb") == "a"
    assert first_turn("a") == "a"
    assert first_turn("<think>\nUser: hm\n</think>4\nUser: it is 3") == "<think>\nUser: hm\n</think>4"
