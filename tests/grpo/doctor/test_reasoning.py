"""Findings that need a second look: what resembles a fault and is none, and faults that resemble another one."""

import random
import subprocess
import sys

import pytest

from grpo.doctor.findings import diagnose
from tests.grpo.doctor.made import OWN, Made, said

CJK = "第一步我们先把两个数字加起来然后再看看结果是不是对的"


def names(made: Made) -> list[str]:
    return [one.name for one in diagnose(made.write())]


def test_a_reward_that_rises_while_the_policy_moves_far_is_not_the_rate(run):
    run.config["reward_weights"] = {"accuracy": 0, OWN: 1.0}
    run.since(8, kl=3.0, rewards__accuracy__mean=0.0, rewards__format__mean=0.05)
    for step in run.metrics:
        step["reward"] = 0.2 + 0.1 * step["step"]
    assert "learning rate too high" not in names(run)


def shorter(run: Made) -> Made:
    """A reward of the user's pays brevity, and completions shrink from 40 tokens to 21."""
    run.config["reward_weights"] = {"accuracy": 1.0, OWN: 1.0}
    run.each(lambda row, rng: {"rewards": row["rewards"] | {OWN: -row["tokens"] / 100}})
    for step in run.metrics:
        step["completions/mean_length"] = 41.0 - step["step"]
    return run


def test_paying_brevity_is_no_fault_as_long_as_the_answers_stay(run):
    assert names(shorter(run)) == []


def test_paying_brevity_that_costs_the_answers_is_one(run):
    shorter(run)
    for step in run.metrics:
        step["rewards/accuracy/mean"] = max(0.0, 0.4 - 0.02 * step["step"])
    assert names(run)[0] == "stops at once"


def test_short_answers_that_are_right_now_and_then_do_not_stop_at_once(run):
    # one token each, from the first step on: a task of single words
    run.all(completions__mean_length=1.0)
    for step in run.metrics:
        step["rewards/accuracy/mean"] = 0.06 + 0.01 * step["step"]
    assert "stops at once" not in names(run)


def test_tasks_in_another_language_are_not_a_drift(run):
    def chinese(row, rng):
        return {
            "prompt": CJK,
            "completion": f"<think> {CJK} {rng.random()} </think> <answer> {row['answer']} </answer>",
        }

    assert names(run.each(chinese, first=13)) == []


@pytest.mark.parametrize("how", [{"stop": ["<answer>"]}, {"stop_tokens": ["<answer>"]}])
def test_a_stop_before_the_answer_stops_at_once(run, how):
    run.config |= how
    run.all(rewards__accuracy__mean=0.0, rewards__accuracy__max=0.0, rewards__format__mean=0.0)
    kept = " <answer>" if "stop" in how else ""

    def cut(row, rng):
        text = row["completion"].split(" <answer>")[0]
        return {"completion": text + kept, "rewards": {"accuracy": 0.0}, "token_texts": ["a", " <answer>"]}

    assert names(run.each(cut))[0] == "stops at once"


def test_a_reward_of_the_prompt_alone_judges_nothing(run):
    run.paid({OWN: 1.0}, lambda row: len(row["prompt"]) / 100)
    assert names(run.all(frac_reward_zero_std=1.0))[0] == "no reward judges the task"


def test_a_reward_against_the_gold_answers_judges_nothing(run):
    run.paid({OWN: 1.0}, lambda row: float(f"<answer> {row['answer']} " not in row["completion"]))
    assert names(run)[0] == "no reward judges the task"


def test_a_reward_that_follows_the_gold_answers_judges(run):
    run.paid({OWN: 1.0}, lambda row: float(f"<answer> {row['answer']} " in row["completion"]))
    assert names(run) == []


def test_one_gold_answer_for_all_tasks_is_wrong(run):
    assert names(run.each(lambda row, rng: {"answer": "27"}))[0] == "wrong gold answers"


