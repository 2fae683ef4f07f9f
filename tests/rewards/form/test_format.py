"""Strict and graded format."""

import math

import pytest

import rewards
from rewards.form.format import format_similarity, strict_format, tag_count
from rewards.form.template import TEMPLATES, read_template
from tests.timing import within

GOOD = "<think>\nOne plus two.\n</think>\n<answer>\n3\n</answer>"
BAD = {
    "two answers": GOOD + "\n<answer>3</answer>",
    "two thoughts": "<think>a</think>" + GOOD,
    "nested": "<think>a<think>b</think></think><answer>3</answer>",
    "answer in the thought": "<think>a<answer>3</answer></think>",
    "order": "<answer>3</answer><think>a</think>",
    "text before": "Sure! " + GOOD,
    "text between": "<think>a</think> so <answer>3</answer>",
    "text after": GOOD + " bye",
    "empty thought": "<think> \n </think><answer>3</answer>",
    "thought without a word": "<think>...</think><answer>3</answer>",
    "zero-width answer": "<think>a</think><answer>\u200b\u2060</answer>",
    "thought of fillers": "<think>\u3164\u115f</think><answer>3</answer>",
    "blank answer": "<think>a</think><answer>\u2800</answer>",
    "empty answer": "<think>a</think><answer>\n</answer>",
    "unclosed": "<think>a</think><answer>3",
    "other case inside": "<think>a</THINK>b</think><answer>3</answer>",
    "another turn": GOOD + "<|im_end|>",
    "another turn inside": "<think>a</think><answer>3<|im_end|><|im_start|>user</answer>",
    "nothing": "",
    "no tags": "The answer is 3.",
}


@pytest.mark.parametrize("text", [GOOD, f"  {GOOD}\n\n", "<think>a</think><answer>∅</answer>"])
def test_the_template_is_worth_one(text):
    assert strict_format(text) == 1.0
    assert format_similarity(text) == pytest.approx(1.0)


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_worth_nothing_and_less_than_one(name):
    assert strict_format(BAD[name]) == 0.0
    assert format_similarity(BAD[name]) < 0.999 or name in ("another turn inside", "other case inside")


def test_similarity_is_the_cosine_of_transitions():
    # template: 7 transitions, once each. "<think>a</think>3" has 5: start-think, think-text, text-/think in common,
    # /think-text and text-end not: 3 / sqrt(5 * 7)
    assert format_similarity("<think>a</think>3") == pytest.approx(3 / math.sqrt(35))
    assert format_similarity("The answer is 3.") == 0.0


def test_repeating_the_template_does_not_pay():
    # the cosine alone sees 12 / (sqrt(23) * sqrt(7)) = 0.946; 8 tags for 4 halve it
    assert format_similarity(GOOD * 2) == pytest.approx(12 / math.sqrt(23 * 7) / 2)
    assert format_similarity(GOOD * 9) < 0.2


def test_each_step_to_the_template_raises_the_similarity():
    steps = ["3", "<think>a</think>3", "<think>a</think><answer>3", "<think>a</think><answer>3</answer>"]
    values = [format_similarity(step) for step in steps]
    assert values == sorted(set(values))


def test_a_prompt_that_opened_the_thought_is_counted_in():
    strict = rewards.get("format")
    rest = "One plus two.</think><answer>3</answer>"
    assert strict(["Assistant: <think>\n", "Assistant:"], [rest, rest]) == [1.0, 0.0]
    assert strict([[{"role": "assistant", "content": "<think>"}]], [[{"role": "assistant", "content": rest}]]) == [1.0]


MARK = "|special_token|"
OTHER_TEMPLATES = [
    ("think_boxed", r"<think>Two and one.</think> It is \boxed{3}.", True),
    ("think_boxed", "<think>Two and one.</think> It is 3.", False),
    ("think_boxed", r"<think>So \boxed{3}</think> It is 3.", False),
    ("think_boxed", r"<think>Two and one.</think> \boxed{ }", False),
    ("think_boxed", r"<think>Two and one.</think> \boxed{3", False),
    ("summary", f"{MARK}Two and one.{MARK}It is 3.", True),
    ("summary", f"{MARK}Two and one.{MARK}", False),
    ("summary", f"{MARK}Two and one.{MARK}It is 3.{MARK}", False),
    ("summary", f"So {MARK}Two and one.{MARK}It is 3.", False),
    ("[R]{reasoning}[/R] [A]{answer}[/A]", "[R]a[/R]\n[A]3[/A]", True),
    ("[R]{reasoning}[/R] [A]{answer}[/A]", "[R]a[/R]\n[A]3[/A].", False),
]


