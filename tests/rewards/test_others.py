"""Names of TRL's and open-r1's rewards: where they agree with their namesakes, and every difference.

What the namesakes give was read from their sources; it stands here as a number, with the reason beside a difference.
"""

import math
from pathlib import Path

import pytest

from rewards import get
from rewards.base import OTHERS

DOC = Path(__file__).parents[2] / "docs" / "reward_names.md"
GOOD = "<think>\nOne and two.\n</think>\n<answer>\n\\boxed{3}\n</answer>"
BLOCK = "```python\nprint(1)\n```"
IDS = {"short": list(range(10)), "half": list(range(50)), "long": list(range(150))}


def value(name, text, *, ids=None, options=None, **columns):
    """The value of one completion, given as messages, as TRL gives them."""
    row = {key: [one] for key, one in columns.items()}
    call = {"prompts": [""], "completions": [[{"role": "assistant", "content": text}]], **row}
    return get(name, **(options or {}))(completion_ids=None if ids is None else [ids], **call)[0]


SAME = [  # name, completion, what both give
    ("accuracy_reward", "It is $\\boxed{3}$.", {"solution": "$3$"}, 1.0),
    ("accuracy_reward", "It is $\\boxed{4}$.", {"solution": "$3$"}, 0.0),
    ("reasoning_accuracy_reward", "<think>a</think> \\boxed{\\frac{1}{3}}", {"solution": r"\frac{1}{3}"}, 1.0),
    ("reasoning_accuracy_reward", "<think>a \\boxed{\\frac{1}{3}} but", {"solution": r"\frac{1}{3}"}, 0.0),
    ("think_format_reward", "<think>\nMy reasoning.\n</think>\nMy answer.", {}, 1.0),
    ("think_format_reward", "<think>\nMy reasoning.\nMy answer.", {}, 0.0),
    ("think_format_reward", "<think>a<think>b</think>c", {}, 0.0),
    ("format_reward", GOOD, {}, 1.0),
    ("format_reward", "3", {}, 0.0),
    ("tag_count_reward", GOOD, {}, 1.0),
    ("tag_count_reward", "3", {}, 0.0),
    ("get_code_format_reward", f"<think>\na\n</think>\n<answer>\nSo:\n{BLOCK}\nok\n</answer>", {}, 1.0),
    ("get_code_format_reward", "<think>\na\n</think>\n<answer>\nprint(1)\n</answer>", {}, 0.0),
    ("reasoning_steps_reward", "Step 1: we add one.\nStep 2: we add two.\nStep 3: that makes three.", {}, 1.0),
    ("reasoning_steps_reward", "It is three.", {}, 0.0),
    ("get_repetition_penalty_reward", "", {"options": {"ngram_size": 2}, "ids": [1, 2, 3, 4]}, 0.0),
    ("get_repetition_penalty_reward", "", {"options": {"ngram_size": 2}, "ids": [5] * 5}, -0.75),  # 1 of 4 is new
    ("get_repetition_penalty_reward", "", {"ids": [1, 2]}, 0.0),
]
OVERLONG = {"max_completion_len": 100, "soft_punish_cache": 20}
SAME += [
    ("get_soft_overlong_punishment", "", {"options": OVERLONG, "ids": list(range(n))}, expected)
    for n, expected in ((80, 0.0), (90, -0.5), (100, -1.0), (101, -1.0))  # (80 - 90) / 20
]
SAME += [
    ("get_cosine_scaled_reward", text, {"options": {"max_len": 100}, "ids": IDS["half"], "solution": "3"}, expected)
    for text, expected in (("\\boxed{3}", 0.75), ("\\boxed{4}", -0.75))  # cos(pi / 2) = 0: the middle
]
DIFFERENT = [  # name, completion, theirs, ours, why
    ("accuracy_reward", "$\\boxed{3\\text{ or maybe }4}$", {"solution": "$3$"}, 1.0, 0.0, "it hedges"),
    ("accuracy_reward", "<answer>3</answer>", {"solution": "$3$"}, 0.0, 1.0, "an answer need not be LaTeX"),
    ("accuracy_reward", "\\boxed{3}", {"solution": ""}, 1.0, None, "open-r1: an unreadable gold pays anything"),
    ("think_format_reward", "<think></think>", {}, 1.0, 0.0, "empty tags are no reasoning"),
    ("think_format_reward", "<think>So it is.</think>", {}, 1.0, 0.0, "there is no answer"),
    ("think_format_reward", "<think>a b</think> c </think>", {}, 1.0, 0.0, "a second end"),
    ("format_reward", GOOD.replace("\n", ""), {}, 0.0, 1.0, "line breaks are free"),
    ("format_reward", "<think>\n\n</think>\n<answer>\n\n</answer>", {}, 1.0, 0.0, "empty tags"),
    ("format_reward", f"{GOOD}\n{GOOD}", {}, 1.0, 0.0, "the template twice"),
    (
        "tag_count_reward",
        "\n</answer>\n<answer>\n\n</think>\n<think>\n",
        {},
        1.0,
        0.2,
        "tags in the wrong places: one of four, none of the fifth",
    ),
    (
        "get_code_format_reward",
        "<think>\na\n</think>\n<answer>\n```python```\n</answer>",
        {},
        1.0,
        0.0,
        "an empty block",
    ),
    (
        "get_code_format_reward",
        f"<think>\na\n</think>\n<answer>\n{BLOCK}{BLOCK}\n</answer>",
        {},
        1.0,
        0.0,
        "two blocks: which is meant?",
    ),
    ("reasoning_steps_reward", "First, First, First,", {}, 1.0, 0.0, "no steps"),
    (
        "get_cosine_scaled_reward",
        "\\boxed{3}",
        {"options": {"max_len": 100}, "ids": IDS["long"], "solution": "3"},
        0.75,
        0.5,
        "open-r1's cosine rises again beyond the limit; TRL's stays at 0.5 as ours",
    ),
    (
        "get_repetition_penalty_reward",
        "三三三三三三",
        {},
        0.0,
        -0.75,
        "one word for open-r1; 6 characters, 4 trigrams, one of them new",
    ),
]