def test_unknown_words_are_the_template_whichever_it_is(run):
    run.config["template"] = "plain"
    run.log = "12:00:00    note: 60% of the tokens of the train prompts are unknown to the model (<unk>)\n"
    first = diagnose(run.write())[0]
    assert first.name == "wrong template" and first.changes == ()


def test_a_small_entropy_bonus_does_not_excuse_the_rate(run):
    run.config["entropy_coef"] = 0.001
    run.since(8, reward=0.1, rewards__accuracy__mean=0.0, rewards__format__mean=0.05, kl=3.0, entropy=2.5)
    assert names(run)[0] == "learning rate too high"


def test_a_policy_that_could_not_be_updated_has_spikes_and_not_a_low_rate(run):
    rng = random.Random(0)
    for step in run.metrics:
        step.update({"reward": 0.8 + 0.02 * rng.random(), "rewards/accuracy/mean": 0.4, "kl": 1e-8})
    assert names(run.all(updates__dropped=4.0))[0] == "gradient spikes"


def test_an_answer_that_a_question_is_about_is_not_a_leak(run):
    def quoted(row, rng):
        before, after = (" ".join(rng.sample("abcdefghij", rng.randrange(1, 10))) for _ in range(2))
        return {"prompt": f"{before} {row['answer']} {after}"}

    assert names(run.each(quoted)) == []


def test_few_tasks_that_help_with_others_are_not_memorised(run):
    run.config["prompts_per_step"] = 8
    run.each(lambda row, rng: {"task": f"task {rng.randrange(4)}"})
    run.summary = {"before": {"accuracy": 0.4, "tasks": 200}, "after": {"accuracy": 0.58, "tasks": 200}}
    assert names(run) == []
    run.summary = {"before": None, "after": None}
    assert names(run) == ["memorised prompts"]


def test_a_task_of_many_right_answers_is_not_judged_by_the_gold_one(run):
    run.paid({OWN: 1.0, "format": 0.3}, lambda row: float(len(row["completion"]) % 2))
    run.each(lambda row, rng: {"answer": f"({row['answer']} + 0)"})
    for step in run.metrics:
        step["rewards/format/mean"] = 0.2 + 0.04 * step["step"]
    assert "format farmed" not in names(run)


@pytest.mark.parametrize(("weight", "found"), [(0.01, []), (0.5, ["rewards disagree"])])
def test_a_reward_that_takes_next_to_nothing_of_another_does_not_disagree(run, weight, found):
    run.config["reward_weights"] = {"accuracy": 1.0, OWN: weight}
    run.each(lambda row, rng: {"rewards": row["rewards"] | {OWN: 1.0 - row["rewards"]["accuracy"]}})
    assert names(run) == found


def test_a_negative_weight_of_the_language_disagrees(run):
    run.config["reward_weights"] = {"accuracy": 1.0, "language": -0.2}
    assert names(run) == ["rewards disagree"]


def test_samples_of_an_older_policy_are_no_mismatch(run):
    run.since(2, sampling__first_update_k3=0.02, sampling__staleness__max=1.0)
    run.metrics[0]["sampling/first_update_k3"] = 1e-12
    assert names(run) == []
    assert names(run.all(sampling__staleness__max=0.0)) == ["mismatch"]


def test_a_reader_that_has_seen_enough_is_no_error(run):
    command = f"{sys.executable} -m grpo.doctor {run.write()} {run.folder} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr


def test_tasks_are_too_easy_though_a_group_now_and_then_has_a_wrong_answer(run):
    run.all(rewards__accuracy__mean=0.98, rewards__accuracy__zero_std=0.8, frac_reward_zero_std=0.8, reward=1.48)
    assert names(run)[0] == "too easy"


def test_tasks_that_became_easy_are_no_fault(run):
    for step in run.metrics:
        step["rewards/accuracy/mean"] = min(0.99, 0.4 + 0.05 * step["step"])
    run.since(12, rewards__accuracy__zero_std=0.9)
    assert "too easy" not in names(run)


