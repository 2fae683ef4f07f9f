"""The miniature's task and its imperfect cold start."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import DataError, make
from envs.digit_sums import BROKEN_LAYOUTS, SOUND_LAYOUT, WORDS, chain, imperfect_chain, number_words
from rewards.form.format import strict_format

CHINESE = set("零一二三四五六七八九十加") | {"等于"}
FAULTLESS = {"wrong": 0.0, "mixed": 0.0, "broken": 0.0}


def problem(text):
    tasks = [task for tasks in make("digit_sums").splits.values() for task in tasks]
    return next(task for task in tasks if task.prompt == text)


def chains(count=300, **shares):
    rng = random.Random(5)
    tasks = make("digit_sums").tasks("train")
    return [(task, imperfect_chain(task, rng, **{**FAULTLESS, **shares})) for task in (tasks * 2)[:count]]


def reasoning_of(text):
    return text.partition("<think> ")[2].partition(" </think>")[0]


def answer_of(text):
    return text.partition("<answer> ")[2].partition(" </answer>")[0]


def test_the_thousand_problems_fall_into_two_parts():
    env = make("digit_sums")
    assert {name: len(tasks) for name, tasks in env.splits.items()} == {"train": 800, "test": 200}
    assert len({task.prompt for tasks in env.splits.values() for task in tasks}) == 1000


def test_parts_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(DataError, match="below 1000, got 1000"):
        make("digit_sums", test_size=1000)


def test_a_worked_solution_in_english():
    expected = "<think> three plus five is eight . eight plus nine is seventeen . </think> <answer> 17 </answer>"
    assert chain(problem("3 + 5 + 9 =")) == expected


def test_a_worked_solution_in_chinese():
    expected = "<think> 九 加 九 等于 十 八 . 十 八 加 九 等于 二 十 七 . </think> <answer> 27 </answer>"
    assert chain(problem("9 + 9 + 9 ="), "zh") == expected


@pytest.mark.parametrize(
    ("number", "english", "chinese"),
    [
        (0, "zero", "零"),
        (10, "ten", "十"),
        (11, "eleven", "十 一"),
        (19, "nineteen", "十 九"),
        (20, "twenty", "二 十"),
        (21, "twenty one", "二 十 一"),
        (27, "twenty seven", "二 十 七"),
    ],
)
def test_numbers_in_words(number, english, chinese):
    assert (number_words(number, "en"), number_words(number, "zh")) == (english, chinese)


@given(st.integers(0, 999), st.integers(0, 2**32), st.sampled_from(["en", "zh"]))
def test_every_word_is_in_the_vocabulary(number, seed, language):
    env = make("digit_sums", test_size=1)
    tasks = [*env.tasks("train"), *env.tasks("test")]
    text = imperfect_chain(
        tasks[number], random.Random(seed), wrong=0.5, mixed=0.5, broken=0.5, target_language=language
    )
    assert set(f"{tasks[number].prompt} {text}".split(" ")) <= set(WORDS)


def test_the_vocabulary_repeats_no_word():
    assert len(set(WORDS)) == len(WORDS)


def test_without_faults_answer_format_and_language_are_right():
    for task, text in chains():
        assert answer_of(text) == task.columns["answer"]
        assert strict_format(text) == 1.0
        assert not CHINESE & set(text.split())


def test_a_step_can_be_wrong_only_where_its_result_is_in_one_language():
    found = chains(count=600, wrong=0.5, mixed=0.6, mixed_wrong=0.0)
    seen = {"en": [], "zh": []}
    for task, text in found:
        first = reasoning_of(text).split(" .")[0].split()
        a, b = (int(digit) for digit in task.prompt.split()[:3:2])
        link = next(word for word in first if word in ("is", "等于"))
        said = " ".join(first[first.index(link) + 1 :])
        language = "zh" if set(said.split()) & CHINESE else "en"
        seen[language].append(said == number_words(a + b, language))
    assert all(seen["zh"]) and len(seen["zh"]) > 100
    assert 0.4 < sum(seen["en"]) / len(seen["en"]) < 0.6  # each wrong with a half


def test_a_wrong_step_gives_a_wrong_answer_in_sound_format():
    for task, text in chains(wrong=1.0):
        assert answer_of(text) != task.columns["answer"]
        assert strict_format(text) == 1.0


@pytest.mark.parametrize("text", ["0 + 0 + 0 =", "9 + 9 + 0 =", "9 + 9 + 9 ="])
def test_a_wrong_step_stays_within_the_possible_results(text):
    task, rng = problem(text), random.Random(0)
    for _ in range(50):
        assert set(imperfect_chain(task, rng, wrong=1.0, mixed=0.5, broken=0.0).split(" ")) <= set(WORDS)


def test_a_mixed_chain_holds_both_languages_and_the_right_answer():
    for task, text in chains(mixed=1.0):
        words = set(reasoning_of(text).split()) - {"."}
        assert words & CHINESE and words - CHINESE
        assert answer_of(text) == task.columns["answer"]


def test_a_broken_chain_fails_the_strict_format():
    assert [text for _, text in chains(broken=1.0) if strict_format(text)] == []


def test_every_broken_layout_is_broken_and_the_sound_one_is_not():
    filled = [layout.format(reasoning="one plus one is two .", answer=2) for layout in BROKEN_LAYOUTS]
    assert [strict_format(text) for text in filled] == [0.0] * len(BROKEN_LAYOUTS)
    assert strict_format(SOUND_LAYOUT.format(reasoning="one plus one is two .", answer=2)) == 1.0


@pytest.mark.parametrize("fault", ["wrong", "mixed", "broken"])
def test_a_fault_comes_as_often_as_asked(fault):
    # 300 draws of probability 0.3: 90 expected, standard deviation 7.9
    faulty = sum(text != chain(task) for task, text in chains(**{fault: 0.3}))
    assert 60 <= faulty <= 120


def test_the_same_generator_state_gives_the_same_chain():
    assert chains(wrong=0.3, mixed=0.3, broken=0.3) == chains(wrong=0.3, mixed=0.3, broken=0.3)


def test_an_unknown_language_is_refused():
    with pytest.raises(DataError, match="target_language must be one of en, zh, got 'fr'"):
        chain(problem("0 + 0 + 1 ="), "fr")
