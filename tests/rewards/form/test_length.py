"""Length rewards against hand-computed values."""

import pytest

from rewards import get
from rewards.form.length import cosine_length, lengths, overlong_penalty, relative_length


@pytest.mark.parametrize(
    ("length", "penalty"),
    [
        (0, 0.0),
        (80, 0.0),  # max 100 - buffer 20
        (81, -0.05),  # (80 - 81) / 20
        (90, -0.5),  # (80 - 90) / 20
        (100, -1.0),
        (500, -1.0),
    ],
)
def test_overlong_is_linear_over_the_buffer(length, penalty):
    assert overlong_penalty(length, 100, 20) == pytest.approx(penalty)


def test_without_a_buffer_only_what_is_over_the_limit_is_punished():
    assert [overlong_penalty(length, 10, 0) for length in (9, 10, 11)] == [0.0, 0.0, -1.0]


def test_lengths_are_tokens_where_ids_are_given():
    assert lengths(["a b c"], [[1, 2, 3, 4, 5, 6, 7]]) == [7]


def test_without_ids_four_ascii_characters_or_one_other_are_a_token():
    assert lengths(["abcdefgh", "abcde", "三加四", ""], None) == [2, 2, 3, 0]


def test_the_limit_is_the_option_or_the_trainers_column():
    ids = [list(range(n)) for n in (5, 10)]
    call = {"prompts": ["", ""], "completions": ["", ""], "completion_ids": ids}
    assert get("overlong", max_length=10, buffer=10)(**call) == [-0.5, -1.0]  # (0 - 5) / 10
    assert get("overlong")(**call, max_completion_length=[10, 100]) == [0.0, 0.0]
    assert get("overlong", max_length=11)(**call) == [0.0, -0.5]  # buffer 11 // 5 = 2: (9 - 10) / 2
    assert get("overlong")(**call, max_completion_length=[5, 10]) == [-1.0, -1.0]


def test_without_any_limit_it_says_what_is_missing():
    with pytest.raises(ValueError, match="overlong needs the option max_length"):
        get("overlong")(prompts=[""], completions=["x"])


@pytest.mark.parametrize(
    ("length", "value"),
    [(0, 1.0), (50, 0.75), (100, 0.5), (150, 0.5)],  # cos 0 = 1; cos pi/2 = 0; cos pi = -1; not rising again
)
def test_cosine_goes_from_short_to_long(length, value):
    assert cosine_length(length, 100, short=1.0, long=0.5) == pytest.approx(value)


def test_a_quarter_of_the_way():
    # 0.5 + 0.25 * (1 + cos(pi / 4)) = 0.5 + 0.25 * 1.70711 = 0.92678
    assert cosine_length(25, 100, short=1.0, long=0.5) == pytest.approx(0.926777, abs=1e-6)


def cosine(lengths_, answers, **options):
    rows = len(lengths_)
    return get("cosine", max_length=100, **options)(
        prompts=["What is 1 + 2?"] * rows,
        completions=[f"\\boxed{{{answer}}}" for answer in answers],
        completion_ids=[[0] * n for n in lengths_],
        answer=["3"] * rows,
    )


def test_short_and_right_is_best_short_and_wrong_is_worst():
    right_short, right_long, wrong_long, wrong_short = cosine([10, 90, 90, 10], ["3", "3", "4", "4"])
    assert right_short > right_long > 0 > wrong_long > wrong_short


def test_what_is_cut_is_worth_the_same_right_or_wrong():
    assert cosine([100, 100], ["3", "4"], exceeded=-2.0) == [-2.0, -2.0]


def test_an_answer_that_cannot_be_judged_has_no_cosine():
    reward = get("cosine", max_length=100)
    result = reward(prompts=["q"], completions=["\\boxed{3}"], completion_ids=[[0]], answer=[None])
    assert (list(result), dict(result.outcomes)) == ([None], {"gold_bad": 1})


def test_what_is_correct_is_said_by_another_reward():
    reward = get("cosine", max_length=10, of="format")
    text = "<think>a sum</think><answer>9</answer>"
    assert reward(prompts=["q", "q"], completions=[text, "9"], completion_ids=[[0] * 5] * 2) == [0.75, -0.75]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("overlong", {"max_length": 0}, "overlong.max_length must be at least 1"),
        ("overlong", {"max_length": 5, "buffer": 6}, "overlong.buffer must be between 0 and max_length"),
        ("cosine", {"correct": 1.0}, "cosine.correct must be two numbers"),
        ("cosine", {"correct": [0.0, -2.0]}, "cosine.correct must not be below cosine.wrong"),
        ("cosine", {"exceeded": "no"}, "cosine.exceeded must be a number"),
        ("cosine", {"of": "acuracy"}, "did you mean accuracy"),
    ],
)
def test_an_impossible_option_is_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        get(name, **options)


def test_cosine_without_a_penalty_for_what_was_cut():
    # length 100 and 150 of 100: cos(pi) = -1, so 0.5 for the right and -0.5 for the wrong one
    call = {"prompts": [""] * 3, "completions": [r"\boxed{3}", r"\boxed{4}", r"\boxed{3}"], "answer": ["3"] * 3}
    ids = [list(range(length)) for length in (100, 150, 0)]
    reward = get("cosine", max_length=100, exceeded=None)
    assert reward(**call, completion_ids=ids) == pytest.approx([0.5, -0.5, 1.0])
    with pytest.raises(ValueError, match=r"cosine\.exceeded must be a number, or null"):
        get("cosine", exceeded="no")


@pytest.mark.parametrize(
    ("length", "correct", "value"),
    [
        (10, True, 0.5),
        (20, True, 0.0),  # 1/2 - 10 / 20
        (30, True, -0.5),
        (10, False, 0.0),  # at most 0
        (25, False, -0.25),  # 1/2 - 15 / 20
    ],
)
def test_the_relative_length(length, correct, value):
    assert relative_length(length, 10, 30, correct=correct) == pytest.approx(value)


def test_equal_lengths_are_worth_nothing():
    assert relative_length(7, 7, 7, correct=True) == relative_length(7, 7, 7, correct=False) == 0.0


def test_len_compares_the_completions_of_a_prompt():
    # a: lengths 10, 30 -> 0.5, -0.5 (right); b: 5, 5 -> 0, 0; c alone -> 0
    ids = [list(range(length)) for length in (10, 5, 30, 5, 99)]
    values = get("len")(
        prompts=["a", "b", "a", "b", "c"],
        completions=[r"\boxed{3}"] * 4 + ["?"],
        completion_ids=ids,
        answer=["3"] * 4 + [None],
    )
    assert values == [0.5, 0.0, -0.5, 0.0, None]
