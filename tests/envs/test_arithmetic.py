"""Generated arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import DataError, make
from envs.arithmetic import evaluate


def test_the_defaults_are_162_problems_of_which_48_are_held_out():
    # 81 additions + 81 multiplications of 1..9 by 1..9; int(0.3 * 162) = 48
    env = make("arithmetic")
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (114, 48)
    assert {task.prompt for tasks in env.splits.values() for task in tasks} == {
        f"What is {a} {sign} {b}?" for a in range(1, 10) for b in range(1, 10) for sign in "+*"
    }


@pytest.mark.parametrize(
    ("operands", "signs", "value"),
    [
        ([2, 3, 4], "+*", 14),  # 2 + 12
        ([2, 3, 4], "*+", 10),  # 6 + 4
        ([9, 2, 3, 1], "-*-", 2),  # 9 - 6 - 1
        ([5], "", 5),
    ],
)
def test_products_come_before_sums(operands, signs, value):
    assert evaluate(operands, signs) == value


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(-20, 20)), max_size=6), st.integers(-20, 20))
def test_the_value_is_pythons(rest, first):
    written = str(first) + "".join(f" {sign} ({operand})" for sign, operand in rest)
    value = eval(written)  # text made here, of digits and signs only
    assert evaluate([first, *(operand for _, operand in rest)], [sign for sign, _ in rest]) == value


def test_many_combinations_are_sampled_without_repetition():
    # 1000^4 * 3^3 combinations
    env = make("arithmetic", low=0, high=999, terms=4, operations="+-*", size=500, test_size=100)
    prompts = [task.prompt for tasks in env.splits.values() for task in tasks]
    assert (len(prompts), len(set(prompts))) == (500, 500)


def test_a_negative_operand_stands_in_parentheses():
    env = make("arithmetic", operations=["-"], low=-1, high=-1, test_size=0)
    assert [(task.prompt, task.columns["answer"]) for task in env.tasks("train")] == [("What is (-1) - (-1)?", "0")]


def test_the_template_may_hold_other_braces():
    env = make("arithmetic", template="{expression} = \\boxed{}", low=1, high=1, operations="+")
    assert env.tasks("train")[0].prompt == "1 + 1 = \\boxed{}"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"operations": ["/"]}, "operations must be some of"),
        ({"operations": []}, "operations must be some of"),
        ({"low": 5, "high": 4}, "low must not exceed high"),
        ({"terms": 1}, "terms must be from 2 to 10"),
        ({"template": "What?"}, "template must hold {expression}"),
        ({"size": 0}, "size must be at least 1"),
        ({"high": 10**9, "terms": 9}, "too many combinations"),
    ],
)
def test_impossible_options_are_refused_with_the_reason(options, reason):
    with pytest.raises(DataError) as raised:
        make("arithmetic", **options)
    assert reason in str(raised.value)
