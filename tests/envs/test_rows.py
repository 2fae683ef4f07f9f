"""One row -> one task, or the reason why not."""

import pytest

from envs.rows import Columns, last_boxed, task_from_row


def read(row, **columns):
    return task_from_row(row, Columns(**columns), "rows.jsonl:1")


@pytest.mark.parametrize("name", ["prompt", "question", "problem"])
def test_the_usual_prompt_columns_are_found(name):
    assert read({name: "1+1?", "answer": "2"}).prompt == "1+1?"


def test_a_named_column_wins():
    task = read({"question": "no", "Frage": "1+1?", "Antwort": 2}, prompt="Frage", answer="Antwort")
    assert (task.prompt, task.columns["answer"]) == ("1+1?", "2")


def test_other_columns_are_kept_and_reserved_names_are_not():
    task = read({"question": "1+1?", "answer": "2", "level": 3, "prompts": "x", "completion_ids": [1]})
    assert task.columns == {"answer": "2", "level": 3}


def test_messages_are_a_prompt_and_take_the_suffix_at_their_end():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    assert read({"prompt": messages, "answer": "2"}, suffix=" Think.").prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1? Think."},
    ]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"answer": "She pays 2 * 500.\n#### 1,000"}, "1000"),  # GSM8K as on the hub
        ({"solution": "so $\\boxed{1}$, no: $\\boxed{\\frac{1}{2}}$."}, "\\frac{1}{2}"),  # MATH as on the hub
        ({"answer": "7", "solution": "\\boxed{8}"}, "7"),
        ({"answer": 7}, "7"),
        ({"answer": 0}, "0"),
        ({"answer": 0.5}, "0.5"),
        ({"answer": " 7\n"}, "7"),
    ],
)
def test_where_the_answer_comes_from(row, answer):
    assert read({"question": "?!", **row}).columns["answer"] == answer


def test_the_worked_text_of_gsm8k_is_kept_as_solution():
    assert read({"question": "?!", "answer": "2 + 2 = 4\n#### 4"}).columns["solution"] == "2 + 2 = 4\n#### 4"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"foo": 1}, "no prompt column, looked for prompt, question, problem; found foo"),
        ({}, "no prompt column, looked for prompt, question, problem; found no column"),
        ({"question": "1+1?"}, "no answer column, looked for answer; found question"),
        ({"question": "1+1?", "answer": None}, "no answer column, looked for answer; found question, answer"),
        ({"question": " \n", "answer": "2"}, "question is empty"),
        ({"question": 5, "answer": "2"}, "question must be a text or a list of messages, got a number"),
        ({"prompt": [], "answer": "2"}, "prompt must be a text or a list of messages, got a list"),
        ({"prompt": ["1+1?"], "answer": "2"}, "not of messages with a role and a content"),
        ({"prompt": [{"role": "user", "content": None}], "answer": "2"}, "not of messages with a role and a content"),
        ({"prompt": [{"role": "user", "content": " "}], "answer": "2"}, "prompt ends with an empty message"),
        ({"question": "1+1?", "answer": ""}, "answer is empty"),
        ({"question": "1+1?", "answer": "####"}, "answer is empty"),
        ({"question": "1+1?", "answer": True}, "answer must be a text or a number, got true or false"),
        ({"question": "1+1?", "answer": ["2"]}, "answer must be a text or a number, got a list"),
        ({"question": "1+1?", "answer": float("nan")}, "answer is not a finite number"),
        ({"question": "1+1?", "solution": "two"}, "solution holds no \\boxed answer"),
        ([1], "not an object with columns but a list"),
        (None, "not an object with columns but nothing"),
    ],
)
def test_a_malformed_row_says_what_is_wrong(row, reason):
    with pytest.raises(ValueError) as raised:
        read(row)
    assert reason in str(raised.value)


def test_an_answer_is_not_needed_when_no_reward_needs_it():
    assert read({"prompt": "Write.", "tests": "x"}, answer_required=False).columns == {"tests": "x"}


def test_a_language_is_added_where_the_row_has_none():
    assert read({"question": "?!", "answer": "1"}, language="en").columns["language"] == "en"
    assert read({"question": "?!", "answer": "1", "language": "de"}, language="en").columns["language"] == "de"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{a{b}c}", "a{b}c"),
        ("\\boxed{1} and \\boxed{2}", "2"),
        ("\\boxed{1} and \\boxed{2", None),
        ("none", None),
        ("\\boxed{" * 20_000, None),
    ],
)
def test_the_last_box(text, content):
    assert last_boxed(text) == content