@pytest.mark.parametrize(("name", "text", "row", "expected"), SAME)
def test_they_agree(name, text, row, expected):
    assert value(name, text, **row) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "text", "row", "theirs", "ours", "why"), DIFFERENT)
def test_they_differ_for_a_reason(name, text, row, theirs, ours, why):
    assert why and theirs != ours
    assert value(name, text, **row) == (None if ours is None else pytest.approx(ours))


def test_len_reward_compares_the_completions_of_a_prompt_and_not_of_the_batch():
    # over the batch, as open-r1, the 20 of the second prompt would get 0.5 - (20 - 10) / 90 = 0.389
    values = get("len_reward")(
        prompts=["a", "a", "b", "b"],
        completions=["\\boxed{3}"] * 4,
        completion_ids=[list(range(n)) for n in (10, 100, 20, 30)],
        solution=["3"] * 4,
    )
    assert values == [0.5, -0.5, 0.5, -0.5]


def test_code_reward_compares_all_of_the_output():
    info = {"language": "python", "test_cases": [{"input": "3", "output": "3\n4"}, {"input": "4", "output": "4\n5"}]}
    program = "```python\nn = int(input())\nprint(n)\nif n == 4: print(n + 1)\n```"
    assert value("code_reward", program, verification_info=info) == 0.5  # open-r1: 1.0, a line of two is enough
    assert value("code_reward", "```python\nprint()\n```", verification_info=info) == 0.0
    with pytest.raises(ValueError, match="needs the column verification_info"):
        value("code_reward", program)


def test_the_cosine_takes_their_options():
    options = {"max_len": 100, "min_value_correct": 0.0, "max_value_correct": 2.0}
    # 0 + (2 - 0) / 2 * (1 + cos(pi / 10)) = 1 + 0.95106
    found = value("get_cosine_scaled_reward", "\\boxed{3}", ids=IDS["short"], options=options, solution="3")
    assert found == pytest.approx(1 + math.cos(math.pi / 10))


def test_the_page_lists_every_name():
    page = DOC.read_text()
    assert [name for name in OTHERS if f"`{name}`" not in page] == []
    assert {name for name, *_ in SAME} | {"len_reward", "code_reward"} == set(OTHERS)