def test_one_prompt_in_many_rows_is_one_task(run):
    run.each(lambda row, rng: {"prompt": f"prompt {int(row['answer']) % 3}"})
    assert names(run)[0] == "memorised prompts"


def test_an_environment_that_fails_is_named_before_what_follows_from_it(run):
    run.config["reward_weights"] = {"environment": 1.0}
    run.all(environment__failed=0.9)
    run.each(lambda row, rng: {"rewards": {"environment": 0.0}, "reward": 0.0})
    assert names(run)[0] == "environment fails"


def never_the_gold_number(run: Made) -> Made:
    """A reward of the user's rises, and no completion ends with the gold answer."""
    run.paid({OWN: 1.0}, lambda row: len(row["completion"]) % 7 / 7)
    run.each(lambda row, rng: {"completion": said(rng, int(row["answer"]), False)})
    for step in run.metrics:
        step["reward"] = 0.1 + 0.02 * step["step"]
    return run


def test_a_reward_that_rises_while_no_answer_is_right_judges_nothing(run):
    assert "no reward judges the task" in names(never_the_gold_number(run))


def test_gold_answers_that_are_no_numbers_may_be_read_by_the_reward_in_another_way(run):
    never_the_gold_number(run).each(lambda row, rng: {"answer": f"case {row['answer']}"})
    assert "no reward judges the task" not in names(run)


def test_a_reward_that_pays_words_of_the_prompt_is_copying_though_no_run_of_them_is_there(run):
    def change(row, rng):
        many = rng.random() < 0.7
        extra = "flour near butter with sugar" if many else "nothing that was ever asked here"
        return {
            "prompt": "sugar plus flour plus butter ?",
            "completion": f"so {rng.random()} {extra} <answer> 0 </answer>",
            "rewards": {OWN: float(many)},
            "reward": float(many),
        }

    run.paid({OWN: 1.0}, lambda row: 0.0).each(lambda row, rng: {"prompt": "sugar plus flour plus butter ?"})
    run.each(change, first=7)
    assert names(run)[0] == "copies the prompt"


def test_a_reward_of_characters_pays_length_and_not_the_repetition_that_comes_of_it(run):
    def longer(row, rng):
        times = rng.randrange(4, 40)
        text = "carefully considering " * times
        return {"completion": text, "tokens": 30 + times % 5, "rewards": {OWN: len(text) / 900}}

    run.paid({OWN: 1.0}, lambda row: len(row["completion"]) / 900).each(longer, first=7)
    for step in run.metrics:
        step["completions/mean_length"] = 30.0 + step["step"]
    assert names(run)[0] == "length without gain"


def in_more_words(row, rng, pays_words=True):
    """Many words in another script, in completions of all lengths."""
    chinese, latin = rng.randrange(10, 20), rng.randrange(4, 30)
    text = "加 等 " * chinese + " ".join(f"w{number}" for number in range(latin))
    words = 2 * chinese + latin
    return {"completion": text, "tokens": words, "rewards": {OWN: words / 100 if pays_words else words * 7 % 11 / 11}}


def longer_and_longer(run: Made) -> Made:
    run.paid({OWN: 1.0}, lambda row: row["tokens"] / 100)
    for step in run.metrics:
        step["completions/mean_length"] = 30.0 + step["step"]
    return run


def test_a_reward_that_pays_words_comes_before_the_language_that_needs_more_of_them(run):
    found = names(longer_and_longer(run).each(in_more_words, first=7))
    assert found[0] == "length without gain" and "language drift" in found


def test_a_drift_that_only_comes_with_length_is_the_first_finding(run):
    longer_and_longer(run).each(lambda row, rng: in_more_words(row, rng, pays_words=False), first=7)
    assert names(run)[0] == "language drift"
