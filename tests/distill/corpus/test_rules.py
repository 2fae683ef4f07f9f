"""Each rule on a text that breaks it and one that just does not."""

import pytest

from distill.corpus.rules import Judged, Rules, copied_share, goes_on, longest_paragraph, order_of, reasons

RULES = Rules({"accuracy": 1.0, "language": 0.95}, frozenset({"language"}), max_paragraph_words=6, max_copied=0.6)
GOOD = "<think>two plus three is five</think><answer>5</answer>"


def why(text=GOOD, *, prompt="2 + 3", stop="stop", rules=RULES, opened=False, **rewards):
    measured = {"accuracy": 1.0, "language": 1.0, **rewards}
    return reasons(Judged(prompt, text, stop, measured, opened), rules)


def test_a_good_completion_breaks_nothing():
    assert why() == []


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        ({"accuracy": 0.0}, ["accuracy"]),
        ({"accuracy": None}, ["accuracy_unknown"]),
        ({"language": 0.9}, ["language"]),
        ({"language": None}, []),  # no words to judge: may_lack
        ({"stop": "length"}, ["truncated"]),
        ({"text": "", "stop": "error"}, ["not_sampled"]),
        ({"text": " \n"}, ["empty"]),
        ({"text": GOOD + "<|im_start|>user"}, ["further_turn"]),
        ({"text": GOOD + "\nUser: and 3 + 4?"}, ["further_turn"]),
        ({"text": "<think>so\n```python\nx\n```\n</think>5"}, ["code_block"]),
        ({"text": "<think>so</think>\n```python\nx\n```"}, []),  # in the answer it may stand
        ({"text": "so\n```\nx\n```\n</think>5", "opened": True}, ["code_block"]),
        ({"text": "<think>one two three four five six seven</think>5"}, ["long_paragraph"]),
        ({"text": "<think>one two three four\n\nfive six seven</think>5"}, []),
        ({"text": "<think>one two three four\nfive six seven</think>5"}, ["long_paragraph"]),
        ({"text": "how many are two and three", "prompt": "So how many are two and three?"}, ["copies_prompt"]),
        ({"stop": "length", "accuracy": 0.0}, ["truncated", "accuracy"]),  # all of them, in the funnel's order
    ],
)
def test_each_rule(given, broken):
    assert why(**given) == broken
    assert set(broken) <= set(order_of(RULES))


def test_a_rule_can_be_left_out():
    text = "<think>```\n" + "word " * 50 + "</think>5"
    assert why(text, rules=Rules(code_in_reasoning=True)) == []


def test_copied_share_counts_runs_of_five_words():
    # 7 words: 3 runs of five; the prompt holds the first two of them
    assert copied_share("a b c d e f x", "z a b c d e f") == pytest.approx(2 / 3)
    assert copied_share("7 5", "what is 7 + 5") == 1.0  # shorter than a run: all of it
    assert copied_share("7 + 5 = 12", "what is 7 + 5") == 0.0
    assert copied_share("...", "a") == 0.0


def test_turns_within_the_reasoning_are_only_talk():
    assert not goes_on("<think>\nUser: wants a sum</think>5") and goes_on("5\nUser: more")


def test_a_paragraph_ends_at_a_blank_line():
    assert longest_paragraph("a b\nc\n\nd\n \ne f g h") == 4
