"""Which part of a completion is the final answer."""

import pytest

from rewards.maths.final_answer import final_answer
from tests.timing import within


def text_of(completion, extract="auto", **options):
    answer = final_answer(completion, extract, **options)
    return None if answer is None else answer.text


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"so \boxed{1}, no: \boxed{2}", "2"),  # the last box
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{3}}", r"\boxed{3}"),
        (r"noise \boxed   {  x^2 } end", "x^2"),
        (r"\boxed{1} \text{ and } \boxed{2}", "1, 2"),
        (r"$\boxed{k = 45} \quad \text{and} \quad \boxed{n = 2}$", "k = 45, n = 2"),
        (r"\boxed{5} so \boxed{6", "5"),  # an unclosed box is none
        (r"\boxed{}", None),
        (r"<think>\boxed{3}</think> done", "done"),  # boxes in the reasoning don't count
        (r"<think>\boxed{3}", None),
        (r"<think>a</think>\boxed{4}", "4"),
        (r"a</think>\boxed{4}", "4"),
        (r"<think>a</think><answer>4</answer>", "4"),
        (r"<answer>Therefore the total is \boxed{4}.</answer>", "4"),
        (r"<answer>The sum of all of them is then 12 apples.</answer>", "12"),
        (r"<answer>4</answer><answer>4</answer>", None),
        (r"<answer>\boxed{4} or else \boxed{3}</answer>", None),
        (r"<answer>\boxed{4} <!-- \boxed{3} --></answer>", "4"),  # what a reader sees
        (r"<answer>4 \phantom{\boxed{3}}</answer>", "4"),
        ("<answer>The answer is 3.</answer>", "3"),
        ("<answer>She has 18 eggs left.</answer>", "18"),
        ("<answer>She has 18 eggs or so.</answer>", "She has 18 eggs or so."),
        ("<answer>She has 18 hundred eggs.</answer>", "She has 18 hundred eggs."),
        ("It may be 5, 4, 1, 2, 3", "5, 4, 1, 2, 3"),
        (r"\boxed{255} in all. Final Answer: The final answer is $455$. I hope it is correct.", "$455$"),
        (r"<answer>\boxed{4} Final Answer: The final answer is $3$. I hope it is correct.</answer>", "4"),
        (r"\boxed{3} <answer>4</answer>", None),  # two answers
        (r"\boxed{4} <answer>4</answer>", "4"),
        (r"<think>a</think><answer>4</answer><think>b</think><answer>4</answer>", None),
        (r"<answer>4", None),
        (r"<answer>\boxed{4}", "4"),
        (r"<answer>4</answer><|im_end|><|im_start|>user <answer>3</answer>", "4"),
        ("6 + 4 = 10\n#### 10", "10"),
        ("The answer is 4.", "4"),
        ("Therefore the answer is +7", "+7"),
        ("Final answer: -3.5", "-3.5"),
        ("5 * 3 = <<5*3=15>>15\nA: 15", "15"),
        ("8 * 5 = 40.", "40"),
        ("so 3 - 5 = -2", "-2"),
        ("353 g - 79 g = 274 g", "274"),
        ("First try [30], second try [45].", "45"),
        ("弗兰克一共有**858颗**糖果。", "858"),
        ("the number is not 10 which is 1,000.99€", "1,000.99"),
        (r"The result is $\frac{5}{6}$", r"\frac{5}{6}"),
        ("(9, 3), (6, 3)", "(9, 3), (6, 3)"),
        ("Minimum: 1, Maximum: 3", "Minimum: 1, Maximum: 3"),
        ("", None),
    ],
)
def test_the_final_answer(completion, answer):
    assert text_of(completion) == answer


@pytest.mark.parametrize(
    ("extract", "completion", "answer"),
    [
        ("last_number", "The answer is 4. I hope 5 stars", "5"),
        ("last_number", r"\boxed{4} 5", "4"),  # a box comes first in any case
        ("boxed", "The answer is 4", None),
        ("tag", "The answer is 4", None),
        ("tag", r"<answer>\boxed{4}</answer>", r"\boxed{4}"),
        ("hash", "#### 4\nand 5", "4"),
        ("hash", r"\boxed{4}", None),
    ],
)
def test_extract_says_where_to_look(extract, completion, answer):
    assert text_of(completion, extract) == answer


def test_lenient_takes_the_last_of_several():
    assert text_of("<answer>4</answer><answer>3</answer>", lenient=True) == "3"


def test_a_thought_opened_by_the_prompt_counts():
    assert text_of("no end 3", opened=True) is None
    assert text_of("a</think>3", opened=True) == "3"


UNITS = [
    "\\boxed{", "\\boxed{1} and ", "{", " ", "\n", "<answer>", "<think>", "</think><answer>", "$", "$a", "\\[", "1",
    "1,", "1/", "- ", "(-", "<", "####", "answer is ", "answer to ", "A:", "é", "四", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_hostile_text_takes_no_time(unit):
    text = unit * (131072 // len(unit))
    with within(0.5):  # under 10 ms each on an idle machine
        final_answer(text)
        final_answer(f"<think>a</think><answer>{text}</answer>")
        final_answer(f"\\boxed{{{text}}}")
