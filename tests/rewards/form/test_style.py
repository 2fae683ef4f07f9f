"""Repetition and reasoning steps."""

import pytest

from rewards import get
from rewards.form.style import count_steps, repetition_penalty
from tests.timing import within


def test_repetition_is_the_share_of_ngrams_already_said():
    # a b a b a: bigrams ab ba ab ba, 2 of 4 distinct: -(1 - 2 / 4)
    assert repetition_penalty(list("ababa"), 2, -1.0) == -0.5
    assert repetition_penalty(list("abcde"), 2, -1.0) == 0.0


def test_less_than_one_ngram_is_no_repetition():
    assert repetition_penalty(["a", "a"], 3, -1.0) == 0.0
    assert repetition_penalty([], 1, -1.0) == 0.0


def one(name, text, prompt="", ids=None, **options):
    values = get(name, **options)(prompts=[prompt], completions=[text], completion_ids=None if ids is None else [ids])
    return values[0]


def test_case_does_not_hide_a_repetition():
    # so it is so it is: trigrams "so it is", "it is so", "is so it", "so it is": 3 of 4 distinct
    assert one("repetition", "So it is SO IT IS") == pytest.approx(-0.25)


def test_scripts_without_blanks_are_counted_by_the_character():
    assert one("repetition", "三加四三加四") == pytest.approx(-0.25)


def test_token_ids_are_counted_on_request():
    assert one("repetition", "a b c d", ids=[1, 1, 1, 1], ngram_size=1, tokens=True) == -0.75  # 1 of 4 distinct
    assert one("repetition", "a b c d", ids=[1, 1, 1, 1], ngram_size=1) == 0.0


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Step 1: add one and two\nStep 2: halve the sum now", 2),
        ("1. add one and two\n2) halve the sum now\n3: check it once more", 3),
        ("- add one and two\n* halve the sum now\n• check it once more", 3),
        ("First, add one and two\nThen, halve the sum\nFinally, check it again", 3),
        ("**Step 1:** add one and two", 1),
        ("we add one and two. Step 1: is over", 0),
        ("First, First, First,\nStep 1:\nStep 2:\n- \n- ok", 0),  # open-r1's pattern counts them all
        ("Step 1: add one and two\nStep 2: add one and two\n3. add one and two", 1),  # the same words are one step
        ("1. 2. 3. 4.", 1),
        ("- --- --- ---", 0),
        ("3.14 is what we use", 0),
    ],
)
def test_a_step_needs_words_of_its_own(text, steps):
    assert count_steps(text) == steps


def test_steps_are_counted_in_the_reasoning():
    steps = "1. add one and two\n2. halve the sum now\n3. check it once more"
    assert one("reasoning_steps", f"<think>{steps}</think> 3") == 1.0
    assert one("reasoning_steps", f"<think>idle</think> {steps}") == 0.0
    assert one("reasoning_steps", f"{steps}</think> 3", prompt="q <think>") == 1.0
    assert one("reasoning_steps", steps, wanted=6) == 0.5


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("repetition", {"ngram_size": 0}, "repetition.ngram_size must be at least 1"),
        ("repetition", {"max_penalty": 0.5}, "repetition.max_penalty must not be positive"),
        ("reasoning_steps", {"wanted": 0}, "reasoning_steps.wanted must be at least 1"),
    ],
)
def test_an_impossible_option_is_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        get(name, **options)


@pytest.mark.parametrize("name", ["repetition", "reasoning_steps"])
@pytest.mark.parametrize("text", [" " * 128_000, "- " * 64_000, "1. a\n" * 25_600, "#" * 128_000, "\n" * 128_000])
def test_hostile_text_is_judged_in_no_time(name, text):
    with within(0.5):
        one(name, text)
