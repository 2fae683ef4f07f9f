"""Prompts that want a direct answer."""

import pytest

from distill.pipeline.direct import direct, words
from distill.pipeline.rewards import helpful
from envs.base import DataError


def test_a_quarter_is_held_out_and_no_prompt_is_in_both():
    env = direct(seed=3)
    train, test = ({task.prompt for task in env.tasks(split)} for split in ("train", "test"))
    assert (len(train), len(test)) == (42, 14)  # 28 numbers in two languages
    assert not train & test


@pytest.mark.parametrize(
    ("number", "language", "said"),
    [
        (0, "en", "zero"),
        (27, "zh", "二 十 七"),
        (28, "en", "twenty eight"),
        (30, "en", "thirty"),
        (99, "en", "ninety nine"),
    ],
)
def test_a_number_in_words(number, language, said):
    assert words(number, language) == said


def test_its_reply_is_what_helpful_pays():
    task = direct(template="Write {words} in digits.", languages=["en"], largest=99).tasks("test")[0]
    reply = f"<answer>{task.columns['reply']}</answer>"
    assert helpful([reply, "<answer>no</answer>"], reply=[task.columns["reply"]] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "words"}, "template must hold {words}"),
        ({"languages": ["fr"]}, "languages must be some of en, zh, got ['fr']"),
        ({"largest": 40}, "largest must be from 3 to 27 in en, zh, got 40"),
    ],
)
def test_what_it_cannot_make_is_refused(options, said):
    with pytest.raises(DataError) as error:
        direct(**options)
    assert said in str(error.value)