@pytest.mark.parametrize(("template", "text", "good"), OTHER_TEMPLATES)
def test_the_template_can_be_chosen(template, text, good):
    strict, graded, counted = (
        rewards.get(f"rewards.form.format:{name}", template=template)([""], [text])[0]
        for name in ("FormatReward", "FormatSimilarityReward", "FormatTagCountReward")
    )
    assert strict == float(good)
    assert (graded == pytest.approx(1.0)) is good
    assert (counted == 1.0) is good


@pytest.mark.parametrize("template", ["thinking", "", "{answer}", "<a>{reasoning}{answer}</a>", "<a></a>"])
def test_a_template_without_marks_or_slots_is_refused(template):
    with pytest.raises(
        ValueError,
        match=r"format.template must be one of think_answer, think_boxed, think, think_code, summary, or text",
    ):
        rewards.get("format", template=template)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (GOOD, 1.0),
        ("3", 0.0),
        ("<think>a</think>3", 2 / 5),  # two marks of four in place; one share for nothing outside
        (GOOD + " bye", 4 / 5),
        ("<think></think><answer></answer>", 2 / 5),  # what closes an empty slot is not in place
        (GOOD * 2, 0.0),  # every mark stands twice
        ("</answer><answer></think><think>", 1 / 5),  # in place: the first that is found, <think>; nothing after it
    ],
)
def test_tags_in_place_are_counted(text, share):
    assert tag_count(text) == pytest.approx(share)


@pytest.mark.parametrize("template", TEMPLATES)
def test_empty_talk_in_graded_formats_is_paid_less_than_the_template(template):
    empty = "".join(read_template(template).marks)
    assert format_similarity(empty, read_template(template)) < 0.8
    assert tag_count(empty, read_template(template)) < 0.8


@pytest.mark.parametrize("unit", ["<", "<think>", "</think><answer>", " ", "\n", "\u200b", "a"])
def test_hostile_text_takes_no_time(unit):
    text = unit * (131072 // len(unit))
    with within(0.5):  # 50 ms each on an idle machine
        strict_format(text), format_similarity(text), tag_count(text)


BLOCK = "```python\nprint(1)\n```"
CODE = {
    "alone": f"<think>\nPrint it.\n</think>\n<answer>\n{BLOCK}\n</answer>",
    "with words around": f"<think>\nPrint it.\n</think>\n<answer>\nSo:\n{BLOCK}\nDone.\n</answer>",
    "with a block in the reasoning": f"<think>\nTry\n{BLOCK}\n```\nx\n```\n</think>\n<answer>\n{BLOCK}\n</answer>",
}
NO_CODE = {
    "no block": "<think>a</think><answer>print(1)</answer>",
    "an unmarked block": "<think>a</think><answer>```\nprint(1)\n```</answer>",
    "two blocks": f"<think>a</think><answer>{BLOCK}\n{BLOCK}</answer>",
    "an empty block": "<think>a</think><answer>```python\n```</answer>",
    "an open block": "<think>a</think><answer>```python\nprint(1)\n</answer>",
    "a block behind": f"<think>a</think><answer>b</answer>{BLOCK}",
    "another language": "<think>a</think><answer>```pythonic\nprint(1)\n```</answer>```",
    "twice": CODE["alone"] * 2,
}


@pytest.mark.parametrize("name", CODE)
def test_marks_that_begin_alike_are_told_apart(name):
    template = read_template("think_code")
    assert strict_format(CODE[name], template) == 1.0
    assert format_similarity(CODE[name], template) == pytest.approx(1.0)
    assert tag_count(CODE[name], template) == 1.0


@pytest.mark.parametrize("name", NO_CODE)
def test_what_is_not_the_code_template_is_worth_less(name):
    template = read_template("think_code")
    assert strict_format(NO_CODE[name], template) == 0.0
    assert tag_count(NO_CODE[name], template) < 1.0


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("<a>{reasoning}</a><a><b>{answer}</b>", "<a>so</a><a><b>3</b>"),
        ("== {reasoning} === {answer}", "== so === 3"),
        ("[[ {reasoning} ]] [ {answer} ]", "[[ so ]] [ 3 ]"),
    ],
)
def test_marks_that_hold_each_other(template, text):
    assert strict_format(text, read_template(template)) == 1.0
    assert tag_count(text, read_template(template)) == 1.0


def test_free_text_may_be_missing():
    template = read_template("<a>{reasoning}</a>{text}<b>{answer}</b>{text}")
    for text in ("<a>so</a><b>3</b>", "<a>so</a> well <b>3</b> indeed"):
        assert strict_format(text, template) == 1.0 and format_similarity(text, template) == pytest.approx(1.0)
    assert strict_format("<a></a><b>3</b>", template) == 0.0


def test_hostile_marks_are_read_in_one_pass():
    with within(3.0):
        for text in ("```python" * 15_000, "`" * 128_000, "<think>" * 18_000, "<answer>```" * 12_000):
            for measure in (strict_format, format_similarity, tag_count):
                assert measure(text, read_template("think_code")) < 0.9
