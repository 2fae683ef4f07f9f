"""Letters of a multiple choice."""

import pytest

from rewards.maths.choices import letter_of_answer, letter_of_gold, letter_said, lists_options
from tests.timing import within


@pytest.mark.parametrize(
    ("gold", "letter"),
    [("B", "B"), (r"\text{(C)}", "C"), ("(D) Alina", "D"), ("C Cecile", "C"), ("x", None), ("AB", None), ("3", None)],
)
def test_references(gold, letter):
    assert letter_of_gold(gold) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("(B)", "B"), (r"\textbf{(E)}", "E"), ("C. Cecile", "C"), ("**D**. because B is wrong", "D"),
     ("option B: two", "B"), ("A or B", None), ("A: no; E: yes, or B", None), ("A good deal", None), ("E*2", None),
     ("b", None)],
)  # fmt: skip
def test_answers(answer, letter):
    assert letter_of_answer(answer, listed=False) == letter


def test_small_letters_where_the_question_lists_options():
    assert letter_of_answer("b. 4", listed=lists_options("Which?\nA) one\nB) two")) == "B"
    assert not lists_options("Which is it?")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B, since A fails.", "B"),
        ("Answer looks to be A.", "A"),
        ("The correct option is **(B)**.", "B"),
        ("The answer is D, it can't be A or B", "D"),
        ("La respuesta correcta es C.", "C"),
        ("**Antwort:** C", "C"),
        ("答案：B。", "B"),
        ("Antwort:\n\nAntwort: C", "C"),
        ("the answer is A\nNo, the answer is B", "B"),
        ("ANSWER: I can't say", None),
        ("ANSWER: Do not know", None),
        ("Answer: A good deal of this is unclear.", None),
        ("The answer is A or B", None),
        ("It is", None),
    ],
)
def test_statements(text, letter):
    assert letter_said(text) == letter


@pytest.mark.parametrize("unit", ["answer ", "answer is the ", "is ", "答案", "(", "A", "answer: ", "**"])
def test_hostile_text_takes_no_time(unit):
    with within(0.5):
        letter_said(unit * (131072 // len(unit)))
        letter_of_answer(unit * 300, listed=True)
