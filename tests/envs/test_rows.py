"""One row -> one task, or the reason why not."""

import numpy as np
import pytest

from envs.rows import ANSWER_COLUMNS, PROMPT_COLUMNS, WORKED, Columns, task_from_row
from rewards.maths.final_answer import boxed_answer

PROMPTS, ANSWERS = ", ".join(PROMPT_COLUMNS), ", ".join((*ANSWER_COLUMNS, *WORKED))


def read(row, **columns):
    return task_from_row(row, Columns(**columns), "rows.jsonl:1")


@pytest.mark.parametrize("name", ["prompt", "question", "problem"])
def test_the_usual_prompt_columns_are_found(name):
    assert read({name: "1+1?", "answer": "2"}).prompt == "1+1?"


def test_a_named_column_wins():
    task = read({"question": "no", "Frage": "1+1?", "Antwort": 2}, prompt="Frage", answer="Antwort")
    assert (task.prompt, task.columns["answer"]) == ("1+1?", 2)


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
        ({"answer": 7}, 7),
        ({"answer": 0}, 0),
        ({"answer": 0.5}, 0.5),
        ({"answer": True}, True),
        ({"answer": False}, False),
        ({"answer": [" 1/2", None, 0.5]}, ["1/2", 0.5]),
        ({"answer": {"value": "7", "aliases": ["seven"]}}, {"value": "7", "aliases": ["seven"]}),
        ({"solution": " two\n"}, "two"),  # no box: the whole text is the answer
        ({"solution": "2 + 2\n#### 4"}, "4"),
        ({"ground_truth": "7"}, "7"),
        ({"reward_model": {"style": "rule", "ground_truth": "7"}}, "7"),  # verl
        ({"expected_answer": "7", "solution": "\\boxed{8}"}, "7"),
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
        ({"foo": 1}, f"no prompt column, looked for {PROMPTS}; found foo (prompt_column=NAME names another)"),
        ({}, f"no prompt column, looked for {PROMPTS}; found no column"),
        ({"question": "1+1?"}, "found question (answer_column=NAME names another)"),
        ({"question": "1+1?", "answer": None}, f"no answer column, looked for {ANSWERS}; found question, answer"),
        ({"question": " \n", "answer": "2"}, "question is empty"),
        ({"question": 5, "answer": "2"}, "question must be a text or a list of messages, got a number"),
        ({"prompt": [], "answer": "2"}, "prompt holds no message"),
        ({"prompt": ["1+1?"], "answer": "2"}, "message 1 of prompt must have a role and a content, got str '1+1?'"),
        ({"prompt": [{"role": "user", "content": None}], "answer": "2"}, "message 1 of prompt must have a content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages has no message of a user to answer"),
        ({"prompt": [{"role": "user", "content": " "}], "answer": "2"}, "prompt ends with an empty message"),
        ({"question": "1+1?", "answer": ""}, "answer is empty"),
        ({"question": "1+1?", "answer": "####"}, "answer is empty"),
        ({"question": "1+1?", "answer": [None, " "]}, "answer is an empty list"),
        ({"question": "1+1?", "answer": {}}, "answer is an empty object"),
        ({"question": "1+1?", "answer": float("nan")}, "answer is not a finite number"),
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
        ("\\boxed{1} and \\boxed{2}", "1, 2"),  # a list, as the accuracy reward reads it
        ("\\boxed{1}, so \\boxed{2}", "2"),
        ("\\boxed{1} and \\boxed{2", "1"),
        ("none", None),
        ("\\boxed{" * 20_000, None),
    ],
)
def test_the_last_box(text, content):
    assert boxed_answer(text) == content


def test_a_name_with_dots_goes_into_an_object():
    row = {"extra": {"q": {"text": "1+1?"}}, "gold": {"all": ["2", "two"]}}
    task = read(row, prompt="extra.q.text", answer="gold.all")
    assert (task.prompt, task.columns["answer"]) == ("1+1?", ["2", "two"])
    assert read({"a.b": "1+1?", "a": {"b": "no"}}, prompt="a.b", answer_required=False).prompt == "1+1?"


def test_the_last_user_turn_of_a_conversation_is_the_prompt_and_what_follows_the_answer():
    said = [
        ("system", "Add."),
        ("user", "1+1?"),
        ("assistant", "2"),
        ("user", "2+2?"),
        ("assistant", "It is \\boxed{4}."),
    ]
    messages = [{"role": role, "content": text} for role, text in said]
    task = read({"messages": messages})
    assert (task.prompt, task.columns) == (messages[:4], {"answer": "4"})
    assert read({"messages": messages, "answer": 5}).columns == {"answer": 5}
    shared = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    assert read({"conversations": shared}).prompt == [{"role": "user", "content": "2+2?"}]


def test_an_instruction_and_its_input_are_one_prompt_and_output_the_answer():
    task = read({"instruction": "Add.", "input": "1 and 1", "output": "2"})
    assert (task.prompt, task.columns["answer"]) == ("Add.\n\n1 and 1", "2")
    assert read({"instruction": "Say hello.", "input": "", "output": "Hello."}).prompt == "Say hello."


def test_the_suffix_goes_to_the_users_message_before_a_prefill():
    messages = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "Sum:"}]
    prompt = read({"prompt": messages}, suffix=" Think.", answer_required=False).prompt
    assert [message["content"] for message in prompt] == ["1+1? Think.", "Sum:"]


def test_verbatim_leaves_the_answer_alone():
    assert read({"prompt": "?", "answer": " 1\n#### 2 "}, verbatim=True).columns == {"answer": " 1\n#### 2 "}


def test_arrays_of_numpy_are_lists():
    row = {"prompt": np.array([{"role": "user", "content": "1+1?"}], dtype=object), "answer": np.float64(2)}
    task = read(row)
    assert task.prompt == [{"role": "user", "content": "1+1?"}]
    assert task.columns["answer"] == 2.0 and type(task.columns["answer"]) is float


def test_the_usual_names_may_have_capitals():
    assert read({"Question": "1+1?", "Answer": "2"}).columns == {"Answer": "2", "answer": "2"}
    assert read({"question": "1+1?", "Question": "no", "Solution": "so \\boxed{2}"}).columns["answer"] == "2"
