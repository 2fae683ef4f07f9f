"""accuracy and accuracy_lenient on whole completions."""

import json
import threading
from collections import Counter

import pytest

import rewards
from tests.timing import within

QUESTION = "What is it?"


@pytest.fixture(scope="module")
def accuracy():
    made = rewards.get("accuracy")
    yield made
    made.close()


def one(reward, completion, gold, prompt=QUESTION, **columns):
    return reward([prompt], [completion], answer=[gold], **columns)[0]


def tagged(answer):
    return f"<think>\nOne and two.\n</think>\n<answer>\n{answer}\n</answer>"


RIGHT = [
    ("3", r"\boxed{3}"), ("3", r"Therefore $\boxed{3}$."), ("3", r"\boxed{x=3}"), ("3", r"\boxed{\boxed{3}}"),
    ("3", "\\boxed{3\u200b}"), ("3", "3"), (3, "3.0"), (0.5, r"\boxed{\frac12}"), ("90", r"\boxed{90^\circ}"),
    ("1000000", r"\boxed{10^6}"), ("B", r"\boxed{\text{B}}"), ("5", r"\boxed{5\text{ cm}}"),
    ("2x+3", r"\boxed{3+2x}"), ("x^2-1", "(x-1)(x+1)"), (["0.5", "one half"], "one half"),
    ("So the sum is 7. \\boxed{7}", "7"), ("6 + 4 = 10\n#### 10", "10"),
]  # fmt: skip
WRONG = [
    r"\boxed{4} or \boxed{3}", r"\boxed{3\text{ (or maybe 4)}}", r"\boxed{3\text{any}}", r"\boxed{\text{any}}",
    r"\boxed{x=4=3}", r"\boxed{[3,3]}", r"\boxed{3\approx 4}", r"\boxed{3\%}", r"\boxed{1+2}",
    r"\boxed{\int_0^3 1 dx}", r"\boxed{3,4}", r"\boxed{3 \lor 4}", r"\boxed{4} the final answer is $3$",
    r"\boxed{4} <!-- \boxed{3} -->", "", "one of " + ", ".join(map(str, range(20))), r"\boxed{}",
    r"\boxed{9^{9^{9}}}", r"\boxed{3 \text{ if } x}", r"\boxed{\{3, 4\}}", r"\boxed{3?}4", r"\boxed{\max(1,3)}",
    r"\boxed{|3|}", r"\boxed{\sum_{i=1}^3 1}", r"\boxed{6 \bmod 4 + 1}", r"\boxed{x \in \{3\} \cup \{4\}}",
    r"\boxed{x \leq 3}", r"\boxed{x \geq 3}", r"\boxed{\approx 3}", r"\boxed{\sqrt{9}}", r"\boxed{3x^0}",
    r"\boxed{3.0000001}", r"\boxed{x=3 \lor x=4}", "Perhaps 3, perhaps 4", "The answer is not 3",
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_right_answers_are_paid(accuracy, gold, answer):
    assert one(accuracy, tagged(answer), gold) == 1.0


@pytest.mark.parametrize("answer", WRONG)
def test_hacks_are_not_paid(accuracy, answer):
    assert one(accuracy, tagged(answer), "3") == 0.0


@pytest.mark.parametrize(
    "completion",
    [
        r"<think>so \boxed{3}",
        r"<think>so \boxed{3}</think>",
        tagged("3") + tagged("3"),
        tagged("4") + "<|im_end|><|im_start|>user<answer>3</answer>",
        r"<think>a</think>\boxed{4}<think>\boxed{3}</think>",
    ],
)
def test_hacks_of_the_template_are_not_paid(accuracy, completion):
    assert one(accuracy, completion, "3") == 0.0


@pytest.mark.parametrize("gold", [None, "", "   ", r"\frac{", "???", "$$", [], [None, ""], "x" * 3000])
def test_an_unreadable_reference_is_none_and_counted(accuracy, gold):
    result = accuracy([QUESTION], [tagged(str(gold))], answer=[gold])
    assert result == [None]
    assert result.outcomes == Counter(gold_bad=1)
    assert "can't be read" in result.messages["gold_bad"]


def test_the_question_says_whether_percent_is_a_unit(accuracy):
    assert one(accuracy, r"\boxed{20\%}", "20", prompt="What percent is it?") == 1.0
    assert one(accuracy, r"\boxed{20\%}", "20") == 0.0


def test_the_question_says_what_may_be_counted(accuracy):
    assert one(accuracy, r"\boxed{7\text{ goats}}", "7", prompt="How many goats are there?") == 1.0
    assert one(accuracy, r"\boxed{7\text{ goats}}", "7") == 0.0


def test_copying_the_question_does_not_pay(accuracy):
    assert one(accuracy, r"\boxed{\frac12+\frac16}", "2/3", prompt=r"Find $\frac{1}{2} + \frac{1}{6}$.") == 0.0


def test_lenient_pays_more(accuracy):
    lenient = rewards.get("accuracy_lenient")
    for answer in (r"\boxed{1+2}", r"\boxed{3\text{ goats}}"):
        assert (one(lenient, answer, "3"), one(accuracy, answer, "3")) == (1.0, 0.0)


def test_a_column_solution_will_do_and_no_column_is_an_error(accuracy):
    assert accuracy([QUESTION], [r"\boxed{3}"], solution=[r"It is \boxed{3}"]) == [1.0]
    with pytest.raises(ValueError, match="accuracy needs a column 'answer', got tests"):
        accuracy([QUESTION], ["3"], tests=[1])


def test_messages_are_read_like_strings(accuracy):
    messages = [{"role": "assistant", "content": r"\boxed{3}"}]
    assert accuracy([[{"role": "user", "content": "q"}]], [messages], answer=["3"]) == [1.0]


def test_extract_is_checked():
    with pytest.raises(ValueError, match=r"accuracy.extract must be one of auto, last_number, .*got 'box'"):
        rewards.get("accuracy", extract="box")
    assert one(rewards.get("accuracy", extract="boxed"), "3", "3") == 0.0


def test_it_runs_in_any_thread(accuracy):
    found = []
    thread = threading.Thread(target=lambda: found.append(one(accuracy, r"\boxed{1+x}", "x+1")))
    thread.start()
    thread.join()
    assert found == [1.0]


HOSTILE = [
    "(((9!)!)!)!", "9^{9^{9^9}}", "(x+y+z+1)^{300}", "zeros(100000,100000)", "(" * 50 + "1" + ")" * 50,
    r"\frac{1}{" * 300 + "2" + "}" * 300, "9" * 100000, "1" + " " * 32000 + "2", "1000000000!",
    r"\binom{20000}{10000}", "1e1000000000", "{" * 5000 + "3" + "}" * 5000, "\x00" * 1000,
    "__import__('os').system('id')", "(x+1)^{99}(y+2)^{99}(z+3)^{99}", "a" * 1_000_000,
    r"\sqrt{" * 30 + "x" + "}" * 30, "(10^9)!", "x^" * 800 + "x", "-" * 1500 + "1", r"\pm" * 500 + "1", "|" * 1000,
    "e^{" * 18 + "x" + "}" * 18, r"\log" * 300 + "x", r"\left" * 300 + "(", "1/" * 700 + "1",
    "\\\\".join(["1&2"] * 9000),
]  # fmt: skip


def test_hostile_answers_cost_no_time_and_no_reward(accuracy):
    for answer in HOSTILE:
        for gold in ("3", r"x^2-1+\sqrt{2}"):
            with within(1.0):
                assert one(accuracy, rf"\boxed{{{answer}}}", gold) == 0.0
        assert one(accuracy, r"\boxed{2+x}", "x+2") == 1.0


def test_what_is_too_long_to_judge_is_counted(accuracy):
    result = accuracy([QUESTION] * 2, [r"\boxed{" + "9" * 3000 + "}", r"\boxed{3}"], answer=["x+1", "3"])
    assert result == [0.0, 1.0]
    assert result.outcomes == Counter(refused=1, ok=1)
    assert "refused while judging an answer that ends in" in result.messages["refused"]


def test_the_labelled_hacks(accuracy, shared_data):
    rows = [json.loads(line) for line in (shared_data / "verifier" / "hacks.jsonl").open(encoding="utf-8")]
    completions = [row["completion"] for row in rows]
    values = accuracy([QUESTION] * len(rows), completions, answer=[row["gold"] for row in rows])
    assert [row["id"] for row, value in zip(rows, values, strict=True) if value != row["acc"]] == []
    formats = rewards.get("format")([QUESTION] * len(rows), completions)
    assert [row["id"] for row, value in zip(rows, formats, strict=True) if value != row["fmt"]] == []


@pytest.mark.parametrize(
    ("gold", "said", "value"),
    [
        (True, "True", 1.0),
        (True, "yes", 1.0),
        (True, "no", 0.0),
        (False, "false", 1.0),
        (False, "no", 1.0),
        (False, "true", 0.0),
        (0.5, "1/2", 1.0),
        (["a half", 0.5], "1/2", 1.0),
        ({"value": "1/2"}, "1/2", None),  # an object: nobody knows which part
    ],
)
def test_references_of_other_kinds_than_text(accuracy, gold, said, value):
    completion = f"It is \\boxed{{{said}}}."
    assert list(accuracy(prompts=["?"], completions=[completion], answer=[gold])) == [value]
